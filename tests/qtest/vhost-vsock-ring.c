/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The driver's side of one split virtqueue, over libqos.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-ring.h"

/*
 * Free bytes between two pieces of a chain: odd, so that pieces are neither
 * neighbours nor aligned.
 */
#define PIECE_GAP 13

/* No machine of libqos has RAM there. */
#define OUTSIDE_RAM (UINT64_C(1) << 50)

struct VvtRing {
    QTestState *qts;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    QVirtQueue *vq;
    uint16_t avail_idx;
    uint16_t used_idx;
    uint16_t *free;         /* stack of descriptors */
    unsigned n_free;
    VvtChain **by_head;
    unsigned outstanding;
    bool raw;               /* a script's: see vvt_ring_set_raw() */
    bool raw_bent;          /* its avail->idx tells of heads nobody wrote */
    unsigned raw_out;       /* heads a script made available, not back */
    char *error;
};

VvtRing *vvt_ring_new(QTestState *qts, QVirtioDevice *vdev,
                      QGuestAllocator *alloc, uint16_t index)
{
    VvtRing *ring = g_new0(VvtRing, 1);
    unsigned i;

    ring->qts = qts;
    ring->vdev = vdev;
    ring->alloc = alloc;
    ring->vq = qvirtqueue_setup(vdev, alloc, index);
    g_assert_cmpuint(ring->vq->size, <=, VVT_RING_MAX);
    ring->free = g_new(uint16_t, ring->vq->size);
    ring->by_head = g_new0(VvtChain *, ring->vq->size);
    for (i = ring->vq->size; i > 0; i--) {
        ring->free[ring->n_free++] = i - 1;
    }
    return ring;
}

void vvt_ring_free(VvtRing *ring)
{
    unsigned i;

    if (!ring) {
        return;
    }
    for (i = 0; i < ring->vq->size; i++) {
        if (ring->by_head[i]) {
            vvt_chain_free(ring, ring->by_head[i]);
        }
    }
    g_free(ring->by_head);
    g_free(ring->free);
    g_free(ring->error);
    qvirtqueue_cleanup(ring->vdev->bus, ring->vq, ring->alloc);
    g_free(ring);
}

void vvt_ring_set_qts(VvtRing *ring, QTestState *qts)
{
    ring->qts = qts;
}

VvtChain *vvt_chain_new(VvtRing *ring, const uint32_t *len, unsigned n,
                        bool writable)
{
    VvtChain *chain = g_new0(VvtChain, 1);
    size_t total = 0;
    unsigned i;

    chain->writable = writable;
    chain->want_used = -1;
    chain->n = n;
    chain->addr = g_new(uint64_t, n + 1);
    chain->len = g_new(uint32_t, n + 1);
    for (i = 0; i < n; i++) {
        chain->addr[i] = total;
        chain->len[i] = len[i];
        chain->size += len[i];
        total += len[i] + PIECE_GAP;
    }
    chain->mem = guest_alloc(ring->alloc, total + 1);
    for (i = 0; i < n; i++) {
        chain->addr[i] += chain->mem;
    }
    return chain;
}

void vvt_chain_free(VvtRing *ring, VvtChain *chain)
{
    guest_free(ring->alloc, chain->mem);
    if (chain->table) {
        guest_free(ring->alloc, chain->table);
    }
    g_free(chain->addr);
    g_free(chain->len);
    g_free(chain->descs);
    g_free(chain);
}

void vvt_chain_write(VvtRing *ring, VvtChain *chain, const uint8_t *data,
                     size_t len)
{
    unsigned i;

    for (i = 0; i < chain->n && len > 0; i++) {
        size_t n = MIN(len, chain->len[i]);

        if (n > 0) {
            qtest_bufwrite(ring->qts, chain->addr[i], data, n);
        }
        data += n;
        len -= n;
    }
}

void vvt_chain_read(VvtRing *ring, const VvtChain *chain, uint8_t *data,
                    size_t len)
{
    unsigned i;

    for (i = 0; i < chain->n && len > 0; i++) {
        size_t n = MIN(len, chain->len[i]);

        if (n > 0) {
            qtest_bufread(ring->qts, chain->addr[i], data, n);
        }
        data += n;
        len -= n;
    }
}

