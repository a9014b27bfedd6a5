/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Host programs with seqpacket sockets: host.h.
 */

#include "host-fixture.h"
#include "vsock-limits.h"
#include "unix-socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- The CONNECT message -------------------------------------------------- */

typedef struct Row {
    const char *name;
    const char *line;
    size_t len;
    int64_t port; /* -1: refused */
} Row;

static const Row rows[] = {
#define LINE(name, text, port) { name, text, sizeof(text) - 1, port }
    LINE("plain", "CONNECT 1234\n", 1234),
    LINE("without-newline", "CONNECT 1234", 1234),
    LINE("carriage-return", "CONNECT 1234\r\n", 1234),
    LINE("lower-case", "connect 1234", 1234),
    LINE("largest-port", "CONNECT 4294967295\n", 4294967295),
    LINE("port-too-large", "CONNECT 4294967296\n", -1),
    LINE("no-port", "CONNECT", -1),
    LINE("no-port-but-a-newline", "CONNECT \n", -1),
    LINE("bytes-behind-the-newline", "CONNECT 1234\nhello", -1),
    LINE("newline-behind-the-newline", "CONNECT 1234\n\n", -1),
    LINE("nul-behind-the-port", "CONNECT 1234\0", -1),
    LINE("nul-behind-the-newline", "CONNECT 1234\n\0", -1),
    LINE("junk-behind-a-nul", "CONNECT 1234\0junk\n", -1),
    LINE("nul-alone", "\0", -1),
    LINE("newline-alone", "\n", -1),
    LINE("first-half", "CONN", -1),
    LINE("of-the-longest-length", "CONNECT 1                      \n", 1),
    LINE("longest-without-newline", "CONNECT 1                       ", 1),
    LINE("one-byte-too-long", "CONNECT 1                       \n", -1),
    LINE("second-line-too-long", "CONNECT 1                      \n\n", -1),
#undef LINE
};

static void test_message(gconstpointer data)
{
    const Row *row = data;
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);

    unix_write_bytes(client, row->line, row->len);
    if (row->port >= 0) {
        close(expect_client(h, (uint32_t)row->port));
        g_assert_cmpint(h->type, ==, VSK_TYPE_SEQPACKET);
    } else {
        expect_drop(h, VSK_REFUSED_HOST_LINE);
        unix_expect_last(client, "");
    }
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
    close(client);
}

static void test_longest_rows_are_the_longest(void)
{
    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strstr(rows[i].name, "longest")) {
            g_assert_cmpuint(rows[i].len, ==, VSK_MAX_LINE);
        } else if (strstr(rows[i].name, "too-long")) {
            g_assert_cmpuint(rows[i].len, ==, VSK_MAX_LINE + 1);
        }
    }
}

static void test_huge_message(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *line = g_strnfill(100000, ' ');
    int client = host_seqpacket_client(h);

    memcpy(line, "CONNECT 1", 9);
    unix_write(client, line);
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    expect_quiet(h);
    close(client);
}

/* Two messages are not one line. */
static void test_line_in_two_messages(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);

    unix_write(client, "CONNECT ");
    unix_write(client, "1234\n");
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    expect_quiet(h);
    close(client);
}

static void test_message_that_comes_late(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);

    expect_quiet(h);
    unix_write(client, "CONNECT 5");
    close(expect_client(h, 5));
    expect_quiet(h);
    close(client);
}

static void test_messages_behind_it_stay(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);
    int fd;

    unix_write(client, "CONNECT 5");
    unix_write(client, "CONNECT 6");
    unix_write(client, "");
    close(client);
    fd = expect_client(h, 5);
    unix_expect_message(fd, "CONNECT 6");
    unix_expect_message(fd, "");
    expect_quiet(h);
    close(fd);
}

static void test_descriptor_with_it_is_not_kept(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { (void *)"CONNECT 5", 9 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int client = host_seqpacket_client(h);
    unsigned int before = open_fds();

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &client, sizeof(client));
    if (sendmsg(client, &msg, 0) < 0) {
        g_assert_cmpint(errno, ==, EPERM); /* Linux since 6.16 */
        unix_write(client, "CONNECT 5");
    }
    close(expect_client(h, 5));
    g_assert_cmpuint(open_fds(), ==, before);
    close(client);
}

/* --- Clients that leave or wait ------------------------------------------- */

/* They asked for nothing: no reason to tell anybody. */
static void test_clients_without_a_message(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client;

    close(host_seqpacket_client(h));
    expect_quiet(h);
    client = host_seqpacket_client(h);
    expect_quiet(h);
    close(client);
    expect_quiet(h);
    client = host_seqpacket_client(h);
    unix_write(client, "");
    expect_quiet(h);
    unix_expect_last(client, "");
    close(client);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
}

static void test_client_that_closes_its_half(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);
    int fd;

    unix_write(client, "CONNECT 5");
    shutdown(client, SHUT_WR);
    fd = expect_client(h, 5);
    unix_write(fd, "answer");
    unix_expect_message(client, "answer");
    close(fd);
    close(client);
}

static void test_served_client_is_not_watched(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);
    struct pollfd pfd = { .fd = vsk_host_get_fd(h->host), .events = POLLIN };
    int fd;

    expect_quiet(h);
    unix_write(client, "CONNECT 5");
    fd = expect_client(h, 5);
    expect_quiet(h);
    unix_write(client, "data");
    g_assert_cmpint(poll(&pfd, 1, 0), ==, 0);
    close(fd);
    close(client);
}

static void test_silent_client_is_dropped_in_time(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_seqpacket_client(h);

    expect_quiet(h);
    h->now_ms += HOST_LINE_TIMEOUT_MS - 1;
    expect_quiet(h);
    unix_expect_nothing(client);
    h->now_ms++;
    expect_drop(h, VSK_REFUSED_HOST_TIMEOUT);
    unix_expect_last(client, "");
    close(client);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/host/seqpacket/message/%s",
                                                rows[i].name);

        g_test_add_data_func(path, &rows[i], test_message);
    }
#define TEST(path, fn) g_test_add_func("/host/seqpacket/" path, fn)
    TEST("message/rows-of-length", test_longest_rows_are_the_longest);
    TEST("message/huge", test_huge_message);
    TEST("message/line-in-two", test_line_in_two_messages);
    TEST("message/that-comes-late", test_message_that_comes_late);
    TEST("message/those-behind-it-stay", test_messages_behind_it_stay);
    TEST("message/descriptor-with-it", test_descriptor_with_it_is_not_kept);
    TEST("client/without-a-message", test_clients_without_a_message);
    TEST("client/closes-its-half", test_client_that_closes_its_half);
    TEST("client/served-is-not-watched", test_served_client_is_not_watched);
    TEST("client/silent-is-dropped-in-time",
         test_silent_client_is_dropped_in_time);
    return g_test_run();
}
