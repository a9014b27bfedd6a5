/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The packet header and scattered memory: pkt.h.
 */

#include "vsock-limits.h"
#include "pkt.h"

#include <string.h>

static const VskHdr sample = {
    .src_cid = 0x0102030405060708ull,
    .dst_cid = 0x1112131415161718ull,
    .src_port = 0x21222324,
    .dst_port = 0x31323334,
    .len = 0x41424344,
    .type = 0x5152,
    .op = 0x6162,
    .flags = 0x71727374,
    .buf_alloc = 0x81828384,
    .fwd_cnt = 0x91929394,
};

/* As 5.10.6 lays it out, little-endian. */
static const uint8_t sample_bytes[VSK_HDR_SIZE] = {
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
    0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31,
    0x44, 0x43, 0x42, 0x41, 0x52, 0x51, 0x62, 0x61,
    0x74, 0x73, 0x72, 0x71, 0x84, 0x83, 0x82, 0x81,
    0x94, 0x93, 0x92, 0x91,
};

static void assert_is_sample(const VskHdr *hdr)
{
    g_assert_cmphex(hdr->src_cid, ==, sample.src_cid);
    g_assert_cmphex(hdr->dst_cid, ==, sample.dst_cid);
    g_assert_cmphex(hdr->src_port, ==, sample.src_port);
    g_assert_cmphex(hdr->dst_port, ==, sample.dst_port);
    g_assert_cmphex(hdr->len, ==, sample.len);
    g_assert_cmphex(hdr->type, ==, sample.type);
    g_assert_cmphex(hdr->op, ==, sample.op);
    g_assert_cmphex(hdr->flags, ==, sample.flags);
    g_assert_cmphex(hdr->buf_alloc, ==, sample.buf_alloc);
    g_assert_cmphex(hdr->fwd_cnt, ==, sample.fwd_cnt);
}

/*
 * @len bytes in @n_cuts + 1 pieces of memory of their own, exactly as long
 * as they are, so that a sanitizer sees any access beside them.
 */
typedef struct Pieces {
    struct iovec iov[VSK_HDR_SIZE + 2];
    unsigned int n;
} Pieces;

static void add_piece(Pieces *p, const uint8_t *bytes, size_t len)
{
    struct iovec *iov = &p->iov[p->n++];

    iov->iov_base = len ? g_malloc(len) : NULL;
    iov->iov_len = len;
    if (len) {
        memcpy(iov->iov_base, bytes, len);
    }
}

static void free_pieces(Pieces *p)
{
    for (unsigned int i = 0; i < p->n; i++) {
        g_free(p->iov[i].iov_base);
    }
    p->n = 0;
}

static void split_in_three(Pieces *p, const uint8_t *bytes, size_t len,
                           size_t a, size_t b)
{
    p->n = 0;
    add_piece(p, bytes, a);
    add_piece(p, bytes + a, b - a);
    add_piece(p, bytes + b, len - b);
}

static void test_decode_fields(void)
{
    struct iovec iov = { (void *)sample_bytes, sizeof(sample_bytes) };
    VskHdr hdr;

    g_assert_true(vsk_hdr_decode(&iov, 1, &hdr));
    assert_is_sample(&hdr);
}

static void test_decode_every_truncation(void)
{
    for (size_t len = 0; len < VSK_HDR_SIZE; len++) {
        VskHdr hdr = { .len = 4711 };
        Pieces p = { .n = 0 };

        add_piece(&p, sample_bytes, len);
        g_assert_false(vsk_hdr_decode(p.iov, p.n, &hdr));
        g_assert_cmpuint(hdr.len, ==, 4711);
        g_assert_false(vsk_hdr_decode(p.iov, 0, &hdr));
        free_pieces(&p);
    }
}

static void test_decode_any_split(void)
{
    for (size_t a = 0; a <= VSK_HDR_SIZE; a++) {
        for (size_t b = a; b <= VSK_HDR_SIZE; b++) {
            Pieces p;
            VskHdr hdr;

            split_in_three(&p, sample_bytes, VSK_HDR_SIZE, a, b);
            g_assert_true(vsk_hdr_decode(p.iov, p.n, &hdr));
            assert_is_sample(&hdr);
            free_pieces(&p);
        }
    }
}

static void test_decode_one_byte_each(void)
{
    Pieces p = { .n = 0 };
    VskHdr hdr;

    for (size_t i = 0; i < VSK_HDR_SIZE; i++) {
        add_piece(&p, sample_bytes + i, 1);
    }
    g_assert_true(vsk_hdr_decode(p.iov, p.n, &hdr));
    assert_is_sample(&hdr);
    free_pieces(&p);
}