static void write_desc(VvtRing *ring, uint64_t at, uint64_t addr,
                       uint32_t len, uint16_t flags, uint16_t next)
{
    struct vring_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .flags = cpu_to_le16(flags),
        .next = cpu_to_le16(next),
    };

    qtest_memwrite(ring->qts, at, &desc, sizeof(desc));
}

/*
 * Write the descriptors of @chain into the table at @base: its i-th piece
 * goes to the place @index[i], or i if @index is NULL.
 */
static void write_pieces(VvtRing *ring, const VvtChain *chain, uint64_t base,
                         const uint16_t *index)
{
    unsigned i;

    for (i = 0; i < chain->n; i++) {
        bool last = i + 1 == chain->n;
        uint16_t at = index ? index[i] : i;
        uint16_t next = last ? 0 : index ? index[i + 1] : i + 1;
        uint16_t flags = last ? 0 : VRING_DESC_F_NEXT;
        uint64_t addr = chain->addr[i];

        if (chain->writable != (chain->fault == VVT_FAULT_WRITE_ONLY)) {
            flags |= VRING_DESC_F_WRITE;
        }
        if (last && chain->fault == VVT_FAULT_LOOP) {
            flags |= VRING_DESC_F_NEXT;
            next = index ? index[0] : 0;
        }
        if (last && chain->fault == VVT_FAULT_BAD_NEXT) {
            flags |= VRING_DESC_F_NEXT;
            next = UINT16_MAX - 1;
        }
        if (last && chain->fault == VVT_FAULT_OUTSIDE_RAM) {
            addr = OUTSIDE_RAM;
        }
        if (i == 0 && chain->fault == VVT_FAULT_NESTED_INDIRECT) {
            flags = VRING_DESC_F_INDIRECT;
            addr = base;
        }
        write_desc(ring, base + at * sizeof(struct vring_desc), addr,
                   chain->len[i], flags, next);
    }
}

unsigned vvt_ring_needs(const VvtChain *chain)
{
    return chain->indirect ? 1 : chain->n;
}

unsigned vvt_ring_size(const VvtRing *ring)
{
    return ring->vq->size;
}

static void write_avail(VvtRing *ring, uint16_t idx, uint16_t head)
{
    uint16_t le = cpu_to_le16(head);

    qtest_memwrite(ring->qts, ring->vq->avail +
                   offsetof(struct vring_avail, ring) +
                   2 * (idx % ring->vq->size), &le, sizeof(le));
}

static void write_avail_idx(VvtRing *ring, uint16_t idx)
{
    uint16_t le = cpu_to_le16(idx);

    ring->avail_idx = idx;
    qtest_memwrite(ring->qts, ring->vq->avail +
                   offsetof(struct vring_avail, idx), &le, sizeof(le));
}

bool vvt_ring_offer(VvtRing *ring, VvtChain *chain)
{
    unsigned needs = vvt_ring_needs(chain);
    uint16_t head;
    unsigned i;

    g_assert_cmpuint(needs, >, 0);
    if (needs > ring->n_free || ring->raw) {
        return false;
    }
    chain->descs = g_renew(uint16_t, chain->descs, needs);
    chain->n_descs = needs;
    for (i = 0; i < needs; i++) {
        chain->descs[i] = ring->free[--ring->n_free];
    }
    head = chain->descs[0];

    if (chain->indirect) {
        size_t table = chain->n * sizeof(struct vring_desc);

        if (!chain->table) {
            chain->table = guest_alloc(ring->alloc, table);
        }
        write_pieces(ring, chain, chain->table, NULL);
        write_desc(ring, ring->vq->desc + head * sizeof(struct vring_desc),
                   chain->table, table, VRING_DESC_F_INDIRECT, 0);
    } else {
        write_pieces(ring, chain, ring->vq->desc, chain->descs);
    }

    ring->by_head[head] = chain;
    ring->outstanding++;
    write_avail(ring, ring->avail_idx, chain->fault == VVT_FAULT_BAD_INDEX ?
                                       ring->vq->size + 5 : head);
    write_avail_idx(ring, ring->avail_idx + 1);
    return true;
}

