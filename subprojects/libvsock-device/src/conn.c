/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One flow: a handshake and two one-way pipes.
 *
 * Theory of operation
 * -------------------
 * Each direction ends by itself, for one of two reasons: its source sends no
 * more, or its sink takes no more.
 *
 *   guest to host  source: guest_shutdown & SEND     sink: host_deaf
 *   host to guest  source: end of file of the stream sink: guest_shutdown &
 *                                                          RECEIVE
 *
 * What the guest is to hear (SHUTDOWN flags) follows from these facts in
 * shutdown_due(); what the host program hears is done at once by shutdown() of
 * the stream, behind the staged bytes.
 *
 * Events are edge-triggered, so a descriptor is registered once and the hot
 * path makes no system call for it: an event sets @readable or @writable, and
 * a short read or write clears it.  An end of file gives one edge only, which
 * may come before the last bytes are read; @ends keeps it.
 */

#include "conn.h"
#include "limits.h"
#include "pkt.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static VskConn *conn_new(const VskKey *key, uint64_t guest_cid,
                         uint32_t buf_alloc, VskStream *stream)
{
    VskConn *conn = g_new0(VskConn, 1);

    conn->key = *key;
    conn->guest_cid = guest_cid;
    conn->stream = stream;
    conn->writable = true;
    conn->burst = 1;
    conn->ready_link.data = conn;
    conn->timer_link.data = conn;
    vsk_credit_init(&conn->credit, buf_alloc);
    vsk_ring_init(&conn->ring, buf_alloc);
    return conn;
}

VskConn *vsk_conn_new_from_guest(const VskHdr *hdr, uint32_t buf_alloc,
                                 VskStream *stream)
{
    VskKey key = {
        .guest_port = hdr->src_port,
        .host_port = hdr->dst_port,
        .type = hdr->type,
    };
    VskConn *conn = conn_new(&key, hdr->src_cid, buf_alloc, stream);

    conn->phase = VSK_PHASE_ESTABLISHED;
    conn->owes_response = true;
    vsk_credit_peer_update(&conn->credit, hdr);
    return conn;
}

VskConn *vsk_conn_new_from_host(const VskKey *key, uint64_t guest_cid,
                                uint32_t buf_alloc, VskStream *stream)
{
    VskConn *conn = conn_new(key, guest_cid, buf_alloc, stream);

    conn->phase = VSK_PHASE_REQUESTED;
    conn->owes_request = true;
    return conn;
}

static void close_stream(VskConn *conn)
{
    g_clear_pointer(&conn->stream, vsk_stream_close);
    conn->readable = false;
    conn->writable = false;
}

void vsk_conn_free(VskConn *conn)
{
    close_stream(conn);
    vsk_ring_fini(&conn->ring);
    g_free(conn);
}

/* --- Ends ------------------------------------------------------------------ */

/* Nothing more to do for either side, but the RST if @tell_guest. */
static void die(VskConn *conn, bool tell_guest)
{
    close_stream(conn);
    vsk_ring_clear(&conn->ring);
    conn->phase = VSK_PHASE_DEAD;
    conn->owes_rst = tell_guest;
}

void vsk_conn_reset(VskConn *conn)
{
    switch (conn->phase) {
    case VSK_PHASE_REQUESTED:
        die(conn, !conn->owes_request); /* else it never heard of us */
        break;
    case VSK_PHASE_ESTABLISHED:
        die(conn, true);
        break;
    case VSK_PHASE_DRAINING:
        die(conn, false);
        break;
    case VSK_PHASE_DEAD:
        break;
    }
}

void vsk_conn_orphan(VskConn *conn)
{
    if (conn->phase == VSK_PHASE_DRAINING) {
        return;
    }
    if (conn->phase != VSK_PHASE_ESTABLISHED || !conn->stream ||
        !vsk_ring_used(&conn->ring)) {
        die(conn, false);
        return;
    }
    conn->phase = VSK_PHASE_DRAINING;
    conn->from_guest = VSK_PIPE_ENDING;
    conn->to_guest = VSK_PIPE_CLOSED;
    conn->readable = false;
    conn->stream->ops->shutdown(conn->stream, SHUT_RD);
}

/*
 * A host program that closes with bytes of the guest unread resets the flow
 * (as a close with unread data does in 5.10.6.6), but what it had sent itself
 * goes first.
 */
