/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * RSTs that wait for the guest and belong to no flow.
 */

#include "rsts.h"
#include "pkt.h"

static VskHdr *at(VskRsts *rsts, unsigned int i)
{
    return &rsts->hdrs[(rsts->head + i) % VSK_MAX_ORPHAN_RSTS];
}

bool vsk_rsts_have_room(const VskRsts *rsts)
{
    return rsts->n + 2 <= VSK_MAX_ORPHAN_RSTS;
}

void vsk_rsts_answer(VskRsts *rsts, const VskHdr *hdr)
{
    if (hdr->op == VSK_OP_RST) {
        return; /* 5.10.6.4: never to an RST */
    }
    g_assert(rsts->n < VSK_MAX_ORPHAN_RSTS);
    vsk_hdr_make_rst(hdr, at(rsts, rsts->n++));
}

void vsk_rsts_forget(VskRsts *rsts, const VskHdr *request)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < rsts->n; i++) {
        const VskHdr *rst = at(rsts, i);

        if (rst->dst_port != request->src_port ||
            rst->src_port != request->dst_port ||
            rst->type != request->type) {
            *at(rsts, kept++) = *rst;
        }
    }
    rsts->n = kept;
}

bool vsk_rsts_next(VskRsts *rsts, VskHdr *ret_hdr)
{
    if (!rsts->n) {
        return false;
    }
    *ret_hdr = *at(rsts, 0);
    rsts->head = (rsts->head + 1) % VSK_MAX_ORPHAN_RSTS;
    rsts->n--;
    return true;
}
