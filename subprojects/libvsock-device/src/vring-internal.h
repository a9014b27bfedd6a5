/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of a virtqueue share: vring.c (the ring) and inflight.c (its
 * chains in memory that outlives the process).  For nobody else.
 */

#ifndef VSK_VRING_INTERNAL_H
#define VSK_VRING_INTERNAL_H

#include "vsock-vring.h"

#include <linux/virtio_ring.h>

/* Pieces of a chain that need no memory of their own. */
#define VSK_ELEM_IOV 16

/* One chain that is out. */
typedef struct VskElem {
    uint16_t head;       /* its first descriptor */
    bool resubmitted;    /* of a process that died */
    unsigned int n_iov;
    unsigned int max;    /* of @iov and @gpa */
    struct iovec *iov;   /* @own_iov, or allocated */
    uint64_t *gpa;       /* where each piece is, for the guest */
    struct iovec own_iov[VSK_ELEM_IOV];
    uint64_t own_gpa[VSK_ELEM_IOV];
} VskElem;

struct VskVring {
    const VskVringOps *ops;
    void *opaque;
    unsigned int num;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint64_t used_gpa;
    bool event_idx;
    bool indirect;
    const char *broken;

    uint16_t next_avail;  /* index of the next chain */
    uint16_t seen_avail;  /* the driver's index, as last read */
    uint16_t used_idx;    /* of the next chain that is pushed */
    uint16_t flushed;     /* the same, as the driver sees it */
    uint16_t signalled;   /* the same, when an interrupt was last thought of */
    bool ever_signalled;
    bool notify;          /* the driver is to tell of each chain */

    VskElem *elems;       /* @num */
    uint16_t *free_elems; /* indices of @elems, the last used at the end */
    unsigned int n_free;

    VskVringInflight *inflight;
    uint64_t inflight_counter;
    uint16_t *resubmit;   /* heads to pop first, the next at the end */
    unsigned int n_resubmit;
};

/* Find what a process that died left; set where the ring goes on. */
void vsk_inflight_begin(VskVring *vring);

/* @head is out; was given back; was put into the used ring. */
void vsk_inflight_set(VskVring *vring, uint16_t head);
void vsk_inflight_clear(VskVring *vring, uint16_t head);
void vsk_inflight_push(VskVring *vring, uint16_t head);

/* The driver sees the last @n that were pushed. */
void vsk_inflight_flushed(VskVring *vring, unsigned int n);

#endif /* VSK_VRING_INTERNAL_H */