static void reset_if_lost(VskConn *conn)
{
    if (conn->lost && conn->to_guest != VSK_PIPE_OPEN) {
        vsk_conn_reset(conn);
    }
}

/* The host program takes no more; what is staged for it is lost. */
static void host_went_deaf(VskConn *conn)
{
    uint32_t staged = vsk_ring_used(&conn->ring);

    conn->host_deaf = true;
    conn->writable = false;
    conn->lost |= conn->hung_up && staged;
    vsk_ring_clear(&conn->ring);
    vsk_credit_consumed(&conn->credit, vsk_credit_held(&conn->credit));
    conn->from_guest = VSK_PIPE_CLOSED;
    reset_if_lost(conn);
}

/* Both directions of the host socket have ended. */
static void host_hung_up(VskConn *conn)
{
    conn->hung_up = true;
    if (!conn->host_deaf) {
        host_went_deaf(conn);
    }
}

/* All bytes of the host program have gone to the guest. */
static void host_ended(VskConn *conn)
{
    conn->readable = false;
    if (conn->to_guest == VSK_PIPE_OPEN) {
        conn->to_guest = VSK_PIPE_ENDING;
    }
    /* A close is an end of file and a hang-up at once: tell them as one. */
    if (!conn->hung_up && conn->stream->ops->has_hung_up(conn->stream)) {
        host_hung_up(conn);
    }
    reset_if_lost(conn);
}

/* After anything that may have completed an end. */
static void settle_ends(VskConn *conn)
{
    bool drained = !vsk_ring_used(&conn->ring);

    if (conn->phase != VSK_PHASE_ESTABLISHED &&
        conn->phase != VSK_PHASE_DRAINING) {
        return;
    }
    if (conn->from_guest == VSK_PIPE_ENDING && drained) {
        conn->from_guest = VSK_PIPE_CLOSED;
        if (conn->stream && !conn->host_deaf) {
            conn->stream->ops->shutdown(conn->stream, SHUT_WR);
        }
    }
    if (conn->from_guest != VSK_PIPE_CLOSED) {
        return;
    }
    if (conn->phase == VSK_PHASE_DRAINING) {
        die(conn, false);
    } else if (conn->guest_shutdown == VSK_SHUTDOWN_BOTH) {
        die(conn, true); /* 5.10.6.6.1: RST confirms the clean disconnect */
    } else if (conn->hung_up && conn->to_guest != VSK_PIPE_OPEN) {
        close_stream(conn); /* no more use for the descriptor */
    }
}

/* --- Guest to host --------------------------------------------------------- */

/* Deal with the outcome of a write; true if the flow goes on writing. */
static bool wrote(VskConn *conn, ssize_t n)
{
    if (n >= 0) {
        vsk_credit_consumed(&conn->credit, (uint32_t)n);
        return true;
    }
    if (n == -EAGAIN) {
        conn->writable = false;
        return true;
    }
    if (n == -EPIPE) {
        if (!conn->hung_up) {
            conn->hung_up = conn->stream->ops->has_hung_up(conn->stream);
        }
        conn->lost |= conn->hung_up;
        host_went_deaf(conn);
    } else {
        vsk_conn_reset(conn);
    }
    return false;
}

static void flush_ring(VskConn *conn)
{
    if (vsk_ring_used(&conn->ring)) {
        wrote(conn, vsk_ring_flush(&conn->ring, conn->stream));
        if (vsk_ring_used(&conn->ring)) {
            conn->writable = false;
        }
    }
}

static bool take_payload(VskConn *conn, const VskHdr *hdr,
                         const struct iovec *payload, unsigned int n_payload,
                         VskRefusal *ret_why)
{
    struct iovec iov[VSK_TURN_IOV];
    unsigned int n_iov;
    size_t len;
    ssize_t done = 0;

    if (conn->guest_shutdown & VSK_SHUTDOWN_SEND) {
        vsk_conn_reset(conn);
        *ret_why = VSK_REFUSED_OP;
        return false;
    }
    if (!vsk_credit_received(&conn->credit, hdr->len)) {
        vsk_conn_reset(conn);
        *ret_why = VSK_REFUSED_CREDIT;
        return false;
    }
    if (conn->host_deaf) {
        vsk_credit_consumed(&conn->credit, hdr->len);
        conn->lost |= conn->hung_up && hdr->len;
        reset_if_lost(conn);
        return true;
    }
    n_iov = vsk_iov_slice(iov, VSK_TURN_IOV, payload, n_payload, 0, hdr->len,
                          &len);
    g_assert(len == hdr->len);
    if (len && conn->writable && !vsk_ring_used(&conn->ring)) {
        done = conn->stream->ops->writev(conn->stream, iov, (int)n_iov);
        if (!wrote(conn, done)) {
            return true;
        }
        done = MAX(done, 0);
    }
    if ((size_t)done < len) {
        bool staged = vsk_ring_push(&conn->ring, iov, n_iov, (size_t)done);

        g_assert(staged); /* the ring has the size of the credit */
        conn->writable = false;
    }
    return true;
}

