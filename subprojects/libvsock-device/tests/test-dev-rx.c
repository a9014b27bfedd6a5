/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device's RX queue: layouts, sizes, bursts, turns, starvation.
 */

#include "vsock-limits.h"
#include "pkt.h"
#include "unix-socket.h"
#include "vm.h"

#include <string.h>
#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

/* A flow with a host program at its other end, and an empty RX ring. */
typedef struct Link {
    Vm *vm;
    int listener;
    int fd;
} Link;

static Link link_new(void)
{
    Link link = { .vm = vm_new_bare(&(VskDevConfig) { 0 }) };

    link.listener = vm_listen(link.vm, HOST_PORT, 8);
    vm_give(link.vm, VSK_QUEUE_RX, 1, VSK_HDR_SIZE);
    link.vm->buf_alloc = 1 << 30;
    link.fd = vm_open(link.vm, link.listener, GUEST_PORT, HOST_PORT);
    vm_take_tx(link.vm);
    return link;
}

static void link_free(Link *link)
{
    close(link->fd);
    close(link->listener);
    vm_free(link->vm);
}

static void give_pieces(Vm *vm, const size_t *sizes, unsigned int n)
{
    fake_ring_add(vm->rings, VSK_QUEUE_RX, fake_chain_new(NULL, 0, sizes, n));
}

static FakeRing *rx(Link *link)
{
    return &link->vm->rings->ring[VSK_QUEUE_RX];
}

/* The next @n used chains are empty. */
static void expect_returned_empty(Link *link, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        FakeChain *chain = fake_ring_take(link->vm->rings, VSK_QUEUE_RX);

        g_assert_nonnull(chain);
        g_assert_cmpuint(chain->used, ==, 0);
        fake_chain_free(chain);
    }
    g_assert_cmpuint(vm_refused(link->vm, VSK_REFUSED_RX_CHAIN_SHORT), ==, n);
}

/* --- Layouts (Q4) -------------------------------------------------------- */

static void test_any_split(void)
{
    Link link = link_new();
    const char *text = "payload";
    size_t total = VSK_HDR_SIZE + strlen(text) + 3;

    for (size_t a = 0; a <= total; a++) {
        size_t b = a + (total - a) / 2;
        size_t sizes[] = { a, 0, b - a, total - b };

        give_pieces(link.vm, sizes, 4);
        unix_write(link.fd, text);
        vm_kick(link.vm, VSK_QUEUE_RX);
        vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, text);
    }
    link_free(&link);
}

static void test_one_byte_each(void)
{
    Link link = link_new();
    size_t sizes[VSK_HDR_SIZE + 7];

    for (unsigned int i = 0; i < G_N_ELEMENTS(sizes); i++) {
        sizes[i] = 1;
    }
    give_pieces(link.vm, sizes, G_N_ELEMENTS(sizes));
    unix_write(link.fd, "payload");
    vm_kick(link.vm, VSK_QUEUE_RX);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "payload");
    link_free(&link);
}

static void test_chain_shorter_than_a_header(void)
{
    Link link = link_new();

    for (size_t len = 0; len < VSK_HDR_SIZE; len++) {
        give_pieces(link.vm, (size_t[]) { len / 2, len - len / 2 }, 2);
    }
    give_pieces(link.vm, (size_t[]) { 100 }, 1);
    unix_write(link.fd, "payload");
    vm_kick(link.vm, VSK_QUEUE_RX);
    expect_returned_empty(&link, VSK_HDR_SIZE);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "payload");
    link_free(&link);
}

static void test_chain_without_writable_memory(void)
{
    Link link = link_new();

    fake_ring_add(link.vm->rings, VSK_QUEUE_RX,
                  fake_chain_new((size_t[]) { 4096 }, 1, NULL, 0));
    give_pieces(link.vm, (size_t[]) { 100 }, 1);
    unix_write(link.fd, "payload");
    vm_kick(link.vm, VSK_QUEUE_RX);
    expect_returned_empty(&link, 1);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "payload");
    link_free(&link);
}

static void test_header_only_chain(void)
{
    Link link = link_new();

    give_pieces(link.vm, (size_t[]) { VSK_HDR_SIZE }, 1);
    give_pieces(link.vm, (size_t[]) { 100 }, 1);
    unix_write(link.fd, "payload");
    vm_kick(link.vm, VSK_QUEUE_RX);
    expect_returned_empty(&link, 1); /* data does not fit */
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "payload");
    give_pieces(link.vm, (size_t[]) { VSK_HDR_SIZE }, 1);
    vm_say(link.vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    link_free(&link);
}

