/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a flow: close, reset, and all that can cross.
 */

#include "flow.h"

#include <errno.h>

/* --- The host program closes --------------------------------------------- */

static void test_host_close_tells_both(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    g_assert_true(f->s->closed);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_CLOSE);
    expect_nothing(f);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_host_close_delivers_its_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "last");
    host_closes(f);
    expect_data(f, "last");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    expect_nothing(f);
}

static void test_host_close_without_credit_delivers_its_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 0);
    host_writes(f, "last");
    host_closes(f);
    expect_nothing(f);
    guest_resizes(f, 4);
    expect_data(f, "last");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_host_close_without_credit_is_told(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 0);
    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_host_close_with_staged_bytes_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "never read");
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_host_bytes_go_before_the_reset(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "never read");
    host_writes(f, "last");
    host_closes(f);
    expect_data(f, "last");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_data_to_a_closed_host_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    guest_sends(f, "crossing");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_data_finds_the_closed_host(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->ended = true;
    f->s->deaf = true; /* and no event has told of it */
    guest_sends(f, "lost");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* The end of file is read when the hang-up is there, too, but not told. */
static void test_close_is_told_as_one(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    char byte;
    struct iovec iov = { &byte, 1 };
    VskHdr hdr;

    host_sends_no_more(f);
    f->s->deaf = true;
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 0);
    g_assert_true(vsk_conn_next_control(f->conn, &hdr));
    g_assert_cmpint(hdr.op, ==, VSK_OP_SHUTDOWN);
    g_assert_cmpuint(hdr.flags, ==, VSK_SHUTDOWN_BOTH);
}

