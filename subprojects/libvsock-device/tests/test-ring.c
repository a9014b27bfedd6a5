/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The staging ring: ring.h.
 */

#include "ring.h"
#include "scripted-stream.h"

#include <errno.h>
#include <string.h>

static bool push(VskRing *ring, const char *text, size_t offset)
{
    size_t len = strlen(text);
    struct iovec iov[] = {
        { (void *)text, len / 3 },
        { NULL, 0 },
        { (void *)(text + len / 3), len - len / 3 },
    };

    return vsk_ring_push(ring, iov, G_N_ELEMENTS(iov), offset);
}

static void test_no_memory_while_empty(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 16);
    g_assert_null(ring.data);
    g_assert_true(push(&ring, "", 0));
    g_assert_true(push(&ring, "abc", 3));
    g_assert_null(ring.data);
    g_assert_true(push(&ring, "abc", 0));
    g_assert_nonnull(ring.data);
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, 3);
    g_assert_null(ring.data);
    vsk_ring_clear(&ring);
}

static void test_push_from_any_offset(void)
{
    const char *text = "abcdefghi";

    for (size_t offset = 0; offset <= strlen(text); offset++) {
        g_autoptr(ScriptedStream) s = scripted_stream_new();
        VskRing ring;

        vsk_ring_init(&ring, 16);
        g_assert_true(push(&ring, text, offset));
        g_assert_cmpuint(vsk_ring_used(&ring), ==, strlen(text) - offset);
        vsk_ring_flush(&ring, &s->base);
        scripted_stream_expect_output(s, text + offset);
        vsk_ring_clear(&ring);
    }
}

static void test_offset_beyond_is_refused(void)
{
    VskRing ring;

    vsk_ring_init(&ring, 16);
    g_assert_false(push(&ring, "abc", 4));
    g_assert_cmpuint(vsk_ring_used(&ring), ==, 0);
    vsk_ring_clear(&ring);
}

static void test_too_much_is_refused_whole(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 8);
    g_assert_false(push(&ring, "123456789", 0));
    g_assert_true(push(&ring, "12345", 0));
    g_assert_false(push(&ring, "6789", 0));
    g_assert_true(push(&ring, "678", 0));
    g_assert_false(push(&ring, "9", 0));
    g_assert_cmpuint(vsk_ring_used(&ring), ==, 8);
    vsk_ring_flush(&ring, &s->base);
    scripted_stream_expect_output(s, "12345678");
    vsk_ring_clear(&ring);
}

static void test_flush_of_nothing_does_not_call(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 8);
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, 0);
    g_assert_cmpuint(s->calls[SCRIPTED_WRITEV], ==, 0);
    vsk_ring_clear(&ring);
}

static void test_short_write_keeps_the_rest(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 8);
    g_assert_true(push(&ring, "abcdef", 0));
    s->room = 2;
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, 2);
    g_assert_cmpuint(s->calls[SCRIPTED_WRITEV], ==, 1);
    g_assert_cmpuint(vsk_ring_used(&ring), ==, 4);
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, -EAGAIN);
    g_assert_cmpuint(vsk_ring_used(&ring), ==, 4);
    s->room = SIZE_MAX;
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, 4);
    scripted_stream_expect_output(s, "abcdef");
    vsk_ring_clear(&ring);
}

static void test_failed_write_keeps_all(void)
{
    static const int errors[] = { EAGAIN, EPIPE, ECONNRESET };

    for (unsigned int i = 0; i < G_N_ELEMENTS(errors); i++) {
        g_autoptr(ScriptedStream) s = scripted_stream_new();
        VskRing ring;

        vsk_ring_init(&ring, 8);
        g_assert_true(push(&ring, "abc", 0));
        s->faults[SCRIPTED_WRITEV] = (ScriptedFault) { 0, 1, -errors[i] };
        g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, -errors[i]);
        g_assert_cmpuint(vsk_ring_used(&ring), ==, 3);
        vsk_ring_clear(&ring);
    }
}

static void test_one_write_for_both_ends(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 8);
    g_assert_true(push(&ring, "......", 0));
    s->room = 5;
    vsk_ring_flush(&ring, &s->base);
    g_assert_true(push(&ring, "abcdefg", 0)); /* wraps */
    s->room = SIZE_MAX;
    s->calls[SCRIPTED_WRITEV] = 0;
    g_assert_cmpint(vsk_ring_flush(&ring, &s->base), ==, 8);
    g_assert_cmpuint(s->calls[SCRIPTED_WRITEV], ==, 1);
    scripted_stream_expect_output(s, "......abcdefg");
    vsk_ring_clear(&ring);
}

static void test_clear_forgets(void)
{
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    VskRing ring;

    vsk_ring_init(&ring, 8);
    g_assert_true(push(&ring, "abc", 0));
    vsk_ring_clear(&ring);
    g_assert_cmpuint(vsk_ring_used(&ring), ==, 0);
    g_assert_null(ring.data);
    g_assert_true(push(&ring, "defghijk", 0));
    vsk_ring_flush(&ring, &s->base);
    scripted_stream_expect_output(s, "defghijk");
    vsk_ring_clear(&ring);
}

/* Random pushes and short writes: what comes out is what went in. */
static void test_order_is_kept(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autoptr(ScriptedStream) s = scripted_stream_new();
    g_autoptr(GByteArray) all = g_byte_array_new();
    uint8_t next = 0;
    VskRing ring;

    vsk_ring_init(&ring, 61);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[32];
        uint32_t len = (uint32_t)g_rand_int_range(rand, 0, sizeof(bytes));
        uint32_t cut = (uint32_t)g_rand_int_range(rand, 0, (int)len + 1);
        struct iovec iov[] = { { bytes, cut }, { bytes + cut, len - cut } };
        bool fits = len <= 61 - vsk_ring_used(&ring);

        for (uint32_t k = 0; k < len; k++) {
            bytes[k] = (uint8_t)(next + k);
        }
        g_assert_cmpint(vsk_ring_push(&ring, iov, 2, 0), ==, fits || !len);
        if (fits) {
            next = (uint8_t)(next + len);
            g_byte_array_append(all, bytes, len);
        }
        s->room = (size_t)g_rand_int_range(rand, 0, 40);
        vsk_ring_flush(&ring, &s->base);
    }
    s->room = SIZE_MAX;
    vsk_ring_flush(&ring, &s->base);
    g_assert_cmpmem(s->output->data, s->output->len, all->data, all->len);
    vsk_ring_clear(&ring);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ring/memory/none-while-empty",
                    test_no_memory_while_empty);
    g_test_add_func("/ring/push/from-any-offset", test_push_from_any_offset);
    g_test_add_func("/ring/push/offset-beyond-is-refused",
                    test_offset_beyond_is_refused);
    g_test_add_func("/ring/push/too-much-is-refused-whole",
                    test_too_much_is_refused_whole);
    g_test_add_func("/ring/flush/of-nothing-does-not-call",
                    test_flush_of_nothing_does_not_call);
    g_test_add_func("/ring/flush/short-write-keeps-the-rest",
                    test_short_write_keeps_the_rest);
    g_test_add_func("/ring/flush/failed-write-keeps-all",
                    test_failed_write_keeps_all);
    g_test_add_func("/ring/flush/one-write-for-both-ends",
                    test_one_write_for_both_ends);
    g_test_add_func("/ring/clear/forgets", test_clear_forgets);
    g_test_add_func("/ring/order/is-kept", test_order_is_kept);
    return g_test_run();
}
