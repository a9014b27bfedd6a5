/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The staging ring: ring.c.
 *
 * Each proof begins in any state that a ring can be in, does one thing with
 * any arguments, and shows that the ring is in such a state again; so it holds
 * for any number of steps.
 *
 * Bounds: the capacity is any one up to CAPACITY bytes, and up to PIECES pieces
 * are pushed at once, each of any size up to the ring's and beyond.  Where a
 * capacity matters is in two places: whether something reaches beyond the end
 * of the memory and goes on at its beginning, and whether it fits.  Sizes from
 * 1 to CAPACITY have all of these in all combinations with empty, full, and
 * wrapped rings.  A piece is added to what was there without a look at the
 * others, so that two of them have all that a third can bring.
 * indices_of_large_rings() shows for capacities up to 2^32 - 1 that no index
 * overflows.
 */

#include "stubs.h"
#include "ring.h"

#define CAPACITY 4
#define PIECES 2

static bool is_sound(const VskRing *ring)
{
    return ring->capacity && ring->used <= ring->capacity &&
           (ring->used ? ring->head < ring->capacity
                       : !ring->head && !ring->data);
}

/* A ring with any bytes in memory that ends where it has to. */
static VskRing any_ring(void)
{
    VskRing ring = { NULL, nondet_u32(), nondet_u32(), nondet_u32() };

    assume(ring.capacity <= CAPACITY && ring.used <= ring.capacity);
    if (ring.used) {
        ring.data = any_bytes(ring.capacity);
    }
    assume(is_sound(&ring));
    return ring;
}

/* The byte that is @i behind the oldest. */
static uint8_t byte_at(const VskRing *ring, uint32_t i)
{
    return ring->data[(ring->head + i) % ring->capacity];
}

/* Bytes go in behind those that are there, or none does. */
void push_appends(void)
{
    VskRing ring = any_ring(), before = ring;
    struct iovec iov[PIECES];
    unsigned int n_iov = nondet_u32();
    size_t offset = nondet_size(), size = 0, len = 0;
    uint32_t probe = nondet_u32();
    uint8_t expected = 0;
    bool pushed;

    assume(n_iov <= PIECES);
    if (probe < ring.used) {
        expected = byte_at(&ring, probe);
    }
    for (unsigned int i = 0; i < n_iov; i++) {
        iov[i].iov_len = nondet_size();
        assume(iov[i].iov_len <= CAPACITY + 1);
        iov[i].iov_base = any_bytes(iov[i].iov_len);
        for (size_t j = 0; j < iov[i].iov_len; j++) {
            if (size + j >= offset && probe == ring.used + len++) {
                expected = ((uint8_t *)iov[i].iov_base)[j];
            }
        }
        size += iov[i].iov_len;
    }
    pushed = vsk_ring_push(&ring, iov, n_iov, offset);
    if (offset > size) {
        prove(!pushed, "no bytes behind the end");
        len = 0;
    } else {
        prove(pushed == (len <= before.capacity - before.used),
              "pushed if and only if it fits");
    }
    prove(ring.capacity == before.capacity, "the capacity stays");
    prove(ring.used == before.used + (pushed ? len : 0), "used counts them");
    prove(is_sound(&ring), "the ring is sound");
    if (probe < ring.used) {
        prove(byte_at(&ring, probe) == expected, "the bytes are these");
    }
    if (pushed && before.used && len && ring.head + before.used < ring.capacity
        && ring.head + ring.used > ring.capacity) {
        reached("bytes that go round the end");
    }
    if (pushed && ring.used == ring.capacity) {
        reached("a full ring");
    }
    if (!pushed) {
        reached("what does not fit");
    }
    reached("the end");
}

/* What is described is the oldest bytes, in memory that is there. */
void front_is_the_oldest(void)
{
    VskRing ring = any_ring();
    struct iovec iov[2];
    uint32_t len = nondet_u32(), probe = nondet_u32();
    unsigned int n;

    assume(len >= 1 && len <= ring.used);
    n = vsk_ring_front(&ring, len, iov);
    prove(n == 1 || n == 2, "one or two pieces");
    if (n == 1) {
        iov[1].iov_len = 0;
    } else {
        reached("two pieces");
        prove(iov[1].iov_len > 0, "no empty piece");
        prove(__CPROVER_r_ok(iov[1].iov_base, iov[1].iov_len),
              "the second one is memory");
    }
    prove(iov[0].iov_len > 0, "no empty piece");
    prove(__CPROVER_r_ok(iov[0].iov_base, iov[0].iov_len),
          "the first one is memory");
    prove(iov[0].iov_len + iov[1].iov_len == len, "all bytes asked for");
    assume(probe < len);
    if (probe < iov[0].iov_len) {
        prove(((uint8_t *)iov[0].iov_base)[probe] == byte_at(&ring, probe),
              "the bytes are these");
    } else {
        prove(((uint8_t *)iov[1].iov_base)[probe - iov[0].iov_len] ==
              byte_at(&ring, probe), "the bytes are these");
    }
    reached("the end");
}

