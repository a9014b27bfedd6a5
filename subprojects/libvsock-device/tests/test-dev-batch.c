/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device's TX queue: packets that go as one, and backpressure.
 */

#include "vsock-limits.h"
#include "link.h"
#include "pkt.h"
#include "unix-socket.h"

#include <string.h>
#include <unistd.h>

/* --- Batches ------------------------------------------------------------- */

static void put_text(Vm *vm, uint32_t guest_port, const char *text)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, guest_port, HOST_PORT);

    hdr.len = (uint32_t)strlen(text);
    vm_put(vm, &hdr, text, hdr.len);
}

static void test_neighbours_keep_their_order(void)
{
    Link link = link_new();
    int other = vm_open(link.vm, link.listener, GUEST_PORT + 1, HOST_PORT);
    unsigned int flushes;

    vm_take_tx(link.vm);
    flushes = link.vm->rings->ring[VSK_QUEUE_TX].flushes;
    put_text(link.vm, GUEST_PORT, "one ");
    put_text(link.vm, GUEST_PORT, "two ");
    put_text(link.vm, GUEST_PORT + 1, "other ");
    put_text(link.vm, GUEST_PORT, "three ");
    put_text(link.vm, GUEST_PORT + 1, "flow ");
    put_text(link.vm, GUEST_PORT, "four ");
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect(link.fd, "one two three four ");
    unix_expect(other, "other flow ");
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 6);
    g_assert_cmpuint(link.vm->rings->ring[VSK_QUEUE_TX].flushes, ==,
                     flushes + 1);
    close(other);
    link_free(&link);
}

static void test_neighbours_of_one_guest_port(void)
{
    Link link = link_new();
    int listener = vm_listen(link.vm, HOST_PORT + 1, 1);
    int other = vm_open(link.vm, listener, GUEST_PORT, HOST_PORT + 1);
    VskHdr hdr = vm_hdr(link.vm, VSK_OP_RW, GUEST_PORT, HOST_PORT + 1);

    hdr.len = 5;
    put_text(link.vm, GUEST_PORT, "one");
    vm_put(link.vm, &hdr, "other", 5);
    put_text(link.vm, GUEST_PORT, "two");
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect(link.fd, "onetwo");
    unix_expect(other, "other");
    close(other);
    close(listener);
    link_free(&link);
}

static void test_payload_of_other_ops_joins_no_batch(void)
{
    Link link = link_new();
    VskHdr hdr = vm_hdr(link.vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT,
                        HOST_PORT);

    hdr.len = 4;
    put_text(link.vm, GUEST_PORT, "one ");
    vm_put(link.vm, &hdr, "junk", 4);
    put_text(link.vm, GUEST_PORT, "two");
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect(link.fd, "one two");
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_stats(link.vm).bytes_from_guest, ==, 7);
    link_free(&link);
}

/* More chains, bytes and pieces than one batch holds. */
static void test_more_than_one_batch(void)
{
    static const struct {
        unsigned int packets;
        size_t len;
        unsigned int pieces;
    } rows[] = {
        { 3 * VSK_TURN_CHAINS + 1, 10, 1 },
        { 20, 8000, 1 },
        { 30, 1000, 100 },
    };

    for (unsigned int r = 0; r < G_N_ELEMENTS(rows); r++) {
        Link link = link_new();
        g_autoptr(GString) all = g_string_new(NULL);

        for (unsigned int i = 0; i < rows[r].packets; i++) {
            g_autofree char *text = g_strnfill(rows[r].len,
                                               (char)('a' + i % 26));
            g_autofree size_t *sizes = g_new(size_t, rows[r].pieces + 1);
            VskHdr hdr = rw_hdr(link.vm, rows[r].len);

            sizes[0] = VSK_HDR_SIZE;
            for (unsigned int k = 0; k < rows[r].pieces; k++) {
                sizes[k + 1] = rows[r].len / rows[r].pieces;
            }
            vm_put_pieces(link.vm, &hdr, text, rows[r].len, sizes,
                          rows[r].pieces + 1);
            g_string_append(all, text);
        }
        vm_kick(link.vm, VSK_QUEUE_TX);
        g_assert_cmpuint(vm_take_tx(link.vm), ==, rows[r].packets);
        unix_expect(link.fd, all->str);
        link_free(&link);
    }
}

