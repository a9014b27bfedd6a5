/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What waits for a host program: stage.h.
 */

#include "vsock-limits.h"
#include "scripted-stream.h"
#include "stage.h"

#include <errno.h>
#include <string.h>

#define WINDOW 1024

/* Push @text; its last byte ends a message if @eom. */
static bool push(VskStage *stage, const char *text, bool eom)
{
    struct iovec iov = { (void *)text, strlen(text) };

    return vsk_stage_push(stage, &iov, 1, 0, eom);
}

static ssize_t flush(VskStage *stage, ScriptedStream *s)
{
    bool more;
    ssize_t n = vsk_stage_flush(stage, &s->base, &more);

    g_assert_false(more);
    return n;
}

static void test_message_waits_for_its_end(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    g_assert_true(push(&stage, "one ", false));
    g_assert_false(vsk_stage_waits(&stage));
    g_assert_cmpuint(vsk_stage_used(&stage), ==, 4);
    g_assert_cmpint(flush(&stage, s), ==, 0);
    g_assert_true(push(&stage, "message", true));
    g_assert_true(vsk_stage_waits(&stage));
    g_assert_cmpint(flush(&stage, s), ==, 11);
    scripted_stream_expect_message(s, "one message");
    g_assert_false(vsk_stage_waits(&stage));
    g_assert_null(stage.bytes.data);
    g_assert_null(stage.ends.data);
}

static void test_messages_stay_apart(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    g_assert_true(push(&stage, "a", true));
    g_assert_true(push(&stage, "", true));
    g_assert_true(push(&stage, "bc", true));
    g_assert_true(push(&stage, "d", false));
    g_assert_cmpint(flush(&stage, s), ==, 3);
    scripted_stream_expect_message(s, "a");
    scripted_stream_expect_message(s, "");
    scripted_stream_expect_message(s, "bc");
    g_assert_cmpuint(vsk_stage_used(&stage), ==, 1);
    vsk_stage_clear(&stage);
}

/* Lengths of one to three bytes of code, many times around the ring. */
static void test_lengths_of_any_size(void)
{
    static const uint32_t lens[] = { 0, 1, 127, 128, 129, 16383, 16384, 0 };
    uint8_t *bytes = g_malloc(16384);
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, 65536);
    for (unsigned int i = 0; i < 300 * G_N_ELEMENTS(lens); i++) {
        g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
        uint32_t len = lens[i % G_N_ELEMENTS(lens)];
        struct iovec iov = { bytes, len };

        memset(bytes, (int)i, len);
        g_assert_true(vsk_stage_push(&stage, &iov, 1, 0, true));
        g_assert_true(push(&stage, "x", true));
        g_assert_cmpint(flush(&stage, s), ==, len + 1);
        scripted_stream_expect_message_bytes(s, bytes, len);
        scripted_stream_expect_message(s, "x");
    }
    g_free(bytes);
    vsk_stage_clear(&stage);
}

/* As many messages as the window allows: one byte each. */
static void test_window_of_smallest_messages_fits(void)
{
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    for (unsigned int i = 0; i < VSK_MAX_EMPTY_MESSAGES; i++) {
        g_assert_true(push(&stage, "", true));
    }
    for (unsigned int i = 0; i < WINDOW; i++) {
        g_assert_true(push(&stage, "x", true));
    }
    g_assert_cmpuint(vsk_ring_used(&stage.ends), ==, stage.ends.capacity);
    vsk_stage_clear(&stage);
}

static void test_empty_messages_are_bounded(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    for (unsigned int i = 0; i < VSK_MAX_EMPTY_MESSAGES; i++) {
        g_assert_true(push(&stage, "", true));
    }
    g_assert_false(push(&stage, "", true));
    g_assert_true(push(&stage, "", false)); /* is none */
    g_assert_true(push(&stage, "x", true));
    s->room = 1; /* messages that the socket takes */
    g_assert_cmpint(flush(&stage, s), ==, 0);
    g_assert_true(push(&stage, "", true));
    g_assert_false(push(&stage, "", true));
    vsk_stage_clear(&stage);
}

