/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Chains of descriptors: vring.c.
 *
 * All bytes of the guest's memory are any bytes.  Each area, and each piece
 * that the embedder maps, is memory of its own that ends where it has to.
 *
 * Bounds: a ring of NUM descriptors, tables of up to DESCS of them, and
 * buffers or descriptors that lie in up to MAPS pieces.  Which descriptor it is
 * counts only for its offset, of which a table of DESCS has the first, one
 * within, and the last; from one piece to the next nothing is carried but how
 * many bytes are done.  growing_keeps_the_pieces() takes any number of pieces
 * up to the limit.  The walk from one descriptor to the next is proof-walk.c's.
 */

#include "stubs.h"

/* As it is built, with what is static in it. */
#include "vring.c"

#define NUM 2
#define DESCS 3
#define MAPS 3

static bool is_read; /* what is mapped; else only its address counts */
static uint8_t buffers[MAPS];

/* What was mapped, in order. */
static struct {
    uint64_t gpa;
    uint64_t len;
    uint8_t *at;
} map_log[MAPS];
static unsigned int n_maps;

static void *any_map(void *opaque, uint64_t gpa, uint64_t *len)
{
    uint64_t n = nondet_u64();

    (void)opaque;
    prove(*len >= 1 && *len <= UINT32_MAX, "some bytes are asked for");
    assume(n_maps < MAPS);
    if (nondet_bool()) {
        return NULL;
    }
    assume(n >= 1 && n <= *len);
    *len = n;
    map_log[n_maps].gpa = gpa;
    map_log[n_maps].len = n;
    map_log[n_maps].at = is_read ? any_bytes(n) : buffers + n_maps;
    return map_log[n_maps++].at;
}

/* A ring in use, some of whose chains are out. */
static VskVring *any_vring(void)
{
    static const VskVringOps ops = { .map = any_map };
    static VskElem elems[NUM];
    static uint16_t free_elems[NUM];
    static VskVring vring;

    vring = (VskVring) {
        .ops = &ops,
        .num = NUM,
        .desc = any_bytes(VSK_VRING_DESC_SIZE(NUM)),
        .avail = any_bytes(VSK_VRING_AVAIL_SIZE(NUM)),
        .used = any_bytes(VSK_VRING_USED_SIZE(NUM)),
        .event_idx = nondet_bool(),
        .indirect = nondet_bool(),
        .next_avail = nondet_u16(),
        .seen_avail = nondet_u16(),
        .used_idx = nondet_u16(),
        .flushed = nondet_u16(),
        .notify = nondet_bool(),
        .elems = elems,
        .free_elems = free_elems,
        .n_free = nondet_u32(),
    };
    assume((uint16_t)(vring.seen_avail - vring.next_avail) <= NUM);
    assume((uint16_t)(vring.used_idx - vring.flushed) <= NUM);
    assume(vring.n_free <= NUM);
    free_elems[0] = nondet_bool();
    free_elems[1] = !free_elems[0];
    return &vring;
}

/* One descriptor, of a table in one piece or in several: read within it, as it
 * is, and nothing is asked for that is not of it. */
void descriptor_is_read_within_its_table(void)
{
    static const VskVringOps ops = { .map = any_map };
    VskVring vring = { .ops = &ops };
    Table table = { .n = nondet_u32() };
    unsigned int i = nondet_u32();
    struct vring_desc got;
    const struct vring_desc *in_table;
    bool whole = nondet_bool();

    is_read = true;
    assume(table.n <= DESCS && i < table.n);
    if (whole) {
        table.at = any_bytes(table.n * sizeof(got));
    } else {
        table.gpa = nondet_u64();
        assume(table.gpa <= UINT64_MAX - DESCS * sizeof(got));
    }
    if (!read_desc(&vring, &table, i, &got)) {
        reached("memory that is not there");
        prove(vring.broken && !whole, "the ring is broken");
        return;
    }
    if (whole) {
        reached("a table in one piece");
        in_table = (const struct vring_desc *)table.at + i;
        prove(n_maps == 0, "nothing is mapped");
        prove(got.addr == in_table->addr && got.len == in_table->len &&
              got.flags == in_table->flags && got.next == in_table->next,
              "it is the table's");
    } else {
        reached("a table in several pieces");
        prove(n_maps >= 1, "it is mapped");
        prove(map_log[0].gpa == table.gpa + i * sizeof(got),
              "from its first byte");
        prove(map_log[n_maps - 1].gpa + map_log[n_maps - 1].len ==
              table.gpa + (i + 1) * sizeof(got), "to its last");
    }
    reached("the end");
}

/* A table that is opened has the size that its descriptor says, within the
 * limit, and is in memory if it is said to be in one piece. */
