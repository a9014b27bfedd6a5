/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Credit arithmetic: credit.c.
 *
 * The reference is in 64 bits, where nothing wraps: how many bytes were sent,
 * taken, received and passed on since the flow began.  Each proof begins in
 * any state for which the counters are these, modulo 2^32, makes one step with
 * any arguments, and shows that they still are.  So there is no bound: every
 * number of steps and all 32-bit counters are covered, as long as less than
 * 2^63 bytes pass.
 */

#include "stubs.h"
#include "credit.h"

/* The true counts behind the six counters. */
typedef struct Ghost {
    uint64_t taken;     /* by the guest of what was sent, as it last said */
    uint64_t in_flight; /* sent beyond that */
    uint64_t told;      /* of what was passed on, as the guest last heard */
    uint64_t untold;    /* received beyond that */
    uint64_t held;      /* of this not passed on */
} Ghost;

#define FOREVER (UINT64_MAX / 2)

/* Whether the counters are what @ghost says. */
static bool is_true(const VskCredit *credit, const Ghost *ghost)
{
    uint64_t sent = ghost->taken + ghost->in_flight;
    uint64_t received = ghost->told + ghost->untold;

    return credit->tx_cnt == (uint32_t)sent &&
           credit->peer_fwd_cnt == (uint32_t)ghost->taken &&
           credit->rx_cnt == (uint32_t)received &&
           credit->fwd_cnt == (uint32_t)(received - ghost->held) &&
           credit->told_fwd_cnt == (uint32_t)ghost->told;
}

/*
 * A flow at any time of its life, with a guest that has not lied.  It may send
 * more than it was told of, for it knows what we took; but no 4 GiB.
 */
static VskCredit any_flow(Ghost *ghost)
{
    VskCredit credit = {
        .tx_cnt = nondet_u32(),
        .peer_buf_alloc = nondet_u32(),
        .peer_fwd_cnt = nondet_u32(),
        .buf_alloc = nondet_u32(),
        .rx_cnt = nondet_u32(),
        .fwd_cnt = nondet_u32(),
        .told_fwd_cnt = nondet_u32(),
    };

    *ghost = (Ghost) { nondet_u64(), nondet_u32(), nondet_u64(), nondet_u32(),
                       nondet_u32() };
    assume(ghost->taken < FOREVER && ghost->told < FOREVER);
    assume(ghost->held <= ghost->untold);
    assume(ghost->held <= credit.buf_alloc);
    assume(is_true(&credit, ghost));
    lemma(credit.tx_cnt - credit.peer_fwd_cnt == ghost->in_flight,
          "in flight by 32 bits");
    lemma(credit.rx_cnt - credit.fwd_cnt == ghost->held, "held by 32 bits");
    lemma(credit.rx_cnt - credit.told_fwd_cnt == ghost->untold,
          "untold by 32 bits");
    return credit;
}

