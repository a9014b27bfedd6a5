/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Chains that are out, noted in memory that outlives the process, so that the
 * next one can take them up: vhost-user's inflight buffer of a split virtqueue.
 *
 * The order of the writes is what makes it work when the process dies between
 * any two of them; memory is shared with the front-end only, so the compiler
 * has to keep the order, and no other processor looks before the end.
 */

#include "vring-internal.h"

#include <stdlib.h>

static void keep_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

typedef struct Found {
    uint64_t counter;
    uint16_t head;
} Found;

/* The oldest last. */
static int compare(const void *pa, const void *pb)
{
    const Found *a = pa;
    const Found *b = pb;

    return a->counter < b->counter ? 1 : a->counter > b->counter ? -1 : 0;
}

/* Mark the @n heads of the last batch as given back. */
static void clear_batch(VskVring *vring, unsigned int n)
{
    uint16_t head = vring->inflight->last_batch_head;

    for (unsigned int i = 0; i < MIN(n, vring->num) && head < vring->num;
         i++) {
        vring->inflight->desc[head].inflight = 0;
        head = vring->inflight->desc[head].next;
    }
}

void vsk_inflight_begin(VskVring *vring)
{
    VskVringInflight *inflight = vring->inflight;
    g_autofree Found *found = g_new(Found, vring->num);
    unsigned int n = 0;

    if (inflight->used_idx != vring->used_idx) {
        /* It died between the used ring and its note of that. */
        clear_batch(vring, (uint16_t)(vring->used_idx - inflight->used_idx));
        keep_order();
        inflight->used_idx = vring->used_idx;
    }
    for (unsigned int i = 0; i < vring->num; i++) {
        if (inflight->desc[i].inflight == 1) {
            found[n++] = (Found) { inflight->desc[i].counter, (uint16_t)i };
        }
    }
    qsort(found, n, sizeof(found[0]), compare);
    vring->resubmit = g_new(uint16_t, vring->num);
    for (unsigned int i = 0; i < n; i++) {
        vring->resubmit[i] = found[i].head;
    }
    vring->n_resubmit = n;
    vring->inflight_counter = n ? found[0].counter + 1 : 0;
    vring->next_avail = (uint16_t)(vring->used_idx + n);
}

void vsk_inflight_set(VskVring *vring, uint16_t head)
{
    vring->inflight->desc[head].counter = vring->inflight_counter++;
    keep_order();
    vring->inflight->desc[head].inflight = 1;
    keep_order();
}

void vsk_inflight_clear(VskVring *vring, uint16_t head)
{
    vring->inflight->desc[head].inflight = 0;
}

void vsk_inflight_push(VskVring *vring, uint16_t head)
{
    vring->inflight->desc[head].next = vring->inflight->last_batch_head;
    keep_order();
    vring->inflight->last_batch_head = head;
    keep_order();
}

void vsk_inflight_flushed(VskVring *vring, unsigned int n)
{
    keep_order();
    clear_batch(vring, n);
    keep_order();
    vring->inflight->used_idx = vring->used_idx;
}
