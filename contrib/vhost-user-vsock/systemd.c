/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a service manager and a service tell each other, without its library.
 * sd_listen_fds(3) and sd_notify(3) say how.
 */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib.h>

#include "systemd.h"

#define FIRST_FD 3

int systemd_listen_fds(int *ret_first)
{
    const char *pid = g_getenv("LISTEN_PID");
    const char *fds = g_getenv("LISTEN_FDS");
    int n = 0;

    if (pid && fds && strtol(pid, NULL, 10) == getpid()) {
        n = strtol(fds, NULL, 10);
    }
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    g_unsetenv("LISTEN_FDNAMES");
    *ret_first = FIRST_FD;
    return MAX(n, 0);
}

void systemd_notify(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    size_t len;
    int fd;

    if (!path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    len = strlen(path);
    if (len >= sizeof(addr.sun_path)) {
        return;
    }
    memcpy(addr.sun_path, path, len);
    if (path[0] == '@') {
        addr.sun_path[0] = 0; /* an abstract name */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    /* Nobody to tell is no mistake of ours. #syscalls socket sendto */
    sendto(fd, state, strlen(state), MSG_NOSIGNAL,
           (struct sockaddr *)&addr,
           offsetof(struct sockaddr_un, sun_path) + len);
    close(fd);
}
