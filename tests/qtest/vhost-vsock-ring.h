/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The driver's side of one split virtqueue, over libqos.
 *
 * libqos finds the device and sets a queue up; descriptors are managed here,
 * because libqos of QEMU 7.2 never takes one back, and because scripts lay
 * chains out in ways no well-behaved driver does.
 */

#ifndef VHOST_VSOCK_RING_H
#define VHOST_VSOCK_RING_H

#include "libqos/virtio.h"

/* Descriptors in each queue, at first. */
#define VVT_RING_SIZE 128

/* More descriptors than any device of this kind offers in one queue. */
#define VVT_RING_MAX 1024

/* Ways to lay out a chain wrongly. */
typedef enum VvtFault {
    VVT_FAULT_NONE,
    VVT_FAULT_LOOP,            /* the last descriptor leads to the first */
    VVT_FAULT_WRITE_ONLY,      /* readable descriptors marked writable */
    VVT_FAULT_OUTSIDE_RAM,     /* the last one lies where no RAM is */
    VVT_FAULT_BAD_INDEX,       /* a head beyond the descriptor table */
    VVT_FAULT_BAD_NEXT,        /* a next beyond the descriptor table */
    VVT_FAULT_NESTED_INDIRECT, /* an indirect table within one */
} VvtFault;

/* Guest memory in pieces that are one descriptor each. */
typedef struct VvtChain {
    bool writable;     /* by the device */
    uint64_t mem;      /* allocation that holds all pieces; 0: none */
    uint64_t table;    /* allocation of an indirect table; 0: none */
    uint64_t *addr;
    uint32_t *len;     /* bytes */
    unsigned n;
    size_t size;       /* bytes in all pieces */
    uint16_t *descs;   /* of the ring, while offered */
    unsigned n_descs;
    bool indirect;
    VvtFault fault;
    int64_t want_used; /* bytes the device must say it wrote; -1: unknown */
    bool once;         /* not to be offered again */
    bool wait;         /* somebody waits for it to come back */
    bool quiet;        /* the device is not to be notified of it */
} VvtChain;

typedef struct VvtRing VvtRing;

VvtRing *vvt_ring_new(QTestState *qts, QVirtioDevice *vdev,
                      QGuestAllocator *alloc, uint16_t index);
void vvt_ring_free(VvtRing *ring);

/* The same rings, in the memory of another QEMU. */
void vvt_ring_set_qts(VvtRing *ring, QTestState *qts);

/* Allocate a chain of @n pieces of @len[i] bytes; not offered yet. */
VvtChain *vvt_chain_new(VvtRing *ring, const uint32_t *len, unsigned n,
                        bool writable);
void vvt_chain_free(VvtRing *ring, VvtChain *chain);
void vvt_chain_write(VvtRing *ring, VvtChain *chain, const uint8_t *data,
                     size_t len);
void vvt_chain_read(VvtRing *ring, const VvtChain *chain, uint8_t *data,
                    size_t len);

/*
 * Make @chain available, without notifying the device.  False: too few
 * descriptors are free at the moment.
 */
bool vvt_ring_offer(VvtRing *ring, VvtChain *chain);

/* Descriptors @chain takes in the ring. */
unsigned vvt_ring_needs(const VvtChain *chain);
unsigned vvt_ring_size(const VvtRing *ring);

/* Notify the device, if it wants that. */
void vvt_ring_kick(VvtRing *ring);

/* Chains that were offered and have not come back. */
unsigned vvt_ring_outstanding(const VvtRing *ring);

/*
 * Take the next chain the device returned; NULL: there is none, or the used
 * ring makes no sense, which vvt_ring_error() tells.
 */
VvtChain *vvt_ring_take_used(VvtRing *ring, uint32_t *ret_written);
const char *vvt_ring_error(const VvtRing *ring);

/* Descriptors, out of @chain's, that the device was never to return. */
void vvt_ring_forget(VvtRing *ring, VvtChain *chain);

/* --- Rings whose descriptors a script writes itself ----------------------- */

const QVirtQueue *vvt_ring_queue(const VvtRing *ring);

/*
 * The ring is the script's from now on: nothing else is offered or taken,
 * until all heads made available came back, or the device is reset.
 */
void vvt_ring_set_raw(VvtRing *ring);
bool vvt_ring_is_raw(const VvtRing *ring);

/*
 * Make @heads available, and move avail->idx by @jump, which is @n for a ring
 * that is to stay in order.
 */
void vvt_ring_raw_offer(VvtRing *ring, const uint32_t *heads, unsigned n,
                        uint16_t jump);

/* The next element of the used ring, whatever is in it. */
bool vvt_ring_raw_take(VvtRing *ring, uint32_t *ret_id, uint32_t *ret_len);

#endif /* VHOST_VSOCK_RING_H */
