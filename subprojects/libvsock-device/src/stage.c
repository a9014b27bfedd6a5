/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the guest sent and the host program has not got yet.
 *
 * The lengths of messages are in a ring of their own, seven bits a byte,
 * lowest first, all but the last with bit 7 set.  A length needs no more bytes
 * than the message has, so this ring needs no more room than the window, and
 * a byte for each empty message.
 */

#include "stage.h"
#include "vsock-limits.h"
#include "pkt.h"

#define LENGTH_BYTES 5 /* of 32 bits */

void vsk_stage_init(VskStage *stage, uint16_t type, uint32_t window)
{
    *stage = (VskStage) { .messages = type == VSK_TYPE_SEQPACKET };
    vsk_ring_init(&stage->bytes, window);
    vsk_ring_init(&stage->ends, window + VSK_MAX_EMPTY_MESSAGES);
}

void vsk_stage_clear(VskStage *stage)
{
    vsk_ring_clear(&stage->bytes);
    vsk_ring_clear(&stage->ends);
    stage->partial = 0;
    stage->n_empty = 0;
}

uint64_t vsk_stage_cost(uint16_t type, uint32_t window)
{
    return type == VSK_TYPE_SEQPACKET
           ? 2 * (uint64_t)window + VSK_MAX_EMPTY_MESSAGES : window;
}

uint32_t vsk_stage_window(uint16_t type, uint64_t cost)
{
    if (type == VSK_TYPE_SEQPACKET) {
        cost = (cost - MIN(cost, VSK_MAX_EMPTY_MESSAGES)) / 2;
    }
    return (uint32_t)MIN(cost, UINT32_MAX);
}

bool vsk_stage_waits(const VskStage *stage)
{
    return vsk_ring_used(stage->messages ? &stage->ends : &stage->bytes);
}

uint64_t vsk_stage_memory(const VskStage *stage)
{
    return vsk_ring_memory(&stage->bytes) + vsk_ring_memory(&stage->ends);
}

uint32_t vsk_stage_used(const VskStage *stage)
{
    return vsk_ring_used(&stage->bytes);
}

static void push_length(VskRing *ends, uint32_t len)
{
    uint8_t code[LENGTH_BYTES];
    struct iovec iov = { code, 0 };
    bool pushed;

    do {
        code[iov.iov_len++] = (uint8_t)(len & 0x7f) | (len > 0x7f ? 0x80 : 0);
        len >>= 7;
    } while (len);
    pushed = vsk_ring_push(ends, &iov, 1, 0);
    g_assert(pushed); /* see above */
}

/* The oldest message's length, and how many bytes tell it. */
static uint32_t front_length(const VskRing *ends, uint32_t *ret_bytes)
{
    uint8_t code[LENGTH_BYTES] = { 0 };
    uint32_t len = 0, n = 0;
    struct iovec iov[2];

    vsk_ring_front(ends, MIN(vsk_ring_used(ends), LENGTH_BYTES), iov);
    vsk_iov_to_buf(iov, 2, code, sizeof(code));
    do {
        len |= (uint32_t)(code[n] & 0x7f) << (7 * n);
    } while (code[n++] & 0x80);
    *ret_bytes = n;
    return len;
}

bool vsk_stage_push(VskStage *stage, const struct iovec *iov,
                    unsigned int n_iov, size_t offset, bool eom)
{
    size_t len = vsk_iov_size(iov, n_iov) - offset;
    bool pushed;

    if (stage->messages && eom && stage->partial + len == 0) {
        if (stage->n_empty == VSK_MAX_EMPTY_MESSAGES) {
            return false;
        }
        stage->n_empty++;
    }
    pushed = vsk_ring_push(&stage->bytes, iov, n_iov, offset);
    g_assert(pushed); /* the ring has the size of the window */
    if (stage->messages) {
        stage->partial += (uint32_t)len;
        if (eom) {
            push_length(&stage->ends, stage->partial);
            stage->partial = 0;
        }
    }
    return true;
}

/* Write out the oldest message.  Returns what the stream did. */
static ssize_t flush_message(VskStage *stage, VskStream *stream)
{
    uint32_t n_code, len = front_length(&stage->ends, &n_code);
    struct iovec iov[2] = { 0 };
    unsigned int n_iov = len ? vsk_ring_front(&stage->bytes, len, iov) : 0;
    ssize_t n = stream->ops->writev(stream, iov, (int)n_iov);

    if (n < 0) {
        return n;
    }
    vsk_ring_drop(&stage->ends, n_code);
    if (len) {
        vsk_ring_drop(&stage->bytes, len);
    } else {
        stage->n_empty--;
    }
    return n;
}

static ssize_t flush_messages(VskStage *stage, VskStream *stream,
                              bool *ret_more)
{
    unsigned int written = 0;
    ssize_t total = 0;

    while (vsk_ring_used(&stage->ends)) {
        ssize_t n;

        if (written == VSK_TURN_MESSAGES) {
            *ret_more = true;
            break;
        }
        n = flush_message(stage, stream);
        if (n < 0) {
            return written ? total : n;
        }
        total += n;
        written++;
    }
    return total;
}

ssize_t vsk_stage_flush(VskStage *stage, VskStream *stream, bool *ret_more)
{
    *ret_more = false;
    return stage->messages ? flush_messages(stage, stream, ret_more)
                           : vsk_ring_flush(&stage->bytes, stream);
}
