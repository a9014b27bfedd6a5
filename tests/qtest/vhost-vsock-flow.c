/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What both ends of each flow said about credit.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-flow.h"

struct VvtFlows {
    GHashTable *table; /* both ports in a gint64 → VvtFlow */
};

VvtFlows *vvt_flows_new(void)
{
    VvtFlows *flows = g_new0(VvtFlows, 1);

    flows->table = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                         g_free);
    return flows;
}

void vvt_flows_free(VvtFlows *flows)
{
    if (flows) {
        g_hash_table_destroy(flows->table);
        g_free(flows);
    }
}

void vvt_flows_clear(VvtFlows *flows)
{
    g_hash_table_remove_all(flows->table);
}

VvtFlow *vvt_flows_get(VvtFlows *flows, uint32_t guest_port,
                       uint32_t host_port)
{
    gint64 key = (gint64)((uint64_t)guest_port << 32 | host_port);
    VvtFlow *flow = g_hash_table_lookup(flows->table, &key);

    if (!flow) {
        gint64 *own_key = g_new(gint64, 1);

        *own_key = key;
        flow = g_new0(VvtFlow, 1);
        g_hash_table_insert(flows->table, own_key, flow);
    }
    return flow;
}

void vvt_flows_sent(VvtFlows *flows, const VvtHdr *hdr)
{
    VvtFlow *flow = vvt_flows_get(flows, hdr->field[VVT_SRC_PORT],
                                  hdr->field[VVT_DST_PORT]);

    switch (hdr->field[VVT_OP]) {
    case VIRTIO_VSOCK_OP_REQUEST:
        memset(flow, 0, sizeof(*flow));
        break;
    case VIRTIO_VSOCK_OP_RW:
        flow->tx_cnt += hdr->field[VVT_LEN];
        break;
    }
    flow->buf_alloc = hdr->field[VVT_BUF_ALLOC];
}

void vvt_flows_received(VvtFlows *flows, const VvtHdr *hdr)
{
    VvtFlow *flow = vvt_flows_get(flows, hdr->field[VVT_DST_PORT],
                                  hdr->field[VVT_SRC_PORT]);

    switch (hdr->field[VVT_OP]) {
    case VIRTIO_VSOCK_OP_REQUEST:
        memset(flow, 0, sizeof(*flow));
        break;
    case VIRTIO_VSOCK_OP_RW:
        flow->rx_cnt += hdr->field[VVT_LEN];
        break;
    }
    flow->peer_buf_alloc = hdr->field[VVT_BUF_ALLOC];
    flow->peer_fwd_cnt = hdr->field[VVT_FWD_CNT];
}

uint32_t vvt_flow_window(const VvtFlow *flow)
{
    uint32_t in_flight = flow->tx_cnt - flow->peer_fwd_cnt;

    return flow->peer_buf_alloc > in_flight ?
           flow->peer_buf_alloc - in_flight : 0;
}
