/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the device share: dev.c (the public calls), dev-tx.c,
 * dev-rx.c and dev-event.c (its queues).  For nobody else.
 */

#ifndef VSK_DEV_INTERNAL_H
#define VSK_DEV_INTERNAL_H

#include "vsock-limits.h"
#include "mux.h"

/* The driver and TRANSPORT_RESET (5.10.6.7). */
typedef enum EventState {
    EVENT_NONE,
    EVENT_OWED, /* no buffer for it yet; RX is held */
    EVENT_LATE, /* the same, but RX goes on: it has been held for too long */
    EVENT_SENT, /* RX is held until the driver gives the buffer back */
} EventState;

/* Neighbouring RW packets of one flow, not yet given to the mux. */
typedef struct Batch {
    VskHdr hdr;      /* of the last one; @len is the sum */
    unsigned int n_iov, n_chains;
    struct iovec iov[VSK_TURN_IOV];
    VskChain chains[VSK_BATCH_CHAINS];
} Batch;

struct VskDev {
    const VskDevOps *ops;
    void *opaque;
    VskMux *mux;
    uint64_t guest_cid;
    bool driver_ok;
    bool may_seqpacket; /* as configured */
    bool seqpacket;     /* as negotiated */
    bool paused;
    bool again;        /* more to do than one call may */
    bool pushed;       /* chains that the driver cannot see yet */
    bool tx_stalled;   /* until RX drains */
    bool rx_starved;   /* until the driver gives buffers */
    EventState event;
    int64_t event_at_ms; /* when RX is held no longer */
    unsigned int event_left; /* chains in the queue when it was sent */
    VskStats stats;
    Batch batch;
    VskChain rx_chains[VSK_TURN_CHAINS];
    uint32_t rx_room[VSK_TURN_CHAINS]; /* bytes of payload that each takes */
    struct iovec rx_iov[VSK_TURN_IOV];
};

/* Count a refusal and tell the embedder. */
void vsk_dev_refused(VskDev *dev, VskRefusal why, const VskHdr *hdr);

/* Give a chain back; the driver sees it at the end of the call. */
void vsk_dev_push(VskDev *dev, VskQueue queue, VskChain *chain, uint32_t len);

/* Count the packet in @iov, its header first, and show it to the embedder. */
void vsk_dev_saw_packet(VskDev *dev, bool to_guest, const VskHdr *hdr,
                        const struct iovec *iov, unsigned int n_iov);

/* Take packets until there are none, or no room, or the budget is used. */
void vsk_dev_take_tx(VskDev *dev, int64_t now_ms);

/* Fill RX buffers until nothing waits, or none are left, or the budget is. */
void vsk_dev_fill_rx(VskDev *dev, int64_t now_ms);

/* There may be RX buffers: the driver need not tell of more. */
void vsk_dev_expect_rx(VskDev *dev);

/* Send the event that is owed, if the driver gave a buffer for it. */
void vsk_dev_send_event(VskDev *dev, int64_t now_ms);

/* See whether the driver took the event, or had time enough. */
void vsk_dev_check_event(VskDev *dev, int64_t now_ms);

bool vsk_dev_rx_is_held(const VskDev *dev);

#endif /* VSK_DEV_INTERNAL_H */
