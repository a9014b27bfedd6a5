/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The walk over a whole chain: vring.c.
 *
 * By induction, so that there is no bound on descriptors or pieces.  A walk
 * begins in a state (see is_walk()) that each of its steps keeps, from any such
 * state, and each step has one descriptor less to go, of as many as the table
 * has at the most.  In the same way each piece of a buffer leaves the chain's
 * list as it has to be (see is_elem()), and fewer bytes to go.
 *
 * What a step calls is replaced by all that it may do, and is asked for no more
 * than what is proven of it: read_desc() by any_desc(), of which
 * descriptor_of_any_table() is the proof; add_pieces() by any_pieces(), see
 * piece_keeps_the_list(); walk_chain() by any_walk(), see the others.  A
 * descriptor is any bytes each time that one is read: so the driver may have
 * written what it likes, whenever it likes.
 *
 * Bounds: none for the steps: tables of up to 32768 descriptors, which is what
 * vsk_vring_new() and open_indirect() let pass.  A descriptor that is read lies
 * in up to MAPS pieces, from one to the next of which nothing is carried but
 * how many bytes are done.  The ring of pop_keeps_the_ring() has NUM
 * descriptors: its size counts only where an index is cut to it.
 * chain_has_an_end() puts the steps together for tables of up to STEPS
 * descriptors.
 */

#include "stubs.h"

/* As it is built, with what is static in it. */
#include "vring.c"

#define NUM 2
#define MAPS 3
#define STEPS 4

/* --- What holds all the time --------------------------------------------- */

/* A list of pieces that is within its memory. */
static bool is_elem(const VskElem *elem)
{
    bool own = elem->max == VSK_ELEM_IOV && elem->iov == elem->own_iov &&
               elem->gpa == elem->own_gpa;

    return elem->n_iov <= elem->max &&
           (own || (elem->max == VSK_MAX_CHAIN_IOV &&
                    elem->iov != elem->own_iov &&
                    __CPROVER_w_ok(elem->iov,
                                   VSK_MAX_CHAIN_IOV * sizeof(*elem->iov)) &&
                    __CPROVER_w_ok(elem->gpa,
                                   VSK_MAX_CHAIN_IOV * sizeof(*elem->gpa))));
}

static void grow(VskElem *elem)
{
    elem->max = VSK_MAX_CHAIN_IOV;
    elem->iov = any_bytes(elem->max * sizeof(*elem->iov));
    elem->gpa = any_bytes(elem->max * sizeof(*elem->gpa));
}

static void make_any_elem(VskElem *elem)
{
    elem->max = VSK_ELEM_IOV;
    elem->iov = elem->own_iov;
    elem->gpa = elem->own_gpa;
    elem->n_iov = nondet_u32();
    if (nondet_bool()) {
        grow(elem);
    }
    assume(elem->n_iov <= elem->max);
}

static bool is_table(const Table *table)
{
    return table->n >= 1 && table->n <= 32768 &&
           (!table->at || __CPROVER_r_ok(table->at, table->n * 16));
}

/* One whose pieces up to now are in @elem: those that the device reads first,
 * and then, with @writable, others. */
static bool is_walk(const Walk *walk, const VskElem *elem)
{
    return is_table(&walk->table) &&
           walk->n >= 1 && walk->n <= walk->table.n &&
           walk->n_out <= elem->n_iov &&
           (walk->writable || walk->n_out == elem->n_iov);
}

/* --- What is called ------------------------------------------------------ */

static unsigned int n_asked, n_read, most_descs;
static uint64_t first_gpa; /* what may be asked for, to its last byte */
static uint64_t size_there;
static bool is_buffer; /* that nobody looks into */
static uint8_t there[sizeof(struct vring_desc)];

