/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a device makes of certain failures of its host sockets: cases of
 * test-faults.c that have more to tell.
 */

#include "fault.h"
#include "unix-socket.h"
#include "vm.h"
#include "vsock-limits.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One message of the guest, of @len equal bytes. */
static void send_message(Vm *vm, char byte, size_t len)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, 1024, 80);
    g_autofree char *bytes = g_malloc(len);

    memset(bytes, byte, len);
    hdr.len = (uint32_t)len;
    hdr.flags = VSK_SEQ_EOM;
    vm_put(vm, &hdr, bytes, len);
    vm_kick(vm, VSK_QUEUE_TX);
}

/* Time passes, as far as the device wants to be called. */
static void try_again(Vm *vm, unsigned int times)
{
    for (unsigned int i = 0; i < times; i++) {
        g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==,
                        vm->now_ms + VSK_WRITE_RETRY_MS);
        vm_passes(vm, VSK_WRITE_RETRY_MS);
    }
}

static void test_write_is_tried_again(void)
{
    static const int errs[] = { ENOBUFS, ENOMEM };
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    for (size_t i = 0; i < G_N_ELEMENTS(errs); i++) {
        fault_reset();
        fault_at(FAULT_SENDMSG, 0, 1000, errs[i]);
        vm_send(vm, 1024, 80, "abc");
        try_again(vm, VSK_WRITE_RETRIES - 1);
        vm_send(vm, 1024, 80, "def");
        unix_expect_nothing(host);
        fault_reset();
        try_again(vm, 1);
        unix_expect(host, "abcdef");
        g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==, -1);
        vm_expect_nothing(vm);
    }
    close(host);
    close(listener);
}

static void test_message_is_tried_again(void)
{
    g_autoptr(Vm) vm = vm_new_seqpacket();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    /* The second is written at once, the third and fourth are behind it. */
    fault_reset();
    fault_at(FAULT_SENDMSG, 1, 1, ENOBUFS);
    send_message(vm, 'a', 1);
    send_message(vm, 'b', 2);
    send_message(vm, 'c', 3);
    send_message(vm, 'd', 4);
    vm_passes(vm, VSK_WRITE_RETRY_MS);
    unix_expect_message(host, "a");
    unix_expect_message(host, "bb");
    unix_expect_message(host, "ccc");
    unix_expect_message(host, "dddd");
    g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==, -1);
    close(host);
    close(listener);
}

/* The guest resets a flow whose bytes wait for memory: they are written yet. */
static void test_drains_when_there_is_memory(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    fault_reset();
    fault_at(FAULT_SENDMSG, 0, 1000, ENOBUFS);
    vm_send(vm, 1024, 80, "abc");
    vm_say(vm, VSK_OP_RST, 1024, 80);
    try_again(vm, 3);
    fault_reset();
    try_again(vm, 1);
    unix_expect_last(host, "abc");
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    close(host);
    close(listener);
}

static void test_no_memory_for_long_resets(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    fault_reset();
    fault_at(FAULT_SENDMSG, 0, 1000, ENOBUFS);
    vm_send(vm, 1024, 80, "abc");
    try_again(vm, VSK_WRITE_RETRIES);
    vm_expect_nothing(vm);
    try_again(vm, 1);
    vm_expect(vm, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_LIMIT), ==, 1);
    unix_expect_last(host, "");
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    g_assert_cmpuint(vm_stats(vm).staged, ==, 0);
    g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==, -1);
    close(host);
    close(listener);
}

/*
 * A message that is read in pieces is taken out of the socket when all of it
 * was read.  If that fails, it must not be read again.
 */
static void test_message_is_not_read_twice(void)
{
    g_autoptr(Vm) vm = vm_new_seqpacket();
    g_autofree char *large = g_strnfill(6000, 'a');
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);
    size_t got = 0;

    fault_reset();
    fault_at(FAULT_RECVMSG, 3, 1, ENOMEM); /* after a look and two pieces */
    unix_write(host, large);
    unix_write(host, "next");
    vm_settle(vm);
    g_assert_cmpuint(fault_hits(), ==, 1);
    while (got < strlen(large)) {
        vm_expect(vm, VSK_OP_RW, 1024, 80);
        g_assert_cmpmem(vm->payload->data, vm->payload->len, large,
                        vm->payload->len);
        got += vm->payload->len;
    }
    g_assert_cmpuint(got, ==, strlen(large));
    g_assert_cmpuint(vm->hdr.flags, ==, VSK_SEQ_EOM);
    vm_expect_data(vm, 1024, 80, "next");
    vm_expect_nothing(vm);
    close(host);
    close(listener);
}

/* Write empty messages until there are @n, which takes some privilege. */
static bool write_empty_messages(int fd, unsigned int n)
{
    int size = 1 << 30;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0) {
        g_test_skip("needs CAP_NET_ADMIN, to write more than a user may");
        return false;
    }
    for (unsigned int i = 0; i < n; i++) {
        g_assert_cmpint(send(fd, "", 0, MSG_DONTWAIT), ==, 0);
    }
    return true;
}

/* However many messages a host program left, a close takes no longer. */
static void test_close_drops_so_many(void)
{
    g_autoptr(Vm) vm = vm_new_seqpacket();
    int listener = vm_listen(vm, 80, 1);
    int host = vm_open(vm, listener, 1024, 80);

    if (write_empty_messages(host, 2 * VSK_CLOSE_MESSAGES)) {
        fault_reset();
        vm_say(vm, VSK_OP_RST, 1024, 80);
        /* And the ones that the RX ring had room for. */
        g_assert_cmpuint(fault_calls(FAULT_RECVMSG), >=, VSK_CLOSE_MESSAGES);
        g_assert_cmpuint(fault_calls(FAULT_RECVMSG), <,
                         VSK_CLOSE_MESSAGES + 200);
        g_assert_cmpuint(fault_calls(FAULT_CLOSE), ==, 1);
    }
    close(host);
    close(listener);
}

/* The directory goes while the device connects: nobody else is to blame. */
static void test_directory_that_goes(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, 80, 1);

    fault_reset();
    fault_at(FAULT_STAT, 0, 1, ENOENT);
    vm_say(vm, VSK_OP_REQUEST, 1024, 80);
    g_assert_cmpuint(fault_hits(), ==, 1);
    vm_expect(vm, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_NO_LISTENER), ==, 1);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_UNSAFE_LISTENER), ==, 0);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/socket/faults/" path, fn)
    TEST("write-without-memory-is-tried-again", test_write_is_tried_again);
    TEST("message-without-memory-is-tried-again", test_message_is_tried_again);
    TEST("drains-when-there-is-memory", test_drains_when_there_is_memory);
    TEST("write-without-memory-for-long-resets",
         test_no_memory_for_long_resets);
    TEST("message-is-not-read-twice", test_message_is_not_read_twice);
    TEST("close-drops-so-many-messages", test_close_drops_so_many);
    TEST("directory-that-goes-is-not-another-users",
         test_directory_that_goes);
    return g_test_run();
}
