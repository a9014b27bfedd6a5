/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The packet header and scattered memory: pkt.c.
 *
 * Bounds: up to PIECES pieces.  All that a loop carries from one piece to the
 * next is how many bytes were done, or are to be skipped; each piece has any
 * size, so that already the second one meets every such number, and the third
 * what the second one leaves.  Each piece is memory of its own that ends where
 * the piece ends.  Bytes that are copied, and slices, begin and end in a piece:
 * at its beginning, within, at its end or beyond; SLICED bytes have all of
 * these, and BUFFER is more than two such pieces.  SIZE is more than a header
 * has.
 */

#include "stubs.h"
#include "pkt.h"

#define PIECES 3
#define SIZE 46
#define SLICED 3
#define BUFFER 7

/* Pieces of any size up to @max with any bytes; returns how many. */
static unsigned int any_iov(struct iovec iov[PIECES], size_t max)
{
    unsigned int n = nondet_u32();

    assume(n <= PIECES);
    for (unsigned int i = 0; i < n; i++) {
        iov[i].iov_len = nondet_size();
        assume(iov[i].iov_len <= max);
        iov[i].iov_base = any_bytes(iov[i].iov_len);
    }
    return n;
}

static size_t size_of(const struct iovec *iov, unsigned int n)
{
    size_t size = 0;

    for (unsigned int i = 0; i < n; i++) {
        size += iov[i].iov_len;
    }
    return size;
}

/* Byte @at of all. */
static uint8_t *byte_of(const struct iovec *iov, unsigned int n, size_t at)
{
    for (unsigned int i = 0; i < n; i++) {
        if (at < iov[i].iov_len) {
            return (uint8_t *)iov[i].iov_base + at;
        }
        at -= iov[i].iov_len;
    }
    prove(false, "a byte that is there");
    return NULL;
}