static void *any_map(void *opaque, uint64_t gpa, uint64_t *len)
{
    uint64_t n = nondet_u64();

    (void)opaque;
    assume(n_asked < MAPS);
    n_asked++;
    prove(*len >= 1, "some bytes are asked for");
    prove(gpa - first_gpa < size_there &&
          *len <= size_there - (gpa - first_gpa), "no others are asked for");
    if (nondet_bool()) {
        return NULL;
    }
    assume(n >= 1 && n <= *len);
    *len = n;
    /* A descriptor's pieces end where memory does; all others are pieces of
     * their own. */
    return size_there == sizeof(there) ? there + sizeof(there) - n
           : is_buffer ? there : any_bytes(n);
}

static const VskVringOps ops = { .map = any_map };

/* In place of read_desc(). */
bool any_desc(VskVring *vring, const Table *table, unsigned int i,
              struct vring_desc *ret_desc)
{
    struct vring_desc any;

    prove(is_table(table), "the table is one");
    prove(i < table->n, "the descriptor is in its table");
    if (nondet_bool()) {
        return fail(vring, "any");
    }
    if (most_descs) {
        prove(n_read++ < most_descs + 1, "no more than there are are read");
        assume(any.len <= most_descs * sizeof(any));
    }
    *ret_desc = any;
    first_gpa = any.addr; /* of an indirect table */
    size_there = any.len;
    return true;
}

/* In place of add_pieces(). */
bool any_pieces(VskVring *vring, VskElem *elem, uint64_t gpa, uint32_t len)
{
    unsigned int n_iov = elem->n_iov;

    (void)gpa;
    prove(is_elem(elem), "the list is within its memory");
    if (elem->max == VSK_ELEM_IOV && nondet_bool()) {
        grow(elem);
    }
    elem->n_iov = nondet_u32();
    assume(elem->n_iov >= n_iov && elem->n_iov <= elem->max);
    if (!len || nondet_bool()) {
        return fail(vring, "any");
    }
    assume(elem->n_iov > n_iov);
    return true;
}

/* In place of make_room(), see growing_keeps_the_pieces() in proof-vring.c. */
bool any_room(VskElem *elem)
{
    prove(is_elem(elem), "the list is within its memory");
    if (elem->n_iov < elem->max) {
        return true;
    }
    if (elem->max == VSK_MAX_CHAIN_IOV) {
        return false;
    }
    grow(elem);
    return true;
}

/* In place of walk_chain(); that the list may have grown does not count. */
bool any_walk(VskVring *vring, VskElem *elem, unsigned int *ret_n_out)
{
    prove(elem->head < vring->num, "the first descriptor exists");
    prove(is_elem(elem) && elem->n_iov == 0, "the list is empty");
    elem->n_iov = nondet_u32();
    assume(elem->n_iov <= elem->max);
    if (nondet_bool()) {
        return fail(vring, "any");
    }
    *ret_n_out = nondet_u32();
    assume(elem->n_iov >= 1 && *ret_n_out <= elem->n_iov);
    return true;
}

/* --- Descriptors and pieces ---------------------------------------------- */

/* Any descriptor of any table: read where there is memory, and no byte is asked
 * for that is not of it.  Linked with stubs-memory.c. */
void descriptor_of_any_table(void)
{
    VskVring vring = { .ops = &ops };
    Table table = { .gpa = nondet_u64(), .n = nondet_u32() };
    unsigned int i = nondet_u32();
    struct vring_desc got;

    assume(table.n >= 1 && table.n <= 32768 && i < table.n);
    if (nondet_bool()) {
        table.at = any_bytes(table.n * sizeof(got));
    }
    first_gpa = table.gpa + i * sizeof(got);
    size_there = sizeof(got);
    if (read_desc(&vring, &table, i, &got)) {
        prove(!table.at == !!n_asked, "mapped if it is not yet");
        if (n_asked == MAPS) {
            reached("a table in several pieces");
        }
    } else {
        prove(vring.broken && n_asked, "the ring is broken");
    }
    reached("the end");
}

/* One more piece, of any list: it is written within the list's memory, or the
 * ring is broken. */
