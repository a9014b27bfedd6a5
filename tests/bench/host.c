/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How a program of the host reaches the guest, and is reached.
 */

#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define PATIENCE_US 100000
#define LINE_MAX_LEN 32

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    if (g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)) >=
        sizeof(addr.sun_path)) {
        bench_die("%s is too long for a socket", path);
    }
    return addr;
}

int host_listen(const char *path)
{
    struct sockaddr_un addr = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, BACKLOG) < 0) {
        bench_die_errno(path);
    }
    return fd;
}

int host_accept(int listener)
{
    int fd;

    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno != EAGAIN) {
        bench_die_errno("accept");
    }
    return fd;
}

int host_connect(const char *path)
{
    struct sockaddr_un addr = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    do {
        rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        bench_die_errno(path);
    }
    return fd;
}

void host_send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    ssize_t n;

    while (len > 0) {
        n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            bench_die_errno("send");
        }
        at += n;
        len -= n;
    }
}

bool host_recv_all(int fd, void *data, size_t len)
{
    uint8_t *at = data;
    ssize_t n;

    while (len > 0) {
        n = recv(fd, at, len, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            bench_die_errno("recv");
        }
        if (n == 0) {
            return false;
        }
        at += n;
        len -= n;
    }
    return true;
}

int host_begin_connect(const Bench *bench, unsigned port)
{
    char line[LINE_MAX_LEN];
    g_autofree char *path = NULL;
    int fd;

    if (!bench->program) {
        path = bench_raw_path(bench, port);
        return host_connect(path);
    }
    fd = host_connect(bench->uds);
    host_send_all(fd, line, snprintf(line, sizeof(line), "CONNECT %u\n",
                                     port));
    return fd;
}

void host_end_connect(const Bench *bench, int fd)
{
    char line[LINE_MAX_LEN];
    ssize_t n;

    if (!bench->program) {
        return;
    }
    /* The guest says nothing unasked: the line is all that can be there. */
    do {
        n = recv(fd, line, sizeof(line), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 5 || memcmp(line, "OK ", 3) != 0 || line[n - 1] != '\n') {
        bench_die("no OK to a CONNECT, but %zd bytes", n);
    }
}

int host_connect_guest(const Bench *bench, unsigned port)
{
    int fd = host_begin_connect(bench, port);

    host_end_connect(bench, fd);
    return fd;
}

void host_set_patience(int fd)
{
    struct timeval timeout = { .tv_usec = PATIENCE_US };

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
                   sizeof(timeout)) < 0) {
        bench_die_errno("SO_RCVTIMEO");
    }
}

void host_set_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        bench_die_errno("O_NONBLOCK");
    }
}
