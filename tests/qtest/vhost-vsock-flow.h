/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What both ends of each flow said about credit, as a guest must remember it.
 */

#ifndef VHOST_VSOCK_FLOW_H
#define VHOST_VSOCK_FLOW_H

#include "vhost-vsock-match.h"

typedef struct VvtFlow {
    uint32_t peer_buf_alloc; /* bytes the host end can hold */
    uint32_t peer_fwd_cnt;   /* bytes it took, modulo 2^32 */
    uint32_t tx_cnt;         /* payload bytes the guest sent, modulo 2^32 */
    uint32_t rx_cnt;         /* payload bytes it received, modulo 2^32 */
    uint32_t buf_alloc;      /* bytes the guest said it can hold */
} VvtFlow;

typedef struct VvtFlows VvtFlows;

VvtFlows *vvt_flows_new(void);
void vvt_flows_free(VvtFlows *flows);
void vvt_flows_clear(VvtFlows *flows);

/* The flow of a packet that the guest sends, or got; made if not there. */
VvtFlow *vvt_flows_of_sent(VvtFlows *flows, const VvtHdr *hdr);
VvtFlow *vvt_flows_of_received(VvtFlows *flows, const VvtHdr *hdr);

/* Whether both are packets of one flow, going the same way. */
bool vvt_hdr_same_flow(const VvtHdr *a, const VvtHdr *b);

/* Learn from a packet that the guest sent, or received. */
void vvt_flows_sent(VvtFlows *flows, const VvtHdr *hdr);
void vvt_flows_received(VvtFlows *flows, const VvtHdr *hdr);

/* Bytes the guest may still send. */
uint32_t vvt_flow_window(const VvtFlow *flow);

#endif /* VHOST_VSOCK_FLOW_H */