void vvt_ring_kick(VvtRing *ring)
{
    uint16_t flags;

    qtest_memread(ring->qts, ring->vq->used +
                  offsetof(struct vring_used, flags), &flags, sizeof(flags));
    if (ring->vq->event || !(le16_to_cpu(flags) & VRING_USED_F_NO_NOTIFY)) {
        ring->vdev->bus->virtqueue_kick(ring->vdev, ring->vq);
    }
}

unsigned vvt_ring_outstanding(const VvtRing *ring)
{
    return ring->outstanding;
}

/* Take @chain out of the ring; its descriptors are free again. */
static void release(VvtRing *ring, VvtChain *chain)
{
    unsigned i;

    ring->by_head[chain->descs[0]] = NULL;
    ring->outstanding--;
    for (i = chain->n_descs; i > 0; i--) {
        ring->free[ring->n_free++] = chain->descs[i - 1];
    }
    chain->n_descs = 0;
}

void vvt_ring_forget(VvtRing *ring, VvtChain *chain)
{
    release(ring, chain);
    vvt_chain_free(ring, chain);
}

/* The element at ring->used_idx; false: it is not there yet. */
static bool read_used(VvtRing *ring, uint32_t *ret_id, uint32_t *ret_len)
{
    struct vring_used_elem elem;
    uint16_t idx;

    qtest_memread(ring->qts, ring->vq->used +
                  offsetof(struct vring_used, idx), &idx, sizeof(idx));
    if (le16_to_cpu(idx) == ring->used_idx) {
        return false;
    }
    qtest_memread(ring->qts, ring->vq->used +
                  offsetof(struct vring_used, ring) +
                  sizeof(elem) * (ring->used_idx % ring->vq->size),
                  &elem, sizeof(elem));
    *ret_id = le32_to_cpu(elem.id);
    *ret_len = le32_to_cpu(elem.len);
    return true;
}

VvtChain *vvt_ring_take_used(VvtRing *ring, uint32_t *ret_written)
{
    VvtChain *chain;
    uint32_t id;

    if (ring->error || ring->raw || !read_used(ring, &id, ret_written)) {
        return NULL;
    }
    if (id >= ring->vq->size || !ring->by_head[id]) {
        ring->error = g_strdup_printf("queue %u: the device returned "
                                      "descriptor %u, which was not offered "
                                      "(used index %u)", ring->vq->index, id,
                                      ring->used_idx);
        return NULL;
    }
    ring->used_idx++;
    chain = ring->by_head[id];
    release(ring, chain);
    if (!chain->writable && *ret_written != 0) {
        ring->error = g_strdup_printf("queue %u: the device says it wrote %u "
                                      "bytes into a chain it may only read",
                                      ring->vq->index, *ret_written);
    } else if (chain->writable && *ret_written > chain->size) {
        ring->error = g_strdup_printf("queue %u: the device says it wrote %u "
                                      "bytes into a chain of %zu",
                                      ring->vq->index, *ret_written,
                                      chain->size);
    }
    return chain;
}

const char *vvt_ring_error(const VvtRing *ring)
{
    return ring->error;
}

const QVirtQueue *vvt_ring_queue(const VvtRing *ring)
{
    return ring->vq;
}

void vvt_ring_set_raw(VvtRing *ring)
{
    ring->raw = true;
}

bool vvt_ring_is_raw(const VvtRing *ring)
{
    return ring->raw;
}

void vvt_ring_raw_offer(VvtRing *ring, const uint32_t *heads, unsigned n,
                        uint16_t jump)
{
    unsigned i;

    ring->raw = true;
    ring->raw_bent |= jump != n;
    ring->raw_out += n;
    for (i = 0; i < n; i++) {
        write_avail(ring, ring->avail_idx + i, heads[i]);
    }
    write_avail_idx(ring, ring->avail_idx + jump);
}

bool vvt_ring_raw_take(VvtRing *ring, uint32_t *ret_id, uint32_t *ret_len)
{
    if (!read_used(ring, ret_id, ret_len)) {
        return false;
    }
    ring->used_idx++;
    if (ring->raw_out > 0 && --ring->raw_out == 0 && !ring->raw_bent) {
        ring->raw = false;
    }
    return true;
}
