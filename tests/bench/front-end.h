/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The front-end's side of the vhost-user protocol, as far as a split ring in
 * one piece of memory needs it.
 */

#ifndef BENCH_FRONT_END_H
#define BENCH_FRONT_END_H

#include <stddef.h>
#include <stdint.h>

typedef struct FrontEndRing {
    unsigned size;
    void *desc, *avail, *used;
    int kick, call;          /* eventfds; kept by the caller */
} FrontEndRing;

typedef struct FrontEndMemory {
    int fd;
    void *base;              /* where it is mapped here */
    size_t size;             /* bytes */
    uint64_t guest_address;
} FrontEndMemory;

typedef struct FrontEnd FrontEnd;

/* Connect to the backend's socket; waits until it listens. */
FrontEnd *front_end_new(const char *path);
void front_end_free(FrontEnd *front_end);

/* What of the virtio features @wanted the backend offers. */
uint64_t front_end_features(FrontEnd *front_end, uint64_t wanted);

/* Start the device; on return it looks at the rings. */
void front_end_start(FrontEnd *front_end, uint64_t features,
                     const FrontEndMemory *memory, const FrontEndRing *rings,
                     unsigned n_rings);

#endif /* BENCH_FRONT_END_H */
