/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory of flows that have ended goes back to the system.
 */

#include "trim.h"
#include "vsock-limits.h"

#include <glib.h>
#include <stdbool.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static bool has_much(const VskTrim *trim)
{
    return trim->peak - trim->bytes >= VSK_TRIM_BYTES;
}

void vsk_trim_init(VskTrim *trim)
{
    *trim = (VskTrim) { .at_ms = -1 };
}

void vsk_trim_count(VskTrim *trim, uint64_t before, uint64_t now,
                    int64_t now_ms)
{
    trim->bytes += now - before;
    trim->peak = MAX(trim->peak, trim->bytes);
    if (trim->at_ms < 0 && has_much(trim)) {
        trim->at_ms = now_ms + VSK_TRIM_DELAY_MS;
    }
}

void vsk_trim_expire(VskTrim *trim, int64_t now_ms)
{
    if (trim->at_ms < 0 || now_ms < trim->at_ms) {
        return;
    }
    trim->at_ms = -1;
    if (has_much(trim)) {
        trim->peak = trim->bytes;
#ifdef __GLIBC__
        malloc_trim(0);
#endif
    }
}
