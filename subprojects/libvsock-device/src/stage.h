/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the guest sent on one flow and the host program has not got yet: bytes
 * its socket would not take, and of a seqpacket flow also the beginning of a
 * message whose end has not come.
 *
 * An idle flow costs no memory.  A seqpacket flow costs twice its window and
 * VSK_MAX_EMPTY_MESSAGES at the most.
 */

#ifndef VSK_STAGE_H
#define VSK_STAGE_H

#include "ring.h"

typedef struct VskStage {
    bool messages;    /* and not a stream of bytes */
    VskRing bytes;
    VskRing ends;     /* of whole messages: their lengths, see stage.c */
    uint32_t partial; /* bytes, at the end of @bytes, of the next message */
    uint32_t n_empty; /* messages without bytes */
} VskStage;

void vsk_stage_init(VskStage *stage, uint16_t type, uint32_t window);
void vsk_stage_clear(VskStage *stage);

/* Bytes of memory that the stage of a flow may come to cost. */
uint64_t vsk_stage_cost(uint16_t type, uint32_t window);

/* The largest window whose cost is @cost at the most; 0 if there is none. */
uint32_t vsk_stage_window(uint16_t type, uint64_t cost);

/* Whether there is something that the stream could be written now. */
bool vsk_stage_waits(const VskStage *stage);

/* Bytes of memory that it takes now. */
uint64_t vsk_stage_memory(const VskStage *stage);

/* Bytes of the guest in it. */
uint32_t vsk_stage_used(const VskStage *stage);

/*
 * Append the bytes of @iov from @offset on; @eom: they end a message.  The
 * caller's credit keeps the bytes within the window.  False if there are too
 * many empty messages; nothing was appended then.
 */
bool vsk_stage_push(VskStage *stage, const struct iovec *iov,
                    unsigned int n_iov, size_t offset, bool eom);

/*
 * Write out as much as @stream takes, within one turn's budget of messages;
 * *@ret_more: that was the reason to stop.  Returns the bytes written, or the
 * negative errno of a write that failed before anything was written.
 */
ssize_t vsk_stage_flush(VskStage *stage, VskStream *stream, bool *ret_more);

#endif /* VSK_STAGE_H */
