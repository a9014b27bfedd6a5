/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The socket stream: stream.h, and what of the kernel it relies on.
 */

#include "vsock-limits.h"
#include "stream.h"
#include "temp-dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Pair {
    VskStream *stream;
    int host; /* the host program's end; -1: closed */
} Pair;

static Pair pair_new(bool say_ok)
{
    int fds[2];
    Pair pair;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
                               SOCK_NONBLOCK, 0, fds), ==, 0);
    pair.stream = vsk_stream_new_socket(fds[0], say_ok);
    pair.host = fds[1];
    g_assert_cmpint(pair.stream->ops->get_fd(pair.stream), ==, fds[0]);
    return pair;
}

static void host_closes(Pair *pair)
{
    close(pair->host);
    pair->host = -1;
}

static void pair_free(Pair *pair)
{
    vsk_stream_close(pair->stream);
    if (pair->host >= 0) {
        host_closes(pair);
    }
}

static void host_writes(Pair *pair, const char *text)
{
    g_assert_cmpint(write(pair->host, text, strlen(text)), ==,
                    (ssize_t)strlen(text));
}

static ssize_t stream_peeks(Pair *pair)
{
    VskMessage msg = { 0 };
    ssize_t n = pair->stream->ops->peek(pair->stream, &msg);

    g_assert_false(msg.any);
    return n;
}

static ssize_t stream_reads(Pair *pair, char *buf, size_t len)
{
    struct iovec iov[] = {
        { buf, len / 2 }, { NULL, 0 }, { buf + len / 2, len - len / 2 },
    };
    VskMessage msg = { 0 };
    ssize_t n = pair->stream->ops->readv(pair->stream, iov, 3, &msg);

    g_assert_false(msg.any);
    return n;
}

static ssize_t stream_writes(Pair *pair, const char *text)
{
    struct iovec iov[] = {
        { (void *)text, 1 }, { (void *)(text + 1), strlen(text) - 1 },
    };

    return pair->stream->ops->writev(pair->stream, iov, 2);
}

static void assert_reads(Pair *pair, const char *expected)
{
    char buf[64];
    ssize_t n = stream_reads(pair, buf, sizeof(buf));

    g_assert_cmpint(n, >=, 0);
    g_assert_cmpmem(buf, (size_t)n, expected, strlen(expected));
}

static void assert_host_reads(Pair *pair, const char *expected)
{
    char buf[64];
    ssize_t n = read(pair->host, buf, sizeof(buf));

    g_assert_cmpint(n, >=, 0);
    g_assert_cmpmem(buf, (size_t)n, expected, strlen(expected));
}

/* --- Reading ------------------------------------------------------------- */

static void test_read_scatters(void)
{
    Pair pair = pair_new(false);

    host_writes(&pair, "hello");
    host_writes(&pair, " world");
    assert_reads(&pair, "hello world");
    pair_free(&pair);
}

static void test_read_of_nothing_is_eagain(void)
{
    Pair pair = pair_new(false);
    char buf[8];

    g_assert_cmpint(stream_reads(&pair, buf, sizeof(buf)), ==, -EAGAIN);
    pair_free(&pair);
}

static void test_eof_comes_after_the_bytes(void)
{
    Pair pair = pair_new(false);
    char buf[8];

    host_writes(&pair, "last");
    shutdown(pair.host, SHUT_WR);
    assert_reads(&pair, "last");
    g_assert_cmpint(stream_reads(&pair, buf, sizeof(buf)), ==, 0);
    pair_free(&pair);
}

static void test_close_with_unread_is_reset_after_the_bytes(void)
{
    Pair pair = pair_new(false);
    char buf[8];

    g_assert_cmpint(stream_writes(&pair, "unread"), ==, 6);
    host_writes(&pair, "last");
    host_closes(&pair);
    assert_reads(&pair, "last");
    g_assert_cmpint(stream_reads(&pair, buf, sizeof(buf)), ==, -ECONNRESET);
    pair_free(&pair);
}

