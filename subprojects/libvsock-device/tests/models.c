/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Models of a guest and of its host's programs.
 */

#include "models.h"
#include "pkt.h"
#include "unix-socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FROM_GUEST = 1,
    FROM_HOST = 2,
};

/* Byte @pos of what one side of a flow of @guest_port sends. */
static uint8_t byte_at(uint32_t guest_port, int side, uint32_t pos)
{
    uint64_t x = ((uint64_t)guest_port << 34 | (uint64_t)side << 32 | pos) *
                 0x9e3779b97f4a7c15ull;

    return (uint8_t)(x >> 56);
}

static uint8_t *make_bytes(uint32_t guest_port, int side, uint32_t pos,
                           uint32_t len)
{
    uint8_t *bytes = g_malloc(MAX(len, 1));

    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = byte_at(guest_port, side, pos + i);
    }
    return bytes;
}

static void check_bytes(uint32_t guest_port, int side, uint32_t pos,
                        const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        g_assert_cmphex(bytes[i], ==, byte_at(guest_port, side, pos + i));
    }
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

GuestFlow *guest_flow(Guest *guest, uint32_t guest_port, uint32_t host_port)
{
    GuestFlow *flow;

    for (guint i = 0; i < guest->flows->len; i++) {
        flow = g_ptr_array_index(guest->flows, i);
        if (flow->guest_port == guest_port && flow->host_port == host_port) {
            return flow;
        }
    }
    flow = g_new0(GuestFlow, 1);
    flow->guest_port = guest_port;
    flow->host_port = host_port;
    g_ptr_array_add(guest->flows, flow);
    return flow;
}

static void set_phase(GuestFlow *flow, GuestPhase phase)
{
    *flow = (GuestFlow) {
        .guest_port = flow->guest_port,
        .host_port = flow->host_port,
        .phase = phase,
    };
}

