/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Connecting, listening and accepting, in either world.
 */

#include "nc-vsock-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
/* After sys/socket.h, on which it depends. */
#include <linux/vm_sockets.h>

/* "OK 4294967295\n" */
#define OK_LINE_MAX 14

static struct timeval to_timeval(int64_t ms)
{
    return (struct timeval) { ms / 1000, ms % 1000 * 1000 };
}

/* Wait for @events on @fd until @end; 0 or a negative errno. */
static int wait_for(int fd, short events, int64_t end)
{
    struct pollfd pfd = { fd, events, 0 };

    for (;;) {
        int64_t left = end < 0 ? -1 : end - nc_now_ms();
        int n;

        if (end >= 0 && left <= 0) {
            return -ETIMEDOUT;
        }
        n = poll(&pfd, 1, (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

/* --- AF_VSOCK ------------------------------------------------------------- */

static int vsock_connect(int fd, const NcPlace *place, int timeout_ms,
                         int64_t end)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = place->cid,
        .svm_port = place->port,
    };
    socklen_t len = sizeof(int);
    int err = 0;

    if (timeout_ms >= 0) {
        /* The kernel's own limit, 2 s, may be the shorter one. */
        struct timeval tv = to_timeval(timeout_ms);

        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv,
                   sizeof(tv));
    }
    if (connect(fd, (const void *)&addr, sizeof(addr)) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return -errno;
    }
    err = wait_for(fd, POLLOUT, end);
    if (err) {
        return err;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
        return -errno;
    }
    return -err;
}

static NcExit connect_vsock(const NcPlace *place, int timeout_ms, int *ret_fd)
{
    int64_t end = timeout_ms < 0 ? -1 : nc_now_ms() + timeout_ms;
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : vsock_connect(fd, place, timeout_ms, end);

    if (!err) {
        *ret_fd = fd;
        return NC_EXIT_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (err == -ECONNRESET || err == -ECONNREFUSED) {
        nc_error("CID %" PRIu32 " refuses port %" PRIu32, place->cid,
                 place->port);
    } else {
        nc_error("cannot connect to CID %" PRIu32 " port %" PRIu32 ": %s",
                 place->cid, place->port, strerror(-err));
    }
    return NC_EXIT_CONN;
}

static NcExit listen_vsock(const NcPlace *place, int backlog, int *ret_fd)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = VMADDR_CID_ANY,
        .svm_port = place->port,
    };
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (const void *)&addr, sizeof(addr)) == 0 &&
        listen(fd, backlog) == 0) {
        *ret_fd = fd;
        return NC_EXIT_OK;
    }
    nc_error("cannot listen on AF_VSOCK port %" PRIu32 ": %s", place->port,
             strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    return NC_EXIT_LOCAL;
}

/* --- The emulator's AF_UNIX sockets --------------------------------------- */