static void take_shutdown(VskConn *conn, uint32_t flags)
{
    conn->guest_shutdown |= flags & VSK_SHUTDOWN_BOTH;
    if ((conn->guest_shutdown & VSK_SHUTDOWN_RECEIVE) &&
        conn->to_guest != VSK_PIPE_CLOSED) {
        conn->to_guest = VSK_PIPE_CLOSED;
        conn->readable = false;
        if (conn->stream) {
            conn->stream->ops->shutdown(conn->stream, SHUT_RD);
        }
    }
    if ((conn->guest_shutdown & VSK_SHUTDOWN_SEND) &&
        conn->from_guest == VSK_PIPE_OPEN) {
        conn->from_guest = VSK_PIPE_ENDING;
    }
}

static void take_response(VskConn *conn)
{
    int err;

    conn->phase = VSK_PHASE_ESTABLISHED;
    err = conn->stream->ops->accepted(conn->stream, conn->key.host_port);
    if (err == -EPIPE) {
        /* The client left; what it sent before is still for the guest. */
        host_went_deaf(conn);
    } else if (err) {
        vsk_conn_reset(conn);
    }
}

/* A packet while our REQUEST waits for its answer. */
static bool from_guest_requested(VskConn *conn, const VskHdr *hdr,
                                 VskRefusal *ret_why)
{
    if (hdr->op == VSK_OP_RST) {
        die(conn, false);
        return true;
    }
    if (hdr->op == VSK_OP_RESPONSE && !conn->owes_request) {
        vsk_credit_peer_update(&conn->credit, hdr);
        take_response(conn);
        return true;
    }
    *ret_why = VSK_REFUSED_OP;
    if (hdr->op != VSK_OP_INVALID) {
        die(conn, true);
    }
    return false;
}

static bool from_guest_established(VskConn *conn, const VskHdr *hdr,
                                   const struct iovec *payload,
                                   unsigned int n_payload,
                                   VskRefusal *ret_why)
{
    conn->asked_credit = false;
    vsk_credit_peer_update(&conn->credit, hdr);
    switch (hdr->op) {
    case VSK_OP_RST:
        vsk_conn_orphan(conn);
        return true;
    case VSK_OP_SHUTDOWN:
        take_shutdown(conn, hdr->flags);
        return true;
    case VSK_OP_RW:
        return take_payload(conn, hdr, payload, n_payload, ret_why);
    case VSK_OP_CREDIT_UPDATE:
        return true;
    case VSK_OP_CREDIT_REQUEST:
        conn->owes_credit = true;
        return true;
    default:
        *ret_why = VSK_REFUSED_OP;
        return false;
    }
}

bool vsk_conn_from_guest(VskConn *conn, const VskHdr *hdr,
                         const struct iovec *payload, unsigned int n_payload,
                         VskRefusal *ret_why)
{
    bool ok = true;

    switch (conn->phase) {
    case VSK_PHASE_REQUESTED:
        ok = from_guest_requested(conn, hdr, ret_why);
        break;
    case VSK_PHASE_ESTABLISHED:
        ok = from_guest_established(conn, hdr, payload, n_payload, ret_why);
        break;
    case VSK_PHASE_DRAINING:
        break;
    case VSK_PHASE_DEAD:
        /* Our RST is on its way, unless the guest had the same thought. */
        if (hdr->op == VSK_OP_RST) {
            conn->owes_rst = false;
        }
        break;
    }
    settle_ends(conn);
    return ok;
}

/* --- Host to guest --------------------------------------------------------- */

