/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Listening AF_UNIX sockets that are this process's alone.
 *
 * The lock is a flock() on a file, so it ends with its owner however that
 * dies.  The file is removed by its owner, while it holds the lock; whoever
 * then gets a lock on a removed file sees that and starts again.
 */

#include "vsock-socket-file.h"
#include "vsock-device.h"
#include "vsock-path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct VskSocketFile {
    struct sockaddr_un addr;
    char *lock_path;
    int lock_fd;
    int fd; /* -1 until bound: nothing at the path is ours before */
    struct stat made; /* the file that bind() made */
};

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

/* --- The lock ------------------------------------------------------------ */

/*
 * Whether nobody else has a hand in this file: another user could hold the lock
 * of a file of his for ever, and a second name may be some program's data.
 */
static bool is_own_lock(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
           st->st_nlink <= 1; /* 0: its former owner has removed it */
}

static bool refuse_lock(const char *path, GError **errp)
{
    g_set_error(errp, VSK_ERROR, VSK_ERROR_UNSAFE,
                "lock '%s' is not a file of this user's alone; remove it or "
                "choose another path", path);
    return false;
}

static bool open_lock(VskSocketFile *file, GError **errp)
{
    const char *path = file->lock_path;
    struct stat st;
    int err;

    file->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
                         O_NONBLOCK | O_NOCTTY, 0600);
    if (file->lock_fd < 0) {
        err = errno;
        return lstat(path, &st) == 0 && !is_own_lock(&st)
               ? refuse_lock(path, errp)
               : fail(errp, VSK_ERROR_SYSTEM, "cannot open lock", path, err);
    }
    return (fstat(file->lock_fd, &st) == 0 && is_own_lock(&st)) ||
           refuse_lock(path, errp);
}

/* One try; *@ret_again if the file was removed by its former owner. */
static bool try_lock(VskSocketFile *file, bool *ret_again, GError **errp)
{
    const char *path = file->lock_path;
    struct stat st;

    *ret_again = false;
    if (!open_lock(file, errp)) {
        return false;
    }
    if (flock(file->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return fail(errp, VSK_ERROR_SYSTEM, "cannot lock", path, errno);
        }
        g_set_error(errp, VSK_ERROR, VSK_ERROR_CID_TAKEN,
                    "'%s' is in use by another device (it holds '%s'); "
                    "choose another CID or path, or end the other one",
                    file->addr.sun_path, path);
        return false;
    }
    if (fstat(file->lock_fd, &st) < 0 || !is_file_at(&st, path)) {
        close(file->lock_fd);
        file->lock_fd = -1;
        *ret_again = true;
    }
    return true;
}

static bool take_lock(VskSocketFile *file, GError **errp)
{
    bool again;

    /* Each turn means that another device has just ended: a few will do. */
    for (int i = 0; i < 100; i++) {
        if (!try_lock(file, &again, errp)) {
            if (file->lock_fd >= 0) {
                close(file->lock_fd);
                file->lock_fd = -1; /* not ours to remove */
            }
            return false;
        }
        if (!again) {
            return true;
        }
    }
    return fail(errp, VSK_ERROR_SYSTEM, "cannot lock", file->lock_path,
                EAGAIN);
}

/* --- The socket ---------------------------------------------------------- */

/*
 * Whether the socket at the path is dead: no socket of a process is bound to
 * that file any more.
 *
 * The kernel says so to whoever wants to connect, by ECONNREFUSED.  A live
 * listener takes no notice, for a datagram socket cannot connect to it, and
 * gets EPROTOTYPE; of another datagram socket it becomes a peer that sends
 * nothing.  The lock keeps others of us from coming in between this and
 * unlink().  Nothing keeps a program that does not use it from it: should one
 * have bound just then, its socket is removed.
 */
static bool is_dead(const VskSocketFile *file, GError **errp)
{
    const char *path = file->addr.sun_path;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0) {
        return fail(errp, VSK_ERROR_SYSTEM, "cannot make a socket for", path,
                    errno);
    }
    err = connect(fd, (const struct sockaddr *)&file->addr,
                  sizeof(file->addr)) < 0 ? errno : 0;
    close(fd);
    switch (err) {
    case ECONNREFUSED:
    case ENOENT:
        return true;
    case 0:
    case EPERM: /* a datagram socket that has another peer */
    case EPROTOTYPE:
        g_set_error(errp, VSK_ERROR, VSK_ERROR_CID_TAKEN,
                    "'%s' is in use: another program listens on it; end that "
                    "one, or choose another path", path);
        return false;
    default:
        return fail(errp, VSK_ERROR_SYSTEM, "cannot see whether a program "
                    "listens on", path, err);
    }
}

/* Remove what a dead owner of the lock left.  We hold the lock. */
static bool remove_stale(const VskSocketFile *file, GError **errp)
{
    const char *path = file->addr.sun_path;
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
    if (!is_dead(file, errp)) {
        return false;
    }
    return unlink(path) == 0 || errno == ENOENT ||
           fail(errp, VSK_ERROR_SYSTEM, "cannot remove stale socket", path,
                errno);
}

static bool start_listening(VskSocketFile *file, int sock_type, int backlog,
                            GError **errp)
{
    const char *path = file->addr.sun_path;
    int fd, err;

    if (!remove_stale(file, errp)) {
        return false;
    }
    fd = socket(AF_UNIX, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(errp, VSK_ERROR_SYSTEM, "cannot make a socket for", path,
                    errno);
    }
    /*
     * Before bind(), for Linux gives the file the mode of the socket: there
     * is no moment at which others could connect.
     */
    if (fchmod(fd, 0600) < 0 ||
        bind(fd, (struct sockaddr *)&file->addr, sizeof(file->addr)) < 0) {
        err = errno;
        close(fd);
        return fail(errp, VSK_ERROR_SYSTEM, "cannot bind to", path, err);
    }
    file->fd = fd;
    (void)lstat(path, &file->made); /* else it stays */
    if (listen(fd, backlog) < 0) {
        return fail(errp, VSK_ERROR_SYSTEM, "cannot listen at", path, errno);
    }
    return true;
}

VskSocketFile *vsk_socket_file_new(const char *path, int sock_type,
                                   int backlog, GError **errp)
{
    VskSocketFile *file;

    if (strlen(path) >= VSK_SUN_PATH_SIZE) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "socket path '%s' has %zu bytes; at most %d are possible",
                    path, strlen(path), VSK_SUN_PATH_SIZE - 1);
        return NULL;
    }
    file = g_new0(VskSocketFile, 1);
    file->addr.sun_family = AF_UNIX;
    strcpy(file->addr.sun_path, path);
    file->lock_path = g_strdup_printf("%s.lock", path);
    file->lock_fd = -1;
    file->fd = -1;
    if (!take_lock(file, errp) ||
        !start_listening(file, sock_type, backlog, errp)) {
        vsk_socket_file_free(file);
        return NULL;
    }
    return file;
}

void vsk_socket_file_free(VskSocketFile *file)
{
    if (!file) {
        return;
    }
    if (file->fd >= 0) {
        /* Nothing that took its place.  #syscalls unlink unlinkat close */
        if (is_file_at(&file->made, file->addr.sun_path)) {
            unlink(file->addr.sun_path);
        }
        close(file->fd);
    }
    if (file->lock_fd >= 0) {
        unlink(file->lock_path);
        close(file->lock_fd);
    }
    g_free(file->lock_path);
    g_free(file);
}

int vsk_socket_file_get_fd(const VskSocketFile *file)
{
    return file->fd;
}
