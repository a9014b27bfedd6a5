/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Models of a guest and of its host's programs for long random runs: they
 * keep to the protocol, and fail the test when the device does not.
 *
 * The bytes of a flow and the lengths of its messages are those of content.h,
 * so each side can tell by itself that it got the other's, in order.
 */

#ifndef TEST_MODELS_H
#define TEST_MODELS_H

#include "vm.h"

/* Where one side of a seqpacket flow is. */
typedef struct Messages {
    uint32_t n;  /* whole ones */
    uint32_t at; /* bytes of the next one */
} Messages;

/* --- The guest ----------------------------------------------------------- */

typedef enum GuestPhase {
    GUEST_CLOSED,
    GUEST_REQUESTED, /* it waits for a RESPONSE */
    GUEST_OPEN,
} GuestPhase;

/* What became of a flow. */
typedef struct GuestEnd {
    uint32_t sent, received;
    Messages out, in;
    uint32_t heard_shut;
    bool was_reset; /* by the device */
} GuestEnd;

typedef struct GuestFlow {
    VskType type;
    uint32_t guest_port, host_port;
    GuestPhase phase;
    uint32_t sent;      /* bytes, and those that the device heard of: */
    uint32_t received, taken;
    Messages out, in;
    uint32_t heard_fwd_cnt, heard_buf_alloc;
    uint32_t shut;      /* flags it has said */
    uint32_t heard_shut;
    bool broken;        /* it broke the rules: no bytes are promised */
    GuestEnd last;      /* of the flow that had these ports before */
} GuestFlow;

typedef struct Guest {
    Vm *vm;
    GRand *rand;
    GPtrArray *flows;   /* of GuestFlow */
    bool refuses;       /* host programs that connect */
    bool hoards;        /* takes nothing of what it receives */
    unsigned int resets; /* RSTs it got */
} Guest;

Guest *guest_new(Vm *vm, GRand *rand);
void guest_free(Guest *guest);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)

/* The flow with these ports, made if there was none. */
GuestFlow *guest_flow(Guest *guest, VskType type, uint32_t guest_port,
                      uint32_t host_port);

/* Look at all packets that came; what they ask for is put into TX. */
void guest_pull(Guest *guest);

/* Put packets into TX, no kick.  An open flow where one is needed. */
void guest_request(Guest *guest, GuestFlow *flow);
void guest_say(Guest *guest, GuestFlow *flow, VskOp op, uint32_t flags);
void guest_reset(Guest *guest, GuestFlow *flow);
void guest_shutdown(Guest *guest, GuestFlow *flow, uint32_t flags);

/* RW of up to @max bytes of one message, as credit allows, in random pieces. */
void guest_send(Guest *guest, GuestFlow *flow, uint32_t max);

/* One byte more than it may. */
void guest_overrun(Guest *guest, GuestFlow *flow);

/* Take up to @max bytes out of its buffer, and say so. */
void guest_take(Guest *guest, GuestFlow *flow, uint32_t max);

/* Give @n RX chains of random layout, with up to @max bytes each. */
void guest_give(Guest *guest, unsigned int n, uint32_t max);

/* Its driver was reset, or told that the transport was. */
void guest_forget(Guest *guest);

/* --- Host programs ------------------------------------------------------- */

typedef struct HostEnd {
    int fd;
    VskType type;
    uint32_t guest_port;
    uint32_t host_port; /* 0: a client that has not got its OK line */
    char line[16];
    unsigned int line_len;
    uint32_t sent, received;
    Messages out, in;
    bool shut_wr, shut_rd;
    bool eof;
    bool may_tear; /* its line may end early */
} HostEnd;

/* A host program with the socket @fd. */
HostEnd *host_end_new(int fd, VskType type);

/* A client that asks for @guest_port. */
HostEnd *host_end_connect(Vm *vm, VskType type, uint32_t guest_port);

/* The next connection at @listener, or NULL. */
HostEnd *host_end_accept(int listener, VskType type, uint32_t host_port);

void host_end_close(HostEnd *end);

/*
 * Read, 64 KiB at most, or write up to @max bytes, or one message; true if
 * there was any.
 */
bool host_end_read(HostEnd *end, uint32_t max);
bool host_end_write(HostEnd *end, uint32_t max);

#endif /* TEST_MODELS_H */
