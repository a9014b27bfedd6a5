/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the two sides of a model's flow send.
 */

#include "content.h"

uint32_t content_id(VskType type, uint32_t guest_port)
{
    return guest_port << 2 | type;
}

/* Bits without order that follow from the arguments. */
static uint32_t scramble(uint32_t id, int side, uint32_t pos)
{
    uint64_t x = ((uint64_t)id << 34 | (uint64_t)side << 32 | pos) *
                 0x9e3779b97f4a7c15ull;

    return (uint32_t)(x >> 40);
}

/* Byte @pos of what one side of a flow sends. */
static uint8_t byte_at(uint32_t id, int side, uint32_t pos)
{
    return (uint8_t)(scramble(id, side, pos) >> 16);
}

uint32_t content_message_len(uint32_t id, int side, uint32_t n)
{
    uint32_t bits = scramble(id, side, n);

    switch (bits % 16) {
    case 0:
    case 1:
        return 0;
    case 2:
        return CONTENT_MAX_MESSAGE;
    case 3:
        return bits % CONTENT_MAX_MESSAGE;
    default:
        return bits % 300;
    }
}

uint8_t *content_make(uint32_t id, int side, uint32_t pos, uint32_t len)
{
    uint8_t *bytes = g_malloc(MAX(len, 1));

    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = byte_at(id, side, pos + i);
    }
    return bytes;
}

void content_check(uint32_t id, int side, uint32_t pos, const uint8_t *bytes,
                   uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        g_assert_cmphex(bytes[i], ==, byte_at(id, side, pos + i));
    }
}