static bool can_send(const VskConn *conn)
{
    return conn->phase == VSK_PHASE_ESTABLISHED && conn->readable &&
           conn->to_guest == VSK_PIPE_OPEN && vsk_credit_room(&conn->credit);
}

/*
 * An end of file is found by reading, which takes credit.  Without credit,
 * and with nothing left to read, it is told all the same.
 */
static void find_end_without_credit(VskConn *conn)
{
    if (conn->phase == VSK_PHASE_ESTABLISHED && conn->ends &&
        conn->to_guest == VSK_PIPE_OPEN && !vsk_credit_room(&conn->credit) &&
        !conn->stream->ops->has_input(conn->stream)) {
        host_ended(conn);
    }
}

void vsk_conn_host_event(VskConn *conn, uint32_t events)
{
    if (!conn->stream) {
        return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        conn->ends = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) &&
        conn->to_guest == VSK_PIPE_OPEN) {
        conn->readable = true;
    }
    if (conn->phase == VSK_PHASE_REQUESTED) {
        /* A client that left, and left nothing behind, needs no flow. */
        if ((events & EPOLLHUP) &&
            !conn->stream->ops->has_input(conn->stream)) {
            vsk_conn_reset(conn);
        }
        return;
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && !conn->host_deaf) {
        conn->writable = true;
        flush_ring(conn);
    }
    if ((events & EPOLLHUP) && conn->stream) {
        host_hung_up(conn);
    }
    find_end_without_credit(conn);
    settle_ends(conn);
}

unsigned int vsk_conn_wants_chains(const VskConn *conn)
{
    return conn->burst;
}

size_t vsk_conn_read(VskConn *conn, const struct iovec *iov,
                     unsigned int n_iov)
{
    struct iovec area[VSK_TURN_IOV];
    unsigned int n_area;
    size_t asked;
    ssize_t n;

    if (!can_send(conn)) {
        return 0;
    }
    n_area = vsk_iov_slice(area, VSK_TURN_IOV, iov, n_iov, 0,
                           MIN(vsk_credit_room(&conn->credit), VSK_TURN_BYTES),
                           &asked);
    if (!n_area) {
        return 0;
    }
    n = conn->stream->ops->readv(conn->stream, area, (int)n_area);
    if (n <= 0) {
        conn->readable = false;
        conn->burst = 1;
        if (n == 0) {
            host_ended(conn);
        } else if (n != -EAGAIN) {
            vsk_conn_reset(conn);
        }
        settle_ends(conn);
        return 0;
    }
    vsk_credit_sent(&conn->credit, (uint32_t)n);
    if ((size_t)n == asked) {
        conn->burst = MIN(conn->burst * 2, VSK_TURN_CHAINS);
    } else {
        conn->burst = MAX(conn->burst / 2, 1);
        conn->readable = conn->ends; /* the end itself is still to be read */
    }
    find_end_without_credit(conn);
    settle_ends(conn);
    return (size_t)n;
}

/* --- Packets to the guest --------------------------------------------------- */

/* SHUTDOWN flags that hold and that the guest has not heard. */
static uint32_t shutdown_due(const VskConn *conn)
{
    uint32_t flags = 0;

    if (conn->phase != VSK_PHASE_ESTABLISHED) {
        return 0;
    }
    if (conn->hung_up) {
        /* Bytes first; then both ways at once. */
        flags = conn->to_guest == VSK_PIPE_OPEN ? 0 : VSK_SHUTDOWN_BOTH;
    } else {
        if (conn->to_guest == VSK_PIPE_ENDING) {
            flags |= VSK_SHUTDOWN_SEND;
        }
        if (conn->host_deaf) {
            flags |= VSK_SHUTDOWN_RECEIVE;
        }
    }
    return flags & ~conn->told_shutdown;
}

bool vsk_conn_owes_data(const VskConn *conn)
{
    return can_send(conn) && !conn->owes_response;
}

