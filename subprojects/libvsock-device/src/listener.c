/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Listening AF_UNIX sockets that are this process's alone.
 *
 * The lock is a flock() on a file, so it ends with its owner however that
 * dies.  The file is removed by its owner, while it holds the lock; whoever
 * then gets a lock on a removed file sees that and starts again.
 */

#include "listener.h"
#include "limits.h"
#include "vsock-path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct VskListener {
    char *path;
    char *lock_path;
    int lock_fd;
    int fds[VSK_TYPE_SEQPACKET + 1]; /* by VskType; -1 until bound: nothing at
                                      * its path is ours before */
    struct stat made[VSK_TYPE_SEQPACKET + 1]; /* the file that bind() made */
};

/* The path of the socket for flows of @type; one that fits, by the check at the
 * start. */
static void path_of(const VskListener *listener, VskType type,
                    char ret[static VSK_SUN_PATH_SIZE])
{
    if (type == VSK_TYPE_SEQPACKET) {
        vsk_path_for_seqpacket(listener->path, ret);
    } else {
        g_strlcpy(ret, listener->path, VSK_SUN_PATH_SIZE);
    }
}

static bool fail(GError **errp, VskError code, const char *what,
                 const char *path, int err)
{
    g_set_error(errp, VSK_ERROR, code, "%s '%s': %s", what, path,
                g_strerror(err));
    return false;
}

/* Whether @path is still the file @a. */
static bool is_file_at(const struct stat *a, const char *path)
{
    struct stat b;

    /* #syscalls lstat newfstatat */
    return lstat(path, &b) == 0 && a->st_dev == b.st_dev &&
           a->st_ino == b.st_ino;
}

/* Whether @fd is still the file at @path. */
static bool is_same_file(int fd, const char *path)
{
    struct stat st;

    return fstat(fd, &st) == 0 && is_file_at(&st, path);
}

/* One try; *@ret_again if the file was removed by its former owner. */
static bool try_lock(VskListener *listener, bool *ret_again, GError **errp)
{
    const char *path = listener->lock_path;

    *ret_again = false;
    listener->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
                             O_NONBLOCK, 0600);
    if (listener->lock_fd < 0) {
        return fail(errp, errno == ELOOP ? VSK_ERROR_UNSAFE : VSK_ERROR_SYSTEM,
                    "cannot open lock", path, errno);
    }
    if (flock(listener->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return fail(errp, VSK_ERROR_SYSTEM, "cannot lock", path, errno);
        }
        g_set_error(errp, VSK_ERROR, VSK_ERROR_CID_TAKEN,
                    "'%s' is in use by another device (it holds '%s'); "
                    "choose another CID or path, or end the other one",
                    listener->path, path);
        return false;
    }
    if (!is_same_file(listener->lock_fd, path)) {
        close(listener->lock_fd);
        listener->lock_fd = -1;
        *ret_again = true;
    }
    return true;
}

static bool take_lock(VskListener *listener, GError **errp)
{
    bool again;

    /* Each turn means that another device has just ended: a few will do. */
    for (int i = 0; i < 100; i++) {
        if (!try_lock(listener, &again, errp)) {
            return false;
        }
        if (!again) {
            return true;
        }
    }
    return fail(errp, VSK_ERROR_SYSTEM, "cannot lock", listener->lock_path,
                EAGAIN);
}

/* Remove what a dead owner of the lock left.  We hold the lock. */
static bool remove_stale(const char *path, GError **errp)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ||
               fail(errp, VSK_ERROR_SYSTEM, "cannot look at", path, errno);
    }
    if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid()) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_UNSAFE,
                    "'%s' exists and is not a socket of this user; remove it "
                    "or choose another path", path);
        return false;
    }
    return unlink(path) == 0 || errno == ENOENT ||
           fail(errp, VSK_ERROR_SYSTEM, "cannot remove stale socket", path,
                errno);
}

static bool start_listening(VskListener *listener, VskType type,
                            GError **errp)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int sock_type = type == VSK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
    int fd, err;

    path_of(listener, type, addr.sun_path);
    if (!remove_stale(addr.sun_path, errp)) {
        return false;
    }
    fd = socket(AF_UNIX, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(errp, VSK_ERROR_SYSTEM, "cannot make a socket for",
                    addr.sun_path, errno);
    }
    /* Before bind(), for Linux gives the file the mode of the socket: there
     * is no moment at which others could connect. */
    if (fchmod(fd, 0600) < 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err = errno;
        close(fd);
        return fail(errp, VSK_ERROR_SYSTEM, "cannot bind to", addr.sun_path,
                    err);
    }
    listener->fds[type] = fd;
    (void)lstat(addr.sun_path, &listener->made[type]); /* else it stays */
    if (listen(fd, VSK_HOST_BACKLOG) < 0) {
        return fail(errp, VSK_ERROR_SYSTEM, "cannot listen at",
                    addr.sun_path, errno);
    }
    return true;
}

VskListener *vsk_listener_new(const char *path, bool seqpacket,
                              GError **errp)
{
    VskListener *listener;

    if (strlen(path) > VSK_PATH_MAX) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "socket path '%s' has %zu bytes; at most %d are possible",
                    path, strlen(path), VSK_PATH_MAX);
        return NULL;
    }
    listener = g_new0(VskListener, 1);
    listener->path = g_strdup(path);
    listener->lock_path = g_strdup_printf("%s.lock", path);
    listener->lock_fd = -1;
    memset(listener->fds, -1, sizeof(listener->fds));
    if (!take_lock(listener, errp)) {
        /* Not ours: closing the descriptor must not remove the file. */
        if (listener->lock_fd >= 0) {
            close(listener->lock_fd);
            listener->lock_fd = -1;
        }
        vsk_listener_free(listener);
        return NULL;
    }
    if (!start_listening(listener, VSK_TYPE_STREAM, errp) ||
        (seqpacket && !start_listening(listener, VSK_TYPE_SEQPACKET, errp))) {
        vsk_listener_free(listener);
        return NULL;
    }
    return listener;
}

void vsk_listener_free(VskListener *listener)
{
    if (!listener) {
        return;
    }
    for (VskType type = 0; type < G_N_ELEMENTS(listener->fds); type++) {
        char path[VSK_SUN_PATH_SIZE];

        if (listener->fds[type] >= 0) {
            path_of(listener, type, path);
            /* Nothing that took its place.  #syscalls unlink unlinkat close */
            if (is_file_at(&listener->made[type], path)) {
                unlink(path);
            }
            close(listener->fds[type]);
        }
    }
    if (listener->lock_fd >= 0) {
        unlink(listener->lock_path);
        close(listener->lock_fd);
    }
    g_free(listener->path);
    g_free(listener->lock_path);
    g_free(listener);
}

int vsk_listener_get_fd(const VskListener *listener, VskType type)
{
    return listener->fds[type];
}

int vsk_listener_accept(VskListener *listener, VskType type)
{
    int fd;

    do {
        /* #syscalls accept4 */
        fd = accept4(listener->fds[type], NULL, NULL,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    return fd < 0 ? -errno : fd;
}
