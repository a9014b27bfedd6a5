/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The seqpacket socket as a stream of messages, and what of the kernel it
 * relies on: writing, and what host programs do besides.
 */

#include "seqpacket-pair.h"
#include "temp-dir.h"
#include "unix-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* --- Writing -------------------------------------------------------------- */

static void test_each_write_is_a_message(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "one"), ==, 3);
    g_assert_cmpint(pair_writes(&pair, ""), ==, 0);
    g_assert_cmpint(pair_writes(&pair, "two"), ==, 3);
    unix_expect_message(pair.host, "one");
    unix_expect_message(pair.host, "");
    unix_expect_message(pair.host, "two");
    unix_expect_nothing(pair.host);
    pair_free(&pair);
}

/* Fill the socket with messages of @text; returns how many it took. */
static unsigned int fill(Pair *pair, const char *text)
{
    unsigned int n = 0;

    while (pair_writes(pair, text) >= 0) {
        g_assert_cmpuint(n++, <, 100000);
    }
    g_assert_cmpint(pair_writes(pair, text), ==, -EAGAIN);
    return n;
}

static void test_full_socket_takes_nothing_of_a_message(void)
{
    g_autofree char *text = g_strnfill(4000, 'x');
    Pair pair = pair_new();
    unsigned int n = fill(&pair, text);

    g_assert_cmpuint(n, >, 0);
    for (unsigned int i = 0; i < n; i++) {
        unix_expect_message(pair.host, text);
    }
    unix_expect_nothing(pair.host); /* and not a part of the last one */
    text[0] = 'y';
    g_assert_cmpint(pair_writes(&pair, text), ==, 4000);
    unix_expect_message(pair.host, text);
    pair_free(&pair);
}

/*
 * What the stage relies on: a socket without end would cost memory without
 * end, for empty messages take no credit.
 */
static void test_empty_messages_fill_a_socket(void)
{
    Pair pair = pair_new();

    g_assert_cmpuint(fill(&pair, ""), >, 0);
    pair_free(&pair);
}

static uint64_t wmem_max(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/sys/net/core/wmem_max", &text,
                                      NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

/*
 * An empty socket has room for a message of the window, whatever it is; and it
 * is what was asked for, if the kernel lets it.
 */
static void test_message_of_the_window_always_fits(void)
{
    static const uint32_t windows[] = { 1, 100, 8192, 65536, 262144 };

    for (unsigned int i = 0; i < G_N_ELEMENTS(windows); i++) {
        g_autofree char *text = g_strnfill(windows[i], 'w');
        g_autofree char *buf = g_malloc(windows[i] + 1);
        Pair pair = pair_new_window(windows[i]);

        g_assert_cmpuint(pair.window, <=, windows[i]);
        g_assert_cmpuint(pair.window, >=, MIN(windows[i], wmem_max()));
        text[pair.window] = '\0';
        g_assert_cmpint(pair_writes(&pair, text), ==, pair.window);
        g_assert_cmpint(unix_read(pair.host, buf, windows[i] + 1), ==,
                        pair.window);
        g_assert_cmpmem(buf, pair.window, text, pair.window);
        pair_free(&pair);
    }
}

/* net.core.wmem_max stands above all. */
static void test_window_is_what_the_kernel_allows(void)
{
    g_autofree char *text = NULL;
    struct iovec iov;
    int size = 0;
    socklen_t len = sizeof(size);
    Pair pair = pair_new_window(UINT32_MAX);

    g_assert_cmpint(getsockopt(pair.stream->ops->get_fd(pair.stream),
                               SOL_SOCKET, SO_SNDBUF, &size, &len), ==, 0);
    g_assert_cmpuint(pair.window, ==, MIN((uint64_t)size - 32, UINT32_MAX));
    g_assert_cmpuint(pair.window, <, UINT32_MAX);
    text = g_malloc0(pair.window + 1);
    iov = (struct iovec) { text, pair.window + 1 };
    g_assert_cmpint(pair.stream->ops->writev(pair.stream, &iov, 1), ==,
                    -EMSGSIZE);
    pair_free(&pair);
}

static void test_no_socket_is_no_stream(void)
{
    unsigned int before = open_fds();
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    uint32_t window = PAIR_WINDOW;

    g_assert_null(vsk_stream_new_seqpacket(fd, false, &window));
    g_assert_cmpuint(open_fds(), ==, before); /* it was closed */
}

/* --- A host program that takes no more ------------------------------------ */

static void test_write_to_a_closed_peer(void)
{
    Pair pair = pair_new();

    pair_host_closes(&pair);
    g_assert_cmpint(pair_writes(&pair, "x"), ==, -EPIPE); /* and no SIGPIPE */
    g_assert_cmpint(pair_writes(&pair, ""), ==, -EPIPE);
    pair_free(&pair);
}

static void test_write_to_a_peer_that_reads_no_more(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(shutdown(pair.host, SHUT_RD), ==, 0);
    g_assert_cmpint(pair_writes(&pair, "x"), ==, -EPIPE);
    g_assert_false(pair.stream->ops->has_hung_up(pair.stream));
    unix_write(pair.host, "alive");
    assert_message(&pair, "alive");
    pair_free(&pair);
}

static void test_our_own_shutdown_is_their_end(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "last"), ==, 4);
    pair.stream->ops->shutdown(pair.stream, SHUT_WR);
    g_assert_cmpint(pair_writes(&pair, "x"), ==, -EPIPE);
    unix_expect_message(pair.host, "last");
    unix_expect_last(pair.host, "");
    unix_write(pair.host, "still");
    assert_message(&pair, "still");
    pair_free(&pair);
}

