/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A split virtqueue (virtio 1.4, 2.7).
 *
 * The driver may write to every byte of the ring at any time.  So a descriptor
 * is copied once and judged by the copy, a chain has as many of them as its
 * table at the most, and its pieces are kept in here, in #VskElem.
 */

#include "vring-internal.h"

#include <string.h>

/* The driver broke a rule; a ring does not recover from that (2.1.2). */
static bool fail(VskVring *vring, const char *why)
{
    vring->broken = why;
    return false;
}

static void note_dirty(VskVring *vring, uint64_t gpa, uint64_t len)
{
    if (vring->ops->dirty && len) {
        vring->ops->dirty(vring->opaque, gpa, len);
    }
}

static void note_used(VskVring *vring, size_t offset, size_t len)
{
    note_dirty(vring, vring->used_gpa + offset, len);
}

/* 2.7.10: the index of the chain that is to be told of. */
static void set_avail_event(VskVring *vring, uint16_t index)
{
    __virtio16 *event = (__virtio16 *)&vring->used->ring[vring->num];

    __atomic_store_n(event, GUINT16_TO_LE(index), __ATOMIC_RELAXED);
    note_used(vring, VSK_VRING_USED_SIZE(vring->num) - sizeof(*event),
              sizeof(*event));
}

/* --- Making one ---------------------------------------------------------- */

static bool is_aligned(const void *p, uintptr_t to)
{
    return p && (uintptr_t)p % to == 0;
}

static bool check(const VskVringConfig *config, GError **errp)
{
    const char *why = NULL;

    if (!config->num || config->num > 32768 ||
        (config->num & (config->num - 1))) {
        why = "its size is not a power of 2 up to 32768";
    } else if (!is_aligned(config->desc, 16) ||
               !is_aligned(config->avail, 2) ||
               !is_aligned(config->used, 4)) {
        why = "one of its areas is missing or not aligned";
    } else if (config->inflight && config->inflight->desc_num < config->num) {
        why = "its inflight buffer is too small";
    }
    if (why) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "virtqueue of %u descriptors: %s", config->num, why);
    }
    return !why;
}

