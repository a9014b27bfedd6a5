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

#include "conn-internal.h"
#include "vsock-limits.h"

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
    vsk_stage_init(&conn->stage, key->type, buf_alloc);
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
    vsk_stage_clear(&conn->stage);
    g_free(conn);
}

/* --- Ends ---------------------------------------------------------------- */

void vsk_conn_die(VskConn *conn, bool tell_guest)
{
    close_stream(conn);
    vsk_stage_clear(&conn->stage);
    conn->phase = VSK_PHASE_DEAD;
    conn->owes_rst = tell_guest;
}

void vsk_conn_reset(VskConn *conn)
{
    switch (conn->phase) {
    case VSK_PHASE_REQUESTED:
        vsk_conn_die(conn, !conn->owes_request); /* else it never heard of us */
        break;
    case VSK_PHASE_ESTABLISHED:
        vsk_conn_die(conn, true);
        break;
    case VSK_PHASE_DRAINING:
        vsk_conn_die(conn, false);
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
        !vsk_stage_waits(&conn->stage)) {
        vsk_conn_die(conn, false);
        return;
    }
    conn->phase = VSK_PHASE_DRAINING;
    conn->from_guest = VSK_PIPE_ENDING;
    conn->to_guest = VSK_PIPE_CLOSED;
    conn->readable = false;
    conn->stream->ops->shutdown(conn->stream, SHUT_RD);
}

void vsk_conn_settle_ends(VskConn *conn)
{
    bool drained = !vsk_stage_waits(&conn->stage);
    /*
     * The stream is closed below: each shutdown() would wake the host program
     * once more.
     */
    bool closes = conn->phase == VSK_PHASE_DRAINING ||
                  conn->guest_shutdown == VSK_SHUTDOWN_BOTH;

    if (conn->phase != VSK_PHASE_ESTABLISHED &&
        conn->phase != VSK_PHASE_DRAINING) {
        return;
    }
    if (conn->lost && conn->to_guest != VSK_PIPE_OPEN) {
        /*
         * As Linux does when a program closes and data is unread; what the
         * host program had sent itself went first.
         */
        vsk_conn_reset(conn);
        return;
    }
    if (conn->from_guest == VSK_PIPE_ENDING && drained) {
        conn->from_guest = VSK_PIPE_CLOSED;
        vsk_stage_clear(&conn->stage); /* a message without its end */
        if (conn->stream && !conn->host_deaf && !closes) {
            conn->stream->ops->shutdown(conn->stream, SHUT_WR);
        }
    }
    if (conn->from_guest != VSK_PIPE_CLOSED) {
        return;
    }
    if (conn->phase == VSK_PHASE_DRAINING) {
        vsk_conn_die(conn, false);
    } else if (conn->guest_shutdown == VSK_SHUTDOWN_BOTH) {
        /* 5.10.6.5: RST confirms the clean disconnect. */
        vsk_conn_die(conn, true);
    } else if (conn->hung_up && conn->to_guest != VSK_PIPE_OPEN) {
        close_stream(conn); /* no more use for the descriptor */
    }
}

/* --- Packets to the guest ------------------------------------------------ */

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
    return vsk_conn_can_send(conn) && !conn->owes_response;
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
    if (!vsk_conn_can_send(conn) &&
        !(conn->guest_shutdown & VSK_SHUTDOWN_SEND) &&
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

void vsk_conn_make_rw(VskConn *conn, uint32_t len, bool last,
                      VskHdr *ret_hdr)
{
    bool eom = conn->stage.messages && last && !conn->in_message;

    make_hdr(conn, VSK_OP_RW, eom ? VSK_SEQ_EOM : 0, len, ret_hdr);
}

/* --- What the owner keeps for it ----------------------------------------- */

uint32_t vsk_conn_poll_mask(const VskConn *conn)
{
    if (!conn->stream) {
        return 0;
    }
    return EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET |
           (vsk_stage_waits(&conn->stage) ? EPOLLOUT : 0);
}

bool vsk_conn_poll_again(VskConn *conn)
{
    bool again = conn->flush_again;

    conn->flush_again = false;
    return again;
}

VskTimer vsk_conn_timer(const VskConn *conn)
{
    if (conn->phase == VSK_PHASE_REQUESTED) {
        return VSK_TIMER_REQUEST;
    }
    if (vsk_conn_waits_for_memory(conn)) {
        return VSK_TIMER_WRITE;
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
    } else if (vsk_conn_waits_for_memory(conn) &&
               conn->retries < VSK_WRITE_RETRIES) {
        conn->retries++;
        vsk_conn_flush(conn);
        vsk_conn_settle_ends(conn);
        return false;
    } else if (vsk_conn_waits_for_memory(conn)) {
        *ret_why = VSK_REFUSED_LIMIT;
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
