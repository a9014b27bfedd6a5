/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What every proof has: values of which nothing is known, and marks that show
 * that the proof is about something.
 */

#ifndef STUBS_H
#define STUBS_H

#include "vsock-device.h"

/* Any value at all: CBMC takes these names so. */
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
size_t nondet_size(void);
bool nondet_bool(void);

/* What the proofs and stubs themselves convert is meant so. */
#pragma CPROVER check push
#pragma CPROVER check disable "conversion"

#define assume(condition) __CPROVER_assume(condition)

/* What is proven. */
#define prove(condition, claim) __CPROVER_assert(condition, claim)

/* The same; what comes behind it builds upon it, which makes it easier. */
#define lemma(condition, claim) \
    do { \
        prove(condition, claim); \
        assume(condition); \
    } while (0)

/*
 * Must be reached by some run, else the proof would be about nothing: the
 * runner wants this one to fail.
 */
#define reached(where) __CPROVER_assert(0, "reached: " where)

/* @size bytes of which nothing is known, and an error to go beyond them. */
void *any_bytes(size_t size);

#endif /* STUBS_H */
