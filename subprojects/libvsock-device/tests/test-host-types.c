/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Host programs with stream and with seqpacket sockets, side by side: host.h.
 */

#include "host-fixture.h"
#include "vsock-limits.h"
#include "unix-socket.h"

#include <unistd.h>

/* --- Clients ------------------------------------------------------------ */

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
        close(stream);
        close(seqpacket);
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

/*
 * Where a program of the other type listens there is none; at the shared path
 * there may be one.
 */
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
#define TEST(path, fn) g_test_add_func("/host/" path, fn)
    TEST("types/limit-counts-them", test_limit_counts_both_types);
    TEST("types/have-turns", test_types_have_turns);
    TEST("types/slot-of-the-other-type", test_slot_of_the_other_type);
    TEST("types/emfile-is-retried", test_emfile_is_retried_on_both);
    TEST("types/emfile-without-seqpacket", test_emfile_without_seqpacket);
    TEST("types/connect/listener-of-the-other-type",
         test_listener_of_the_other_type_is_passed_over);
    TEST("types/connect/other-type-at-both-paths",
         test_other_type_at_both_paths);
    TEST("types/connect/backlog-that-is-full", test_backlog_that_is_full);
    return g_test_run();
}
