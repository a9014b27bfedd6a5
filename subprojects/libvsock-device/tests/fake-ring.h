/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Three virtqueues in plain memory, as a device's embedder would give them.
 *
 * Each piece of a chain is an allocation of its own, so that a sanitizer sees
 * every access beside it.  Device-writable memory is filled with a pattern;
 * a chain that comes back with it changed beyond its length fails the test, and
 * so does one that is unpopped out of order, or not given back at all.
 */

#ifndef TEST_FAKE_RING_H
#define TEST_FAKE_RING_H

#include "vsock-device.h"

typedef struct FakeChain {
    struct iovec *out;
    struct iovec *in;
    unsigned int n_out, n_in;
    uint32_t used; /* bytes that the device said it wrote */
} FakeChain;

typedef struct FakeRing {
    GQueue avail;  /* of FakeChain, next first */
    GQueue popped; /* latest first */
    GQueue pushed; /* not yet flushed */
    GQueue used;   /* the driver can see them */
    bool notify;   /* the driver is to kick */
    bool lies;     /* asked for notification, tells of chains; has none */
    GQueue hidden; /* made available just before notification is asked for */
    unsigned int pops, unpops, flushes;
} FakeRing;

typedef struct FakeRings {
    FakeRing ring[VSK_QUEUE_NUM];
    bool forbidden; /* the device may touch no queue now */
    unsigned int refused[VSK_REFUSED_NUM];
    VskHdr last_refused;
    unsigned int packets[2]; /* from and to the guest */
    uint64_t bytes[2];
} FakeRings;

FakeRings *fake_rings_new(void);
void fake_rings_free(FakeRings *rings);

/* To be used with a FakeRings as @opaque. */
extern const VskDevOps fake_ring_ops;

/* The same without the callbacks that may be missing. */
extern const VskDevOps fake_ring_least_ops;

/* Chains of pieces with these sizes, zeroed and patterned. */
FakeChain *fake_chain_new(const size_t *out, unsigned int n_out,
                          const size_t *in, unsigned int n_in);
void fake_chain_free(FakeChain *chain);

/* Make @chain available. */
void fake_ring_add(FakeRings *rings, VskQueue queue, FakeChain *chain);

/* The same, in the moment after the device saw an empty ring. */
void fake_ring_add_late(FakeRings *rings, VskQueue queue, FakeChain *chain);

/* The next used chain, the caller's; or NULL. */
FakeChain *fake_ring_take(FakeRings *rings, VskQueue queue);

unsigned int fake_ring_avail(const FakeRings *rings, VskQueue queue);

/* Nothing is held by the device, nor waits to be flushed. */
void fake_rings_assert_at_rest(FakeRings *rings);

/* Forget all chains, as a driver that resets the device. */
void fake_rings_clear(FakeRings *rings);

#endif /* TEST_FAKE_RING_H */
