/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flow and credit, both ways (B rows of the conformance table).
 */

#include "flow.h"

#include <string.h>

static char zeros[FLOW_BUF_ALLOC + 1];

/* --- The guest's credit -------------------------------------------------- */

static void test_no_data_beyond_credit(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 5);
    host_writes(f, "abcdefgh");
    expect_data(f, "abcde");
    expect_nothing(f);
    guest_takes(f, 2);
    expect_data(f, "fg");
    expect_nothing(f);
    guest_takes(f, 5);
    expect_data(f, "h");
}

static void test_any_packet_brings_credit(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 0);
    host_writes(f, "ab");
    expect_nothing(f);
    f->buf_alloc = 1;
    guest_sends(f, "x");
    expect_data(f, "a");
    f->buf_alloc = 2;
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    expect_data(f, "b");
}

static void test_shrunk_buffer_stops_data(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "abcd");
    expect_data(f, "abcd");
    guest_resizes(f, 3);
    host_writes(f, "e");
    expect_nothing(f);
    guest_takes(f, 1);
    expect_nothing(f);
    guest_takes(f, 1);
    expect_data(f, "e");
}

static void test_lie_in_fwd_cnt_gives_nothing(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "abcd");
    expect_data(f, "abcd");
    guest_takes(f, 5); /* one more than it got */
    host_writes(f, "e");
    expect_nothing(f);
    guest_takes(f, UINT32_MAX - 4096);
    expect_nothing(f);
}

static void test_counters_wrap(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->conn->credit.tx_cnt = 0xfffffffe;
    f->received = 0xfffffffe;
    f->fwd_cnt = 0xfffffffe;
    guest_resizes(f, 3);
    host_writes(f, "abcdefgh");
    expect_data(f, "abc");
    expect_nothing(f);
    guest_takes(f, 3);
    expect_data(f, "def");
    guest_takes(f, 2);
    expect_data(f, "gh");
}

/* --- Our credit ---------------------------------------------------------- */

static void test_whole_window_may_be_used(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends_bytes(f, zeros, FLOW_BUF_ALLOC - 1);
    guest_sends_bytes(f, zeros, 1);
    g_assert_cmpuint(vsk_stage_used(&f->conn->stage), ==, FLOW_BUF_ALLOC);
    expect_nothing(f);
}

static void test_overrun_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 10;
    guest_sends_bytes(f, zeros, FLOW_BUF_ALLOC);
    guest_is_refused(f, VSK_OP_RW, 11, VSK_REFUSED_CREDIT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_overrun_in_one_packet_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_is_refused(f, VSK_OP_RW, FLOW_BUF_ALLOC + 1, VSK_REFUSED_CREDIT);
    host_got(f, "");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_taken_bytes_make_room(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 10;
    guest_sends_bytes(f, zeros, FLOW_BUF_ALLOC);
    guest_sends_bytes(f, zeros, 10);
    guest_is_refused(f, VSK_OP_RW, 1, VSK_REFUSED_CREDIT);
}

static void test_staged_bytes_are_not_told_as_taken(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 2;
    guest_sends(f, "abcdef");
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 2);
    host_has_room(f, 1);
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 3);
}

static void test_request_is_answered(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    expect_nothing(f);
}

static void test_request_is_answered_before_data(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "data");
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    expect_data(f, "data");
}

static void test_update_comes_before_the_guest_stalls(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    /* Its own buffer has 4096 bytes: that is the window it works with. */
    guest_sends_bytes(f, zeros, 2047);
    expect_nothing(f);
    guest_sends_bytes(f, zeros, 1);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 2048);
    expect_nothing(f);
}

static void test_update_waits_until_bytes_are_taken(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends_bytes(f, zeros, 4096);
    expect_nothing(f);
    host_has_room(f, 1);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 1);
}

static void test_data_carries_the_news(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "data");
    guest_sends_bytes(f, zeros, 4000);
    expect_data(f, "data");
    g_assert_cmpuint(f->told, ==, 4000);
    expect_nothing(f);
}

static void test_update_is_sent_when_data_cannot(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->buf_alloc = 4;
    guest_sends_bytes(f, zeros, 3);
    host_writes(f, "datagram");
    expect_data(f, "data");
    guest_sends_bytes(f, zeros, 3);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 6);
}

static void test_no_update_for_a_guest_that_sends_no_more(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends_bytes(f, zeros, 4000);
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    expect_nothing(f);
}

static void test_deaf_host_uses_no_credit(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_reads_no_more(f);
    for (int i = 0; i < 10; i++) {
        guest_sends_bytes(f, zeros, FLOW_BUF_ALLOC);
    }
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    g_assert_cmpuint(f->told, ==, 10 * FLOW_BUF_ALLOC);
    expect_nothing(f);
}

static void test_rst_of_a_flow_carries_credit(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "12345");
    vsk_conn_reset(f->conn);
    expect(f, VSK_OP_RST); /* checks buf_alloc */
    g_assert_cmpuint(f->told, ==, 5);
}

static void test_our_counters_wrap(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->conn->credit.rx_cnt = 0xffffff00;
    f->conn->credit.fwd_cnt = 0xffffff00;
    f->conn->credit.told_fwd_cnt = 0xffffff00;
    f->sent = 0xffffff00;
    f->told = 0xffffff00;
    f->s->room = 0;
    guest_sends_bytes(f, zeros, FLOW_BUF_ALLOC);
    guest_is_refused(f, VSK_OP_INVALID, 0, VSK_REFUSED_OP);
    host_has_room(f, 1000);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, 1000 - 0x100);
    guest_sends_bytes(f, zeros, 1000);
    guest_is_refused(f, VSK_OP_RW, 1, VSK_REFUSED_CREDIT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/credit/" path, fn)
    TEST("no-data-beyond-it", test_no_data_beyond_credit);
    TEST("any-packet-brings-it", test_any_packet_brings_credit);
    TEST("shrunk-buffer-stops-data", test_shrunk_buffer_stops_data);
    TEST("lie-in-fwd-cnt-gives-nothing", test_lie_in_fwd_cnt_gives_nothing);
    TEST("counters-wrap", test_counters_wrap);
    TEST("whole-window-may-be-used", test_whole_window_may_be_used);
    TEST("overrun-resets", test_overrun_resets);
    TEST("overrun-in-one-packet-resets", test_overrun_in_one_packet_resets);
    TEST("taken-bytes-make-room", test_taken_bytes_make_room);
    TEST("staged-bytes-are-not-told-as-taken",
         test_staged_bytes_are_not_told_as_taken);
    TEST("request-is-answered", test_request_is_answered);
    TEST("request-is-answered-before-data",
         test_request_is_answered_before_data);
    TEST("update-comes-before-the-guest-stalls",
         test_update_comes_before_the_guest_stalls);
    TEST("update-waits-until-bytes-are-taken",
         test_update_waits_until_bytes_are_taken);
    TEST("data-carries-the-news", test_data_carries_the_news);
    TEST("update-is-sent-when-data-cannot",
         test_update_is_sent_when_data_cannot);
    TEST("no-update-for-a-guest-that-sends-no-more",
         test_no_update_for_a_guest_that_sends_no_more);
    TEST("deaf-host-uses-none", test_deaf_host_uses_no_credit);
    TEST("rst-of-a-flow-carries-it", test_rst_of_a_flow_carries_credit);
    TEST("our-counters-wrap", test_our_counters_wrap);
    return g_test_run();
}
