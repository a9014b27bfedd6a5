/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What both ends of each flow said about credit.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-flow.h"

typedef struct FlowKey {
    uint32_t guest_port;
    uint32_t host_port;
    uint32_t type;
} FlowKey;

struct VvtFlows {
    GHashTable *table; /* FlowKey → VvtFlow */
};

static guint key_hash(gconstpointer data)
{
    const FlowKey *key = data;

    return (key->guest_port * 31 + key->host_port) * 31 + key->type;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(FlowKey)) == 0;
}

VvtFlows *vvt_flows_new(void)
{
    VvtFlows *flows = g_new0(VvtFlows, 1);

    flows->table = g_hash_table_new_full(key_hash, key_equal, g_free, g_free);
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

static VvtFlow *get(VvtFlows *flows, const VvtHdr *hdr, VvtField guest,
                    VvtField host)
{
    FlowKey key = {
        .guest_port = hdr->field[guest],
        .host_port = hdr->field[host],
        .type = hdr->field[VVT_TYPE],
    };
    VvtFlow *flow = g_hash_table_lookup(flows->table, &key);

    if (!flow) {
        flow = g_new0(VvtFlow, 1);
        g_hash_table_insert(flows->table, g_memdup2(&key, sizeof(key)), flow);
    }
    return flow;
}

VvtFlow *vvt_flows_of_sent(VvtFlows *flows, const VvtHdr *hdr)
{
    return get(flows, hdr, VVT_SRC_PORT, VVT_DST_PORT);
}

VvtFlow *vvt_flows_of_received(VvtFlows *flows, const VvtHdr *hdr)
{
    return get(flows, hdr, VVT_DST_PORT, VVT_SRC_PORT);
}

bool vvt_hdr_same_flow(const VvtHdr *a, const VvtHdr *b)
{
    return a->field[VVT_SRC_PORT] == b->field[VVT_SRC_PORT] &&
           a->field[VVT_DST_PORT] == b->field[VVT_DST_PORT] &&
           a->field[VVT_TYPE] == b->field[VVT_TYPE];
}

void vvt_flows_sent(VvtFlows *flows, const VvtHdr *hdr)
{
    VvtFlow *flow = vvt_flows_of_sent(flows, hdr);

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
    VvtFlow *flow = vvt_flows_of_received(flows, hdr);

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