/* Write @text with @n descriptors attached. */
static void host_writes_with_fds(Pair *pair, const char *text, unsigned int n)
{
    union {
        char buf[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control = { .buf = "" };
    struct iovec iov = { (void *)text, strlen(text) };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = CMSG_SPACE(n * sizeof(int)),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int fds[4] = { 0, 0, 0, 0 };

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
    g_assert_cmpint(sendmsg(pair->host, &msg, 0), ==, (ssize_t)strlen(text));
}

static void test_descriptors_do_not_cut_a_read(void)
{
    Pair pair = pair_new(false);

    host_writes(&pair, "a");
    host_writes_with_fds(&pair, "bc", 1);
    host_writes(&pair, "d");
    host_writes_with_fds(&pair, "e", 4);
    host_writes_with_fds(&pair, "f", 2);
    host_writes(&pair, "g");
    assert_reads(&pair, "abcdefg");
    pair_free(&pair);
}

static void test_descriptors_at_the_end_of_the_buffer(void)
{
    Pair pair = pair_new(false);
    char buf[2];

    host_writes_with_fds(&pair, "ab", 1);
    host_writes_with_fds(&pair, "cd", 1);
    g_assert_cmpint(stream_reads(&pair, buf, 2), ==, 2);
    g_assert_cmpmem(buf, 2, "ab", 2);
    assert_reads(&pair, "cd");
    pair_free(&pair);
}

static void test_descriptors_then_eof(void)
{
    Pair pair = pair_new(false);
    char buf[8];

    host_writes_with_fds(&pair, "ab", 1);
    host_closes(&pair);
    assert_reads(&pair, "ab");
    g_assert_cmpint(stream_reads(&pair, buf, sizeof(buf)), ==, 0);
    pair_free(&pair);
}

static void test_descriptors_are_not_kept(void)
{
    Pair pair = pair_new(false);
    unsigned int before = open_fds();

    for (int i = 0; i < 20; i++) {
        host_writes_with_fds(&pair, "x", 4);
    }
    assert_reads(&pair, "xxxxxxxxxxxxxxxxxxxx");
    g_assert_cmpuint(open_fds(), ==, before);
    pair_free(&pair);
}

static void test_peek_takes_nothing(void)
{
    Pair pair = pair_new(false);

    g_assert_cmpint(stream_peeks(&pair), ==, -EAGAIN);
    host_writes_with_fds(&pair, "ab", 1);
    shutdown(pair.host, SHUT_WR);
    g_assert_cmpint(stream_peeks(&pair), ==, 1);
    g_assert_cmpint(stream_peeks(&pair), ==, 1);
    assert_reads(&pair, "ab");
    g_assert_cmpint(stream_peeks(&pair), ==, 0);
    pair_free(&pair);
}

/* --- Writing ------------------------------------------------------------- */

static void test_write_gathers(void)
{
    Pair pair = pair_new(false);

    g_assert_cmpint(stream_writes(&pair, "hello"), ==, 5);
    assert_host_reads(&pair, "hello");
    pair_free(&pair);
}

static void test_full_is_short_then_eagain(void)
{
    Pair pair = pair_new(false);
    size_t len = 4 << 20;
    g_autofree char *big = g_malloc0(len);
    struct iovec iov = { big, len };
    size_t total = 0;
    ssize_t n;

    while ((n = pair.stream->ops->writev(pair.stream, &iov, 1)) > 0) {
        total += (size_t)n;
    }
    g_assert_cmpint(n, ==, -EAGAIN);
    g_assert_cmpuint(total, >, 0);
    g_assert_cmpuint(total, <, len);
    while ((n = read(pair.host, big, len)) > 0) {
        total -= (size_t)n;
    }
    g_assert_cmpuint(total, ==, 0);
    pair_free(&pair);
}

static int send_buffer(const Pair *pair)
{
    int size = 0;
    socklen_t len = sizeof(size);

    g_assert_cmpint(getsockopt(pair->stream->ops->get_fd(pair->stream),
                               SOL_SOCKET, SO_SNDBUF, &size, &len), ==, 0);
    return size;
}

static void test_full_gets_a_larger_buffer(void)
{
    Pair pair = pair_new(false);
    int before = send_buffer(&pair), wide;
    size_t len = 4 << 20;
    g_autofree char *big = g_malloc0(len);
    struct iovec iov = { big, len };

    g_assert_cmpint(stream_writes(&pair, "hello"), ==, 5);
    g_assert_cmpint(send_buffer(&pair), ==, before); /* not for all */
    while (pair.stream->ops->writev(pair.stream, &iov, 1) > 0) {
    }
    wide = send_buffer(&pair);
    if (before < VSK_HOST_SNDBUF) {
        g_assert_cmpint(wide, >, before);
        g_assert_cmpint(wide, <=, 2 * VSK_HOST_SNDBUF);
    } else {
        g_assert_cmpint(wide, ==, before); /* the administrator's is larger */
    }
    while (read(pair.host, big, len) > 0) {
    }
    while (pair.stream->ops->writev(pair.stream, &iov, 1) > 0) {
    }
    g_assert_cmpint(send_buffer(&pair), ==, wide); /* once */
    pair_free(&pair);
}

static void test_write_to_a_closed_one_is_epipe(void)
{
    Pair pair = pair_new(false);

    host_closes(&pair);
    g_assert_cmpint(stream_writes(&pair, "hello"), ==, -EPIPE);
    pair_free(&pair);
}

static void test_write_to_a_reset_one_is_epipe(void)
{
    Pair pair = pair_new(false);

    g_assert_cmpint(stream_writes(&pair, "unread"), ==, 6);
    host_closes(&pair);
    g_assert_cmpint(stream_writes(&pair, "hello"), ==, -EPIPE);
    pair_free(&pair);
}

static void test_write_to_a_deaf_one_is_epipe(void)
{
    Pair pair = pair_new(false);

    shutdown(pair.host, SHUT_RD);
    g_assert_cmpint(stream_writes(&pair, "hello"), ==, -EPIPE);
    g_assert_false(pair.stream->ops->has_hung_up(pair.stream));
    pair_free(&pair);
}

/* --- Ends ---------------------------------------------------------------- */

static void test_shutdown_wr_is_eof_for_the_host(void)
{
    Pair pair = pair_new(false);

    g_assert_cmpint(stream_writes(&pair, "last"), ==, 4);
    pair.stream->ops->shutdown(pair.stream, SHUT_WR);
    assert_host_reads(&pair, "last");
    assert_host_reads(&pair, "");
    host_writes(&pair, "still");
    assert_reads(&pair, "still");
    pair_free(&pair);
}

static void test_shutdown_rd_is_epipe_for_the_host(void)
{
    Pair pair = pair_new(false);

    pair.stream->ops->shutdown(pair.stream, SHUT_RD);
    g_assert_cmpint(send(pair.host, "x", 1, MSG_NOSIGNAL), ==, -1);
    g_assert_cmpint(errno, ==, EPIPE);
    g_assert_cmpint(stream_writes(&pair, "still"), ==, 5);
    assert_host_reads(&pair, "still");
    pair_free(&pair);
}

static void test_half_close_is_no_hang_up(void)
{
    Pair pair = pair_new(false);

    g_assert_false(pair.stream->ops->has_hung_up(pair.stream));
    shutdown(pair.host, SHUT_WR);
    g_assert_false(pair.stream->ops->has_hung_up(pair.stream));
    shutdown(pair.host, SHUT_RD);
    g_assert_true(pair.stream->ops->has_hung_up(pair.stream));
    pair_free(&pair);
}

static void test_close_is_a_hang_up(void)
{
    Pair pair = pair_new(false);

    host_writes(&pair, "unread");
    host_closes(&pair);
    g_assert_true(pair.stream->ops->has_hung_up(pair.stream));
    pair_free(&pair);
}

static void test_closing_nothing_is_fine(void)
{
    vsk_stream_close(NULL);
}

static void test_close_gives_the_descriptor_back(void)
{
    unsigned int before = open_fds();
    Pair pair = pair_new(false);

    vsk_stream_close(pair.stream);
    g_assert_cmpuint(open_fds(), ==, before + 1);
    assert_host_reads(&pair, "");
    close(pair.host);
}

/* --- The OK line --------------------------------------------------------- */

static void test_accepted_says_ok(void)
{
    Pair pair = pair_new(true);

    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 65535), ==, 0);
    assert_host_reads(&pair, "OK 65535\n");
    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, UINT32_MAX), ==,
                    0);
    assert_host_reads(&pair, "OK 4294967295\n");
    pair_free(&pair);
}

