/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The AF_UNIX socket that nc-vsock -l leaves in the file system: bound only
 * where nobody lives, removed when nc-vsock ends.
 *
 * Theory of operation
 * -------------------
 * A program that is killed leaves its socket behind, and bind() refuses the
 * path from then on.  Such a socket is removed, but never one that is in use:
 *
 * - Whether somebody holds a path is asked by connecting a datagram socket to
 *   it.  The kernel answers ECONNREFUSED for a dead one and EPROTOTYPE for a
 *   live stream socket, bound but not listening yet included.  A stream
 *   socket would become a client that a live listener has to deal with, and
 *   ends one that waits for a single client.
 * - Between the answer and the removal another nc-vsock could do the same
 *   and bind.  So the directory is locked (flock) from the question until
 *   the new socket is bound.
 */

#include "nc-vsock-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* How long another nc-vsock may hold the directory; it needs microseconds. */
#define LOCK_TIMEOUT_MS 5000
#define LOCK_POLL_MS    10

/* What to remove at the end.  @armed is the last to be set. */
static struct {
    char path[VSK_SUN_PATH_SIZE];
    dev_t dev;
    ino_t ino;
    volatile sig_atomic_t armed;
} bound;

/* Async-signal-safe. */
void nc_listener_remove(void)
{
    struct stat st;

    if (!bound.armed) {
        return;
    }
    bound.armed = 0;
    if (lstat(bound.path, &st) == 0 && st.st_dev == bound.dev &&
        st.st_ino == bound.ino) {
        unlink(bound.path);
    }
}

static void on_fatal_signal(int sig)
{
    nc_listener_remove();
    signal(sig, SIG_DFL);
    raise(sig);
}

static const int fatal_signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
#define N_FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

/* Remove the socket on each signal that would end the program. */
static void catch_fatal_signals(void)
{
    struct sigaction act = { .sa_handler = on_fatal_signal };
    struct sigaction old;

    sigfillset(&act.sa_mask);
    for (size_t i = 0; i < N_FATAL_SIGNALS; i++) {
        if (sigaction(fatal_signals[i], NULL, &old) == 0 &&
            old.sa_handler != SIG_IGN) {
            sigaction(fatal_signals[i], &act, NULL);
        }
    }
}

/* Open and lock the directory of @path; closing the result unlocks it. */
static int lock_dir(const char *path)
{
    char dir[VSK_SUN_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    int64_t end = nc_now_ms() + LOCK_TIMEOUT_MS;
    int fd;

    if (!slash) {
        snprintf(dir, sizeof(dir), ".");
    } else if (slash == path) {
        snprintf(dir, sizeof(dir), "/");
    } else {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || nc_now_ms() >= end) {
            int err = -errno;

            close(fd);
            return err;
        }
        poll(NULL, 0, LOCK_POLL_MS);
    }
    return fd;
}

/*
 * Remove a dead socket at @addr.  -EADDRINUSE: it is alive.  -EEXIST: it is
 * something else, which is not ours to remove.
 */
static int remove_dead(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd, err;

    if (lstat(addr->sun_path, &st) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    err = connect(fd, (const void *)addr, sizeof(*addr)) < 0 ? errno : 0;
    close(fd);
    if (err != ECONNREFUSED) {
        return err == EACCES || err == EPERM ? -err : -EADDRINUSE;
    }
    return unlink(addr->sun_path) < 0 ? -errno : 0;
}

/* bind() with mode 0600 from the first moment on. */
static int bind_private(int fd, const struct sockaddr_un *addr)
{
    mode_t mask = umask(0177);
    int err = bind(fd, (const void *)addr, sizeof(*addr)) < 0 ? -errno : 0;

    umask(mask);
    return err;
}

/* Bind @fd and note what to remove, with no signal in between. */
static int bind_and_arm(int fd, const struct sockaddr_un *addr)
{
    sigset_t all, old;
    struct stat st;
    int err;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    err = bind_private(fd, addr);
    if (!err && lstat(addr->sun_path, &st) == 0) {
        memcpy(bound.path, addr->sun_path, sizeof(bound.path));
        bound.dev = st.st_dev;
        bound.ino = st.st_ino;
        bound.armed = 1;
        catch_fatal_signals();
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return err;
}

static int listen_at(int fd, const char *path, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int lock, err;

    memcpy(addr.sun_path, path, strlen(path) + 1);
    lock = lock_dir(path);
    if (lock < 0) {
        return lock;
    }
    err = bind_and_arm(fd, &addr);
    if (err == -EADDRINUSE) {
        err = remove_dead(&addr);
        if (!err) {
            err = bind_and_arm(fd, &addr);
        }
    }
    if (!err && listen(fd, backlog) < 0) {
        err = -errno;
        nc_listener_remove();
    }
    close(lock);
    return err;
}

NcExit nc_listener_open(const char *path, int backlog, int *ret_fd)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : listen_at(fd, path, backlog);

    if (!err) {
        *ret_fd = fd;
        return NC_EXIT_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    switch (err) {
    case -EADDRINUSE:
        nc_error("%s: another program listens there", path);
        break;
    case -EEXIST:
        nc_error("%s: in the way, and not a socket", path);
        break;
    case -EWOULDBLOCK:
        nc_error("%s: another program keeps its directory locked", path);
        break;
    default:
        nc_error("cannot listen at %s: %s", path, strerror(-err));
    }
    return NC_EXIT_LOCAL;
}
