/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bytes that one side of nc-vsock gave and the other has yet to take.
 */

#include "nc-vsock-internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool nc_ring_init(NcRing *ring, size_t size)
{
    *ring = (NcRing) { .data = malloc(size), .size = size };
    return ring->data != NULL;
}

void nc_ring_fini(NcRing *ring)
{
    free(ring->data);
    *ring = (NcRing) { 0 };
}

size_t nc_ring_room(const NcRing *ring)
{
    return ring->size - ring->len;
}

/* @len bytes from @at on, which may go round the end, as pieces. */
static int pieces(const NcRing *ring, size_t at, size_t len,
                  struct iovec ret[static 2])
{
    size_t first;

    if (len == 0) {
        return 0;
    }
    at %= ring->size;
    first = ring->size - at < len ? ring->size - at : len;
    ret[0] = (struct iovec) { ring->data + at, first };
    if (first == len) {
        return 1;
    }
    ret[1] = (struct iovec) { ring->data, len - first };
    return 2;
}

int nc_ring_used(const NcRing *ring, size_t max, struct iovec ret[static 2])
{
    return pieces(ring, ring->start, ring->len < max ? ring->len : max, ret);
}

int nc_ring_free(const NcRing *ring, struct iovec ret[static 2])
{
    return pieces(ring, ring->start + ring->len, nc_ring_room(ring), ret);
}

void nc_ring_added(NcRing *ring, size_t n)
{
    assert(n <= nc_ring_room(ring));
    ring->len += n;
}

void nc_ring_taken(NcRing *ring, size_t n)
{
    assert(n <= ring->len);
    ring->len -= n;
    /* An empty queue starts at the front again, so pieces stay long. */
    ring->start = ring->len ? (ring->start + n) % ring->size : 0;
}

void nc_ring_append(NcRing *ring, const void *data, size_t n)
{
    const uint8_t *from = data;
    struct iovec iov[2];
    int n_iov;

    assert(n <= nc_ring_room(ring));
    n_iov = pieces(ring, ring->start + ring->len, n, iov);
    for (int i = 0; i < n_iov; i++) {
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
        from += iov[i].iov_len;
    }
    ring->len += n;
}