static void test_accepted_is_silent_if_nobody_waits(void)
{
    Pair pair = pair_new(false);
    char byte;

    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 65535), ==, 0);
    g_assert_cmpint(read(pair.host, &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    pair_free(&pair);
}

static void test_accepted_by_nobody_is_epipe(void)
{
    Pair pair = pair_new(true);

    host_closes(&pair);
    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 65535), ==,
                    -EPIPE);
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stream/read/scatters", test_read_scatters);
    g_test_add_func("/stream/read/of-nothing-is-eagain",
                    test_read_of_nothing_is_eagain);
    g_test_add_func("/stream/read/eof-comes-after-the-bytes",
                    test_eof_comes_after_the_bytes);
    g_test_add_func("/stream/read/close-with-unread-is-reset-after-the-bytes",
                    test_close_with_unread_is_reset_after_the_bytes);
    g_test_add_func("/stream/read/descriptors-do-not-cut",
                    test_descriptors_do_not_cut_a_read);
    g_test_add_func("/stream/read/descriptors-at-the-end-of-the-buffer",
                    test_descriptors_at_the_end_of_the_buffer);
    g_test_add_func("/stream/read/descriptors-then-eof",
                    test_descriptors_then_eof);
    g_test_add_func("/stream/read/descriptors-are-not-kept",
                    test_descriptors_are_not_kept);
    g_test_add_func("/stream/peek/takes-nothing",
                    test_peek_takes_nothing);
    g_test_add_func("/stream/write/gathers", test_write_gathers);
    g_test_add_func("/stream/write/full-is-short-then-eagain",
                    test_full_is_short_then_eagain);
    g_test_add_func("/stream/write/full-gets-a-larger-buffer",
                    test_full_gets_a_larger_buffer);
    g_test_add_func("/stream/write/to-a-closed-one-is-epipe",
                    test_write_to_a_closed_one_is_epipe);
    g_test_add_func("/stream/write/to-a-reset-one-is-epipe",
                    test_write_to_a_reset_one_is_epipe);
    g_test_add_func("/stream/write/to-a-deaf-one-is-epipe",
                    test_write_to_a_deaf_one_is_epipe);
    g_test_add_func("/stream/shutdown/wr-is-eof-for-the-host",
                    test_shutdown_wr_is_eof_for_the_host);
    g_test_add_func("/stream/shutdown/rd-is-epipe-for-the-host",
                    test_shutdown_rd_is_epipe_for_the_host);
    g_test_add_func("/stream/hang-up/half-close-is-none",
                    test_half_close_is_no_hang_up);
    g_test_add_func("/stream/hang-up/close-is-one", test_close_is_a_hang_up);
    g_test_add_func("/stream/close/nothing-is-fine",
                    test_closing_nothing_is_fine);
    g_test_add_func("/stream/close/gives-the-descriptor-back",
                    test_close_gives_the_descriptor_back);
    g_test_add_func("/stream/accepted/says-ok", test_accepted_says_ok);
    g_test_add_func("/stream/accepted/is-silent-if-nobody-waits",
                    test_accepted_is_silent_if_nobody_waits);
    g_test_add_func("/stream/accepted/by-nobody-is-epipe",
                    test_accepted_by_nobody_is_epipe);
    return g_test_run();
}
