/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Test data of which each byte is known from a seed and its place, in C;
 * pattern.py makes the same bytes on the host.
 */

#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_BLOCK_SIZE (1024 * 1024) /* bytes */

/* Blocks of random words, the first word of each being the block's number. */
typedef struct Pattern {
    uint64_t words[PATTERN_BLOCK_SIZE / 8];
    uint64_t at;             /* bytes from the start */
} Pattern;

Pattern *pattern_new(uint64_t seed);

/*
 * The bytes at @at, as many as lie together and at most *@len, which becomes
 * their number.
 */
const uint8_t *pattern_next(Pattern *pattern, uint64_t *len);

#endif /* GUEST_PATTERN_H */
