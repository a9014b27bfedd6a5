/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A hostile guest: packets and chains made of the fuzz input.
 *
 * Of an input's bytes, three make an honest packet: what it is and for whom,
 * how its chain is laid out, and its size.  A wrong one takes a fourth, which
 * says what is wrong with it, and what that needs.  seeds.py writes them.
 */

#include "guest-internal.h"

#include <string.h>

#define MAX_PIECES 1100

/* First byte: bits 0-3 index here, 4-6 whom it is for, 7 seqpacket. */
static const uint8_t ops[16] = {
    VSK_OP_REQUEST, VSK_OP_REQUEST, VSK_OP_RESPONSE, VSK_OP_RESPONSE,
    VSK_OP_RST, VSK_OP_SHUTDOWN, VSK_OP_SHUTDOWN, VSK_OP_RW,
    VSK_OP_RW, VSK_OP_RW, VSK_OP_RW, VSK_OP_RW,
    VSK_OP_CREDIT_UPDATE, VSK_OP_CREDIT_UPDATE, VSK_OP_CREDIT_REQUEST,
    VSK_OP_INVALID,
};

static const uint32_t odd_values[8] = {
    0, 1, 100, 4096, 65536, INT32_MAX, UINT32_MAX, 262144,
};

/* --- Chains ----------------------------------------------------------- */

/* Pieces of @size bytes, @max of them, and one with the rest. */
static unsigned int cut(size_t *sizes, size_t total, size_t size,
                        unsigned int max)
{
    unsigned int n = 0;

    while (total && n < max) {
        sizes[n] = MIN(total, size);
        total -= sizes[n++];
    }
    if (total) {
        sizes[n++] = total;
    }
    return n;
}

/* Lay @total bytes out; returns how many pieces. */
static unsigned int lay_out(unsigned int shape, size_t total, size_t *sizes)
{
    size_t first = MIN(total, 20), second = MIN(total - first, 100);

    switch (shape & 7) {
    case 2:
        return cut(sizes, total, total, 1);
    case 3:
        return cut(sizes, total, MAX(1, total / 60), 63);
    case 4:
        return cut(sizes, total, 1, 50);
    case 5: /* with empty ones */
        sizes[0] = first;
        sizes[1] = sizes[3] = 0;
        sizes[2] = second;
        sizes[4] = total - first - second;
        return 5;
    case 6: /* as many as the ring allows */
        return cut(sizes, total, 1, VSK_MAX_CHAIN_IOV - 2);
    case 7: /* more */
        return cut(sizes, total, 1, VSK_MAX_CHAIN_IOV + 6);
    default:
        return cut(sizes, total, VSK_HDR_SIZE, 1);
    }
}

static void put(Guest *guest, Packet *packet, unsigned int shape,
                size_t total, bool writable)
{
    size_t sizes[MAX_PIECES];
    unsigned int n = lay_out(shape, total, sizes);
    const size_t area = 50;
    FakeChain *chain = fake_chain_new(sizes, n, &area, writable);

    g_hash_table_insert(guest->packets, chain, packet);
    fake_ring_add(guest->rings, VSK_QUEUE_TX, chain);
}

/* --- Packets ---------------------------------------------------------- */

/* Bytes of payload, mostly few. */
static uint32_t length_of(uint8_t byte)
{
    switch (byte >> 6) {
    case 0:
        return byte & 63;
    case 1:
        return (byte & 63) * 64u + 1;
    case 2:
        return (byte & 63) * 1024u;
    default:
        return 65536u - (byte & 7);
    }
}

/* The flow of a host client, the latest or one before. */
static void address_client(const Guest *guest, VskHdr *hdr, unsigned int back)
{
    GPtrArray *flows = guest->model->by_host;
    const ModelFlow *flow;

    if (flows->len) {
        flow = g_ptr_array_index(flows, flows->len - 1 -
                                 MIN(back, flows->len - 1));
        hdr->src_port = flow->guest_port;
        hdr->dst_port = flow->host_port;
        hdr->type = (uint16_t)flow->type;
    }
}

static Packet *make_packet(Guest *guest, uint8_t what, uint8_t layout,
                           uint8_t size)
{
    Packet *packet = g_new0(Packet, 1);
    unsigned int whom = (what >> 4) & 7;
    VskHdr *hdr = &packet->hdr;

    *hdr = (VskHdr) {
        .src_cid = MODEL_CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = FIRST_GUEST_PORT + ((layout >> 4) & (N_GUEST_PORTS - 1)),
        .dst_port = whom < MODEL_PORTS ? model_ports[whom] : 9,
        .type = what & 128 ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM,
        .op = ops[what & 15],
    };
    if (whom >= MODEL_PORTS && whom < 7) {
        address_client(guest, hdr, layout & 3);
    }
    if (hdr->op == VSK_OP_RW) {
        hdr->len = length_of(size);
        hdr->flags = (layout & 64 ? 0 : VSK_SEQ_EOM) |
                     (layout & 128 ? VSK_SEQ_EOR : 0);
    }
    packet->body = hdr->len;
    return packet;
}

