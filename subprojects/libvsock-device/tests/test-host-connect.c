/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Host programs that listen for the guest: host.h.
 */

#include "host-fixture.h"
#include "listener.h"
#include "unix-socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Host programs that listen ------------------------------------------- */

static int connect_to_port(HostFixture *h, uint32_t port)
{
    VskRefusal why = VSK_REFUSED_NUM;
    int fd = vsk_host_connect(h->host, 3, 1024, port, VSK_TYPE_STREAM,
                              h->unique, &why);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(why, ==, VSK_REFUSED_NUM);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    return fd;
}

static void expect_no_connect(HostFixture *h, uint32_t port, VskRefusal why)
{
    VskRefusal got = VSK_REFUSED_NUM;
    unsigned int before = open_fds();

    g_assert_cmpint(vsk_host_connect(h->host, 3, 1024, port, VSK_TYPE_STREAM,
                                     h->unique, &got),
                    ==, -1);
    g_assert_cmpint(got, ==, why);
    g_assert_cmpuint(open_fds(), ==, before);
}

static void test_connects_to_a_listener(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 1);
    int fd = connect_to_port(h, 80);
    int peer = unix_accept(listener);

    unix_write(fd, "hello");
    unix_expect(peer, "hello");
    close(peer);
    close(fd);
    close(listener);
}

/* Whoever closes one last may have to wait: see vsk_refuse_descriptors(). */
static void test_listener_can_send_no_descriptors(void)
{
#ifdef SO_PASSRIGHTS
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 1);
    int fd = connect_to_port(h, 80);
    int passes = 0;
    socklen_t len = sizeof(passes);

    if (getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &len) == 0) {
        g_assert_cmpint(passes, ==, 0);
    } else {
        g_test_skip("no SO_PASSRIGHTS before Linux 6.16");
    }
    close(fd);
    close(listener);
#else
    g_test_skip("no SO_PASSRIGHTS here");
#endif
}

static void test_source_can_be_read_by_the_listener(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 1);
    int fd = connect_to_port(h, 80);
    int peer = unix_accept(listener);
    uint64_t cid;
    uint32_t port;

    unix_get_source(peer, &cid, &port);
    g_assert_cmpuint(cid, ==, 3);
    g_assert_cmpuint(port, ==, 1024);
    close(peer);
    close(fd);
    close(listener);
}

static void test_name_that_is_taken_does_no_harm(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 2);
    int a = connect_to_port(h, 80);
    int b = connect_to_port(h, 80); /* same name: cannot be bound */

    close(a);
    close(b);
    close(listener);
}

static void test_shared_listener_is_tried_last(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int shared = host_listens_for_all(h, 80, 1);
    int own, a, b;

    a = connect_to_port(h, 80);
    close(unix_accept(shared));
    own = host_listens(h, 80, 1);
    b = connect_to_port(h, 80);
    close(unix_accept(own));
    g_assert_false(unix_has_client(shared));
    close(a);
    close(b);
    close(own);
    close(shared);
}

static void test_dead_listener_does_not_hide_the_shared_one(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int shared = host_listens_for_all(h, 80, 1);
    int fd;

    close(host_listens(h, 80, 1));
    fd = connect_to_port(h, 80);
    close(unix_accept(shared));
    close(fd);
    close(shared);
}

static void test_nobody_listens(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *file = g_strdup_printf("%s_82", h->path);

    expect_no_connect(h, 80, VSK_REFUSED_NO_LISTENER);
    close(host_listens(h, 81, 1)); /* and has died */
    expect_no_connect(h, 81, VSK_REFUSED_NO_LISTENER);
    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    expect_no_connect(h, 82, VSK_REFUSED_NO_LISTENER);
}

static void test_path_too_long_to_connect(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "3.vsock");
    g_autofree char *shared = g_strnfill(200, 's');
    VskHost *host = vsk_host_new(path, true, shared, 5000, NULL);
    VskRefusal why;

    g_assert_nonnull(host);
    g_assert_cmpint(vsk_host_connect(host, 3, 1, 80, VSK_TYPE_STREAM, 1, &why),
                    ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_NO_LISTENER);
    vsk_host_free(host);
    vsk_host_free(NULL);
}

static void test_full_backlog_is_refused(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 0);
    int shared = host_listens_for_all(h, 80, 8);
    int first = connect_to_port(h, 80);

    expect_no_connect(h, 80, VSK_REFUSED_BACKLOG);
    g_assert_false(unix_has_client(shared)); /* its own one is busy, is all */
    close(unix_accept(listener));
    close(connect_to_port(h, 80));
    close(first);
    close(shared);
    close(listener);
}

static void test_no_descriptor_to_connect(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 1);
    VskRefusal why;

    if (!can_limit_fds()) {
        close(listener);
        return;
    }
    limit_fds();
    g_assert_cmpint(vsk_host_connect(h->host, 3, 1, 80, VSK_TYPE_STREAM, 1,
                                     &why), ==, -1);
    unlimit_fds();
    g_assert_cmpint(why, ==, VSK_REFUSED_LIMIT);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/host/" path, fn)
    TEST("connect/to-a-listener", test_connects_to_a_listener);
    TEST("connect/source-can-be-read",
         test_source_can_be_read_by_the_listener);
    TEST("connect/listener-can-send-no-descriptors",
         test_listener_can_send_no_descriptors);
    TEST("connect/taken-name-does-no-harm",
         test_name_that_is_taken_does_no_harm);
    TEST("connect/shared-listener-is-last",
         test_shared_listener_is_tried_last);
    TEST("connect/dead-listener-does-not-hide-the-shared",
         test_dead_listener_does_not_hide_the_shared_one);
    TEST("connect/nobody-listens", test_nobody_listens);
    TEST("connect/path-too-long", test_path_too_long_to_connect);
    TEST("connect/full-backlog-is-refused", test_full_backlog_is_refused);
    TEST("connect/no-descriptor", test_no_descriptor_to_connect);
    return g_test_run();
}