static void test_header_only_chain_in_a_burst(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(1000, 'x');
    size_t got = 0;

    for (int i = 0; i < 40; i++) {
        size_t size = i % 5 == 4 ? VSK_HDR_SIZE : VSK_HDR_SIZE + 100;

        give_pieces(link.vm, &size, 1);
    }
    unix_write(link.fd, text);
    vm_kick(link.vm, VSK_QUEUE_RX);
    while (got < 1000) {
        FakeChain *chain = fake_ring_take(link.vm->rings, VSK_QUEUE_RX);

        g_assert_nonnull(chain);
        g_assert_true(chain->used == 0 || chain->used == VSK_HDR_SIZE + 100);
        got += chain->used ? 100 : 0;
        fake_chain_free(chain);
    }
    g_assert_cmpuint(got, ==, 1000);
    link_free(&link);
}

static void test_chain_of_too_many_pieces(void)
{
    Link link = link_new();
    enum { N = VSK_MAX_CHAIN_IOV + 1 };
    g_autofree size_t *sizes = g_new(size_t, N);

    for (unsigned int i = 0; i < N; i++) {
        sizes[i] = 10;
    }
    give_pieces(link.vm, sizes, N);
    give_pieces(link.vm, sizes, N - 1);
    unix_write(link.fd, "payload");
    vm_kick(link.vm, VSK_QUEUE_RX);
    expect_returned_empty(&link, 1);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "payload");
    give_pieces(link.vm, sizes, N); /* enough for a header in any case */
    vm_say(link.vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    link_free(&link);
}

static void test_huge_chain_gets_no_more_than_64k(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(100000, 'x');
    guint got = 0;

    unix_write(link.fd, text);
    for (int i = 0; i < 2; i++) {
        vm_give(link.vm, VSK_QUEUE_RX, 1, 300000);
        vm_expect(link.vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);
        g_assert_cmpuint(link.vm->payload->len, <=, VSK_MAX_PKT_PAYLOAD);
        got += link.vm->payload->len;
    }
    g_assert_cmpuint(got, ==, 100000);
    link_free(&link);
}

/* --- Bursts -------------------------------------------------------------- */

static void test_bytes_spread_over_chains_in_order(void)
{
    Link link = link_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    enum { LEN = 50000 };
    g_autofree uint8_t *bytes = g_malloc(LEN);
    g_autoptr(GByteArray) got = g_byte_array_new();

    for (int i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)g_rand_int(rand);
    }
    unix_write_bytes(link.fd, bytes, LEN);
    while (got->len < LEN) {
        for (int i = 0; i < 50; i++) {
            size_t sizes[3];

            for (int k = 0; k < 3; k++) {
                sizes[k] = (size_t)g_rand_int_range(rand, 0, 200);
            }
            sizes[2] += VSK_HDR_SIZE + 1;
            give_pieces(link.vm, sizes, 3);
        }
        vm_kick(link.vm, VSK_QUEUE_RX);
        while (vm_get(link.vm)) {
            g_assert_cmpint(link.vm->hdr.op, ==, VSK_OP_RW);
            g_assert_cmpuint(link.vm->payload->len, >, 0);
            g_byte_array_append(got, link.vm->payload->data,
                                link.vm->payload->len);
        }
    }
    g_assert_cmpmem(got->data, got->len, bytes, LEN);
    link_free(&link);
}

static void test_unused_chains_go_back(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(3000, 'x');

    vm_give(link.vm, VSK_QUEUE_RX, 100, VSK_HDR_SIZE + 100);
    unix_write(link.fd, text); /* a burst */
    vm_settle(link.vm);
    while (vm_get(link.vm)) {
    }
    g_assert_cmpuint(fake_ring_avail(link.vm->rings, VSK_QUEUE_RX), ==, 70);
    unix_write(link.fd, "few");
    vm_settle(link.vm);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "few");
    g_assert_cmpuint(fake_ring_avail(link.vm->rings, VSK_QUEUE_RX), ==, 69);
    link_free(&link);
}

static void test_one_interrupt_for_a_burst(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(10000, 'x');
    unsigned int flushes;

    vm_give(link.vm, VSK_QUEUE_RX, 200, VSK_HDR_SIZE + 100);
    flushes = rx(&link)->flushes;
    unix_write(link.fd, text);
    vm_settle(link.vm);
    g_assert_cmpuint(rx(&link)->flushes, ==, flushes + 1);
    link_free(&link);
}

