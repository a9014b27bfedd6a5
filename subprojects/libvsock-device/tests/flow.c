/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One flow under test.
 */

#include "flow.h"
#include "pkt.h"

#include <string.h>
#include <sys/epoll.h>

/* --- What epoll would tell ----------------------------------------------- */

enum {
    SHAPE_NO_INPUT_END = 1 << 0, /* end of file behind the input */
    SHAPE_NO_OUTPUT = 1 << 1,
};

static unsigned int shape_of(const ScriptedStream *s)
{
    return (s->ended || s->shut_rd ? SHAPE_NO_INPUT_END : 0) |
           (s->deaf || s->shut_wr ? SHAPE_NO_OUTPUT : 0);
}

/* Report what a level-triggered poll would: the edge has just happened. */
static void report(Flow *f)
{
    uint32_t mask = vsk_conn_poll_mask(f->conn);
    unsigned int shape = shape_of(f->s);
    uint32_t events = 0;

    f->shape = shape;
    if (!mask) {
        return;
    }
    if (f->s->input->len || f->s->waiting.length ||
        (shape & SHAPE_NO_INPUT_END)) {
        events |= EPOLLIN;
    }
    if (shape & SHAPE_NO_INPUT_END) {
        events |= EPOLLRDHUP;
    }
    if (f->s->room) {
        events |= EPOLLOUT;
    }
    events &= mask;
    if (shape == (SHAPE_NO_INPUT_END | SHAPE_NO_OUTPUT)) {
        events |= EPOLLHUP;
    }
    if (events) {
        vsk_conn_host_event(f->conn, events);
    }
}

/* What the flow did to its socket is an edge for it, too. */
static void report_if_changed(Flow *f)
{
    while (!f->s->closed && shape_of(f->s) != f->shape) {
        report(f);
    }
}

/* --- Flows --------------------------------------------------------------- */

static Flow *flow_new(VskType type)
{
    Flow *f = g_new0(Flow, 1);

    f->type = type;
    f->s = type == VSK_TYPE_SEQPACKET ? scripted_stream_new_seqpacket()
                                      : scripted_stream_new();
    f->buf_alloc = 4096;
    return f;
}

static VskHdr hdr_from_guest(const Flow *f, VskOp op)
{
    return (VskHdr) {
        .src_cid = FLOW_GUEST_CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = FLOW_GUEST_PORT,
        .dst_port = FLOW_HOST_PORT,
        .type = f->type,
        .op = op,
        .buf_alloc = f->buf_alloc,
        .fwd_cnt = f->fwd_cnt,
    };
}

static Flow *new_requested_by_guest(VskType type)
{
    Flow *f = flow_new(type);
    VskHdr hdr = hdr_from_guest(f, VSK_OP_REQUEST);

    f->conn = vsk_conn_new_from_guest(&hdr, FLOW_BUF_ALLOC, &f->s->base);
    return f;
}

Flow *flow_requested_by_guest(void)
{
    return new_requested_by_guest(VSK_TYPE_STREAM);
}

static Flow *new_from_guest(VskType type)
{
    Flow *f = new_requested_by_guest(type);

    expect(f, VSK_OP_RESPONSE);
    expect_nothing(f);
    return f;
}

Flow *flow_from_guest(void)
{
    return new_from_guest(VSK_TYPE_STREAM);
}

Flow *flow_seqpacket_from_guest(void)
{
    return new_from_guest(VSK_TYPE_SEQPACKET);
}

static Flow *new_requested_by_host(VskType type)
{
    const VskKey key = {
        .guest_port = FLOW_GUEST_PORT,
        .host_port = FLOW_HOST_PORT,
        .type = type,
    };
    Flow *f = flow_new(type);

    f->conn = vsk_conn_new_from_host(&key, FLOW_GUEST_CID, FLOW_BUF_ALLOC,
                                     &f->s->base);
    return f;
}

Flow *flow_requested_by_host(void)
{
    return new_requested_by_host(VSK_TYPE_STREAM);
}

Flow *flow_seqpacket_requested_by_host(void)
{
    return new_requested_by_host(VSK_TYPE_SEQPACKET);
}

Flow *flow_from_host(void)
{
    Flow *f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    guest_says(f, VSK_OP_RESPONSE);
    expect_nothing(f);
    return f;
}

void flow_free(Flow *f)
{
    if (f) {
        vsk_conn_free(f->conn);
        g_assert_true(f->s->closed);
        scripted_stream_free(f->s);
        g_free(f);
    }
}

/* --- The guest ----------------------------------------------------------- */