static uint16_t load16(const __virtio16 *p)
{
    return GUINT16_FROM_LE(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

VskVring *vsk_vring_new(const VskVringConfig *config, const VskVringOps *ops,
                        void *opaque, GError **errp)
{
    VskVring *vring;

    if (!check(config, errp)) {
        return NULL;
    }
    vring = g_new0(VskVring, 1);
    vring->ops = ops;
    vring->opaque = opaque;
    vring->num = config->num;
    vring->desc = config->desc;
    vring->avail = config->avail;
    vring->used = config->used;
    vring->used_gpa = config->used_gpa;
    vring->event_idx = config->event_idx;
    vring->indirect = config->indirect;
    vring->next_avail = config->base;
    vring->used_idx = load16(&vring->used->idx);
    vring->flushed = vring->used_idx;
    vring->notify = true;
    vring->elems = g_new(VskElem, config->num);
    vring->free_elems = g_new(uint16_t, config->num);
    for (unsigned int i = 0; i < config->num; i++) {
        vring->free_elems[vring->n_free++] = (uint16_t)(config->num - 1 - i);
    }
    if (config->inflight) {
        vring->inflight = config->inflight;
        vsk_inflight_begin(vring);
    }
    vring->seen_avail = vring->next_avail;
    return vring;
}

/* Give back what chains that are out needed beyond their #VskElem. */
static void forget_chains(VskVring *vring)
{
    g_autofree bool *is_free = g_new0(bool, vring->num);

    for (unsigned int i = 0; i < vring->n_free; i++) {
        is_free[vring->free_elems[i]] = true;
    }
    for (unsigned int i = 0; i < vring->num; i++) {
        VskElem *elem = &vring->elems[i];

        if (!is_free[i] && elem->iov != elem->own_iov) {
            g_free(elem->iov);
            g_free(elem->gpa);
        }
    }
}

void vsk_vring_free(VskVring *vring)
{
    if (!vring) {
        return;
    }
    forget_chains(vring);
    g_free(vring->elems);
    g_free(vring->free_elems);
    g_free(vring->resubmit);
    g_free(vring);
}

const char *vsk_vring_broken(const VskVring *vring)
{
    return vring->broken;
}

uint16_t vsk_vring_base(const VskVring *vring)
{
    return vring->next_avail;
}

/* --- Chains -------------------------------------------------------------- */

static VskElem *take_elem(VskVring *vring, uint16_t head)
{
    VskElem *elem;

    if (!vring->n_free) {
        fail(vring, "more chains available than there are descriptors");
        return NULL;
    }
    elem = &vring->elems[vring->free_elems[--vring->n_free]];
    elem->head = head;
    elem->resubmitted = false;
    elem->n_iov = 0;
    elem->max = VSK_ELEM_IOV;
    elem->iov = elem->own_iov;
    elem->gpa = elem->own_gpa;
    return elem;
}

static void free_elem(VskVring *vring, VskElem *elem)
{
    if (elem->iov != elem->own_iov) {
        g_free(elem->iov);
        g_free(elem->gpa);
    }
    vring->free_elems[vring->n_free++] = (uint16_t)(elem - vring->elems);
}

/* Room for one more piece of @elem; false if it has too many. */
static bool make_room(VskElem *elem)
{
    if (elem->n_iov < elem->max) {
        return true;
    }
    if (elem->max == VSK_MAX_CHAIN_IOV) {
        return false;
    }
    elem->max = VSK_MAX_CHAIN_IOV;
    elem->iov = g_new(struct iovec, elem->max);
    elem->gpa = g_new(uint64_t, elem->max);
    memcpy(elem->iov, elem->own_iov, sizeof(elem->own_iov));
    memcpy(elem->gpa, elem->own_gpa, sizeof(elem->own_gpa));
    return true;
}

/* The first piece of @len bytes at @gpa.  Returns its length, 0 on failure. */
static uint32_t add_piece(VskVring *vring, VskElem *elem, uint64_t gpa,
                          uint32_t len)
{
    uint64_t n = len;
    void *at = vring->ops->map(vring->opaque, gpa, &n);

    if (!at) {
        fail(vring, "a buffer outside of the guest's memory");
        return 0;
    }
    if (!make_room(elem)) {
        fail(vring, "a chain of too many buffers");
        return 0;
    }
    elem->iov[elem->n_iov] = (struct iovec) { at, n };
    elem->gpa[elem->n_iov++] = gpa;
    return (uint32_t)n;
}

/* The pieces in which @len bytes at @gpa lie. */
static bool add_pieces(VskVring *vring, VskElem *elem, uint64_t gpa,
                       uint32_t len)
{
    if (!len) {
        return fail(vring, "a buffer without bytes");
    }
    while (len) {
        uint32_t n = add_piece(vring, elem, gpa, len);

        if (!n) {
            return false;
        }
        gpa += n;
        len -= n;
    }
    return true;
}

/* Descriptors: the ring's own, or those of an indirect one. */
typedef struct Table {
    const uint8_t *at; /* NULL: not in one piece, read by @gpa */
    uint64_t gpa;
    unsigned int n;
} Table;

/* A copy of descriptor @i of @table, in host byte order. */
static bool read_desc(VskVring *vring, const Table *table, unsigned int i,
                      struct vring_desc *ret_desc)
{
    struct vring_desc raw;
    size_t offset = (size_t)i * sizeof(raw);

    if (table->at) {
        memcpy(&raw, table->at + offset, sizeof(raw));
    } else {
        for (size_t done = 0; done < sizeof(raw); ) {
            uint64_t n = sizeof(raw) - done;
            void *at = vring->ops->map(vring->opaque,
                                       table->gpa + offset + done, &n);

            if (!at) {
                return fail(vring, "a descriptor outside of the guest's "
                            "memory");
            }
            memcpy((uint8_t *)&raw + done, at, n);
            done += n;
        }
    }
    /* From here on the copy counts, whatever the driver writes. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *ret_desc = (struct vring_desc) {
        .addr = GUINT64_FROM_LE(raw.addr),
        .len = GUINT32_FROM_LE(raw.len),
        .flags = GUINT16_FROM_LE(raw.flags),
        .next = GUINT16_FROM_LE(raw.next),
    };
    return true;
}

/* 2.7.5.3: @desc is a table. */
static bool open_indirect(VskVring *vring, const struct vring_desc *desc,
                          Table *ret_table)
{
    uint64_t len = desc->len;

    if (!vring->indirect) {
        return fail(vring, "an indirect table that was not negotiated");
    }
    if (desc->flags & VRING_DESC_F_NEXT) {
        return fail(vring, "an indirect table that goes on");
    }
    if (!len || len % sizeof(*desc) ||
        len / sizeof(*desc) > MAX(vring->num, VSK_MAX_CHAIN_IOV)) {
        return fail(vring, "an indirect table of a bad size");
    }
    ret_table->gpa = desc->addr;
    ret_table->n = (unsigned int)(len / sizeof(*desc));
    ret_table->at = vring->ops->map(vring->opaque, desc->addr, &len);
    if (len < desc->len) {
        ret_table->at = NULL;
    }
    return true;
}

/* A chain, on the way from one descriptor to the next. */
typedef struct Walk {
    Table table;
    struct vring_desc desc; /* a copy of the one that is to be looked at */
    unsigned int n;         /* descriptors, with this one */
    unsigned int n_out;     /* pieces that the device reads */
    bool writable;          /* the one before was */
} Walk;

/* The first descriptor; of an indirect table, the first of that. */
static bool begin_walk(VskVring *vring, unsigned int head, Walk *walk)
{
    walk->table = (Table) { (const uint8_t *)vring->desc, 0, vring->num };
    walk->n = 1;
    walk->n_out = 0;
    walk->writable = false;
    if (!read_desc(vring, &walk->table, head, &walk->desc)) {
        return false;
    }
    return !(walk->desc.flags & VRING_DESC_F_INDIRECT) ||
           (open_indirect(vring, &walk->desc, &walk->table) &&
            read_desc(vring, &walk->table, 0, &walk->desc));
}

/* Collect the pieces of the descriptor that the walk is at. */
static bool take_desc(VskVring *vring, VskElem *elem, Walk *walk)
{
    bool writable = walk->desc.flags & VRING_DESC_F_WRITE;

    if (walk->desc.flags & VRING_DESC_F_INDIRECT) {
        return fail(vring, "an indirect table within a chain");
    }
    if (!writable && walk->writable) {
        return fail(vring, "a buffer to read behind one to write");
    }
    walk->writable = writable;
    if (!add_pieces(vring, elem, walk->desc.addr, walk->desc.len)) {
        return false;
    }
    if (!writable) {
        walk->n_out = elem->n_iov;
    }
    return true;
}

/*
 * Go on to the next descriptor: as many times as the table has them, less one,
 * at the most.
 */
static bool next_desc(VskVring *vring, Walk *walk)
{
    if (walk->desc.next >= walk->table.n) {
        return fail(vring, "a descriptor that does not exist");
    }
    if (walk->n == walk->table.n) {
        return fail(vring, "a chain that is a loop");
    }
    walk->n++;
    return read_desc(vring, &walk->table, walk->desc.next, &walk->desc);
}

/* Collect the pieces of a chain.  *@ret_n_out: those that the device reads. */
static bool walk_chain(VskVring *vring, VskElem *elem,
                       unsigned int *ret_n_out)
{
    Walk walk;

    if (!begin_walk(vring, elem->head, &walk) ||
        !take_desc(vring, elem, &walk)) {
        return false;
    }
    while (walk.desc.flags & VRING_DESC_F_NEXT) {
        if (!next_desc(vring, &walk) || !take_desc(vring, elem, &walk)) {
            return false;
        }
    }
    *ret_n_out = walk.n_out;
    return true;
}

/* The first descriptor of the next chain. */
static bool next_head(VskVring *vring, uint16_t *ret_head)
{
    uint16_t head;

    if (vring->n_resubmit) {
        *ret_head = vring->resubmit[vring->n_resubmit - 1];
        return true;
    }
    if (vring->next_avail == vring->seen_avail) {
        vring->seen_avail = load16(&vring->avail->idx);
        if ((uint16_t)(vring->seen_avail - vring->next_avail) > vring->num) {
            return fail(vring, "an index that jumped");
        }
        if (vring->next_avail == vring->seen_avail) {
            return false;
        }
    }
    head = load16(&vring->avail->ring[vring->next_avail & (vring->num - 1)]);
    if (head >= vring->num) {
        return fail(vring, "a chain that does not exist");
    }
    *ret_head = head;
    return true;
}

bool vsk_vring_pop(VskVring *vring, VskChain *ret_chain)
{
    unsigned int n_out;
    VskElem *elem;
    uint16_t head;

    if (vring->broken || !next_head(vring, &head)) {
        return false;
    }
    elem = take_elem(vring, head);
    if (!elem) {
        return false;
    }
    if (!walk_chain(vring, elem, &n_out)) {
        free_elem(vring, elem);
        return false;
    }
    if (vring->n_resubmit) {
        vring->n_resubmit--;
        elem->resubmitted = true; /* and noted already, with its place */
    } else {
        vring->next_avail++;
        if (vring->inflight) {
            vsk_inflight_set(vring, head);
        }
    }
    if (vring->event_idx && vring->notify) {
        set_avail_event(vring, vring->next_avail);
    }
    *ret_chain = (VskChain) {
        .elem = elem,
        .out = elem->iov,
        .n_out = n_out,
        .in = elem->iov + n_out,
        .n_in = elem->n_iov - n_out,
    };
    return true;
}

void vsk_vring_unpop(VskVring *vring, VskChain *chain)
{
    VskElem *elem = chain->elem;

    if (elem->resubmitted) {
        vring->resubmit[vring->n_resubmit++] = elem->head;
    } else {
        vring->next_avail--;
        if (vring->inflight) {
            vsk_inflight_clear(vring, elem->head);
        }
    }
    free_elem(vring, elem);
    chain->elem = NULL;
}

/* --- The used ring ------------------------------------------------------- */

/* The first @len bytes of what the device may write of @elem were written. */
static void note_written(VskVring *vring, const VskElem *elem,
                         unsigned int n_out, uint64_t len)
{
    for (unsigned int i = n_out; i < elem->n_iov && len; i++) {
        uint64_t n = MIN(elem->iov[i].iov_len, len);

        note_dirty(vring, elem->gpa[i], n);
        len -= n;
    }
}

void vsk_vring_push(VskVring *vring, VskChain *chain, uint32_t len)
{
    unsigned int i = vring->used_idx & (vring->num - 1);
    struct vring_used_elem *used = &vring->used->ring[i];
    VskElem *elem = chain->elem;

    if (!vring->broken) {
        if (vring->ops->dirty) {
            note_written(vring, elem, chain->n_out, len);
        }
        used->id = GUINT32_TO_LE(elem->head);
        used->len = GUINT32_TO_LE(len);
        note_used(vring, offsetof(struct vring_used, ring) +
                  i * sizeof(*used), sizeof(*used));
        if (vring->inflight) {
            vsk_inflight_push(vring, elem->head);
        }
        vring->used_idx++;
    }
    free_elem(vring, elem);
    chain->elem = NULL;
}

bool vsk_vring_wants_interrupt(VskVring *vring)
{
    uint16_t old = vring->signalled;
    bool ever = vring->ever_signalled;
    uint16_t event;

    if (vring->broken) {
        return false;
    }
    /* The index first, then the driver's wish: it does the reverse. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!vring->event_idx) {
        return !(load16(&vring->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    }
    event = load16(&vring->avail->ring[vring->num]);
    vring->signalled = vring->used_idx;
    vring->ever_signalled = true;
    return !ever || vring_need_event(event, vring->used_idx, old);
}

bool vsk_vring_publish(VskVring *vring)
{
    uint16_t n = (uint16_t)(vring->used_idx - vring->flushed);

    if (vring->broken || !n) {
        return false;
    }
    __atomic_store_n(&vring->used->idx, GUINT16_TO_LE(vring->used_idx),
                     __ATOMIC_RELEASE);
    note_used(vring, offsetof(struct vring_used, idx),
              sizeof(vring->used->idx));
    vring->flushed = vring->used_idx;
    if (vring->inflight) {
        vsk_inflight_flushed(vring, n);
    }
    return true;
}

bool vsk_vring_has_avail(const VskVring *vring)
{
    return !vring->broken &&
           (vring->n_resubmit ||
            load16(&vring->avail->idx) != vring->next_avail);
}

bool vsk_vring_set_notification(VskVring *vring, bool enable)
{
    if (vring->broken) {
        return false;
    }
    if (!vring->event_idx) {
        uint16_t flags = enable ? 0 : VRING_USED_F_NO_NOTIFY;

        __atomic_store_n(&vring->used->flags, GUINT16_TO_LE(flags),
                         __ATOMIC_RELAXED);
        note_used(vring, offsetof(struct vring_used, flags),
                  sizeof(vring->used->flags));
    } else if (enable) {
        /* Those that are there it has told of, or we are about to see. */
        set_avail_event(vring, load16(&vring->avail->idx));
    } /* else the index stays behind, and the driver seldom comes by it */
    vring->notify = enable;
    if (!enable) {
        return false;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vsk_vring_has_avail(vring);
}
