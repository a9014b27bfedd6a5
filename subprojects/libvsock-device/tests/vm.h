/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A whole device under test: the guest's driver on fake rings, host programs on
 * real sockets, a fake clock, and verbs that read like a trace.
 */

#ifndef TEST_VM_H
#define TEST_VM_H

#include "fake-ring.h"
#include "temp-dir.h"

#define VM_CID 3
#define VM_BUF_ALLOC 65536 /* the guest's, in all its packets */

typedef struct Vm {
    TempDir *dir;
    char *path;
    char *shared;
    FakeRings *rings;
    VskDev *dev;
    int64_t now_ms;
    uint64_t features;  /* as the driver negotiates them */
    VskType type;       /* of the guest's packets */
    uint32_t buf_alloc; /* as the guest says it */
    uint32_t fwd_cnt;
    unsigned int seen_refused[VSK_REFUSED_NUM];
    VskHdr hdr;         /* the last packet the guest got */
    GByteArray *payload;
} Vm;

/* A device with the driver up, and 64 RX buffers of 4096 bytes. */
Vm *vm_new(void);

/*
 * The same with @config (paths, CID and seed are filled in), without
 * buffers.
 */
Vm *vm_new_bare(const VskDevConfig *config);

/* As vm_new(); seqpacket is negotiated, and the guest's packets are of it. */
Vm *vm_new_seqpacket(void);

void vm_free(Vm *vm);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vm, vm_free)

/* Dispatch until there is nothing to do.  Fails if that does not come. */
void vm_settle(Vm *vm);

/* Let time pass, then settle. */
void vm_passes(Vm *vm, int64_t ms);

/*
 * Stop the driver, forget its rings, and see that none is touched any more;
 * start it again.
 */
void vm_stop_driver(Vm *vm);
void vm_start_driver(Vm *vm);

/* Stop the VM, and see that no ring is touched any more; let it go on. */
void vm_set_paused(Vm *vm, bool paused);

/* --- The guest's driver -------------------------------------------------- */

VskHdr vm_hdr(const Vm *vm, VskOp op, uint32_t guest_port,
              uint32_t host_port);

/*
 * Put a packet into the TX ring, in pieces of the given sizes, which add up
 * to what it has; no kick.
 */
void vm_put_pieces(Vm *vm, const VskHdr *hdr, const void *payload, size_t len,
                   const size_t *sizes, unsigned int n);

/* The same, header and payload in one piece each. */
void vm_put(Vm *vm, const VskHdr *hdr, const void *payload, size_t len);

void vm_kick(Vm *vm, VskQueue queue);

/* Put, kick and settle. */
void vm_say(Vm *vm, VskOp op, uint32_t guest_port, uint32_t host_port);
void vm_send(Vm *vm, uint32_t guest_port, uint32_t host_port,
             const char *text);

/* Take all TX chains that came back; how many. */
unsigned int vm_take_tx(Vm *vm);

/* Give @n buffers of one piece to a queue, kick and settle. */
void vm_give(Vm *vm, VskQueue queue, unsigned int n, size_t size);

/* The next packet in the RX ring, into vm->hdr and vm->payload. */
bool vm_get(Vm *vm);

/* The same, and it is this one. */
void vm_expect(Vm *vm, VskOp op, uint32_t guest_port, uint32_t host_port);
void vm_expect_data(Vm *vm, uint32_t guest_port, uint32_t host_port,
                    const char *text);
void vm_expect_nothing(Vm *vm);

/* --- Host programs ------------------------------------------------------- */

int vm_listen(Vm *vm, uint32_t port, int backlog);

/* A client that has asked for @port of the guest, and was served. */
int vm_client(Vm *vm, uint32_t port);

/* The guest connects to @listener at @host_port; the host program's socket. */
int vm_open(Vm *vm, int listener, uint32_t guest_port, uint32_t host_port);

/* A client connects to @port, and the guest accepts; the client's socket. */
int vm_open_from_host(Vm *vm, uint32_t guest_port, uint32_t *ret_host_port);

/* Refusals for @why since the last call; also checks the statistics. */
unsigned int vm_refused(Vm *vm, VskRefusal why);

VskStats vm_stats(const Vm *vm);

#endif /* TEST_VM_H */
