/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The packet header and scattered memory (pkt.c): any bytes in pieces of any
 * sizes, beside the same bytes in one piece.
 *
 * The pieces lie in one block with gaps between them, so that a byte too many
 * is seen in a gap without a sanitizer, and behind the block with one.
 */

#include "bytes.h"
#include "vsock-limits.h"
#include "pkt.h"

#include <string.h>

#define MAX_PIECES 8
#define MAX_PIECE  48 /* bytes: one can hold a header, and more */
#define GAP        4
#define GAP_BYTE   0xa5
#define BLOCK      (MAX_PIECES * (MAX_PIECE + GAP) + GAP)

typedef struct Pieces {
    struct iovec iov[MAX_PIECES];
    unsigned int n;
    size_t size;
    uint8_t block[BLOCK];
    uint8_t flat[MAX_PIECES * MAX_PIECE]; /* what they hold */
} Pieces;

static Pieces pieces;

static void make_pieces(FuzzBytes *in)
{
    uint8_t *at = pieces.block + GAP;

    memset(pieces.block, GAP_BYTE, sizeof(pieces.block));
    memset(pieces.flat, 0, sizeof(pieces.flat));
    pieces.n = fuzz_below(in, MAX_PIECES + 1);
    pieces.size = 0;
    for (unsigned int i = 0; i < pieces.n; i++) {
        size_t len = fuzz_below(in, MAX_PIECE + 1);

        pieces.iov[i] = (struct iovec) { len ? at : NULL, len };
        pieces.size += len;
        at += len + GAP;
    }
}

/* Gaps are whole, and the pieces hold what @flat says. */
static void check_pieces(const uint8_t *flat)
{
    const uint8_t *at = pieces.block;

    for (unsigned int i = 0; i <= pieces.n; i++) {
        for (unsigned int k = 0; k < GAP; k++) {
            CHECK(*at++ == GAP_BYTE);
        }
        if (i < pieces.n && pieces.iov[i].iov_len) {
            CHECK(memcmp(at, flat, pieces.iov[i].iov_len) == 0);
            at += pieces.iov[i].iov_len;
            flat += pieces.iov[i].iov_len;
        }
    }
}

static void check_copies(FuzzBytes *in)
{
    size_t len = pieces.size, wanted = fuzz_u8(in) * 2;
    const uint8_t *bytes = fuzz_take(in, &len);
    uint8_t copy[512 + 1];
    size_t n = MIN(wanted, pieces.size);

    CHECK(vsk_iov_size(pieces.iov, pieces.n) == pieces.size);
    memcpy(pieces.flat, bytes, len);
    CHECK(vsk_iov_from_buf(pieces.iov, pieces.n, pieces.flat,
                           sizeof(pieces.flat)) == pieces.size);
    check_pieces(pieces.flat);

    memset(copy, GAP_BYTE, sizeof(copy));
    CHECK(vsk_iov_to_buf(pieces.iov, pieces.n, copy, wanted) == n);
    CHECK(memcmp(copy, pieces.flat, n) == 0);
    CHECK(copy[n] == GAP_BYTE);

    /* Into the front, and nothing behind it. */
    for (size_t i = 0; i < n; i++) {
        pieces.flat[i] ^= 0xff;
    }
    CHECK(vsk_iov_from_buf(pieces.iov, pieces.n, pieces.flat, wanted) == n);
    check_pieces(pieces.flat);
}

static void check_slice(FuzzBytes *in)
{
    struct iovec slice[MAX_PIECES + 1];
    unsigned int max = fuzz_below(in, MAX_PIECES + 1);
    size_t offset = fuzz_u8(in), len = fuzz_u8(in) * 2, got, done = 0;
    size_t left = pieces.size - MIN(offset, pieces.size);
    unsigned int n;

    slice[max] = (struct iovec) { &pieces, GAP_BYTE };
    n = vsk_iov_slice(slice, max, pieces.iov, pieces.n, offset, len, &got);
    CHECK(n <= max);
    CHECK(slice[max].iov_base == &pieces && slice[max].iov_len == GAP_BYTE);
    CHECK(got <= MIN(len, left));
    CHECK(got == MIN(len, left) || n == max);
    for (unsigned int i = 0; i < n; i++) {
        CHECK(slice[i].iov_len);
        CHECK(memcmp(slice[i].iov_base, pieces.flat + offset + done,
                     slice[i].iov_len) == 0);
        done += slice[i].iov_len;
    }
    CHECK(done == got);
}

