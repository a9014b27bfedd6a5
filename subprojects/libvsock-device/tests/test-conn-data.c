/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flow's bytes both ways, and the order of its packets to the guest.
 */

#include "flow.h"
#include "vsock-limits.h"

#include <sys/epoll.h>

/* --- Guest to host ------------------------------------------------------- */

static void test_bytes_go_both_ways(void)
{
    g_autoptr(Flow) f = flow_from_host();

    guest_sends(f, "ping");
    host_got(f, "ping");
    host_writes(f, "pong");
    expect_data(f, "pong");
    expect_nothing(f);
}

static void test_short_write_stages_the_rest(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 3;
    guest_sends(f, "abcdef");
    host_got(f, "abc");
    g_assert_true(vsk_conn_poll_mask(f->conn) & EPOLLOUT);
    host_has_room(f, 100);
    host_got(f, "def");
    g_assert_false(vsk_conn_poll_mask(f->conn) & EPOLLOUT);
}

static void test_staged_bytes_go_first(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->room = 0;
    guest_sends(f, "one ");
    f->s->room = 2; /* no event has told of it yet */
    guest_sends(f, "two ");
    host_got(f, "");
    host_has_room(f, 6);
    host_got(f, "one tw");
    guest_sends(f, "three");
    host_has_room(f, SIZE_MAX);
    host_got(f, "o three");
}

static void test_no_write_is_tried_while_full(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    unsigned int calls;

    f->s->room = 0;
    guest_sends(f, "one");
    calls = f->s->calls[SCRIPTED_WRITEV];
    guest_sends(f, "two");
    guest_sends(f, "three");
    g_assert_cmpuint(f->s->calls[SCRIPTED_WRITEV], ==, calls);
}

static void test_empty_packet_writes_nothing(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "");
    g_assert_cmpuint(f->s->calls[SCRIPTED_WRITEV], ==, 0);
    expect_nothing(f);
}

static void test_one_packet_is_one_write(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    guest_sends(f, "in two pieces of memory");
    g_assert_cmpuint(f->s->calls[SCRIPTED_WRITEV], ==, 1);
}

/* --- Host to guest ------------------------------------------------------- */

static void test_read_fills_all_pieces(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    char a[2], b[3], c[8];
    struct iovec iov[] = {
        { a, sizeof(a) }, { NULL, 0 }, { b, sizeof(b) }, { c, sizeof(c) },
    };

    host_writes(f, "abcdefgh");
    g_assert_cmpuint(flow_reads(f, iov, 4), ==, 8);
    g_assert_cmpmem(a, 2, "ab", 2);
    g_assert_cmpmem(b, 3, "cde", 3);
    g_assert_cmpmem(c, 3, "fgh", 3);
    g_assert_cmpuint(f->s->calls[SCRIPTED_READV], ==, 1);
}

static void test_short_read_asks_no_more(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    host_writes(f, "abc");
    expect_data(f, "abc");
    g_assert_false(vsk_conn_owes_data(f->conn));
    g_assert_cmpuint(f->s->calls[SCRIPTED_READV], ==, 1);
}

static void test_short_read_asks_again_after_urgent_data(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    f->s->faults[SCRIPTED_READV] = (ScriptedFault) { 0, 1, 2 };
    host_writes(f, "abcd");
    vsk_conn_host_event(f->conn, EPOLLPRI);
    expect_data(f, "ab"); /* stopped before it */
    expect_data(f, "cd");
    expect_nothing(f);
}

static void test_full_read_asks_again(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    char buf[2];
    struct iovec iov = { buf, sizeof(buf) };

    host_writes(f, "abcd");
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 2);
    g_assert_true(vsk_conn_owes_data(f->conn));
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 2);
    g_assert_true(vsk_conn_owes_data(f->conn));
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 0);
    g_assert_false(vsk_conn_owes(f->conn));
}

static void test_one_turn_is_bounded(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    size_t len = 3 * VSK_TURN_BYTES;
    g_autofree char *bytes = g_malloc0(len);
    struct iovec iov = { bytes, len };

    guest_resizes(f, UINT32_MAX);
    host_writes_bytes(f, bytes, len);
    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, VSK_TURN_BYTES);
    g_assert_true(vsk_conn_owes_data(f->conn));
}

