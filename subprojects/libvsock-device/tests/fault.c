/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Failure as a parameter.
 */

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_IOV 1024

typedef struct Fault {
    unsigned int calls;
    unsigned int nth;
    unsigned int times; /* 0: none */
    int err;
} Fault;

/* What epoll was told of a descriptor. */
typedef struct Watch {
    int epoll_fd;
    struct epoll_event event;
} Watch;

static Fault faults[FAULT_CALL_NUM];
static unsigned int hits;
static GHashTable *watches; /* of Watch, by descriptor */
static Watch last_closed = { .epoll_fd = -1 };

const char *fault_call_name(FaultCall call)
{
    static const char *const names[] = {
#define X(name, function) [FAULT_##name] = #function,
        FAULT_CALLS(X)
#undef X
    };

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == FAULT_CALL_NUM);
    return names[call];
}

void fault_reset(void)
{
    for (int i = 0; i < FAULT_CALL_NUM; i++) {
        faults[i] = (Fault) { 0 };
    }
    hits = 0;
    last_closed.epoll_fd = -1;
}

void fault_at(FaultCall call, unsigned int nth, unsigned int times, int err)
{
    Fault *fault = &faults[call];

    fault->nth = nth;
    fault->times = times;
    fault->err = err;
}

unsigned int fault_calls(FaultCall call)
{
    return faults[call].calls;
}

unsigned int fault_hits(void)
{
    return hits;
}

/* Count a call.  Returns what is to become of it: 0, all goes well. */
static int count(FaultCall call)
{
    Fault *fault = &faults[call];
    unsigned int n = fault->calls++;

    if (n < fault->nth || n - fault->nth >= fault->times) {
        return 0;
    }
    hits++;
    return fault->err;
}

/* The same of a call that fails or works, true if it is to fail. */
static bool fails(FaultCall call)
{
    int err = count(call);

    if (err > 0) {
        errno = err;
    }
    return err > 0;
}

/* --- What epoll watches -------------------------------------------------- */

static Watch *watch_of(int fd)
{
    return watches ? g_hash_table_lookup(watches, GINT_TO_POINTER(fd)) : NULL;
}

static void set_watch(int epoll_fd, int fd, const struct epoll_event *event)
{
    Watch *watch = g_new(Watch, 1);

    *watch = (Watch) { epoll_fd, *event };
    if (!watches) {
        watches = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    }
    g_hash_table_replace(watches, GINT_TO_POINTER(fd), watch);
}

static void forget_watch(int fd)
{
    Watch *watch = watch_of(fd);

    if (watch) {
        last_closed = *watch;
        g_hash_table_remove(watches, GINT_TO_POINTER(fd));
    }
}

/* Have epoll tell of @fd once more, as it would when there is more. */
static void tell_again(int fd)
{
    Watch *watch = watch_of(fd);

    if (watch && (watch->event.events & EPOLLET)) {
        epoll_ctl(watch->epoll_fd, EPOLL_CTL_MOD, fd, &watch->event);
    }
}

static int tell_of_all(int epoll_fd, struct epoll_event *events, int n,
                       int max)
{
    GHashTableIter iter;
    gpointer value;

    if (last_closed.epoll_fd == epoll_fd && n < max) {
        events[n] = last_closed.event;
        events[n++].events = EPOLLIN | EPOLLOUT;
    }
    g_hash_table_iter_init(&iter, watches);
    while (n < max && g_hash_table_iter_next(&iter, NULL, &value)) {
        const Watch *watch = value;

        if (watch->epoll_fd == epoll_fd) {
            events[n] = watch->event;
            events[n++].events = EPOLLIN | EPOLLOUT;
        }
    }
    return n;
}

/* --- Bytes --------------------------------------------------------------- */

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
           type == SOCK_STREAM;
}

static size_t part_of(size_t len, int err)
{
    return err == FAULT_ONE ? MIN(len, 1) : (len + 1) / 2;
}

/* Bytes that can be read. */
static size_t waiting(int fd)
{
    int n = 0;

    return ioctl(fd, FIONREAD, &n) == 0 ? (size_t)n : 0;
}

/*
 * Let @msg be of part of its bytes only, of which there are @most, with the
 * help of @iov.
 */
static void cut(struct msghdr *msg, struct iovec iov[static MAX_IOV],
                size_t most, int err)
{
    size_t left = 0, n = 0;

    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        left += msg->msg_iov[i].iov_len;
    }
    left = part_of(MIN(left, most), err);
    while (left) {
        iov[n] = msg->msg_iov[n];
        iov[n].iov_len = MIN(iov[n].iov_len, left);
        left -= iov[n++].iov_len;
    }
    msg->msg_iov = iov;
    msg->msg_iovlen = n;
}

/*
 * Whether the transfer of @call on @fd fails; else *@ret_cut says whether it
 * is to be cut, which messages are not.
 */
static bool transfer_fails(FaultCall call, int fd, int *ret_cut)
{
    int err = count(call);

    *ret_cut = err < 0 && is_stream(fd) ? err : 0;
    if ((err < 0 && call != FAULT_SENDMSG) || err == EAGAIN) {
        tell_again(fd);
    }
    if (err > 0) {
        errno = err;
    }
    return err > 0;
}

/* --- The calls ----------------------------------------------------------- */

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_close(int fd);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max,
                      int timeout);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_flock(int fd, int op);