/* A message whose end came alone is no empty one. */
static void test_end_alone_is_no_empty_message(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    for (unsigned int i = 0; i <= VSK_MAX_EMPTY_MESSAGES; i++) {
        g_assert_true(push(&stage, "x", false));
        g_assert_true(push(&stage, "", true));
        g_assert_cmpint(flush(&stage, s), ==, 1);
    }
    g_assert_cmpuint(stage.n_empty, ==, 0);
    vsk_stage_clear(&stage);
}

static void test_clear_forgets_all(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    for (unsigned int round = 0; round < 2; round++) {
        for (unsigned int i = 0; i < VSK_MAX_EMPTY_MESSAGES; i++) {
            g_assert_true(push(&stage, "", true));
        }
        g_assert_true(push(&stage, "half", false));
        vsk_stage_clear(&stage);
        g_assert_false(vsk_stage_waits(&stage));
        g_assert_cmpuint(vsk_stage_used(&stage), ==, 0);
        g_assert_null(stage.bytes.data);
        g_assert_null(stage.ends.data);
    }
    g_assert_true(push(&stage, "new", true));
    g_assert_cmpint(flush(&stage, s), ==, 3);
    scripted_stream_expect_message(s, "new");
}

static void test_full_socket_keeps_the_rest(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    g_assert_true(push(&stage, "ab", true));
    g_assert_true(push(&stage, "cd", true));
    s->room = 0;
    g_assert_cmpint(flush(&stage, s), ==, -EAGAIN);
    s->room = 1;
    g_assert_cmpint(flush(&stage, s), ==, 2);
    scripted_stream_expect_message(s, "ab");
    s->room = 1;
    g_assert_cmpint(flush(&stage, s), ==, 2);
    scripted_stream_expect_message(s, "cd");
    vsk_stage_clear(&stage);
}

static void test_one_call_has_a_budget(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new_seqpacket();
    VskStage stage;
    bool more;

    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    for (unsigned int i = 0; i <= VSK_TURN_MESSAGES; i++) {
        g_assert_true(push(&stage, "x", true));
    }
    g_assert_cmpint(vsk_stage_flush(&stage, &s->base, &more), ==,
                    VSK_TURN_MESSAGES);
    g_assert_true(more);
    g_assert_cmpint(vsk_stage_flush(&stage, &s->base, &more), ==, 1);
    g_assert_false(more);
    vsk_stage_clear(&stage);
}

static void test_cost_is_what_it_may_hold(void)
{
    VskStage stage;

    vsk_stage_init(&stage, VSK_TYPE_STREAM, WINDOW);
    g_assert_cmpuint(vsk_stage_cost(VSK_TYPE_STREAM, WINDOW), ==,
                     stage.bytes.capacity);
    vsk_stage_init(&stage, VSK_TYPE_SEQPACKET, WINDOW);
    g_assert_cmpuint(vsk_stage_cost(VSK_TYPE_SEQPACKET, WINDOW), ==,
                     stage.bytes.capacity + stage.ends.capacity);
    for (uint16_t type = VSK_TYPE_STREAM; type <= VSK_TYPE_SEQPACKET; type++) {
        uint64_t cost = vsk_stage_cost(type, WINDOW);

        g_assert_cmpuint(vsk_stage_window(type, cost), ==, WINDOW);
        g_assert_cmpuint(vsk_stage_window(type, cost - 1), <, WINDOW);
        g_assert_cmpuint(vsk_stage_window(type, 0), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stage/message-waits-for-its-end",
                    test_message_waits_for_its_end);
    g_test_add_func("/stage/messages-stay-apart", test_messages_stay_apart);
    g_test_add_func("/stage/lengths-of-any-size", test_lengths_of_any_size);
    g_test_add_func("/stage/window-of-smallest-messages-fits",
                    test_window_of_smallest_messages_fits);
    g_test_add_func("/stage/empty-messages-are-bounded",
                    test_empty_messages_are_bounded);
    g_test_add_func("/stage/end-alone-is-no-empty-message",
                    test_end_alone_is_no_empty_message);
    g_test_add_func("/stage/clear-forgets-all", test_clear_forgets_all);
    g_test_add_func("/stage/full-socket-keeps-the-rest",
                    test_full_socket_keeps_the_rest);
    g_test_add_func("/stage/one-call-has-a-budget",
                    test_one_call_has_a_budget);
    g_test_add_func("/stage/cost-is-what-it-may-hold",
                    test_cost_is_what_it_may_hold);
    return g_test_run();
}
