/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Host clients and their CONNECT line: host.h.
 */

#include "host-fixture.h"
#include "vsock-limits.h"
#include "unix-socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Lines --------------------------------------------------------------- */

typedef struct LineRow {
    const char *name;
    const char *line;
    size_t len;
    int64_t port; /* -1: refused */
} LineRow;

static const LineRow line_rows[] = {
#define LINE(name, text, port) { name, text, sizeof(text) - 1, port }
    LINE("plain", "CONNECT 1234\n", 1234),
    LINE("lower-case", "connect 1234\n", 1234),
    LINE("carriage-return", "CONNECT 1234\r\n", 1234),
    LINE("more-spaces", "CONNECT   1234  \n", 1234),
    LINE("leading-zeros", "CONNECT 0001234\n", 1234),
    LINE("port-zero", "CONNECT 0\n", 0),
    LINE("largest-port", "CONNECT 4294967295\n", 4294967295),
    LINE("port-too-large", "CONNECT 4294967296\n", -1),
    LINE("port-far-too-large", "CONNECT 99999999999999999999\n", -1),
    LINE("negative-port", "CONNECT -1\n", -1),
    LINE("port-with-sign", "CONNECT +1\n", -1),
    LINE("hexadecimal-port", "CONNECT 0x10\n", -1),
    LINE("no-port", "CONNECT\n", -1),
    LINE("no-port-but-a-space", "CONNECT \n", -1),
    LINE("no-space", "CONNECT1234\n", -1),
    LINE("two-ports", "CONNECT 12 34\n", -1),
    LINE("text-behind-the-port", "CONNECT 1234 please\n", -1),
    LINE("tab-for-a-space", "CONNECT\t1234\n", -1),
    LINE("space-in-front", " CONNECT 1234\n", -1),
    LINE("other-verb", "LISTEN 1234\n", -1),
    LINE("short-verb", "CONN\n", -1),
    LINE("empty", "\n", -1),
    LINE("nul-behind-the-port", "CONNECT 1234\0junk\n", -1),
    LINE("nul-in-the-verb", "CON\0NECT 1234\n", -1),
    LINE("http", "GET / HTTP/1.1\r\n", -1),
#undef LINE
};

static void test_line(gconstpointer data)
{
    const LineRow *row = data;
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    unix_write_bytes(client, row->line, row->len);
    if (row->port >= 0) {
        close(expect_client(h, (uint32_t)row->port));
    } else {
        expect_drop(h, VSK_REFUSED_HOST_LINE);
        unix_expect_last(client, "");
    }
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
    close(client);
}

static void test_line_of_the_longest_length(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *spaces = g_strnfill(VSK_MAX_LINE - strlen("CONNECT 7\n"),
                                         ' ');
    g_autofree char *line = g_strdup_printf("CONNECT %s7\n", spaces);
    g_autofree char *longer = g_strdup_printf("CONNECT %s77\n", spaces);
    int client = host_client(h);

    g_assert_cmpuint(strlen(line), ==, VSK_MAX_LINE);
    unix_write(client, line);
    close(expect_client(h, 7));
    close(client);
    client = host_client(h);
    unix_write(client, longer);
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    close(client);
}

static void test_line_split_at_every_byte(void)
{
    const char *line = "CONNECT 1234\n";

    for (size_t cut = 1; cut < strlen(line); cut++) {
        g_autoptr(HostFixture) h = host_fixture_new();
        int client = host_client(h);

        unix_write_bytes(client, line, cut);
        expect_quiet(h);
        unix_write(client, line + cut);
        close(expect_client(h, 1234));
        expect_quiet(h);
        close(client);
    }
}

static void test_line_byte_by_byte(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    const char *line = "CONNECT 1234\n";
    int client = host_client(h);

    for (size_t i = 0; i < strlen(line); i++) {
        expect_quiet(h);
        unix_write_bytes(client, line + i, 1);
    }
    close(expect_client(h, 1234));
    close(client);
}