/* Its connection was never accepted. */
static void test_listener_that_goes(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "s");
    int listener = unix_bind_seqpacket(path, 1);
    Pair pair = pair_of(unix_connect_seqpacket(path), -1);

    g_assert_cmpint(pair_writes(&pair, "lost"), ==, 4);
    close(listener);
    g_assert_cmpint(pair_writes(&pair, "x"), ==, -EPIPE);
    g_assert_true(pair.stream->ops->has_hung_up(pair.stream));
    assert_no_message(&pair, -ECONNRESET);
    pair_free(&pair);
}

/* Such a socket does not come here, but must do no harm. */
static void test_peer_that_never_was(void)
{
    Pair pair = pair_of(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), -1);

    g_assert_cmpint(pair_writes(&pair, "x"), ==, -EPIPE);
    assert_no_message(&pair, -ENOTCONN);
    pair_free(&pair);
}

/* --- OK ------------------------------------------------------------------- */

static void test_ok_is_one_message(void)
{
    Pair pair = pair_new_client();

    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 65535), ==, 0);
    g_assert_cmpint(pair_writes(&pair, "data"), ==, 4);
    unix_expect_message(pair.host, "OK 65535\n");
    unix_expect_message(pair.host, "data");
    pair_free(&pair);
}

static void test_ok_for_nobody(void)
{
    Pair pair = pair_new_client();

    pair_host_closes(&pair);
    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 1), ==, -EPIPE);
    pair_free(&pair);
}

/* Told as any write is: what it had sent comes first. */
static void test_ok_for_one_that_left_unread_messages(void)
{
    Pair pair = pair_new_client();

    g_assert_cmpint(pair_writes(&pair, "unread"), ==, 6);
    unix_write(pair.host, "last");
    pair_host_closes(&pair);
    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 1), ==, -EPIPE);
    assert_message(&pair, "last");
    assert_no_message(&pair, -ECONNRESET);
    pair_free(&pair);
}

static void test_no_ok_for_a_listener(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair.stream->ops->accepted(pair.stream, 65535), ==, 0);
    unix_expect_nothing(pair.host);
    pair_free(&pair);
}

/* --- Besides messages ----------------------------------------------------- */

/* Send @text with @n descriptors. */
static void host_writes_with_fds(Pair *pair, const char *text, unsigned int n)
{
    char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec iov = { (void *)text, strlen(text) };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = CMSG_SPACE(n * sizeof(int)),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
    for (unsigned int i = 0; i < n; i++) {
        memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &pair->host, sizeof(int));
    }
    g_assert_cmpint(sendmsg(pair->host, &msg, MSG_NOSIGNAL), ==,
                    (ssize_t)iov.iov_len);
}

static void test_descriptors_are_not_taken(void)
{
    Pair pair = pair_new();
    unsigned int before = open_fds();

    host_writes_with_fds(&pair, "whole", 16);
    host_writes_with_fds(&pair, "in pieces", 1);
    host_writes_with_fds(&pair, "", 3);
    unix_write(pair.host, "after");
    assert_peeks(&pair, 5);
    g_assert_cmpuint(open_fds(), ==, before);
    assert_message(&pair, "whole");
    assert_part(&pair, 3, "in ", 6);
    g_assert_cmpuint(open_fds(), ==, before);
    assert_part(&pair, 64, "pieces", 0);
    assert_message(&pair, "");
    g_assert_cmpuint(open_fds(), ==, before);
    pair_host_closes(&pair); /* nor does one keep the socket open in secret */
    assert_message(&pair, "after");
    assert_no_message(&pair, 0);
    pair_free(&pair);
}

/* The host program does not see that we ask for credentials. */
static void test_peer_gets_no_credentials(void)
{
    char control[CMSG_SPACE(64)], buf[8];
    struct iovec iov = { buf, sizeof(buf) };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "x"), ==, 1);
    g_assert_cmpint(recvmsg(pair.host, &msg, 0), ==, 1);
    g_assert_cmpuint(msg.msg_controllen, ==, 0);
    pair_free(&pair);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void set_alarm(suseconds_t every_us)
{
    const struct itimerval value = { { 0, every_us }, { 0, every_us } };

    g_assert_cmpint(setitimer(ITIMER_REAL, &value, NULL), ==, 0);
}

