/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device's TX queue: layouts, lengths, addresses.
 */

#include "vsock-limits.h"
#include "link.h"
#include "unix-socket.h"

#include <string.h>
#include <unistd.h>

/* --- Layouts (Q2) -------------------------------------------------------- */

static void test_header_and_payload_split_anywhere(void)
{
    Link link = link_new();
    const char *text = "payload";
    size_t total = VSK_HDR_SIZE + strlen(text);

    for (size_t a = 0; a <= total; a++) {
        size_t b = a + (total - a) / 2;
        size_t sizes[] = { a, b - a, 0, total - b };
        VskHdr hdr = rw_hdr(link.vm, strlen(text));

        vm_put_pieces(link.vm, &hdr, text, strlen(text), sizes, 4);
        vm_kick(link.vm, VSK_QUEUE_TX);
        g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
        unix_expect(link.fd, text);
    }
    link_free(&link);
}

static void test_one_byte_each(void)
{
    Link link = link_new();
    size_t sizes[VSK_HDR_SIZE + 7];
    VskHdr hdr = rw_hdr(link.vm, 7);

    for (unsigned int i = 0; i < G_N_ELEMENTS(sizes); i++) {
        sizes[i] = 1;
    }
    vm_put_pieces(link.vm, &hdr, "payload", 7, sizes, G_N_ELEMENTS(sizes));
    vm_kick(link.vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
    unix_expect(link.fd, "payload");
    link_free(&link);
}

/* A packet in @n pieces, each of one byte but the header. */
static void put_many_pieces(Link *link, unsigned int n)
{
    g_autofree size_t *sizes = g_new(size_t, n);
    g_autofree char *text = g_strnfill(n - 1, 'x');
    VskHdr hdr = rw_hdr(link->vm, n - 1);

    sizes[0] = VSK_HDR_SIZE;
    for (unsigned int i = 1; i < n; i++) {
        sizes[i] = 1;
    }
    vm_put_pieces(link->vm, &hdr, text, n - 1, sizes, n);
    vm_kick(link->vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(link->vm), ==, 1);
}

static void test_most_pieces_there_can_be(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(VSK_MAX_CHAIN_IOV - 1, 'x');

    put_many_pieces(&link, VSK_MAX_CHAIN_IOV);
    unix_expect(link.fd, text);
    link_free(&link);
}

static void test_more_pieces_are_refused(void)
{
    Link link = link_new();

    put_many_pieces(&link, VSK_MAX_CHAIN_IOV + 1);
    g_assert_cmpuint(vm_refused(link.vm, VSK_REFUSED_TX_LEN), ==, 1);
    vm_expect(link.vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    unix_expect_last(link.fd, "");
    link_free(&link);
}

/* --- Lengths (Q3) -------------------------------------------------------- */

static void test_chain_shorter_than_a_header(void)
{
    Link link = link_new();

    for (size_t len = 0; len < VSK_HDR_SIZE; len++) {
        size_t cut = len / 2;
        size_t sizes[] = { cut, len - cut };
        FakeChain *chain = fake_chain_new(sizes, 2, NULL, 0);

        for (unsigned int i = 0; i < 2; i++) {
            if (sizes[i]) {
                memset(chain->out[i].iov_base, 0xff, sizes[i]);
            }
        }
        fake_ring_add(link.vm->rings, VSK_QUEUE_TX, chain);
        vm_kick(link.vm, VSK_QUEUE_TX);
        g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
        g_assert_cmpuint(vm_refused(link.vm, VSK_REFUSED_TX_CHAIN_SHORT), ==,
                         1);
    }
    assert_alive(&link);
    link_free(&link);
}

static void test_chain_without_readable_memory(void)
{
    Link link = link_new();
    size_t size = 4096;

    fake_ring_add(link.vm->rings, VSK_QUEUE_TX,
                  fake_chain_new(NULL, 0, &size, 1));
    vm_kick(link.vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
    g_assert_cmpuint(vm_refused(link.vm, VSK_REFUSED_TX_CHAIN_SHORT), ==, 1);
    assert_alive(&link);
    link_free(&link);
}

static void test_len_shorter_than_the_chain(void)
{
    Link link = link_new();
    VskHdr hdr = rw_hdr(link.vm, 3);

    vm_put(link.vm, &hdr, "abcdefgh", 8);
    vm_kick(link.vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
    unix_expect(link.fd, "abc");
    assert_alive(&link);
    link_free(&link);
}

/* A packet with this @len in a chain with @room bytes of payload. */
static void refuse_len(uint32_t len, size_t room)
{
    Link link = link_new();
    int other = vm_open(link.vm, link.listener, GUEST_PORT + 1, HOST_PORT);
    g_autofree char *bytes = g_malloc0(MAX(room, 1));
    VskHdr hdr = rw_hdr(link.vm, len);

    vm_put(link.vm, &hdr, bytes, room);
    vm_kick(link.vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 2);
    g_assert_cmpuint(vm_refused(link.vm, VSK_REFUSED_TX_LEN), ==, 1);
    vm_expect(link.vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    unix_expect_last(link.fd, "");
    vm_send(link.vm, GUEST_PORT + 1, HOST_PORT, "alive");
    unix_expect(other, "alive");
    close(other);
    link_free(&link);
}

static void test_len_longer_than_the_chain(void)
{
    refuse_len(1, 0);
    refuse_len(9, 8);
    refuse_len(UINT32_MAX, 8);
    refuse_len(0x80000000, 8);
}

static void test_len_beyond_64k(void)
{
    refuse_len(VSK_MAX_PKT_PAYLOAD + 1, VSK_MAX_PKT_PAYLOAD + 1);
    refuse_len(UINT32_MAX, 2 * VSK_MAX_PKT_PAYLOAD);
}

static void test_64k_are_taken(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(VSK_MAX_PKT_PAYLOAD, 'x');

    vm_send(link.vm, GUEST_PORT, HOST_PORT, text);
    unix_expect(link.fd, text);
    link_free(&link);
}

static void test_wrong_len_of_no_flow_is_silent(void)
{
    g_autoptr(Vm) vm = vm_new();
    VskHdr hdr = rw_hdr(vm, 5);

    vm_put(vm, &hdr, NULL, 0);
    vm_kick(vm, VSK_QUEUE_TX);
    g_assert_cmpuint(vm_take_tx(vm), ==, 1);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_TX_LEN), ==, 1);
    vm_expect_nothing(vm);
}

static void test_payload_of_other_ops_is_ignored(void)
{
    Link link = link_new();
    VskHdr hdr = rw_hdr(link.vm, 5);

    hdr.op = VSK_OP_CREDIT_REQUEST;
    vm_put(link.vm, &hdr, "bytes", 5);
    vm_kick(link.vm, VSK_QUEUE_TX);
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(link.vm->hdr.fwd_cnt, ==, 0);
    unix_expect_nothing(link.fd);
    link_free(&link);
}

/* --- Addresses and types (C2, R1, F2) ------------------------------------ */

static void test_wrong_cid_does_nothing(void)
{
    static const struct {
        uint64_t src, dst;
        VskRefusal why;
    } rows[] = {
        { 4, 2, VSK_REFUSED_SRC_CID },
        { 2, 2, VSK_REFUSED_SRC_CID },
        { 3 | 1ull << 32, 2, VSK_REFUSED_SRC_CID },
        { 3, 0, VSK_REFUSED_DST_CID },
        { 3, 1, VSK_REFUSED_DST_CID },
        { 3, 3, VSK_REFUSED_DST_CID },
        { 3, 9, VSK_REFUSED_DST_CID },
        { 3, UINT32_MAX, VSK_REFUSED_DST_CID },
        { 3, UINT64_MAX, VSK_REFUSED_DST_CID },
        { 3, 2 | 1ull << 32, VSK_REFUSED_DST_CID },
    };
    static const VskOp ops[] = { VSK_OP_REQUEST, VSK_OP_RST, VSK_OP_RW,
                                 VSK_OP_SHUTDOWN };
    Link link = link_new();

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        for (unsigned int k = 0; k < G_N_ELEMENTS(ops); k++) {
            VskHdr hdr = vm_hdr(link.vm, ops[k], GUEST_PORT, HOST_PORT);

            hdr.src_cid = rows[i].src;
            hdr.dst_cid = rows[i].dst;
            hdr.flags = VSK_SHUTDOWN_BOTH;
            hdr.len = k; /* wrong, where it is not 0 */
            vm_put(link.vm, &hdr, NULL, 0);
            vm_kick(link.vm, VSK_QUEUE_TX);
            g_assert_cmpuint(vm_refused(link.vm, rows[i].why), ==, 1);
            g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
        }
    }
    assert_alive(&link);
    link_free(&link);
}

static void test_other_type_gets_rst_of_that_type(void)
{
    static const uint16_t types[] = { 0, VSK_TYPE_SEQPACKET, 3, 0xffff };
    Link link = link_new();

    for (unsigned int i = 0; i < G_N_ELEMENTS(types); i++) {
        VskHdr hdr = vm_hdr(link.vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);

        hdr.type = types[i];
        vm_put(link.vm, &hdr, NULL, 0);
        vm_kick(link.vm, VSK_QUEUE_TX);
        g_assert_cmpuint(vm_refused(link.vm, VSK_REFUSED_TYPE), ==, 1);
        vm_expect(link.vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
        g_assert_cmpuint(link.vm->hdr.type, ==, types[i]);
        g_assert_cmpuint(link.vm->hdr.buf_alloc, ==, 0);
        vm_take_tx(link.vm);
    }
    assert_alive(&link); /* the stream of the same ports is another flow */
    link_free(&link);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/tx/" path, fn)
    TEST("header-and-payload-split-anywhere",
         test_header_and_payload_split_anywhere);
    TEST("one-byte-each", test_one_byte_each);
    TEST("most-pieces-there-can-be", test_most_pieces_there_can_be);
    TEST("more-pieces-are-refused", test_more_pieces_are_refused);
    TEST("chain-shorter-than-a-header-is-returned",
         test_chain_shorter_than_a_header);
    TEST("chain-without-readable-memory-is-returned",
         test_chain_without_readable_memory);
    TEST("len-shorter-than-the-chain-counts",
         test_len_shorter_than_the_chain);
    TEST("len-beyond-the-chain-is-refused", test_len_longer_than_the_chain);
    TEST("len-beyond-64k-is-refused", test_len_beyond_64k);
    TEST("64k-are-taken", test_64k_are_taken);
    TEST("wrong-len-of-no-flow-is-silent",
         test_wrong_len_of_no_flow_is_silent);
    TEST("payload-of-other-ops-is-ignored",
         test_payload_of_other_ops_is_ignored);
    TEST("wrong-cid-does-nothing", test_wrong_cid_does_nothing);
    TEST("other-type-gets-rst-of-that-type",
         test_other_type_gets_rst_of_that_type);
    return g_test_run();
}
