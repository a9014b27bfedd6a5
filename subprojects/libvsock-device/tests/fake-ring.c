/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Three virtqueues in plain memory.
 */

#include "fake-ring.h"
#include "pkt.h"

#include <string.h>

#define PATTERN 0xa5

/* --- Chains -------------------------------------------------------------- */

static struct iovec *make_pieces(const size_t *sizes, unsigned int n,
                                 int fill)
{
    struct iovec *iov = g_new0(struct iovec, MAX(n, 1));

    for (unsigned int i = 0; i < n; i++) {
        iov[i].iov_base = g_malloc(sizes[i]);
        iov[i].iov_len = sizes[i];
        if (sizes[i]) {
            memset(iov[i].iov_base, fill, sizes[i]);
        }
    }
    return iov;
}

FakeChain *fake_chain_new(const size_t *out, unsigned int n_out,
                          const size_t *in, unsigned int n_in)
{
    FakeChain *chain = g_new0(FakeChain, 1);

    chain->out = make_pieces(out, n_out, 0);
    chain->in = make_pieces(in, n_in, PATTERN);
    chain->n_out = n_out;
    chain->n_in = n_in;
    return chain;
}

static void free_pieces(struct iovec *iov, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        g_free(iov[i].iov_base);
    }
    g_free(iov);
}

void fake_chain_free(FakeChain *chain)
{
    if (chain) {
        free_pieces(chain->out, chain->n_out);
        free_pieces(chain->in, chain->n_in);
        g_free(chain);
    }
}

/* The device wrote nothing from offset @from on. */
static void assert_untouched(const FakeChain *chain, size_t from)
{
    for (unsigned int i = 0; i < chain->n_in; i++) {
        const uint8_t *bytes = chain->in[i].iov_base;
        size_t len = chain->in[i].iov_len;
        size_t skip = MIN(from, len);

        from -= skip;
        if (skip < len) {
            g_assert_cmphex(bytes[skip], ==, PATTERN);
            g_assert_cmpint(memcmp(bytes + skip, bytes + skip + 1,
                                   len - skip - 1), ==, 0);
        }
    }
}

/* --- What the device does ------------------------------------------------ */

static FakeRing *touch(void *opaque, VskQueue queue)
{
    FakeRings *rings = opaque;

    g_assert_cmpint(queue, <, VSK_QUEUE_NUM);
    g_assert_false(rings->forbidden);
    return &rings->ring[queue];
}

static bool ring_pop(void *opaque, VskQueue queue, VskChain *ret_chain)
{
    FakeRing *ring = touch(opaque, queue);
    FakeChain *chain = g_queue_pop_head(&ring->avail);

    if (!chain) {
        return false;
    }
    ring->pops++;
    g_queue_push_head(&ring->popped, chain);
    *ret_chain = (VskChain) {
        .elem = chain,
        .out = chain->out,
        .n_out = chain->n_out,
        .in = chain->in,
        .n_in = chain->n_in,
    };
    return true;
}

/* The chain was not changed but by us. */
static FakeChain *elem_of(VskChain *chain)
{
    FakeChain *elem = chain->elem;

    g_assert_true(chain->out == elem->out && chain->in == elem->in);
    g_assert_true(chain->n_out == elem->n_out && chain->n_in == elem->n_in);
    return elem;
}

static void ring_unpop(void *opaque, VskQueue queue, VskChain *chain)
{
    FakeRing *ring = touch(opaque, queue);
    FakeChain *elem = elem_of(chain);

    g_assert_true(g_queue_pop_head(&ring->popped) == elem);
    assert_untouched(elem, 0);
    g_queue_push_head(&ring->avail, elem);
    ring->unpops++;
}

static void ring_push(void *opaque, VskQueue queue, VskChain *chain,
                      uint32_t len)
{
    FakeRing *ring = touch(opaque, queue);
    FakeChain *elem = elem_of(chain);

    g_assert_true(g_queue_remove(&ring->popped, elem));
    g_assert_cmpuint(len, <=, vsk_iov_size(elem->in, elem->n_in));
    elem->used = len;
    g_queue_push_tail(&ring->pushed, elem);
}

