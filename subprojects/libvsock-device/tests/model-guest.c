/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The model of a guest.
 */

#include "models.h"
#include "content.h"
#include "pkt.h"

static uint32_t id_of(const GuestFlow *flow)
{
    return content_id(flow->type, flow->guest_port);
}

static uint32_t random_up_to(GRand *rand, uint32_t max)
{
    return (uint32_t)g_rand_int_range(rand, 0, (gint32)max + 1);
}

/* --- The guest ----------------------------------------------------------- */

Guest *guest_new(Vm *vm, GRand *rand)
{
    Guest *guest = g_new0(Guest, 1);

    guest->vm = vm;
    guest->rand = rand;
    guest->flows = g_ptr_array_new_with_free_func(g_free);
    return guest;
}

void guest_free(Guest *guest)
{
    if (guest) {
        g_ptr_array_unref(guest->flows);
        g_free(guest);
    }
}

GuestFlow *guest_flow(Guest *guest, VskType type, uint32_t guest_port,
                      uint32_t host_port)
{
    GuestFlow *flow;

    for (guint i = 0; i < guest->flows->len; i++) {
        flow = g_ptr_array_index(guest->flows, i);
        if (flow->type == type && flow->guest_port == guest_port &&
            flow->host_port == host_port) {
            return flow;
        }
    }
    flow = g_new0(GuestFlow, 1);
    flow->type = type;
    flow->guest_port = guest_port;
    flow->host_port = host_port;
    g_ptr_array_add(guest->flows, flow);
    return flow;
}

static void set_phase(GuestFlow *flow, GuestPhase phase)
{
    GuestEnd last = flow->last;

    if (flow->phase == GUEST_OPEN) {
        last = (GuestEnd) {
            .sent = flow->sent,
            .received = flow->received,
            .out = flow->out,
            .in = flow->in,
            .heard_shut = flow->heard_shut,
        };
    } else if (phase != GUEST_CLOSED) {
        last = (GuestEnd) { 0 };
    }
    *flow = (GuestFlow) {
        .type = flow->type,
        .guest_port = flow->guest_port,
        .host_port = flow->host_port,
        .phase = phase,
        .last = last,
    };
}

static VskHdr hdr_of(const Guest *guest, const GuestFlow *flow, VskOp op)
{
    VskHdr hdr = vm_hdr(guest->vm, op, flow->guest_port, flow->host_port);

    hdr.type = flow->type;
    hdr.fwd_cnt = flow->taken;
    return hdr;
}

void guest_say(Guest *guest, GuestFlow *flow, VskOp op, uint32_t flags)
{
    VskHdr hdr = hdr_of(guest, flow, op);

    hdr.flags = flags;
    vm_put(guest->vm, &hdr, NULL, 0);
}

void guest_request(Guest *guest, GuestFlow *flow)
{
    set_phase(flow, GUEST_REQUESTED);
    guest_say(guest, flow, VSK_OP_REQUEST, 0);
}

void guest_reset(Guest *guest, GuestFlow *flow)
{
    guest_say(guest, flow, VSK_OP_RST, 0);
    set_phase(flow, GUEST_CLOSED);
}

void guest_shutdown(Guest *guest, GuestFlow *flow, uint32_t flags)
{
    flow->shut |= flags;
    guest_say(guest, flow, VSK_OP_SHUTDOWN, flags);
}

/* RW of @len bytes in random pieces. */
static void put_rw(Guest *guest, GuestFlow *flow, uint32_t len,
                   uint32_t flags)
{
    VskHdr hdr = hdr_of(guest, flow, VSK_OP_RW);
    g_autofree uint8_t *bytes = content_make(id_of(flow), FROM_GUEST,
                                             flow->sent, len);
    size_t cut = random_up_to(guest->rand, VSK_HDR_SIZE + len);
    size_t rest = VSK_HDR_SIZE + len - cut;
    size_t third = random_up_to(guest->rand, (uint32_t)rest);
    size_t sizes[] = { cut, third, rest - third };

    hdr.len = len;
    hdr.flags = flags;
    flow->sent += len;
    vm_put_pieces(guest->vm, &hdr, bytes, len, sizes, 3);
}

