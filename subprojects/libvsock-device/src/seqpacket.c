/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A host channel of messages: a seqpacket socket.
 *
 * A message may be larger than what the guest can take now, but recvmsg()
 * drops what does not fit.  So a message is peeked at in pieces, SO_PEEK_OFF
 * moving on, and taken out of the socket when its last piece was read: nothing
 * has to be kept here.
 *
 * An empty message reads as 0 bytes, and so does the end of file.  With
 * SO_PASSCRED the kernel adds its sender's credentials to every message, but
 * not to the end of file.
 */

#include "stream-internal.h"
#include "pkt.h"
#include "vsock-limits.h"

#include <errno.h>

/* The kernel wants this much of SO_SNDBUF for itself, in a message. */
#define SNDBUF_OVERHEAD 32u

/*
 * As recvmsg(), but an error that the host program's close left is kept for
 * the end of what it had sent: here the kernel reports it first, once.
 */
static ssize_t receive(VskStreamSocket *s, struct msghdr *msg, int flags)
{
    ssize_t n = vsk_socket_receive(s->fd, msg, flags);

    if (n == -ECONNRESET && !s->reset) {
        s->reset = true;
        n = vsk_socket_receive(s->fd, msg, flags);
    }
    return n;
}

/*
 * Receive none of the next message's bytes.  Returns its length, with
 * MSG_TRUNC in @flags; *@ret_end: it is no message, but the end of file.
 */
static ssize_t receive_none(VskStreamSocket *s, int flags, bool *ret_end)
{
    /* No room for descriptors: the kernel drops them. */
    char control[CMSG_SPACE(sizeof(struct ucred))];
    struct msghdr msg = {
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = receive(s, &msg, flags);

    *ret_end = n == 0 && !msg.msg_controllen;
    return n;
}

/*
 * Take the message out that was peeked at until its end; 0, or a negative
 * errno if it is there yet.
 */
static ssize_t drop_read(VskStreamSocket *s)
{
    bool end;
    ssize_t n = s->drop ? receive_none(s, 0, &end) : 0;

    s->drop &= n < 0;
    return MIN(n, 0);
}

/* Learn of the next message.  As peek of VskStreamOps. */
static ssize_t look_ahead(VskStreamSocket *s)
{
    ssize_t n = drop_read(s);
    bool end;

    if (n < 0) {
        return n;
    }
    if (s->next.any) {
        /* Not peeked at again: the kernel would pass an empty one over. */
        return 1;
    }
    n = receive_none(s, MSG_PEEK | MSG_TRUNC, &end); /* SO_PEEK_OFF stays */
    if (n < 0) {
        return n;
    }
    if (end) {
        return s->reset ? -ECONNRESET : 0;
    }
    s->next = (VskMessage) { .any = true, .left = (size_t)n };
    return 1;
}

static ssize_t seqpacket_peek(VskStream *stream, VskMessage *ret_msg)
{
    VskStreamSocket *s = vsk_stream_socket(stream);
    ssize_t n = look_ahead(s);

    *ret_msg = s->next;
    return n;
}

static ssize_t seqpacket_readv(VskStream *stream, const struct iovec *iov,
                               int n_iov, VskMessage *ret_msg)
{
    VskStreamSocket *s = vsk_stream_socket(stream);
    struct msghdr msg = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)n_iov,
    };
    ssize_t n = look_ahead(s);
    bool all;

    if (n <= 0) {
        return n;
    }
    all = vsk_iov_size(iov, (unsigned int)n_iov) >= s->next.left;
    n = receive(s, &msg, all && !s->in_message ? 0 : MSG_PEEK);
    if (n < 0) {
        return n;
    }
    s->drop = all && s->in_message;
    drop_read(s);
    s->in_message = !all;
    s->next.left -= (size_t)n;
    *ret_msg = s->next;
    if (all) {
        s->next = (VskMessage) { 0 };
    }
    return n;
}

static ssize_t seqpacket_writev(VskStream *stream, const struct iovec *iov,
                                int n_iov)
{
    ssize_t n = vsk_socket_writev(stream, iov, n_iov);

    switch (n) {
    case -ECONNRESET:
        /* What it had sent before is to be read yet. */
        vsk_stream_socket(stream)->reset = true;
        return -EPIPE;
    case -ECONNREFUSED:
    case -ENOTCONN:
        return -EPIPE;
    default:
        return n;
    }
}

/*
 * With messages unread here, the host program would get ECONNRESET before the
 * messages that it has not read.  So none are left unread; SHUT_RD keeps more
 * from coming.
 */
static void seqpacket_close(VskStream *stream)
{
    VskStreamSocket *s = vsk_stream_socket(stream);
    bool end;

    vsk_socket_shutdown(stream, SHUT_RD);
    for (unsigned int n = 0; n < VSK_CLOSE_MESSAGES; n++) {
        if (receive_none(s, 0, &end) < 0 || end) {
            break;
        }
    }
    vsk_socket_close(stream);
}

static const VskStreamOps seqpacket_ops = {
    .readv = seqpacket_readv,
    .writev = seqpacket_writev,
    .shutdown = vsk_socket_shutdown,
    .accepted = vsk_socket_accepted,
    .peek = seqpacket_peek,
    .has_hung_up = vsk_socket_has_hung_up,
    .get_fd = vsk_socket_get_fd,
    .close = seqpacket_close,
};

static bool set_option(int fd, int option, int value)
{
    /* #syscalls setsockopt */
    return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) == 0;
}

/* The largest message that can be written, after trying to allow @want. */
static uint32_t largest_message(int fd, uint32_t want)
{
    int size = (int)MIN(want + (uint64_t)SNDBUF_OVERHEAD, INT_MAX / 2);
    socklen_t len = sizeof(size);

    set_option(fd, SO_SNDBUF, size);
    /* #syscalls getsockopt */
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) < 0 ||
        size <= (int)SNDBUF_OVERHEAD) {
        return 0;
    }
    return MIN(want, (uint32_t)size - SNDBUF_OVERHEAD);
}

VskStream *vsk_stream_new_seqpacket(int fd, bool say_ok, uint32_t *window)
{
    VskStreamSocket *stream = g_new0(VskStreamSocket, 1);

    stream->base.ops = &seqpacket_ops;
    stream->fd = fd;
    stream->say_ok = say_ok;
    *window = largest_message(fd, *window);
    if (!*window || !set_option(fd, SO_PASSCRED, 1) ||
        !set_option(fd, SO_PEEK_OFF, 0)) {
        vsk_stream_close(&stream->base);
        return NULL;
    }
    return &stream->base;
}
