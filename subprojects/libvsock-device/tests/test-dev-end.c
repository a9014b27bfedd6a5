/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Ends of flows through the whole device, on real host sockets: S3 to S7 of the
 * conformance table.
 */

#include "vsock-limits.h"
#include "unix-socket.h"
#include "vm.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

static void vm_shuts(Vm *vm, uint32_t guest_port, uint32_t host_port,
                     uint32_t flags)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_SHUTDOWN, guest_port, host_port);

    hdr.flags = flags;
    vm_put(vm, &hdr, NULL, 0);
    vm_kick(vm, VSK_QUEUE_TX);
}

static void expect_shutdown(Vm *vm, uint32_t flags)
{
    vm_expect(vm, VSK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.flags, ==, flags);
}

static void assert_gone(Vm *vm)
{
    vm_expect_nothing(vm);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==, -1);
}

/* --- Ending (S3 to S7) --------------------------------------------------- */

static void test_guest_half_closes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_send(vm, GUEST_PORT, HOST_PORT, "question");
    vm_shuts(vm, GUEST_PORT, HOST_PORT, VSK_SHUTDOWN_SEND);
    unix_expect_last(fd, "question");
    unix_write(fd, "answer");
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "answer");
    close(fd);
    vm_settle(vm);
    expect_shutdown(vm, VSK_SHUTDOWN_BOTH);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_guest_reads_no_more(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_shuts(vm, GUEST_PORT, HOST_PORT, VSK_SHUTDOWN_RECEIVE);
    g_assert_cmpint(send(fd, "x", 1, MSG_NOSIGNAL), ==, -1);
    g_assert_cmpint(errno, ==, EPIPE);
    vm_send(vm, GUEST_PORT, HOST_PORT, "more");
    unix_expect(fd, "more");
    vm_expect_nothing(vm);
    close(fd);
    close(listener);
}

static void test_guest_closes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_send(vm, GUEST_PORT, HOST_PORT, "last");
    vm_shuts(vm, GUEST_PORT, HOST_PORT, VSK_SHUTDOWN_BOTH);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    unix_expect_last(fd, "last");
    assert_gone(vm);
    close(fd);
    close(listener);
}

static void test_host_half_closes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    unix_write(fd, "last");
    shutdown(fd, SHUT_WR);
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "last");
    expect_shutdown(vm, VSK_SHUTDOWN_SEND);
    vm_send(vm, GUEST_PORT, HOST_PORT, "answer");
    unix_expect(fd, "answer");
    vm_shuts(vm, GUEST_PORT, HOST_PORT, VSK_SHUTDOWN_SEND);
    unix_expect_last(fd, "");
    expect_shutdown(vm, VSK_SHUTDOWN_BOTH);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(fd);
    close(listener);
}

static void test_host_closes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    unix_write(fd, "last");
    close(fd);
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "last");
    expect_shutdown(vm, VSK_SHUTDOWN_BOTH);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_host_closes_with_unread_bytes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_send(vm, GUEST_PORT, HOST_PORT, "unread");
    unix_write(fd, "last");
    close(fd);
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "last");
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_host_closes_with_unread_bytes_without_credit(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd;

    vm->buf_alloc = 0;
    fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    vm_send(vm, GUEST_PORT, HOST_PORT, "unread");
    vm_expect(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    close(fd);
    vm_settle(vm);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

/* A host program that sends out-of-band data loses that byte, no other. */
static void test_bytes_behind_urgent_data_arrive(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    g_autoptr(GString) got = g_string_new(NULL);

    unix_write(fd, "before");
    if (send(fd, "!", 1, MSG_OOB) < 0) {
        g_test_skip("this kernel has no out-of-band data on AF_UNIX");
    }
    unix_write(fd, " after");
    vm_settle(vm);
    while (vm_get(vm)) {
        g_string_append_len(got, (char *)vm->payload->data,
                            vm->payload->len);
    }
    g_assert_cmpstr(got->str, ==, "before after");
    close(fd);
    close(listener);
}

static void test_unanswered_close_is_reset(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);

    close(vm_open(vm, listener, GUEST_PORT, HOST_PORT));
    vm_settle(vm);
    expect_shutdown(vm, VSK_SHUTDOWN_BOTH);
    vm_passes(vm, VSK_DEFAULT_CLOSE_TIMEOUT_MS - 1);
    vm_expect_nothing(vm);
    vm_passes(vm, 1);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_slow_guest_is_not_reset(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    unix_write(fd, "slowly read");
    close(fd);
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "slowly read");
    expect_shutdown(vm, VSK_SHUTDOWN_BOTH);
    for (int i = 0; i < 10; i++) {
        vm_passes(vm, VSK_DEFAULT_CLOSE_TIMEOUT_MS);
        vm_expect(vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
        vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    }
    vm->fwd_cnt = 11;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_passes(vm, VSK_DEFAULT_CLOSE_TIMEOUT_MS);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_rst_delivers_what_was_sent(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    g_autofree char *text = g_strnfill(65536, 'x');
    g_autofree char *buf = g_malloc(65536);
    uint32_t sent = 0, got = 0;
    ssize_t n;

    while (vm_stats(vm).staged < 100000) {
        vm_send(vm, GUEST_PORT, HOST_PORT, text);
        sent += 65536;
        while (vm_get(vm)) {
            vm_give(vm, VSK_QUEUE_RX, 1, 4096);
        }
    }
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    vm_expect_nothing(vm);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 1); /* it drains */
    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RESPONSE, GUEST_PORT, HOST_PORT);
    while ((n = unix_read(fd, buf, 65536)) > 0) {
        got += (uint32_t)n;
        vm_settle(vm);
    }
    g_assert_cmpint(n, ==, 0);
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 1); /* the new one */
    close(fd);
    close(listener);
}

