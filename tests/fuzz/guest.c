/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A hostile guest: what the device does with its rings.
 */

#include "guest-internal.h"
#include "vsock-limits.h"
#include "pkt.h"

#include <string.h>

Guest *guest_new(Model *model)
{
    Guest *guest = g_new0(Guest, 1);

    guest->model = model;
    guest->rings = fake_rings_new();
    guest->packets = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    guest->held_until_ms = -1;
    return guest;
}

void guest_free(Guest *guest)
{
    fake_rings_free(guest->rings);
    g_hash_table_unref(guest->packets);
    g_free(guest);
}

/* --- Packets as the device takes them --------------------------------- */

/* An honest guest keeps to its credit, and tells what it took. */
static void be_honest(Packet *packet, const ModelFlow *flow)
{
    VskHdr *hdr = &packet->hdr;

    hdr->fwd_cnt = flow ? (uint32_t)flow->to_guest : 0;
    hdr->buf_alloc = HONEST_BUF_ALLOC;
    if (hdr->op == VSK_OP_RW && flow && flow->buf_alloc &&
        hdr->len > model_room(flow)) {
        hdr->len = model_room(flow);
        hdr->flags &= ~VSK_SEQ_EOM;
    }
}

static void fill(Guest *guest, FakeChain *chain, Packet *packet)
{
    VskHdr *hdr = &packet->hdr;
    const ModelFlow *flow = model_find(guest->model, hdr->type,
                                       hdr->src_port, hdr->dst_port);
    g_autofree uint8_t *content = NULL;
    g_autofree uint8_t *bytes = NULL;
    struct iovec wire = { 0 };
    size_t size = VSK_HDR_SIZE + packet->body;

    if (packet->raw) {
        vsk_iov_from_buf(chain->out, chain->n_out, packet->bytes,
                         packet->body);
        return;
    }
    if (packet->honest) {
        be_honest(packet, flow);
    } else if (packet->relative && flow) {
        hdr->fwd_cnt += (uint32_t)flow->to_guest;
    }
    bytes = g_malloc0(size);
    wire = (struct iovec) { bytes, VSK_HDR_SIZE };
    vsk_hdr_encode(hdr, &wire, 1);
    if (hdr->op == VSK_OP_RW && packet->body) {
        content = content_make(content_id(hdr->type, hdr->src_port),
                               FROM_GUEST,
                               flow ? (uint32_t)flow->from_guest : 0,
                               (uint32_t)packet->body);
        memcpy(bytes + VSK_HDR_SIZE, content, packet->body);
    }
    vsk_iov_from_buf(chain->out, chain->n_out, bytes, size);
}

/* --- What the device does --------------------------------------------- */

static bool pop(void *opaque, VskQueue queue, VskChain *ret_chain)
{
    Guest *guest = opaque;
    Packet *packet;

    CHECK(guest->in_call);
    if (!fake_ring_ops.pop(guest->rings, queue, ret_chain)) {
        return false;
    }
    packet = g_hash_table_lookup(guest->packets, ret_chain->elem);
    if (packet) {
        fill(guest, ret_chain->elem, packet);
        guest->last = ret_chain->elem;
    }
    return true;
}

static void unpop(void *opaque, VskQueue queue, VskChain *chain)
{
    Guest *guest = opaque;

    CHECK(guest->in_call);
    fake_ring_ops.unpop(guest->rings, queue, chain);
}

/* The bytes of a used RX chain, as the driver finds them. */
static void receive(Guest *guest, const FakeChain *chain, uint32_t len)
{
    g_autofree uint8_t *bytes = g_malloc(MAX(len, 1));
    VskHdr hdr;

    if (!len) {
        return; /* it was too small for anything */
    }
    CHECK(len >= VSK_HDR_SIZE);
    CHECK(!guest_is_held(guest));
    vsk_iov_to_buf(chain->in, chain->n_in, bytes, len);
    CHECK(vsk_hdr_decode(chain->in, chain->n_in, &hdr));
    CHECK(hdr.len == len - VSK_HDR_SIZE);
    guest->n_to_guest++;
    model_to_guest(guest->model, &hdr, bytes + VSK_HDR_SIZE);
}

/* The driver ends all its flows. */
static void receive_event(Guest *guest, uint32_t len)
{
    if (!len) {
        return;
    }
    CHECK(len == sizeof(uint32_t));
    trace("  event\n");
    model_end_flows(guest->model, false);
    guest->sent_event = true;
    guest->held_until_ms = -1;
    if (fake_ring_avail(guest->rings, VSK_QUEUE_EVENT) < VSK_TURN_CHAINS) {
        guest->held_until_ms = guest->now_ms + VSK_EVENT_TIMEOUT_MS;
    }
}