/* The op of the control packet that is due, or VSK_OP_INVALID. */
static VskOp control_due(const VskConn *conn)
{
    if (conn->owes_rst) {
        return VSK_OP_RST;
    }
    if (conn->phase == VSK_PHASE_REQUESTED) {
        return conn->owes_request ? VSK_OP_REQUEST : VSK_OP_INVALID;
    }
    if (conn->phase != VSK_PHASE_ESTABLISHED) {
        return VSK_OP_INVALID;
    }
    if (conn->owes_response) {
        return VSK_OP_RESPONSE;
    }
    if (shutdown_due(conn)) {
        return VSK_OP_SHUTDOWN;
    }
    if (conn->owes_credit) {
        return VSK_OP_CREDIT_UPDATE;
    }
    if (conn->owes_credit_request) {
        return VSK_OP_CREDIT_REQUEST;
    }
    if (!can_send(conn) && !(conn->guest_shutdown & VSK_SHUTDOWN_SEND) &&
        vsk_credit_update_due(&conn->credit)) {
        return VSK_OP_CREDIT_UPDATE;
    }
    return VSK_OP_INVALID;
}

bool vsk_conn_owes(const VskConn *conn)
{
    return control_due(conn) != VSK_OP_INVALID || vsk_conn_owes_data(conn);
}

static void make_hdr(VskConn *conn, VskOp op, uint32_t flags, uint32_t len,
                     VskHdr *ret_hdr)
{
    *ret_hdr = (VskHdr) {
        .src_cid = VSK_CID_HOST,
        .dst_cid = conn->guest_cid,
        .src_port = conn->key.host_port,
        .dst_port = conn->key.guest_port,
        .len = len,
        .type = conn->key.type,
        .op = op,
        .flags = flags,
    };
    vsk_credit_stamp(&conn->credit, ret_hdr);
}

bool vsk_conn_next_control(VskConn *conn, VskHdr *ret_hdr)
{
    VskOp op = control_due(conn);
    uint32_t flags = 0;

    switch (op) {
    case VSK_OP_RST:
        conn->owes_rst = false;
        break;
    case VSK_OP_REQUEST:
        conn->owes_request = false;
        break;
    case VSK_OP_RESPONSE:
        conn->owes_response = false;
        break;
    case VSK_OP_SHUTDOWN:
        conn->told_shutdown |= shutdown_due(conn);
        flags = conn->told_shutdown; /* bits add up: say all that hold */
        if ((flags & VSK_SHUTDOWN_SEND) &&
            conn->to_guest == VSK_PIPE_ENDING) {
            conn->to_guest = VSK_PIPE_CLOSED;
        }
        break;
    case VSK_OP_CREDIT_UPDATE:
        conn->owes_credit = false;
        break;
    case VSK_OP_CREDIT_REQUEST:
        conn->owes_credit_request = false;
        conn->asked_credit = true;
        break;
    default:
        return false;
    }
    make_hdr(conn, op, flags, 0, ret_hdr);
    return true;
}

void vsk_conn_make_rw(VskConn *conn, uint32_t len, VskHdr *ret_hdr)
{
    make_hdr(conn, VSK_OP_RW, 0, len, ret_hdr);
}

/* --- What the owner keeps for it --------------------------------------------- */

uint32_t vsk_conn_poll_mask(const VskConn *conn)
{
    if (!conn->stream) {
        return 0;
    }
    return EPOLLIN | EPOLLRDHUP | EPOLLET |
           (vsk_ring_used(&conn->ring) ? EPOLLOUT : 0);
}

VskTimer vsk_conn_timer(const VskConn *conn)
{
    if (conn->phase == VSK_PHASE_REQUESTED) {
        return VSK_TIMER_REQUEST;
    }
    if (conn->phase == VSK_PHASE_ESTABLISHED &&
        conn->told_shutdown == VSK_SHUTDOWN_BOTH) {
        return VSK_TIMER_CLOSE;
    }
    return VSK_TIMER_NONE;
}

bool vsk_conn_expire(VskConn *conn, VskRefusal *ret_why)
{
    if (conn->phase == VSK_PHASE_REQUESTED) {
        *ret_why = VSK_REFUSED_REQUEST_TIMEOUT;
    } else if (conn->credit.tx_cnt != conn->credit.peer_fwd_cnt &&
               !conn->asked_credit) {
        conn->owes_credit_request = true;
        return false;
    } else {
        *ret_why = VSK_REFUSED_CLOSE_TIMEOUT;
    }
    vsk_conn_reset(conn);
    return true;
}

bool vsk_conn_in_table(const VskConn *conn)
{
    return conn->phase != VSK_PHASE_DRAINING && !vsk_conn_is_dead(conn);
}

bool vsk_conn_is_dead(const VskConn *conn)
{
    return conn->phase == VSK_PHASE_DEAD && !conn->owes_rst;
}