static void test_reading_a_broken_channel_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->faults[SCRIPTED_READV] = (ScriptedFault) { 0, 1, -ECONNRESET };
    host_writes(f, "x");
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_unclean_close_without_credit_resets(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_resizes(f, 0);
    f->s->faults[SCRIPTED_PEEK] = (ScriptedFault) { 0, 1, -ECONNRESET };
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_deaf_then_closed_host(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_reads_no_more(f);
    guest_sends(f, "lost");
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_host_closes_after_guest_receive(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_shuts(f, VSK_SHUTDOWN_RECEIVE);
    guest_sends(f, "read");
    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- Crossing (S7) ------------------------------------------------------- */

static void test_both_sides_close_at_once(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    guest_shuts(f, VSK_SHUTDOWN_BOTH); /* ours has not left */
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_guest_close_crosses_ours(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- No answer ----------------------------------------------------------- */

static void test_unanswered_shutdown_is_reset(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    expect_expiry(f, VSK_REFUSED_CLOSE_TIMEOUT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_slow_reader_is_asked_first(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    VskRefusal why;

    host_writes(f, "unread");
    host_closes(f);
    expect_data(f, "unread");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    for (int i = 0; i < 3; i++) { /* it lives, and reads nothing */
        g_assert_false(vsk_conn_expire(f->conn, &why));
        g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_CLOSE);
        expect(f, VSK_OP_CREDIT_REQUEST);
        guest_says(f, VSK_OP_CREDIT_UPDATE);
    }
    guest_takes(f, 6);
    expect_expiry(f, VSK_REFUSED_CLOSE_TIMEOUT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_silent_guest_is_reset_with_unread_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    VskRefusal why;

    host_writes(f, "unread");
    host_closes(f);
    expect_data(f, "unread");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    g_assert_false(vsk_conn_expire(f->conn, &why));
    expect(f, VSK_OP_CREDIT_REQUEST);
    expect_expiry(f, VSK_REFUSED_CLOSE_TIMEOUT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- The guest resets (S6), or goes without a word ----------------------- */

static void test_rst_ends_it(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "last");
    guest_says(f, VSK_OP_RST);
    host_got(f, "last");
    expect_dead(f);
}

static void test_rst_drains_staged_bytes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    guest_says(f, VSK_OP_RST);
    g_assert_false(vsk_conn_in_table(f->conn));
    g_assert_false(vsk_conn_is_dead(f->conn));
    g_assert_true(f->s->shut_rd);
    expect_nothing(f);
    host_has_room(f, 3);
    g_assert_false(vsk_conn_is_dead(f->conn));
    host_has_room(f, 3);
    host_got(f, "staged");
    expect_dead(f);
}

static void test_draining_ends_when_the_host_closes(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    vsk_conn_orphan(f->conn);
    vsk_conn_orphan(f->conn); /* a second one changes nothing */
    host_closes(f);
    expect_dead(f);
}

static void test_packets_to_a_draining_one_are_ignored(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    guest_says(f, VSK_OP_RST);
    guest_sends(f, "late");
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect_nothing(f);
    host_has_room(f, SIZE_MAX);
    host_got(f, "staged");
    expect_dead(f);
}

static void test_reset_of_a_draining_one_is_silent(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "staged");
    vsk_conn_orphan(f->conn);
    vsk_conn_reset(f->conn);
    expect_dead(f);
}

static void test_orphan_forgets_an_owed_rst(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    vsk_conn_reset(f->conn);
    vsk_conn_reset(f->conn); /* a second one changes nothing */
    vsk_conn_orphan(f->conn);
    expect_dead(f);
}

static void test_orphan_of_a_request_is_silent(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    vsk_conn_orphan(f->conn);
    expect_dead(f);
}

static void test_orphan_without_stream(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_closes(f);
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    vsk_conn_orphan(f->conn);
    expect_dead(f);
}

static void test_event_of_a_closed_stream_is_nothing(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    vsk_conn_reset(f->conn);
    vsk_conn_host_event(f->conn, ~0u);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/" path, fn)
    TEST("close/tells-both", test_host_close_tells_both);
    TEST("close/delivers-its-bytes", test_host_close_delivers_its_bytes);
    TEST("close/delivers-its-bytes-when-credit-comes",
         test_host_close_without_credit_delivers_its_bytes);
    TEST("close/is-told-without-credit",
         test_host_close_without_credit_is_told);
    TEST("close/with-staged-bytes-resets",
         test_host_close_with_staged_bytes_resets);
    TEST("close/bytes-go-before-the-reset",
         test_host_bytes_go_before_the_reset);
    TEST("close/data-to-a-closed-host-resets",
         test_data_to_a_closed_host_resets);
    TEST("close/data-finds-it", test_data_finds_the_closed_host);
    TEST("close/is-told-as-one", test_close_is_told_as_one);
    TEST("close/reading-a-broken-channel-resets",
         test_reading_a_broken_channel_resets);
    TEST("close/unclean-without-credit-resets",
         test_unclean_close_without_credit_resets);
    TEST("close/deaf-then-closed", test_deaf_then_closed_host);
    TEST("close/after-guest-receive", test_host_closes_after_guest_receive);
    TEST("crossing/both-sides-close-at-once",
         test_both_sides_close_at_once);
    TEST("crossing/guest-close-crosses-ours",
         test_guest_close_crosses_ours);
    TEST("timeout/unanswered-shutdown-is-reset",
         test_unanswered_shutdown_is_reset);
    TEST("timeout/slow-reader-is-asked-first",
         test_slow_reader_is_asked_first);
    TEST("timeout/silent-guest-is-reset-with-unread-bytes",
         test_silent_guest_is_reset_with_unread_bytes);
    TEST("rst/ends-it", test_rst_ends_it);
    TEST("rst/drains-staged-bytes", test_rst_drains_staged_bytes);
    TEST("drain/ends-when-the-host-closes",
         test_draining_ends_when_the_host_closes);
    TEST("drain/packets-are-ignored",
         test_packets_to_a_draining_one_are_ignored);
    TEST("drain/reset-is-silent", test_reset_of_a_draining_one_is_silent);
    TEST("orphan/forgets-an-owed-rst", test_orphan_forgets_an_owed_rst);
    TEST("orphan/of-a-request-is-silent",
         test_orphan_of_a_request_is_silent);
    TEST("orphan/without-stream", test_orphan_without_stream);
    TEST("event/of-a-closed-stream-is-nothing",
         test_event_of_a_closed_stream_is_nothing);
    return g_test_run();
}
