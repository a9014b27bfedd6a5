/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A host channel that is a socket: what both types share, and bytes.
 */

#include "stream-internal.h"
#include "vsock-limits.h"
#include "pkt.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t vsk_socket_receive(int fd, struct msghdr *msg, int flags)
{
    ssize_t n;

    do {
        /* #syscalls recvmsg */
        n = recvmsg(fd, msg, MSG_DONTWAIT | flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t receive(int fd, const struct iovec *iov, int n_iov, int flags,
                       bool *ret_cut)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)n_iov,
    };
    ssize_t n = vsk_socket_receive(fd, &msg, flags);

    *ret_cut = n > 0 && (msg.msg_flags & MSG_CTRUNC);
    return n;
}

static ssize_t socket_readv(VskStream *stream, const struct iovec *iov,
                            int n_iov, VskMessage *ret_msg)
{
    int fd = vsk_stream_socket(stream)->fd;
    bool cut;
    ssize_t n = receive(fd, iov, n_iov, 0, &cut);

    (void)ret_msg; /* stays zero */
    /*
     * The kernel ends a read behind bytes that carry descriptors (which we
     * do not take, and it closes).  More may follow, and no event will tell.
     */
    while (cut) {
        struct iovec rest[VSK_TURN_IOV];
        size_t len;
        unsigned int n_rest = vsk_iov_slice(rest, G_N_ELEMENTS(rest), iov,
                                            (unsigned int)n_iov, (size_t)n,
                                            SIZE_MAX, &len);
        ssize_t more;

        if (!n_rest) {
            break;
        }
        more = receive(fd, rest, (int)n_rest, 0, &cut);
        if (more <= 0) {
            break;
        }
        n += more;
    }
    return n;
}

static ssize_t socket_peek(VskStream *stream, VskMessage *ret_msg)
{
    char byte;
    struct iovec iov = { &byte, 1 };
    bool cut;

    (void)ret_msg; /* stays zero: no messages here */
    return receive(vsk_stream_socket(stream)->fd, &iov, 1, MSG_PEEK, &cut);
}

bool vsk_socket_has_hung_up(VskStream *stream)
{
    struct pollfd pfd = { .fd = vsk_stream_socket(stream)->fd };

    /* #syscalls poll ppoll */
    return poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLERR));
}

ssize_t vsk_socket_writev(VskStream *stream, const struct iovec *iov,
                          int n_iov)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)n_iov,
    };
    ssize_t n;

    do {
        /* #syscalls sendmsg */
        n = sendmsg(vsk_stream_socket(stream)->fd, &msg,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/*
 * A program that does not keep up gets a larger send buffer, once: then it has
 * something to read while we sleep, which Linux lets us do until three
 * quarters of the buffer are free.
 */
static ssize_t socket_writev(VskStream *stream, const struct iovec *iov,
                             int n_iov)
{
    VskStreamSocket *s = vsk_stream_socket(stream);
    ssize_t n = vsk_socket_writev(stream, iov, n_iov);

    if (n == -EAGAIN && !s->is_wide) {
        int size = VSK_HOST_SNDBUF, now = 0;
        socklen_t len = sizeof(now);

        s->is_wide = true;
        /* #syscalls getsockopt setsockopt */
        if (getsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &now, &len) == 0 &&
            now < size &&
            setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size,
                       sizeof(size)) == 0) {
            n = vsk_socket_writev(stream, iov, n_iov);
        }
    }
    return n;
}

void vsk_socket_shutdown(VskStream *stream, int how)
{
    /* Fails only when the peer is gone, and then there is none to tell. */
    /* #syscalls shutdown */
    (void)shutdown(vsk_stream_socket(stream)->fd, how);
}

int vsk_socket_accepted(VskStream *stream, uint32_t host_port)
{
    char line[sizeof("OK 4294967295\n")];
    struct iovec iov = { .iov_base = line };
    ssize_t n;

    if (!vsk_stream_socket(stream)->say_ok) {
        return 0;
    }
    iov.iov_len = (size_t)snprintf(line, sizeof(line), "OK %" PRIu32 "\n",
                                   host_port);
    /* Nothing was ever written here, so there is room for a line. */
    n = stream->ops->writev(stream, &iov, 1);
    if (n < 0) {
        return (int)n;
    }
    return (size_t)n == iov.iov_len ? 0 : -EIO;
}

int vsk_socket_get_fd(const VskStream *stream)
{
    return vsk_stream_socket(stream)->fd;
}

void vsk_socket_close(VskStream *stream)
{
    /* #syscalls close */
    close(vsk_stream_socket(stream)->fd);
    g_free(stream);
}

static const VskStreamOps socket_ops = {
    .readv = socket_readv,
    .writev = socket_writev,
    .shutdown = vsk_socket_shutdown,
    .accepted = vsk_socket_accepted,
    .peek = socket_peek,
    .has_hung_up = vsk_socket_has_hung_up,
    .get_fd = vsk_socket_get_fd,
    .close = vsk_socket_close,
};

VskStream *vsk_stream_new_socket(int fd, bool say_ok)
{
    VskStreamSocket *stream = g_new0(VskStreamSocket, 1);

    stream->base.ops = &socket_ops;
    stream->fd = fd;
    stream->say_ok = say_ok;
    return &stream->base;
}

void vsk_stream_close(VskStream *stream)
{
    if (stream) {
        stream->ops->close(stream);
    }
}