static void test_bytes_of_one_call_are_bounded(void)
{
    enum { LEN = VSK_CALL_BYTES + VSK_TURN_BYTES / 2 };
    Link link = link_new();
    g_autofree char *text = g_strnfill(LEN, 'x');

    link.vm->buf_alloc = 1 << 20;
    vm_say(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    unix_write(link.fd, text);
    for (unsigned int i = 0; i < 16; i++) {
        give_pieces(link.vm, (size_t[]) { VSK_HDR_SIZE + 16384 }, 1);
    }
    vsk_dev_dispatch(link.vm->dev, link.vm->now_ms);
    g_assert_cmpuint(vm_stats(link.vm).bytes_to_guest, <, LEN);
    g_assert_cmpuint(vm_stats(link.vm).bytes_to_guest, >=, VSK_CALL_BYTES);
    g_assert_cmpint(vsk_dev_next_deadline(link.vm->dev), <=,
                    link.vm->now_ms);
    vm_settle(link.vm);
    g_assert_cmpuint(vm_stats(link.vm).bytes_to_guest, ==, LEN);
    link_free(&link);
}

static void test_one_call_is_bounded(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(4 * VSK_CALL_PACKETS, 'x');
    unsigned int n = 0;

    unix_write(link.fd, text);
    vm_settle(link.vm);
    for (unsigned int i = 0; i < 4 * VSK_CALL_PACKETS; i++) {
        give_pieces(link.vm, (size_t[]) { VSK_HDR_SIZE + 1 }, 1);
    }
    vsk_dev_kick(link.vm->dev, VSK_QUEUE_RX, link.vm->now_ms);
    while (vm_get(link.vm)) {
        n++;
    }
    g_assert_cmpuint(n, <=, VSK_CALL_PACKETS + VSK_TURN_CHAINS);
    g_assert_cmpint(vsk_dev_next_deadline(link.vm->dev), <=,
                    link.vm->now_ms);
    vm_settle(link.vm);
    while (vm_get(link.vm)) {
        n++;
    }
    g_assert_cmpuint(n, ==, 4 * VSK_CALL_PACKETS);
    link_free(&link);
}

/* A flow with little to say does not wait for one with much. */
static void test_flows_share_the_ring(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(150000, 'x');
    int other, n;

    vm_give(link.vm, VSK_QUEUE_RX, 1, VSK_HDR_SIZE);
    other = vm_open(link.vm, link.listener, GUEST_PORT + 1, HOST_PORT);
    unix_write(link.fd, text);
    vm_settle(link.vm);
    unix_write(other, "short");
    vm_settle(link.vm);
    for (n = 0; n < 100; n++) {
        vm_give(link.vm, VSK_QUEUE_RX, 1, VSK_HDR_SIZE + 100);
        g_assert_true(vm_get(link.vm));
        if (link.vm->hdr.dst_port == GUEST_PORT + 1) {
            break;
        }
    }
    g_assert_cmpint(n, <, 3);
    g_assert_cmpmem(link.vm->payload->data, link.vm->payload->len, "short",
                    5);
    close(other);
    link_free(&link);
}

static void test_one_turn_of_a_greedy_flow_is_bounded(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(150000, 'x');
    int other;
    guint before = 0;

    vm_give(link.vm, VSK_QUEUE_RX, 1, VSK_HDR_SIZE);
    other = vm_open(link.vm, link.listener, GUEST_PORT + 1, HOST_PORT);
    unix_write(link.fd, text);
    unix_write(other, "short");
    vm_settle(link.vm);
    vm_give(link.vm, VSK_QUEUE_RX, 1000, 4096);
    while (vm_get(link.vm) && link.vm->hdr.dst_port == GUEST_PORT) {
        before += link.vm->payload->len;
    }
    g_assert_cmpuint(link.vm->hdr.dst_port, ==, GUEST_PORT + 1);
    g_assert_cmpuint(before, <=, VSK_TURN_BYTES);
    close(other);
    link_free(&link);
}

/* --- Starvation ---------------------------------------------------------- */

static void test_packets_wait_for_buffers(void)
{
    Link link = link_new();

    unix_write(link.fd, "waiting");
    vm_say(link.vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect_nothing(link.vm);
    vm_give(link.vm, VSK_QUEUE_RX, 2, 4096);
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "waiting");
    link_free(&link);
}

static void test_notified_of_buffers_only_when_starved(void)
{
    Link link = link_new();

    vm_give(link.vm, VSK_QUEUE_RX, 1, 4096);
    g_assert_false(rx(&link)->notify);
    unix_write(link.fd, "one");
    vm_settle(link.vm);
    g_assert_false(rx(&link)->notify); /* the last one was enough */
    unix_write(link.fd, "two");
    vm_settle(link.vm);
    g_assert_true(rx(&link)->notify);
    vm_give(link.vm, VSK_QUEUE_RX, 2, 4096);
    g_assert_false(rx(&link)->notify);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "one");
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "two");
    link_free(&link);
}