static void test_batch_ends_at_other_ops(void)
{
    Link link = link_new();
    VskHdr hdr = vm_hdr(link.vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT,
                        HOST_PORT);

    put_text(link.vm, GUEST_PORT, "12345");
    vm_put(link.vm, &hdr, NULL, 0);
    put_text(link.vm, GUEST_PORT, "last");
    hdr.op = VSK_OP_SHUTDOWN;
    hdr.flags = VSK_SHUTDOWN_SEND;
    vm_put(link.vm, &hdr, NULL, 0);
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect_last(link.fd, "12345last");
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    link_free(&link);
}

static void test_batch_ends_at_what_is_refused(void)
{
    Link link = link_new();
    VskHdr hdr = rw_hdr(link.vm, 99);

    put_text(link.vm, GUEST_PORT, "before");
    vm_put(link.vm, &hdr, "short", 5);
    put_text(link.vm, GUEST_PORT, "after");
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect_last(link.fd, "before");
    vm_expect(link.vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 3);
    link_free(&link);
}

static void test_credit_of_the_last_in_a_batch_counts(void)
{
    Link link = link_new();
    char buf[64];

    link.vm->buf_alloc = 0;
    put_text(link.vm, GUEST_PORT, "a");
    link.vm->buf_alloc = 3;
    put_text(link.vm, GUEST_PORT, "b");
    unix_write(link.fd, "12345");
    vm_kick(link.vm, VSK_QUEUE_TX);
    vm_expect(link.vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_data(link.vm, GUEST_PORT, HOST_PORT, "123");
    g_assert_cmpint(unix_read(link.fd, buf, sizeof(buf)), ==, 2);
    link_free(&link);
}

static void test_overrun_hurts_its_flow_alone(void)
{
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) {
        .buf_alloc = VSK_MIN_BUF_ALLOC,
    });
    g_autofree char *text = g_strnfill(VSK_MIN_BUF_ALLOC, 'x');
    int listener = vm_listen(vm, HOST_PORT, 8);
    int fd, other;
    unsigned int sent = 0;

    vm_give(vm, VSK_QUEUE_RX, 16, 4096);
    fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    other = vm_open(vm, listener, GUEST_PORT + 1, HOST_PORT);
    do {
        g_assert_cmpuint(sent++, <, 1000);
        put_text(vm, GUEST_PORT + 1, "x");
        put_text(vm, GUEST_PORT, text); /* nobody reads it */
        vm_kick(vm, VSK_QUEUE_TX);
        while (vm_get(vm) && vm->hdr.op == VSK_OP_CREDIT_UPDATE) {
            vm_give(vm, VSK_QUEUE_RX, 1, 4096);
        }
    } while (!vm_refused(vm, VSK_REFUSED_CREDIT));
    g_assert_cmpint(vm->hdr.op, ==, VSK_OP_RST);
    g_assert_cmpuint(vm->hdr.dst_port, ==, GUEST_PORT);
    vm_send(vm, GUEST_PORT + 1, HOST_PORT, "alive");
    vm_expect_nothing(vm);
    close(fd);
    close(other);
    close(listener);
}

static void test_late_packets_are_seen(void)
{
    Link link = link_new();
    size_t sizes[] = { VSK_HDR_SIZE, 4 };
    VskHdr hdr = rw_hdr(link.vm, 4);
    FakeChain *chain = fake_chain_new(sizes, 2, NULL, 0);

    vsk_hdr_encode(&hdr, chain->out, 1);
    memcpy(chain->out[1].iov_base, "late", 4);
    fake_ring_add_late(link.vm->rings, VSK_QUEUE_TX, chain);
    put_text(link.vm, GUEST_PORT, "early ");
    vm_kick(link.vm, VSK_QUEUE_TX);
    unix_expect(link.fd, "early late");
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 2);
    link_free(&link);
}