/* Signals without end: no call tells of them, and no message is lost. */
static void test_signals_are_not_seen(void)
{
    enum { ROUNDS = 100, MESSAGES = 50 };
    const struct sigaction action = { .sa_handler = on_alarm };
    Pair pair = pair_new();

    g_assert_cmpint(sigaction(SIGALRM, &action, NULL), ==, 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MESSAGES; i++) {
            unix_write(pair.host, "pong");
        }
        set_alarm(50);
        for (int i = 0; i < MESSAGES; i++) {
            g_assert_cmpint(pair_writes(&pair, "ping"), ==, 4);
            assert_part(&pair, 2, "po", 2);
            assert_part(&pair, 2, "ng", 0);
        }
        assert_no_message(&pair, -EAGAIN);
        set_alarm(0);
        for (int i = 0; i < MESSAGES; i++) {
            unix_expect_message(pair.host, "ping");
        }
    }
    pair_free(&pair);
}

/* --- Events --------------------------------------------------------------- */

static short events_of(const Pair *pair)
{
    struct pollfd pfd = {
        .fd = pair->stream->ops->get_fd(pair->stream),
        .events = POLLIN | POLLOUT | POLLRDHUP,
    };

    g_assert_cmpint(poll(&pfd, 1, 0), >=, 0);
    return pfd.revents;
}

/* What a flow is told of: an empty message, and the end behind messages. */
static void test_events(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(events_of(&pair), ==, POLLOUT);
    fill(&pair, "x");
    g_assert_cmpint(events_of(&pair), ==, 0);
    unix_write(pair.host, "");
    g_assert_cmpint(events_of(&pair), ==, POLLIN);
    g_assert_cmpint(shutdown(pair.host, SHUT_WR), ==, 0);
    g_assert_cmpint(events_of(&pair), ==, POLLIN | POLLRDHUP);
    assert_message(&pair, "");
    while (unix_read(pair.host, &(char) { 0 }, 1) >= 0) {
    }
    g_assert_cmpint(events_of(&pair), ==, POLLIN | POLLOUT | POLLRDHUP);
    pair_host_closes(&pair);
    g_assert_cmpint(events_of(&pair), ==,
                    POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    pair_free(&pair);
}

/* --- Closing -------------------------------------------------------------- */

/*
 * What the host program wrote and nobody read must not hide what it was
 * written: the kernel would report a reset first.
 */
static void test_close_hides_no_message(void)
{
    Pair pair = pair_new();
    int host = pair.host;

    for (int i = 0; i < 3; i++) {
        unix_write(host, "unread");
        g_assert_cmpint(send(host, "", 0, 0), ==, 0);
    }
    assert_part(&pair, 2, "un", 4);
    g_assert_cmpint(pair_writes(&pair, "last"), ==, 4);
    g_assert_cmpint(pair_writes(&pair, "words"), ==, 5);
    vsk_stream_close(pair.stream);
    unix_expect_message(host, "last");
    unix_expect_message(host, "words");
    unix_expect_message(host, ""); /* the end of file */
    close(host);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/seqpacket/" path, fn)
    TEST("close/hides-no-message", test_close_hides_no_message);
    TEST("write/each-is-a-message", test_each_write_is_a_message);
    TEST("write/full-socket-takes-nothing-of-a-message",
         test_full_socket_takes_nothing_of_a_message);
    TEST("write/empty-messages-fill-a-socket",
         test_empty_messages_fill_a_socket);
    TEST("write/message-of-the-window-always-fits",
         test_message_of_the_window_always_fits);
    TEST("write/window-is-what-the-kernel-allows",
         test_window_is_what_the_kernel_allows);
    TEST("write/no-socket-is-no-stream", test_no_socket_is_no_stream);
    TEST("deaf/closed-peer", test_write_to_a_closed_peer);
    TEST("deaf/peer-that-reads-no-more",
         test_write_to_a_peer_that_reads_no_more);
    TEST("deaf/our-own-shutdown-is-their-end",
         test_our_own_shutdown_is_their_end);
    TEST("deaf/listener-that-goes", test_listener_that_goes);
    TEST("deaf/peer-that-never-was", test_peer_that_never_was);
    TEST("ok/is-one-message", test_ok_is_one_message);
    TEST("ok/for-nobody", test_ok_for_nobody);
    TEST("ok/for-one-that-left-unread-messages",
         test_ok_for_one_that_left_unread_messages);
    TEST("ok/not-for-a-listener", test_no_ok_for_a_listener);
    TEST("besides/descriptors-are-not-taken", test_descriptors_are_not_taken);
    TEST("besides/peer-gets-no-credentials", test_peer_gets_no_credentials);
    TEST("besides/signals-are-not-seen", test_signals_are_not_seen);
    TEST("besides/events", test_events);
    return g_test_run();
}
