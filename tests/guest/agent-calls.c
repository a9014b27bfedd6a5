/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The agent's verbs that are one system call each, with what it takes and
 * gives in numbers: flags, levels and options are the kernel's own.
 */

#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/errqueue.h>
#include <linux/vm_sockets.h>

#include "pattern.h"

#define MAX_OPTION_SIZE 64
#define PAGE_SIZE       4096
#define CHURN_TICK_MS   1        /* between two signals */

static struct sockaddr_vm address(const Job *job, int arg)
{
    return (struct sockaddr_vm){
        .svm_family = AF_VSOCK,
        .svm_cid = (unsigned int)number(job, arg),
        .svm_port = (unsigned int)number(job, arg + 1),
    };
}

/* socket SLOT [KIND] */
static void run_socket(Job *job)
{
    int fd = new_socket(socket_type(job, 1));
    int err = fd < 0 ? errno : 0;

    fill_slot(job, fd);
    report(job, err, "what=socket");
}

/* bind SLOT CID PORT */
static void run_bind(Job *job)
{
    struct sockaddr_vm addr = address(job, 1);
    socklen_t len = sizeof(addr);
    int fd = *slot(job, 0);
    int err = bind(fd, (void *)&addr, len) < 0 ? errno : 0;

    getsockname(fd, (void *)&addr, &len);
    report(job, err, "port=%u", addr.svm_port);
}

/* dial SLOT CID PORT: connect the socket that is there */
static void run_dial(Job *job)
{
    struct sockaddr_vm addr = address(job, 1);
    int64_t start = now_ms();
    int err = connect(*slot(job, 0), (void *)&addr, sizeof(addr)) < 0
              ? errno : 0;

    report(job, err, "ms=%" PRId64, now_ms() - start);
}

/* setopt SLOT LEVEL NAME HEX */
static void run_setopt(Job *job)
{
    const char *hex = job->args[3];
    uint8_t value[MAX_OPTION_SIZE];
    size_t len = 0;
    unsigned int byte;
    int err;

    while (len < sizeof(value) && sscanf(hex + 2 * len, "%2x", &byte) == 1) {
        value[len++] = (uint8_t)byte;
    }
    err = setsockopt(*slot(job, 0), (int)number(job, 1), (int)number(job, 2),
                     value, (socklen_t)len) < 0 ? errno : 0;
    report(job, err, "len=%zu", len);
}

/* getopt SLOT LEVEL NAME: a number of 4 or 8 bytes */
static void run_getopt(Job *job)
{
    uint64_t value = 0;
    socklen_t len = sizeof(value);
    int err = getsockopt(*slot(job, 0), (int)number(job, 1),
                         (int)number(job, 2), &value, &len) < 0 ? errno : 0;

    report(job, err, "value=%" PRIu64 " len=%u", value, len);
}

/* ioctl SLOT REQUEST: one that tells a number */
static void run_ioctl(Job *job)
{
    int value = 0;
    int err = ioctl(*slot(job, 0), (unsigned long)number(job, 1), &value) < 0
              ? errno : 0;

    report(job, err, "value=%d", value);
}

/* poll SLOT EVENTS TIMEOUT_MS */
static void run_poll(Job *job)
{
    struct pollfd poll_fd = {
        .fd = *slot(job, 0),
        .events = (short)number(job, 1),
    };
    int64_t start = now_ms();
    int err = poll(&poll_fd, 1, (int)number(job, 2)) < 0 ? errno : 0;

    report(job, err, "events=%d ms=%" PRId64, poll_fd.revents,
           now_ms() - start);
}

/*
 * Bytes of the pattern in pages of their own.  With MSG_ZEROCOPY the kernel
 * may read them at any later time, so they stay.
 */
