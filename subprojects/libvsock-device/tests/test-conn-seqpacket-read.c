/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A seqpacket flow from the host to the guest: conn.h.
 */

#include "flow.h"

#include <errno.h>

/* A flow whose guest has a buffer of @buf_alloc bytes. */
static Flow *flow_with_buffer(uint32_t buf_alloc)
{
    Flow *f = flow_seqpacket_from_guest();

    guest_resizes(f, buf_alloc);
    return f;
}

/* A read finds a message that the guest can never take. */
static void expect_too_big(Flow *f)
{
    char buf[64];
    struct iovec iov = { buf, sizeof(buf) };
    size_t len;

    g_assert_true(vsk_conn_owes_data(f->conn));
    g_assert_cmpint(vsk_conn_read(f->conn, &iov, 1, &len), ==,
                    VSK_READ_TOO_BIG);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- Boundaries ----------------------------------------------------------- */

/* No event but the first tells of those that follow. */
static void test_messages_follow_each_other(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    scripted_stream_add_message(f->s, "one", 3);
    scripted_stream_add_message(f->s, "", 0);
    scripted_stream_add_message(f->s, "", 0);
    host_writes_message(f, "two");
    expect_message(f, "one");
    expect_message(f, "");
    expect_message(f, "");
    expect_message(f, "two");
    expect_nothing(f);
    host_writes_message(f, "");
    expect_message(f, "");
    expect_nothing(f);
}

static void test_message_of_many_reads(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_writes_message(f, "0123456789");
    host_writes_message(f, "abcd");
    expect_part(f, 4, "0123", 0);
    expect_part(f, 4, "4567", 0);
    expect_part(f, 4, "89", VSK_SEQ_EOM);
    expect_part(f, 4, "abcd", VSK_SEQ_EOM);
    expect_nothing(f);
}

/* One read that fills many chains: the last one's packet ends the message. */
static void test_last_packet_of_a_read_ends_the_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();
    char buf[8];
    struct iovec iov = { buf, sizeof(buf) };
    VskHdr hdr;
    size_t len;

    host_writes_message(f, "0123456789");
    for (unsigned int i = 0; i < 2; i++) {
        bool ends = i == 1;

        g_assert_cmpint(vsk_conn_read(f->conn, &iov, 1, &len), ==,
                        VSK_READ_DATA);
        vsk_conn_make_rw(f->conn, 1, false, &hdr);
        g_assert_cmpuint(hdr.flags, ==, 0);
        vsk_conn_make_rw(f->conn, (uint32_t)len - 1, true, &hdr);
        g_assert_cmpuint(hdr.flags, ==, ends ? VSK_SEQ_EOM : 0);
    }
}

/* --- Credit --------------------------------------------------------------- */

static void test_message_across_a_credit_stall(void)
{
    g_autoptr(Flow) f = flow_with_buffer(8);

    host_writes_message(f, "12345");
    host_writes_message(f, "abcdef");
    expect_message(f, "12345");
    expect_part(f, 64, "abc", 0);
    expect_nothing(f);
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    guest_takes(f, 1);
    expect_part(f, 64, "d", 0);
    expect_nothing(f);
    guest_takes(f, 4);
    expect_part(f, 64, "ef", VSK_SEQ_EOM);
    expect_nothing(f);
}

/* It has taken part of the message, and gets the rest as it can. */
static void test_buffer_shrinks_in_the_middle_of_a_message(void)
{
    g_autoptr(Flow) f = flow_with_buffer(16);

    host_writes_message(f, "0123456789");
    expect_part(f, 4, "0123", 0);
    guest_resizes(f, 2);
    expect_nothing(f);
    guest_takes(f, 4);
    expect_part(f, 64, "45", 0);
    expect_nothing(f);
    guest_resizes(f, 0);
    expect_nothing(f);
    guest_takes(f, 2);
    expect_nothing(f);
    guest_resizes(f, 16);
    expect_part(f, 64, "6789", VSK_SEQ_EOM);
}

static void test_message_of_the_whole_buffer(void)
{
    g_autoptr(Flow) f = flow_with_buffer(8);

    host_writes_message(f, "12345678");
    expect_message(f, "12345678");
    host_writes_message(f, "");
    expect_nothing(f);
    guest_takes(f, 8);
    expect_message(f, "");
}

static void test_message_larger_than_the_buffer_resets(void)
{
    g_autoptr(Flow) f = flow_with_buffer(8);

    host_writes_message(f, "1234567");
    host_writes_message(f, "123456789");
    expect_message(f, "1234567");
    expect_too_big(f);
}

static void test_buffer_shrinks_before_the_message(void)
{
    g_autoptr(Flow) f = flow_with_buffer(8);

    host_writes_message(f, "12345");
    guest_resizes(f, 4);
    expect_too_big(f);
}

