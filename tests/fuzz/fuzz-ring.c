/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The staging ring: any pushes, short writes, failures and looks at its front.
 * Each byte that goes in is the next of a fixed pattern, so two counters are
 * all that a plain queue would know.
 */

#include "bytes.h"
#include "ring.h"

#include <errno.h>
#include <string.h>

#define PATTERN 251 /* bytes until it repeats; a prime, as no size here is */
#define MAX_PUSH 256

static uint8_t pattern[PATTERN + MAX_PUSH];

/* The host: takes @room bytes, then fails with @error. */
typedef struct Host {
    VskStream base;
    size_t room;
    ssize_t error;
    uint64_t taken;  /* since the beginning */
    unsigned int calls;
} Host;

static ssize_t host_writev(VskStream *stream, const struct iovec *iov,
                           int n_iov)
{
    Host *host = (Host *)stream;
    size_t done = 0;

    host->calls++;
    CHECK(n_iov == 1 || n_iov == 2);
    for (int i = 0; i < n_iov; i++) {
        const uint8_t *bytes = iov[i].iov_base;
        size_t n = MIN(iov[i].iov_len, host->room);

        CHECK(iov[i].iov_len);
        for (size_t k = 0; k < n; k++) {
            CHECK(bytes[k] == (host->taken + k) % PATTERN);
        }
        host->taken += n;
        host->room -= n;
        done += n;
        if (n < iov[i].iov_len) {
            break;
        }
    }
    return done ? (ssize_t)done : host->error;
}

static const VskStreamOps host_ops = { .writev = host_writev };

static void push(VskRing *ring, uint64_t *pushed, FuzzBytes *in)
{
    size_t len = fuzz_u8(in), offset = fuzz_u8(in), cut, cut2;
    uint8_t shape = fuzz_u8(in);
    uint32_t used = vsk_ring_used(ring);
    struct iovec iov[4];
    uint8_t *front;
    bool fits;

    if (shape & 1) {
        offset = 0;
    }
    if (shape & 2) {
        len = ring->capacity - used + offset; /* all that fits */
        len = MIN(len, MAX_PUSH - 1);
    }
    cut = len ? shape % len : 0;
    cut2 = cut + (len - cut) / 2;
    /* What is before @offset is not looked at. */
    front = pattern + (*pushed + PATTERN * 2 - offset % PATTERN) % PATTERN;
    iov[0] = (struct iovec) { front, cut };
    iov[1] = (struct iovec) { NULL, 0 };
    iov[2] = (struct iovec) { front + cut, cut2 - cut };
    iov[3] = (struct iovec) { front + cut2, len - cut2 };

    fits = offset <= len && len - offset <= ring->capacity - used;
    CHECK(vsk_ring_push(ring, iov, 4, offset) == fits);
    if (fits) {
        *pushed += len - offset;
    }
}

static void flush(VskRing *ring, Host *host, FuzzBytes *in)
{
    static const ssize_t errors[] = { -EAGAIN, -EPIPE, -ECONNRESET, 0 };
    uint64_t before = host->taken;
    uint32_t used = vsk_ring_used(ring);
    ssize_t n;

    host->room = fuzz_u8(in);
    host->error = errors[fuzz_below(in, G_N_ELEMENTS(errors))];
    host->calls = 0;
    n = vsk_ring_flush(ring, &host->base);
    CHECK(host->calls == (used ? 1 : 0));
    if (used && host->taken == before) {
        CHECK(n == host->error);
    } else {
        CHECK(n == (ssize_t)(host->taken - before));
    }
}

/* Some of the oldest bytes, as stage.c takes them. */
static void take(VskRing *ring, Host *host, FuzzBytes *in)
{
    uint32_t used = vsk_ring_used(ring);
    uint32_t len = used ? 1 + fuzz_u8(in) % used : 0;
    struct iovec iov[2];
    unsigned int n;

    if (!len) {
        return;
    }
    n = vsk_ring_front(ring, len, iov);
    CHECK(iov[0].iov_len + iov[1].iov_len == len);
    CHECK(n == (iov[1].iov_len ? 2u : 1u));
    host->room = len;
    CHECK(host_writev(&host->base, iov, (int)n) == (ssize_t)len);
    vsk_ring_drop(ring, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    Host host = { .base.ops = &host_ops };
    uint64_t pushed = 0;
    VskRing ring;

    if (!pattern[1]) {
        for (unsigned int i = 0; i < sizeof(pattern); i++) {
            pattern[i] = i % PATTERN;
        }
    }
    vsk_ring_init(&ring, 1 + fuzz_u8(&in));
    while (fuzz_left(&in)) {
        switch (fuzz_below(&in, 8)) {
        case 0:
            vsk_ring_clear(&ring);
            host.taken = pushed;
            break;
        case 1:
            take(&ring, &host, &in);
            break;
        case 2:
        case 3:
            flush(&ring, &host, &in);
            break;
        default:
            push(&ring, &pushed, &in);
        }
        CHECK(vsk_ring_used(&ring) == pushed - host.taken);
        CHECK(vsk_ring_used(&ring) <= ring.capacity);
        CHECK(!ring.data == !vsk_ring_used(&ring));
    }
    vsk_ring_clear(&ring);
    return 0;
}