static uint8_t *new_pattern_pages(uint64_t seed, uint64_t at, size_t len)
{
    uint8_t *pages = mmap(NULL, len + 1, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Pattern *pattern = pattern_new(seed);

    pattern->at = at;
    while (pattern->at < at + len) {
        uint64_t n = at + len - pattern->at;
        const uint8_t *data = pattern_next(pattern, &n);

        memcpy(pages + (pattern->at - at), data, n);
        pattern->at += n;
    }
    free(pattern);
    return pages;
}

/* sendmsg SLOT SEED AT COUNT FLAGS: that part of the pattern */
static void run_sendmsg(Job *job)
{
    size_t len = number(job, 3);
    int flags = (int)number(job, 4);
    uint8_t *data = new_pattern_pages(number(job, 1), number(job, 2), len);
    struct iovec iov = { .iov_base = data, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int before = sigpipes();
    int64_t start = now_ms();
    ssize_t n = sendmsg(*slot(job, 0), &msg, flags);

    report(job, n < 0 ? errno : 0, "count=%zd sigpipe=%d ms=%" PRId64, n,
           sigpipes() - before, now_ms() - start);
    if (!(flags & MSG_ZEROCOPY)) {
        munmap(data, len + 1);
    }
}

/* recvmsg SLOT SEED AT SIZE FLAGS: and compare with that part */
static void run_recvmsg(Job *job)
{
    size_t size = number(job, 3);
    uint8_t *want = new_pattern_pages(number(job, 1), number(job, 2), size);
    uint8_t *data = malloc(size + 1);
    struct iovec iov = { .iov_base = data, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int64_t start = now_ms();
    ssize_t n = recvmsg(*slot(job, 0), &msg, (int)number(job, 4));
    int err = n < 0 ? errno : 0;
    ssize_t same = 0;

    while (same < n && same < (ssize_t)size && data[same] == want[same]) {
        same++;
    }
    report(job, err, "count=%zd same=%zd flags=%d ms=%" PRId64, n, same,
           msg.msg_flags, now_ms() - start);
    free(data);
    munmap(want, size + 1);
}

/* badbuffer SLOT send|recv SIZE FLAGS: of the buffer the second half, or all
 * of a small one, is not there */
static void run_badbuffer(Job *job)
{
    size_t size = number(job, 2);
    size_t valid = size / 2 / PAGE_SIZE * PAGE_SIZE;
    int flags = (int)number(job, 3);
    uint8_t *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ssize_t n;
    int err;

    memset(data, 0xbb, valid);
    mprotect(data + valid, size - valid, PROT_NONE);
    n = strcmp(job->args[1], "send") == 0
        ? send(*slot(job, 0), data, size, flags)
        : recv(*slot(job, 0), data, size, flags);
    err = n < 0 ? errno : 0;
    munmap(data, size);
    report(job, err, "count=%zd", n);
}

/* errqueue SLOT: one message of the error queue; of zerocopy sends it tells
 * the first and the last, and whether bytes were copied after all */
static void run_errqueue(Job *job)
{
    char control[256];
    struct msghdr msg = {
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    struct sock_extended_err *err;
    struct cmsghdr *cmsg;

    if (recvmsg(*slot(job, 0), &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        report(job, errno, "what=errqueue");
        return;
    }
    cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg) {
        report(job, ENOMSG, "what=cmsg");
        return;
    }
    err = (struct sock_extended_err *)CMSG_DATA(cmsg);
    report(job, (int)err->ee_errno, "level=%d type=%d origin=%d first=%u "
           "last=%u copied=%d", cmsg->cmsg_level, cmsg->cmsg_type,
           err->ee_origin, err->ee_info, err->ee_data,
           err->ee_code == SO_EE_CODE_ZEROCOPY_COPIED);
}

/* --- Connects that signals break off -------------------------------------- */

typedef struct Churn {
    pthread_t target;
    volatile bool done;
} Churn;

static void *churn_signal(void *opaque)
{
    Churn *churn = opaque;

    while (!churn->done) {
        pthread_kill(churn->target, SIGUSR1);
        usleep(CHURN_TICK_MS * 1000);
    }
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
}

/*
 * churn CID PORT OTHER_CID MS: for that long, connect a socket, which signals
 * break off, and connect it again to a CID that another transport has, or
 * none: the kernel must take the first transport off the socket.
 */
static void run_churn(Job *job)
{
    struct sockaddr_vm addr = address(job, 0), other = addr;
    struct sigaction action = { .sa_handler = on_signal };
    int64_t end = now_ms() + (int64_t)number(job, 3);
    Churn churn = { .target = pthread_self() };
    int count = 0, connected = 0;
    pthread_t thread;

    other.svm_cid = (unsigned int)number(job, 2);
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, churn_signal, &churn);
    while (now_ms() < end) {
        int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

        connected += connect(fd, (void *)&addr, sizeof(addr)) == 0;
        connect(fd, (void *)&other, sizeof(other));
        close(fd);
        count++;
    }
    churn.done = true;
    pthread_join(thread, NULL);
    report(job, 0, "count=%d connected=%d", count, connected);
}

const Verb call_verbs[] = {
    { "socket", 1, run_socket },
    { "bind", 3, run_bind },
    { "dial", 3, run_dial },
    { "setopt", 4, run_setopt },
    { "getopt", 3, run_getopt },
    { "ioctl", 2, run_ioctl },
    { "poll", 3, run_poll },
    { "sendmsg", 5, run_sendmsg },
    { "recvmsg", 5, run_recvmsg },
    { "badbuffer", 4, run_badbuffer },
    { "errqueue", 1, run_errqueue },
    { "churn", 4, run_churn },
    { NULL, 0, NULL },
};