static uint64_t le(const uint8_t *at, unsigned int n)
{
    uint64_t value = 0;

    while (n--) {
        value = value << 8 | at[n];
    }
    return value;
}

/* The fields by their offsets in the standard (5.10.6). */
static void check_fields(const VskHdr *hdr, const uint8_t *at)
{
    CHECK(hdr->src_cid == le(at, 8));
    CHECK(hdr->dst_cid == le(at + 8, 8));
    CHECK(hdr->src_port == le(at + 16, 4));
    CHECK(hdr->dst_port == le(at + 20, 4));
    CHECK(hdr->len == le(at + 24, 4));
    CHECK(hdr->type == le(at + 28, 2));
    CHECK(hdr->op == le(at + 30, 2));
    CHECK(hdr->flags == le(at + 32, 4));
    CHECK(hdr->buf_alloc == le(at + 36, 4));
    CHECK(hdr->fwd_cnt == le(at + 40, 4));
}

static void check_judgement(const VskHdr *hdr, FuzzBytes *in)
{
    uint64_t cid = fuzz_u8(in) % 2 ? hdr->src_cid : fuzz_u64(in);
    bool seqpacket = fuzz_u8(in) % 2;
    VskRefusal why = VSK_REFUSED_RX_CHAIN_SHORT; /* none of its reasons */
    size_t room = fuzz_u8(in) % 2 ? hdr->len : pieces.size - VSK_HDR_SIZE;
    bool ok = vsk_hdr_check(hdr, room, cid, seqpacket, &why);

    if (hdr->src_cid != cid) {
        CHECK(!ok && why == VSK_REFUSED_SRC_CID);
    } else if (hdr->dst_cid != 2) {
        CHECK(!ok && why == VSK_REFUSED_DST_CID);
    } else if (hdr->len > room || hdr->len > 65536) {
        CHECK(!ok && why == VSK_REFUSED_TX_LEN);
    } else if (hdr->type != 1 && (hdr->type != 2 || !seqpacket)) {
        CHECK(!ok && why == VSK_REFUSED_TYPE);
    } else {
        CHECK(ok && why == VSK_REFUSED_RX_CHAIN_SHORT);
    }
}

/* Twice the other way round is the way it was. */
static void check_rst(const VskHdr *hdr)
{
    VskHdr rst, back;

    vsk_hdr_make_rst(hdr, &rst);
    CHECK(rst.op == VSK_OP_RST && rst.type == hdr->type);
    CHECK(!rst.len && !rst.flags && !rst.buf_alloc && !rst.fwd_cnt);
    vsk_hdr_make_rst(&rst, &back);
    CHECK(back.src_cid == hdr->src_cid && back.dst_cid == hdr->dst_cid);
    CHECK(back.src_port == hdr->src_port && back.dst_port == hdr->dst_port);
    CHECK(rst.src_cid == hdr->dst_cid && rst.src_port == hdr->dst_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    VskHdr hdr, untouched;
    bool ok;

    make_pieces(&in);
    check_copies(&in);
    check_slice(&in);

    memset(&untouched, GAP_BYTE, sizeof(untouched));
    hdr = untouched;
    ok = vsk_hdr_decode(pieces.iov, pieces.n, &hdr);
    CHECK(ok == (pieces.size >= VSK_HDR_SIZE));
    if (!ok) {
        CHECK(memcmp(&hdr, &untouched, sizeof(hdr)) == 0);
        return 0;
    }
    check_fields(&hdr, pieces.flat);
    check_judgement(&hdr, &in);
    check_rst(&hdr);

    /* Over what is not a header any more, so that each byte is seen. */
    for (unsigned int i = 0; i < pieces.n; i++) {
        memset(pieces.iov[i].iov_base ? pieces.iov[i].iov_base : &untouched,
               0x5a, pieces.iov[i].iov_len);
    }
    memset(pieces.flat + VSK_HDR_SIZE, 0x5a,
           sizeof(pieces.flat) - VSK_HDR_SIZE);
    vsk_hdr_encode(&hdr, pieces.iov, pieces.n);
    check_pieces(pieces.flat);
    return 0;
}
