/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A stream of messages and the host program's end of its socket.
 */

#include "seqpacket-pair.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void make_sockets(int fds[2])
{
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
                               SOCK_NONBLOCK, 0, fds), ==, 0);
}

static Pair make(int fd, int host, bool say_ok, uint32_t window)
{
    Pair pair = { .host = host, .window = window };

    pair.stream = vsk_stream_new_seqpacket(fd, say_ok, &pair.window);
    g_assert_nonnull(pair.stream);
    g_assert_cmpint(pair.stream->ops->get_fd(pair.stream), ==, fd);
    return pair;
}

Pair pair_of(int fd, int host)
{
    return make(fd, host, false, PAIR_WINDOW);
}

static Pair make_both(bool say_ok, uint32_t window)
{
    int fds[2];

    make_sockets(fds);
    return make(fds[0], fds[1], say_ok, window);
}

Pair pair_new(void)
{
    return make_both(false, PAIR_WINDOW);
}

Pair pair_new_client(void)
{
    return make_both(true, PAIR_WINDOW);
}

Pair pair_new_window(uint32_t window)
{
    return make_both(false, window);
}

void pair_host_closes(Pair *pair)
{
    close(pair->host);
    pair->host = -1;
}

void pair_free(Pair *pair)
{
    vsk_stream_close(pair->stream);
    if (pair->host >= 0) {
        pair_host_closes(pair);
    }
}

ssize_t pair_reads(Pair *pair, char *buf, size_t room, VskMessage *ret_msg)
{
    struct iovec iov[] = {
        { buf, room / 2 }, { buf + room / 2, room - room / 2 },
    };

    *ret_msg = (VskMessage) { 0 };
    return pair->stream->ops->readv(pair->stream, iov, 2, ret_msg);
}

ssize_t pair_writes(Pair *pair, const char *text)
{
    size_t len = strlen(text);
    struct iovec iov[] = {
        { (void *)text, len / 2 }, { (void *)(text + len / 2), len - len / 2 },
    };

    return pair->stream->ops->writev(pair->stream, iov, len ? 2 : 0);
}

void assert_part(Pair *pair, size_t room, const char *text, size_t left)
{
    g_autofree char *buf = g_malloc(room);
    VskMessage msg;
    ssize_t n = pair_reads(pair, buf, room, &msg);

    g_assert_cmpint(n, >=, 0);
    g_assert_cmpmem(buf, (size_t)n, text, strlen(text));
    g_assert_true(msg.any);
    g_assert_cmpuint(msg.left, ==, left);
}

void assert_message(Pair *pair, const char *text)
{
    assert_part(pair, 64, text, 0);
}

void assert_peeks(Pair *pair, size_t left)
{
    VskMessage msg = { 0 };

    g_assert_cmpint(pair->stream->ops->peek(pair->stream, &msg), ==, 1);
    g_assert_true(msg.any);
    g_assert_cmpuint(msg.left, ==, left);
}

void assert_no_message(Pair *pair, ssize_t result)
{
    VskMessage msg = { 0 };
    char buf[8];

    g_assert_cmpint(pair->stream->ops->peek(pair->stream, &msg), ==, result);
    g_assert_false(msg.any);
    g_assert_cmpint(pair_reads(pair, buf, sizeof(buf), &msg), ==, result);
    g_assert_false(msg.any);
}
