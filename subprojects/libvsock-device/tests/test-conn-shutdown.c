/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Half-close of a flow, from both sides.
 */

#include "flow.h"

/* --- The guest ends a direction (S3) ------------------------------------- */

static void test_guest_send_is_eof_for_the_host(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "last");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    host_got(f, "last");
    g_assert_true(host_sees_eof(f));
    g_assert_false(f->s->closed);
    expect_nothing(f);
}

static void test_guest_send_keeps_receiving(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_SEND);
    host_writes(f, "answer");
    expect_data(f, "answer");
    expect_nothing(f);
}

static void test_guest_receive_is_epipe_for_the_host(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "nobody reads this");
    guest_shuts(f, VSK_SHUTDOWN_RECEIVE);
    g_assert_true(f->s->shut_rd);
    g_assert_false(host_sees_eof(f));
    expect_nothing(f);
}

static void test_guest_receive_keeps_sending(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_RECEIVE);
    guest_sends(f, "more");
    host_got(f, "more");
    expect_nothing(f);
}

static void test_bits_add_up(void)
{
    for (uint32_t first = 1; first <= 2; first++) {
        g_autoptr(Flow) f = flow_from_guest();

        guest_shuts(f, first);
        expect_nothing(f);
        guest_shuts(f, VSK_SHUTDOWN_BOTH & ~first);
        expect(f, VSK_OP_RST);
        expect_dead(f);
    }
}

static void test_bits_are_permanent(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_RECEIVE);
    guest_shuts(f, 0);
    g_assert_true(f->s->shut_rd);
    guest_sends(f, "more");
    host_got(f, "more");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    expect(f, VSK_OP_RST);
}

static void test_same_bit_twice_is_fine(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    for (int i = 0; i < 3; i++) {
        guest_shuts(f, VSK_SHUTDOWN_SEND);
        expect_nothing(f);
    }
    host_writes(f, "answer");
    expect_data(f, "answer");
}

static void test_unknown_bits_mean_nothing(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, 0xfffffffc);
    g_assert_false(host_sees_eof(f));
    g_assert_false(f->s->shut_rd);
    guest_sends(f, "alive");
    host_got(f, "alive");
    expect_nothing(f);
}

static void test_staged_bytes_come_before_eof(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    g_assert_false(host_sees_eof(f));
    host_has_room(f, 3);
    g_assert_false(host_sees_eof(f));
    host_has_room(f, 3);
    g_assert_true(host_sees_eof(f));
    g_assert_cmpuint(f->s->output_at_shut_wr, ==, 6);
    host_got(f, "staged");
}

static void test_data_after_send_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_SEND);
    guest_is_refused(f, VSK_OP_RW, 5, VSK_REFUSED_OP);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- The guest ends both (S4) -------------------------------------------- */

static void test_both_is_confirmed_by_rst(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "last");
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    host_got(f, "last");
    g_assert_true(host_sees_eof(f));
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_both_waits_for_staged_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    expect_nothing(f);
    g_assert_false(f->s->closed);
    host_has_room(f, SIZE_MAX);
    host_got(f, "staged");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_both_with_staged_bytes_nobody_takes_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_rst_instead_of_our_rst(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_packets_that_cross_our_rst_are_ignored(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    vsk_conn_reset(f->conn);
    guest_sends(f, "crossing");
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- The host program ends a direction (S5) ------------------------------ */

static void test_host_half_close_keeps_reading(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    guest_sends(f, "answer");
    host_got(f, "answer");
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_NONE);
    expect_nothing(f);
}

static void test_host_bytes_come_before_shutdown(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "last");
    host_sends_no_more(f);
    expect_data(f, "last");
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    expect_nothing(f);
}

static void test_host_bytes_without_credit_come_before_shutdown(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 2);
    host_writes(f, "last");
    host_sends_no_more(f);
    expect_data(f, "la");
    expect_nothing(f);
    guest_takes(f, 2);
    expect_data(f, "st");
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
}

static void test_eof_without_credit_is_told(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 0);
    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    expect_nothing(f);
}

static void test_eof_behind_the_last_credit_is_told(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 4);
    host_writes(f, "last");
    expect_data(f, "last");
    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
}

