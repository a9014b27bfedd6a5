/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Seqpacket flows through the whole device, on real host sockets: rows P1, P2
 * and F2 of the conformance table.
 */

#include "vsock-limits.h"
#include "unix-socket.h"
#include "vm.h"
#include "vsock-path.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

/* An open flow, and the host program's socket. */
static Vm *open_flow(int *ret_fd)
{
    Vm *vm = vm_new_seqpacket();
    int listener = vm_listen(vm, HOST_PORT, 1);

    *ret_fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.type, ==, VSK_TYPE_SEQPACKET);
    close(listener);
    return vm;
}

/* Put an RW packet into the TX ring. */
static void put(Vm *vm, const char *text, uint32_t flags)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);

    hdr.len = (uint32_t)strlen(text);
    hdr.flags = flags;
    vm_put(vm, &hdr, text, hdr.len);
}

static void send_part(Vm *vm, const char *text, uint32_t flags)
{
    put(vm, text, flags);
    vm_kick(vm, VSK_QUEUE_TX);
}

static void expect_part(Vm *vm, const char *text, uint32_t flags)
{
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, text);
    g_assert_cmpuint(vm->hdr.flags, ==, flags);
    g_assert_cmpuint(vm->hdr.type, ==, VSK_TYPE_SEQPACKET);
}

/* --- Guest to host (P1) --------------------------------------------------- */

static void test_message_of_many_packets(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    send_part(vm, "one", 0);
    unix_expect_nothing(fd);
    send_part(vm, " message", 0);
    unix_expect_nothing(fd);
    send_part(vm, "", VSK_SEQ_EOM);
    unix_expect_message(fd, "one message");
    unix_expect_nothing(fd);
    close(fd);
}

static void test_batch_keeps_messages_apart(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    put(vm, "a", VSK_SEQ_EOM);
    put(vm, "b", 0);
    put(vm, "c", VSK_SEQ_EOM | VSK_SEQ_EOR);
    put(vm, "d", 0);
    vm_kick(vm, VSK_QUEUE_TX);
    unix_expect_message(fd, "a");
    unix_expect_message(fd, "bc");
    unix_expect_nothing(fd);
    send_part(vm, "e", VSK_SEQ_EOM);
    unix_expect_message(fd, "de");
    close(fd);
}

/* The ports are the same, the flows are not. */
static void test_batch_keeps_types_apart(void)
{
    int fd, stream, listener;
    g_autoptr(Vm) vm = open_flow(&fd);
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_port(vm->path, HOST_PORT, path), ==, 0);
    g_assert_cmpint(unlink(path), ==, 0);
    vm->type = VSK_TYPE_STREAM;
    listener = vm_listen(vm, HOST_PORT, 1);
    stream = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    put(vm, "a", VSK_SEQ_EOM); /* means nothing in a stream */
    put(vm, "b", 0);
    vm->type = VSK_TYPE_SEQPACKET;
    put(vm, "1", 0);
    vm->type = VSK_TYPE_STREAM;
    put(vm, "c", 0);
    vm->type = VSK_TYPE_SEQPACKET;
    put(vm, "2", VSK_SEQ_EOM);
    vm_kick(vm, VSK_QUEUE_TX);
    unix_expect_message(fd, "12");
    unix_expect(stream, "abc");
    close(listener);
    close(stream);
    close(fd);
}

static void test_empty_messages_arrive(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    put(vm, "", VSK_SEQ_EOM);
    put(vm, "", 0);
    put(vm, "x", VSK_SEQ_EOM);
    vm_kick(vm, VSK_QUEUE_TX);
    unix_expect_message(fd, "");
    unix_expect_message(fd, "x");
    close(fd);
}

static void test_slow_reader_gets_all_in_order(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);
    g_autofree char *text = g_strnfill(4000, 'x');

    for (unsigned int i = 0; i < 60; i++) {
        text[0] = (char)('0' + i);
        put(vm, text, VSK_SEQ_EOM);
        if (i % 10 == 9) {
            vm_kick(vm, VSK_QUEUE_TX);
        }
    }
    for (unsigned int i = 0; i < 60; i++) {
        text[0] = (char)('0' + i);
        unix_expect_message(fd, text);
        vm_settle(vm);
    }
    unix_expect_nothing(fd);
    g_assert_cmpuint(vm_stats(vm).staged, ==, 0);
    close(fd);
}

