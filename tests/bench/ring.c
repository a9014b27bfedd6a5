/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The driver's side of a split virtqueue.
 */

#include "ring.h"
#include "bench.h"

#include <unistd.h>

void ring_init(Ring *ring, void *memory, bool event_idx, int kick, int call)
{
    uint8_t *base = memory;
    unsigned i;

    *ring = (Ring) {
        .desc = memory,
        .avail = (void *)(base + RING_SIZE * sizeof(struct vring_desc)),
        .used = (void *)(base + RING_BYTES - 4096),
        .event_idx = event_idx,
        .kick = kick,
        .call = call,
        .n_free = RING_SIZE,
    };
    for (i = 0; i < RING_SIZE; i++) {
        ring->desc[i].next = i + 1;
    }
}

void ring_use_indirect(Ring *ring, void *table, uint64_t guest_address)
{
    ring->indirect = table;
    ring->indirect_address = guest_address;
}

bool ring_has_room(const Ring *ring, unsigned n)
{
    return ring->n_free >= (ring->indirect ? 1 : n);
}

static uint16_t flags_of(unsigned i, unsigned n, bool writable)
{
    return (writable ? VRING_DESC_F_WRITE : 0) |
           (i + 1 < n ? VRING_DESC_F_NEXT : 0);
}

static void add_indirect(Ring *ring, const RingPiece *pieces, unsigned n,
                         bool writable)
{
    unsigned head = ring->free_head, i;
    struct vring_desc *table = ring->indirect + head * RING_MAX_CHAIN;
    struct vring_desc *desc = &ring->desc[head];

    for (i = 0; i < n; i++) {
        table[i].addr = pieces[i].guest_address;
        table[i].len = pieces[i].len;
        table[i].flags = flags_of(i, n, writable);
        table[i].next = i + 1;
    }
    desc->addr = ring->indirect_address + head * RING_MAX_CHAIN *
                 sizeof(*table);
    desc->len = n * sizeof(*table);
    desc->flags = VRING_DESC_F_INDIRECT;
    ring->free_head = desc->next;
    ring->n_free--;
}

static void add_direct(Ring *ring, const RingPiece *pieces, unsigned n,
                       bool writable)
{
    struct vring_desc *desc;
    unsigned i;

    for (i = 0; i < n; i++) {
        desc = &ring->desc[ring->free_head];
        desc->addr = pieces[i].guest_address;
        desc->len = pieces[i].len;
        desc->flags = flags_of(i, n, writable);
        ring->free_head = desc->next;
    }
    ring->n_free -= n;
}

void ring_add(Ring *ring, const RingPiece *pieces, unsigned n, bool writable,
              void *cookie)
{
    uint16_t head = ring->free_head;

    ring->cookies[head] = cookie;
    if (n > 1 && ring->indirect) {
        add_indirect(ring, pieces, n, writable);
    } else {
        add_direct(ring, pieces, n, writable);
    }
    ring->avail->ring[ring->avail_idx++ % RING_SIZE] = head;
}

/* Where each side tells the other when it wants to hear of it. */
static uint16_t *avail_event(Ring *ring)
{
    return (uint16_t *)&ring->used->ring[RING_SIZE];
}

static uint16_t *used_event(Ring *ring)
{
    return &ring->avail->ring[RING_SIZE];
}

void ring_publish(Ring *ring)
{
    uint16_t old = ring->published;
    uint64_t one = 1;
    bool kick;

    if (ring->avail_idx == old) {
        return;
    }
    __atomic_store_n(&ring->avail->idx, ring->avail_idx, __ATOMIC_RELEASE);
    ring->published = ring->avail_idx;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->event_idx) {
        kick = vring_need_event(
            __atomic_load_n(avail_event(ring), __ATOMIC_RELAXED),
            ring->avail_idx, old);
    } else {
        kick = !(__atomic_load_n(&ring->used->flags, __ATOMIC_RELAXED) &
                 VRING_USED_F_NO_NOTIFY);
    }
    if (kick && write(ring->kick, &one, sizeof(one)) < 0) {
        bench_die_errno("kick");
    }
}

/* Put the chain's descriptors back; its pieces are as many as were queued. */
static void release(Ring *ring, uint16_t head)
{
    uint16_t last = head;

    ring->n_free++;
    while (ring->desc[last].flags & VRING_DESC_F_NEXT) {
        last = ring->desc[last].next;
        ring->n_free++;
    }
    ring->desc[last].next = ring->free_head;
    ring->free_head = head;
}

void *ring_get(Ring *ring, uint32_t *ret_len)
{
    uint16_t used = __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE);
    struct vring_used_elem *elem;
    void *cookie;

    if (used == ring->last_used) {
        return NULL;
    }
    elem = &ring->used->ring[ring->last_used % RING_SIZE];
    if (elem->id >= RING_SIZE || !ring->cookies[elem->id]) {
        bench_die("the backend gave back a chain that it had not got");
    }
    cookie = ring->cookies[elem->id];
    ring->cookies[elem->id] = NULL;
    *ret_len = elem->len;
    release(ring, elem->id);
    ring->last_used++;
    return cookie;
}

bool ring_enable_call(Ring *ring)
{
    *used_event(ring) = ring->last_used;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) ==
           ring->last_used;
}