/* Hand over one packet; VSK_REFUSED_NUM: it was taken. */
static VskRefusal give(Flow *f, const VskHdr *hdr, const void *bytes)
{
    /* In memory of its own, so that a read beyond it is seen. */
    g_autofree char *copy = g_malloc(hdr->len);
    size_t cut = hdr->len / 2;
    struct iovec iov[] = {
        { copy, cut }, { copy ? copy + cut : NULL, hdr->len - cut },
    };
    VskRefusal why = VSK_REFUSED_NUM;
    bool ok;

    if (hdr->len) {
        memcpy(copy, bytes, hdr->len);
    }
    ok = vsk_conn_from_guest(f->conn, hdr, hdr->len ? iov : NULL,
                             hdr->len ? 2 : 0, &why);
    g_assert_cmpint(ok, ==, why == VSK_REFUSED_NUM);
    report_if_changed(f);
    return why;
}

static void send_rw(Flow *f, const void *bytes, size_t len, uint32_t flags)
{
    VskHdr hdr = hdr_from_guest(f, VSK_OP_RW);

    hdr.len = (uint32_t)len;
    hdr.flags = flags;
    f->sent += hdr.len;
    g_assert_cmpint(give(f, &hdr, bytes), ==, VSK_REFUSED_NUM);
}

void guest_sends_bytes(Flow *f, const void *bytes, size_t len)
{
    send_rw(f, bytes, len, 0);
}

void guest_sends_part(Flow *f, const char *text, uint32_t flags)
{
    send_rw(f, text, strlen(text), flags);
}

void guest_sends_message(Flow *f, const char *text)
{
    guest_sends_part(f, text, VSK_SEQ_EOM);
}

void guest_sends(Flow *f, const char *text)
{
    guest_sends_bytes(f, text, strlen(text));
}

void guest_says(Flow *f, VskOp op)
{
    VskHdr hdr = hdr_from_guest(f, op);

    g_assert_cmpint(give(f, &hdr, NULL), ==, VSK_REFUSED_NUM);
}

void guest_shuts(Flow *f, uint32_t flags)
{
    VskHdr hdr = hdr_from_guest(f, VSK_OP_SHUTDOWN);

    hdr.flags = flags;
    g_assert_cmpint(give(f, &hdr, NULL), ==, VSK_REFUSED_NUM);
}

void guest_takes(Flow *f, uint32_t len)
{
    f->fwd_cnt += len;
    guest_says(f, VSK_OP_CREDIT_UPDATE);
}

void guest_resizes(Flow *f, uint32_t buf_alloc)
{
    f->buf_alloc = buf_alloc;
    guest_says(f, VSK_OP_CREDIT_UPDATE);
}

void guest_is_refused_with(Flow *f, VskOp op, uint32_t flags, uint32_t len,
                           VskRefusal why)
{
    g_autofree char *bytes = g_malloc0(len);
    VskHdr hdr = hdr_from_guest(f, op);

    hdr.flags = flags;
    hdr.len = len;
    g_assert_cmpint(give(f, &hdr, bytes), ==, why);
}

void guest_is_refused(Flow *f, VskOp op, uint32_t len, VskRefusal why)
{
    guest_is_refused_with(f, op, 0, len, why);
}

/* --- The host program ---------------------------------------------------- */

void host_writes_bytes(Flow *f, const void *bytes, size_t len)
{
    scripted_stream_add_input(f->s, bytes, len);
    report(f);
    report_if_changed(f);
}

void host_writes(Flow *f, const char *text)
{
    host_writes_bytes(f, text, strlen(text));
}

void host_writes_message(Flow *f, const char *text)
{
    scripted_stream_add_message(f->s, text, strlen(text));
    report(f);
    report_if_changed(f);
}

void host_sends_no_more(Flow *f)
{
    f->s->ended = true;
    report_if_changed(f);
}

void host_reads_no_more(Flow *f)
{
    f->s->deaf = true;
    report_if_changed(f);
}

void host_closes(Flow *f)
{
    f->s->ended = true;
    f->s->deaf = true;
    report_if_changed(f);
}

void host_has_room(Flow *f, size_t len)
{
    f->s->room = len;
    if (len) {
        report(f);
        report_if_changed(f);
    }
}

void host_got(Flow *f, const char *text)
{
    scripted_stream_expect_output(f->s, text);
}

void host_got_message(Flow *f, const char *text)
{
    scripted_stream_expect_message(f->s, text);
}

void host_got_no_message(const Flow *f)
{
    g_assert_cmpuint(f->s->sent.length, ==, 0);
}

bool host_sees_eof(const Flow *f)
{
    return f->s->shut_wr || f->s->closed;
}

/* --- What the guest gets ------------------------------------------------- */

