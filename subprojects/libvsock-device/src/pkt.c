/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The packet header (virtio 1.4, 5.10.6) and scattered memory.
 */

#include "pkt.h"
#include "vsock-limits.h"

#include <string.h>

size_t vsk_iov_size(const struct iovec *iov, unsigned int n_iov)
{
    size_t size = 0;

    for (unsigned int i = 0; i < n_iov; i++) {
        size += iov[i].iov_len;
    }
    return size;
}

size_t vsk_iov_to_buf(const struct iovec *iov, unsigned int n_iov,
                      void *buf, size_t len)
{
    size_t done = 0;

    for (unsigned int i = 0; i < n_iov && done < len; i++) {
        size_t n = MIN(iov[i].iov_len, len - done);

        if (n) {
            memcpy((char *)buf + done, iov[i].iov_base, n);
        }
        done += n;
    }
    return done;
}

size_t vsk_iov_from_buf(const struct iovec *iov, unsigned int n_iov,
                        const void *buf, size_t len)
{
    size_t done = 0;

    for (unsigned int i = 0; i < n_iov && done < len; i++) {
        size_t n = MIN(iov[i].iov_len, len - done);

        if (n) {
            memcpy(iov[i].iov_base, (const char *)buf + done, n);
        }
        done += n;
    }
    return done;
}

unsigned int vsk_iov_slice(struct iovec *dst, unsigned int max,
                           const struct iovec *iov, unsigned int n_iov,
                           size_t offset, size_t len, size_t *ret_len)
{
    unsigned int n_dst = 0;
    size_t done = 0;

    for (unsigned int i = 0; i < n_iov && n_dst < max && done < len; i++) {
        size_t n;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        n = MIN(iov[i].iov_len - offset, len - done);
        dst[n_dst].iov_base = (char *)iov[i].iov_base + offset;
        dst[n_dst].iov_len = n;
        n_dst++;
        done += n;
        offset = 0;
    }
    *ret_len = done;
    return n_dst;
}

bool vsk_hdr_decode(const struct iovec *iov, unsigned int n_iov,
                    VskHdr *ret_hdr)
{
    VskWireHdr wire;

    if (vsk_iov_to_buf(iov, n_iov, &wire, sizeof(wire)) < sizeof(wire)) {
        return false;
    }
    *ret_hdr = (VskHdr) {
        .src_cid = GUINT64_FROM_LE(wire.src_cid),
        .dst_cid = GUINT64_FROM_LE(wire.dst_cid),
        .src_port = GUINT32_FROM_LE(wire.src_port),
        .dst_port = GUINT32_FROM_LE(wire.dst_port),
        .len = GUINT32_FROM_LE(wire.len),
        .type = GUINT16_FROM_LE(wire.type),
        .op = GUINT16_FROM_LE(wire.op),
        .flags = GUINT32_FROM_LE(wire.flags),
        .buf_alloc = GUINT32_FROM_LE(wire.buf_alloc),
        .fwd_cnt = GUINT32_FROM_LE(wire.fwd_cnt),
    };
    return true;
}

void vsk_hdr_encode(const VskHdr *hdr, const struct iovec *iov,
                    unsigned int n_iov)
{
    VskWireHdr wire = {
        .src_cid = GUINT64_TO_LE(hdr->src_cid),
        .dst_cid = GUINT64_TO_LE(hdr->dst_cid),
        .src_port = GUINT32_TO_LE(hdr->src_port),
        .dst_port = GUINT32_TO_LE(hdr->dst_port),
        .len = GUINT32_TO_LE(hdr->len),
        .type = GUINT16_TO_LE(hdr->type),
        .op = GUINT16_TO_LE(hdr->op),
        .flags = GUINT32_TO_LE(hdr->flags),
        .buf_alloc = GUINT32_TO_LE(hdr->buf_alloc),
        .fwd_cnt = GUINT32_TO_LE(hdr->fwd_cnt),
    };
    size_t done = vsk_iov_from_buf(iov, n_iov, &wire, sizeof(wire));

    g_assert(done == sizeof(wire));
}

bool vsk_hdr_check(const VskHdr *hdr, size_t room, uint64_t guest_cid,
                   bool seqpacket, VskRefusal *ret_why)
{
    if (hdr->src_cid != guest_cid) {
        *ret_why = VSK_REFUSED_SRC_CID;
        return false;
    }
    if (hdr->dst_cid != VSK_CID_HOST) {
        *ret_why = VSK_REFUSED_DST_CID;
        return false;
    }
    if (hdr->len > room || hdr->len > VSK_MAX_PKT_PAYLOAD) {
        *ret_why = VSK_REFUSED_TX_LEN;
        return false;
    }
    if (hdr->type != VSK_TYPE_STREAM &&
        !(hdr->type == VSK_TYPE_SEQPACKET && seqpacket)) {
        *ret_why = VSK_REFUSED_TYPE;
        return false;
    }
    return true;
}

void vsk_hdr_make_rst(const VskHdr *hdr, VskHdr *ret_rst)
{
    *ret_rst = (VskHdr) {
        .src_cid = hdr->dst_cid,
        .dst_cid = hdr->src_cid,
        .src_port = hdr->dst_port,
        .dst_port = hdr->src_port,
        .type = hdr->type,
        .op = VSK_OP_RST,
    };
}
