/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Credit: how much each side of a flow may still send (virtio 1.4, 5.10.6.3).
 *
 * Six counters and the arithmetic on them, and nothing else.  Counters on the
 * wire are modulo 2^32; what they mean is computed in 64 bits and clamped, so
 * that a peer which shrinks its buffer or lies about what it took never
 * yields more room, only less.
 *
 * All sizes are bytes.
 */

#ifndef VSK_CREDIT_H
#define VSK_CREDIT_H

#include "vsock-device.h"

typedef struct VskCredit {
    /* To the guest. */
    uint32_t tx_cnt;         /* sent by us, modulo 2^32 */
    uint32_t peer_buf_alloc; /* as the guest last said */
    uint32_t peer_fwd_cnt;   /* as the guest last said */

    /* From the guest. */
    uint32_t buf_alloc;      /* what we advertise; constant */
    uint32_t rx_cnt;         /* received from the guest, modulo 2^32 */
    uint32_t fwd_cnt;        /* passed on to the host, modulo 2^32 */
    uint32_t told_fwd_cnt;   /* fwd_cnt as the guest last heard it */
} VskCredit;

void vsk_credit_init(VskCredit *credit, uint32_t buf_alloc);

/* Learn what the header of any packet of the flow says about its sender. */
void vsk_credit_peer_update(VskCredit *credit, const VskHdr *hdr);

/* What the guest can still take from us. */
uint32_t vsk_credit_room(const VskCredit *credit);

/* Use up @len of the room; @len <= vsk_credit_room(). */
void vsk_credit_sent(VskCredit *credit, uint32_t len);

/*
 * The guest sent @len.  False if that is more than it was allowed; nothing
 * has changed then, and the flow is to be reset.
 */
bool vsk_credit_received(VskCredit *credit, uint32_t len);

/* The host took @len of what was received. */
void vsk_credit_consumed(VskCredit *credit, uint32_t len);

/* Received, and not yet taken by the host. */
uint32_t vsk_credit_held(const VskCredit *credit);

/*
 * Whether the guest ought to be told of what was consumed before it stalls: it
 * sees less than half of the window it works with, which is the smaller of
 * our buffer and its own (Linux caps the one by the other), and
 * telling it would show it more.
 */
bool vsk_credit_update_due(const VskCredit *credit);

/* Write our side into the header of a packet that is sent now. */
void vsk_credit_stamp(VskCredit *credit, VskHdr *hdr);

#endif /* VSK_CREDIT_H */