void indirect_table_is_bounded(void)
{
    static const VskVringOps ops = { .map = any_map };
    VskVring vring = { .ops = &ops, .num = nondet_u16(),
                       .indirect = nondet_bool() };
    struct vring_desc desc_of_table;
    Table table;

    assume(vring.num >= 1 && vring.num <= 32768);
    if (open_indirect(&vring, &desc_of_table, &table)) {
        reached("a table");
        prove(vring.indirect, "it was negotiated");
        prove(table.n >= 1 && table.n <= MAX(vring.num, VSK_MAX_CHAIN_IOV),
              "it has descriptors, and not too many");
        prove(table.n * sizeof(desc_of_table) == desc_of_table.len,
              "it has the size that was said");
        if (table.at) {
            reached("a table in one piece");
            prove(map_log[0].at == table.at &&
                  map_log[0].len == desc_of_table.len, "it is in memory");
        }
    } else {
        reached("a table that is refused");
        prove(vring.broken, "the ring is broken");
    }
    reached("the end");
}

/* A buffer of any address and length: its pieces are what was mapped, in
 * order, and all of it. */
void buffer_is_its_pieces(void)
{
    static const VskVringOps ops = { .map = any_map };
    static VskElem elem;
    VskVring vring = { .ops = &ops };
    unsigned int before = 1, probe = nondet_u32();
    uint64_t gpa = nondet_u64(), done = 0;
    uint32_t len = nondet_u32();

    elem.iov = elem.own_iov;
    elem.gpa = elem.own_gpa;
    elem.max = VSK_ELEM_IOV;
    elem.n_iov = before;
    assume(gpa <= UINT64_MAX - len);
    if (!add_pieces(&vring, &elem, gpa, len)) {
        reached("a buffer that is refused");
        prove(vring.broken, "the ring is broken");
        return;
    }
    prove(len > 0, "it has bytes");
    prove(elem.n_iov == before + n_maps, "all pieces are noted");
    for (unsigned int i = 0; i < MAPS; i++) {
        if (i < n_maps) {
            prove(map_log[i].gpa == gpa + done, "without a gap");
            done += map_log[i].len;
        }
    }
    prove(done == len, "all of it");
    if (probe < n_maps) {
        prove(elem.iov[before + probe].iov_base == map_log[probe].at &&
              elem.iov[before + probe].iov_len == map_log[probe].len &&
              elem.gpa[before + probe] == map_log[probe].gpa,
              "a piece is what was mapped");
    }
    if (n_maps == MAPS) {
        reached("a buffer of some pieces");
    }
    reached("the end");
}

/* A chain is given back with any length: the used ring is written within. */
void push_stays_in_the_used_ring(void)
{
    VskVring *vring = any_vring();
    VskVring before = *vring;
    uint32_t len = nondet_u32();
    VskElem *elem;
    VskChain chain;

    assume(vring->n_free < NUM);
    elem = &vring->elems[vring->free_elems[vring->n_free]];
    elem->head = nondet_u16();
    assume(elem->head < NUM);
    elem->iov = elem->own_iov;
    chain = (VskChain) { .elem = elem };
    vsk_vring_push(vring, &chain, len);
    prove(vring->used_idx == (uint16_t)(before.used_idx + 1), "one more");
    prove(vring->used->ring[before.used_idx % NUM].id == elem->head &&
          vring->used->ring[before.used_idx % NUM].len == len,
          "it is at its place");
    prove(vring->n_free == before.n_free + 1, "its slot is free");
    prove(vring->free_elems[before.n_free] == elem - vring->elems,
          "it is the one that was used");
    vsk_vring_publish(vring);
    prove(vring->used->idx == vring->used_idx, "the driver is told");
    vsk_vring_wants_interrupt(vring);
    vsk_vring_set_notification(vring, nondet_bool());
    reached("the end");
}

/* A chain with pieces up to the limit: one more has room, or is refused. */
void growing_keeps_the_pieces(void)
{
    static VskElem elem;
    unsigned int probe = nondet_u32();
    struct iovec before;
    uint64_t gpa;

    elem.iov = elem.own_iov;
    elem.gpa = elem.own_gpa;
    elem.max = VSK_ELEM_IOV;
    elem.n_iov = nondet_u32();
    if (nondet_bool()) {
        elem.max = VSK_MAX_CHAIN_IOV;
        elem.iov = any_bytes(elem.max * sizeof(*elem.iov));
        elem.gpa = any_bytes(elem.max * sizeof(*elem.gpa));
    } else {
        for (unsigned int i = 0; i < VSK_ELEM_IOV; i++) {
            elem.own_iov[i].iov_len = nondet_size();
            elem.own_gpa[i] = nondet_u64();
        }
    }
    assume(elem.n_iov <= elem.max && probe < elem.n_iov);
    before = elem.iov[probe];
    gpa = elem.gpa[probe];
    if (make_room(&elem)) {
        reached("there is room");
        prove(elem.n_iov < elem.max, "for one more");
        prove(__CPROVER_w_ok(elem.iov, (elem.n_iov + 1) * sizeof(*elem.iov)),
              "in memory");
        prove(__CPROVER_w_ok(elem.gpa, (elem.n_iov + 1) * sizeof(*elem.gpa)),
              "also for its address");
        if (elem.n_iov == VSK_ELEM_IOV) {
            reached("it grew");
        }
    } else {
        reached("there is none");
        prove(elem.n_iov == VSK_MAX_CHAIN_IOV, "only at the limit");
    }
    prove(elem.iov[probe].iov_len == before.iov_len && elem.gpa[probe] == gpa,
          "what was there is there");
    reached("the end");
}
