/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory of flows that have ended goes back to the system.
 *
 * Malloc keeps freed memory that lies below anything still in use: one small
 * block at the top can hold hundreds of megabytes that flows had while host
 * programs did not read.  So some time after much of it was freed, malloc is
 * asked to give it back.
 */

#ifndef VSK_TRIM_H
#define VSK_TRIM_H

#include <stdint.h>

typedef struct VskTrim {
    uint64_t bytes;  /* that flows have now */
    uint64_t peak;   /* the most of them since malloc was asked */
    int64_t at_ms;   /* when to ask it; -1: no need */
} VskTrim;

void vsk_trim_init(VskTrim *trim);

/* A flow has @now bytes where it had @before. */
void vsk_trim_count(VskTrim *trim, uint64_t before, uint64_t now,
                    int64_t now_ms);

/* Ask malloc if the time has come. */
void vsk_trim_expire(VskTrim *trim, int64_t now_ms);

#endif /* VSK_TRIM_H */
