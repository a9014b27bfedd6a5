/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the two sides of a model's flow send: bytes, and lengths of messages,
 * that follow from the flow and their position.
 */

#ifndef TEST_CONTENT_H
#define TEST_CONTENT_H

#include "vsock-device.h"

/* The largest message of a host program, bytes. */
#define CONTENT_MAX_MESSAGE 3000

enum {
    FROM_GUEST = 1,
    FROM_HOST = 2,
};

/* What tells the contents of flows apart. */
uint32_t content_id(VskType type, uint32_t guest_port);

/* Bytes of message @n: some have none, some CONTENT_MAX_MESSAGE. */
uint32_t content_message_len(uint32_t id, int side, uint32_t n);

/* The @len bytes from @pos on; the caller's. */
uint8_t *content_make(uint32_t id, int side, uint32_t pos, uint32_t len);

/* Fails the test unless @bytes are these. */
void content_check(uint32_t id, int side, uint32_t pos, const uint8_t *bytes,
                   uint32_t len);

#endif /* TEST_CONTENT_H */