/* The bytes behind the line stay for the flow, wherever the writes were cut. */
static void test_bytes_behind_the_line_stay(void)
{
    const char *all = "CONNECT 1234\nhello\nCONNECT 5\n";

    for (size_t cut = 1; cut <= strlen(all); cut++) {
        g_autoptr(HostFixture) h = host_fixture_new();
        int client = host_client(h);
        VskHostNews news;
        VskHostResult result;

        unix_write_bytes(client, all, cut);
        result = vsk_host_next(h->host, h->now_ms, &news);
        unix_write(client, all + cut);
        if (result == VSK_HOST_SILENT) {
            news.fd = expect_client(h, 1234);
        }
        unix_expect(news.fd, "hello\nCONNECT 5\n");
        expect_quiet(h);
        close(news.fd);
        close(client);
    }
}

static void test_line_without_end(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *junk = g_strnfill(100000, 'C');
    int client = host_client(h);

    unix_write(client, junk);
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    expect_quiet(h);
    close(client);
    client = host_client(h);
    for (unsigned int i = 0; i < VSK_MAX_LINE; i++) {
        expect_quiet(h);
        unix_write(client, "C");
    }
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    close(client);
}

static void test_descriptor_with_the_line_is_not_kept(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .buf = "" };
    struct iovec iov = { (void *)"CONNECT 5\n", 10 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = sizeof(control.buf),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int client = host_client(h);
    int zero = 0;
    unsigned int before = open_fds();

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &zero, sizeof(zero));
    if (sendmsg(client, &msg, 0) < 0) {
        g_assert_cmpint(errno, ==, EPERM); /* Linux since 6.16 */
        unix_write(client, "CONNECT 5\n");
    }
    close(expect_client(h, 5));
    g_assert_cmpuint(open_fds(), ==, before);
    close(client);
}

/* --- Clients that leave or wait ------------------------------------------ */

static void test_client_that_came_and_went(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();

    close(host_client(h));
    expect_quiet(h);
    close(host_client(h));
    close(host_client(h));
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
}

/* Who comes and goes without end must not keep us here. */
static void test_client_that_left_ends_the_turn(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    VskHostNews news;

    close(host_client(h));
    close(host_client(h));
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(vsk_host_next(h->host, h->now_ms, &news), ==,
                        VSK_HOST_SILENT);
    }
    expect_quiet(h);
}

static void test_client_that_leaves_in_mid_line(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    unix_write(client, "CONN");
    expect_quiet(h);
    close(client);
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    expect_quiet(h);
}

/* A NUL is no end of a line, neither is the end of the stream. */
static void test_client_that_leaves_behind_a_nul(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    unix_write_bytes(client, "CONNECT 5", sizeof("CONNECT 5"));
    expect_quiet(h);
    close(client);
    expect_drop(h, VSK_REFUSED_HOST_LINE);
    expect_quiet(h);
}

static void test_client_that_leaves_behind_its_line(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);
    int fd;

    unix_write(client, "CONNECT 5\nbye");
    close(client);
    fd = expect_client(h, 5);
    unix_expect_last(fd, "bye");
    close(fd);
}

static void test_half_closed_client_is_served(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);
    int fd;

    unix_write(client, "CONNECT 5\n");
    shutdown(client, SHUT_WR);
    fd = expect_client(h, 5);
    unix_write(fd, "answer");
    unix_expect(client, "answer");
    close(fd);
    close(client);
}

static void test_served_client_is_not_watched(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);
    struct pollfd pfd = { .fd = vsk_host_get_fd(h->host), .events = POLLIN };
    int fd;

    unix_write(client, "CONN");
    expect_quiet(h);
    unix_write(client, "ECT 5\n");
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
    int client = host_client(h);

    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + HOST_LINE_TIMEOUT_MS);
    h->now_ms += HOST_LINE_TIMEOUT_MS - 1;
    expect_quiet(h);
    unix_expect_nothing(client);
    h->now_ms++;
    expect_drop(h, VSK_REFUSED_HOST_TIMEOUT);
    unix_expect_last(client, "");
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
    close(client);
}

