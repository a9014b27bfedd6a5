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

static bool set_error(GError **errp, const char *path, const char *what)
{
    g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                "socket '%s': %s: %s", path, what, g_strerror(errno));
    return false;
}

/* Whether @path is free for bind(), after a dead program's socket went. */
static bool make_room(const struct sockaddr_un *addr, GError **errp)
{
    const char *path = addr->sun_path;
    struct stat st;
    int fd, ret;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT || set_error(errp, path, "cannot be looked at");
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "'%s' is in the way and is not a socket; remove it, or "
                    "choose another path", path);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return set_error(errp, path, "no socket");
    }
    ret = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ?
          errno : 0;
    close(fd);
    if (ret != ECONNREFUSED && ret != ENOENT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "another program listens on '%s'; end it, or choose "
                    "another path", path);
        return false;
    }
    return unlink(path) == 0 || errno == ENOENT ||
           set_error(errp, path, "a dead program's socket cannot be removed");
}

static bool listen_at(Listener *listener, const char *path, GError **errp)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct stat st;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_NAMETOOLONG, "socket "
                    "path '%s' has more than %zu bytes; choose a shorter one",
                    path, sizeof(addr.sun_path) - 1);
        return false;
    }
    strcpy(addr.sun_path, path);
    if (!make_room(&addr, errp)) {
        return false;
    }
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0);
    /* Linux gives the file the mode of the socket.  Whoever connects is
     * believed to be the guest's VMM. */
    if (listener->fd < 0 || fchmod(listener->fd, 0600) < 0 ||
        bind(listener->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        return set_error(errp, path, "cannot be made");
    }
    if (lstat(path, &st) == 0) {
        listener->path = g_strdup(path);
        listener->dev = st.st_dev;
        listener->ino = st.st_ino;
    }
    return listen(listener->fd, BACKLOG) == 0 ||
           set_error(errp, path, "cannot listen");
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
    return options->fd >= 0 ? use_fd(listener, options->fd, errp)
                            : listen_at(listener, options->socket, errp);
}

void listener_close(Listener *listener)
{
    struct stat st;

    if (listener->fd >= 0) {
        close(listener->fd);
    }
    /* #syscalls lstat newfstatat unlink unlinkat */
    if (listener->path && lstat(listener->path, &st) == 0 &&
        st.st_dev == listener->dev && st.st_ino == listener->ino) {
        unlink(listener->path);
    }
    g_free(listener->path);
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
