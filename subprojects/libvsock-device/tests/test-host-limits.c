/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Limits and faults of the host's side: host.h.
 */

#include "host-fixture.h"
#include "vsock-limits.h"
#include "unix-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- Limits and faults --------------------------------------------------- */

static void test_too_many_clients_without_a_line(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int clients[VSK_MAX_HOST_CLIENTS];
    int one_more;

    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        clients[i] = host_client(h);
    }
    expect_quiet(h); /* as many as there may be */
    one_more = host_client(h);
    expect_drop(h, VSK_REFUSED_HOST_LIMIT);
    expect_quiet(h);
    unix_expect_last(clients[0], ""); /* the oldest */
    for (unsigned int i = 1; i < VSK_MAX_HOST_CLIENTS; i++) {
        unix_expect_nothing(clients[i]);
    }
    unix_write(one_more, "CONNECT 5\n");
    close(expect_client(h, 5));
    unix_write(clients[1], "CONNECT 6\n");
    close(expect_client(h, 6));
    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        close(clients[i]);
    }
    close(one_more);
}

static void test_limit_may_be_lower(void)
{
    static const struct {
        unsigned int asked, kept;
    } rows[] = {
        { 0, 1 }, { 1, 1 }, { 3, 3 }, { UINT_MAX, VSK_MAX_HOST_CLIENTS },
    };

    for (unsigned int r = 0; r < G_N_ELEMENTS(rows); r++) {
        g_autoptr(HostFixture) h = host_fixture_new();
        int clients[VSK_MAX_HOST_CLIENTS + 1];

        vsk_host_set_max_clients(h->host, rows[r].asked);
        for (unsigned int i = 0; i <= rows[r].kept; i++) {
            clients[i] = host_client(h);
        }
        expect_drop(h, VSK_REFUSED_HOST_LIMIT);
        expect_quiet(h);
        unix_expect_last(clients[0], "");
        for (unsigned int i = 1; i <= rows[r].kept; i++) {
            unix_expect_nothing(clients[i]);
            close(clients[i]);
        }
        close(clients[0]);
    }
}

static void test_limit_is_no_limit_for_those_with_a_line(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int clients[2 * VSK_MAX_HOST_CLIENTS];

    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = host_client(h);
        unix_write(clients[i], "CONNECT 5\n");
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        close(expect_client(h, 5));
        close(clients[i]);
    }
    expect_quiet(h);
}

static void test_client_beyond_the_limit_with_its_line(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int clients[VSK_MAX_HOST_CLIENTS];
    int late;

    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        clients[i] = host_client(h);
    }
    expect_quiet(h);
    late = host_client(h);
    unix_write(late, "CONNECT 9\nhi");
    expect_drop(h, VSK_REFUSED_HOST_LIMIT);
    close(expect_client(h, 9));
    expect_quiet(h);
    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        close(clients[i]);
    }
    close(late);
}

/* A client beyond the backlog, or a negative errno. */
static int try_client(const HostFixture *h)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    strcpy(addr.sun_path, h->path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int err = -errno;

        close(fd);
        return err;
    }
    return fd;
}

/* The kernel holds one more than it is told, and drops none. */
static void test_backlog(void)
{
    enum { N = VSK_HOST_BACKLOG + 1 };
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *most = NULL;
    static int clients[N];
    struct rlimit old, limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    limit = old;
    limit.rlim_cur = old.rlim_max;
    if (old.rlim_max < N + 100 || !can_limit_fds() ||
        !g_file_get_contents("/proc/sys/net/core/somaxconn", &most, NULL,
                             NULL) ||
        atoi(most) < VSK_HOST_BACKLOG) {
        g_test_skip("needs 1125 descriptors and net.core.somaxconn of 1024");
        return;
    }
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    for (int i = 0; i < N; i++) {
        clients[i] = try_client(h);
        g_assert_cmpint(clients[i], >=, 0);
        unix_write(clients[i], "CONNECT 5\n");
    }
    g_assert_cmpint(try_client(h), ==, -EAGAIN);
    for (int i = 0; i < N; i++) {
        close(expect_client(h, 5));
        close(clients[i]);
    }
    expect_quiet(h);
    close(try_client(h));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
}

static void test_emfile_is_retried(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int client = host_client(h);

    if (!can_limit_fds()) {
        close(client);
        return;
    }
    unix_write(client, "CONNECT 5\n");
    limit_fds();
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + VSK_ACCEPT_RETRY_MS);
    h->now_ms += VSK_ACCEPT_RETRY_MS - 1;
    expect_quiet(h);
    h->now_ms++;
    expect_quiet(h); /* still none: again later */
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + VSK_ACCEPT_RETRY_MS);
    unlimit_fds();
    expect_quiet(h);
    h->now_ms += VSK_ACCEPT_RETRY_MS;
    close(expect_client(h, 5));
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, -1);
    close(client);
}

/* The next deadline is the earlier one of a client's and a retry's. */
static void test_retry_among_deadlines(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int silent = host_client(h);
    int late;
    int64_t at = h->now_ms + HOST_LINE_TIMEOUT_MS;

    if (!can_limit_fds()) {
        close(silent);
        return;
    }
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, at);
    late = host_client(h);
    limit_fds();
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==,
                    h->now_ms + VSK_ACCEPT_RETRY_MS);
    h->now_ms = at - 1;
    expect_quiet(h);
    g_assert_cmpint(vsk_host_next_deadline(h->host), ==, at);
    unlimit_fds();
    h->now_ms = at;
    expect_drop(h, VSK_REFUSED_HOST_TIMEOUT);
    close(late);
    close(silent);
}

static void test_no_descriptor_for_epoll(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "3.vsock");
    g_autofree char *list = NULL;
    g_autoptr(GError) err = NULL;
    unsigned int before = open_fds();
    int spare[2];

    if (!can_limit_fds()) {
        return;
    }
    /* Two are enough for the lock and the socket. */
    spare[0] = open("/dev/null", O_RDONLY);
    spare[1] = open("/dev/null", O_RDONLY);
    limit_fds();
    close(spare[0]);
    close(spare[1]);
    g_assert_null(vsk_host_new(path, false, NULL, 5000, &err));
    unlimit_fds();
    g_assert_error(err, VSK_ERROR, VSK_ERROR_SYSTEM);
    g_assert_cmpuint(open_fds(), ==, before);
    list = temp_dir_list(dir);
    g_assert_cmpstr(list, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/host/" path, fn)
    TEST("limits/clients-without-a-line",
         test_too_many_clients_without_a_line);
    TEST("limits/may-be-lower", test_limit_may_be_lower);
    TEST("limits/none-for-clients-with-a-line",
         test_limit_is_no_limit_for_those_with_a_line);
    TEST("limits/line-of-the-one-too-many",
         test_client_beyond_the_limit_with_its_line);
    TEST("limits/backlog", test_backlog);
    TEST("faults/emfile-is-retried", test_emfile_is_retried);
    TEST("faults/retry-among-deadlines", test_retry_among_deadlines);
    TEST("faults/no-descriptor-for-epoll", test_no_descriptor_for_epoll);
    return g_test_run();
}