static void test_slow_line_gets_no_more_time(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    expect_quiet(h);
    h->now_ms += HOST_LINE_TIMEOUT_MS - 1;
    unix_write(client, "CONNECT 12");
    expect_quiet(h);
    h->now_ms++;
    expect_drop(h, VSK_REFUSED_HOST_TIMEOUT);
    close(client);
}

static void test_line_in_time_ends_the_wait(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    expect_quiet(h);
    h->now_ms += HOST_LINE_TIMEOUT_MS - 1;
    unix_write(client, "CONNECT 12\n");
    close(expect_client(h, 12));
    h->now_ms += HOST_LINE_TIMEOUT_MS;
    expect_quiet(h);
    close(client);
}

static void test_each_client_has_its_own_time(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int a = host_client(h);
    int b, c;

    expect_quiet(h);
    h->now_ms += 1000;
    b = host_client(h);
    expect_quiet(h);
    h->now_ms += 1000;
    c = host_client(h);
    expect_quiet(h);
    unix_write(b, "CONNECT 5\n");
    close(expect_client(h, 5));
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms - 2000 + HOST_LINE_TIMEOUT_MS);
    h->now_ms += HOST_LINE_TIMEOUT_MS - 2000;
    expect_drop(h, VSK_REFUSED_HOST_TIMEOUT);
    unix_expect_last(a, "");
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + 2000);
    close(a);
    close(b);
    close(c);
}

static void test_free_drops_all_clients(void)
{
    HostFixture *h = host_fixture_new();
    unsigned int before;
    int clients[10];

    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = host_client(h);
    }
    expect_quiet(h);
    before = open_fds();
    host_fixture_free(h);
    g_assert_cmpuint(open_fds(), <=, before - G_N_ELEMENTS(clients));
    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        unix_expect_last(clients[i], "");
        close(clients[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/host/" path, fn)
    for (unsigned int i = 0; i < G_N_ELEMENTS(line_rows); i++) {
        g_autofree char *path = g_strdup_printf("/host/line/%s",
                                                line_rows[i].name);

        g_test_add_data_func(path, &line_rows[i], test_line);
    }
    TEST("line/of-the-longest-length", test_line_of_the_longest_length);
    TEST("line/split-at-every-byte", test_line_split_at_every_byte);
    TEST("line/byte-by-byte", test_line_byte_by_byte);
    TEST("line/bytes-behind-it-stay", test_bytes_behind_the_line_stay);
    TEST("line/without-end", test_line_without_end);
    TEST("line/descriptor-with-it-is-not-kept",
         test_descriptor_with_the_line_is_not_kept);
    TEST("client/came-and-went", test_client_that_came_and_went);
    TEST("client/that-left-ends-the-turn",
         test_client_that_left_ends_the_turn);
    TEST("client/leaves-in-mid-line", test_client_that_leaves_in_mid_line);
    TEST("client/leaves-behind-a-nul", test_client_that_leaves_behind_a_nul);
    TEST("client/leaves-behind-its-line",
         test_client_that_leaves_behind_its_line);
    TEST("client/half-closed-is-served", test_half_closed_client_is_served);
    TEST("client/served-is-not-watched", test_served_client_is_not_watched);
    TEST("client/silent-is-dropped-in-time",
         test_silent_client_is_dropped_in_time);
    TEST("client/slow-line-gets-no-more-time",
         test_slow_line_gets_no_more_time);
    TEST("client/line-in-time-ends-the-wait",
         test_line_in_time_ends_the_wait);
    TEST("client/each-has-its-own-time", test_each_client_has_its_own_time);
    TEST("client/free-drops-all", test_free_drops_all_clients);
    return g_test_run();
}