static void test_encode_any_split(void)
{
    static const uint8_t zeros[VSK_HDR_SIZE + 3];

    for (size_t a = 0; a <= VSK_HDR_SIZE; a++) {
        for (size_t b = a; b <= VSK_HDR_SIZE; b++) {
            uint8_t out[VSK_HDR_SIZE + 3];
            Pieces p;

            split_in_three(&p, zeros, sizeof(zeros), a, b);
            vsk_hdr_encode(&sample, p.iov, p.n);
            vsk_iov_to_buf(p.iov, p.n, out, sizeof(out));
            g_assert_cmpmem(out, VSK_HDR_SIZE, sample_bytes, VSK_HDR_SIZE);
            g_assert_cmpmem(out + VSK_HDR_SIZE, 3, zeros, 3);
            free_pieces(&p);
        }
    }
}

static void test_rst_mirrors(void)
{
    VskHdr rst = sample;

    vsk_hdr_make_rst(&sample, &rst);
    g_assert_cmphex(rst.src_cid, ==, sample.dst_cid);
    g_assert_cmphex(rst.dst_cid, ==, sample.src_cid);
    g_assert_cmphex(rst.src_port, ==, sample.dst_port);
    g_assert_cmphex(rst.dst_port, ==, sample.src_port);
    g_assert_cmphex(rst.type, ==, sample.type);
    g_assert_cmpuint(rst.op, ==, VSK_OP_RST);
    g_assert_cmpuint(rst.len, ==, 0);
    g_assert_cmpuint(rst.flags, ==, 0);
    g_assert_cmpuint(rst.buf_alloc, ==, 0);
    g_assert_cmpuint(rst.fwd_cnt, ==, 0);
}

/* --- Checks -------------------------------------------------------------- */

#define PASSES VSK_REFUSED_NUM
#define GUEST_CID 3

typedef struct CheckRow {
    const char *name;
    uint32_t len;
    size_t room;
    uint64_t src_cid;
    uint64_t dst_cid;
    uint16_t type;
    VskRefusal why; /* or PASSES */
} CheckRow;

static const CheckRow check_rows[] = {
    { "empty-packet-passes", 0, 0, 3, 2, 1, PASSES },
    { "len-of-all-the-chain-passes", 9, 9, 3, 2, 1, PASSES },
    { "len-of-a-part-passes", 9, 4096, 3, 2, 1, PASSES },
    { "len-of-64k-passes", 65536, 65536, 3, 2, 1, PASSES },
    { "len-beyond-64k", 65537, 65537, 3, 2, 1, VSK_REFUSED_TX_LEN },
    { "len-beyond-the-chain", 10, 9, 3, 2, 1, VSK_REFUSED_TX_LEN },
    { "len-without-payload", 1, 0, 3, 2, 1, VSK_REFUSED_TX_LEN },
    { "len-of-all-ones", UINT32_MAX, 9, 3, 2, 1, VSK_REFUSED_TX_LEN },
    { "len-of-all-ones-in-a-huge-chain", UINT32_MAX, SIZE_MAX, 3, 2, 1,
      VSK_REFUSED_TX_LEN },
    { "src-cid-of-another-guest", 0, 0, 4, 2, 1, VSK_REFUSED_SRC_CID },
    { "src-cid-of-the-host", 0, 0, 2, 2, 1, VSK_REFUSED_SRC_CID },
    { "src-cid-with-upper-bits", 0, 0, 3 | 1ull << 32, 2, 1,
      VSK_REFUSED_SRC_CID },
    { "dst-cid-hypervisor", 0, 0, 3, 0, 1, VSK_REFUSED_DST_CID },
    { "dst-cid-local", 0, 0, 3, 1, 1, VSK_REFUSED_DST_CID },
    { "dst-cid-itself", 0, 0, 3, 3, 1, VSK_REFUSED_DST_CID },
    { "dst-cid-any", 0, 0, 3, VSK_CID_ANY, 1, VSK_REFUSED_DST_CID },
    { "dst-cid-with-upper-bits", 0, 0, 3, 2 | 1ull << 63, 1,
      VSK_REFUSED_DST_CID },
    { "type-zero", 0, 0, 3, 2, 0, VSK_REFUSED_TYPE },
    { "type-seqpacket", 0, 0, 3, 2, 2, VSK_REFUSED_TYPE },
    { "type-unknown", 0, 0, 3, 2, 0xffff, VSK_REFUSED_TYPE },
    { "source-before-length", 10, 9, 9, 2, 1, VSK_REFUSED_SRC_CID },
    { "destination-before-length", 10, 9, 3, 9, 1, VSK_REFUSED_DST_CID },
    { "length-before-type", 10, 9, 3, 2, 7, VSK_REFUSED_TX_LEN },
    { "addresses-before-type", 0, 0, 3, 9, 7, VSK_REFUSED_DST_CID },
    { "source-before-destination", 0, 0, 9, 9, 7, VSK_REFUSED_SRC_CID },
};

static void test_check(gconstpointer data)
{
    const CheckRow *row = data;
    VskHdr hdr = {
        .len = row->len,
        .src_cid = row->src_cid,
        .dst_cid = row->dst_cid,
        .type = row->type,
    };
    VskRefusal why = PASSES;

    g_assert_cmpint(vsk_hdr_check(&hdr, row->room, GUEST_CID, false, &why), ==,
                    row->why == PASSES);
    g_assert_cmpint(why, ==, row->why);
}