void piece_keeps_the_list(void)
{
    VskVring vring = { .ops = &ops };
    static VskElem elem;
    uint32_t len = nondet_u32(), n;
    uint64_t gpa = nondet_u64();
    unsigned int before;

    make_any_elem(&elem);
    before = elem.n_iov;
    assume(len >= 1);
    first_gpa = gpa;
    size_there = len;
    is_buffer = true;
    n = add_piece(&vring, &elem, gpa, len);
    prove(n <= len, "no more than there was to do");
    prove(is_elem(&elem), "the list is within its memory");
    if (n) {
        prove(elem.n_iov == before + 1, "it is one more");
        if (elem.n_iov == VSK_MAX_CHAIN_IOV) {
            reached("the last one");
        }
    } else {
        prove(vring.broken, "the ring is broken");
        prove(elem.n_iov == before, "nothing was added");
    }
    reached("the end");
}

/* --- Steps --------------------------------------------------------------- */

static void make_any_ring(VskVring *vring)
{
    *vring = (VskVring) {
        .ops = &ops, .num = nondet_u32(), .indirect = nondet_bool(),
    };
    assume(vring->num >= 1 && vring->num <= 32768);
    vring->desc = any_bytes(VSK_VRING_DESC_SIZE(vring->num));
}

/* The first descriptor of a chain, in the ring's table or an indirect one. */
void walk_begins(void)
{
    static VskElem elem;
    VskVring vring;
    Walk walk;

    make_any_ring(&vring);
    elem.head = nondet_u16();
    elem.max = VSK_ELEM_IOV;
    elem.iov = elem.own_iov;
    elem.gpa = elem.own_gpa;
    assume(elem.head < vring.num);
    if (begin_walk(&vring, elem.head, &walk)) {
        prove(is_walk(&walk, &elem), "the walk has begun");
        if (n_asked) {
            reached("an indirect table");
        }
        if (walk.table.n == 32768) {
            reached("the largest table");
        }
    } else {
        prove(vring.broken, "the ring is broken");
    }
    reached("the end");
}

/* The pieces of one descriptor, in any state. */
void walk_takes_a_descriptor(void)
{
    static VskElem elem;
    VskVring vring;
    Walk walk, before;
    unsigned int n_iov;

    make_any_ring(&vring);
    make_any_elem(&elem);
    walk.table.at = NULL; /* nobody looks at it */
    assume(is_walk(&walk, &elem));
    before = walk;
    n_iov = elem.n_iov;
    if (take_desc(&vring, &elem, &walk)) {
        prove(is_walk(&walk, &elem), "the walk goes on");
        prove(walk.n == before.n && walk.table.n == before.table.n,
              "with as much to go");
        prove(elem.n_iov > n_iov, "it has pieces");
        if (before.desc.flags & VRING_DESC_F_WRITE) {
            reached("a buffer to write");
            prove(walk.n_out == before.n_out, "it is not one to read");
        } else {
            reached("a buffer to read");
            prove(!before.writable && walk.n_out == elem.n_iov,
                  "it is one to read, behind such");
        }
    } else {
        prove(vring.broken, "the ring is broken");
    }
    prove(is_elem(&elem), "the list is within its memory");
    reached("the end");
}

/* On to the next descriptor, in any state. */
void walk_goes_on(void)
{
    static VskElem elem;
    VskVring vring;
    Walk walk, before;

    make_any_ring(&vring);
    make_any_elem(&elem);
    walk.table.n = nondet_u32();
    assume(walk.table.n >= 1 && walk.table.n <= 32768);
    walk.table.at = nondet_bool() ? any_bytes(walk.table.n * 16) : NULL;
    assume(is_walk(&walk, &elem));
    before = walk;
    if (next_desc(&vring, &walk)) {
        prove(is_walk(&walk, &elem), "the walk goes on");
        prove(walk.n == before.n + 1, "there is one less to go");
        prove(walk.table.n == before.table.n, "of the same table");
        if (walk.n == 32768) {
            reached("the last one");
        }
    } else {
        prove(vring.broken, "the ring is broken");
    }
    reached("the end");
}