static void check(Flow *f, const VskHdr *hdr, VskOp op)
{
    g_assert_cmpint(hdr->op, ==, op);
    g_assert_cmpuint(hdr->src_cid, ==, VSK_CID_HOST);
    g_assert_cmpuint(hdr->dst_cid, ==, FLOW_GUEST_CID);
    g_assert_cmpuint(hdr->src_port, ==, FLOW_HOST_PORT);
    g_assert_cmpuint(hdr->dst_port, ==, FLOW_GUEST_PORT);
    g_assert_cmpuint(hdr->type, ==, f->type);
    g_assert_cmpuint(hdr->buf_alloc, ==, FLOW_BUF_ALLOC);
    /* Never ahead of what was received, never backwards. */
    g_assert_cmpuint(hdr->fwd_cnt - f->told, <=, f->sent - f->told);
    f->told = hdr->fwd_cnt;
    report_if_changed(f);
}

/* A read may be owed that finds nothing, or only an end. */
static void read_nothing(Flow *f)
{
    char byte;
    struct iovec iov = { &byte, 1 };
    size_t len;

    g_assert_true(vsk_conn_owes_data(f->conn));
    g_assert_cmpint(vsk_conn_read(f->conn, &iov, 1, &len), ==,
                    VSK_READ_NOTHING);
    report_if_changed(f);
}

static void expect_control(Flow *f, VskOp op, uint32_t flags)
{
    VskHdr hdr;

    g_assert_true(vsk_conn_owes(f->conn));
    if (!vsk_conn_next_control(f->conn, &hdr)) {
        read_nothing(f);
        g_assert_true(vsk_conn_next_control(f->conn, &hdr));
    }
    check(f, &hdr, op);
    g_assert_cmpuint(hdr.len, ==, 0);
    g_assert_cmpuint(hdr.flags, ==, flags);
}

void expect(Flow *f, VskOp op)
{
    expect_control(f, op, 0);
}

void expect_shutdown(Flow *f, uint32_t flags)
{
    expect_control(f, VSK_OP_SHUTDOWN, flags);
}

size_t flow_reads(Flow *f, const struct iovec *iov, unsigned int n_iov)
{
    size_t n = 0;
    VskHdr hdr;

    if (vsk_conn_read(f->conn, iov, n_iov, &n) == VSK_READ_DATA) {
        vsk_conn_make_rw(f->conn, (uint32_t)n, true, &hdr);
        check(f, &hdr, VSK_OP_RW);
        g_assert_cmpuint(hdr.len, ==, n);
        g_assert_cmpuint(hdr.flags & ~(f->type == VSK_TYPE_SEQPACKET
                                       ? VSK_SEQ_EOM : 0), ==, 0);
        f->flags = hdr.flags;
        f->received += (uint32_t)n;
        g_assert_cmpuint(f->received - f->fwd_cnt, <=, f->buf_alloc);
    }
    return n;
}

static void expect_bytes(Flow *f, size_t room, const char *text)
{
    size_t len = strlen(text);
    g_autofree char *buf = g_malloc(room);
    struct iovec iov = { buf, room };
    VskHdr hdr;

    g_assert_false(vsk_conn_next_control(f->conn, &hdr));
    g_assert_true(vsk_conn_owes_data(f->conn));
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, len);
    g_assert_cmpmem(buf, len, text, len);
}

void expect_data(Flow *f, const char *text)
{
    expect_bytes(f, 2048, text);
}

void expect_part(Flow *f, size_t room, const char *text, uint32_t flags)
{
    f->flags = UINT32_MAX;
    expect_bytes(f, room, text);
    g_assert_cmpuint(f->flags, ==, flags);
}

void expect_message(Flow *f, const char *text)
{
    expect_part(f, 2048, text, VSK_SEQ_EOM);
}

void expect_nothing(Flow *f)
{
    VskHdr hdr = { .op = 4711 };

    if (vsk_conn_owes_data(f->conn)) {
        read_nothing(f);
    }
    g_assert_false(vsk_conn_next_control(f->conn, &hdr));
    g_assert_cmpuint(hdr.op, ==, 4711);
    g_assert_false(vsk_conn_owes(f->conn));
}

void expect_dead(Flow *f)
{
    expect_nothing(f);
    g_assert_true(vsk_conn_is_dead(f->conn));
    g_assert_false(vsk_conn_in_table(f->conn));
    g_assert_true(f->s->closed);
    g_assert_cmpuint(vsk_conn_poll_mask(f->conn), ==, 0);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_NONE);
    g_assert_null(f->conn->stage.bytes.data);
    g_assert_null(f->conn->stage.ends.data);
}

void expect_expiry(Flow *f, VskRefusal why)
{
    VskRefusal got;

    g_assert_cmpint(vsk_conn_timer(f->conn), !=, VSK_TIMER_NONE);
    g_assert_true(vsk_conn_expire(f->conn, &got));
    g_assert_cmpint(got, ==, why);
}
