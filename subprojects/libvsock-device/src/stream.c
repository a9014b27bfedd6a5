/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A host byte channel that is a socket.
 */

#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct SocketStream {
    VskStream base;
    int fd;
    bool say_ok;
} SocketStream;

static SocketStream *socket_stream(const VskStream *stream)
{
    return (SocketStream *)stream;
}

static ssize_t socket_readv(VskStream *stream, const struct iovec *iov,
                            int n_iov)
{
    ssize_t n;

    do {
        n = readv(socket_stream(stream)->fd, iov, n_iov);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t socket_writev(VskStream *stream, const struct iovec *iov,
                             int n_iov)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)n_iov,
    };
    ssize_t n;

    do {
        n = sendmsg(socket_stream(stream)->fd, &msg,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void socket_shutdown(VskStream *stream, int how)
{
    /* Fails only when the peer is gone, and then there is none to tell. */
    (void)shutdown(socket_stream(stream)->fd, how);
}

static int socket_accepted(VskStream *stream, uint32_t host_port)
{
    char line[sizeof("OK 4294967295\n")];
    struct iovec iov = { .iov_base = line };
    ssize_t n;

    if (!socket_stream(stream)->say_ok) {
        return 0;
    }
    iov.iov_len = (size_t)snprintf(line, sizeof(line), "OK %" PRIu32 "\n",
                                   host_port);
    /* Nothing was ever written here, so there is room for a line. */
    n = socket_writev(stream, &iov, 1);
    if (n < 0) {
        return (int)n;
    }
    return (size_t)n == iov.iov_len ? 0 : -EIO;
}

static int socket_get_fd(const VskStream *stream)
{
    return socket_stream(stream)->fd;
}

static void socket_close(VskStream *stream)
{
    close(socket_stream(stream)->fd);
    g_free(stream);
}

static const VskStreamOps socket_ops = {
    .readv = socket_readv,
    .writev = socket_writev,
    .shutdown = socket_shutdown,
    .accepted = socket_accepted,
    .get_fd = socket_get_fd,
    .close = socket_close,
};

VskStream *vsk_stream_new_socket(int fd, bool say_ok)
{
    SocketStream *stream = g_new0(SocketStream, 1);

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
