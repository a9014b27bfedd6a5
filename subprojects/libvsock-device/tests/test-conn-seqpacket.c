/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A seqpacket flow from the guest to the host: conn.h.
 */

#include "flow.h"
#include "vsock-limits.h"

#include <errno.h>
#include <sys/epoll.h>

/* The guest asks, and hears that @len bytes in all were taken. */
static void expect_taken(Flow *f, uint32_t len)
{
    guest_says(f, VSK_OP_CREDIT_REQUEST);
    expect(f, VSK_OP_CREDIT_UPDATE);
    g_assert_cmpuint(f->told, ==, len);
}

/* --- Whole messages ------------------------------------------------------- */

static void test_message_waits_for_its_end(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_part(f, "one ", 0);
    guest_sends_part(f, "", 0);
    guest_sends_part(f, "message", 0);
    host_got_no_message(f);
    expect_taken(f, 0);
    guest_sends_part(f, "", VSK_SEQ_EOM);
    host_got_message(f, "one message");
    expect_taken(f, 11);
    guest_sends_part(f, "next", VSK_SEQ_EOM | VSK_SEQ_EOR);
    host_got_message(f, "next");
    guest_sends_part(f, "no end", VSK_SEQ_EOR);
    host_got_no_message(f);
}

static void test_full_socket_gets_whole_messages(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "ab");
    guest_sends_part(f, "c", 0);
    guest_sends_message(f, "d");
    guest_sends_message(f, "");
    guest_sends_part(f, "ef", 0);
    expect_taken(f, 0);
    g_assert_cmpuint(f->s->calls[SCRIPTED_WRITEV], ==, 1); /* it said no */
    host_has_room(f, 1);
    host_got_message(f, "ab");
    host_got_no_message(f);
    expect_taken(f, 2);
    host_has_room(f, 2);
    host_got_message(f, "cd");
    host_got_message(f, "");
    expect_taken(f, 4);
    host_has_room(f, 1);
    host_got_no_message(f);
    guest_sends_message(f, "g");
    host_got_message(f, "efg");
    expect_taken(f, 7);
}

/* Room that no event has told of is not for messages that come later. */
static void test_messages_keep_their_order(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "first");
    f->s->room = 1;
    guest_sends_message(f, "second");
    host_got_no_message(f);
    host_has_room(f, 2);
    host_got_message(f, "first");
    host_got_message(f, "second");
}