static void ring_flush(void *opaque)
{
    bool any = false;

    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        FakeRing *ring = touch(opaque, queue);
        FakeChain *chain;

        ring->flushes += !g_queue_is_empty(&ring->pushed);
        while ((chain = g_queue_pop_head(&ring->pushed))) {
            g_queue_push_tail(&ring->used, chain);
            any = true;
        }
    }
    g_assert_true(any); /* no idle interrupts */
}

static bool ring_set_notification(void *opaque, VskQueue queue, bool enable)
{
    FakeRing *ring = touch(opaque, queue);
    FakeChain *chain;

    ring->notify = enable;
    if (enable) {
        while ((chain = g_queue_pop_head(&ring->hidden))) {
            g_queue_push_tail(&ring->avail, chain);
        }
    }
    return enable && (ring->lies || !g_queue_is_empty(&ring->avail));
}

static void count_refusal(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    FakeRings *rings = opaque;

    g_assert_nonnull(vsk_refusal_name(why));
    if (hdr) {
        rings->last_refused = *hdr;
    }
    rings->refused[why]++;
}

static void see_packet(void *opaque, bool to_guest, const VskHdr *hdr,
                       const struct iovec *payload, unsigned int n_payload)
{
    FakeRings *rings = opaque;

    g_assert_cmpuint(vsk_iov_size(payload, n_payload), >=, hdr->len);
    rings->packets[to_guest]++;
    rings->bytes[to_guest] += hdr->len;
}

const VskDevOps fake_ring_ops = {
    .pop = ring_pop,
    .unpop = ring_unpop,
    .push = ring_push,
    .flush = ring_flush,
    .set_notification = ring_set_notification,
    .refused = count_refusal,
    .packet = see_packet,
};

const VskDevOps fake_ring_least_ops = {
    .pop = ring_pop,
    .unpop = ring_unpop,
    .push = ring_push,
    .flush = ring_flush,
    .set_notification = ring_set_notification,
};

/* --- What the driver does ------------------------------------------------ */

FakeRings *fake_rings_new(void)
{
    FakeRings *rings = g_new0(FakeRings, 1);

    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        rings->ring[i].notify = true;
    }
    return rings;
}

static void clear_queue(GQueue *queue)
{
    FakeChain *chain;

    while ((chain = g_queue_pop_head(queue))) {
        fake_chain_free(chain);
    }
}

void fake_rings_clear(FakeRings *rings)
{
    fake_rings_assert_at_rest(rings);
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        clear_queue(&rings->ring[i].avail);
        clear_queue(&rings->ring[i].hidden);
        clear_queue(&rings->ring[i].used);
        rings->ring[i].notify = true;
    }
}

void fake_rings_free(FakeRings *rings)
{
    if (rings) {
        fake_rings_clear(rings);
        g_free(rings);
    }
}

void fake_ring_add(FakeRings *rings, VskQueue queue, FakeChain *chain)
{
    g_queue_push_tail(&rings->ring[queue].avail, chain);
}

void fake_ring_add_late(FakeRings *rings, VskQueue queue, FakeChain *chain)
{
    g_queue_push_tail(&rings->ring[queue].hidden, chain);
}

FakeChain *fake_ring_take(FakeRings *rings, VskQueue queue)
{
    FakeChain *chain = g_queue_pop_head(&rings->ring[queue].used);

    if (chain) {
        assert_untouched(chain, chain->used);
    }
    return chain;
}

unsigned int fake_ring_avail(const FakeRings *rings, VskQueue queue)
{
    return rings->ring[queue].avail.length;
}

void fake_rings_assert_at_rest(FakeRings *rings)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        g_assert_cmpuint(rings->ring[i].popped.length, ==, 0);
        g_assert_cmpuint(rings->ring[i].pushed.length, ==, 0);
    }
}
