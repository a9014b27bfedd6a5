/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What libvsock-device asks of its embedder, on libvhost-user's virtqueues.
 *
 * A chain that a hostile driver spoils makes libvhost-user panic: the device is
 * then broken, every entry here finds no chain and writes none, and
 * session.c ends the flows.
 */

#include <stdlib.h>

#include "queue.h"

bool queue_is_ready(const Queues *queues, VskQueue queue)
{
    VuDev *vu = queues->vu;

    return vu && !vu->broken && vu->vq[queue].started &&
           vu->vq[queue].enable && vu->vq[queue].vring.desc;
}

static bool queue_pop(void *opaque, VskQueue queue, VskChain *ret_chain)
{
    Queues *q = opaque;
    VuVirtqElement *elem;

    if (!queue_is_ready(q, queue)) {
        return false;
    }
    elem = vu_queue_pop(q->vu, &q->vu->vq[queue], sizeof(*elem));
    if (!elem) {
        return false;
    }
    *ret_chain = (VskChain) {
        .elem = elem,
        .out = elem->out_sg,
        .n_out = elem->out_num,
        .in = elem->in_sg,
        .n_in = elem->in_num,
    };
    return true;
}

static void queue_unpop(void *opaque, VskQueue queue, VskChain *chain)
{
    Queues *q = opaque;

    vu_queue_unpop(q->vu, &q->vu->vq[queue], chain->elem, 0);
    free(chain->elem);
    chain->elem = NULL;
}

static bool tracks_inflight(const VuDev *vu)
{
    return vu->protocol_features &
           (1ull << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
}

static void queue_push(void *opaque, VskQueue queue, VskChain *chain,
                       uint32_t len)
{
    Queues *q = opaque;
    VuVirtq *vq = &q->vu->vq[queue];

    if (tracks_inflight(q->vu)) {
        vu_queue_push(q->vu, vq, chain->elem, len); /* knows no batches */
    } else {
        vu_queue_fill(q->vu, vq, chain->elem, len, q->pushed[queue]++);
    }
    free(chain->elem);
    chain->elem = NULL;
}

static void queue_flush(void *opaque, VskQueue queue)
{
    Queues *q = opaque;
    VuVirtq *vq = &q->vu->vq[queue];

    if (q->pushed[queue]) {
        vu_queue_flush(q->vu, vq, q->pushed[queue]);
        q->pushed[queue] = 0;
    }
    if (vq->call_fd >= 0) {
        vu_queue_notify(q->vu, vq);
    }
}

static bool queue_set_notification(void *opaque, VskQueue queue, bool enable)
{
    Queues *q = opaque;
    VuVirtq *vq;

    if (!queue_is_ready(q, queue)) {
        return false;
    }
    vq = &q->vu->vq[queue];
    vu_queue_set_notification(q->vu, vq, enable);
    return enable && !vu_queue_empty(q->vu, vq);
}

static void queue_refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    Queues *q = opaque;

    log_refused(q->refusals, why, hdr);
}

const VskDevOps queue_ops = {
    .pop = queue_pop,
    .unpop = queue_unpop,
    .push = queue_push,
    .flush = queue_flush,
    .set_notification = queue_set_notification,
    .refused = queue_refused,
};
