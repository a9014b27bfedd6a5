/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Flows through the whole device, on real host sockets: S1, S2, B, R and L rows
 * of the conformance table.
 */

#include "vsock-limits.h"
#include "unix-socket.h"
#include "vm.h"
#include "vsock-path.h"

#include <string.h>
#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

static void assert_gone(Vm *vm)
{
    vm_expect_nothing(vm);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==, -1);
}

/* --- Connecting (S1, S2, R2, L1) ----------------------------------------- */

static void test_guest_connects(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    uint64_t cid;
    uint32_t port;

    g_assert_cmpuint(vm->hdr.buf_alloc, ==, VSK_DEFAULT_BUF_ALLOC);
    g_assert_cmpuint(vm->hdr.fwd_cnt, ==, 0);
    g_assert_cmpuint(vm->hdr.type, ==, VSK_TYPE_STREAM);
    unix_get_source(fd, &cid, &port);
    g_assert_cmpuint(cid, ==, VM_CID);
    g_assert_cmpuint(port, ==, GUEST_PORT);
    vm_send(vm, GUEST_PORT, HOST_PORT, "ping");
    unix_expect(fd, "ping");
    unix_write(fd, "pong");
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "pong");
    g_assert_cmpuint(vm->hdr.fwd_cnt, ==, 4);
    close(fd);
    close(listener);
}

static void test_no_listener_is_refused(void)
{
    g_autoptr(Vm) vm = vm_new();

    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_NO_LISTENER), ==, 1);
    assert_gone(vm);
}

static void test_host_connects(void)
{
    g_autoptr(Vm) vm = vm_new();
    uint32_t host_port;
    int fd = vm_open_from_host(vm, 22, &host_port);

    g_assert_cmpuint(host_port, >=, VSK_FIRST_HOST_PORT);
    g_assert_cmpuint(host_port, <=, VSK_LAST_HOST_PORT);
    unix_write(fd, "ping");
    vm_settle(vm);
    vm_expect_data(vm, 22, host_port, "ping");
    vm_send(vm, 22, host_port, "pong");
    unix_expect(fd, "pong");
    close(fd);
}

static void test_bytes_behind_the_line_are_data(void)
{
    g_autoptr(Vm) vm = vm_new();
    int fd = unix_connect(vm->path);
    uint32_t host_port;

    unix_write(fd, "CONNECT 22\nearly");
    vm_settle(vm);
    g_assert_true(vm_get(vm));
    g_assert_cmpint(vm->hdr.op, ==, VSK_OP_REQUEST);
    host_port = vm->hdr.src_port;
    vm_expect_nothing(vm);
    vm_say(vm, VSK_OP_RESPONSE, 22, host_port);
    vm_expect_data(vm, 22, host_port, "early");
    close(fd);
}

static void test_guest_refuses(void)
{
    g_autoptr(Vm) vm = vm_new();
    int fd = vm_client(vm, 22);

    g_assert_true(vm_get(vm));
    vm_say(vm, VSK_OP_RST, 22, vm->hdr.src_port);
    unix_expect_last(fd, "");
    assert_gone(vm);
    close(fd);
}

static void test_silent_guest_is_given_up(void)
{
    g_autoptr(Vm) vm = vm_new();
    int fd = vm_client(vm, 22);
    uint32_t host_port;

    g_assert_true(vm_get(vm));
    host_port = vm->hdr.src_port;
    vm_passes(vm, VSK_DEFAULT_REQUEST_TIMEOUT_MS - 1);
    unix_expect_nothing(fd);
    vm_passes(vm, 1);
    vm_expect(vm, VSK_OP_RST, 22, host_port);
    g_assert_cmpuint(vm->hdr.buf_alloc, ==, VSK_DEFAULT_BUF_ALLOC); /* B2 */
    unix_expect_last(fd, "");
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_REQUEST_TIMEOUT), ==, 1);
    vm_say(vm, VSK_OP_RESPONSE, 22, host_port); /* too late */
    vm_expect(vm, VSK_OP_RST, 22, host_port);
    assert_gone(vm);
    close(fd);
}

static void test_host_ports_differ(void)
{
    g_autoptr(Vm) vm = vm_new();
    uint32_t a, b;
    int fd_a = vm_open_from_host(vm, 22, &a);
    int fd_b = vm_open_from_host(vm, 22, &b);

    g_assert_cmpuint(a, !=, b);
    close(fd_a);
    close(fd_b);
}

