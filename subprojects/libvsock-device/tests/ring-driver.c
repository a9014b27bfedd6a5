/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A split virtqueue and its driver.
 */

#include "ring-driver.h"

#include <string.h>

/* Where the areas are in the first region. */
#define AVAIL_OFFSET 4096
#define USED_OFFSET 8192
#define DATA_OFFSET 16384

static void *map(void *opaque, uint64_t gpa, uint64_t *len)
{
    Driver *driver = opaque;

    g_assert_cmpuint(*len, >, 0);
    for (unsigned int i = 0; i < 2; i++) {
        uint64_t start = DRIVER_GPA + i * DRIVER_REGION;

        if (gpa >= start && gpa - start < DRIVER_REGION) {
            *len = MIN(*len, DRIVER_REGION - (gpa - start));
            return driver->regions[i] + (gpa - start);
        }
    }
    return NULL;
}

static void dirty(void *opaque, uint64_t gpa, uint64_t len)
{
    Driver *driver = opaque;

    g_assert_cmpuint(gpa, >=, DRIVER_GPA);
    g_assert_cmpuint(gpa + len, <=, DRIVER_GPA + 2 * DRIVER_REGION);
    driver->dirty += driver->log ? len : 0;
}

static const VskVringOps ops = {
    .map = map,
    .dirty = dirty,
};

static void start(Driver *driver)
{
    g_autoptr(GError) err = NULL;

    driver->vring = vsk_vring_new(&driver->config, &ops, driver, &err);
    g_assert_no_error(err);
}

Driver *driver_new(bool event_idx, bool indirect)
{
    Driver *driver = g_new0(Driver, 1);

    /* Allocations of their own: a sanitizer sees what goes beyond. */
    for (unsigned int i = 0; i < 2; i++) {
        driver->regions[i] = g_malloc0(DRIVER_REGION);
    }
    driver->desc = driver_at(driver, DRIVER_GPA);
    driver->avail = driver_at(driver, DRIVER_GPA + AVAIL_OFFSET);
    driver->used = driver_at(driver, DRIVER_GPA + USED_OFFSET);
    driver->inflight = g_malloc0(sizeof(VskVringInflight) +
                                 DRIVER_NUM * sizeof(VskVringInflightDesc));
    driver->inflight->desc_num = DRIVER_NUM;
    driver->config = (VskVringConfig) {
        .num = DRIVER_NUM,
        .desc = driver->desc,
        .avail = driver->avail,
        .used = driver->used,
        .used_gpa = DRIVER_GPA + USED_OFFSET,
        .event_idx = event_idx,
        .indirect = indirect,
    };
    start(driver);
    return driver;
}

void driver_free(Driver *driver)
{
    vsk_vring_free(driver->vring);
    g_free(driver->regions[0]);
    g_free(driver->regions[1]);
    g_free(driver->inflight);
    g_free(driver);
}

void driver_restart(Driver *driver)
{
    vsk_vring_free(driver->vring);
    driver->config.inflight = driver->inflight;
    start(driver);
}

void *driver_at(Driver *driver, uint64_t gpa)
{
    uint64_t len = 1;
    void *at = map(driver, gpa, &len);

    g_assert_nonnull(at);
    return at;
}

static struct vring_desc make_desc(uint64_t gpa, uint32_t len, uint16_t flags,
                                   uint16_t next)
{
    return (struct vring_desc) {
        .addr = GUINT64_TO_LE(gpa),
        .len = GUINT32_TO_LE(len),
        .flags = GUINT16_TO_LE(flags),
        .next = GUINT16_TO_LE(next),
    };
}

void driver_desc(Driver *driver, unsigned int i, uint64_t gpa, uint32_t len,
                 uint16_t flags, uint16_t next)
{
    driver->desc[i] = make_desc(gpa, len, flags, next);
}

void driver_desc_at(Driver *driver, uint64_t table, unsigned int i,
                    uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
    struct vring_desc desc = make_desc(gpa, len, flags, next);
    uint64_t at = table + i * sizeof(desc);

    for (size_t done = 0; done < sizeof(desc); done++) {
        memcpy(driver_at(driver, at + done), (uint8_t *)&desc + done, 1);
    }
}

void driver_give(Driver *driver, uint16_t head)
{
    uint16_t idx = GUINT16_FROM_LE(driver->avail->idx);

    driver->avail->ring[idx % DRIVER_NUM] = GUINT16_TO_LE(head);
    driver->avail->idx = GUINT16_TO_LE((uint16_t)(idx + 1));
}

void driver_give_simple(Driver *driver, uint16_t head, bool writable)
{
    driver_desc(driver, head, DRIVER_GPA + DATA_OFFSET + head * 1000u, 100,
                writable ? VRING_DESC_F_WRITE : 0, 0);
    driver_give(driver, head);
}

bool driver_flush(Driver *driver)
{
    return vsk_vring_publish(driver->vring) &&
           vsk_vring_wants_interrupt(driver->vring);
}

unsigned int driver_used(const Driver *driver)
{
    return GUINT16_FROM_LE(driver->used->idx);
}

uint32_t driver_last_used(const Driver *driver, uint32_t *ret_len)
{
    unsigned int i = (driver_used(driver) - 1) % DRIVER_NUM;

    *ret_len = GUINT32_FROM_LE(driver->used->ring[i].len);
    return GUINT32_FROM_LE(driver->used->ring[i].id);
}

VskChain driver_pop(Driver *driver)
{
    VskChain chain;

    g_assert_true(vsk_vring_has_avail(driver->vring));
    g_assert_true(vsk_vring_pop(driver->vring, &chain));
    return chain;
}

void driver_pop_nothing(Driver *driver)
{
    VskChain chain;

    g_assert_false(vsk_vring_has_avail(driver->vring));
    g_assert_false(vsk_vring_pop(driver->vring, &chain));
    g_assert_null(vsk_vring_broken(driver->vring));
}

void driver_pop_breaks(Driver *driver, const char *why)
{
    unsigned int used = driver_used(driver);
    VskChain chain;

    g_assert_false(vsk_vring_pop(driver->vring, &chain));
    g_assert_cmpstr(vsk_vring_broken(driver->vring), ==, why);
    g_assert_false(vsk_vring_has_avail(driver->vring));
    g_assert_false(vsk_vring_set_notification(driver->vring, true));
    g_assert_false(driver_flush(driver));
    g_assert_cmpuint(driver_used(driver), ==, used);
}