/* connect(), which waits on a full backlog, with a limit. */
static int unix_connect(int fd, const char *path, int timeout_ms)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct timeval tv = to_timeval(timeout_ms);
    const struct timeval none = { 0, 0 };

    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (timeout_ms >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    }
    while (connect(fd, (const void *)&addr, sizeof(addr)) < 0) {
        if (errno == EAGAIN) {
            return -ETIMEDOUT;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
    return 0;
}

static bool is_ok_line(const char *line)
{
    size_t digits;

    if (strncmp(line, "OK ", 3) != 0) {
        return false;
    }
    line += 3;
    digits = strspn(line, "0123456789");
    return digits > 0 && strcmp(line + digits, "\n") == 0;
}

/*
 * Read "OK <port>\n" and not a byte more: the guest's data may stand behind
 * it already.  -ECONNREFUSED: the emulator closed instead.  -EPROTO: this is
 * no such line.
 */
static int read_ok_line(int fd, int64_t end)
{
    char line[OK_LINE_MAX + 1];
    size_t len = 0;

    while (len < OK_LINE_MAX) {
        ssize_t n;
        int err = wait_for(fd, POLLIN, end);

        if (err) {
            return err;
        }
        n = recv(fd, line + len, 1, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return len ? -EPROTO : -ECONNREFUSED;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n > 0 && line[len++] == '\n') {
            line[len] = '\0';
            return is_ok_line(line) ? 0 : -EPROTO;
        }
    }
    return -EPROTO;
}

static int unix_handshake(int fd, uint32_t port, int64_t end)
{
    char line[32];
    int len = snprintf(line, sizeof(line), "CONNECT %" PRIu32 "\n", port);
    ssize_t n = send(fd, line, (size_t)len, MSG_NOSIGNAL);

    if (n < 0) {
        return errno == EPIPE ? -ECONNREFUSED : -errno;
    }
    /* A fresh socket has room for the whole line. */
    return n == len ? read_ok_line(fd, end) : -EPROTO;
}

static void explain_unix_failure(const NcPlace *place, bool reached, int err)
{
    if (reached && err == -ECONNREFUSED) {
        nc_error("%s: the guest refuses port %" PRIu32, place->path,
                 place->port);
    } else if (reached && err == -ETIMEDOUT) {
        nc_error("%s: no answer for port %" PRIu32 " in time", place->path,
                 place->port);
    } else if (reached && err == -EPROTO) {
        nc_error("%s: answered, but not as an emulator of virtio-vsock does",
                 place->path);
    } else if (err == -ECONNREFUSED) {
        nc_error("%s: nobody serves it any more; has the guest ended?",
                 place->path);
    } else {
        nc_error("cannot connect to %s: %s", place->path, strerror(-err));
    }
}

static NcExit connect_unix(const NcPlace *place, int timeout_ms, int *ret_fd)
{
    int64_t end = timeout_ms < 0 ? -1 : nc_now_ms() + timeout_ms;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : unix_connect(fd, place->path, timeout_ms);
    bool reached = !err;

    if (!err) {
        err = unix_handshake(fd, place->port, end);
    }
    if (!err) {
        *ret_fd = fd;
        return NC_EXIT_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    explain_unix_failure(place, reached, err);
    return NC_EXIT_CONN;
}

static NcExit listen_unix(const NcPlace *place, int backlog, int *ret_fd)
{
    int err = place->dir[0] ? vsk_path_prepare_dir(place->dir) : 0;

    if (err == -EPERM) {
        nc_error("%s: belongs to another user, or others may write there",
                 place->dir);
        return NC_EXIT_LOCAL;
    }
    if (err) {
        nc_error("cannot make %s: %s", place->dir, strerror(-err));
        return NC_EXIT_LOCAL;
    }
    return nc_listener_open(place->path, backlog, ret_fd);
}

/* --- Both ----------------------------------------------------------------- */

NcExit nc_socket_connect(const NcPlace *place, int timeout_ms, int *ret_fd)
{
    return place->world == NC_WORLD_VSOCK
           ? connect_vsock(place, timeout_ms, ret_fd)
           : connect_unix(place, timeout_ms, ret_fd);
}

NcExit nc_socket_listen(const NcPlace *place, int backlog, int *ret_fd)
{
    return place->world == NC_WORLD_VSOCK
           ? listen_vsock(place, backlog, ret_fd)
           : listen_unix(place, backlog, ret_fd);
}

int nc_socket_accept(int fd, char ret_peer[static NC_PEER_SIZE])
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } addr;
    socklen_t len = sizeof(addr);
    uint64_t cid;
    uint32_t port;
    int conn = accept4(fd, &addr.any, &len, SOCK_CLOEXEC);

    if (conn < 0) {
        return -errno;
    }
    snprintf(ret_peer, NC_PEER_SIZE, "unknown");
    if (addr.any.sa_family == AF_VSOCK) {
        snprintf(ret_peer, NC_PEER_SIZE, "%u:%u", addr.vm.svm_cid,
                 addr.vm.svm_port);
    } else if (len > offsetof(struct sockaddr_un, sun_path) &&
               vsk_path_parse_source(addr.un.sun_path,
                                     len - offsetof(struct sockaddr_un,
                                                    sun_path),
                                     &cid, &port) == 0) {
        snprintf(ret_peer, NC_PEER_SIZE, "%" PRIu64 ":%" PRIu32, cid, port);
    }
    return conn;
}
