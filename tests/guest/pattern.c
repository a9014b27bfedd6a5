/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Test data of which each byte is known from a seed and its place.
 */

#include "pattern.h"

#include <stdlib.h>

Pattern *pattern_new(uint64_t seed)
{
    Pattern *pattern = malloc(sizeof(*pattern));

    for (size_t i = 0; i < PATTERN_BLOCK_SIZE / 8; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u; /* SplitMix64 */

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        pattern->words[i] = z ^ (z >> 31);
    }
    pattern->at = 0;
    return pattern;
}

const uint8_t *pattern_next(Pattern *pattern, uint64_t *len)
{
    size_t offset = pattern->at % PATTERN_BLOCK_SIZE;

    pattern->words[0] = pattern->at / PATTERN_BLOCK_SIZE;
    if (*len > PATTERN_BLOCK_SIZE - offset) {
        *len = PATTERN_BLOCK_SIZE - offset;
    }
    return (const uint8_t *)pattern->words + offset;
}
