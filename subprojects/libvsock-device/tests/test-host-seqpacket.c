/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Host programs with seqpacket sockets: host.h.
 */

#include "host-fixture.h"
#include "limits.h"
#include "unix-socket.h"

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
    g_assert_cmpint(sendmsg(client, &msg, 0), ==, 9);
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

/* --- Both types ----------------------------------------------------------- */

static void test_limit_counts_both_types(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int first, clients[3];

    vsk_host_set_max_clients(h->host, 3);
    first = host_seqpacket_client(h);
    expect_quiet(h);
    for (unsigned int i = 0; i < 3; i++) {
        clients[i] = i == 1 ? host_seqpacket_client(h) : host_client(h);
    }
    expect_drop(h, VSK_REFUSED_HOST_LIMIT);
    expect_quiet(h);
    unix_expect_last(first, ""); /* the oldest, of whichever type */
    unix_write(clients[0], "CONNECT 1\n");
    close(expect_client(h, 1));
    g_assert_cmpint(h->type, ==, VSK_TYPE_STREAM);
    unix_write(clients[1], "CONNECT 2");
    close(expect_client(h, 2));
    g_assert_cmpint(h->type, ==, VSK_TYPE_SEQPACKET);
    unix_write(clients[2], "CONNECT 3\n");
    close(expect_client(h, 3));
    for (unsigned int i = 0; i < 3; i++) {
        close(clients[i]);
    }
    close(first);
}

/* Many of one type do not keep those of the other waiting. */
static void test_types_have_turns(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    unsigned int n_stream = 0;
    int clients[8];

    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = i < 6 ? host_client(h) : host_seqpacket_client(h);
        unix_write(clients[i], "CONNECT 5\n");
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        close(expect_client(h, 5));
        n_stream += h->type == VSK_TYPE_STREAM;
        if (i < 4) {
            g_assert_cmpuint(n_stream, ==, i / 2 + 1);
        }
    }
    g_assert_cmpuint(n_stream, ==, 6);
    expect_quiet(h);
    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        close(clients[i]);
    }
}

/* A slot is for any type: what it was for before does not stay. */
static void test_slot_of_the_other_type(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();

    for (int i = 0; i < 4; i++) {
        int client = i % 2 ? host_client(h) : host_seqpacket_client(h);

        unix_write(client, "CONNECT 7\n");
        close(expect_client(h, 7));
        g_assert_cmpint(h->type, ==,
                        i % 2 ? VSK_TYPE_STREAM : VSK_TYPE_SEQPACKET);
        close(client);
    }
    expect_quiet(h);
}

static void test_emfile_is_retried_on_both(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int stream = host_client(h);
    int seqpacket = host_seqpacket_client(h);

    if (!can_limit_fds()) {
        return;
    }
    unix_write(stream, "CONNECT 1\n");
    unix_write(seqpacket, "CONNECT 2");
    limit_fds();
    expect_quiet(h);
    unlimit_fds();
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + VSK_ACCEPT_RETRY_MS);
    h->now_ms += VSK_ACCEPT_RETRY_MS;
    close(expect_client(h, 1));
    close(expect_client(h, 2));
    g_assert_cmpint(h->type, ==, VSK_TYPE_SEQPACKET);
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
    close(stream);
    close(seqpacket);
}

/* There is none to try again, and the attempt would look like a failure. */
static void test_emfile_without_seqpacket(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    HostFixture h = { .path = temp_dir_file(dir, "3.vsock"), .now_ms = 1000 };
    int client;

    if (!can_limit_fds()) {
        g_free(h.path);
        return;
    }
    h.host = vsk_host_new(h.path, false, NULL, HOST_LINE_TIMEOUT_MS, NULL);
    client = host_client(&h);
    unix_write(client, "CONNECT 1\n");
    limit_fds();
    expect_quiet(&h);
    unlimit_fds();
    h.now_ms += VSK_ACCEPT_RETRY_MS;
    close(expect_client(&h, 1));
    expect_quiet(&h);
    g_assert_cmpint(vsk_host_next_deadline(h.host), ==, -1);
    close(client);
    vsk_host_free(h.host);
    g_free(h.path);
}

/* --- Host programs that listen -------------------------------------------- */

static int connect_to(HostFixture *h, VskType type, VskRefusal *ret_why)
{
    return vsk_host_connect(h->host, 3, 1024, 80, type, h->unique++, ret_why);
}

/* Where a program of the other type listens there is none; at the shared path
 * there may be one. */
static void test_listener_of_the_other_type_is_passed_over(void)
{
    static const VskType types[] = { VSK_TYPE_STREAM, VSK_TYPE_SEQPACKET };

    for (unsigned int i = 0; i < G_N_ELEMENTS(types); i++) {
        bool stream = types[i] == VSK_TYPE_STREAM;
        g_autoptr(HostFixture) h = host_fixture_new();
        VskRefusal why = VSK_REFUSED_NUM;
        unsigned int before = open_fds();
        int own = stream ? host_listens_seqpacket(h, 80, 1)
                         : host_listens(h, 80, 1);
        int shared, fd, peer;

        g_assert_cmpint(connect_to(h, types[i], &why), ==, -1);
        g_assert_cmpint(why, ==, VSK_REFUSED_NO_LISTENER);
        g_assert_cmpuint(open_fds(), ==, before + 1);
        shared = stream ? host_listens_for_all(h, 80, 1)
                        : host_listens_seqpacket_for_all(h, 80, 1);
        fd = connect_to(h, types[i], &why);
        peer = unix_accept(shared);
        unix_write(fd, "hello");
        unix_expect(peer, "hello");
        g_assert_false(unix_has_client(own));
        close(peer);
        close(fd);
        close(shared);
        close(own);
    }
}

static void test_other_type_at_both_paths(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int own = host_listens(h, 80, 1);
    int shared = host_listens_for_all(h, 80, 1);
    VskRefusal why = VSK_REFUSED_NUM;

    g_assert_cmpint(connect_to(h, VSK_TYPE_SEQPACKET, &why), ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_NO_LISTENER);
    close(own);
    close(shared);
}

static void test_backlog_that_is_full(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens_seqpacket(h, 80, 0);
    VskRefusal why = VSK_REFUSED_NUM;
    int fd = connect_to(h, VSK_TYPE_SEQPACKET, &why);
    uint64_t cid;
    uint32_t port;
    int peer;

    g_assert_cmpint(connect_to(h, VSK_TYPE_SEQPACKET, &why), ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_BACKLOG);
    peer = unix_accept(listener);
    unix_get_source(peer, &cid, &port);
    g_assert_cmpuint(cid, ==, 3);
    g_assert_cmpuint(port, ==, 1024);
    close(peer);
    close(fd);
    close(listener);
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
    TEST("both/limit-counts-them", test_limit_counts_both_types);
    TEST("both/have-turns", test_types_have_turns);
    TEST("both/slot-of-the-other-type", test_slot_of_the_other_type);
    TEST("both/emfile-is-retried", test_emfile_is_retried_on_both);
    TEST("both/emfile-without-seqpacket", test_emfile_without_seqpacket);
    TEST("connect/listener-of-the-other-type",
         test_listener_of_the_other_type_is_passed_over);
    TEST("connect/other-type-at-both-paths", test_other_type_at_both_paths);
    TEST("connect/backlog-that-is-full", test_backlog_that_is_full);
    return g_test_run();
}
