/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The packet header, and scattered memory: what knows the wire, and nothing
 * else does.
 */

#ifndef VSK_PKT_H
#define VSK_PKT_H

#include "vsock-device.h"

/* Bytes in @iov. */
size_t vsk_iov_size(const struct iovec *iov, unsigned int n_iov);

/* Copy up to @len bytes out of (into) the front of @iov; returns how many. */
size_t vsk_iov_to_buf(const struct iovec *iov, unsigned int n_iov,
                      void *buf, size_t len);
size_t vsk_iov_from_buf(const struct iovec *iov, unsigned int n_iov,
                        const void *buf, size_t len);

/**
 * vsk_iov_slice:
 * @dst: where the slice goes, room for @max pieces
 *
 * Describe the bytes from @offset on, @len of them at the most, of @iov.
 * Empty pieces are left out.  Stops early when @dst is full.
 *
 * Returns: pieces written to @dst; *@ret_len is the bytes they hold.
 */
unsigned int vsk_iov_slice(struct iovec *dst, unsigned int max,
                           const struct iovec *iov, unsigned int n_iov,
                           size_t offset, size_t len, size_t *ret_len);

/**
 * vsk_hdr_decode:
 * @ret_hdr: written if and only if true is returned
 *
 * Read a header from the front of @iov, once: guest memory may change under
 * us, so nobody reads it again.
 *
 * Returns: false if there are fewer than VSK_HDR_SIZE bytes.
 */
bool vsk_hdr_decode(const struct iovec *iov, unsigned int n_iov,
                    VskHdr *ret_hdr);

/* Write @hdr to the front of @iov, which holds at least VSK_HDR_SIZE bytes. */
void vsk_hdr_encode(const VskHdr *hdr, const struct iovec *iov,
                    unsigned int n_iov);

/**
 * vsk_hdr_check:
 * @hdr: a packet of the guest
 * @room: bytes behind the header in its chain
 * @guest_cid: the guest's own CID
 * @seqpacket: whether the driver negotiated VSK_F_SEQPACKET
 * @ret_why: written if and only if false is returned
 *
 * All that a header can be judged by without knowing any flow, in this order:
 * addresses, for with a wrong one nothing else counts; length; type.
 */
bool vsk_hdr_check(const VskHdr *hdr, size_t room, uint64_t guest_cid,
                   bool seqpacket, VskRefusal *ret_why);

/*
 * The RST that answers @hdr where there is no flow: addresses swapped, same
 * type, all else zero (5.10.6.4).
 */
void vsk_hdr_make_rst(const VskHdr *hdr, VskHdr *ret_rst);

#endif /* VSK_PKT_H */
