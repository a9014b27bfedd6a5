/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The pipe from the guest to the host: packets come in, bytes or whole messages
 * go to the stream, and what the stream does not take yet is staged.
 */

#include "conn-internal.h"
#include "vsock-limits.h"

#include <errno.h>
#include <sys/socket.h>

void vsk_conn_host_deaf(VskConn *conn)
{
    bool staged = vsk_stage_used(&conn->stage) ||
                  vsk_stage_waits(&conn->stage);

    conn->host_deaf = true;
    conn->writable = false;
    conn->lost |= conn->hung_up && staged;
    vsk_stage_clear(&conn->stage);
    vsk_credit_consumed(&conn->credit, vsk_credit_held(&conn->credit));
    conn->from_guest = VSK_PIPE_CLOSED;
}

void vsk_conn_host_hung_up(VskConn *conn)
{
    conn->hung_up = true;
    if (!conn->host_deaf) {
        vsk_conn_host_deaf(conn);
    }
}

/* Deal with the outcome of a write; true if the flow goes on writing. */
static bool wrote(VskConn *conn, ssize_t n)
{
    /* A large message wants much memory in one piece: others may fit. */
    conn->no_memory = n == -ENOBUFS || n == -ENOMEM;
    if (n >= 0) {
        conn->retries = 0;
        vsk_credit_consumed(&conn->credit, (uint32_t)n);
        return true;
    }
    if (n == -EAGAIN || conn->no_memory) {
        conn->writable = false;
        return true;
    }
    if (n == -EPIPE) {
        if (!conn->hung_up) {
            conn->hung_up = conn->stream->ops->has_hung_up(conn->stream);
        }
        conn->lost |= conn->hung_up;
        vsk_conn_host_deaf(conn);
    } else {
        vsk_conn_reset(conn);
    }
    return false;
}

void vsk_conn_flush(VskConn *conn)
{
    if (vsk_stage_waits(&conn->stage)) {
        wrote(conn, vsk_stage_flush(&conn->stage, conn->stream,
                                    &conn->flush_again));
        if (vsk_stage_waits(&conn->stage)) {
            conn->writable = false;
        }
    }
}

bool vsk_conn_waits_for_memory(const VskConn *conn)
{
    return conn->no_memory && vsk_stage_waits(&conn->stage);
}

static void take_bytes(VskConn *conn, const struct iovec *iov,
                       unsigned int n_iov, size_t len)
{
    ssize_t done = 0;

    if (len && conn->writable && !vsk_stage_waits(&conn->stage)) {
        done = conn->stream->ops->writev(conn->stream, iov, (int)n_iov);
        if (!wrote(conn, done)) {
            return;
        }
        done = MAX(done, 0);
    }
    if ((size_t)done < len) {
        vsk_stage_push(&conn->stage, iov, n_iov, (size_t)done, false);
        conn->writable = false;
    }
}

/* Part of a message.  Returns false if there are too many empty ones. */
static bool take_part(VskConn *conn, const struct iovec *iov,
                      unsigned int n_iov, bool eom)
{
    if (eom && conn->writable && !vsk_stage_used(&conn->stage) &&
        !vsk_stage_waits(&conn->stage)) {
        /* All of it is here, and nothing before it. */
        ssize_t n = conn->stream->ops->writev(conn->stream, iov, (int)n_iov);

        if (!wrote(conn, n) || n >= 0) {
            return true;
        }
    }
    if (!vsk_stage_push(&conn->stage, iov, n_iov, 0, eom)) {
        return false;
    }
    if (conn->writable) {
        vsk_conn_flush(conn);
    }
    return true;
}

static bool take_payload(VskConn *conn, const VskHdr *hdr,
                         const struct iovec *payload, unsigned int n_payload,
                         VskRefusal *ret_why)
{
    bool eom = hdr->flags & VSK_SEQ_EOM;

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
        conn->lost |= conn->hung_up &&
                      (hdr->len || (conn->stage.messages && eom));
        return true;
    }
    if (!conn->stage.messages) {
        take_bytes(conn, payload, n_payload, hdr->len);
    } else if (!take_part(conn, payload, n_payload, eom)) {
        vsk_conn_reset(conn);
        *ret_why = VSK_REFUSED_EMPTY_MESSAGES;
        return false;
    }
    return true;
}

static void take_shutdown(VskConn *conn, uint32_t flags)
{
    bool closes;

    conn->guest_shutdown |= flags & VSK_SHUTDOWN_BOTH;
    closes = conn->guest_shutdown == VSK_SHUTDOWN_BOTH &&
             !vsk_stage_waits(&conn->stage);
    if ((conn->guest_shutdown & VSK_SHUTDOWN_RECEIVE) &&
        conn->to_guest != VSK_PIPE_CLOSED) {
        conn->to_guest = VSK_PIPE_CLOSED;
        conn->readable = false;
        if (conn->stream && !closes) {
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
        vsk_conn_host_deaf(conn);
    } else if (err) {
        vsk_conn_reset(conn);
    }
}

/* A packet while our REQUEST waits for its answer. */
static bool from_guest_requested(VskConn *conn, const VskHdr *hdr,
                                 VskRefusal *ret_why)
{
    if (hdr->op == VSK_OP_RST) {
        vsk_conn_die(conn, false);
        return true;
    }
    if (hdr->op == VSK_OP_RESPONSE && !conn->owes_request) {
        vsk_credit_peer_update(&conn->credit, hdr);
        take_response(conn);
        return true;
    }
    *ret_why = VSK_REFUSED_OP;
    if (hdr->op != VSK_OP_INVALID) {
        vsk_conn_die(conn, true);
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
    vsk_conn_find_end(conn); /* credit may have gone, or never come */
    vsk_conn_settle_ends(conn);
    return ok;
}