static void test_window_without_an_end(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();
    g_autofree char *text = g_strnfill(FLOW_BUF_ALLOC, 'w');

    guest_sends_part(f, text, 0);
    expect_nothing(f);
    guest_sends_part(f, "", VSK_SEQ_EOM);
    host_got_message(f, text);
    guest_sends_message(f, text);
    host_got_message(f, text);
    guest_sends_part(f, text, 0);
    guest_is_refused(f, VSK_OP_RW, 1, VSK_REFUSED_CREDIT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_empty_messages_are_bounded(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    for (unsigned int i = 0; i < VSK_MAX_EMPTY_MESSAGES; i++) {
        guest_sends_message(f, "");
    }
    guest_sends_part(f, "", 0); /* is none */
    guest_is_refused_with(f, VSK_OP_RW, VSK_SEQ_EOM, 0,
                          VSK_REFUSED_EMPTY_MESSAGES);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- Events --------------------------------------------------------------- */

static bool waits_for_room(const Flow *f)
{
    return vsk_conn_poll_mask(f->conn) & EPOLLOUT;
}

/* One event writes so many; then it is asked for again, not waited for. */
static void flushes_by_turns(const char *text)
{
    enum { N = 2 * VSK_TURN_MESSAGES + 10 };
    g_autoptr(Flow) f = flow_seqpacket_from_guest();
    unsigned int written = 0;

    host_has_room(f, 0);
    for (unsigned int i = 0; i < N; i++) {
        guest_sends_message(f, text);
    }
    g_assert_true(waits_for_room(f));
    g_assert_false(vsk_conn_poll_again(f->conn));
    while (written < N) {
        unsigned int n = MIN(VSK_TURN_MESSAGES, N - written);

        host_has_room(f, SIZE_MAX);
        written += n;
        g_assert_cmpuint(f->s->sent.length, ==, written);
        g_assert_cmpint(waits_for_room(f), ==, written < N);
        g_assert_cmpint(vsk_conn_poll_again(f->conn), ==, written < N);
        g_assert_false(vsk_conn_poll_again(f->conn)); /* once is enough */
    }
}

static void test_flush_by_turns(void)
{
    flushes_by_turns("x");
}

static void test_flush_of_empty_messages_by_turns(void)
{
    flushes_by_turns("");
}

/*
 * A message that comes while the rest waits for its turn does not pass it, and
 * the end comes last.
 */
static void test_end_comes_behind_all_turns(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    for (unsigned int i = 0; i < VSK_TURN_MESSAGES + 1; i++) {
        guest_sends_message(f, "x");
    }
    host_has_room(f, SIZE_MAX);
    guest_sends_message(f, "last");
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    g_assert_false(host_sees_eof(f));
    host_has_room(f, SIZE_MAX);
    g_assert_true(host_sees_eof(f));
    for (unsigned int i = 0; i < VSK_TURN_MESSAGES + 1; i++) {
        host_got_message(f, "x");
    }
    host_got_message(f, "last");
}

/* An event that can change nothing is not waited for: it would spin. */
static void test_half_a_message_waits_for_no_room(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_part(f, "half", 0);
    g_assert_false(waits_for_room(f));
    host_has_room(f, 0);
    guest_sends_message(f, "");
    g_assert_true(waits_for_room(f));
    guest_sends_part(f, "half", 0);
    host_has_room(f, 1);
    host_got_message(f, "half");
    g_assert_false(waits_for_room(f));
}

/* --- Ends ----------------------------------------------------------------- */

static void test_half_message_is_forgotten_at_shutdown(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_message(f, "whole");
    guest_sends_part(f, "half", 0);
    guest_shuts(f, VSK_SHUTDOWN_SEND);
    g_assert_true(host_sees_eof(f));
    g_assert_cmpuint(vsk_stage_used(&f->conn->stage), ==, 0);
    host_got_message(f, "whole");
    host_got_no_message(f);
    host_closes(f); /* nothing that was for it is lost */
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_shutdown_behind_messages_that_wait(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "whole");
    guest_sends_part(f, "half", 0);
    guest_shuts(f, VSK_SHUTDOWN_BOTH);
    g_assert_false(host_sees_eof(f));
    expect_nothing(f);
    host_has_room(f, SIZE_MAX);
    host_got_message(f, "whole");
    host_got_no_message(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_rst_in_the_middle_of_a_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_part(f, "half", 0);
    guest_says(f, VSK_OP_RST);
    host_got_no_message(f);
    expect_dead(f);
}

static void test_rst_drains_whole_messages(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "whole");
    guest_sends_message(f, "");
    guest_sends_part(f, "half", 0);
    guest_says(f, VSK_OP_RST);
    g_assert_false(vsk_conn_in_table(f->conn));
    g_assert_false(vsk_conn_is_dead(f->conn));
    host_has_room(f, 1);
    host_got_message(f, "whole");
    g_assert_false(host_sees_eof(f));
    host_has_room(f, 1);
    host_got_message(f, "");
    host_got_no_message(f);
    expect_dead(f);
}

static void test_rst_drains_empty_messages(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "");
    guest_says(f, VSK_OP_RST);
    g_assert_false(host_sees_eof(f));
    host_has_room(f, 1);
    host_got_message(f, "");
    expect_dead(f);
}

static void test_driver_goes_in_the_middle_of_a_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "");
    guest_sends_part(f, "half", 0);
    vsk_conn_orphan(f->conn);
    host_has_room(f, 1);
    host_got_message(f, "");
    host_got_no_message(f);
    expect_dead(f);
}

static void test_host_goes_deaf_in_the_middle_of_a_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_part(f, "a", 0);
    host_reads_no_more(f);
    expect_nothing(f); /* no event tells of it */
    guest_sends_message(f, "b");
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    g_assert_cmpuint(f->told, ==, 2);
    guest_sends_part(f, "cd", 0);
    guest_sends_message(f, "");
    expect_taken(f, 4);
    g_assert_cmpuint(vsk_stage_used(&f->conn->stage), ==, 0);
    host_writes_message(f, "still");
    expect_message(f, "still");
}

