/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The split virtqueue with a driver that keeps the rules.
 */

#include "ring-driver.h"

#include <string.h>

#define DATA (DRIVER_GPA + 32768)

static void push(Driver *driver, VskChain *chain, uint32_t len)
{
    vsk_vring_push(driver->vring, chain, len);
    g_assert_null(chain->elem);
}

static void test_chain_there_and_back(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);
    uint32_t len;
    VskChain chain;

    driver_pop_nothing(driver);
    driver_desc(driver, 3, DATA, 44, VRING_DESC_F_NEXT, 5);
    driver_desc(driver, 5, DATA + 100, 200, VRING_DESC_F_NEXT, 1);
    driver_desc(driver, 1, DATA + 400, 300, VRING_DESC_F_WRITE, 0);
    driver_give(driver, 3);
    chain = driver_pop(driver);
    g_assert_cmpuint(chain.n_out, ==, 2);
    g_assert_true(chain.out[0].iov_base == driver_at(driver, DATA));
    g_assert_cmpuint(chain.out[0].iov_len, ==, 44);
    g_assert_true(chain.out[1].iov_base == driver_at(driver, DATA + 100));
    g_assert_cmpuint(chain.n_in, ==, 1);
    g_assert_true(chain.in[0].iov_base == driver_at(driver, DATA + 400));
    g_assert_cmpuint(chain.in[0].iov_len, ==, 300);
    push(driver, &chain, 77);
    g_assert_cmpuint(driver_used(driver), ==, 0); /* not before the flush */
    g_assert_true(driver_flush(driver));
    g_assert_cmpuint(driver_used(driver), ==, 1);
    g_assert_cmpuint(driver_last_used(driver, &len), ==, 3);
    g_assert_cmpuint(len, ==, 77);
    g_assert_false(driver_flush(driver)); /* nothing new */
    driver_pop_nothing(driver);
}

static void test_indices_wrap(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);

    for (unsigned int i = 0; i < 70000; i++) {
        VskChain chain;
        uint32_t len;

        driver_give_simple(driver, (uint16_t)(i % DRIVER_NUM), true);
        chain = driver_pop(driver);
        push(driver, &chain, i);
        driver_flush(driver);
        g_assert_cmpuint(driver_last_used(driver, &len), ==, i % DRIVER_NUM);
        g_assert_cmpuint(len, ==, i);
    }
    g_assert_cmpuint(vsk_vring_base(driver->vring), ==, (uint16_t)70000);
}

static void test_unpop_gives_the_same_again(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);
    VskChain chains[3];

    for (uint16_t i = 0; i < 3; i++) {
        driver_give_simple(driver, i, false);
        chains[i] = driver_pop(driver);
    }
    vsk_vring_unpop(driver->vring, &chains[2]);
    vsk_vring_unpop(driver->vring, &chains[1]);
    g_assert_cmpuint(vsk_vring_base(driver->vring), ==, 1);
    chains[1] = driver_pop(driver);
    g_assert_true(chains[1].out[0].iov_base ==
                  driver_at(driver, DRIVER_GPA + 16384 + 1000));
    push(driver, &chains[0], 0);
    push(driver, &chains[1], 0);
    driver_flush(driver);
    g_assert_cmpuint(driver_used(driver), ==, 2);
    driver_pop(driver);
    driver_pop_nothing(driver);
}

static void test_full_ring(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);
    VskChain chains[DRIVER_NUM];

    for (int round = 0; round < 3; round++) {
        for (uint16_t i = 0; i < DRIVER_NUM; i++) {
            driver_give_simple(driver, i, true);
        }
        for (unsigned int i = 0; i < DRIVER_NUM; i++) {
            chains[i] = driver_pop(driver);
        }
        driver_pop_nothing(driver);
        for (unsigned int i = 0; i < DRIVER_NUM; i++) {
            push(driver, &chains[i], 1);
        }
        driver_flush(driver);
    }
    g_assert_cmpuint(driver_used(driver), ==, 3 * DRIVER_NUM);
}

static void test_buffer_over_two_regions(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);
    VskChain chain;

    driver_desc(driver, 0, DRIVER_EDGE - 10, 30, 0, 0);
    driver_give(driver, 0);
    chain = driver_pop(driver);
    g_assert_cmpuint(chain.n_out, ==, 2);
    g_assert_cmpuint(chain.out[0].iov_len, ==, 10);
    g_assert_true(chain.out[1].iov_base == driver_at(driver, DRIVER_EDGE));
    g_assert_cmpuint(chain.out[1].iov_len, ==, 20);
}