static void test_ring_that_lies_is_not_asked_for_ever(void)
{
    Link link = link_new();
    FakeRing *tx = &link.vm->rings->ring[VSK_QUEUE_TX];

    tx->lies = true;
    assert_alive(&link);
    g_assert_true(tx->notify);
    link_free(&link);
}

/* --- Backpressure (Q1) --------------------------------------------------- */

static void test_goes_on_while_rx_is_full(void)
{
    Link link = link_new();

    while (fake_ring_avail(link.vm->rings, VSK_QUEUE_RX)) {
        vm_say(link.vm, VSK_OP_RW, 1, 1);
        g_assert_true(vm_get(link.vm));
    }
    for (int i = 0; i < 100; i++) {
        vm_send(link.vm, GUEST_PORT, HOST_PORT, "on and on");
        unix_expect(link.fd, "on and on");
    }
    link_free(&link);
}

static void test_stops_when_replies_wait(void)
{
    enum { N = 3 * VSK_MAX_ORPHAN_RSTS };
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) { 0 });
    unsigned int left;

    for (uint32_t i = 0; i < N; i++) {
        VskHdr hdr = vm_hdr(vm, VSK_OP_RW, i, 1);

        vm_put(vm, &hdr, NULL, 0);
    }
    vm_kick(vm, VSK_QUEUE_TX);
    left = fake_ring_avail(vm->rings, VSK_QUEUE_TX);
    g_assert_cmpuint(left, >=, N - VSK_MAX_ORPHAN_RSTS);
    g_assert_cmpuint(left, <, N);
    g_assert_false(vm->rings->ring[VSK_QUEUE_TX].notify); /* no use */
    vm_kick(vm, VSK_QUEUE_TX);
    g_assert_cmpuint(fake_ring_avail(vm->rings, VSK_QUEUE_TX), ==, left);
    for (uint32_t i = 0; i < N; i++) {
        vm_give(vm, VSK_QUEUE_RX, 1, VSK_HDR_SIZE);
        vm_expect(vm, VSK_OP_RST, i, 1); /* in order, none lost */
    }
    g_assert_cmpuint(vm_take_tx(vm), ==, N);
    g_assert_true(vm->rings->ring[VSK_QUEUE_TX].notify);
    vm_expect_nothing(vm);
}

/* One notification for all buffers must do. */
static void test_goes_on_when_replies_have_gone(void)
{
    enum { N = 3 * VSK_MAX_ORPHAN_RSTS };
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) { 0 });

    for (uint32_t i = 0; i < N; i++) {
        VskHdr hdr = vm_hdr(vm, VSK_OP_RW, i, 1);

        vm_put(vm, &hdr, NULL, 0);
    }
    vm_kick(vm, VSK_QUEUE_TX);
    vm_give(vm, VSK_QUEUE_RX, N, VSK_HDR_SIZE);
    for (uint32_t i = 0; i < N; i++) {
        vm_expect(vm, VSK_OP_RST, i, 1);
    }
    g_assert_cmpuint(vm_take_tx(vm), ==, N);
}

static void test_stop_ends_with_a_driver_reset(void)
{
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) { 0 });

    for (uint32_t i = 0; i < 2 * VSK_MAX_ORPHAN_RSTS; i++) {
        VskHdr hdr = vm_hdr(vm, VSK_OP_RW, i, 1);

        vm_put(vm, &hdr, NULL, 0);
    }
    vm_kick(vm, VSK_QUEUE_TX);
    vsk_dev_set_driver_ok(vm->dev, false, 0, vm->now_ms);
    fake_rings_clear(vm->rings);
    vsk_dev_set_driver_ok(vm->dev, true, 0, vm->now_ms);
    vm_give(vm, VSK_QUEUE_RX, 8, 4096);
    vm_expect_nothing(vm); /* of before */
    vm_say(vm, VSK_OP_RW, 5, 6);
    vm_expect(vm, VSK_OP_RST, 5, 6);
}

