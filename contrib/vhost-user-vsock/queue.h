/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The virtqueues of one VM: how its front-end sets them up, and what
 * libvsock-device wants of them.
 */

#ifndef VHOST_USER_VSOCK_QUEUE_H
#define VHOST_USER_VSOCK_QUEUE_H

#include "inflight.h"
#include "log.h"
#include "memory.h"
#include "vsock-device.h"
#include "vsock-vring.h"

/* Where a queue's parts are, in the front-end's addresses. */
typedef struct QueueAddr {
    uint64_t desc;
    uint64_t avail;
    uint64_t used;
    uint64_t used_gpa; /* for the log of writes */
} QueueAddr;

typedef struct Queue {
    unsigned int num;  /* 0: not told yet */
    QueueAddr addr;
    uint16_t base;     /* chains taken: where to begin, or to go on */
    bool started;
    bool enabled;
    int kick_fd;       /* -1: none */
    int call_fd;
    int err_fd;
    VskVring *vring;   /* while it is started */
    const char *broken; /* by the driver, in a vring before that one */
    bool unfit;        /* the driver's choice cannot be: it does not start */
    bool wants_notify; /* what the library asked for */
    bool late_call;    /* the driver is to be called, before long */
    uint16_t called;   /* the queue's base at the last call */
} Queue;

typedef struct Queues {
    Queue queue[VSK_QUEUE_NUM];
    Memory memory;
    Inflight inflight;
    uint64_t features;      /* that were negotiated */
    bool memory_lost;       /* the front-end cut it: see guard.h */
    bool polling;           /* drivers need not notify: we look */
    uint64_t work;          /* chains taken, ever */
    LogRefusals *refusals;
} Queues;

/* What libvsock-device calls; their opaque is a Queues. */
extern const VskDevOps queue_ops;

void queues_init(Queues *queues, LogRefusals *refusals);

/* All that a front-end brought goes. */
void queues_clear(Queues *queues);

/* A reset: as after queues_init(), but memory and call descriptors stay. */
void queues_reset(Queues *queues);

/* Whether the driver may use it: started by the front-end, and enabled. */
bool queue_is_ready(const Queues *queues, VskQueue queue);

/* The chains taken so far, modulo 2^16. */
uint16_t queue_base(const Queues *queues, VskQueue queue);

/*
 * What a driver did wrong, so that its queues are no longer used; NULL: none
 * did.
 */
const char *queues_broken(const Queues *queues);

/* Whether @addr is all in memory, for a queue of @num. */
bool queue_addr_is_valid(const Queues *queues, const QueueAddr *addr,
                         unsigned int num);

/* Begin at the queue's base.  False: it is not (yet) where it could run. */
bool queue_start(Queues *queues, VskQueue queue);
void queue_stop(Queues *queues, VskQueue queue);

/*
 * A running queue has @addr now, or memory changed: find it anew.  False: it
 * is not there, and stops.
 */
bool queue_move(Queues *queues, VskQueue queue, const QueueAddr *addr);
bool queues_remap(Queues *queues);

/*
 * Between these two drivers are not asked to notify.  The second returns
 * a mask of queues that have chains of which nobody told.
 */
void queues_begin_polling(Queues *queues);
unsigned int queues_end_polling(Queues *queues);

/* While polling: call drivers that were left to sleep until now. */
void queues_make_late_calls(Queues *queues);

/* While polling: a mask of queues that have chains. */
unsigned int queues_poll(const Queues *queues);

#endif /* VHOST_USER_VSOCK_QUEUE_H */
