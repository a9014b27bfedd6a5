/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest: a virtio socket driver over split rings that keeps the credit
 * and moves the buffers as Linux does, and the program above it in one
 * thread, as on a guest with one processor.
 */

#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include "bench.h"

typedef enum FlowState {
    FLOW_REQUESTED, /* we asked; RESPONSE makes it OPEN */
    FLOW_OPEN,
    FLOW_CLOSING,   /* we sent SHUTDOWN of both ways; RST makes it CLOSED */
    FLOW_CLOSED,    /* freed after the callback */
} FlowState;

typedef struct Flow {
    struct Flow *next_in_bucket;
    struct Flow *next_queued;     /* in a FlowQueue of the program */
    bool is_queued;
    FlowState state;
    bool by_guest;
    bool ended_by_host;           /* a SHUTDOWN or an RST came, unasked */
    uint32_t guest_port, host_port;
    uint32_t peer_buf_alloc, peer_fwd_cnt, tx_cnt;
    uint32_t fwd_cnt, last_fwd_cnt;
    uint64_t sent, received;      /* bytes */
} Flow;

/* Flows that the program has something to do for; each is in it once. */
typedef struct FlowQueue {
    Flow *first, *last;
} FlowQueue;

void flow_queue_push(FlowQueue *queue, Flow *flow);
Flow *flow_queue_pop(FlowQueue *queue);

/* What the program above is told; any may be NULL. */
typedef struct GuestOps {
    void (*opened)(Bench *bench, Flow *flow, void *opaque);
    /* All of @data is then taken to be read. */
    void (*data)(Bench *bench, Flow *flow, const uint8_t *data, uint32_t len,
                 void *opaque);
    /* There is more credit than before. */
    void (*credit)(Bench *bench, Flow *flow, void *opaque);
    /* A REQUEST met an RST; the flow is freed.  NULL: that ends the run. */
    void (*refused)(Bench *bench, void *opaque);
    /* The flow is no more; it is freed on return. */
    void (*closed)(Bench *bench, Flow *flow, void *opaque);
} GuestOps;

/* Start the device of the backend behind @socket. */
Guest *guest_new(Bench *bench, const char *socket, unsigned block);
void guest_free(Guest *guest);

void guest_set_ops(Guest *guest, const GuestOps *ops, void *opaque);

/* The host's REQUESTs to @port are answered; others are refused. */
void guest_listen(Guest *guest, uint32_t port);

/* Ask for a connection with a port of the host. */
Flow *guest_connect(Guest *guest, uint32_t host_port);

/* Bytes that the host has room for. */
uint32_t guest_credit(const Flow *flow);

/*
 * Send up to @len bytes as one packet.  Returns how many went: less without
 * credit, 0 without it or while the ring is full.
 */
uint32_t guest_send(Guest *guest, Flow *flow, const void *data, uint32_t len);

/* Close, as a program does: SHUTDOWN of both ways. */
void guest_close(Guest *guest, Flow *flow);

/* Handle what came; false: nothing did. */
bool guest_turn(Guest *guest);

/* Handle what came; if nothing did, sleep until it does, or a tick. */
void guest_turn_or_wait(Guest *guest);

#endif /* BENCH_GUEST_H */
