/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * AF_UNIX sockets as host programs use them, in verbs for tests.
 */

#include "unix-socket.h"
#include "vsock-path.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int make_socket(int type, const char *path,
                       struct sockaddr_un *ret_addr)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(strlen(path), <, sizeof(ret_addr->sun_path));
    *ret_addr = (struct sockaddr_un) { .sun_family = AF_UNIX };
    strcpy(ret_addr->sun_path, path);
    return fd;
}

static int bind_socket(int type, const char *path, int backlog)
{
    struct sockaddr_un addr;
    int fd = make_socket(type, path, &addr);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    if (backlog >= 0) {
        g_assert_cmpint(listen(fd, backlog), ==, 0);
    }
    return fd;
}

int unix_bind(const char *path, int backlog)
{
    return bind_socket(SOCK_STREAM, path, backlog);
}

int unix_bind_seqpacket(const char *path, int backlog)
{
    return bind_socket(SOCK_SEQPACKET, path, backlog);
}

static int try_connect(int type, const char *path)
{
    struct sockaddr_un addr;
    int fd = make_socket(type, path, &addr);

    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return fd;
}

int unix_try_connect(const char *path)
{
    return try_connect(SOCK_STREAM, path);
}

int unix_connect_seqpacket(const char *path)
{
    int fd = try_connect(SOCK_SEQPACKET, path);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

int unix_connect(const char *path)
{
    int fd = unix_try_connect(path);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

bool unix_has_client(int listener)
{
    struct pollfd pfd = { .fd = listener, .events = POLLIN };

    return poll(&pfd, 1, 0) > 0;
}

int unix_accept(int listener)
{
    int fd;

    g_assert_true(unix_has_client(listener));
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

void unix_write_bytes(int fd, const void *bytes, size_t len)
{
    g_assert_cmpint(send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT), ==,
                    (ssize_t)len);
}

void unix_write(int fd, const char *text)
{
    unix_write_bytes(fd, text, strlen(text));
}

ssize_t unix_read(int fd, void *buf, size_t len)
{
    ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);

    return n < 0 ? -errno : n;
}

void unix_expect(int fd, const char *text)
{
    size_t len = strlen(text);
    g_autofree char *buf = g_malloc(len + 64);
    ssize_t n = unix_read(fd, buf, len + 64);

    g_assert_cmpint(n, >=, 0);
    g_assert_cmpmem(buf, (size_t)n, text, len);
}

void unix_expect_message(int fd, const char *text)
{
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    g_assert_cmpint(n, >=, 0);
    g_assert_cmpmem(buf, (size_t)n, text, strlen(text));
}

void unix_expect_last(int fd, const char *text)
{
    char byte;

    if (*text) {
        unix_expect(fd, text);
    }
    g_assert_cmpint(unix_read(fd, &byte, 1), ==, 0);
}

void unix_expect_nothing(int fd)
{
    char byte;

    g_assert_cmpint(unix_read(fd, &byte, 1), ==, -EAGAIN);
}

void unix_get_source(int fd, uint64_t *ret_cid, uint32_t *ret_port)
{
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);

    g_assert_cmpint(getpeername(fd, (struct sockaddr *)&addr, &len), ==, 0);
    g_assert_cmpint(vsk_path_parse_source(
                        addr.sun_path,
                        len - offsetof(struct sockaddr_un, sun_path),
                        ret_cid, ret_port), ==, 0);
}

static struct rlimit old_limit;

bool under_valgrind(void)
{
    const char *preload = g_getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}

bool can_limit_fds(void)
{
    if (under_valgrind()) {
        g_test_skip("valgrind's limit of descriptors is not the kernel's");
        return false;
    }
    return true;
}

void limit_fds(void)
{
    struct rlimit limit;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    /* The lowest that is free: from there on, none is to be had. */
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old_limit), ==, 0);
    limit = old_limit;
    limit.rlim_cur = (rlim_t)fd;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

void unlimit_fds(void)
{
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old_limit), ==, 0);
}