static void test_eof_is_told_when_credit_shrinks(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_sends_no_more(f);
    guest_resizes(f, 0); /* before the read that would have found it */
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
}

static void test_eof_of_a_client_is_told_without_credit(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    host_sends_no_more(f);
    expect(f, VSK_OP_REQUEST);
    f->buf_alloc = 0;
    guest_says(f, VSK_OP_RESPONSE);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
}

static void test_deaf_host_is_told_as_receive(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_reads_no_more(f);
    expect_nothing(f); /* nobody knows before a write */
    guest_sends(f, "lost");
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    host_writes(f, "still talking");
    expect_data(f, "still talking");
    guest_sends(f, "crossing");
    expect_nothing(f);
}

static void test_deaf_host_with_staged_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    f->s->deaf = true;
    host_has_room(f, SIZE_MAX);
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    g_assert_null(f->conn->stage.bytes.data);
    host_sends_no_more(f); /* the guest was told: no reason for an RST */
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_halves_one_after_the_other(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    host_reads_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_CLOSE);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

/* One side ends its direction, then the other side its own. */
static void test_half_close_from_both_sides(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_sends_no_more(f);
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    guest_sends(f, "answer");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    host_got(f, "answer");
    g_assert_true(host_sees_eof(f));
    expect_shutdown(f, VSK_SHUTDOWN_BOTH); /* nothing is left to say */
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/" path, fn)
    TEST("shutdown/guest-send-is-eof-for-the-host",
         test_guest_send_is_eof_for_the_host);
    TEST("shutdown/guest-send-keeps-receiving",
         test_guest_send_keeps_receiving);
    TEST("shutdown/guest-receive-is-epipe-for-the-host",
         test_guest_receive_is_epipe_for_the_host);
    TEST("shutdown/guest-receive-keeps-sending",
         test_guest_receive_keeps_sending);
    TEST("shutdown/bits-add-up", test_bits_add_up);
    TEST("shutdown/bits-are-permanent", test_bits_are_permanent);
    TEST("shutdown/same-bit-twice-is-fine", test_same_bit_twice_is_fine);
    TEST("shutdown/unknown-bits-mean-nothing",
         test_unknown_bits_mean_nothing);
    TEST("shutdown/staged-bytes-come-before-eof",
         test_staged_bytes_come_before_eof);
    TEST("shutdown/data-after-send-resets", test_data_after_send_resets);
    TEST("shutdown/both-is-confirmed-by-rst", test_both_is_confirmed_by_rst);
    TEST("shutdown/both-waits-for-staged-bytes",
         test_both_waits_for_staged_bytes);
    TEST("shutdown/both-with-staged-bytes-nobody-takes-resets",
         test_both_with_staged_bytes_nobody_takes_resets);
    TEST("shutdown/rst-instead-of-our-rst", test_rst_instead_of_our_rst);
    TEST("shutdown/packets-that-cross-our-rst-are-ignored",
         test_packets_that_cross_our_rst_are_ignored);
    TEST("shutdown/host-half-close-keeps-reading",
         test_host_half_close_keeps_reading);
    TEST("shutdown/host-bytes-come-first",
         test_host_bytes_come_before_shutdown);
    TEST("shutdown/host-bytes-without-credit-come-first",
         test_host_bytes_without_credit_come_before_shutdown);
    TEST("shutdown/eof-without-credit-is-told",
         test_eof_without_credit_is_told);
    TEST("shutdown/eof-behind-the-last-credit-is-told",
         test_eof_behind_the_last_credit_is_told);
    TEST("shutdown/eof-is-told-when-credit-shrinks",
         test_eof_is_told_when_credit_shrinks);
    TEST("shutdown/eof-of-a-client-is-told-without-credit",
         test_eof_of_a_client_is_told_without_credit);
    TEST("shutdown/deaf-host-is-told-as-receive",
         test_deaf_host_is_told_as_receive);
    TEST("shutdown/deaf-host-with-staged-bytes",
         test_deaf_host_with_staged_bytes);
    TEST("shutdown/halves-one-after-the-other",
         test_halves_one_after_the_other);
    TEST("shutdown/half-close-from-both-sides",
         test_half_close_from_both_sides);
    return g_test_run();
}