/* The steps together: a walk over a small table ends, also in a loop. */
void chain_has_an_end(void)
{
    static VskElem elem;
    VskVring vring;
    unsigned int n_out;

    make_any_ring(&vring);
    most_descs = STEPS;
    assume(vring.num <= STEPS);
    elem.head = nondet_u16();
    elem.max = VSK_ELEM_IOV;
    elem.iov = elem.own_iov;
    elem.gpa = elem.own_gpa;
    assume(elem.head < vring.num);
    if (walk_chain(&vring, &elem, &n_out)) {
        prove(elem.n_iov >= 1 && n_out <= elem.n_iov, "it has pieces");
        if (n_out < elem.n_iov && n_out) {
            reached("buffers of both kinds");
        }
    } else {
        prove(vring.broken, "the ring is broken");
    }
    prove(is_elem(&elem), "the list is within its memory");
    reached("the end");
}

/* --- A chain of a ring --------------------------------------------------- */

/* A ring in use, with any chains out, and perhaps some of a process that died
 * to be taken up. */
static void make_ring_in_use(VskVring *vring)
{
    static VskElem elems[NUM];
    static uint16_t free_elems[NUM];

    *vring = (VskVring) {
        .ops = &ops,
        .num = NUM,
        .desc = any_bytes(VSK_VRING_DESC_SIZE(NUM)),
        .avail = any_bytes(VSK_VRING_AVAIL_SIZE(NUM)),
        .used = any_bytes(VSK_VRING_USED_SIZE(NUM)),
        .event_idx = nondet_bool(),
        .next_avail = nondet_u16(),
        .seen_avail = nondet_u16(),
        .notify = nondet_bool(),
        .elems = elems,
        .free_elems = free_elems,
        .n_free = nondet_u32(),
    };
    assume((uint16_t)(vring->seen_avail - vring->next_avail) <= NUM);
    assume(vring->n_free <= NUM);
    for (unsigned int i = 0; i < NUM; i++) {
        free_elems[i] = nondet_bool();
    }
    if (nondet_bool()) {
        vring->inflight = any_bytes(sizeof(*vring->inflight) +
                                    NUM * sizeof(vring->inflight->desc[0]));
        vring->resubmit = any_bytes(NUM * sizeof(*vring->resubmit));
        vring->n_resubmit = nondet_u32();
        assume(vring->n_resubmit <= NUM);
        for (unsigned int i = 0; i < NUM; i++) {
            assume(vring->resubmit[i] < NUM);
        }
    }
}

/* A chain is found, or nothing has changed, or the ring is broken; it can be
 * given back. */
void pop_keeps_the_ring(void)
{
    VskVring vring, before;
    VskChain chain;
    VskElem *elem;

    make_ring_in_use(&vring);
    before = vring;
    if (!vsk_vring_pop(&vring, &chain)) {
        reached("no chain");
        prove(vring.n_free == before.n_free, "no slot is taken");
        prove(vring.next_avail == before.next_avail &&
              vring.n_resubmit == before.n_resubmit, "no chain is taken");
        if (!vring.broken) {
            reached("none is there");
            prove(vring.avail->idx == vring.next_avail, "none was there");
        }
        return;
    }
    elem = chain.elem;
    prove(vring.n_free == before.n_free - 1, "a slot is taken");
    prove(elem == vring.elems + vring.free_elems[vring.n_free],
          "it was free");
    prove(elem->head < NUM, "the chain exists");
    prove(is_elem(elem) &&
          chain.n_out + chain.n_in == elem->n_iov &&
          chain.out == elem->iov &&
          chain.in == elem->iov + chain.n_out,
          "its pieces are within its list");
    prove((uint16_t)(vring.seen_avail - vring.next_avail) <= NUM,
          "no more chains than there are descriptors");
    if (before.n_resubmit) {
        reached("a chain of a process that died");
        prove(vring.n_resubmit == before.n_resubmit - 1 &&
              vring.next_avail == before.next_avail, "it is taken, no other");
    } else {
        prove(vring.next_avail == (uint16_t)(before.next_avail + 1),
              "it is taken");
    }
    vsk_vring_unpop(&vring, &chain);
    prove(vring.n_free == before.n_free &&
          vring.next_avail == before.next_avail &&
          vring.n_resubmit == before.n_resubmit, "it is as before");
    reached("the end");
}
