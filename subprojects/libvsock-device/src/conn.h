/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One flow: a handshake and two one-way pipes.
 *
 * A flow does not act on anybody else.  It takes packets and host events,
 * moves bytes between its stream and guest memory, and answers when asked what
 * it wants: a packet to the guest (vsk_conn_owes()), an event
 * (vsk_conn_poll_mask()), a call later (vsk_conn_timer()), or its end
 * (vsk_conn_is_dead()).  What it wants is computed from its state alone, so
 * there is nothing to keep in step.
 *
 * Packets to the guest are debts, not objects: a flow owes at most one of each
 * kind, and the header is made when the packet leaves, with credit as it is
 * then.
 */

#ifndef VSK_CONN_H
#define VSK_CONN_H

#include "credit.h"
#include "stage.h"

/* The guest's side of the handshake. */
typedef enum VskPhase {
    /*
     * A host client waits; REQUEST is owed or sent.  Guest's RESPONSE or RST
     * or the request timeout end this phase.
     */
    VSK_PHASE_REQUESTED,
    /* Both sides may send, as far as their pipes are open. */
    VSK_PHASE_ESTABLISHED,
    /*
     * Over for the guest, whose RST came or whose driver went away.  The
     * stream stays until the host program has taken what is staged.  Not in
     * the table any more: the guest may use the ports again.
     */
    VSK_PHASE_DRAINING,
    /* Nothing left to do but, perhaps, an RST that is owed. */
    VSK_PHASE_DEAD,
} VskPhase;

/* One direction of an established flow. */
typedef enum VskPipe {
    VSK_PIPE_OPEN,
    /* Its source has ended; the sink does not know yet. */
    VSK_PIPE_ENDING,
    /* The sink knows of the end, or takes nothing any more. */
    VSK_PIPE_CLOSED,
} VskPipe;

/* Which of the timeouts runs. */
typedef enum VskTimer {
    VSK_TIMER_NONE,
    VSK_TIMER_REQUEST, /* for a RESPONSE */
    VSK_TIMER_CLOSE,   /* for an answer to SHUTDOWN of both ways */
    VSK_TIMER_WRITE,   /* for memory, to write once more what is staged */
    VSK_TIMER_NUM
} VskTimer;

/* A flow's ports; CIDs are those of the device and VSK_CID_HOST. */
typedef struct VskKey {
    uint32_t guest_port;
    uint32_t host_port;
    uint16_t type; /* VskType */
    uint32_t hash; /* the table's; means nothing to others */
} VskKey;

typedef struct VskConn {
    VskKey key;
    uint64_t guest_cid;
    VskStream *stream; /* owned; NULL once closed */
    VskCredit credit;
    VskStage stage;

    VskPhase phase;
    VskPipe from_guest; /* guest to host */
    VskPipe to_guest;   /* host to guest */

    /* What the host socket is known to allow; events set, -EAGAIN clears. */
    bool readable;
    bool writable;
    bool ends;        /* the host program sends no more than waits there */
    bool urgent;      /* out-of-band data was seen: reads stop before it */
    bool hung_up;     /* both directions of the host socket have ended */
    bool host_deaf;   /* the host program takes no more */
    bool lost;        /* bytes of the guest were lost to a host that closed */
    bool flush_again; /* the socket took all that one call may write */
    bool no_memory;   /* the kernel had none for the last write */
    unsigned int retries; /* timers since the last write that worked */
    bool in_message;  /* a seqpacket message went to the guest in part */

    bool owes_request;
    bool owes_response;
    bool owes_rst;
    bool owes_credit;          /* an answer to CREDIT_REQUEST */
    bool owes_credit_request;  /* see vsk_conn_expire() */
    bool asked_credit;         /* CREDIT_REQUEST sent, not a word since */
    uint32_t guest_shutdown;   /* VSK_SHUTDOWN_* that the guest has said */
    uint32_t told_shutdown;    /* VSK_SHUTDOWN_* that the guest has heard */
    uint32_t burst;            /* RX chains worth having for the next read */

    /* For the owner's lists; no meaning in here. */
    GList ready_link;
    GList timer_link;
    bool is_ready;
    VskTimer timer;          /* the list that timer_link is in */
    int64_t timer_at_ms;
    uint32_t polled;         /* the mask that is registered */
    uint64_t handle;
    bool is_listed;            /* in the table by its ports */
    uint64_t counted;          /* bytes of memory, in VskTrim */
} VskConn;

/**
 * vsk_conn_new_from_guest:
 * @hdr: the guest's REQUEST
 * @stream: a connected stream; the flow owns it
 *
 * Returns: an established flow that owes the RESPONSE.
 */
