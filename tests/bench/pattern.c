/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bytes that all flows carry.
 */

#include "pattern.h"
#include "bench.h"

#include <string.h>

#define PERIOD 131071 /* bytes; prime */

static uint8_t bytes[PERIOD + BENCH_MAX_BLOCK];

void pattern_init(void)
{
    uint64_t state = 88172645463325252u;
    size_t i;

    for (i = 0; i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = state;
    }
    memcpy(bytes + PERIOD, bytes, BENCH_MAX_BLOCK);
}

const uint8_t *pattern_at(uint64_t position)
{
    return bytes + position % PERIOD;
}

void pattern_check(uint64_t position, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        size_t n = MIN(len, BENCH_MAX_BLOCK);

        if (memcmp(at, pattern_at(position), n) != 0) {
            bench_die("wrong bytes arrived, %zu of them from %" PRIu64 " on",
                      n, position);
        }
        at += n;
        position += n;
        len -= n;
    }
}