static void test_burst_follows_the_host(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    g_autofree char *bytes = g_malloc0(100);
    char byte;
    struct iovec iov = { &byte, 1 };
    unsigned int last = vsk_conn_wants_chains(f->conn);

    g_assert_cmpuint(last, ==, 1);
    host_writes_bytes(f, bytes, 100);
    for (int i = 0; i < 100; i++) {
        g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 1);
        g_assert_cmpuint(vsk_conn_wants_chains(f->conn), >=, last);
        last = vsk_conn_wants_chains(f->conn);
    }
    g_assert_cmpuint(last, ==, VSK_TURN_CHAINS);
    host_writes(f, "x");
    expect_data(f, "x"); /* much less than there was room for */
    g_assert_cmpuint(vsk_conn_wants_chains(f->conn), <, last);
    expect_nothing(f);
}

static void test_read_without_debt_is_nothing(void)
{
    g_autoptr(Flow) f = flow_from_guest();
    char byte;
    struct iovec iov = { &byte, 1 };

    g_assert_cmpuint(flow_reads(f, &iov, 1), ==, 0);
    host_writes(f, "x");
    g_assert_cmpuint(flow_reads(f, NULL, 0), ==, 0);
    g_assert_cmpuint(f->s->calls[SCRIPTED_READV], ==, 0);
    g_assert_true(vsk_conn_owes_data(f->conn));
}

/* --- Debts --------------------------------------------------------------- */

static void test_precedence(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    guest_says(f, VSK_OP_CREDIT_REQUEST);
    host_writes(f, "data");
    f->s->deaf = true;
    guest_sends(f, "lost"); /* makes SHUTDOWN(RECEIVE) due */
    expect(f, VSK_OP_RESPONSE);
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    expect(f, VSK_OP_CREDIT_UPDATE);
    expect_data(f, "data");
    expect_nothing(f);
}

static void test_rst_precedes_all(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    guest_says(f, VSK_OP_CREDIT_REQUEST);
    host_writes(f, "data");
    vsk_conn_reset(f->conn);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_same_debts_are_one(void)
{
    g_autoptr(Flow) f = flow_from_guest();

    for (int i = 0; i < 1000; i++) {
        guest_says(f, VSK_OP_CREDIT_REQUEST);
    }
    expect(f, VSK_OP_CREDIT_UPDATE);
    expect_nothing(f);
}

static void test_ops_without_meaning_are_refused(void)
{
    static const VskOp ops[] = {
        VSK_OP_INVALID, VSK_OP_REQUEST, VSK_OP_RESPONSE, VSK_OP_NUM,
    };
    g_autoptr(Flow) f = flow_from_guest();

    for (unsigned int i = 0; i < G_N_ELEMENTS(ops); i++) {
        guest_is_refused(f, ops[i], 0, VSK_REFUSED_OP);
        expect_nothing(f);
    }
    guest_sends(f, "alive");
    host_got(f, "alive");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/" path, fn)
    TEST("data/both-ways", test_bytes_go_both_ways);
    TEST("to-host/short-write-stages-the-rest",
         test_short_write_stages_the_rest);
    TEST("to-host/staged-bytes-go-first", test_staged_bytes_go_first);
    TEST("to-host/no-write-is-tried-while-full",
         test_no_write_is_tried_while_full);
    TEST("to-host/empty-packet-writes-nothing",
         test_empty_packet_writes_nothing);
    TEST("to-host/one-packet-is-one-write", test_one_packet_is_one_write);
    TEST("to-guest/read-fills-all-pieces", test_read_fills_all_pieces);
    TEST("to-guest/short-read-asks-no-more", test_short_read_asks_no_more);
    TEST("to-guest/short-read-asks-again-after-urgent-data",
         test_short_read_asks_again_after_urgent_data);
    TEST("to-guest/full-read-asks-again", test_full_read_asks_again);
    TEST("to-guest/one-turn-is-bounded", test_one_turn_is_bounded);
    TEST("to-guest/burst-follows-the-host", test_burst_follows_the_host);
    TEST("to-guest/read-without-debt-is-nothing",
         test_read_without_debt_is_nothing);
    TEST("debts/precedence", test_precedence);
    TEST("debts/rst-precedes-all", test_rst_precedes_all);
    TEST("debts/same-debts-are-one", test_same_debts_are_one);
    TEST("debts/ops-without-meaning-are-refused",
         test_ops_without_meaning_are_refused);
    return g_test_run();
}
