/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A VM's front-end comes and goes, and what its loop calls.
 */

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vm-internal.h"

/* Milliseconds until accept() is tried again when it ran out of something. */
#define ACCEPT_RETRY_MS 100

/* Messages handled in one turn of the loop, so that rings get theirs. */
#define TURN_MESSAGES 16

void vm_end_session(Vm *vm)
{
    session_end(&vm->session);
    vm_settle(vm);
    if (log_has_budget(&vm->session.budget, vm->cid)) {
        log_info(vm->cid, "the VMM has left");
    }
    vm_accept(vm);
}

static void vm_begin_session(Vm *vm, int fd)
{
    if (!session_begin(&vm->session, fd)) {
        log_error(vm->cid, "no memory for a session");
        vm->retry_ms = loop_now_ms() + ACCEPT_RETRY_MS;
        return;
    }
    loop_unwatch(&vm->loop, &vm->connect);
    if (log_has_budget(&vm->session.budget, vm->cid)) {
        log_info(vm->cid, "a VMM has connected");
    }
}

void vm_accept(Vm *vm)
{
    unsigned int unsaid;
    int fd;

    if (vm->session.active) {
        return;
    }
    vm->retry_ms = 0;
    fd = listener_accept(&vm->listener);
    if (fd >= 0) {
        vm_begin_session(vm, fd);
    } else if (fd == -EAGAIN) {
        if (vm->connect.fd < 0) {
            loop_watch(&vm->loop, &vm->connect, vm->listener.fd, EPOLLIN);
        }
    } else if (fd == -ENOTCONN) {
        log_info(vm->cid, "the one connection it was given has ended");
        vm->stopping = true;
    } else {
        if (log_may_speak(&vm->accept_log, &unsaid)) {
            log_warning(vm->cid, "cannot accept a VMM: %s", g_strerror(-fd));
        }
        loop_unwatch(&vm->loop, &vm->connect);
        vm->retry_ms = loop_now_ms() + ACCEPT_RETRY_MS;
    }
}

/* --- What the loop calls -------------------------------------------------- */

static void on_connect(void *opaque, uint32_t events)
{
    vm_accept(opaque);
}

static void on_message(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    for (int i = 0; i < TURN_MESSAGES; i++) {
        switch (session_serve(&vm->session)) {
        case SESSION_WAITS:
            return;
        case SESSION_SERVED:
            /* Before the next: a stop and a start are two things. */
            vm_settle(vm);
            break;
        case SESSION_ENDS:
            vm_end_session(vm);
            return;
        }
    }
}

static void on_host(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    vsk_dev_dispatch(vm->dev, loop_now_ms());
}

void vm_kick(Vm *vm, VskQueue queue)
{
    vsk_dev_kick(vm->dev, queue, loop_now_ms());
}

static void on_kick_rx(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_RX);
}

static void on_kick_tx(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_TX);
}

static void on_kick_event(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_EVENT);
}

static void on_stop(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    loop_unwatch(&vm->loop, &vm->stop); /* once is enough */
    vm->stopping = true;
}

void vm_init_watches(Vm *vm)
{
    static LoopReady *const on_kick[VSK_QUEUE_NUM] = {
        [VSK_QUEUE_RX] = on_kick_rx,
        [VSK_QUEUE_TX] = on_kick_tx,
        [VSK_QUEUE_EVENT] = on_kick_event,
    };

    vm->connect = (LoopWatch) { -1, on_connect, vm };
    vm->host = (LoopWatch) { -1, on_host, vm };
    vm->stop = (LoopWatch) { -1, on_stop, vm };
    vm->session.socket = (LoopWatch) { -1, on_message, vm };
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        vm->session.kicks[i] = (LoopWatch) { -1, on_kick[i], vm };
    }
}