static uint32_t room_of(const GuestFlow *flow)
{
    uint32_t in_flight = flow->sent - flow->heard_fwd_cnt;

    g_assert_cmpuint(in_flight, <=, flow->heard_buf_alloc);
    return flow->heard_buf_alloc - in_flight;
}

/* Part of a message; its end is at times a packet of its own. */
static void send_part(Guest *guest, GuestFlow *flow, uint32_t max)
{
    uint32_t left = content_message_len(id_of(flow), FROM_GUEST,
                                        flow->out.n) - flow->out.at;
    uint32_t len = MIN(max, left);
    bool ends;

    if (left && !len) {
        return;
    }
    len = len ? 1 + random_up_to(guest->rand, len - 1) : 0;
    ends = len == left && (!len || random_up_to(guest->rand, 3));
    put_rw(guest, flow, len, ends ? VSK_SEQ_EOM | VSK_SEQ_EOR : 0);
    if (ends) {
        flow->out = (Messages) { .n = flow->out.n + 1 };
    } else {
        flow->out.at += len;
    }
}

void guest_send(Guest *guest, GuestFlow *flow, uint32_t max)
{
    uint32_t len;

    g_assert_cmpint(flow->phase, ==, GUEST_OPEN);
    if (flow->broken || ((flow->shut | flow->heard_shut << 1) &
                         VSK_SHUTDOWN_SEND)) {
        return;
    }
    len = MIN(MIN(max, room_of(flow)), 65536);
    if (flow->type == VSK_TYPE_SEQPACKET) {
        send_part(guest, flow, len);
    } else if (len) {
        put_rw(guest, flow, 1 + random_up_to(guest->rand, len - 1), 0);
    }
}

void guest_overrun(Guest *guest, GuestFlow *flow)
{
    uint32_t len = flow->broken ? UINT32_MAX : room_of(flow) + 1;

    if (len <= 65536) {
        flow->broken = true;
        put_rw(guest, flow, len, 0);
    }
}

void guest_take(Guest *guest, GuestFlow *flow, uint32_t max)
{
    uint32_t len = MIN(max, flow->received - flow->taken);

    if (len) {
        flow->taken += len;
        guest_say(guest, flow, VSK_OP_CREDIT_UPDATE, 0);
    }
}

void guest_give(Guest *guest, unsigned int n, uint32_t max)
{
    for (unsigned int i = 0; i < n; i++) {
        size_t total = VSK_HDR_SIZE + 1 + random_up_to(guest->rand, max);
        size_t cut = random_up_to(guest->rand, (uint32_t)total);
        size_t rest = total - cut;
        size_t third = random_up_to(guest->rand, (uint32_t)rest);
        size_t sizes[] = { cut, third, rest - third };

        fake_ring_add(guest->vm->rings, VSK_QUEUE_RX,
                      fake_chain_new(NULL, 0, sizes, 3));
    }
}

void guest_forget(Guest *guest)
{
    for (guint i = 0; i < guest->flows->len; i++) {
        set_phase(g_ptr_array_index(guest->flows, i), GUEST_CLOSED);
    }
}

/* --- Packets that come to it --------------------------------------------- */

/* The end of a message is where it should be. */
static void check_end(GuestFlow *flow, uint32_t len, uint32_t flags)
{
    bool ends = flow->in.at + len ==
                content_message_len(id_of(flow), FROM_HOST, flow->in.n);

    g_assert_cmpuint(flags, ==, ends ? VSK_SEQ_EOM : 0);
    flow->in.at = ends ? 0 : flow->in.at + len;
    flow->in.n += ends;
}