static void test_one_call_is_bounded(void)
{
    Link link = link_new();
    enum { N = 4 * VSK_CALL_PACKETS };

    for (uint32_t i = 0; i < N; i++) {
        put_text(link.vm, GUEST_PORT, "x");
    }
    vsk_dev_kick(link.vm->dev, VSK_QUEUE_TX, link.vm->now_ms);
    g_assert_cmpuint(fake_ring_avail(link.vm->rings, VSK_QUEUE_TX), >=,
                     N - VSK_CALL_PACKETS);
    g_assert_cmpint(vsk_dev_next_deadline(link.vm->dev), <=,
                    link.vm->now_ms);
    vm_settle(link.vm);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, N);
    link_free(&link);
}

static void test_bytes_of_one_call_are_bounded(void)
{
    Link link = link_new();
    g_autofree char *text = g_strnfill(VSK_MAX_PKT_PAYLOAD, 'x');
    enum { N = 3 * VSK_CALL_BYTES / VSK_MAX_PKT_PAYLOAD };

    for (int i = 0; i < N; i++) {
        /* To no flow: the bytes are looked at all the same. */
        put_text(link.vm, GUEST_PORT + 1, text);
    }
    vsk_dev_kick(link.vm->dev, VSK_QUEUE_TX, link.vm->now_ms);
    g_assert_cmpuint(fake_ring_avail(link.vm->rings, VSK_QUEUE_TX), >=,
                     N - VSK_CALL_BYTES / VSK_MAX_PKT_PAYLOAD);
    vm_settle(link.vm);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, N);
    link_free(&link);
}

static void test_notification_is_on_when_idle(void)
{
    Link link = link_new();

    g_assert_true(link.vm->rings->ring[VSK_QUEUE_TX].notify);
    assert_alive(&link);
    g_assert_true(link.vm->rings->ring[VSK_QUEUE_TX].notify);
    link_free(&link);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/tx/" path, fn)
    TEST("neighbours-keep-their-order", test_neighbours_keep_their_order);
    TEST("neighbours-of-one-guest-port", test_neighbours_of_one_guest_port);
    TEST("payload-of-other-ops-joins-no-batch",
         test_payload_of_other_ops_joins_no_batch);
    TEST("more-than-one-batch", test_more_than_one_batch);
    TEST("batch-ends-at-other-ops", test_batch_ends_at_other_ops);
    TEST("batch-ends-at-what-is-refused",
         test_batch_ends_at_what_is_refused);
    TEST("credit-of-the-last-in-a-batch-counts",
         test_credit_of_the_last_in_a_batch_counts);
    TEST("overrun-hurts-its-flow-alone", test_overrun_hurts_its_flow_alone);
    TEST("late-packets-are-seen", test_late_packets_are_seen);
    TEST("ring-that-lies-is-not-asked-for-ever",
         test_ring_that_lies_is_not_asked_for_ever);
    TEST("goes-on-while-rx-is-full", test_goes_on_while_rx_is_full);
    TEST("stops-when-replies-wait", test_stops_when_replies_wait);
    TEST("goes-on-when-replies-have-gone",
         test_goes_on_when_replies_have_gone);
    TEST("stop-ends-with-a-driver-reset",
         test_stop_ends_with_a_driver_reset);
    TEST("one-call-is-bounded", test_one_call_is_bounded);
    TEST("bytes-of-one-call-are-bounded",
         test_bytes_of_one_call_are_bounded);
    TEST("notification-is-on-when-idle", test_notification_is_on_when_idle);
    return g_test_run();
}