static void test_host_closes_in_the_middle_of_a_message(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    guest_sends_part(f, "half", 0);
    host_writes_message(f, "bye");
    host_closes(f);
    expect_message(f, "bye");
    expect(f, VSK_OP_RST); /* bytes of the guest were lost */
    expect_dead(f);
}

/*
 * What is lost to a host program that closed before: a message is, even an
 * empty one; a packet of nothing is not.
 */
static void test_message_for_a_host_that_closed(void)
{
    static const struct {
        const char *text;
        uint32_t flags;
        bool lost;
    } rows[] = {
        { "", 0, false },
        { "", VSK_SEQ_EOM, true },
        { "x", 0, true },
        { "x", VSK_SEQ_EOM, true },
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Flow) f = flow_seqpacket_from_guest();

        host_writes_message(f, "bye");
        host_closes(f);
        guest_sends_part(f, rows[i].text, rows[i].flags);
        expect_message(f, "bye");
        if (rows[i].lost) {
            expect(f, VSK_OP_RST);
            expect_dead(f);
        } else {
            expect_shutdown(f, VSK_SHUTDOWN_BOTH);
        }
    }
}

static void test_host_closes_with_messages_that_wait(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "");
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* The same, where a read finds it first. */
static void test_read_finds_a_close_with_messages_that_wait(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "");
    host_writes_message(f, "x");
    expect_message(f, "x");
    f->s->ended = true; /* no event yet */
    f->s->deaf = true;
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

/* A write that fails behind others that did not: those are not lost. */
static void test_flush_that_fails_in_the_middle(void)
{
    g_autoptr(Flow) f = flow_seqpacket_from_guest();

    host_has_room(f, 0);
    guest_sends_message(f, "a");
    guest_sends_message(f, "b");
    guest_sends_message(f, "c");
    f->s->faults[SCRIPTED_WRITEV] = (ScriptedFault) {
        .nth = f->s->calls[SCRIPTED_WRITEV] + 2,
        .times = 1,
        .result = -ENOBUFS,
    };
    host_has_room(f, SIZE_MAX);
    host_got_message(f, "a");
    host_got_message(f, "b");
    host_got_no_message(f);
    expect_taken(f, 2);
    g_assert_true(waits_for_room(f));
    host_has_room(f, SIZE_MAX);
    host_got_message(f, "c");
    expect_taken(f, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/seqpacket/" path, fn)
    TEST("message-waits-for-its-end", test_message_waits_for_its_end);
    TEST("full-socket-gets-whole-messages",
         test_full_socket_gets_whole_messages);
    TEST("messages-keep-their-order", test_messages_keep_their_order);
    TEST("window-without-an-end", test_window_without_an_end);
    TEST("empty-messages-are-bounded", test_empty_messages_are_bounded);
    TEST("flush-by-turns", test_flush_by_turns);
    TEST("flush-of-empty-messages-by-turns",
         test_flush_of_empty_messages_by_turns);
    TEST("end-comes-behind-all-turns", test_end_comes_behind_all_turns);
    TEST("half-a-message-waits-for-no-room",
         test_half_a_message_waits_for_no_room);
    TEST("half-message-is-forgotten-at-shutdown",
         test_half_message_is_forgotten_at_shutdown);
    TEST("shutdown-behind-messages-that-wait",
         test_shutdown_behind_messages_that_wait);
    TEST("rst-in-the-middle-of-a-message",
         test_rst_in_the_middle_of_a_message);
    TEST("rst-drains-whole-messages", test_rst_drains_whole_messages);
    TEST("rst-drains-empty-messages", test_rst_drains_empty_messages);
    TEST("driver-goes-in-the-middle-of-a-message",
         test_driver_goes_in_the_middle_of_a_message);
    TEST("host-goes-deaf-in-the-middle-of-a-message",
         test_host_goes_deaf_in_the_middle_of_a_message);
    TEST("host-closes-in-the-middle-of-a-message",
         test_host_closes_in_the_middle_of_a_message);
    TEST("message-for-a-host-that-closed",
         test_message_for_a_host_that_closed);
    TEST("host-closes-with-messages-that-wait",
         test_host_closes_with_messages_that_wait);
    TEST("read-finds-a-close-with-messages-that-wait",
         test_read_finds_a_close_with_messages_that_wait);
    TEST("flush-that-fails-in-the-middle",
         test_flush_that_fails_in_the_middle);
    return g_test_run();
}
