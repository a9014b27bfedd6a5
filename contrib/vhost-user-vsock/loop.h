/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An event loop: descriptors to watch, and a time to be woken at the latest.
 * One thread, no allocation, nothing else.
 */

#ifndef VHOST_USER_VSOCK_LOOP_H
#define VHOST_USER_VSOCK_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef void LoopReady(void *opaque, uint32_t events);

/*
 * Part of what it watches for, which must outlive the loop.  @fd is -1 while
 * nothing is watched.
 */
typedef struct LoopWatch {
    int fd;
    LoopReady *ready;
    void *opaque;
} LoopWatch;

typedef struct Loop {
    int epoll_fd;
} Loop;

bool loop_init(Loop *loop, GError **errp);
void loop_fini(Loop *loop);

/* @events is epoll's; EPOLLET is welcome for descriptors nobody reads. */
bool loop_watch(Loop *loop, LoopWatch *watch, int fd, uint32_t events);
void loop_change(Loop *loop, LoopWatch *watch, uint32_t events);

/*
 * To be called before the descriptor is closed: another process may hold it
 * open, and epoll then goes on reporting it.
 */
void loop_unwatch(Loop *loop, LoopWatch *watch);

/*
 * Wait until something is ready, @timeout_ms at the most (-1: for ever), and
 * call what it is ready for.  Returns how many calls that were.
 */
unsigned int loop_wait(Loop *loop, int timeout_ms);

/* Milliseconds of a clock that never goes back. */
int64_t loop_now_ms(void);

/* The same clock, for short times. */
int64_t loop_now_ns(void);

#endif /* VHOST_USER_VSOCK_LOOP_H */