/* The oldest bytes go, all others stay. */
void drop_forgets_the_oldest(void)
{
    VskRing ring = any_ring(), before = ring;
    uint32_t len = nondet_u32(), probe = nondet_u32();
    uint8_t expected;

    assume(len >= 1 && len <= ring.used && probe < ring.used);
    expected = byte_at(&ring, probe);
    vsk_ring_drop(&ring, len);
    prove(ring.used == before.used - len, "used counts them");
    prove(is_sound(&ring), "the ring is sound");
    if (probe >= len) {
        prove(byte_at(&ring, probe - len) == expected, "the bytes are these");
        if (ring.head < before.head) {
            reached("a head that goes round the end");
        }
    }
    if (!ring.used) {
        reached("an empty ring");
    }
    reached("the end");
}

static uint32_t taken;
static unsigned int calls;

/* A socket that takes what it likes. */
static ssize_t any_writev(VskStream *stream, const struct iovec *iov,
                          int n_iov)
{
    size_t size = 0;
    ssize_t n = (ssize_t)nondet_u64();

    (void)stream;
    prove(n_iov == 1 || n_iov == 2, "one or two pieces are written");
    for (int i = 0; i < n_iov; i++) {
        prove(__CPROVER_r_ok(iov[i].iov_base, iov[i].iov_len),
              "what is written is memory");
        size += iov[i].iov_len;
    }
    assume(n >= -4095 && n <= (ssize_t)size);
    taken += n > 0 ? (uint32_t)n : 0;
    calls++;
    return n;
}

/* No byte that was not taken is lost, none is written twice. */
void flush_keeps_what_was_not_taken(void)
{
    static const VskStreamOps ops = { .writev = any_writev };
    VskStream stream = { &ops };
    VskRing ring = any_ring(), before = ring;
    uint32_t probe = nondet_u32();
    uint8_t expected = 0;
    ssize_t n;

    if (probe < ring.used) {
        expected = byte_at(&ring, probe);
    }
    n = vsk_ring_flush(&ring, &stream);
    prove(ring.used == before.used - taken, "used counts what is left");
    prove(is_sound(&ring), "the ring is sound");
    if (n > 0) {
        reached("some bytes were taken");
        prove((uint32_t)n == taken, "the return value counts what was taken");
    } else {
        prove(!taken, "nothing was taken");
        prove(n < 0 || calls || !before.used, "there was an attempt");
    }
    prove(calls <= 1, "no second write where the first one says it all");
    if (probe < before.used && probe >= taken) {
        reached("something is left");
        prove(byte_at(&ring, probe - taken) == expected, "and it is this");
    }
    reached("the end");
}

/* Rings of any capacity: nothing is read or written where there is no memory,
 * and no index overflows.  Linked with stubs-memory.c. */
void indices_of_large_rings(void)
{
    VskRing ring = { NULL, nondet_u32(), nondet_u32(), nondet_u32() };
    struct iovec iov = { NULL, nondet_u32() }, front[2];
    size_t offset = nondet_size();
    uint32_t len = nondet_u32();
    uint64_t head;

    if (ring.used) {
        ring.data = any_bytes(ring.capacity);
    }
    assume(is_sound(&ring));
    iov.iov_base = any_bytes(iov.iov_len);
    if (vsk_ring_push(&ring, &iov, 1, offset)) {
        reached("something fits");
    }
    prove(is_sound(&ring), "the ring is sound");
    if (ring.capacity == UINT32_MAX && ring.used == UINT32_MAX) {
        reached("the largest ring is full");
    }
    assume(len >= 1 && len <= ring.used);
    if (vsk_ring_front(&ring, len, front) == 2) {
        reached("two pieces");
        prove(__CPROVER_r_ok(front[1].iov_base, front[1].iov_len),
              "the second one is memory");
    }
    prove(__CPROVER_r_ok(front[0].iov_base, front[0].iov_len),
          "the first one is memory");
    head = (uint64_t)ring.head + len;
    vsk_ring_drop(&ring, len);
    prove(is_sound(&ring), "the ring is sound, still");
    prove(!ring.used ||
          ring.head == (head < ring.capacity ? head : head - ring.capacity),
          "the head is where it has to be");
    reached("the end");
}