static void push(void *opaque, VskQueue queue, VskChain *chain, uint32_t len)
{
    Guest *guest = opaque;
    FakeChain *elem = chain->elem;

    CHECK(guest->in_call);
    fake_ring_ops.push(guest->rings, queue, chain, len);
    switch (queue) {
    case VSK_QUEUE_RX:
        receive(guest, elem, len);
        break;
    case VSK_QUEUE_TX:
        CHECK(len == 0);
        if (elem == guest->request) {
            model_settle_request(guest->model);
        }
        g_hash_table_remove(guest->packets, elem);
        break;
    default:
        receive_event(guest, len);
    }
}

static void flush(void *opaque)
{
    Guest *guest = opaque;

    CHECK(guest->in_call);
    fake_ring_ops.flush(guest->rings);
}

/* A driver at work on another processor. */
static void add_late(Guest *guest, VskQueue queue)
{
    const size_t size = VSK_HDR_SIZE;
    FakeChain *chain;
    Packet *packet;

    guest->late--;
    if (queue == VSK_QUEUE_TX) {
        packet = g_new0(Packet, 1);
        packet->honest = true;
        packet->hdr = (VskHdr) {
            .src_cid = MODEL_CID,
            .dst_cid = VSK_CID_HOST,
            .src_port = FIRST_GUEST_PORT,
            .dst_port = model_ports[0],
            .type = VSK_TYPE_STREAM,
            .op = (uint16_t)(VSK_OP_REQUEST + guest->late % 7),
        };
        chain = fake_chain_new(&size, 1, NULL, 0);
        g_hash_table_insert(guest->packets, chain, packet);
    } else {
        chain = fake_chain_new(NULL, 0, (size_t[]) { VSK_HDR_SIZE, 4096 }, 2);
    }
    fake_ring_add_late(guest->rings, queue, chain);
}

void guest_be_late(Guest *guest, uint8_t how)
{
    guest->late = how & 31;
    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        guest->rings->ring[queue].lies = how & (32 << queue);
    }
}

static bool set_notification(void *opaque, VskQueue queue, bool enable)
{
    Guest *guest = opaque;

    CHECK(guest->in_call);
    if (enable && guest->late && queue != VSK_QUEUE_EVENT) {
        add_late(guest, queue);
    }
    return fake_ring_ops.set_notification(guest->rings, queue, enable);
}

static void refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    Guest *guest = opaque;

    CHECK(guest->in_call);
    fake_ring_ops.refused(guest->rings, why, hdr);
    if (hdr) {
        g_autofree char *words = vsk_packet_describe(hdr);

        CHECK(words && *words);
    }
    (void)vsk_refusal_warning(why);
    model_refused(guest->model, why, hdr);
}

static void see_packet(void *opaque, bool to_guest, const VskHdr *hdr,
                       const struct iovec *payload, unsigned int n_payload)
{
    Guest *guest = opaque;

    CHECK(guest->in_call);
    CHECK(hdr->len <= VSK_MAX_PKT_PAYLOAD);
    fake_ring_ops.packet(guest->rings, to_guest, hdr, payload, n_payload);
    if (!to_guest) {
        trace("  from guest: op %u %u -> %u len %u flags %u credit %u %u\n",
              hdr->op, hdr->src_port, hdr->dst_port, hdr->len, hdr->flags,
              hdr->buf_alloc, hdr->fwd_cnt);
        model_from_guest(guest->model, hdr);
        if (hdr->op == VSK_OP_REQUEST) {
            guest->request = guest->last;
        }
    }
}

const VskDevOps guest_ops = {
    .pop = pop,
    .unpop = unpop,
    .push = push,
    .flush = flush,
    .set_notification = set_notification,
    .refused = refused,
    .packet = see_packet,
};

/* --- Calls ------------------------------------------------------------ */

void guest_enter(Guest *guest)
{
    guest->in_call = true;
}

void guest_leave(Guest *guest)
{
    FakeChain *chain;

    model_settle_request(guest->model);
    guest->in_call = false;
    guest->request = guest->last = NULL;
    fake_rings_assert_at_rest(guest->rings);
    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        while ((chain = fake_ring_take(guest->rings, queue))) {
            fake_chain_free(chain);
        }
    }
}

void guest_forbid(Guest *guest, bool forbidden)
{
    guest->rings->forbidden = forbidden;
}

void guest_forget(Guest *guest)
{
    fake_rings_clear(guest->rings);
    g_hash_table_remove_all(guest->packets);
    guest_clear_event(guest);
}

void guest_clear_event(Guest *guest)
{
    guest->sent_event = false;
    guest->held_until_ms = -1;
}

bool guest_is_held(const Guest *guest)
{
    return guest->held_until_ms > guest->now_ms;
}

void guest_give_event(Guest *guest, size_t size)
{
    if (guest->sent_event) {
        /* It gave the buffer of the event back. */
        guest_clear_event(guest);
    }
    fake_ring_add(guest->rings, VSK_QUEUE_EVENT,
                  fake_chain_new(NULL, 0, &size, 1));
}
