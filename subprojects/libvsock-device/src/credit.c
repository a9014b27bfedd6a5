/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Credit arithmetic (virtio 1.4, 5.10.6.3).
 */

#include "credit.h"

void vsk_credit_init(VskCredit *credit, uint32_t buf_alloc)
{
    *credit = (VskCredit) { .buf_alloc = buf_alloc };
}

void vsk_credit_peer_update(VskCredit *credit, const VskHdr *hdr)
{
    credit->peer_buf_alloc = hdr->buf_alloc;
    credit->peer_fwd_cnt = hdr->fwd_cnt;
}

uint32_t vsk_credit_room(const VskCredit *credit)
{
    /*
     * A peer_fwd_cnt ahead of tx_cnt makes this nearly 2^32: a peer that
     * claims to have taken what was never sent gets nothing more.
     */
    uint32_t in_flight = credit->tx_cnt - credit->peer_fwd_cnt;
    int64_t room = (int64_t)credit->peer_buf_alloc - in_flight;

    return room > 0 ? (uint32_t)room : 0;
}

void vsk_credit_sent(VskCredit *credit, uint32_t len)
{
    g_assert(len <= vsk_credit_room(credit));
    credit->tx_cnt += len;
}

uint32_t vsk_credit_held(const VskCredit *credit)
{
    return credit->rx_cnt - credit->fwd_cnt;
}

bool vsk_credit_received(VskCredit *credit, uint32_t len)
{
    /*
     * Judged by what is held, not by what the guest was last told: it may
     * know more of fwd_cnt than its packet shows, never more than fwd_cnt.
     */
    if ((uint64_t)vsk_credit_held(credit) + len > credit->buf_alloc) {
        return false;
    }
    credit->rx_cnt += len;
    return true;
}

void vsk_credit_consumed(VskCredit *credit, uint32_t len)
{
    g_assert(len <= vsk_credit_held(credit));
    credit->fwd_cnt += len;
}

bool vsk_credit_update_due(const VskCredit *credit)
{
    int64_t window = MIN(credit->buf_alloc, credit->peer_buf_alloc);
    uint32_t seen_in_flight = credit->rx_cnt - credit->told_fwd_cnt;

    return credit->fwd_cnt != credit->told_fwd_cnt &&
           window - seen_in_flight < window / 2 + 1;
}

void vsk_credit_stamp(VskCredit *credit, VskHdr *hdr)
{
    hdr->buf_alloc = credit->buf_alloc;
    hdr->fwd_cnt = credit->fwd_cnt;
    credit->told_fwd_cnt = credit->fwd_cnt;
}
