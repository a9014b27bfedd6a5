/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What no well-behaved driver does: descriptors, ring entries and registers
 * as a script writes them, with addresses anywhere.
 */

#ifndef VHOST_VSOCK_RAW_H
#define VHOST_VSOCK_RAW_H

/* What an address counts from. */
typedef enum VvtPlace {
    VVT_PLACE_ZERO,    /* nothing: it is a guest-physical address */
    VVT_PLACE_DESC,    /* the queue's descriptor table */
    VVT_PLACE_AVAIL,
    VVT_PLACE_USED,
    VVT_PLACE_RAM,     /* memory of the guest that nothing else uses */
    VVT_PLACE_RAM_END, /* the first address behind the guest's RAM */
    VVT_PLACE_ROM,
    VVT_PLACE_BAR,     /* the device's own registers */
    VVT_PLACE_NOWHERE, /* no machine has anything there */
    VVT_PLACE_NUM
} VvtPlace;

extern const char *const vvt_place_name[VVT_PLACE_NUM];

typedef struct VvtAddr {
    VvtPlace place;
    uint64_t offset; /* modulo 2^64 */
} VvtAddr;

/* A split descriptor; a packed one has its id and flags in the last two. */
typedef struct VvtDesc {
    VvtAddr addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
    bool fixed_next;   /* the script wrote it, so it is the same in each copy */
} VvtDesc;

/* Bytes at VVT_PLACE_RAM. */
#define VVT_RAW_RAM 262144

typedef struct VvtDriver VvtDriver;

/* False: the place is not there now, which @ret_why says. */
bool vvt_raw_resolve(VvtDriver *driver, unsigned queue, const VvtAddr *addr,
                     uint64_t *ret_addr, GString *ret_why);

void vvt_raw_write_desc(VvtDriver *driver, uint64_t at, uint64_t addr,
                        const VvtDesc *desc);

/* What can be set of a queue; those that @has names are written. */
typedef enum VvtQueueReg {
    VVT_QUEUE_SIZE,
    VVT_QUEUE_DESC,
    VVT_QUEUE_AVAIL,
    VVT_QUEUE_USED,
    VVT_QUEUE_ENABLE,
    VVT_QUEUE_REGS
} VvtQueueReg;

void vvt_raw_set_queue(VvtDriver *driver, unsigned queue, VvtQueueReg reg,
                       uint64_t value);
void vvt_raw_set_features(VvtDriver *driver, uint64_t features);
void vvt_raw_set_status(VvtDriver *driver, uint8_t status);
uint8_t vvt_raw_status(VvtDriver *driver);

/* Have it interrupt for its configuration as it does in a real machine. */
void vvt_raw_use_msi(VvtDriver *driver);

/* Whether the device interrupted since the last call, for its configuration. */
bool vvt_raw_config_interrupt(VvtDriver *driver);

/* Notify the device of @queue, whatever the ring says. */
void vvt_raw_kick(VvtDriver *driver, unsigned queue);

#endif /* VHOST_VSOCK_RAW_H */
