/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Staging ring: the bytes of one flow that its host socket would not take yet.
 *
 * The memory is allocated when the first byte is staged and given back when
 * the last one is written, so an idle flow costs none.
 */

#ifndef VSK_RING_H
#define VSK_RING_H

#include "stream.h"

typedef struct VskRing {
    uint8_t *data;     /* NULL while empty */
    uint32_t capacity; /* bytes */
    uint32_t head;     /* offset of the oldest byte */
    uint32_t used;     /* bytes */
} VskRing;

void vsk_ring_init(VskRing *ring, uint32_t capacity);

static inline uint32_t vsk_ring_used(const VskRing *ring)
{
    return ring->used;
}

/* Bytes of memory that it takes now. */
static inline uint32_t vsk_ring_memory(const VskRing *ring)
{
    return ring->data ? ring->capacity : 0;
}

/*
 * Append the bytes of @iov from @offset on.  The caller's credit keeps them
 * within the capacity; false if they are not, and nothing was appended.
 */
bool vsk_ring_push(VskRing *ring, const struct iovec *iov, unsigned int n_iov,
                   size_t offset);

/* Describe the oldest @len bytes, which are there; returns 1 or 2 pieces. */
unsigned int vsk_ring_front(const VskRing *ring, uint32_t len,
                            struct iovec iov[static 2]);

/* Forget the oldest @len bytes. */
void vsk_ring_drop(VskRing *ring, uint32_t len);

/*
 * Write out as much as @stream takes.  Returns the bytes written, or the
 * negative errno of a write that failed before any byte was written; 0 if
 * the ring is empty.
 */
ssize_t vsk_ring_flush(VskRing *ring, VskStream *stream);

/* Forget all bytes, and give the memory back. */
void vsk_ring_clear(VskRing *ring);

#endif /* VSK_RING_H */
