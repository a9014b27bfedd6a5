/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flow's handshake: conn.h.
 */

#include "flow.h"

/* --- The guest connects (S1) --------------------------------------------- */

static void test_request_owes_response(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    g_assert_cmpint(f->conn->phase, ==, VSK_PHASE_ESTABLISHED);
    expect(f, VSK_OP_RESPONSE);
    expect_nothing(f);
    g_assert_cmpuint(f->s->host_port, ==, 0); /* no OK line for a listener */
}

static void test_response_comes_before_data(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    host_writes(f, "early");
    g_assert_false(vsk_conn_owes_data(f->conn));
    expect(f, VSK_OP_RESPONSE);
    expect_data(f, "early");
}

static void test_guest_may_send_before_response(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    guest_sends(f, "early");
    host_got(f, "early");
    expect(f, VSK_OP_RESPONSE);
}

static void test_guest_may_reset_before_response(void)
{
    g_autoptr(Flow) f = flow_requested_by_guest();

    guest_says(f, VSK_OP_RST);
    expect_dead(f);
}

/* --- The host connects (S2) ---------------------------------------------- */

static void test_host_flow_owes_request(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    expect_nothing(f);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_REQUEST);
}

static void test_response_connects(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    guest_says(f, VSK_OP_RESPONSE);
    g_assert_cmpuint(f->s->host_port, ==, FLOW_HOST_PORT);
    g_assert_cmpint(f->conn->phase, ==, VSK_PHASE_ESTABLISHED);
    g_assert_cmpint(vsk_conn_timer(f->conn), ==, VSK_TIMER_NONE);
    expect_nothing(f);
}

static void test_data_waits_for_the_response(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    host_writes(f, "hello");
    expect(f, VSK_OP_REQUEST);
    expect_nothing(f);
    guest_says(f, VSK_OP_RESPONSE);
    expect_data(f, "hello");
}

static void test_rst_refuses(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    guest_says(f, VSK_OP_RST);
    g_assert_cmpuint(f->s->host_port, ==, 0);
    expect_dead(f);
}

static void test_response_to_no_request_is_refused(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    guest_is_refused(f, VSK_OP_RESPONSE, 0, VSK_REFUSED_OP);
    g_assert_cmpuint(f->s->host_port, ==, 0);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_other_op_instead_of_response_resets(void)
{
    static const VskOp ops[] = {
        VSK_OP_REQUEST, VSK_OP_RW, VSK_OP_SHUTDOWN, VSK_OP_CREDIT_UPDATE,
        VSK_OP_CREDIT_REQUEST, VSK_OP_NUM,
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_autoptr(Flow) f = flow_requested_by_host();

        expect(f, VSK_OP_REQUEST);
        guest_is_refused(f, ops[i], 0, VSK_REFUSED_OP);
        expect(f, VSK_OP_RST);
        expect_dead(f);
    }
}

static void test_invalid_op_instead_of_response_is_ignored(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    guest_is_refused(f, VSK_OP_INVALID, 0, VSK_REFUSED_OP);
    expect_nothing(f);
    guest_says(f, VSK_OP_RESPONSE);
    g_assert_cmpuint(f->s->host_port, ==, FLOW_HOST_PORT);
}

static void test_silence_times_out_with_rst(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    expect_expiry(f, VSK_REFUSED_REQUEST_TIMEOUT);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_timeout_before_the_request_left_is_silent(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect_expiry(f, VSK_REFUSED_REQUEST_TIMEOUT);
    expect_dead(f);
}

static void test_client_that_left_needs_no_flow(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    expect(f, VSK_OP_REQUEST);
    host_closes(f);
    expect(f, VSK_OP_RST);
    expect_dead(f);
}

static void test_client_that_left_at_once_is_never_told(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    host_closes(f);
    expect_dead(f);
}

static void test_bytes_of_a_client_that_left_are_delivered(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    host_writes(f, "note");
    host_closes(f);
    expect(f, VSK_OP_REQUEST);
    guest_says(f, VSK_OP_RESPONSE);
    expect_shutdown(f, VSK_SHUTDOWN_RECEIVE);
    expect_data(f, "note");
    expect_shutdown(f, VSK_SHUTDOWN_BOTH);
}

static void test_half_closed_client_is_connected(void)
{
    g_autoptr(Flow) f = flow_requested_by_host();

    host_writes(f, "question");
    host_sends_no_more(f);
    expect(f, VSK_OP_REQUEST);
    guest_says(f, VSK_OP_RESPONSE);
    expect_data(f, "question");
    expect_shutdown(f, VSK_SHUTDOWN_SEND);
    guest_sends(f, "answer");
    host_got(f, "answer");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/conn/" path, fn)
    TEST("open/request-owes-response", test_request_owes_response);
    TEST("open/response-comes-before-data", test_response_comes_before_data);
    TEST("open/guest-may-send-before-response",
         test_guest_may_send_before_response);
    TEST("open/guest-may-reset-before-response",
         test_guest_may_reset_before_response);
    TEST("open/host-flow-owes-request", test_host_flow_owes_request);
    TEST("open/response-connects", test_response_connects);
    TEST("open/data-waits-for-the-response",
         test_data_waits_for_the_response);
    TEST("open/rst-refuses", test_rst_refuses);
    TEST("open/response-to-no-request-is-refused",
         test_response_to_no_request_is_refused);
    TEST("open/other-op-instead-of-response-resets",
         test_other_op_instead_of_response_resets);
    TEST("open/invalid-op-instead-of-response-is-ignored",
         test_invalid_op_instead_of_response_is_ignored);
    TEST("open/silence-times-out-with-rst", test_silence_times_out_with_rst);
    TEST("open/timeout-before-the-request-left-is-silent",
         test_timeout_before_the_request_left_is_silent);
    TEST("open/client-that-left-needs-no-flow",
         test_client_that_left_needs_no_flow);
    TEST("open/client-that-left-at-once-is-never-told",
         test_client_that_left_at_once_is_never_told);
    TEST("open/bytes-of-a-client-that-left-are-delivered",
         test_bytes_of_a_client_that_left_are_delivered);
    TEST("open/half-closed-client-is-connected",
         test_half_closed_client_is_connected);
    return g_test_run();
}
