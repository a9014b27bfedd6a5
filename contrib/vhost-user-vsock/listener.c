/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The socket where a VMM connects.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib.h>

#include "listener.h"

/* VMMs that wait while another is served. */
#define BACKLOG 128

void listener_init(Listener *listener)
{
    memset(listener, 0, sizeof(*listener));
    listener->fd = -1;
}

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

static bool use_fd(Listener *listener, int fd, GError **errp)
{
    bool is_listening = socket_option(fd, SO_ACCEPTCONN) == 1;
    struct sockaddr_un peer;
    socklen_t len = sizeof(peer);

    if (socket_option(fd, SO_DOMAIN) != AF_UNIX ||
        socket_option(fd, SO_TYPE) != SOCK_STREAM ||
        (!is_listening &&
         getpeername(fd, (struct sockaddr *)&peer, &len) < 0)) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "fd %d is not an AF_UNIX stream socket that listens or "
                    "is connected", fd);
        return false;
    }
    listener->fd = fd;
    listener->is_connection = !is_listening;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "fd %d: %s", fd, g_strerror(errno));
        return false;
    }
    return true;
}

bool listener_open(Listener *listener, const VmOptions *options, GError **errp)
{
    if (options->fd >= 0) {
        return use_fd(listener, options->fd, errp);
    }
    /* Mode 0600, for whoever connects is believed to be the guest's VMM. */
    listener->file = vsk_socket_file_new(options->socket, SOCK_STREAM, BACKLOG,
                                         errp);
    if (listener->file) {
        listener->fd = vsk_socket_file_get_fd(listener->file);
    }
    return listener->file != NULL;
}

void listener_close(Listener *listener)
{
    if (listener->file) {
        vsk_socket_file_free(listener->file);
    } else if (listener->fd >= 0) {
        close(listener->fd);
    }
    listener_init(listener);
}

int listener_accept(Listener *listener)
{
    int fd;

    if (listener->is_connection) {
        fd = listener->fd;
        listener->fd = -1;
        return fd >= 0 ? fd : -ENOTCONN;
    }
    /* #syscalls accept4 */
    fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
    }
    return fd;
}
