/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The TX queue: packets of the guest.
 */

#include "dev-internal.h"
#include "pkt.h"

static void return_tx(VskDev *dev, VskChain *chain)
{
    vsk_dev_push(dev, VSK_QUEUE_TX, chain, 0);
}

static void end_batch(VskDev *dev, int64_t now_ms)
{
    Batch *batch = &dev->batch;

    if (!batch->n_chains) {
        return;
    }
    vsk_mux_from_guest(dev->mux, &batch->hdr, batch->iov, batch->n_iov,
                       now_ms);
    for (unsigned int i = 0; i < batch->n_chains; i++) {
        return_tx(dev, &batch->chains[i]);
    }
    batch->n_chains = 0;
    batch->n_iov = 0;
}

/* Whether the next packet is of another message. */
static bool ends_message(const VskHdr *hdr)
{
    return hdr->type == VSK_TYPE_SEQPACKET && (hdr->flags & VSK_SEQ_EOM);
}

static bool fits_batch(const Batch *batch, const VskHdr *hdr,
                       unsigned int n_iov)
{
    return batch->n_chains && batch->n_chains < VSK_BATCH_CHAINS &&
           batch->n_iov + n_iov <= VSK_TURN_IOV &&
           batch->hdr.len + hdr->len <= VSK_TURN_BYTES &&
           !ends_message(&batch->hdr) &&
           batch->hdr.src_port == hdr->src_port &&
           batch->hdr.dst_port == hdr->dst_port &&
           batch->hdr.type == hdr->type;
}

/*
 * Put an RW packet, which has payload, into the batch.  Of a batch, the flags
 * of the last packet count.
 */
static void add_to_batch(VskDev *dev, VskChain *chain, const VskHdr *hdr,
                         int64_t now_ms)
{
    Batch *batch = &dev->batch;
    uint32_t before = 0;
    size_t len;

    if (fits_batch(batch, hdr, chain->n_out)) {
        before = batch->hdr.len;
    } else {
        end_batch(dev, now_ms);
    }
    batch->n_iov += vsk_iov_slice(batch->iov + batch->n_iov,
                                  VSK_TURN_IOV - batch->n_iov, chain->out,
                                  chain->n_out, VSK_HDR_SIZE, hdr->len, &len);
    g_assert(len == hdr->len);
    batch->chains[batch->n_chains++] = *chain;
    batch->hdr = *hdr;
    batch->hdr.len += before;
}

/* Returns the bytes of the packet, for the budget. */
static size_t take_chain(VskDev *dev, VskChain *chain, int64_t now_ms)
{
    VskRefusal why;
    size_t size;
    VskHdr hdr;

    if (!vsk_hdr_decode(chain->out, chain->n_out, &hdr)) {
        vsk_dev_refused(dev, VSK_REFUSED_TX_CHAIN_SHORT, NULL);
        return_tx(dev, chain);
        return 0;
    }
    size = vsk_iov_size(chain->out, chain->n_out) - VSK_HDR_SIZE;
    if (chain->n_out > VSK_MAX_CHAIN_IOV) {
        size = 0;
    }
    if (!vsk_hdr_check(&hdr, size, dev->guest_cid, dev->seqpacket, &why)) {
        end_batch(dev, now_ms);
        vsk_mux_refuse(dev->mux, &hdr, why, now_ms);
        return_tx(dev, chain);
        return 0;
    }
    if (hdr.op != VSK_OP_RW) {
        hdr.len = 0; /* no other op has payload */
    }
    vsk_dev_saw_packet(dev, false, &hdr, chain->out, chain->n_out);
    if (hdr.len) {
        add_to_batch(dev, chain, &hdr, now_ms);
    } else {
        end_batch(dev, now_ms);
        vsk_mux_from_guest(dev->mux, &hdr, NULL, 0, now_ms);
        return_tx(dev, chain);
    }
    return hdr.len;
}

void vsk_dev_take_tx(VskDev *dev, int64_t now_ms)
{
    unsigned int n = 0;
    size_t bytes = 0;
    bool asked = false;
    VskChain chain;

    dev->ops->set_notification(dev->opaque, VSK_QUEUE_TX, false);
    for (;;) {
        dev->tx_stalled = !vsk_mux_can_take(dev->mux);
        if (dev->tx_stalled) {
            break;
        }
        if (n == VSK_CALL_PACKETS || bytes >= VSK_CALL_BYTES) {
            dev->again = true;
            break;
        }
        if (!dev->ops->pop(dev->opaque, VSK_QUEUE_TX, &chain)) {
            /* Flows act on what came, before the driver is let sleep. */
            end_batch(dev, now_ms);
            /* Chains may have come just before; ask once, lest we spin. */
            if (asked || !dev->ops->set_notification(dev->opaque,
                                                     VSK_QUEUE_TX, true)) {
                break;
            }
            asked = true;
            continue;
        }
        asked = false;
        bytes += take_chain(dev, &chain, now_ms);
        n++;
    }
    end_batch(dev, now_ms);
}