static uint64_t at_least_0(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* To the guest: room is what is free of its buffer, exactly, however far the
 * counters have wrapped and however it shrank its buffer. */
void room_is_the_real_one(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    uint32_t room = vsk_credit_room(&credit);

    prove(room == at_least_0(credit.peer_buf_alloc, ghost.in_flight),
          "room is exact");
    if (credit.peer_buf_alloc < ghost.in_flight) {
        reached("the guest shrank its buffer");
        prove(room == 0, "no room in a shrunk buffer");
    }
    reached("the end");
}

/* What is sent within the room was promised, and leaves a state as before. */
void sending_keeps_to_the_room(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    uint32_t len = nondet_u32();

    assume(len <= at_least_0(credit.peer_buf_alloc, ghost.in_flight));
    vsk_credit_sent(&credit, len);
    ghost.in_flight += len;
    prove(is_true(&credit, &ghost), "tx_cnt counts what is sent");
    if (len) {
        reached("something was sent");
        prove(ghost.in_flight <= credit.peer_buf_alloc,
              "the guest has room for all that is in flight");
    }
    prove(ghost.in_flight <= UINT32_MAX, "in flight fits 32 bits");
    reached("the end");
}

/* The guest takes bytes and says so, now or in a packet that took its time:
 * room grows by that and not more, and is never more than what is free. */
void word_of_an_honest_guest(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    VskHdr hdr = { .buf_alloc = nondet_u32() };
    uint64_t said = nondet_u64(), since = nondet_u64();
    uint32_t room;

    assume(said <= ghost.in_flight && since <= ghost.in_flight - said);
    hdr.fwd_cnt = (uint32_t)(ghost.taken + said);
    vsk_credit_peer_update(&credit, &hdr);
    ghost.taken += said;
    ghost.in_flight -= said;
    lemma(is_true(&credit, &ghost), "the counters are learnt");
    lemma(credit.tx_cnt - credit.peer_fwd_cnt == ghost.in_flight,
          "in flight by 32 bits");
    room = vsk_credit_room(&credit);
    lemma(room == at_least_0(hdr.buf_alloc, ghost.in_flight),
          "room is exact");
    prove(room <= at_least_0(hdr.buf_alloc, ghost.in_flight - since),
          "room is never more than what is free");
    reached("the end");
}

/*
 * Any counters, that is any lie: bytes that are in flight by the guest's own
 * word, with those that there is room for, never exceed its buffer.  Claiming
 * what was never sent gets nothing as long as claim and buffer are below 2^31,
 * and never as much as was claimed.
 */
void word_of_a_liar(void)
{
    VskCredit credit = {
        .tx_cnt = nondet_u32(),
        .peer_buf_alloc = nondet_u32(),
        .peer_fwd_cnt = nondet_u32(),
    };
    uint64_t sent = (uint64_t)nondet_u32() << 32 | credit.tx_cnt;
    uint64_t said = (uint64_t)nondet_u32() << 32 | credit.peer_fwd_cnt;
    uint32_t room = vsk_credit_room(&credit);

    if (said <= sent && sent - said <= UINT32_MAX) {
        reached("a claim of what was sent");
        prove(room == at_least_0(credit.peer_buf_alloc, sent - said),
              "room by its own word");
    }
    if (said > sent && said - sent <= INT32_MAX) {
        reached("a claim of what was never sent");
        prove(room < said - sent, "less room than was claimed");
        if (credit.peer_buf_alloc <= INT32_MAX) {
            prove(room == 0, "no room for a liar");
        }
    }
    prove(room <= credit.peer_buf_alloc, "room is within the buffer");
    reached("the end");
}

/* From the guest: what is refused is what the buffer has no room for. */
void receiving_keeps_to_the_buffer(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    uint32_t len = nondet_u32();
    bool fits = ghost.held + len <= credit.buf_alloc;

    prove(vsk_credit_held(&credit) == ghost.held, "held is exact");
    prove(vsk_credit_received(&credit, len) == fits, "refused if too much");
    if (fits) {
        reached("it fits");
        ghost.held += len;
        ghost.untold += len;
    } else {
        reached("it does not");
    }
    prove(is_true(&credit, &ghost), "rx_cnt counts what is received");
    prove(ghost.held <= credit.buf_alloc,
          "never more is held than was advertised");
    if (ghost.untold > credit.buf_alloc) {
        reached("a guest that sends more than it was told of");
    }
    reached("the end");
}

/* Bytes are passed on: the guest sees no more room than there is. */
void passing_on_is_never_ahead(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    uint32_t len = nondet_u32();

    assume(len <= ghost.held);
    vsk_credit_consumed(&credit, len);
    ghost.held -= len;
    prove(is_true(&credit, &ghost), "fwd_cnt counts what is passed on");
    prove(at_least_0(credit.buf_alloc, ghost.untold) <=
          credit.buf_alloc - ghost.held,
          "the guest sees no more room than there is");
    reached("the end");
}

/* A packet tells all that there is to tell. */
void stamp_tells_the_truth(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    VskHdr hdr = { 0 };

    vsk_credit_stamp(&credit, &hdr);
    ghost.told += ghost.untold - ghost.held;
    ghost.untold = ghost.held;
    prove(hdr.buf_alloc == credit.buf_alloc, "buf_alloc is told");
    prove(hdr.fwd_cnt == (uint32_t)ghost.told, "fwd_cnt is told");
    prove(is_true(&credit, &ghost), "and that is remembered");
    prove(!vsk_credit_update_due(&credit), "then there is nothing to tell");
    reached("the end");
}

/* A guest that sees no room is told as soon as there is some; and never when
 * it would learn nothing. */
void update_is_due_before_a_stall(void)
{
    Ghost ghost;
    VskCredit credit = any_flow(&ghost);
    uint64_t window = MIN(credit.buf_alloc, credit.peer_buf_alloc);
    bool learns = ghost.held != ghost.untold;
    bool due = vsk_credit_update_due(&credit);

    if (due) {
        reached("an update is due");
        prove(learns, "an update tells something new");
    }
    if (learns && window <= ghost.untold + window / 2) {
        prove(due, "a guest that sees half of its window is told");
    }
    if (window > ghost.untold + window / 2 + 1) {
        prove(!due, "a guest that sees more than half is left alone");
    }
    reached("the end");
}
