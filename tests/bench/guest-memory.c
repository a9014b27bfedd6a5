/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory, a memfd that the backend maps too.
 *
 * Guest addresses begin at 0.  A backend that takes a guest's address for
 * one of its own is caught: nothing is mapped there.
 */

#include "guest-memory.h"
#include "bench.h"

#include <sys/mman.h>
#include <unistd.h>

#define N_RINGS 2
#define INDIRECT_BYTES (RING_SIZE * RING_MAX_CHAIN * sizeof(struct vring_desc))
/* The header lies right before the payload, as in Linux's packets. */
#define PAYLOAD_OFFSET 64

typedef struct Layout {
    size_t rings, indirect, rx, tx, end;
} Layout;

struct GuestMemory {
    int fd;
    uint8_t *base;
    Layout layout;
    RxBuffer rx[RING_SIZE];
    TxSlot tx[RING_SIZE];
    TxSlot *free_tx[RING_SIZE];
    unsigned n_free_tx;
};

static size_t slot_size(unsigned block)
{
    return PAYLOAD_OFFSET + (block + 63) / 64 * 64;
}

static Layout lay_out(unsigned block)
{
    Layout layout = { .rings = 0 };

    layout.indirect = N_RINGS * RING_BYTES;
    layout.rx = layout.indirect + N_RINGS * INDIRECT_BYTES;
    layout.tx = layout.rx + RING_SIZE * RX_BUFFER_SIZE;
    layout.end = layout.tx + RING_SIZE * slot_size(block);
    layout.end = (layout.end + 4095) / 4096 * 4096;
    return layout;
}

GuestMemory *guest_memory_new(unsigned block)
{
    GuestMemory *memory = g_new0(GuestMemory, 1);
    Layout *layout = &memory->layout;
    unsigned i;

    *layout = lay_out(block);
    memory->fd = memfd_create("guest", MFD_CLOEXEC);
    if (memory->fd < 0 || ftruncate(memory->fd, layout->end) < 0) {
        bench_die_errno("memfd");
    }
    memory->base = mmap(NULL, layout->end, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, memory->fd, 0);
    if (memory->base == MAP_FAILED) {
        bench_die_errno("mmap");
    }
    for (i = 0; i < RING_SIZE; i++) {
        size_t rx = layout->rx + i * RX_BUFFER_SIZE;
        size_t tx = layout->tx + i * slot_size(block) + PAYLOAD_OFFSET;
        size_t header = tx - sizeof(struct virtio_vsock_hdr);

        memory->rx[i] = (RxBuffer) { (void *)(memory->base + rx), rx };
        memory->tx[i] = (TxSlot) {
            (void *)(memory->base + header), memory->base + tx, header, tx
        };
        memory->free_tx[memory->n_free_tx++] = &memory->tx[i];
    }
    return memory;
}

void guest_memory_free(GuestMemory *memory)
{
    munmap(memory->base, memory->layout.end);
    close(memory->fd);
    g_free(memory);
}

void guest_memory_describe(const GuestMemory *memory,
                           FrontEndMemory *ret_memory)
{
    *ret_memory = (FrontEndMemory) {
        memory->fd, memory->base, memory->layout.end, 0
    };
}

void *guest_memory_ring(GuestMemory *memory, unsigned index)
{
    return memory->base + memory->layout.rings + index * RING_BYTES;
}

void guest_memory_use_indirect(GuestMemory *memory, Ring *ring,
                               unsigned index)
{
    size_t offset = memory->layout.indirect + index * INDIRECT_BYTES;

    ring_use_indirect(ring, memory->base + offset, offset);
}

RxBuffer *guest_memory_rx(GuestMemory *memory, unsigned i)
{
    return &memory->rx[i];
}

TxSlot *guest_memory_get_tx(GuestMemory *memory)
{
    g_assert(memory->n_free_tx > 0);
    return memory->free_tx[--memory->n_free_tx];
}

void guest_memory_put_tx(GuestMemory *memory, TxSlot *slot)
{
    memory->free_tx[memory->n_free_tx++] = slot;
}
