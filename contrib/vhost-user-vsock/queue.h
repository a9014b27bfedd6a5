/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The virtqueues of one VM, as libvsock-device wants them.
 */

#ifndef VHOST_USER_VSOCK_QUEUE_H
#define VHOST_USER_VSOCK_QUEUE_H

#include "libvhost-user.h"
#include "log.h"
#include "vsock-device.h"

typedef struct Queues {
    VuDev *vu;              /* NULL while there is no front-end */
    LogRefusals *refusals;
    unsigned int pushed[VSK_QUEUE_NUM]; /* chains, not yet flushed */
} Queues;

/* What libvsock-device calls; their opaque is a Queues. */
extern const VskDevOps queue_ops;

/* Whether the driver may use it: started by the front-end, and enabled. */
bool queue_is_ready(const Queues *queues, VskQueue queue);

#endif /* VHOST_USER_VSOCK_QUEUE_H */
