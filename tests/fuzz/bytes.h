/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input of a fuzz target, taken from the front; behind its end are zeros.
 */

#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What has to hold; g_assert() would not tell it from the code's own. */
#define CHECK(cond)                                                       \
    do {                                                                  \
        if (__builtin_expect(!(cond), 0)) {                               \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__,       \
                    __LINE__, #cond);                                     \
            abort();                                                      \
        }                                                                 \
    } while (0)

typedef struct FuzzBytes {
    const uint8_t *at;
    const uint8_t *end;
} FuzzBytes;

static inline size_t fuzz_left(const FuzzBytes *in)
{
    return (size_t)(in->end - in->at);
}

static inline uint8_t fuzz_u8(FuzzBytes *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t fuzz_u16(FuzzBytes *in)
{
    uint16_t low = fuzz_u8(in);

    return (uint16_t)(low | fuzz_u8(in) << 8);
}

static inline uint32_t fuzz_u32(FuzzBytes *in)
{
    uint32_t low = fuzz_u16(in);

    return low | (uint32_t)fuzz_u16(in) << 16;
}

static inline uint64_t fuzz_u64(FuzzBytes *in)
{
    uint64_t low = fuzz_u32(in);

    return low | (uint64_t)fuzz_u32(in) << 32;
}

/* Any number below @n, which is 256 at the most. */
static inline unsigned int fuzz_below(FuzzBytes *in, unsigned int n)
{
    return fuzz_u8(in) % n;
}

/* Up to @len bytes, where they stand; @len is set to how many. */
static inline const uint8_t *fuzz_take(FuzzBytes *in, size_t *len)
{
    const uint8_t *at = in->at;

    if (*len > fuzz_left(in)) {
        *len = fuzz_left(in);
    }
    in->at += *len;
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* FUZZ_BYTES_H */
