/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A split virtqueue and its driver, in two regions of memory that follow each
 * other in the guest's addresses and not in ours.
 */

#ifndef TEST_RING_DRIVER_H
#define TEST_RING_DRIVER_H

#include "vsock-vring.h"

#include <linux/virtio_ring.h>

#define DRIVER_NUM 8        /* descriptors */
#define DRIVER_REGION 65536 /* bytes of each of the two */
#define DRIVER_GPA 0x100000ull
#define DRIVER_EDGE (DRIVER_GPA + DRIVER_REGION) /* of the second region */

typedef struct Driver {
    uint8_t *regions[2];
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    VskVringInflight *inflight;
    VskVringConfig config;
    VskVring *vring;
    uint64_t dirty; /* bytes that were noted */
    bool log;       /* note them */
} Driver;

/* A ring with event_idx and indirect descriptors as given. */
Driver *driver_new(bool event_idx, bool indirect);
void driver_free(Driver *driver);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Driver, driver_free)

/* The device's process dies, and another begins with the same memory. */
void driver_restart(Driver *driver);

/* Our address of the guest's. */
void *driver_at(Driver *driver, uint64_t gpa);

/* Descriptor @i of the ring, as the driver writes it. */
void driver_desc(Driver *driver, unsigned int i, uint64_t gpa, uint32_t len,
                 uint16_t flags, uint16_t next);

/* The same, in the table at @table. */
void driver_desc_at(Driver *driver, uint64_t table, unsigned int i,
                    uint64_t gpa, uint32_t len, uint16_t flags,
                    uint16_t next);

/* Make the chain at @head available. */
void driver_give(Driver *driver, uint16_t head);

/*
 * A chain of one descriptor, which is @head itself: 100 bytes at a place of
 * its own, to read or to write.
 */
void driver_give_simple(Driver *driver, uint16_t head, bool writable);

/* The device publishes what it pushed; whether it is to interrupt. */
bool driver_flush(Driver *driver);

/* Chains that came back, and the last one's first descriptor and length. */
unsigned int driver_used(const Driver *driver);
uint32_t driver_last_used(const Driver *driver, uint32_t *ret_len);

/* The test fails unless the next pop gives a chain, or none. */
VskChain driver_pop(Driver *driver);
void driver_pop_nothing(Driver *driver);

/* The test fails unless the next pop finds the ring broken, for @why. */
void driver_pop_breaks(Driver *driver, const char *why);

#endif /* TEST_RING_DRIVER_H */
