/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is staged for a host program: stage.c, upon the ring of proof-ring.c.
 *
 * Each proof begins in any state that a stage can be in (see make_any_stage()),
 * does one thing, and shows that the stage is in such a state again.  What
 * counts of the ring of lengths is the oldest length, which a flush takes, and
 * of all others together how many bytes they tell of and how many of them are
 * empty messages; no step looks at the others, and proof-ring.c shows that they
 * stay.  length_comes_back() shows that what is read is what was put there, so
 * that any_front_length() can say it in its place; any_push() does what is
 * proven of the ring.
 *
 * Bounds: none for windows, up to the largest; two pieces are pushed at once,
 * see proof-ring.c.  length_comes_back() takes a ring of CAPACITY bytes, in
 * which the longest code has each place, with other bytes around it.
 * messages_come_out_as_they_went_in() is about the bytes themselves: PARTS
 * parts with up to WINDOW bytes together.
 */

#include "stubs.h"

/* As it is built, with what is static in it. */
#include "stage.c"

#include <errno.h>

#define PIECES 2
#define CAPACITY 8
#define PARTS 2
#define WINDOW 2

/* --- States -------------------------------------------------------------- */

/* What is in the ring of lengths. */
static struct {
    bool any;             /* a message, the oldest: */
    uint32_t len;
    uint32_t n_code;
    uint64_t rest_bytes;  /* of the other messages */
    uint32_t rest_empty;
    uint32_t rest_code;
} lengths;

/* Codes of messages with @bytes together, @n_empty of which have none, take
 * @code bytes: one at least for each empty message, and no more than a byte for
 * each byte else. */
static bool can_be(uint64_t bytes, uint64_t n_empty, uint64_t code)
{
    return code <= bytes + n_empty && code >= n_empty + !!bytes;
}

static bool is_ring(const VskRing *ring)
{
    return ring->capacity && ring->used <= ring->capacity &&
           (ring->used ? ring->head < ring->capacity
                       : !ring->head && !ring->data);
}

/* Whether the stage can be in this state, with @whole bytes in messages that
 * have their end. */
static bool is_stage(const VskStage *stage, uint64_t whole)
{
    return is_ring(&stage->bytes) && is_ring(&stage->ends) &&
           stage->ends.capacity ==
           (uint64_t)stage->bytes.capacity + VSK_MAX_EMPTY_MESSAGES &&
           (stage->messages
            ? stage->bytes.used == whole + stage->partial &&
              stage->n_empty <= VSK_MAX_EMPTY_MESSAGES &&
              can_be(whole, stage->n_empty, stage->ends.used)
            : !stage->partial && !stage->n_empty && !stage->ends.used);
}

static void make_any_ring(VskRing *ring)
{
    *ring = (VskRing) { NULL, nondet_u32(), nondet_u32(), nondet_u32() };
    if (ring->used) {
        ring->data = any_bytes(ring->capacity);
    }
    assume(is_ring(ring));
}

/* Returns the bytes in whole messages. */
static uint64_t make_any_stage(VskStage *stage)
{
    uint64_t whole = 0;

    stage->messages = nondet_bool();
    stage->partial = nondet_u32();
    stage->n_empty = nondet_u32();
    make_any_ring(&stage->bytes);
    make_any_ring(&stage->ends);
    assume(stage->bytes.capacity <= VSK_MOST_BUF_ALLOC);
    lengths.any = stage->ends.used;
    if (lengths.any) {
        lengths.len = nondet_u32();
        lengths.n_code = nondet_u32();
        lengths.rest_bytes = nondet_u32();
        lengths.rest_empty = nondet_u32();
        lengths.rest_code = nondet_u32();
        assume(lengths.n_code >= 1 && lengths.n_code <= LENGTH_BYTES &&
               lengths.n_code <= MAX(lengths.len, 1));
        assume(lengths.rest_empty <= VSK_MAX_EMPTY_MESSAGES);
        assume(can_be(lengths.rest_bytes, lengths.rest_empty,
                      lengths.rest_code));
        whole = lengths.len + lengths.rest_bytes;
        assume(stage->n_empty == lengths.rest_empty + !lengths.len);
        assume(stage->ends.used ==
               (uint64_t)lengths.n_code + lengths.rest_code);
    }
    assume(is_stage(stage, whole));
    return whole;
}

/* In place of front_length(). */
uint32_t any_front_length(const VskRing *ends, uint32_t *ret_bytes)
{
    prove(ends->used && lengths.any, "there is a message");
    *ret_bytes = lengths.n_code;
    return lengths.len;
}

/* In place of vsk_ring_push(): see push_appends() and indices_of_large_rings()
 * in proof-ring.c. */