static void test_late_buffers_are_seen(void)
{
    Link link = link_new();

    fake_ring_add_late(link.vm->rings, VSK_QUEUE_RX,
                       fake_chain_new(NULL, 0, (size_t[]) { 4096 }, 1));
    unix_write(link.fd, "late");
    vm_settle(link.vm);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "late");
    g_assert_false(rx(&link)->notify);
    link_free(&link);
}

static void test_ring_that_lies_is_not_asked_for_ever(void)
{
    Link link = link_new();

    rx(&link)->lies = true;
    unix_write(link.fd, "waiting");
    vm_settle(link.vm);
    vm_expect_nothing(link.vm);
    g_assert_true(rx(&link)->notify);
    vm_give(link.vm, VSK_QUEUE_RX, 1, 4096);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "waiting");
    link_free(&link);
}

/* Bytes that the guest has no buffer for stay with the host program. */
static void test_nothing_is_read_without_buffers(void)
{
    Link link = link_new();
    char buf[16];

    unix_write(link.fd, "kept");
    vm_settle(link.vm);
    g_assert_cmpuint(vm_stats(link.vm).bytes_to_guest, ==, 0);
    g_assert_cmpint(unix_read(link.fd, buf, sizeof(buf)), <, 0);
    vm_give(link.vm, VSK_QUEUE_RX, 1, 4096);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "kept");
    link_free(&link);
}

static void test_idle_ring_is_left_alone(void)
{
    Link link = link_new();
    unsigned int pops;

    vm_give(link.vm, VSK_QUEUE_RX, 10, 4096);
    pops = rx(&link)->pops;
    vm_say(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_passes(link.vm, 100000);
    g_assert_cmpuint(rx(&link)->pops, ==, pops);
    link_free(&link);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/rx/" path, fn)
    TEST("any-split", test_any_split);
    TEST("one-byte-each", test_one_byte_each);
    TEST("chain-shorter-than-a-header-is-returned",
         test_chain_shorter_than_a_header);
    TEST("chain-without-writable-memory-is-returned",
         test_chain_without_writable_memory);
    TEST("header-only-chain-takes-no-data", test_header_only_chain);
    TEST("header-only-chain-in-a-burst", test_header_only_chain_in_a_burst);
    TEST("chain-of-too-many-pieces-takes-no-data",
         test_chain_of_too_many_pieces);
    TEST("huge-chain-gets-no-more-than-64k",
         test_huge_chain_gets_no_more_than_64k);
    TEST("bytes-spread-over-chains-in-order",
         test_bytes_spread_over_chains_in_order);
    TEST("unused-chains-go-back", test_unused_chains_go_back);
    TEST("one-interrupt-for-a-burst", test_one_interrupt_for_a_burst);
    TEST("bytes-of-one-call-are-bounded",
         test_bytes_of_one_call_are_bounded);
    TEST("one-call-is-bounded", test_one_call_is_bounded);
    TEST("flows-share-the-ring", test_flows_share_the_ring);
    TEST("one-turn-of-a-greedy-flow-is-bounded",
         test_one_turn_of_a_greedy_flow_is_bounded);
    TEST("packets-wait-for-buffers", test_packets_wait_for_buffers);
    TEST("notified-of-buffers-only-when-starved",
         test_notified_of_buffers_only_when_starved);
    TEST("late-buffers-are-seen", test_late_buffers_are_seen);
    TEST("ring-that-lies-is-not-asked-for-ever",
         test_ring_that_lies_is_not_asked_for_ever);
    TEST("nothing-is-read-without-buffers",
         test_nothing_is_read_without_buffers);
    TEST("idle-ring-is-left-alone", test_idle_ring_is_left_alone);
    return g_test_run();
}