VskConn *vsk_conn_new_from_guest(const VskHdr *hdr, uint32_t buf_alloc,
                                 VskStream *stream);

/* A flow that owes the REQUEST, for a host client's @stream. */
VskConn *vsk_conn_new_from_host(const VskKey *key, uint64_t guest_cid,
                                uint32_t buf_alloc, VskStream *stream);

/* Close the stream, drop what is staged, free the flow. */
void vsk_conn_free(VskConn *conn);

/**
 * vsk_conn_from_guest:
 * @hdr: a checked packet of this flow, not a REQUEST that opened it
 * @payload: @hdr->len bytes, no more
 * @ret_why: written if and only if false is returned
 *
 * Take one packet.
 *
 * Returns: false if it was refused; what follows from that for the flow, an
 * RST or nothing, has been done.
 */
bool vsk_conn_from_guest(VskConn *conn, const VskHdr *hdr,
                         const struct iovec *payload, unsigned int n_payload,
                         VskRefusal *ret_why);

/* The stream's descriptor reported @events (EPOLL*). */
void vsk_conn_host_event(VskConn *conn, uint32_t events);

/**
 * vsk_conn_expire:
 * @ret_why: written if and only if true is returned
 *
 * The timer that vsk_conn_timer() asked for has run out.
 *
 * A guest that has not answered SHUTDOWN of both ways may have a slow reader:
 * an RST now would cost it what it has not read.  So it is asked once for its
 * credit.  Only one that has taken everything, or gives no answer at all, is
 * reset (5.10.6.5 leaves the time to the implementation).
 *
 * Returns: true if the flow was ended; false if the timer is to run again.
 */
bool vsk_conn_expire(VskConn *conn, VskRefusal *ret_why);

/* End the flow with an RST to the guest; nothing staged is kept. */
void vsk_conn_reset(VskConn *conn);

/* The guest's side has gone without a word: drain what is staged. */
void vsk_conn_orphan(VskConn *conn);

/* Whether a packet to the guest is owed and could be sent now. */
bool vsk_conn_owes(const VskConn *conn);

/* Whether that packet is RW: only these use the payload areas of chains. */
bool vsk_conn_owes_data(const VskConn *conn);

/* How many RX chains are worth having for vsk_conn_read(). */
unsigned int vsk_conn_wants_chains(const VskConn *conn);

/**
 * vsk_conn_next_control:
 * @ret_hdr: written if and only if true is returned
 *
 * Make the next packet without payload that is due: RST, REQUEST, RESPONSE,
 * SHUTDOWN, CREDIT_UPDATE or CREDIT_REQUEST, in this order.  SHUTDOWN is due
 * after the last byte only; a CREDIT_UPDATE nobody asked for only while no
 * data can be sent, for data carries the same news.
 *
 * Returns: false if none is due.
 */
bool vsk_conn_next_control(VskConn *conn, VskHdr *ret_hdr);

typedef enum VskReadResult {
    VSK_READ_NOTHING, /* nothing to send now: see vsk_conn_owes() again */
    VSK_READ_DATA,    /* make packets of it with vsk_conn_make_rw() */
    VSK_READ_TOO_BIG, /* a message that the guest could never take: reset */
} VskReadResult;

/**
 * vsk_conn_read:
 * @iov: payload areas of RX chains, in order
 * @ret_len: bytes read, which are now part of what was sent; written with
 *   VSK_READ_DATA, and then 0 for a message without bytes only
 *
 * Read from the host into guest memory, within the guest's credit: bytes, or
 * of one message as much as fits.
 */
VskReadResult vsk_conn_read(VskConn *conn, const struct iovec *iov,
                            unsigned int n_iov, size_t *ret_len);

/*
 * The header of one RW packet of @len bytes that vsk_conn_read() got; @last:
 * there are no more of them.
 */
void vsk_conn_make_rw(VskConn *conn, uint32_t len, bool last,
                      VskHdr *ret_hdr);

/* EPOLL* bits to wait for on the stream; 0 where there is no stream. */
uint32_t vsk_conn_poll_mask(const VskConn *conn);

/* Whether to report once more what has been reported: asked once. */
bool vsk_conn_poll_again(VskConn *conn);

VskTimer vsk_conn_timer(const VskConn *conn);

/* Whether the guest can still address this flow. */
bool vsk_conn_in_table(const VskConn *conn);

/* Whether it can be freed. */
bool vsk_conn_is_dead(const VskConn *conn);

#endif /* VSK_CONN_H */