size_t guest_put_honest(Guest *guest, FuzzBytes *in)
{
    uint8_t what = fuzz_u8(in), layout = fuzz_u8(in), size = fuzz_u8(in);
    Packet *packet = make_packet(guest, what, layout, size);

    packet->honest = true;
    if (packet->hdr.op == VSK_OP_SHUTDOWN) {
        packet->hdr.flags = 1 + size % 3;
    }
    put(guest, packet, layout & 7, VSK_HDR_SIZE + packet->body, false);
    return packet->body;
}

/* --- Wrong ones ------------------------------------------------------- */

static void spoil_credit(Packet *packet, unsigned int how, FuzzBytes *in)
{
    packet->hdr.buf_alloc = odd_values[how & 7];
    switch ((how >> 3) & 3) {
    case 0:
        packet->relative = true;
        break;
    case 1:
        packet->relative = true;
        packet->hdr.fwd_cnt = (uint32_t)(fuzz_u8(in) - 128);
        break;
    case 2:
        packet->hdr.fwd_cnt = odd_values[fuzz_u8(in) & 7];
        break;
    default:
        break;
    }
}

static void spoil_header(VskHdr *hdr, unsigned int how, FuzzBytes *in)
{
    uint8_t byte;

    switch (how) {
    case 0:
        hdr->src_cid = fuzz_u8(in) & 1 ? MODEL_CID | 1ull << 32 : fuzz_u8(in);
        break;
    case 1:
        hdr->dst_cid = fuzz_u8(in) & 1 ? VSK_CID_HOST | 1ull << 40
                                       : fuzz_u8(in);
        break;
    case 2:
        hdr->type = fuzz_u8(in);
        break;
    case 3:
        byte = fuzz_u8(in);
        hdr->len += byte & 128 ? 0xffffff00u : byte & 64 ? 70000 : byte;
        break;
    case 4:
        hdr->op = fuzz_u8(in) & 1 ? fuzz_u16(in) : 99;
        break;
    default:
        break;
    }
}

size_t guest_put_wrong(Guest *guest, FuzzBytes *in)
{
    uint8_t what = fuzz_u8(in), layout = fuzz_u8(in), size = fuzz_u8(in);
    Packet *packet = make_packet(guest, what, layout, size);
    uint8_t how = fuzz_u8(in);
    size_t total;

    if (packet->hdr.op == VSK_OP_SHUTDOWN) {
        packet->hdr.flags = size;
    }
    spoil_credit(packet, how & 31, in);
    spoil_header(&packet->hdr, how >> 5, in);
    total = VSK_HDR_SIZE + packet->body;
    if ((size & 15) == 15) {
        total = size < 128 ? fuzz_u8(in) % VSK_HDR_SIZE : total + (size & 31);
    }
    packet->body = total > VSK_HDR_SIZE ? total - VSK_HDR_SIZE : 0;
    put(guest, packet, layout, total, (size & 31) == 30);
    return packet->body;
}

void guest_put_raw(Guest *guest, FuzzBytes *in)
{
    Packet *packet = g_new0(Packet, 1);
    size_t len = fuzz_u8(in) & 63;
    const uint8_t *bytes = fuzz_take(in, &len);

    packet->raw = true;
    packet->body = len;
    if (len) {
        memcpy(packet->bytes, bytes, len);
    }
    put(guest, packet, 2, len, false);
}

void guest_put_credit(Guest *guest)
{
    GPtrArray *flows = guest->model->flows;

    for (guint i = 0; i < flows->len; i++) {
        const ModelFlow *flow = g_ptr_array_index(flows, i);
        Packet *packet;

        if (flow->is_over || (!flow->is_open && !flow->by_host)) {
            continue;
        }
        packet = g_new0(Packet, 1);
        packet->honest = true;
        packet->hdr = (VskHdr) {
            .src_cid = MODEL_CID,
            .dst_cid = VSK_CID_HOST,
            .src_port = flow->guest_port,
            .dst_port = flow->host_port,
            .type = (uint16_t)flow->type,
            .op = flow->is_open ? VSK_OP_CREDIT_UPDATE : VSK_OP_RESPONSE,
        };
        put(guest, packet, 2, VSK_HDR_SIZE, false);
    }
}

/* --- Buffers ---------------------------------------------------------- */

void guest_give_rx(Guest *guest, unsigned int shape)
{
    static const struct {
        unsigned int n;
        size_t sizes[7];
    } shapes[7] = {
        { 2, { VSK_HDR_SIZE, 4096 } },
        { 2, { VSK_HDR_SIZE, 4096 } },
        { 1, { VSK_HDR_SIZE + 4096 } },
        { 1, { VSK_HDR_SIZE } },
        { 7, { 20, 0, 24, 1, 3, 0, 7 } },
        { 2, { VSK_HDR_SIZE, 90000 } },
        { 2, { 10, 20 } },
    };
    size_t ones[VSK_MAX_CHAIN_IOV];
    unsigned int n = shape & 8 ? VSK_MAX_CHAIN_IOV : 300;
    FakeChain *chain;

    if ((shape & 7) < 7) {
        n = (shape & 15) == 14 ? 0 : shapes[shape & 7].n;
        chain = fake_chain_new(NULL, 0, shapes[shape & 7].sizes, n);
    } else {
        for (unsigned int i = 0; i < n; i++) {
            ones[i] = 1;
        }
        chain = fake_chain_new(NULL, 0, ones, n);
    }
    fake_ring_add(guest->rings, VSK_QUEUE_RX, chain);
}
