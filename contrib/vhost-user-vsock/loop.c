/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An event loop: descriptors to watch, and a time to be woken at the latest.
 *
 * Plain epoll, for GLib's main loop costs several system calls a turn, and a
 * turn here is often a single packet.
 */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <glib.h>

#include "loop.h"

/* Descriptors of one VM, with room to spare: the rest comes in a next turn. */
#define EVENTS 8

bool loop_init(Loop *loop, GError **errp)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no event loop: %s", g_strerror(errno));
        return false;
    }
    return true;
}

void loop_fini(Loop *loop)
{
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
        loop->epoll_fd = -1;
    }
}

bool loop_watch(Loop *loop, LoopWatch *watch, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    /* #syscalls epoll_ctl */
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        return false;
    }
    watch->fd = fd;
    return true;
}

void loop_change(Loop *loop, LoopWatch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    if (watch->fd >= 0) {
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
    }
}

void loop_unwatch(Loop *loop, LoopWatch *watch)
{
    if (watch->fd >= 0) {
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        watch->fd = -1;
    }
}

unsigned int loop_wait(Loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    unsigned int calls = 0;
    int n;

    /* #syscalls epoll_wait epoll_pwait */
    n = epoll_wait(loop->epoll_fd, events, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        LoopWatch *watch = events[i].data.ptr;

        /* A call before this one may have ended the watch. */
        if (watch->fd >= 0) {
            watch->ready(watch->opaque, events[i].events);
            calls++;
        }
    }
    return calls;
}

int64_t loop_now_ns(void)
{
    struct timespec now;

    /* #syscalls clock_gettime */
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t loop_now_ms(void)
{
    return loop_now_ns() / 1000000;
}
