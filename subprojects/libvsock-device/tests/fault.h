/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Failure as a parameter: the Nth system call of a kind that the library makes
 * fails, or does less than it was asked to.
 *
 * Only calls of the library's own objects count, not those of a test that is
 * linked with them: "cc -r -Wl,--wrap=CALL…" makes one object of them, in which
 * every call named below goes to fault.c.  See meson.build.
 *
 * What the kernel promises holds all the same: where a call says that there is
 * nothing more for now, and there is, epoll tells of it once more.  Not so
 * after a short write: the host program's read of it does that.
 */

#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include <stdbool.h>

/* Enumerator and function. */
#define FAULT_CALLS(X) \
    X(ACCEPT4, accept4) \
    X(BIND, bind) \
    X(CLOSE, close) \
    X(CONNECT, connect) \
    X(EPOLL_CREATE1, epoll_create1) \
    X(EPOLL_CTL, epoll_ctl) \
    X(EPOLL_WAIT, epoll_wait) \
    X(FCHMOD, fchmod) \
    X(FLOCK, flock) \
    X(FSTAT, fstat) \
    X(GETPEERNAME, getpeername) \
    X(GETSOCKOPT, getsockopt) \
    X(LISTEN, listen) \
    X(LSTAT, lstat) \
    X(MKDIR, mkdir) \
    X(OPEN, open) \
    X(POLL, poll) \
    X(RECV, recv) \
    X(RECVMSG, recvmsg) \
    X(SENDMSG, sendmsg) \
    X(SETSOCKOPT, setsockopt) \
    X(SHUTDOWN, shutdown) \
    X(SOCKET, socket) \
    X(STAT, stat) \
    X(UNLINK, unlink)

typedef enum FaultCall {
#define X(name, function) FAULT_##name,
    FAULT_CALLS(X)
#undef X
    FAULT_CALL_NUM
} FaultCall;

/* What may stand for an errno, which is positive. */
enum {
    /*
     * A stream socket moves one byte, or half of what was asked or is there;
     * epoll_wait() tells of one event, or of half as many as asked.
     */
    FAULT_ONE = -1,
    FAULT_HALF = -2,
    /*
     * epoll_wait() tells of all that is watched, ready or not, and of what was
     * closed last.
     */
    FAULT_SPURIOUS = -3,
};

/* "sendmsg", say. */
const char *fault_call_name(FaultCall call);

/* From now on no call fails; counting begins anew. */
void fault_reset(void);

/*
 * Of the calls since fault_reset(), number @nth (0 is the first) and the ones
 * after it, @times in all, fail with @err.  One fault for each @call.  close(),
 * shutdown() and EPOLL_CTL_DEL are counted, and never fail: with AF_UNIX they
 * do not.
 */
void fault_at(FaultCall call, unsigned int nth, unsigned int times, int err);

/* Calls since fault_reset(). */
unsigned int fault_calls(FaultCall call);

/* How many of them, of all kinds, have failed. */
unsigned int fault_hits(void);

#endif /* TEST_FAULT_H */