static void test_too_many_flows(void)
{
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) { .max_conns = 2 });
    int listener = vm_listen(vm, HOST_PORT, 8);
    int a, b, c;

    vm_give(vm, VSK_QUEUE_RX, 16, 4096);
    a = vm_open(vm, listener, 1, HOST_PORT);
    b = vm_open(vm, listener, 2, HOST_PORT);
    vm_say(vm, VSK_OP_REQUEST, 3, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, 3, HOST_PORT);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_LIMIT), ==, 1);
    vm_say(vm, VSK_OP_RST, 1, HOST_PORT);
    c = vm_open(vm, listener, 3, HOST_PORT);
    close(a);
    close(b);
    close(c);
    close(listener);
}

/* The same guest port to two ports of the host: two flows (A1). */
static void test_flows_of_one_guest_port(void)
{
    g_autoptr(Vm) vm = vm_new();
    int a = vm_listen(vm, 80, 1);
    int b = vm_listen(vm, 81, 1);
    int fd_a = vm_open(vm, a, GUEST_PORT, 80);
    int fd_b = vm_open(vm, b, GUEST_PORT, 81);

    vm_send(vm, GUEST_PORT, 80, "for a");
    vm_send(vm, GUEST_PORT, 81, "for b");
    unix_expect(fd_a, "for a");
    unix_expect(fd_b, "for b");
    close(fd_a);
    close(fd_b);
    close(a);
    close(b);
}

static void test_shared_listener_serves(void)
{
    g_autoptr(Vm) vm = vm_new();
    char path[VSK_SUN_PATH_SIZE];
    int listener;

    g_assert_cmpint(vsk_path_for_port(vm->shared, HOST_PORT, path), ==, 0);
    listener = unix_bind(path, 1);
    close(vm_open(vm, listener, GUEST_PORT, HOST_PORT));
    close(listener);
}

/* --- Credit (B rows) ----------------------------------------------------- */

static void test_guest_credit_is_kept(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd;

    vm->buf_alloc = 4;
    fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    unix_write(fd, "abcdefgh");
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "abcd");
    vm_expect_nothing(vm);
    vm->fwd_cnt = 1;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "e");
    vm->buf_alloc = 2;
    vm->fwd_cnt = 2;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_nothing(vm);
    vm->buf_alloc = UINT32_MAX;
    vm->fwd_cnt = 6; /* more than it got */
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_nothing(vm);
    vm->fwd_cnt = 5;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "fgh");
    close(fd);
    close(listener);
}

static void test_credit_request_is_answered(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_send(vm, GUEST_PORT, HOST_PORT, "12345");
    vm_say(vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.buf_alloc, ==, VSK_DEFAULT_BUF_ALLOC);
    g_assert_cmpuint(vm->hdr.fwd_cnt, ==, 5);
    close(fd);
    close(listener);
}

/* A host program that does not read: the guest is held back, then goes on. */
static void test_slow_host_holds_the_guest_back(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 1);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    g_autofree char *text = g_strnfill(32768, 'x');
    g_autofree char *buf = g_malloc(1 << 20);
    uint32_t sent = 0, heard = 0, got = 0;
    ssize_t n;

    while (sent - heard < VSK_DEFAULT_BUF_ALLOC) {
        vm_send(vm, GUEST_PORT, HOST_PORT, text);
        sent += 32768;
        while (vm_get(vm)) {
            g_assert_cmpint(vm->hdr.op, ==, VSK_OP_CREDIT_UPDATE);
            heard = vm->hdr.fwd_cnt;
            vm_give(vm, VSK_QUEUE_RX, 1, 4096);
        }
        g_assert_cmpuint(sent, <, 16 << 20);
    }
    g_assert_cmpuint(vm_stats(vm).staged, ==, VSK_DEFAULT_BUF_ALLOC);
    while ((n = unix_read(fd, buf, 1 << 20)) > 0) {
        got += (uint32_t)n;
        vm_settle(vm);
    }
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(vm_stats(vm).staged, ==, 0);
    vm_expect(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    close(fd);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/flow/" path, fn)
    TEST("guest-connects", test_guest_connects);
    TEST("no-listener-is-refused", test_no_listener_is_refused);
    TEST("host-connects", test_host_connects);
    TEST("bytes-behind-the-line-are-data",
         test_bytes_behind_the_line_are_data);
    TEST("guest-refuses", test_guest_refuses);
    TEST("silent-guest-is-given-up", test_silent_guest_is_given_up);
    TEST("host-ports-differ", test_host_ports_differ);
    TEST("too-many-are-refused", test_too_many_flows);
    TEST("one-guest-port-two-flows", test_flows_of_one_guest_port);
    TEST("shared-listener-serves", test_shared_listener_serves);
    TEST("guest-credit-is-kept", test_guest_credit_is_kept);
    TEST("credit-request-is-answered", test_credit_request_is_answered);
    TEST("slow-host-holds-the-guest-back",
         test_slow_host_holds_the_guest_back);
    return g_test_run();
}
