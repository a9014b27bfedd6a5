/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which chains are with the device, written where they outlive it
 * (vhost-user's "Inflight I/O tracking", split virtqueues).
 *
 * The front-end keeps the memory; the library writes the records.
 */

#ifndef VHOST_USER_VSOCK_INFLIGHT_H
#define VHOST_USER_VSOCK_INFLIGHT_H

#include "vsock-vring.h"
#include "memory.h"

typedef struct Inflight {
    FileMap map;            /* none: the front-end has not asked for it */
    unsigned int n_queues;
    unsigned int queue_size;
} Inflight;

/* Bytes for so many queues of that size. */
size_t inflight_size(unsigned int n_queues, unsigned int queue_size);

/*
 * Make a new region.  Returns its descriptor, the caller's to close, or a
 * negative errno.
 */
int inflight_create(Inflight *inflight, unsigned int n_queues,
                    unsigned int queue_size);

/*
 * Take one that the front-end kept; @fd stays the caller's.  0 or a negative
 * errno.
 */
int inflight_open(Inflight *inflight, unsigned int n_queues,
                  unsigned int queue_size, uint64_t size, uint64_t offset,
                  int fd);
void inflight_close(Inflight *inflight);

/*
 * The records of a queue with @num descriptors, ready for use; NULL if there
 * are none.
 */
VskVringInflight *inflight_queue(const Inflight *inflight, unsigned int index,
                                 unsigned int num);

#endif /* VHOST_USER_VSOCK_INFLIGHT_H */