/* --- Scattered memory ---------------------------------------------------- */

static uint8_t memory[16] = "0123456789abcdef";

static const struct iovec layout[] = {
    { memory, 0 },      { memory, 1 },      { memory + 1, 5 },
    { memory + 6, 0 },  { memory + 6, 0 },  { memory + 6, 2 },
    { memory + 8, 8 },  { memory + 16, 0 },
};
#define N_LAYOUT G_N_ELEMENTS(layout)

static void test_iov_size(void)
{
    g_assert_cmpuint(vsk_iov_size(layout, N_LAYOUT), ==, 16);
    g_assert_cmpuint(vsk_iov_size(layout, 1), ==, 0);
    g_assert_cmpuint(vsk_iov_size(NULL, 0), ==, 0);
}

static void test_iov_copies_stop_at_the_shorter(void)
{
    for (size_t len = 0; len <= 20; len++) {
        g_autofree char *buf = g_malloc0(len + 1);
        uint8_t target[16] = "";
        struct iovec iov[] = { { target, 7 }, { NULL, 0 }, { target + 7, 9 } };
        size_t expected = MIN(len, 16);

        g_assert_cmpuint(vsk_iov_to_buf(layout, N_LAYOUT, buf, len), ==,
                         expected);
        g_assert_cmpmem(buf, expected, memory, expected);
        g_assert_cmpuint(vsk_iov_from_buf(iov, 3, buf, len), ==, expected);
        g_assert_cmpmem(target, expected, memory, expected);
        g_assert_true(expected == 16 || target[expected] == 0);
    }
}

/* Every offset and length, against what copying gives. */
static void test_slice_every_offset_and_length(void)
{
    for (size_t offset = 0; offset <= 18; offset++) {
        for (size_t len = 0; len <= 18; len++) {
            size_t expected = MIN(len, 16 - MIN(offset, 16));
            struct iovec dst[N_LAYOUT];
            uint8_t buf[16];
            size_t got = 99;
            unsigned int n = vsk_iov_slice(dst, N_LAYOUT, layout, N_LAYOUT,
                                           offset, len, &got);

            g_assert_cmpuint(got, ==, expected);
            g_assert_cmpuint(vsk_iov_size(dst, n), ==, expected);
            g_assert_cmpuint(vsk_iov_to_buf(dst, n, buf, 16), ==, expected);
            if (expected) {
                g_assert_cmpmem(buf, expected, memory + offset, expected);
            }
        }
    }
}

static void test_slice_has_no_empty_pieces(void)
{
    struct iovec dst[N_LAYOUT];
    size_t len;
    unsigned int n = vsk_iov_slice(dst, N_LAYOUT, layout, N_LAYOUT, 0,
                                   SIZE_MAX, &len);

    g_assert_cmpuint(n, ==, 4);
    for (unsigned int i = 0; i < n; i++) {
        g_assert_cmpuint(dst[i].iov_len, >, 0);
    }
    n = vsk_iov_slice(dst, N_LAYOUT, layout, N_LAYOUT, 1, 5, &len);
    g_assert_cmpuint(n, ==, 1);
}

static void test_slice_stops_when_full(void)
{
    struct iovec dst[2];
    size_t len;
    unsigned int n;

    n = vsk_iov_slice(dst, 2, layout, N_LAYOUT, 3, SIZE_MAX, &len);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpuint(len, ==, 5);
    n = vsk_iov_slice(dst, 0, layout, N_LAYOUT, 3, SIZE_MAX, &len);
    g_assert_cmpuint(n, ==, 0);
    g_assert_cmpuint(len, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pkt/decode/fields-are-little-endian",
                    test_decode_fields);
    g_test_add_func("/pkt/decode/every-truncation-is-refused",
                    test_decode_every_truncation);
    g_test_add_func("/pkt/decode/any-split", test_decode_any_split);
    g_test_add_func("/pkt/decode/one-byte-each", test_decode_one_byte_each);
    g_test_add_func("/pkt/encode/any-split-touches-header-only",
                    test_encode_any_split);
    g_test_add_func("/pkt/rst/mirrors-addresses-and-type", test_rst_mirrors);
    for (unsigned int i = 0; i < G_N_ELEMENTS(check_rows); i++) {
        g_autofree char *path = g_strdup_printf("/pkt/check/%s",
                                                check_rows[i].name);

        g_test_add_data_func(path, &check_rows[i], test_check);
    }
    g_test_add_func("/pkt/iov/size-is-the-sum", test_iov_size);
    g_test_add_func("/pkt/iov/copies-stop-at-the-shorter",
                    test_iov_copies_stop_at_the_shorter);
    g_test_add_func("/pkt/slice/every-offset-and-length",
                    test_slice_every_offset_and_length);
    g_test_add_func("/pkt/slice/has-no-empty-pieces",
                    test_slice_has_no_empty_pieces);
    g_test_add_func("/pkt/slice/stops-when-full", test_slice_stops_when_full);
    return g_test_run();
}