int __wrap_fstat(int fd, struct stat *ret_st);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *len);
int __wrap_listen(int fd, int backlog);
int __wrap_lstat(const char *path, struct stat *ret_st);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_open(const char *path, int flags, ...);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t len);
int __wrap_shutdown(int fd, int how);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_stat(const char *path, struct stat *ret_st);
int __wrap_unlink(const char *path);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    if (!fails(FAULT_ACCEPT4)) {
        return accept4(fd, addr, len, flags);
    }
    if (errno == EAGAIN) {
        tell_again(fd);
    }
    return -1;
}

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return fails(FAULT_BIND) ? -1 : bind(fd, addr, len);
}

int __wrap_close(int fd)
{
    faults[FAULT_CLOSE].calls++;
    forget_watch(fd);
    return close(fd);
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return fails(FAULT_CONNECT) ? -1 : connect(fd, addr, len);
}

int __wrap_epoll_create1(int flags)
{
    return fails(FAULT_EPOLL_CREATE1) ? -1 : epoll_create1(flags);
}

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_DEL) {
        faults[FAULT_EPOLL_CTL].calls++;
        forget_watch(fd);
    } else if (fails(FAULT_EPOLL_CTL)) {
        return -1;
    } else {
        set_watch(epoll_fd, fd, event);
    }
    return epoll_ctl(epoll_fd, op, fd, event);
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max,
                      int timeout)
{
    int err = count(FAULT_EPOLL_WAIT);
    int n;

    if (err > 0) {
        errno = err;
        return -1;
    }
    if (err == FAULT_ONE || err == FAULT_HALF) {
        max = (int)part_of((size_t)max, err);
    }
    n = epoll_wait(epoll_fd, events, max, timeout);
    return err == FAULT_SPURIOUS && n >= 0
           ? tell_of_all(epoll_fd, events, n, max) : n;
}

int __wrap_fchmod(int fd, mode_t mode)
{
    return fails(FAULT_FCHMOD) ? -1 : fchmod(fd, mode);
}

int __wrap_flock(int fd, int op)
{
    return fails(FAULT_FLOCK) ? -1 : flock(fd, op);
}

int __wrap_fstat(int fd, struct stat *ret_st)
{
    return fails(FAULT_FSTAT) ? -1 : fstat(fd, ret_st);
}

/* What these are called where files may have more than 2^31 bytes. */
__typeof__(__wrap_fstat) __wrap_fstat64 __attribute__((alias("__wrap_fstat")));
__typeof__(__wrap_lstat) __wrap_lstat64 __attribute__((alias("__wrap_lstat")));
__typeof__(__wrap_stat) __wrap_stat64 __attribute__((alias("__wrap_stat")));
__typeof__(__wrap_open) __wrap_open64 __attribute__((alias("__wrap_open")));

int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    return fails(FAULT_GETPEERNAME) ? -1 : getpeername(fd, addr, len);
}

int __wrap_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *len)
{
    return fails(FAULT_GETSOCKOPT) ? -1
                                   : getsockopt(fd, level, name, value, len);
}

int __wrap_listen(int fd, int backlog)
{
    return fails(FAULT_LISTEN) ? -1 : listen(fd, backlog);
}

int __wrap_lstat(const char *path, struct stat *ret_st)
{
    return fails(FAULT_LSTAT) ? -1 : lstat(path, ret_st);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return fails(FAULT_MKDIR) ? -1 : mkdir(path, mode);
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    return fails(FAULT_OPEN) ? -1 : open(path, flags, mode);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    return fails(FAULT_POLL) ? -1 : poll(fds, n, timeout);
}

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
    int err;

    if (transfer_fails(FAULT_RECV, fd, &err)) {
        return -1;
    }
    if (err) {
        len = part_of(MIN(len, MAX(waiting(fd), 1)), err);
    }
    return recv(fd, buf, len, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec iov[MAX_IOV];
    struct msghdr part = *msg;
    ssize_t n;
    int err;

    if (transfer_fails(FAULT_RECVMSG, fd, &err)) {
        return -1;
    }
    if (!err) {
        return recvmsg(fd, msg, flags);
    }
    cut(&part, iov, MAX(waiting(fd), 1), err);
    n = recvmsg(fd, &part, flags);
    msg->msg_controllen = part.msg_controllen;
    msg->msg_flags = part.msg_flags;
    return n;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov[MAX_IOV];
    struct msghdr part = *msg;
    int err;

    if (transfer_fails(FAULT_SENDMSG, fd, &err)) {
        if (errno == EPIPE) {
            shutdown(fd, SHUT_WR); /* whoever takes no more reads no more */
            errno = EPIPE;
        }
        return -1;
    }
    if (err) {
        cut(&part, iov, SIZE_MAX, err);
    }
    return sendmsg(fd, &part, flags);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t len)
{
    return fails(FAULT_SETSOCKOPT) ? -1
                                   : setsockopt(fd, level, name, value, len);
}

int __wrap_shutdown(int fd, int how)
{
    faults[FAULT_SHUTDOWN].calls++;
    return shutdown(fd, how);
}

int __wrap_socket(int domain, int type, int protocol)
{
    return fails(FAULT_SOCKET) ? -1 : socket(domain, type, protocol);
}

int __wrap_stat(const char *path, struct stat *ret_st)
{
    return fails(FAULT_STAT) ? -1 : stat(path, ret_st);
}

int __wrap_unlink(const char *path)
{
    return fails(FAULT_UNLINK) ? -1 : unlink(path);
}