static void check_indirect(uint64_t table)
{
    g_autoptr(Driver) driver = driver_new(false, true);
    VskChain chain;

    for (unsigned int i = 0; i < 40; i++) {
        driver_desc_at(driver, table, i, DATA + 100 * i, 10 + i,
                       i < 39 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    }
    driver_desc(driver, 2, table, 40 * 16, VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 2);
    chain = driver_pop(driver);
    g_assert_cmpuint(chain.n_out, ==, 40);
    g_assert_cmpuint(chain.n_in, ==, 0);
    for (unsigned int i = 0; i < 40; i++) {
        g_assert_true(chain.out[i].iov_base ==
                      driver_at(driver, DATA + 100 * i));
        g_assert_cmpuint(chain.out[i].iov_len, ==, 10 + i);
    }
    push(driver, &chain, 0);
}

static void test_indirect_table(void)
{
    check_indirect(DRIVER_GPA + 50000);
}

static void test_indirect_table_over_two_regions(void)
{
    check_indirect(DRIVER_EDGE - 40); /* and a descriptor in two parts */
}

/* Have a chain of as many pieces as there may be, and take it. */
static VskChain pop_most_pieces(Driver *driver)
{
    for (unsigned int i = 0; i < VSK_MAX_CHAIN_IOV; i++) {
        driver_desc_at(driver, DRIVER_EDGE, i, DATA + i, 1,
                       VRING_DESC_F_WRITE |
                       (i + 1 < VSK_MAX_CHAIN_IOV ? VRING_DESC_F_NEXT : 0),
                       (uint16_t)(i + 1));
    }
    driver_desc(driver, 0, DRIVER_EDGE, VSK_MAX_CHAIN_IOV * 16,
                VRING_DESC_F_INDIRECT, 0);
    driver_give(driver, 0);
    return driver_pop(driver);
}

static void test_most_pieces(void)
{
    g_autoptr(Driver) driver = driver_new(false, true);
    VskChain chain = pop_most_pieces(driver);

    g_assert_cmpuint(chain.n_in, ==, VSK_MAX_CHAIN_IOV);
    g_assert_true(chain.in[1023].iov_base == driver_at(driver, DATA + 1023));
    push(driver, &chain, 5);
}

/* Their memory goes with the ring: LeakSanitizer looks. */
static void test_chain_is_out_at_the_end(void)
{
    g_autoptr(Driver) driver = driver_new(false, true);

    g_assert_cmpuint(pop_most_pieces(driver).n_in, ==, VSK_MAX_CHAIN_IOV);
}

static bool give_and_return(Driver *driver)
{
    VskChain chain;

    driver_give_simple(driver, 0, true);
    chain = driver_pop(driver);
    push(driver, &chain, 0);
    return driver_flush(driver);
}

static void test_interrupt_flag(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);

    g_assert_true(give_and_return(driver));
    driver->avail->flags = GUINT16_TO_LE(VRING_AVAIL_F_NO_INTERRUPT);
    g_assert_false(give_and_return(driver));
    driver->avail->flags = 0;
    g_assert_true(give_and_return(driver));
}

static void test_interrupt_event_index(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);

    g_assert_true(give_and_return(driver));  /* the first: who knows */
    g_assert_false(give_and_return(driver)); /* it waits for index 0 */
    driver->avail->ring[DRIVER_NUM] = GUINT16_TO_LE(3);
    g_assert_false(give_and_return(driver));
    g_assert_true(give_and_return(driver));  /* chain 3, the fourth */
    g_assert_false(give_and_return(driver));
}

static void test_notification_flag(void)
{
    g_autoptr(Driver) driver = driver_new(false, false);

    g_assert_false(vsk_vring_set_notification(driver->vring, false));
    g_assert_cmpuint(GUINT16_FROM_LE(driver->used->flags), ==,
                     VRING_USED_F_NO_NOTIFY);
    g_assert_false(vsk_vring_set_notification(driver->vring, true));
    g_assert_cmpuint(driver->used->flags, ==, 0);
    driver_give_simple(driver, 0, true);
    g_assert_true(vsk_vring_set_notification(driver->vring, true));
}

static void test_notification_event_index(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);
    const __virtio16 *event = (__virtio16 *)&driver->used->ring[DRIVER_NUM];

    give_and_return(driver);
    give_and_return(driver);
    g_assert_false(vsk_vring_set_notification(driver->vring, true));
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 2);
    g_assert_false(vsk_vring_set_notification(driver->vring, false));
    give_and_return(driver);
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 2); /* stays behind */
    driver_give_simple(driver, 0, true);
    g_assert_true(vsk_vring_set_notification(driver->vring, true));
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 4);
}

