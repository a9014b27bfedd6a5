/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The split virtqueue with a driver that breaks the rules.
 */

#include "ring-driver.h"

#include <string.h>

#define DATA (DRIVER_GPA + 32768)
#define NOWHERE 0x50000000ull

static void test_loop(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc(driver, 0, DATA, 1, VRING_DESC_F_NEXT, 1);
    driver_desc(driver, 1, DATA, 1, VRING_DESC_F_NEXT, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a chain that is a loop");
}

static void test_loop_in_a_table(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc_at(driver, DATA, 0, DATA, 1, VRING_DESC_F_NEXT, 0);
    driver_desc(driver, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a chain that is a loop");
}

static void test_next_beyond_the_table(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc(driver, 0, DATA, 1, VRING_DESC_F_NEXT, DRIVER_NUM);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a descriptor that does not exist");
}

static void test_head_beyond_the_table(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_give(driver, DRIVER_NUM);
    driver_pop_breaks(driver, "a chain that does not exist");
}

static void test_index_that_jumped(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver->avail->idx = GUINT16_TO_LE(DRIVER_NUM + 1);
    driver_pop_breaks(driver, "an index that jumped");
}

static void test_index_that_went_back(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver->avail->idx = GUINT16_TO_LE(0xffff);
    driver_pop_breaks(driver, "an index that jumped");
}

static void test_more_than_there_are(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    for (int i = 0; i < 2 * DRIVER_NUM; i++) {
        driver_give_simple(driver, 0, true); /* the same, again and again */
        if (i < DRIVER_NUM) {
            driver_pop(driver);
        }
    }
    driver_pop_breaks(driver,
                      "more chains available than there are descriptors");
}

static void test_no_memory_there(void)
{
    for (int i = 0; i < 4; i++) {
        g_autoptr(Driver) driver = driver_new(true, true);
        /* Nowhere; out of the end; around the end of all; below all. */
        uint64_t gpa = (uint64_t[]) { NOWHERE, DRIVER_EDGE + DRIVER_REGION - 1,
                                      UINT64_MAX, DRIVER_GPA - 1 }[i];

        driver_desc(driver, 0, gpa, 2, VRING_DESC_F_WRITE, 0);
        driver_give(driver, 0);
        driver_pop_breaks(driver, "a buffer outside of the guest's memory");
    }
}

static void test_whole_address_space(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc(driver, 0, DRIVER_GPA, UINT32_MAX, 0, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a buffer outside of the guest's memory");
}

static void test_no_bytes(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc(driver, 0, DATA, 0, 0, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a buffer without bytes");
}

static void test_read_behind_write(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc(driver, 0, DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    driver_desc(driver, 1, DATA, 1, 0, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a buffer to read behind one to write");
}

static void test_too_many_pieces(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    /* As many as can be, and one lies in two regions. */
    for (unsigned int i = 0; i < VSK_MAX_CHAIN_IOV; i++) {
        driver_desc_at(driver, DRIVER_EDGE, i,
                       i ? DATA : DRIVER_EDGE - 1, 2,
                       i + 1 < VSK_MAX_CHAIN_IOV ? VRING_DESC_F_NEXT : 0,
                       (uint16_t)(i + 1));
    }
    driver_desc(driver, 0, DRIVER_EDGE, VSK_MAX_CHAIN_IOV * 16,
                VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "a chain of too many buffers");
}

static void check_indirect(bool negotiated, uint64_t table, uint32_t len,
                           uint16_t flags, const char *why)
{
    g_autoptr(Driver) driver = driver_new(true, negotiated);

    driver_desc_at(driver, DATA, 0, DATA, 1, 0, 0);
    driver_desc(driver, 0, table, len, VRING_DESC_F_INDIRECT | flags, 1);
    driver_desc(driver, 1, DATA, 1, 0, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, why);
}

static void test_indirect_not_negotiated(void)
{
    check_indirect(false, DATA, 16, 0,
                   "an indirect table that was not negotiated");
}

static void test_indirect_of_bad_sizes(void)
{
    const char *why = "an indirect table of a bad size";

    check_indirect(true, DATA, 0, 0, why);
    check_indirect(true, DATA, 15, 0, why);
    check_indirect(true, DATA, 17, 0, why);
    check_indirect(true, DATA, 1025 * 16, 0, why);
    check_indirect(true, DATA, 0xfffffff0, 0, why);
}

static void test_indirect_that_goes_on(void)
{
    check_indirect(true, DATA, 16, VRING_DESC_F_NEXT,
                   "an indirect table that goes on");
}

static void test_indirect_nowhere(void)
{
    const char *why = "a descriptor outside of the guest's memory";

    check_indirect(true, NOWHERE, 16, 0, why);
    check_indirect(true, DRIVER_EDGE + DRIVER_REGION - 8, 16, 0, why);
    check_indirect(true, UINT64_MAX - 7, 16, 0, why);
}

static void test_indirect_in_indirect(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc_at(driver, DATA, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
    driver_desc(driver, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "an indirect table within a chain");
}

static void test_indirect_behind_others(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);

    driver_desc_at(driver, DATA, 0, DATA, 1, 0, 0);
    driver_desc(driver, 0, DATA, 1, VRING_DESC_F_NEXT, 1);
    driver_desc(driver, 1, DATA, 16, VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 0);
    driver_pop_breaks(driver, "an indirect table within a chain");
}

static void test_chains_that_are_out_when_it_breaks(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);
    VskChain a, b;

    driver_give_simple(driver, 0, true);
    driver_give_simple(driver, 1, true);
    a = driver_pop(driver);
    b = driver_pop(driver);
    driver_give(driver, 100);
    driver_pop_breaks(driver, "a chain that does not exist");
    vsk_vring_unpop(driver->vring, &b);
    vsk_vring_push(driver->vring, &a, 10);
    g_assert_false(driver_flush(driver));
    g_assert_cmpuint(driver_used(driver), ==, 0);
}

static unsigned int any(int below)
{
    return (unsigned int)g_test_rand_int_range(0, below);
}

/* Whether @iov lies in the guest's memory. */
static bool is_inside(const Driver *driver, const struct iovec *iov)
{
    for (unsigned int i = 0; i < 2; i++) {
        const uint8_t *at = iov->iov_base;

        if (at >= driver->regions[i] &&
            at + iov->iov_len <= driver->regions[i] + DRIVER_REGION) {
            return true;
        }
    }
    return false;
}

static void use_chain(Driver *driver, VskChain *chain)
{
    g_assert_cmpuint(chain->n_out + chain->n_in, <=, VSK_MAX_CHAIN_IOV);
    for (unsigned int i = 0; i < chain->n_out; i++) {
        g_assert_true(is_inside(driver, &chain->out[i]));
    }
    for (unsigned int i = 0; i < chain->n_in; i++) {
        g_assert_true(is_inside(driver, &chain->in[i]));
    }
    if (any(4) == 0) {
        vsk_vring_unpop(driver->vring, chain);
    } else {
        vsk_vring_push(driver->vring, chain, any(300));
    }
}

/* A descriptor that is now and then what it ought to be. */
static void random_desc(Driver *driver, unsigned int i)
{
    uint64_t gpa = any(8) ? DRIVER_EDGE - 50 + i : NOWHERE;
    uint32_t len = any(8) ? 16 * (1 + i) : any(INT32_MAX);
    uint16_t flags = (uint16_t)any(any(4) ? 4 : 8);

    driver_desc(driver, i, gpa, len, flags,
                (uint16_t)any(DRIVER_NUM + 1));
    driver_desc_at(driver, DRIVER_EDGE - 50, i, gpa, len, flags & 3,
                   (uint16_t)any(DRIVER_NUM + 1));
}

static void test_random(void)
{
    unsigned int chains = 0;

    for (int round = 0; round < 3000; round++) {
        g_autoptr(Driver) driver = driver_new(round & 1, round & 2);

        for (unsigned int i = 0; i < DRIVER_NUM; i++) {
            driver_desc(driver, i, DRIVER_EDGE - 20, 40, 0, 0);
        }
        for (int i = 0; i < 40 && !vsk_vring_broken(driver->vring); i++) {
            VskChain chain;

            random_desc(driver, any(DRIVER_NUM));
            driver_give(driver, (uint16_t)any(DRIVER_NUM));
            if (vsk_vring_pop(driver->vring, &chain)) {
                use_chain(driver, &chain);
                chains++;
            }
            driver_flush(driver);
            vsk_vring_set_notification(driver->vring, i & 1);
        }
    }
    g_assert_cmpuint(chains, >, 1000);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        { "loop", test_loop },
        { "loop-in-a-table", test_loop_in_a_table },
        { "next-beyond-the-table", test_next_beyond_the_table },
        { "head-beyond-the-table", test_head_beyond_the_table },
        { "index-that-jumped", test_index_that_jumped },
        { "index-that-went-back", test_index_that_went_back },
        { "more-than-there-are", test_more_than_there_are },
        { "no-memory-there", test_no_memory_there },
        { "whole-address-space", test_whole_address_space },
        { "no-bytes", test_no_bytes },
        { "read-behind-write", test_read_behind_write },
        { "too-many-pieces", test_too_many_pieces },
        { "indirect-not-negotiated", test_indirect_not_negotiated },
        { "indirect-of-bad-sizes", test_indirect_of_bad_sizes },
        { "indirect-that-goes-on", test_indirect_that_goes_on },
        { "indirect-nowhere", test_indirect_nowhere },
        { "indirect-in-indirect", test_indirect_in_indirect },
        { "indirect-behind-others", test_indirect_behind_others },
        { "chains-that-are-out-when-it-breaks",
          test_chains_that_are_out_when_it_breaks },
        { "random", test_random },
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/vring/hostile/%s",
                                                tests[i].name);

        g_test_add_func(path, tests[i].run);
    }
    return g_test_run();
}
