/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Staging ring of a flow, guest to host.
 */

#include "ring.h"
#include "pkt.h"

#include <string.h>

void vsk_ring_init(VskRing *ring, uint32_t capacity)
{
    *ring = (VskRing) { .capacity = capacity };
}

void vsk_ring_clear(VskRing *ring)
{
    g_clear_pointer(&ring->data, g_free);
    ring->head = 0;
    ring->used = 0;
}

/* The offset that is @n bytes behind the head, up to the capacity. */
static uint32_t behind_head(const VskRing *ring, uint32_t n)
{
    uint32_t to_end = ring->capacity - ring->head;

    return n < to_end ? ring->head + n : n - to_end;
}

/* Append @len bytes, which fit. */
static void append(VskRing *ring, const uint8_t *bytes, uint32_t len)
{
    uint32_t tail = behind_head(ring, ring->used);
    uint32_t n = MIN(len, ring->capacity - tail);

    memcpy(ring->data + tail, bytes, n);
    memcpy(ring->data, bytes + n, len - n);
    ring->used += len;
}

bool vsk_ring_push(VskRing *ring, const struct iovec *iov, unsigned int n_iov,
                   size_t offset)
{
    size_t size = vsk_iov_size(iov, n_iov);

    if (offset >= size) {
        return offset == size;
    }
    if (size - offset > ring->capacity - ring->used) {
        return false;
    }
    if (!ring->data) {
        ring->data = g_malloc(ring->capacity);
    }
    for (unsigned int i = 0; i < n_iov; i++) {
        size_t skip = MIN(offset, iov[i].iov_len);

        if (iov[i].iov_len > skip) {
            append(ring, (const uint8_t *)iov[i].iov_base + skip,
                   (uint32_t)(iov[i].iov_len - skip));
        }
        offset -= skip;
    }
    return true;
}

unsigned int vsk_ring_front(const VskRing *ring, uint32_t len,
                            struct iovec iov[static 2])
{
    uint32_t first = MIN(len, ring->capacity - ring->head);

    iov[0] = (struct iovec) { ring->data + ring->head, first };
    iov[1] = (struct iovec) { ring->data, len - first };
    return iov[1].iov_len ? 2 : 1;
}

void vsk_ring_drop(VskRing *ring, uint32_t len)
{
    ring->head = behind_head(ring, len);
    ring->used -= len;
    if (ring->used == 0) {
        vsk_ring_clear(ring);
    }
}

ssize_t vsk_ring_flush(VskRing *ring, VskStream *stream)
{
    ssize_t total = 0;

    while (ring->used) {
        struct iovec iov[2];
        uint32_t asked = ring->used;
        unsigned int n_iov = vsk_ring_front(ring, asked, iov);
        ssize_t n = stream->ops->writev(stream, iov, (int)n_iov);

        if (n <= 0) {
            return total ? total : n;
        }
        vsk_ring_drop(ring, (uint32_t)n);
        total += n;
        if ((uint32_t)n < asked) {
            break; /* the rest would get -EAGAIN; its event will come */
        }
    }
    return total;
}
