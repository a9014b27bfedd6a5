/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Credit: any sequence of its operations, beside counters of 64 bits that
 * never wrap.
 *
 * The guest of the reference is either honest, and then never holds more than
 * it said it can, or says whatever the input wants.  The counters begin
 * anywhere, so that a few operations get them around 2^32.
 */

#include "bytes.h"
#include "credit.h"

/* What truly happened; bytes, and those before the beginning count. */
typedef struct Ghost {
    uint64_t sent;       /* to the guest */
    uint64_t taken;      /* by an honest guest's program */
    uint64_t said_taken; /* what its last header told of that */
    uint32_t peer_alloc;
    uint32_t peer_fwd;   /* as last heard */
    bool honest;

    uint32_t buf_alloc;
    uint64_t received;
    uint64_t consumed;
    uint64_t told;       /* of @consumed */
} Ghost;

static void check_to_guest(const VskCredit *credit, const Ghost *ghost)
{
    uint64_t in_flight = (ghost->sent - ghost->peer_fwd) & UINT32_MAX;
    uint64_t room = ghost->peer_alloc > in_flight
                    ? ghost->peer_alloc - in_flight : 0;

    CHECK(vsk_credit_room(credit) == room);
    if (ghost->honest) {
        CHECK(ghost->sent - ghost->taken <= ghost->peer_alloc);
        CHECK(ghost->sent + room - ghost->said_taken <= ghost->peer_alloc);
    }
}

static void check_from_guest(const VskCredit *credit, const Ghost *ghost)
{
    int64_t window = MIN(ghost->buf_alloc, ghost->peer_alloc);
    int64_t sees = window - (int64_t)(ghost->received - ghost->told);

    CHECK(ghost->told <= ghost->consumed);
    CHECK(ghost->consumed <= ghost->received);
    CHECK(ghost->received - ghost->consumed <= ghost->buf_alloc);
    CHECK(vsk_credit_held(credit) == ghost->received - ghost->consumed);
    /*
     * Less than half of the window is seen, and there is more to show.  A guest
     * that sent 4 GiB more than it was told it may is owed nothing.
     */
    if (ghost->received - ghost->told <= UINT32_MAX) {
        CHECK(vsk_credit_update_due(credit) ==
              (ghost->consumed != ghost->told && sees <= window / 2));
    }
}

/* A header of the guest. */
static void hear(VskCredit *credit, Ghost *ghost, FuzzBytes *in)
{
    VskHdr hdr = { 0 };

    if (ghost->honest) {
        uint64_t more = fuzz_u32(in);

        ghost->taken += MIN(more, ghost->sent - ghost->taken);
        ghost->said_taken = ghost->taken;
        hdr.buf_alloc = ghost->peer_alloc;
        hdr.fwd_cnt = (uint32_t)ghost->taken;
    } else {
        hdr.buf_alloc = fuzz_u32(in);
        hdr.fwd_cnt = fuzz_u8(in) % 2 ? fuzz_u32(in)
                                      : credit->tx_cnt - fuzz_u8(in);
    }
    vsk_credit_peer_update(credit, &hdr);
    ghost->peer_alloc = hdr.buf_alloc;
    ghost->peer_fwd = hdr.fwd_cnt;
}

/* All that there is, or none, or so many. */
static uint32_t some_of(FuzzBytes *in, uint32_t all)
{
    uint32_t n = fuzz_u32(in);

    return n & 1 ? all : MIN(n >> 1, all);
}

static void receive(VskCredit *credit, Ghost *ghost, FuzzBytes *in)
{
    uint32_t free = ghost->buf_alloc -
                    (uint32_t)(ghost->received - ghost->consumed);
    uint32_t n = fuzz_u32(in);
    uint32_t len = n & 1 && free < UINT32_MAX ? free + ((n >> 1) & 1) : n >> 1;
    bool allowed = len <= free;

    CHECK(vsk_credit_received(credit, len) == allowed);
    if (allowed) {
        ghost->received += len;
    }
}

static void act(VskCredit *credit, Ghost *ghost, FuzzBytes *in)
{
    VskHdr hdr = { 0 };
    uint32_t len;

    switch (fuzz_below(in, 5)) {
    case 0:
        hear(credit, ghost, in);
        break;
    case 1:
        len = some_of(in, vsk_credit_room(credit));
        vsk_credit_sent(credit, len);
        ghost->sent += len;
        break;
    case 2:
        receive(credit, ghost, in);
        break;
    case 3:
        len = some_of(in, vsk_credit_held(credit));
        vsk_credit_consumed(credit, len);
        ghost->consumed += len;
        break;
    default:
        vsk_credit_stamp(credit, &hdr);
        ghost->told = ghost->consumed;
        CHECK(hdr.buf_alloc == ghost->buf_alloc);
        CHECK(hdr.fwd_cnt == (uint32_t)ghost->consumed);
        CHECK(!vsk_credit_update_due(credit));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    VskCredit credit;
    Ghost ghost = { 0 };

    ghost.honest = fuzz_u8(&in) % 2;
    ghost.buf_alloc = fuzz_u32(&in);
    ghost.peer_alloc = ghost.honest ? fuzz_u32(&in) : 0;
    vsk_credit_init(&credit, ghost.buf_alloc);
    credit.peer_buf_alloc = ghost.peer_alloc;

    /* As after so many bytes that were sent, and all taken. */
    ghost.sent = ghost.taken = ghost.said_taken = fuzz_u32(&in);
    ghost.received = ghost.consumed = ghost.told = fuzz_u32(&in);
    credit.tx_cnt = credit.peer_fwd_cnt = ghost.peer_fwd =
        (uint32_t)ghost.sent;
    credit.rx_cnt = credit.fwd_cnt = credit.told_fwd_cnt =
        (uint32_t)ghost.received;

    while (fuzz_left(&in)) {
        act(&credit, &ghost, &in);
        check_to_guest(&credit, &ghost);
        check_from_guest(&credit, &ghost);
    }
    return 0;
}