static void test_credit_comes_with_the_whole_message(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    send_part(vm, "part", 0);
    vm_say(vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.fwd_cnt, ==, 0);
    send_part(vm, "s", VSK_SEQ_EOM);
    vm_say(vm, VSK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.fwd_cnt, ==, 5);
    close(fd);
}

static void test_half_message_is_dropped_at_the_end(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);
    VskHdr hdr = vm_hdr(vm, VSK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);

    send_part(vm, "whole", VSK_SEQ_EOM);
    send_part(vm, "half", 0);
    hdr.flags = VSK_SHUTDOWN_BOTH;
    vm_put(vm, &hdr, NULL, 0);
    vm_kick(vm, VSK_QUEUE_TX);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    unix_expect_message(fd, "whole");
    unix_expect_message(fd, ""); /* the end of file */
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    close(fd);
}

/* --- Host to guest (P1) --------------------------------------------------- */

static void test_messages_to_the_guest(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    unix_write(fd, "first");
    g_assert_cmpint(send(fd, "", 0, 0), ==, 0);
    unix_write(fd, "third");
    vm_settle(vm);
    expect_part(vm, "first", VSK_SEQ_EOM);
    expect_part(vm, "", VSK_SEQ_EOM);
    expect_part(vm, "third", VSK_SEQ_EOM);
    g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
    vm_settle(vm);
    vm_expect(vm, VSK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.flags, ==, VSK_SHUTDOWN_SEND);
    close(fd);
}

static void test_empty_message_is_no_end(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(send(fd, "", 0, 0), ==, 0);
    }
    close(fd);
    vm_settle(vm);
    for (int i = 0; i < 3; i++) {
        expect_part(vm, "", VSK_SEQ_EOM);
    }
    vm_expect(vm, VSK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.flags, ==, VSK_SHUTDOWN_BOTH);
}

static void test_message_over_many_chains(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);
    g_autofree char *text = g_strnfill(10000, 'm');
    size_t total = 0;

    unix_write(fd, text);
    unix_write(fd, "next");
    vm_settle(vm);
    do {
        vm_expect(vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);
        total += vm->hdr.len;
        g_assert_cmpint(vm->hdr.flags, ==, total == 10000 ? VSK_SEQ_EOM : 0);
    } while (total < 10000);
    expect_part(vm, "next", VSK_SEQ_EOM);
    close(fd);
}

static void test_message_waits_for_credit(void)
{
    int fd;
    g_autoptr(Vm) vm = vm_new_seqpacket();
    int listener = vm_listen(vm, HOST_PORT, 1);

    vm->buf_alloc = 8;
    fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    unix_write(fd, "12345");
    unix_write(fd, "abcdef");
    vm_settle(vm);
    expect_part(vm, "12345", VSK_SEQ_EOM);
    expect_part(vm, "abc", 0);
    vm_expect_nothing(vm);
    vm->fwd_cnt = 5;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    expect_part(vm, "def", VSK_SEQ_EOM);
    vm_expect_nothing(vm);
    close(fd);
    close(listener);
}

static void test_message_beyond_the_buffer_resets(void)
{
    int fd;
    g_autoptr(Vm) vm = vm_new_seqpacket();
    int listener = vm_listen(vm, HOST_PORT, 1);

    vm->buf_alloc = 8;
    fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    unix_write(fd, "12345678");
    vm_settle(vm);
    expect_part(vm, "12345678", VSK_SEQ_EOM);
    vm->fwd_cnt = 8;
    vm_say(vm, VSK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    unix_write(fd, "123456789");
    vm_settle(vm);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_MESSAGE_SIZE), ==, 1);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    close(fd);
    close(listener);
}

static void test_close_with_unread_messages_delivers_its_own(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);

    send_part(vm, "unread", VSK_SEQ_EOM);
    unix_write(fd, "last");
    unix_write(fd, "words");
    close(fd);
    vm_settle(vm);
    expect_part(vm, "last", VSK_SEQ_EOM);
    expect_part(vm, "words", VSK_SEQ_EOM);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    vm_expect_nothing(vm);
}

/* --- Negotiation (F2) ----------------------------------------------------- */

