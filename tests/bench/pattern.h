/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bytes that all flows carry.  Which byte is right depends on the place
 * in the flow; the period is prime, so that bytes lost, doubled or moved show
 * whatever their number.
 */

#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

void pattern_init(void);

/* The bytes from @position on; at least BENCH_MAX_BLOCK of them are there. */
const uint8_t *pattern_at(uint64_t position);

/* End the run unless @data is what belongs at @position. */
void pattern_check(uint64_t position, const void *data, size_t len);

#endif /* BENCH_PATTERN_H */
