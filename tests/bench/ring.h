/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The driver's side of a split virtqueue (virtio 1.4, 2.7).
 */

#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_SIZE 256
/* Descriptors a chain may have. */
#define RING_MAX_CHAIN 2

typedef struct RingPiece {
    uint64_t guest_address;
    uint32_t len;
} RingPiece;

typedef struct Ring {
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    /* A table of RING_MAX_CHAIN for each head; NULL: none are used. */
    struct vring_desc *indirect;
    uint64_t indirect_address;
    bool event_idx;
    int kick, call;                /* eventfds */
    void *cookies[RING_SIZE];      /* by head */
    uint16_t free_head;
    unsigned n_free;               /* descriptors */
    uint16_t avail_idx;            /* next to be made available */
    uint16_t published;            /* what the device was last shown */
    uint16_t last_used;
} Ring;

/* Bytes of guest memory that a ring takes, aligned for what follows it. */
#define RING_BYTES ((RING_SIZE * 16 + 6 + RING_SIZE * 2 + 4095) / 4096 * 4096 \
                    + (RING_SIZE * 8 + 6 + 4095) / 4096 * 4096)

/* @memory has RING_BYTES, which are 0. */
void ring_init(Ring *ring, void *memory, bool event_idx, int kick, int call);

/* From now on chains of several pieces take one descriptor. */
void ring_use_indirect(Ring *ring, void *table, uint64_t guest_address);

/* Whether a chain of @n pieces finds room. */
bool ring_has_room(const Ring *ring, unsigned n);

/* Queue a chain; ring_has_room() was asked. */
void ring_add(Ring *ring, const RingPiece *pieces, unsigned n, bool writable,
              void *cookie);

/* Show the device what was queued, and wake it if it wants that. */
void ring_publish(Ring *ring);

/* The next chain that the device gave back, or NULL. */
void *ring_get(Ring *ring, uint32_t *ret_len);

/*
 * Ask for a call with the next chain that is given back.  False: there is one
 * already.
 */
bool ring_enable_call(Ring *ring);

#endif /* BENCH_RING_H */
