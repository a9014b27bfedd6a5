/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The pipe from the host to the guest: the stream is read into the guest's
 * memory, as far as its credit goes, and its end is found.
 */

#include "conn-internal.h"
#include "vsock-limits.h"
#include "pkt.h"

#include <errno.h>
#include <sys/epoll.h>

bool vsk_conn_can_send(const VskConn *conn)
{
    return conn->phase == VSK_PHASE_ESTABLISHED && conn->readable &&
           conn->to_guest == VSK_PIPE_OPEN && vsk_credit_room(&conn->credit);
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
        vsk_conn_host_hung_up(conn);
    }
}

/* A read returned @n, which is not a number of bytes. */
static void read_nothing(VskConn *conn, ssize_t n)
{
    conn->readable = false;
    if (n == 0) {
        host_ended(conn);
    } else if (n != -EAGAIN) {
        vsk_conn_reset(conn);
    }
}

void vsk_conn_find_end(VskConn *conn)
{
    if (conn->phase == VSK_PHASE_ESTABLISHED && conn->ends &&
        conn->to_guest == VSK_PIPE_OPEN && !vsk_credit_room(&conn->credit)) {
        VskMessage msg = { 0 };
        ssize_t n = conn->stream->ops->peek(conn->stream, &msg);

        if (n <= 0) {
            read_nothing(conn, n);
        }
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
    if (events & EPOLLPRI) {
        conn->urgent = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) &&
        conn->to_guest == VSK_PIPE_OPEN) {
        conn->readable = true;
    }
    if (conn->phase == VSK_PHASE_REQUESTED) {
        VskMessage msg = { 0 };

        /* A client that left, and left nothing behind, needs no flow. */
        if ((events & EPOLLHUP) &&
            conn->stream->ops->peek(conn->stream, &msg) <= 0) {
            vsk_conn_reset(conn);
        }
        return;
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && !conn->host_deaf) {
        conn->writable = true;
        vsk_conn_flush(conn);
    }
    if ((events & EPOLLHUP) && conn->stream) {
        vsk_conn_host_hung_up(conn);
    }
    vsk_conn_find_end(conn);
    vsk_conn_settle_ends(conn);
}

unsigned int vsk_conn_wants_chains(const VskConn *conn)
{
    return conn->burst;
}

static VskReadResult nothing_read(VskConn *conn, ssize_t n)
{
    read_nothing(conn, n);
    vsk_conn_settle_ends(conn);
    return VSK_READ_NOTHING;
}

/*
 * Look at the size of the next message.  Linux hands a message on when all of
 * it is there, so one larger than its buffer would stop the flow for good.
 */
static VskReadResult begin_message(VskConn *conn)
{
    VskMessage msg = { 0 };
    ssize_t n = conn->stream->ops->peek(conn->stream, &msg);

    if (n <= 0) {
        return nothing_read(conn, n);
    }
    if (msg.left > conn->credit.peer_buf_alloc) {
        vsk_conn_reset(conn);
        return VSK_READ_TOO_BIG;
    }
    return VSK_READ_DATA;
}

VskReadResult vsk_conn_read(VskConn *conn, const struct iovec *iov,
                            unsigned int n_iov, size_t *ret_len)
{
    struct iovec area[VSK_TURN_IOV];
    VskReadResult result = VSK_READ_DATA;
    VskMessage msg = { 0 };
    unsigned int n_area;
    size_t asked;
    ssize_t n;

    if (!vsk_conn_can_send(conn)) {
        return VSK_READ_NOTHING;
    }
    n_area = vsk_iov_slice(area, VSK_TURN_IOV, iov, n_iov, 0,
                           MIN(vsk_credit_room(&conn->credit), VSK_TURN_BYTES),
                           &asked);
    if (!n_area) {
        return VSK_READ_NOTHING;
    }
    if (conn->stage.messages && !conn->in_message) {
        result = begin_message(conn);
    }
    if (result != VSK_READ_DATA) {
        return result;
    }
    n = conn->stream->ops->readv(conn->stream, area, (int)n_area, &msg);
    if (n <= 0 && !msg.any) {
        return nothing_read(conn, n);
    }
    vsk_credit_sent(&conn->credit, (uint32_t)n);
    conn->in_message = msg.left > 0;
    /* What fills a chain is likely to fill more of them, next time. */
    conn->burst = (size_t)n >= iov[0].iov_len ? VSK_TURN_CHAINS : 1;
    if ((size_t)n < asked) {
        /* Is there more, or the end itself, that no event will tell of? */
        conn->readable = conn->ends || conn->urgent || msg.any;
    }
    vsk_conn_find_end(conn);
    vsk_conn_settle_ends(conn);
    *ret_len = (size_t)n;
    return VSK_READ_DATA;
}
