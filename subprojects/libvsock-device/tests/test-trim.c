/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory of flows that have ended: trim.h.
 */

#include "vsock-limits.h"
#include "trim.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define N_BLOCKS   1024
#define BLOCK_SIZE 16384 /* too small for malloc to map each on its own */

static void test_waits_and_asks_once(void)
{
    VskTrim trim;

    vsk_trim_init(&trim);
    vsk_trim_count(&trim, 0, 2 * VSK_TRIM_BYTES, 1000);
    vsk_trim_count(&trim, 2 * VSK_TRIM_BYTES, VSK_TRIM_BYTES + 1, 1000);
    g_assert_cmpint(trim.at_ms, ==, -1);
    vsk_trim_count(&trim, 1, 0, 1000);
    g_assert_cmpint(trim.at_ms, ==, 1000 + VSK_TRIM_DELAY_MS);
    vsk_trim_count(&trim, 10, 0, 2000); /* more does not put it off */
    g_assert_cmpint(trim.at_ms, ==, 1000 + VSK_TRIM_DELAY_MS);
    vsk_trim_expire(&trim, 1000 + VSK_TRIM_DELAY_MS - 1);
    g_assert_cmpuint(trim.peak, ==, 2 * VSK_TRIM_BYTES);
    vsk_trim_expire(&trim, 1000 + VSK_TRIM_DELAY_MS);
    g_assert_cmpint(trim.at_ms, ==, -1);
    g_assert_cmpuint(trim.peak, ==, trim.bytes);
}

static void test_memory_that_is_used_again_stays(void)
{
    VskTrim trim;

    vsk_trim_init(&trim);
    vsk_trim_count(&trim, 0, 2 * VSK_TRIM_BYTES, 0);
    vsk_trim_count(&trim, 2 * VSK_TRIM_BYTES, 0, 0);
    vsk_trim_count(&trim, 0, 2 * VSK_TRIM_BYTES, 10);
    vsk_trim_expire(&trim, VSK_TRIM_DELAY_MS);
    g_assert_cmpint(trim.at_ms, ==, -1);
    g_assert_cmpuint(trim.peak, ==, 2 * VSK_TRIM_BYTES);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED \
    (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* Not a sanitizer's, valgrind's or another libc's. */
static bool malloc_is_glibc(void)
{
    const char *preload = g_getenv("LD_PRELOAD");

#ifndef __GLIBC__
    return false;
#endif
    return !SANITIZED && !(preload && strstr(preload, "vgpreload"));
}

/* Bytes of memory of this process that no file is behind. */
static uint64_t resident(void)
{
    g_autofree char *text = NULL;
    const char *line;
    unsigned long kib;

    g_assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    line = strstr(text, "RssAnon:");
    g_assert_nonnull(line);
    g_assert_cmpint(sscanf(line, "RssAnon: %lu", &kib), ==, 1);
    return kib * 1024ull;
}

static void test_memory_of_many_flows_goes_back(void)
{
    char **blocks = g_new(char *, N_BLOCKS);
    uint64_t total = N_BLOCKS * (uint64_t)BLOCK_SIZE, before;
    char *last;
    VskTrim trim;

    if (!malloc_is_glibc()) {
        g_test_skip("this malloc has no malloc_trim()");
        g_free(blocks);
        return;
    }
    vsk_trim_init(&trim);
    before = resident();
    for (int i = 0; i < N_BLOCKS; i++) {
        blocks[i] = g_malloc(BLOCK_SIZE);
        memset(blocks[i], 1, BLOCK_SIZE);
        vsk_trim_count(&trim, 0, BLOCK_SIZE, 0);
    }
    last = g_malloc(BLOCK_SIZE); /* holds all that is below it */
    for (int i = 0; i < N_BLOCKS; i++) {
        g_free(blocks[i]);
        vsk_trim_count(&trim, BLOCK_SIZE, 0, 0);
    }
    g_assert_cmpuint(resident(), >, before + total / 2);
    vsk_trim_expire(&trim, VSK_TRIM_DELAY_MS);
    g_assert_cmpuint(resident(), <, before + total / 8);
    g_free(last);
    g_free(blocks);
}

#define TEST(name, fn) g_test_add_func("/trim/" name, fn)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST("waits-and-asks-once", test_waits_and_asks_once);
    TEST("memory-that-is-used-again-stays",
         test_memory_that_is_used_again_stays);
    TEST("memory-of-many-flows-goes-back",
         test_memory_of_many_flows_goes_back);
    return g_test_run();
}
