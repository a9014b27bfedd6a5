/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory of a VMM that goes while it is used.
 *
 * A VMM can cut the file that it shares as guest memory.  Touching what is gone
 * is SIGBUS, which would end the process and all its guests.  So the thread
 * that meets it gets empty memory instead, and learns of it.
 */

#ifndef VHOST_USER_VSOCK_GUARD_H
#define VHOST_USER_VSOCK_GUARD_H

#include "queue.h"

/* For the process; before the first thread starts. */
void guard_init(void);

/* From now on this thread uses the memory of @queues. */
void guard_enter(Queues *queues);

#endif /* VHOST_USER_VSOCK_GUARD_H */
