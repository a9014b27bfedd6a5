/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Chains of a process that died.
 */

#include "ring-driver.h"

static void *place_of(Driver *driver, uint16_t head)
{
    return driver_at(driver, DRIVER_GPA + 16384 + head * 1000u);
}

/* The next chain is the one at @head. */
static VskChain expect(Driver *driver, uint16_t head)
{
    VskChain chain = driver_pop(driver);

    g_assert_true(chain.in[0].iov_base == place_of(driver, head));
    return chain;
}

static void give(Driver *driver, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        driver_give_simple(driver, (uint16_t)(n - 1 - i), true);
    }
}

static Driver *new_driver(void)
{
    Driver *driver = driver_new(true, false);

    driver_restart(driver); /* with a buffer for what is in flight */
    return driver;
}

static void test_nothing_was_out(void)
{
    g_autoptr(Driver) driver = new_driver();
    VskChain chain;

    give(driver, 3);
    chain = expect(driver, 2);
    vsk_vring_push(driver->vring, &chain, 0);
    driver_flush(driver);
    driver_restart(driver);
    expect(driver, 1);
    expect(driver, 0);
    driver_pop_nothing(driver);
}

static void test_what_was_out_comes_first_in_its_order(void)
{
    g_autoptr(Driver) driver = new_driver();
    VskChain chain;

    give(driver, 5);
    expect(driver, 4);
    chain = expect(driver, 3);
    expect(driver, 2);
    vsk_vring_push(driver->vring, &chain, 0);
    driver_flush(driver);
    driver_restart(driver);
    g_assert_cmpuint(driver_used(driver), ==, 1);
    chain = expect(driver, 4);
    vsk_vring_unpop(driver->vring, &chain);
    chain = expect(driver, 4);
    vsk_vring_push(driver->vring, &chain, 0);
    expect(driver, 2);
    expect(driver, 1);
    expect(driver, 0);
    driver_pop_nothing(driver);
}

static void test_pushed_and_not_published_is_out(void)
{
    g_autoptr(Driver) driver = new_driver();
    VskChain chain;

    give(driver, 2);
    chain = expect(driver, 1);
    vsk_vring_push(driver->vring, &chain, 0);
    driver_restart(driver);
    expect(driver, 1);
    expect(driver, 0);
}

static void test_unpopped_is_not_out(void)
{
    g_autoptr(Driver) driver = new_driver();
    VskChain chain;

    give(driver, 1);
    chain = expect(driver, 0);
    vsk_vring_unpop(driver->vring, &chain);
    driver_restart(driver);
    expect(driver, 0);
    driver_pop_nothing(driver);
}

static void test_died_between_publishing_and_its_note(void)
{
    g_autoptr(Driver) driver = new_driver();
    VskChain a, b;

    give(driver, 4);
    a = expect(driver, 3);
    b = expect(driver, 2);
    expect(driver, 1);
    vsk_vring_push(driver->vring, &a, 0);
    vsk_vring_push(driver->vring, &b, 0);
    driver->used->idx = GUINT16_TO_LE(2); /* and there it died */
    driver_restart(driver);
    expect(driver, 1);
    expect(driver, 0);
    driver_pop_nothing(driver);
}

static void test_died_again(void)
{
    g_autoptr(Driver) driver = new_driver();

    give(driver, 3);
    expect(driver, 2);
    expect(driver, 1);
    driver_restart(driver);
    expect(driver, 2);
    driver_restart(driver);
    expect(driver, 2);
    expect(driver, 1);
    expect(driver, 0);
    driver_pop_nothing(driver);
}

static void test_spoiled_buffer(void)
{
    g_autoptr(Driver) driver = new_driver();

    driver->inflight->last_batch_head = 60000;
    driver->inflight->used_idx = 7;
    driver_restart(driver);
    driver->inflight->last_batch_head = 1;
    driver->inflight->desc[1].next = 60000;
    driver->inflight->used_idx = 7;
    driver_restart(driver);
    give(driver, 1);
    expect(driver, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/inflight/nothing-was-out", test_nothing_was_out);
    g_test_add_func("/inflight/what-was-out-comes-first-in-its-order",
                    test_what_was_out_comes_first_in_its_order);
    g_test_add_func("/inflight/pushed-and-not-published-is-out",
                    test_pushed_and_not_published_is_out);
    g_test_add_func("/inflight/unpopped-is-not-out",
                    test_unpopped_is_not_out);
    g_test_add_func("/inflight/died-between-publishing-and-its-note",
                    test_died_between_publishing_and_its_note);
    g_test_add_func("/inflight/died-again", test_died_again);
    g_test_add_func("/inflight/spoiled-buffer", test_spoiled_buffer);
    return g_test_run();
}