static void take_rw(Guest *guest, GuestFlow *flow)
{
    const GByteArray *payload = guest->vm->payload;

    g_assert_false(flow->heard_shut & VSK_SHUTDOWN_SEND);
    if (flow->type == VSK_TYPE_SEQPACKET) {
        check_end(flow, payload->len, guest->vm->hdr.flags);
    } else {
        g_assert_cmpuint(payload->len, >, 0);
    }
    content_check(id_of(flow), FROM_HOST, flow->received, payload->data,
                  payload->len);
    flow->received += payload->len;
    /* B1 */
    g_assert_cmpuint(flow->received - flow->taken, <=, guest->vm->buf_alloc);
    if (!guest->hoards) {
        uint32_t held = flow->received - flow->taken;

        guest_take(guest, flow, held > guest->vm->buf_alloc / 2 ? held : 0);
    }
}

static void take_open(Guest *guest, GuestFlow *flow)
{
    const VskHdr *hdr = &guest->vm->hdr;

    /* B2; what it says it has taken was sent, and is never taken back. */
    g_assert_cmpuint(hdr->buf_alloc, >, 0);
    g_assert_cmpuint(hdr->fwd_cnt, <=, flow->sent);
    g_assert_cmpuint(hdr->fwd_cnt, >=, flow->heard_fwd_cnt);
    flow->heard_fwd_cnt = hdr->fwd_cnt;
    flow->heard_buf_alloc = hdr->buf_alloc;
    switch (hdr->op) {
    case VSK_OP_RW:
        take_rw(guest, flow);
        break;
    case VSK_OP_SHUTDOWN:
        g_assert_cmpuint(hdr->flags & ~flow->heard_shut, !=, 0);
        flow->heard_shut |= hdr->flags;
        if (flow->heard_shut == VSK_SHUTDOWN_BOTH) {
            guest_reset(guest, flow);
        }
        break;
    case VSK_OP_CREDIT_REQUEST:
        guest_say(guest, flow, VSK_OP_CREDIT_UPDATE, 0);
        break;
    default:
        g_assert_cmpint(hdr->op, ==, VSK_OP_CREDIT_UPDATE);
    }
}

static void take_packet(Guest *guest)
{
    const VskHdr *hdr = &guest->vm->hdr;
    GuestFlow *flow;

    if (hdr->type != VSK_TYPE_STREAM &&
        !(hdr->type == VSK_TYPE_SEQPACKET && guest->vm->features)) {
        g_assert_cmpint(hdr->op, ==, VSK_OP_RST);
        return; /* the answer to a packet of no type we know */
    }
    flow = guest_flow(guest, hdr->type, hdr->dst_port, hdr->src_port);
    g_assert_true(hdr->op == VSK_OP_RW || hdr->len == 0);
    g_assert_true(hdr->op == VSK_OP_SHUTDOWN || hdr->flags == 0 ||
                  (hdr->op == VSK_OP_RW && hdr->type == VSK_TYPE_SEQPACKET));
    if (hdr->op == VSK_OP_RST) {
        guest->resets++;
        if (flow->phase != GUEST_CLOSED) {
            set_phase(flow, GUEST_CLOSED);
            flow->last.was_reset = true;
        }
    } else if (hdr->op == VSK_OP_REQUEST) {
        g_assert_cmpint(flow->phase, ==, GUEST_CLOSED);
        if (guest->refuses) {
            guest_reset(guest, flow);
        } else {
            set_phase(flow, GUEST_OPEN);
            flow->heard_buf_alloc = hdr->buf_alloc;
            guest_say(guest, flow, VSK_OP_RESPONSE, 0);
        }
    } else if (flow->phase == GUEST_REQUESTED) {
        if (hdr->op == VSK_OP_RESPONSE) {
            flow->phase = GUEST_OPEN;
            flow->heard_buf_alloc = hdr->buf_alloc;
        }
        /* else it is of the flow before, which has not yet got our RST */
    } else if (flow->phase == GUEST_OPEN) {
        take_open(guest, flow);
    } else {
        guest_reset(guest, flow);
    }
}

void guest_pull(Guest *guest)
{
    while (vm_get(guest->vm)) {
        take_packet(guest);
    }
    vm_take_tx(guest->vm);
}
