/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What fault.c makes of the library's calls, and that it leaves those of tests
 * alone.
 */

#include "fault.h"
#include "unix-socket.h"
#include "vm.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Only those of the device are counted, though the test makes many, too. */
static void test_counts_calls_of_the_library(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host;

    fault_reset();
    host = vm_open(vm, listener, 1024, 80);
    vm_send(vm, 1024, 80, "abc");
    unix_expect(host, "abc");
    g_assert_cmpuint(fault_calls(FAULT_SOCKET), ==, 1);
    g_assert_cmpuint(fault_calls(FAULT_BIND), ==, 1);
    g_assert_cmpuint(fault_calls(FAULT_CONNECT), ==, 1);
    g_assert_cmpuint(fault_calls(FAULT_SENDMSG), ==, 1);
    g_assert_cmpuint(fault_calls(FAULT_LISTEN), ==, 0);
    g_assert_cmpuint(fault_calls(FAULT_ACCEPT4), ==, 0);
    g_assert_cmpuint(fault_hits(), ==, 0);
    close(host);
    close(listener);
}

static void test_fails_the_nth_call(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 4);

    fault_reset();
    fault_at(FAULT_SOCKET, 1, 2, EMFILE);
    close(vm_open(vm, listener, 1024, 80));
    vm_say(vm, VSK_OP_REQUEST, 1025, 80);
    vm_say(vm, VSK_OP_REQUEST, 1026, 80);
    g_assert_cmpuint(fault_hits(), ==, 2);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_LIMIT), ==, 2);
    vm_say(vm, VSK_OP_REQUEST, 1027, 80);
    g_assert_cmpuint(fault_calls(FAULT_SOCKET), ==, 4);
    g_assert_cmpuint(fault_hits(), ==, 2);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_LIMIT), ==, 0);
    close(listener);
}

/*
 * The rest is written when epoll tells that there is room, which it does when
 * it is asked, and when the host program has read.
 */
static void test_cuts_a_write_short(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    fault_reset();
    fault_at(FAULT_SENDMSG, 0, 3, FAULT_ONE);
    vm_send(vm, 1024, 80, "abcdef");
    g_assert_cmpuint(fault_calls(FAULT_SENDMSG), ==, 2);
    unix_expect(host, "ab");
    vm_settle(vm);
    unix_expect(host, "c");
    vm_settle(vm);
    unix_expect(host, "def");
    g_assert_cmpuint(fault_calls(FAULT_SENDMSG), ==, 4);
    fault_reset();
    fault_at(FAULT_SENDMSG, 0, 1, FAULT_HALF);
    vm_send(vm, 1024, 80, "abcdef");
    g_assert_cmpuint(fault_calls(FAULT_SENDMSG), ==, 2);
    unix_expect(host, "abcdef");
    close(host);
    close(listener);
}

/* As if what is there came in pieces, or later. */
static void test_cuts_a_read_short(void)
{
    static const int errs[] = { FAULT_ONE, FAULT_HALF, EAGAIN };
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    for (size_t i = 0; i < G_N_ELEMENTS(errs); i++) {
        fault_reset();
        fault_at(FAULT_RECVMSG, 0, 1, errs[i]);
        unix_write(host, "abcdef");
        vm_settle(vm);
        g_assert_cmpuint(fault_hits(), ==, 1);
        if (errs[i] != EAGAIN) {
            vm_expect_data(vm, 1024, 80,
                           errs[i] == FAULT_ONE ? "a" : "abc");
        }
        vm_expect_data(vm, 1024, 80, errs[i] == EAGAIN ? "abcdef" :
                       errs[i] == FAULT_ONE ? "bcdef" : "def");
        vm_expect_nothing(vm);
    }
    close(host);
    close(listener);
}

/* Told of nothing and of what has gone, the device comes to rest. */
static void test_tells_of_what_is_not(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 2);
    int left, host;

    fault_reset();
    left = vm_open(vm, listener, 1024, 80);
    host = vm_open(vm, listener, 1025, 80);
    vm_say(vm, VSK_OP_RST, 1024, 80);
    fault_at(FAULT_EPOLL_WAIT, fault_calls(FAULT_EPOLL_WAIT), 100,
             FAULT_SPURIOUS);
    for (int i = 0; i < 10; i++) {
        vsk_dev_dispatch(vm->dev, vm->now_ms);
    }
    g_assert_cmpuint(fault_hits(), >=, 10);
    vm_expect_nothing(vm);
    vm_send(vm, 1025, 80, "abc");
    unix_expect(host, "abc");
    unix_expect_last(left, "");
    close(left);
    close(host);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/fault/" path, fn)
    TEST("counts-calls-of-the-library", test_counts_calls_of_the_library);
    TEST("fails-the-nth-call", test_fails_the_nth_call);
    TEST("cuts-a-write-short", test_cuts_a_write_short);
    TEST("cuts-a-read-short", test_cuts_a_read_short);
    TEST("tells-of-what-is-not", test_tells_of_what_is_not);
    return g_test_run();
}