/* The header in bytes, lowest first, as 5.10.6 lays it out. */
static void put(uint8_t *bytes, uint64_t value, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static void lay_out(const VskHdr *hdr, uint8_t bytes[VSK_HDR_SIZE])
{
    put(bytes, hdr->src_cid, 8);
    put(bytes + 8, hdr->dst_cid, 8);
    put(bytes + 16, hdr->src_port, 4);
    put(bytes + 20, hdr->dst_port, 4);
    put(bytes + 24, hdr->len, 4);
    put(bytes + 28, hdr->type, 2);
    put(bytes + 30, hdr->op, 2);
    put(bytes + 32, hdr->flags, 4);
    put(bytes + 36, hdr->buf_alloc, 4);
    put(bytes + 40, hdr->fwd_cnt, 4);
}

/* Bytes are copied out in order, as many as there are or are wanted. */
void scattered_bytes_are_read(void)
{
    struct iovec iov[PIECES];
    unsigned int n = any_iov(iov, SLICED);
    size_t len = nondet_size(), probe = nondet_size(), got;
    uint8_t *buf;

    assume(len <= BUFFER);
    buf = any_bytes(len);
    got = vsk_iov_to_buf(iov, n, buf, len);
    prove(got == MIN(len, size_of(iov, n)), "all that is there");
    if (probe < got) {
        prove(buf[probe] == *byte_of(iov, n, probe), "in order");
    }
    if (n == 3 && iov[0].iov_len && iov[1].iov_len &&
        got > iov[0].iov_len + iov[1].iov_len) {
        reached("bytes of three pieces");
    }
    reached("the end");
}

/* And in; what is behind them stays as it was. */
void scattered_bytes_are_written(void)
{
    struct iovec iov[PIECES];
    unsigned int n = any_iov(iov, SLICED);
    size_t len = nondet_size(), probe = nondet_size(), got;
    uint8_t *buf, before = 0;

    assume(len <= BUFFER);
    buf = any_bytes(len);
    assume(probe < size_of(iov, n));
    before = *byte_of(iov, n, probe);
    got = vsk_iov_from_buf(iov, n, buf, len);
    prove(got == MIN(len, size_of(iov, n)), "all that there is room for");
    prove(*byte_of(iov, n, probe) == (probe < got ? buf[probe] : before),
          "in order, and no others");
    reached("the end");
}

/* Pieces of any size: a header is read and written within them.  Linked with
 * stubs-memory.c. */
void header_stays_in_its_pieces(void)
{
    struct iovec iov[PIECES];
    unsigned int n = any_iov(iov, UINT32_MAX);
    VskHdr hdr;

    if (vsk_hdr_decode(iov, n, &hdr)) {
        reached("a header");
        prove(size_of(iov, n) >= VSK_HDR_SIZE, "a whole header is there");
        vsk_hdr_encode(&hdr, iov, n);
    } else {
        reached("no header");
        prove(size_of(iov, n) < VSK_HDR_SIZE, "no whole header is there");
    }
    reached("the end");
}

/* Each byte of a header is the one that 5.10.6 says. */
void header_is_read_as_it_is(void)
{
    struct iovec iov = { NULL, nondet_size() };
    uint8_t bytes[VSK_HDR_SIZE];
    VskHdr hdr, before = hdr;
    size_t probe = nondet_size();

    assume(iov.iov_len <= SIZE && probe < VSK_HDR_SIZE);
    iov.iov_base = any_bytes(iov.iov_len);
    if (vsk_hdr_decode(&iov, 1, &hdr)) {
        reached("a header");
        lay_out(&hdr, bytes);
        prove(bytes[probe] == ((uint8_t *)iov.iov_base)[probe],
              "each byte counts");
    } else {
        reached("no header");
        prove(hdr.src_cid == before.src_cid && hdr.op == before.op &&
              hdr.fwd_cnt == before.fwd_cnt, "nothing is told of it");
    }
    reached("the end");
}

void header_is_written_as_it_is(void)
{
    uint8_t to[VSK_HDR_SIZE], bytes[VSK_HDR_SIZE];
    struct iovec iov = { to, sizeof(to) };
    size_t probe = nondet_size();
    VskHdr hdr;

    assume(probe < VSK_HDR_SIZE);
    vsk_hdr_encode(&hdr, &iov, 1);
    lay_out(&hdr, bytes);
    prove(to[probe] == bytes[probe], "each byte counts");
    reached("the end");
}

/* A slice lies within what it was cut from, and is all that was asked for. */
void slice_is_within(void)
{
    struct iovec iov[PIECES], dst[PIECES];
    unsigned int n = any_iov(iov, SLICED), max = nondet_u32(), n_dst;
    size_t offset = nondet_size(), len = nondet_size();
    size_t size = size_of(iov, n), got, probe = nondet_size();

    assume(max <= PIECES);
    n_dst = vsk_iov_slice(dst, max, iov, n, offset, len, &got);
    prove(vsk_iov_size(iov, n) == size, "the size is that of all pieces");
    prove(n_dst <= max, "no more pieces than there is room for");
    prove(got == size_of(dst, n_dst), "the length is that of the pieces");
    prove(got <= len, "no more bytes than asked for");
    for (unsigned int i = 0; i < n_dst; i++) {
        prove(dst[i].iov_len > 0, "no empty piece");
    }
    if (offset >= size) {
        reached("an offset behind the end");
        prove(got == 0, "nothing is there");
    } else if (got < MIN(len, size - offset)) {
        reached("no room for all pieces");
        prove(n_dst == max, "all room is used");
    } else {
        reached("all bytes");
    }
    if (probe < got) {
        prove(byte_of(dst, n_dst, probe) == byte_of(iov, n, offset + probe),
              "each byte is where it was");
    }
    reached("the end");
}

/* What is taken has the right addresses, and no more payload than its chain. */
void check_takes_no_lie(void)
{
    VskHdr hdr;
    size_t room = nondet_size();
    uint64_t cid = nondet_u64();
    bool seqpacket = nondet_bool();
    VskRefusal why;

    if (vsk_hdr_check(&hdr, room, cid, seqpacket, &why)) {
        reached("a header that is taken");
        prove(hdr.len <= room, "its payload is in the chain");
        prove(hdr.len <= VSK_MAX_PKT_PAYLOAD, "and within the limit");
        prove(hdr.src_cid == cid && hdr.dst_cid == VSK_CID_HOST,
              "it is from the guest to us");
        prove(hdr.type == VSK_TYPE_STREAM ||
              (seqpacket && hdr.type == VSK_TYPE_SEQPACKET),
              "its type was negotiated");
    } else {
        reached("a header that is refused");
        prove(why == VSK_REFUSED_SRC_CID || why == VSK_REFUSED_DST_CID ||
              why == VSK_REFUSED_TX_LEN || why == VSK_REFUSED_TYPE,
              "with a reason");
    }
    reached("the end");
}