static void test_notification_of_the_next_one(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);
    const __virtio16 *event = (__virtio16 *)&driver->used->ring[DRIVER_NUM];

    /* Two are there and known: it is the third that is to be told of. */
    driver_give_simple(driver, 0, true);
    driver_give_simple(driver, 1, true);
    g_assert_true(vsk_vring_set_notification(driver->vring, true));
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 2);
    /* Each that is popped moves the index on. */
    driver_pop(driver);
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 1);
    driver_pop(driver);
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 2);
    vsk_vring_set_notification(driver->vring, false);
    driver_give_simple(driver, 2, true);
    driver_pop(driver);
    g_assert_cmpuint(GUINT16_FROM_LE(*event), ==, 2);
}

static void test_dirty_is_what_was_written(void)
{
    g_autoptr(Driver) driver = driver_new(true, false);
    VskChain chain;

    vsk_vring_set_notification(driver->vring, false);
    driver->log = true;
    driver_desc(driver, 0, DRIVER_EDGE - 10, 30, VRING_DESC_F_WRITE, 0);
    driver_give(driver, 0);
    chain = driver_pop(driver);
    g_assert_cmpuint(driver->dirty, ==, 0);
    push(driver, &chain, 15);
    g_assert_cmpuint(driver->dirty, ==, 15 + 8); /* and a used element */
    driver_flush(driver);
    g_assert_cmpuint(driver->dirty, ==, 15 + 8 + 2); /* and the index */
    vsk_vring_set_notification(driver->vring, true);
    g_assert_cmpuint(driver->dirty, ==, 15 + 8 + 4); /* and the event index */
    vsk_vring_set_notification(driver->vring, false);
    driver_desc(driver, 0, DATA, 30, 0, 0);
    driver_give(driver, 0);
    chain = driver_pop(driver);
    push(driver, &chain, 15); /* more than there is to write */
    g_assert_cmpuint(driver->dirty, ==, 15 + 8 + 4 + 8);
}

static void check_refused(const VskVringConfig *config)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(vsk_vring_new(config, &(VskVringOps) { 0 }, NULL, &err));
    g_assert_error(err, VSK_ERROR, VSK_ERROR_INVALID);
}

static void test_bad_configurations(void)
{
    g_autoptr(Driver) driver = driver_new(true, true);
    VskVringConfig config;

    for (int i = 0; i < 7; i++) {
        config = driver->config;
        switch (i) {
        case 0: config.num = 0; break;
        case 1: config.num = 7; break;
        case 2: config.num = 65536; break;
        case 3: config.desc = (uint8_t *)config.desc + 8; break;
        case 4: config.avail = (uint8_t *)config.avail + 1; break;
        case 5: config.used = NULL; break;
        default:
            config.inflight = driver->inflight;
            driver->inflight->desc_num = DRIVER_NUM - 1;
            break;
        }
        check_refused(&config);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vring/chain-there-and-back", test_chain_there_and_back);
    g_test_add_func("/vring/indices-wrap", test_indices_wrap);
    g_test_add_func("/vring/unpop-gives-the-same-again",
                    test_unpop_gives_the_same_again);
    g_test_add_func("/vring/full-ring", test_full_ring);
    g_test_add_func("/vring/buffer-over-two-regions",
                    test_buffer_over_two_regions);
    g_test_add_func("/vring/indirect/table", test_indirect_table);
    g_test_add_func("/vring/indirect/table-over-two-regions",
                    test_indirect_table_over_two_regions);
    g_test_add_func("/vring/indirect/most-pieces", test_most_pieces);
    g_test_add_func("/vring/indirect/chain-is-out-at-the-end",
                    test_chain_is_out_at_the_end);
    g_test_add_func("/vring/interrupt/flag", test_interrupt_flag);
    g_test_add_func("/vring/interrupt/event-index",
                    test_interrupt_event_index);
    g_test_add_func("/vring/notification/flag", test_notification_flag);
    g_test_add_func("/vring/notification/event-index",
                    test_notification_event_index);
    g_test_add_func("/vring/notification/of-the-next-one",
                    test_notification_of_the_next_one);
    g_test_add_func("/vring/dirty-is-what-was-written",
                    test_dirty_is_what_was_written);
    g_test_add_func("/vring/bad-configurations", test_bad_configurations);
    return g_test_run();
}
