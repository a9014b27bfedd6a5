/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * State of a VM.  Included by vm*.c only.
 */

#ifndef VHOST_USER_VSOCK_VM_INTERNAL_H
#define VHOST_USER_VSOCK_VM_INTERNAL_H

#include <pthread.h>

#include "listener.h"
#include "queue.h"
#include "session.h"
#include "vm.h"

/* Where the rings stood when they last stopped. */
typedef struct RingState {
    uint16_t base[2]; /* VSK_QUEUE_RX, VSK_QUEUE_TX */
    uint64_t features;
} RingState;

/*
 * The sandbox forbids what a thread does when it starts, and no guest is to be
 * served without it.  So all threads wait here until it is there.
 */
typedef struct Gate {
    pthread_mutex_t mutex; /* ThreadSanitizer does not know GLib's */
    pthread_cond_t changed;
    unsigned int waiting;
    bool open;
} Gate;

struct Vm {
    const VmOptions *options;
    uint64_t cid;
    Loop loop;
    VskDev *dev;
    Queues queues;
    LogRefusals refusals;
    Session session;
    Listener listener;
    LoopWatch connect; /* of the listener: a front-end comes */
    LoopWatch host;    /* of the library */
    LoopWatch stop;
    uint32_t poll_us;
    int stop_fd;
    bool stopping;
    int64_t retry_ms;  /* when to accept again; 0: the listener is watched */
    LogShare accept_log;
    GThread *thread;
    gint ended;        /* atomic: the thread is over, or about to be */
    Gate *gate;        /* the thread waits there first */
    int done_fd;

    /* What the library was told. */
    bool told_ok;
    bool told_paused;
    RingState last;      /* when it was told to pause */
    bool owes_reset;     /* TRANSPORT_RESET, once there is an event queue */
};

/* --- vm-driver.c ---------------------------------------------------------- */

/* Make what the library was told of the driver equal to what is so. */
void vm_settle(Vm *vm);

/* --- vm-front-end.c ------------------------------------------------------- */

/* Set the watches' callbacks. */
void vm_init_watches(Vm *vm);

/* Take the next front-end, or wait for it; the one there is goes. */
void vm_accept(Vm *vm);
void vm_end_session(Vm *vm);

/* The driver made chains available. */
void vm_kick(Vm *vm, VskQueue queue);

/* --- vm-thread.c ---------------------------------------------------------- */

/*
 * Wait for something to do, @timeout_ms at the most (-1: for ever), and do
 * it.
 */
void vm_turn(Vm *vm, int timeout_ms);

/* What the VM's thread runs. */
gpointer vm_thread(gpointer opaque);

#endif /* VHOST_USER_VSOCK_VM_INTERNAL_H */