static VskHdr hdr_of(const Guest *guest, const GuestFlow *flow, VskOp op)
{
    VskHdr hdr = vm_hdr(guest->vm, op, flow->guest_port, flow->host_port);

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
static void put_rw(Guest *guest, GuestFlow *flow, uint32_t len)
{
    VskHdr hdr = hdr_of(guest, flow, VSK_OP_RW);
    g_autofree uint8_t *bytes = make_bytes(flow->guest_port, FROM_GUEST,
                                           flow->sent, len);
    size_t cut = random_up_to(guest->rand, VSK_HDR_SIZE + len);
    size_t rest = VSK_HDR_SIZE + len - cut;
    size_t third = random_up_to(guest->rand, (uint32_t)rest);
    size_t sizes[] = { cut, third, rest - third };

    hdr.len = len;
    flow->sent += len;
    vm_put_pieces(guest->vm, &hdr, bytes, len, sizes, 3);
}

static uint32_t room_of(const GuestFlow *flow)
{
    uint32_t in_flight = flow->sent - flow->heard_fwd_cnt;

    g_assert_cmpuint(in_flight, <=, flow->heard_buf_alloc);
    return flow->heard_buf_alloc - in_flight;
}

uint32_t guest_send(Guest *guest, GuestFlow *flow, uint32_t max)
{
    uint32_t len;

    g_assert_cmpint(flow->phase, ==, GUEST_OPEN);
    if (flow->broken || ((flow->shut | flow->heard_shut << 1) &
                         VSK_SHUTDOWN_SEND)) {
        return 0;
    }
    len = MIN(MIN(max, room_of(flow)), 65536);
    if (len) {
        len = 1 + random_up_to(guest->rand, len - 1);
        put_rw(guest, flow, len);
    }
    return len;
}

void guest_overrun(Guest *guest, GuestFlow *flow)
{
    uint32_t len = flow->broken ? UINT32_MAX : room_of(flow) + 1;

    if (len <= 65536) {
        flow->broken = true;
        put_rw(guest, flow, len);
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

static void take_rw(Guest *guest, GuestFlow *flow)
{
    const GByteArray *payload = guest->vm->payload;

    g_assert_false(flow->heard_shut & VSK_SHUTDOWN_SEND);
    g_assert_cmpuint(payload->len, >, 0);
    check_bytes(flow->guest_port, FROM_HOST, flow->received, payload->data,
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
    GuestFlow *flow = guest_flow(guest, hdr->dst_port, hdr->src_port);

    if (hdr->type != VSK_TYPE_STREAM) {
        g_assert_cmpint(hdr->op, ==, VSK_OP_RST);
        return; /* the answer to a packet of no type we know */
    }
    g_assert_true(hdr->op == VSK_OP_RW || hdr->len == 0);
    g_assert_true(hdr->op == VSK_OP_SHUTDOWN || hdr->flags == 0);
    if (hdr->op == VSK_OP_RST) {
        guest->resets++;
        set_phase(flow, GUEST_CLOSED);
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

/* --- Host programs ------------------------------------------------------- */

HostEnd *host_end_connect(Vm *vm, uint32_t guest_port)
{
    HostEnd *end;
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", guest_port);
    int fd = unix_try_connect(vm->path);

    g_assert_cmpint(fd, >=, 0);
    end = g_new0(HostEnd, 1);
    end->fd = fd;
    end->guest_port = guest_port;
    unix_write(fd, line);
    return end;
}

HostEnd *host_end_accept(int listener, uint32_t host_port)
{
    HostEnd *end;
    uint64_t cid;

    if (!unix_has_client(listener)) {
        return NULL;
    }
    end = g_new0(HostEnd, 1);
    end->fd = unix_accept(listener);
    end->host_port = host_port;
    unix_get_source(end->fd, &cid, &end->guest_port);
    g_assert_cmpuint(cid, ==, VM_CID);
    return end;
}

void host_end_close(HostEnd *end)
{
    close(end->fd);
    g_free(end);
}

/* True if there is nothing to read, for now or for ever. */
static bool no_bytes(HostEnd *end, ssize_t n)
{
    end->eof |= n == 0 || n == -ECONNRESET;
    g_assert_true(n >= 0 || n == -EAGAIN || n == -ECONNRESET);
    return n <= 0;
}

/* The OK line of a client; true once it is there. */
static bool read_ok_line(HostEnd *end)
{
    while (!end->host_port) {
        char *at = end->line + end->line_len;

        g_assert_cmpuint(end->line_len, <, 9);
        if (no_bytes(end, unix_read(end->fd, at, 1))) {
            g_assert_true(!end->eof || end->line_len == 0);
            return false;
        }
        end->line_len++;
        if (*at == '\n') {
            g_assert_cmpint(sscanf(end->line, "OK %u\n", &end->host_port),
                            ==, 1);
        }
    }
    return true;
}

uint32_t host_end_read(HostEnd *end, uint32_t max)
{
    uint8_t bytes[65536];
    ssize_t n;

    if (end->eof || end->shut_rd || !max || !read_ok_line(end)) {
        return 0;
    }
    n = unix_read(end->fd, bytes, MIN(max, sizeof(bytes)));
    if (no_bytes(end, n)) {
        return 0;
    }
    check_bytes(end->guest_port, FROM_GUEST, end->received, bytes,
                (uint32_t)n);
    end->received += (uint32_t)n;
    return (uint32_t)n;
}

uint32_t host_end_write(HostEnd *end, uint32_t max)
{
    g_autofree uint8_t *bytes = NULL;
    ssize_t n;

    if (end->shut_wr || !max) {
        return 0;
    }
    bytes = make_bytes(end->guest_port, FROM_HOST, end->sent, max);
    n = send(end->fd, bytes, max, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        g_assert_true(errno == EAGAIN || errno == EPIPE ||
                      errno == ECONNRESET);
        return 0;
    }
    end->sent += (uint32_t)n;
    return (uint32_t)n;
}
