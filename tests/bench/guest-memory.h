/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory: rings, RX buffers, and packets to be sent.
 */

#ifndef BENCH_GUEST_MEMORY_H
#define BENCH_GUEST_MEMORY_H

#include "front-end.h"
#include "ring.h"

#include <linux/virtio_vsock.h>

/* With the header in it; what Linux offers. */
#define RX_BUFFER_SIZE 4096 /* bytes */

typedef struct RxBuffer {
    struct virtio_vsock_hdr *header; /* the payload follows it */
    uint64_t address;
} RxBuffer;

typedef struct TxSlot {
    struct virtio_vsock_hdr *header;
    uint8_t *payload;
    uint64_t header_address, payload_address;
} TxSlot;

typedef struct GuestMemory GuestMemory;

/* @block: bytes that a packet's payload has at the most. */
GuestMemory *guest_memory_new(unsigned block);
void guest_memory_free(GuestMemory *memory);

void guest_memory_describe(const GuestMemory *memory,
                           FrontEndMemory *ret_memory);
void *guest_memory_ring(GuestMemory *memory, unsigned index);
void guest_memory_use_indirect(GuestMemory *memory, Ring *ring,
                               unsigned index);

RxBuffer *guest_memory_rx(GuestMemory *memory, unsigned i);

/* The slot that was put back last: its memory is in a cache. */
TxSlot *guest_memory_get_tx(GuestMemory *memory);
void guest_memory_put_tx(GuestMemory *memory, TxSlot *slot);

#endif /* BENCH_GUEST_MEMORY_H */