static void test_client_of_a_line(void)
{
    g_autoptr(Vm) vm = vm_new_seqpacket();
    uint32_t port;
    int fd = vm_open_from_host(vm, GUEST_PORT, &port);

    g_assert_cmpuint(vm->hdr.type, ==, VSK_TYPE_SEQPACKET);
    unix_write(fd, "hello");
    vm_settle(vm);
    vm_expect_data(vm, GUEST_PORT, port, "hello");
    g_assert_cmpuint(vm->hdr.flags, ==, VSK_SEQ_EOM);
    close(fd);
}

static void test_not_negotiated_is_refused(void)
{
    int fd;
    g_autoptr(Vm) vm = open_flow(&fd);
    int client;

    vm_stop_driver(vm);
    vm->features = 0;
    vm_start_driver(vm);
    vm_give(vm, VSK_QUEUE_RX, 8, 4096);
    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm->hdr.type, ==, VSK_TYPE_SEQPACKET);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_TYPE), ==, 1);
    client = vm_client(vm, GUEST_PORT);
    unix_expect_last(client, "");
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_TYPE), ==, 1);
    close(client);
    close(fd);
}

/* A driver that takes what was not offered has not negotiated it. */
static void test_not_offered_is_refused(void)
{
    g_autoptr(Vm) vm = vm_new();
    g_autofree char *list = NULL;

    vm_stop_driver(vm);
    vm->features = UINT64_MAX;
    vm_start_driver(vm);
    vm_give(vm, VSK_QUEUE_RX, 8, 4096);
    vm->type = VSK_TYPE_SEQPACKET;
    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_TYPE), ==, 1);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT); /* is never answered */
    vm_expect_nothing(vm);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_TYPE), ==, 1);
    list = temp_dir_list(vm->dir);
    g_assert_cmpstr(list, ==, "3.vsock 3.vsock.lock");
}

static void test_listener_of_the_other_type_is_none(void)
{
    g_autoptr(Vm) vm = vm_new_seqpacket();
    int listener;

    vm->type = VSK_TYPE_STREAM;
    listener = vm_listen(vm, HOST_PORT, 1);
    vm->type = VSK_TYPE_SEQPACKET;
    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_NO_LISTENER), ==, 1);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dev/seqpacket/message-of-many-packets",
                    test_message_of_many_packets);
    g_test_add_func("/dev/seqpacket/batch-keeps-messages-apart",
                    test_batch_keeps_messages_apart);
    g_test_add_func("/dev/seqpacket/batch-keeps-types-apart",
                    test_batch_keeps_types_apart);
    g_test_add_func("/dev/seqpacket/empty-messages-arrive",
                    test_empty_messages_arrive);
    g_test_add_func("/dev/seqpacket/slow-reader-gets-all-in-order",
                    test_slow_reader_gets_all_in_order);
    g_test_add_func("/dev/seqpacket/credit-comes-with-the-whole-message",
                    test_credit_comes_with_the_whole_message);
    g_test_add_func("/dev/seqpacket/half-message-is-dropped-at-the-end",
                    test_half_message_is_dropped_at_the_end);
    g_test_add_func("/dev/seqpacket/messages-to-the-guest",
                    test_messages_to_the_guest);
    g_test_add_func("/dev/seqpacket/empty-message-is-no-end",
                    test_empty_message_is_no_end);
    g_test_add_func("/dev/seqpacket/message-over-many-chains",
                    test_message_over_many_chains);
    g_test_add_func("/dev/seqpacket/message-waits-for-credit",
                    test_message_waits_for_credit);
    g_test_add_func("/dev/seqpacket/message-beyond-the-buffer-resets",
                    test_message_beyond_the_buffer_resets);
    g_test_add_func("/dev/seqpacket/close-with-unread-messages",
                    test_close_with_unread_messages_delivers_its_own);
    g_test_add_func("/dev/seqpacket/client-of-a-line", test_client_of_a_line);
    g_test_add_func("/dev/seqpacket/not-negotiated-is-refused",
                    test_not_negotiated_is_refused);
    g_test_add_func("/dev/seqpacket/not-offered-is-refused",
                    test_not_offered_is_refused);
    g_test_add_func("/dev/seqpacket/listener-of-the-other-type",
                    test_listener_of_the_other_type_is_none);
    return g_test_run();
}