static void test_data_crossing_our_rst(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);

    vm_send(vm, GUEST_PORT, HOST_PORT, "unread");
    close(fd);
    hdr.len = 5;
    vm_put(vm, &hdr, "cross", 5);
    vm_kick(vm, VSK_QUEUE_TX);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    vm_send(vm, GUEST_PORT, HOST_PORT, "later");
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT); /* of no flow */
    g_assert_cmpuint(vm->hdr.buf_alloc, ==, 0);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    assert_gone(vm);
    close(listener);
}

static void test_ports_are_reused_at_once(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);

    for (int i = 0; i < 5; i++) {
        int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

        vm_shuts(vm, GUEST_PORT, HOST_PORT, VSK_SHUTDOWN_BOTH);
        vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
        close(fd);
        vm_give(vm, VSK_QUEUE_RX, 2, 4096);
    }
    assert_gone(vm);
    close(listener);
}

static void test_client_killed_while_connecting(void)
{
    g_autoptr(Vm) vm = vm_new();
    int fd = vm_client(vm, 22);

    g_assert_true(vm_get(vm));
    close(fd);
    vm_settle(vm);
    vm_expect(vm, VSK_OP_RST, 22, vm->hdr.src_port);
    vm_say(vm, VSK_OP_RST, 22, vm->hdr.src_port);
    assert_gone(vm);
}

/* The device is to end, and its driver lives on. */
static void test_end_resets_all(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 2);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    int other = vm_open(vm, listener, GUEST_PORT + 1, HOST_PORT);

    vsk_dev_end_flows(vm->dev, vm->now_ms);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT + 1, HOST_PORT);
    assert_gone(vm);
    unix_expect_last(fd, "");
    unix_expect_last(other, "");
    close(fd);
    close(other);
    close(listener);
}

/* A client that waits for its answer, and one that has not written its line. */
static void test_end_resets_what_begins(void)
{
    g_autoptr(Vm) vm = vm_new();
    int fd = vm_client(vm, 22);

    vm_settle(vm);
    g_assert_true(vm_get(vm));
    g_assert_cmpuint(vm->hdr.op, ==, VSK_OP_REQUEST);
    vsk_dev_end_flows(vm->dev, vm->now_ms);
    vm_expect(vm, VSK_OP_RST, 22, vm->hdr.src_port);
    unix_expect_last(fd, "");
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/flow/" path, fn)
    TEST("guest-half-closes", test_guest_half_closes);
    TEST("guest-reads-no-more", test_guest_reads_no_more);
    TEST("guest-closes", test_guest_closes);
    TEST("host-half-closes", test_host_half_closes);
    TEST("host-closes", test_host_closes);
    TEST("host-closes-with-unread-bytes",
         test_host_closes_with_unread_bytes);
    TEST("host-closes-with-unread-bytes-without-credit",
         test_host_closes_with_unread_bytes_without_credit);
    TEST("bytes-behind-urgent-data-arrive",
         test_bytes_behind_urgent_data_arrive);
    TEST("unanswered-close-is-reset", test_unanswered_close_is_reset);
    TEST("slow-guest-is-not-reset", test_slow_guest_is_not_reset);
    TEST("rst-delivers-what-was-sent", test_rst_delivers_what_was_sent);
    TEST("data-crossing-our-rst", test_data_crossing_our_rst);
    TEST("ports-are-reused-at-once", test_ports_are_reused_at_once);
    TEST("client-killed-while-connecting",
         test_client_killed_while_connecting);
    TEST("end-resets-all", test_end_resets_all);
    TEST("end-resets-what-begins", test_end_resets_what_begins);
    return g_test_run();
}
