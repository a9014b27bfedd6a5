/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What waits for a host program (stage.c), of bytes and of messages: any
 * pushes within the window, and a host that takes whole messages or none,
 * beside a list of their lengths.
 */

#include "bytes.h"
#include "vsock-limits.h"
#include "stage.h"

#include <errno.h>
#include <string.h>

#define PATTERN 251 /* bytes until it repeats; a prime, as no size here is */
#define MAX_WINDOW 16400
#define MAX_MESSAGES 65536

static uint8_t pattern[PATTERN + MAX_WINDOW + 256];

/* Whole messages that wait, at most so many in one run. */
static uint32_t messages[MAX_MESSAGES];

typedef struct World {
    VskStream base;    /* the host program's */
    VskStage stage;
    uint32_t window;
    uint64_t pushed;   /* bytes */
    uint64_t taken;    /* bytes */
    uint64_t n_pushed; /* whole messages; the index of the next */
    uint64_t n_taken;
    uint32_t partial;  /* bytes of the next */
    uint32_t n_empty;
    size_t room;       /* bytes, or messages, until the host fails */
    ssize_t error;
    unsigned int calls;
} World;

static void check_bytes(const World *w, const struct iovec *iov, int n_iov)
{
    uint64_t at = w->taken;

    for (int i = 0; i < n_iov; i++) {
        size_t phase = at % PATTERN;

        CHECK(memcmp(iov[i].iov_base, pattern + phase, iov[i].iov_len) == 0);
        at += iov[i].iov_len;
    }
}

static ssize_t take_message(World *w, size_t len)
{
    CHECK(w->n_taken < w->n_pushed);
    CHECK(len == messages[w->n_taken]);
    if (!w->room) {
        return w->error;
    }
    w->room--;
    w->taken += len;
    w->n_empty -= !len;
    w->n_taken++;
    return (ssize_t)len;
}

static ssize_t host_writev(VskStream *stream, const struct iovec *iov,
                           int n_iov)
{
    World *w = (World *)stream;
    size_t len = 0;

    w->calls++;
    CHECK(n_iov >= 0 && n_iov <= 2);
    for (int i = 0; i < n_iov; i++) {
        len += iov[i].iov_len;
    }
    check_bytes(w, iov, n_iov);
    if (w->stage.messages) {
        return take_message(w, len);
    }
    len = MIN(len, w->room);
    w->room -= len;
    w->taken += len;
    return len ? (ssize_t)len : w->error;
}

static const VskStreamOps host_ops = { .writev = host_writev };

static void push(World *w, uint32_t len, uint32_t offset, uint8_t shape)
{
    uint8_t *front = pattern + (w->pushed + 2 * PATTERN - offset) % PATTERN;
    uint32_t all = len + offset, cut = all ? shape % all : 0;
    struct iovec iov[2] = { { front, cut }, { front + cut, all - cut } };
    bool eom = w->stage.messages && shape & 1;
    bool empty = eom && !len && !w->partial;
    bool ok = !empty || w->n_empty < VSK_MAX_EMPTY_MESSAGES;

    if (w->n_pushed == MAX_MESSAGES) {
        return;
    }
    CHECK(vsk_stage_push(&w->stage, iov, 2, offset, eom) == ok);
    if (!ok) {
        return;
    }
    w->pushed += len;
    w->partial += len;
    if (eom) {
        messages[w->n_pushed++] = w->partial;
        w->n_empty += !w->partial;
        w->partial = 0;
    }
}

static void push_some(World *w, FuzzBytes *in)
{
    uint32_t room = w->window - (uint32_t)(w->pushed - w->taken);
    uint8_t shape = fuzz_u8(in);
    uint32_t len = shape & 2 ? fuzz_u16(in) : fuzz_u8(in);

    push(w, shape & 4 ? room : MIN(len, room), shape & 8 ? shape : 0, shape);
}

static void push_empty(World *w, FuzzBytes *in)
{
    for (unsigned int n = fuzz_below(in, 8); n; n--) {
        push(w, 0, 0, 1);
    }
}

/*
 * As after so many empty messages as there may be, in one go: each is a zero
 * in the ring of lengths.
 */
