/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The host's side under test.
 */

#include "host-fixture.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <poll.h>

HostFixture *host_fixture_new(void)
{
    g_autoptr(GError) err = NULL;
    HostFixture *h = g_new0(HostFixture, 1);

    h->dir = temp_dir_new();
    h->path = temp_dir_file(h->dir, "3.vsock");
    h->shared = temp_dir_file(h->dir, "2.vsock");
    h->now_ms = 1000;
    h->unique = unique_seed();
    h->host = vsk_host_new(h->path, true, h->shared, HOST_LINE_TIMEOUT_MS,
                           &err);
    g_assert_no_error(err);
    return h;
}

void host_fixture_free(HostFixture *h)
{
    if (h) {
        vsk_host_free(h->host);
        temp_dir_free(h->dir);
        g_free(h->path);
        g_free(h->shared);
        g_free(h);
    }
}

int host_client(HostFixture *h)
{
    return unix_connect(h->path);
}

int host_seqpacket_client(HostFixture *h)
{
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_seqpacket(h->path, path), ==, 0);
    return unix_connect_seqpacket(path);
}

static VskHostResult next_but_silent(HostFixture *h, VskHostNews *ret_news)
{
    VskHostResult result;

    do {
        result = vsk_host_next(h->host, h->now_ms, ret_news);
    } while (result == VSK_HOST_SILENT);
    return result;
}

int expect_client(HostFixture *h, uint32_t port)
{
    VskHostNews news;

    g_assert_cmpint(next_but_silent(h, &news), ==,
                    VSK_HOST_CLIENT);
    g_assert_cmpuint(news.port, ==, port);
    g_assert_cmpint(news.fd, >=, 0);
    h->type = news.type;
    return news.fd;
}

void expect_drop(HostFixture *h, VskRefusal why)
{
    VskHostNews news;

    g_assert_cmpint(next_but_silent(h, &news), ==,
                    VSK_HOST_REFUSED);
    g_assert_cmpint(news.why, ==, why);
}

void expect_quiet(HostFixture *h)
{
    struct pollfd pfd = { .fd = vsk_host_get_fd(h->host), .events = POLLIN };
    VskHostNews news;

    g_assert_cmpint(next_but_silent(h, &news), ==,
                    VSK_HOST_NOTHING);
    g_assert_cmpint(poll(&pfd, 1, 0), ==, 0);
}

static int listen_for(const char *base, VskType type, uint32_t port,
                      int backlog)
{
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_port(base, port, path), ==, 0);
    return type == VSK_TYPE_SEQPACKET ? unix_bind_seqpacket(path, backlog)
                                      : unix_bind(path, backlog);
}

int host_listens(HostFixture *h, uint32_t port, int backlog)
{
    return listen_for(h->path, VSK_TYPE_STREAM, port, backlog);
}

int host_listens_for_all(HostFixture *h, uint32_t port, int backlog)
{
    return listen_for(h->shared, VSK_TYPE_STREAM, port, backlog);
}

int host_listens_seqpacket(HostFixture *h, uint32_t port, int backlog)
{
    return listen_for(h->path, VSK_TYPE_SEQPACKET, port, backlog);
}

int host_listens_seqpacket_for_all(HostFixture *h, uint32_t port, int backlog)
{
    return listen_for(h->shared, VSK_TYPE_SEQPACKET, port, backlog);
}
