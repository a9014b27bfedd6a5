/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The agent's verbs that make and end sockets by the thousand.
 */

#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define MAX_HELD 20000           /* sockets that no slot knows */
#define FILL_TICK_US 1000

static int held[MAX_HELD];
static unsigned int n_held;
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;

/* As many descriptors as the held sockets and all others need. */
static void raise_limit(void)
{
    struct rlimit limit = { 2 * MAX_HELD, 2 * MAX_HELD };

    setrlimit(RLIMIT_NOFILE, &limit);
}

static int hold(int fd)
{
    int err = 0;

    pthread_mutex_lock(&held_lock);
    if (n_held < MAX_HELD) {
        held[n_held++] = fd;
    } else {
        close(fd);
        err = ENOSPC;
    }
    pthread_mutex_unlock(&held_lock);
    return err;
}

static int dial(const struct sockaddr_vm *addr, int flags, int *ret_fd)
{
    /* One that does not wait is kept by Linux until its time is over. */
    int fd = flags & SOCK_NONBLOCK
             ? socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)
             : new_socket(SOCK_STREAM | flags);

    *ret_fd = fd;
    return fd < 0 || connect(fd, (void *)addr, sizeof(*addr)) < 0 ? errno : 0;
}

/* hold CID PORT COUNT: connect that many sockets, and keep them */
static void run_hold(Job *job)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = (unsigned int)number(job, 0),
        .svm_port = (unsigned int)number(job, 1),
    };
    uint64_t count = number(job, 2), i = 0;
    int64_t start = now_ms();
    int err = 0;

    raise_limit();
    while (i < count && !err) {
        int fd;

        err = dial(&addr, 0, &fd);
        err = err ? (close(fd), err) : hold(fd);
        i += !err;
    }
    report(job, err, "count=%" PRIu64 " ms=%" PRId64, i, now_ms() - start);
}

/* take LISTENER COUNT: accept that many, and keep them */
static void run_take(Job *job)
{
    uint64_t count = number(job, 1), i = 0;
    int64_t start = now_ms();
    int err = 0;

    raise_limit();
    while (i < count && !err) {
        int fd = accept4(*slot(job, 0), NULL, NULL, SOCK_CLOEXEC);

        err = fd < 0 ? errno : hold(fd);
        i += !err;
    }
    report(job, err, "count=%" PRIu64 " ms=%" PRId64, i, now_ms() - start);
}

/* adopt SLOT INDEX: put one of those that were kept into a slot */
static void run_adopt(Job *job)
{
    uint64_t index = number(job, 1);
    int fd = index < n_held ? dup(held[index]) : -1;

    if (fd < 0) {
        report(job, EBADF, "what=adopt");
        return;
    }
    fill_slot(job, fd);
    report(job, 0, "fd=%d", fd);
}

/*
 * fill QUIET_MS: send on all that were kept as much as goes without waiting,
 * until for so long nothing goes
 */
static void run_fill(Job *job)
{
    static const char block[65536];
    int64_t quiet_ms = (int64_t)number(job, 0);
    int64_t last = now_ms();
    uint64_t count = 0;

    while (now_ms() - last < quiet_ms) {
        for (unsigned int i = 0; i < n_held; i++) {
            ssize_t n = send(held[i], block, sizeof(block),
                             MSG_NOSIGNAL | MSG_DONTWAIT);

            if (n > 0) {
                count += (uint64_t)n;
                last = now_ms();
            }
        }
        usleep(FILL_TICK_US);
    }
    report(job, 0, "count=%" PRIu64, count);
}

/* release: close what was kept */
static void run_release(Job *job)
{
    int64_t start = now_ms();
    unsigned int n;

    pthread_mutex_lock(&held_lock);
    n = n_held;
    while (n_held > 0) {
        close(held[--n_held]);
    }
    pthread_mutex_unlock(&held_lock);
    report(job, 0, "closed=%u ms=%" PRId64, n, now_ms() - start);
}

/*
 * knock CID PORT OTHER COUNT wait|leave: connect that many sockets, to the
 * two ports in turn, and close each at once; without waiting for the answer,
 * if it says leave
 */
static void run_knock(Job *job)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = (unsigned int)number(job, 0),
    };
    int flags = strcmp(job->args[4], "leave") == 0 ? SOCK_NONBLOCK : 0;
    uint64_t count = number(job, 3), connected = 0, reset = 0, left = 0;
    int64_t start = now_ms();
    int last = 0;

    for (uint64_t i = 0; i < count; i++) {
        int fd, err;

        addr.svm_port = (unsigned int)number(job, i % 2 ? 2 : 1);
        err = dial(&addr, flags, &fd);
        connected += err == 0;
        reset += err == ECONNRESET;
        left += err == EINPROGRESS;
        if (err != 0 && err != ECONNRESET && err != EINPROGRESS) {
            last = err;
        }
        close(fd);
    }
    report(job, last, "connected=%" PRIu64 " reset=%" PRIu64 " left=%" PRIu64
           " ms=%" PRId64, connected, reset, left, now_ms() - start);
}

const Verb siege_verbs[] = {
    { "hold", 3, run_hold },
    { "take", 2, run_take },
    { "adopt", 2, run_adopt },
    { "fill", 1, run_fill },
    { "release", 0, run_release },
    { "knock", 5, run_knock },
    { NULL, 0, NULL },
};