static void flood(World *w)
{
    static const uint8_t zeros[VSK_MAX_EMPTY_MESSAGES];
    uint32_t n = VSK_MAX_EMPTY_MESSAGES - w->n_empty;
    struct iovec iov = { (void *)zeros, n };

    if (!w->stage.messages || w->partial || w->n_pushed + n > MAX_MESSAGES) {
        return;
    }
    CHECK(vsk_ring_push(&w->stage.ends, &iov, 1, 0));
    memset(messages + w->n_pushed, 0, n * sizeof(messages[0]));
    w->n_pushed += n;
    w->stage.n_empty = w->n_empty = VSK_MAX_EMPTY_MESSAGES;
}

static void check_turn(const World *w, ssize_t n, uint64_t taken,
                       uint64_t n_taken, bool more)
{
    bool any = w->stage.messages ? w->n_taken > n_taken : w->taken > taken;

    if (w->calls && !any) {
        CHECK(n == w->error);
    } else {
        CHECK(n == (ssize_t)(w->taken - taken));
    }
    CHECK(more == (w->stage.messages && w->n_taken < w->n_pushed &&
                   w->n_taken - n_taken == VSK_TURN_MESSAGES));
    CHECK(w->n_taken - n_taken <= VSK_TURN_MESSAGES);
}

static void flush(World *w, FuzzBytes *in)
{
    static const ssize_t errors[] = { -EAGAIN, -EPIPE, -ECONNRESET };
    uint64_t taken = w->taken, n_taken = w->n_taken;
    uint8_t how = fuzz_u8(in);
    bool more = !w->stage.messages;
    ssize_t n;

    w->room = how & 1 ? (w->stage.messages ? how >> 1 : 256 * (how >> 1))
                      : how >> 2;
    w->error = errors[how % G_N_ELEMENTS(errors)];
    w->calls = 0;
    n = vsk_stage_flush(&w->stage, &w->base, &more);
    check_turn(w, n, taken, n_taken, more);
}

static void check(const World *w)
{
    uint64_t cost = vsk_stage_cost(w->stage.messages ? VSK_TYPE_SEQPACKET
                                                     : VSK_TYPE_STREAM,
                                   w->window);
    bool whole = w->stage.messages ? w->n_pushed > w->n_taken
                                   : w->pushed > w->taken;

    CHECK(vsk_stage_used(&w->stage) == w->pushed - w->taken);
    CHECK(vsk_stage_waits(&w->stage) == whole);
    CHECK(w->n_empty <= VSK_MAX_EMPTY_MESSAGES);
    CHECK((w->stage.bytes.data ? w->stage.bytes.capacity : 0) +
          (uint64_t)(w->stage.ends.data ? w->stage.ends.capacity : 0) <= cost);
    if (w->pushed == w->taken) {
        CHECK(!w->stage.bytes.data);
    }
}

/* The largest window that a sum pays for. */
static void check_cost(uint16_t type, uint64_t cost)
{
    uint32_t window = vsk_stage_window(type, cost);

    CHECK(!window || vsk_stage_cost(type, window) <= cost);
    CHECK(window == UINT32_MAX || vsk_stage_cost(type, window + 1) > cost);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t windows[] = { 1, 2, 127, 128, 129, 300, 1000,
                                        16384, MAX_WINDOW };
    FuzzBytes in = { data, data + size };
    World w = { .base.ops = &host_ops };
    uint8_t first = fuzz_u8(&in);
    uint16_t type = first & 1 ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;

    if (!pattern[1]) {
        for (unsigned int i = 0; i < sizeof(pattern); i++) {
            pattern[i] = i % PATTERN;
        }
    }
    check_cost(type, fuzz_u64(&in) >> (first >> 2));
    w.window = windows[(first >> 1) % G_N_ELEMENTS(windows)];
    vsk_stage_init(&w.stage, type, w.window);
    while (fuzz_left(&in)) {
        switch (fuzz_below(&in, 9)) {
        case 0:
            push_empty(&w, &in);
            break;
        case 8:
            flood(&w);
            break;
        case 1:
        case 2:
        case 3:
            flush(&w, &in);
            break;
        default:
            push_some(&w, &in);
        }
        check(&w);
    }
    vsk_stage_clear(&w.stage);
    CHECK(!w.stage.bytes.data && !w.stage.ends.data);
    return 0;
}