/* --- Ends ----------------------------------------------------------------- */

static void test_end_without_credit(void)
{
    g_autoptr(Flow) f = flow_with_buffer(3);

    host_writes_message(f, "abc");
    expect_message(f, "abc");
    expect_nothing(f);
    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    guest_sends_message(f, "still");
    host_got_message(f, "still");
}

/* The end that comes together with the last credit. */
static void test_end_with_the_last_credit(void)
{
    g_autoptr(Flow) f = flow_with_buffer(3);

    host_writes_message(f, "abc");
    host_sends_no_more(f);
    expect_message(f, "abc");
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
}

/* It goes by credit, for the guest tells apart no other way what came when. */
static void test_empty_message_before_the_end_without_credit(void)
{
    g_autoptr(Flow) f = flow_with_buffer(3);

    host_writes_message(f, "abc");
    host_writes_message(f, "");
    host_closes(f);
    expect_message(f, "abc");
    expect_nothing(f);
    guest_takes(f, 3);
    expect_message(f, "");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_close_in_the_middle_of_a_stalled_message(void)
{
    g_autoptr(Flow) f = flow_with_buffer(6);

    host_writes_message(f, "ab");
    host_writes_message(f, "cdefgh");
    expect_message(f, "ab");
    expect_part(f, 64, "cdef", 0);
    host_closes(f);
    expect_nothing(f);
    guest_takes(f, 6);
    expect_part(f, 64, "gh", VSK_SEQ_EOM);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_error_behind_the_last_message(void)
{
    g_autoptr(Flow) f = flow_with_buffer(3);

    host_writes_message(f, "abc");
    expect_message(f, "abc");
    f->s->faults[SCRIPTED_PEEK] = (ScriptedFault) { 0, 100, -ECONNRESET };
    host_sends_no_more(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_guest_receives_no_more_in_the_middle(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_writes_message(f, "0123456789");
    expect_part(f, 4, "0123", 0);
    guest_shuts(f, VSK_SHUTDOWN_RECEIVE);
    g_assert_true(f->s->shut_rd);
    expect_nothing(f);
    guest_sends_message(f, "still");
    host_got_message(f, "still");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- Clients that go early ------------------------------------------------ */

static void test_client_leaves_an_empty_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    host_writes_message(f, "");
    host_closes(f);
    expect_nothing(f);
    guest_says(f, VSK_OP_RESPONSE);
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    expect_message(f, "");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_client_leaves_nothing(void)
{
    g_autoptr(Flow) f = flow_seqpacket_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- Time ----------------------------------------------------------------- */

static void test_slow_reader_of_a_message_gets_time(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();
    VskRefusal why;

    host_writes_message(f, "slowly");
    host_closes(f);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_NONE);
    expect_part(f, 3, "slo", 0);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_NONE);
    expect_message(f, "wly");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_CLOSE);
    guest_takes(f, 3);
    g_assert_false(vsk_conn_expire(f->conn, &why));
    expect(f, VSK_OP_CREDIT_REQUEST);
    guest_takes(f, 3);
    expect_expiry(f, VSK_REFUSED_CLOSE_TIMEOUT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/seqpacket/" path, fn)
    TEST("messages-follow-each-other", test_messages_follow_each_other);
    TEST("message-of-many-reads", test_message_of_many_reads);
    TEST("last-packet-of-a-read-ends-the-message",
         test_last_packet_of_a_read_ends_the_message);
    TEST("message-across-a-credit-stall", test_message_across_a_credit_stall);
    TEST("buffer-shrinks-in-the-middle-of-a-message",
         test_buffer_shrinks_in_the_middle_of_a_message);
    TEST("message-of-the-whole-buffer", test_message_of_the_whole_buffer);
    TEST("message-larger-than-the-buffer-resets",
         test_message_larger_than_the_buffer_resets);
    TEST("buffer-shrinks-before-the-message",
         test_buffer_shrinks_before_the_message);
    TEST("end-without-credit", test_end_without_credit);
    TEST("end-with-the-last-credit", test_end_with_the_last_credit);
    TEST("empty-message-before-the-end-without-credit",
         test_empty_message_before_the_end_without_credit);
    TEST("close-in-the-middle-of-a-stalled-message",
         test_close_in_the_middle_of_a_stalled_message);
    TEST("error-behind-the-last-message", test_error_behind_the_last_message);
    TEST("guest-receives-no-more-in-the-middle",
         test_guest_receives_no_more_in_the_middle);
    TEST("client-leaves-an-empty-message",
         test_client_leaves_an_empty_message);
    TEST("client-leaves-nothing", test_client_leaves_nothing);
    TEST("slow-reader-of-a-message-gets-time",
         test_slow_reader_of_a_message_gets_time);
    return g_test_run();
}
