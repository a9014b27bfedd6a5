/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One front-end's visit: its socket, its messages, its rings.
 */

#ifndef VHOST_USER_VSOCK_SESSION_H
#define VHOST_USER_VSOCK_SESSION_H

#include "libvhost-user.h"
#include "log.h"
#include "loop.h"
#include "message.h"
#include "queue.h"
#include "vsock-device.h"

typedef struct Session {
    /* For its whole life; vm.c sets them. */
    uint64_t cid;
    uint32_t max_queue_size;
    uint64_t features;      /* that the device offers */
    Loop *loop;
    Queues *queues;
    LoopWatch socket;       /* its callback calls session_serve() */
    LoopWatch kicks[VSK_QUEUE_NUM];
    LogBudget budget;

    /* For one front-end. */
    bool active;
    bool failed;            /* the front-end broke the rules: end it */
    bool was_reset;         /* RESET_DEVICE came; vm_settle() clears it */
    bool congested;         /* the front-end does not read its replies */
    int reply_fd;           /* to close when the reply is written; -1: none */
    VuDev vu;               /* libvhost-user's: the socket, and replies */
    MessageReader reader;
    LogShare broken_log;
} Session;

#define SESSION_OF(vu_) \
    ((Session *)((char *)(vu_) - offsetof(Session, vu)))

/* --- session.c ------------------------------------------------------------ */

/* Take a front-end that has connected; @fd becomes the session's. */
bool session_begin(Session *session, int fd);
void session_end(Session *session);

typedef enum SessionResult {
    SESSION_WAITS,  /* no message yet, or no room for a reply */
    SESSION_SERVED, /* one message was handled */
    SESSION_ENDS,   /* the front-end is gone, or has to go: end the session */
} SessionResult;

/* Read and answer one message, if there is one. */
SessionResult session_serve(Session *session);

/* A queue is to stop: nobody hears its kicks any more. */
void session_stop_queue(Session *session, VskQueue queue);

/* Tell the log, and the front-end, that the driver broke a queue. */
void session_tell_broken(Session *session, const char *why);

/* Say what the front-end did wrong, once, and have the session end. */
void session_fail(Session *session, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* --- protocol.c ----------------------------------------------------------- */

extern const VuDevIface protocol_iface;

/* The virtio features of every device here; VSK_F_SEQPACKET comes on top. */
uint64_t protocol_features(void);

#endif /* VHOST_USER_VSOCK_SESSION_H */
