/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a device may do, and what it must: a model that sees every packet of
 * both directions and aborts when one breaks a rule.
 *
 * Rules, for each flow: no RW beyond the guest's credit; fwd_cnt never ahead of
 * what was sent, and never back; buf_alloc constant; what the host program sent
 * comes in order and with its message boundaries; no word after an RST, and
 * none about a flow that is not.  What host programs read is judged by
 * programs.c, against what is noted here.
 */

#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "vsock-device.h"

#define MODEL_CID 3

/* Lengths of messages, in order. */
#define model_length(lengths, i) g_array_index(lengths, uint32_t, i)

/* Which of a program's listeners a flow went to. */
#define MODEL_PORTS 4
extern const uint32_t model_ports[MODEL_PORTS];

/* -1: none of them */
int model_port_index(uint32_t host_port);

typedef struct ModelFlow {
    VskType type;
    uint32_t guest_port, host_port;
    bool by_host;      /* a host client asked for it */
    bool is_open;      /* both sides may send */
    bool is_over;      /* the guest heard or said RST, or its driver went */
    bool owes_rst;     /* the next that the guest hears is RST */
    bool lossy;        /* nothing is promised for what was sent */
    bool accepted;     /* a program took it from its listener */
    unsigned int generation; /* of the listener */

    /* Payload that the device took, and what it gave. */
    uint64_t from_guest, to_guest;
    GArray *messages_from_guest, *messages_to_guest; /* of uint32_t */
    uint32_t part_from_guest, part_to_guest; /* bytes of the next message */

    bool responded;              /* the guest heard RESPONSE */
    uint32_t buf_alloc, fwd_cnt; /* as the guest last heard */
    uint32_t guest_buf_alloc, guest_fwd_cnt; /* as it last said */
    uint32_t guest_shutdown, told_shutdown;  /* VSK_SHUTDOWN_* */
    int64_t to_guest_at_end;  /* when SEND was told; -1: not yet */
    bool guest_ended;         /* it sends no more: what it had sent counts */
    uint64_t bytes_at_end;
    guint messages_at_end;
} ModelFlow;

typedef struct Model {
    GPtrArray *flows;    /* of ModelFlow, oldest first */
    bool seqpacket;      /* negotiated */
    unsigned int generations[MODEL_PORTS]; /* of listeners */

    /* Something happened that ends flows, or costs what was sent, for a reason
     * that is not seen here: a timeout, a failing system call. */
    bool excused;

    /* A REQUEST that the device took, and has not refused so far. */
    bool has_request;
    VskHdr request;

    /* The flows of host clients, latest last. */
    GPtrArray *by_host;
} Model;

Model *model_new(void);
void model_free(Model *model);

/* The flow that now has these ports, over or not; or NULL. */
ModelFlow *model_find(const Model *model, VskType type, uint32_t guest_port,
                      uint32_t host_port);

/* The device took a packet; a REQUEST counts from model_settle_request() on. */
void model_from_guest(Model *model, const VskHdr *hdr);

/* The device is through with the last REQUEST. */
void model_settle_request(Model *model);

void model_refused(Model *model, VskRefusal why, const VskHdr *hdr);

/* The guest got a packet of @len bytes; aborts if it should not have. */
void model_to_guest(Model *model, const VskHdr *hdr, const uint8_t *payload);

/* All flows end: @told, with an RST for each. */
void model_end_flows(Model *model, bool told);

/* What the guest can send within its credit. */
uint32_t model_room(const ModelFlow *flow);

/* The flow that a program takes from its listener: the oldest of them. */
ModelFlow *model_accept(Model *model, VskType type, uint32_t guest_port,
                        uint32_t host_port);

/* What happens, for a human; silent but with FUZZ_TRACE in the
 * environment. */
void trace(const char *format, ...) G_GNUC_PRINTF(1, 2);

#endif /* FUZZ_MODEL_H */