bool any_push(VskRing *ring, const struct iovec *iov, unsigned int n_iov,
              size_t offset)
{
    size_t size = vsk_iov_size(iov, n_iov);

    prove(is_ring(ring), "the ring is sound");
    if (offset >= size) {
        return offset == size;
    }
    if (size - offset > ring->capacity - ring->used) {
        return false;
    }
    if (!ring->data) {
        ring->data = any_bytes(ring->capacity);
        ring->head = 0;
    }
    ring->used += (uint32_t)(size - offset);
    return true;
}

/* --- Steps --------------------------------------------------------------- */

/* Part of a message, or all of it, within the window: it is there then, and
 * counted. */
void push_keeps_the_account(void)
{
    VskStage stage, before;
    struct iovec iov[PIECES] = { 0 };
    size_t offset = nondet_size(), len;
    bool eom = nondet_bool();
    uint64_t whole = make_any_stage(&stage);

    before = stage;
    for (unsigned int i = 0; i < PIECES; i++) {
        iov[i].iov_len = nondet_u32();
    }
    assume(offset <= iov[0].iov_len + iov[1].iov_len);
    len = iov[0].iov_len + iov[1].iov_len - offset;
    assume(len <= stage.bytes.capacity - stage.bytes.used); /* credit */
    if (vsk_stage_push(&stage, iov, PIECES, offset, eom)) {
        prove(stage.bytes.used == before.bytes.used + len, "all is there");
        if (stage.messages && eom) {
            reached("the end of a message");
            whole += before.partial + len;
            prove(!stage.partial, "another message is to begin");
            prove(stage.n_empty == before.n_empty + !(before.partial + len),
                  "empty messages are counted");
            prove(stage.ends.used > before.ends.used, "its length is there");
        } else {
            prove(stage.ends.used == before.ends.used, "it has not ended");
        }
    } else {
        reached("too many empty messages");
        prove(stage.messages && eom && !len && !before.partial &&
              before.n_empty == VSK_MAX_EMPTY_MESSAGES, "it is one too many");
        prove(stage.bytes.used == before.bytes.used &&
              stage.ends.used == before.ends.used &&
              stage.n_empty == before.n_empty, "nothing was appended");
    }
    prove(is_stage(&stage, whole), "the account is right");
    prove(vsk_stage_memory(&stage) <=
          vsk_stage_cost(stage.messages ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM,
                         stage.bytes.capacity), "it costs what was said");
    prove(!vsk_stage_memory(&stage) ==
          !(stage.bytes.used || stage.ends.used), "an empty one costs none");
    if (stage.ends.used == stage.ends.capacity) {
        reached("a full ring of lengths");
    }
    if (stage.bytes.used == VSK_MOST_BUF_ALLOC) {
        reached("the largest window is full");
    }
    reached("the end");
}

static const VskRing *source;
static bool is_taken;

/* A socket that takes the oldest message, which is all that it gets. */
static ssize_t message_writev(VskStream *stream, const struct iovec *iov,
                              int n_iov)
{
    size_t size = 0;

    (void)stream;
    prove(!is_taken, "one message is written, once");
    prove(n_iov == 0 || n_iov == 1 || n_iov == 2, "two pieces at the most");
    for (int i = 0; i < n_iov; i++) {
        prove(__CPROVER_r_ok(iov[i].iov_base, iov[i].iov_len),
              "what is written is memory");
        size += iov[i].iov_len;
    }
    prove(size == lengths.len, "all of the message is written");
    if (n_iov) {
        prove(iov[0].iov_base == source->data + source->head,
              "from the oldest byte on");
    }
    is_taken = nondet_bool();
    return is_taken ? (ssize_t)size : -EAGAIN;
}

/* The oldest message of any: it goes as a whole, or stays. */
void flush_takes_the_oldest_message(void)
{
    static const VskStreamOps ops = { .writev = message_writev };
    VskStream stream = { &ops };
    VskStage stage, before;
    uint64_t whole = make_any_stage(&stage);
    ssize_t n;

    assume(stage.messages && vsk_stage_waits(&stage));
    before = stage;
    source = &before.bytes;
    n = flush_message(&stage, &stream);
    if (is_taken) {
        reached("it is taken");
        prove(n == (ssize_t)lengths.len, "its bytes are told");
        prove(stage.ends.used == lengths.rest_code, "its length is forgotten");
        prove(stage.bytes.used == before.bytes.used - lengths.len,
              "its bytes are");
        prove(stage.n_empty == lengths.rest_empty, "others stay");
        whole = lengths.rest_bytes;
        if (!lengths.len) {
            reached("an empty message");
        }
    } else {
        prove(n < 0, "the error is told");
        prove(stage.ends.used == before.ends.used &&
              stage.bytes.used == before.bytes.used &&
              stage.n_empty == before.n_empty, "it stays");
    }
    prove(stage.partial == before.partial, "what has no end stays");
    prove(is_stage(&stage, whole), "the account is right");
    if (!vsk_stage_waits(&stage) && !stage.partial) {
        reached("an empty stage");
        prove(vsk_stage_memory(&stage) == 0, "it costs no memory");
    }
    reached("the end");
}

/* --- Lengths ------------------------------------------------------------- */

/* Any length, at any place of the ring and with any bytes before and behind it,
 * is read as it was written; it takes no more bytes than it tells of. */
void length_comes_back(void)
{
    VskRing ends;
    uint8_t other[CAPACITY];
    struct iovec before = { other, nondet_size() };
    uint32_t len = nondet_u32(), used, n_code, got;

    vsk_ring_init(&ends, CAPACITY);
    assume(before.iov_len <= CAPACITY - LENGTH_BYTES);
    ends.data = any_bytes(CAPACITY);
    ends.head = nondet_u32();
    ends.used = (uint32_t)before.iov_len;
    assume(ends.head < CAPACITY && ends.used);
    push_length(&ends, len);
    used = ends.used - (uint32_t)before.iov_len;
    prove(used >= 1 && used <= LENGTH_BYTES && used <= MAX(len, 1),
          "it takes no more bytes than it tells of");
    if (nondet_bool() && ends.used < CAPACITY) {
        push_length(&ends, nondet_u32() & 0x7f); /* another one */
    }
    vsk_ring_drop(&ends, (uint32_t)before.iov_len);
    if (ends.head + used > CAPACITY) {
        reached("a length that goes round the end");
    }
    got = front_length(&ends, &n_code);
    prove(got == len, "it is the same");
    prove(n_code == used, "it takes as many bytes as it has");
    if (len == UINT32_MAX) {
        reached("the largest one");
    }
    reached("the end");
}

/* What the window is made of is what the stage costs. */
void window_is_worth_its_cost(void)
{
    uint16_t type = nondet_bool() ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;
    uint64_t cost = nondet_u64();
    uint32_t window = vsk_stage_window(type, cost);

    if (window) {
        prove(vsk_stage_cost(type, window) <= cost, "it is not dearer");
    }
    if (window < UINT32_MAX) {
        prove(vsk_stage_cost(type, window + 1) > cost, "it is the largest");
    } else {
        reached("the largest of all");
    }
    reached("the end");
}

/* --- Bytes --------------------------------------------------------------- */

static uint8_t out[WINDOW];
static uint32_t n_out, ends_out[PARTS], n_ends_out;

static ssize_t noting_writev(VskStream *stream, const struct iovec *iov,
                             int n_iov)
{
    size_t size = 0;

    (void)stream;
    for (int i = 0; i < n_iov; i++) {
        for (size_t j = 0; j < iov[i].iov_len; j++) {
            prove(n_out < WINDOW, "no more bytes than went in");
            out[n_out++] = ((const uint8_t *)iov[i].iov_base)[j];
        }
        size += iov[i].iov_len;
    }
    prove(n_ends_out < PARTS, "no more messages than went in");
    ends_out[n_ends_out++] = n_out;
    return (ssize_t)size;
}

/* Parts of messages go in, and what has its end comes out, as it was. */
void messages_come_out_as_they_went_in(void)
{
    static const VskStreamOps ops = { .writev = noting_writev };
    VskStream stream = { &ops };
    VskStage stage;
    uint8_t in[WINDOW];
    uint32_t n_in = 0, n_whole = 0, ends_in[PARTS], n_ends_in = 0;
    uint32_t probe = nondet_u32();
    bool more;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    stage.ends.capacity = WINDOW + PARTS; /* 4096 would be too much */
    for (unsigned int i = 0; i < PARTS; i++) {
        struct iovec iov = { in + n_in, nondet_size() };
        bool eom = nondet_bool();

        assume(iov.iov_len <= WINDOW - n_in);
        n_in += (uint32_t)iov.iov_len;
        vsk_stage_push(&stage, &iov, 1, 0, eom);
        if (eom) {
            ends_in[n_ends_in++] = n_in;
            n_whole = n_in;
        }
    }
    vsk_stage_flush(&stage, &stream, &more);
    prove(!more, "it is within the budget");
    prove(n_ends_out == n_ends_in, "all messages come out");
    prove(n_out == n_whole, "with all their bytes");
    if (probe < n_ends_in) {
        prove(ends_out[probe] == ends_in[probe], "each ends where it ended");
    }
    if (probe < n_whole) {
        prove(out[probe] == in[probe], "the bytes are these");
    }
    if (n_ends_in == PARTS && n_whole == WINDOW) {
        reached("some messages");
    }
    reached("the end");
}
