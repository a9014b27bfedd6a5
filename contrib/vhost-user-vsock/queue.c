/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The virtqueues of one VM: how its front-end sets them up, and what
 * libvsock-device wants of them.
 */

#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue.h"

#define RING_F_INDIRECT_DESC 28
#define RING_F_EVENT_IDX     29

/* --- Set-up --------------------------------------------------------------- */

void queues_init(Queues *queues, LogRefusals *refusals)
{
    memset(queues, 0, sizeof(*queues));
    queues->refusals = refusals;
    queues->memory.log_fd = -1;
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        Queue *q = &queues->queue[i];

        q->kick_fd = -1;
        q->call_fd = -1;
        q->err_fd = -1;
        q->wants_notify = true;
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void queues_clear(Queues *queues)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        Queue *q = &queues->queue[i];

        queue_stop(queues, i);
        close_fd(&q->kick_fd);
        close_fd(&q->call_fd);
        close_fd(&q->err_fd);
    }
    memory_clear(&queues->memory);
    memory_clear_log(&queues->memory);
    close_fd(&queues->memory.log_fd);
    inflight_close(&queues->inflight);
    queues_init(queues, queues->refusals);
}

void queues_reset(Queues *queues)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        Queue *q = &queues->queue[i];

        queue_stop(queues, i);
        q->num = 0;
        q->addr = (QueueAddr) { 0 };
        q->base = 0;
        q->enabled = false;
        q->unfit = false;
    }
}

static const char *broken(const Queue *q)
{
    return q->broken ? q->broken : vsk_vring_broken(q->vring);
}

bool queue_is_ready(const Queues *queues, VskQueue queue)
{
    const Queue *q = &queues->queue[queue];

    return q->started && q->enabled && !broken(q);
}

uint16_t queue_base(const Queues *queues, VskQueue queue)
{
    const Queue *q = &queues->queue[queue];

    return q->started ? vsk_vring_base(q->vring) : q->base;
}

const char *queues_broken(const Queues *queues)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        const Queue *q = &queues->queue[i];

        if (q->started && broken(q)) {
            return broken(q);
        }
    }
    return NULL;
}

/* --- Rings ---------------------------------------------------------------- */

static void *map_gpa(void *opaque, uint64_t gpa, uint64_t *len)
{
    Queues *queues = opaque;

    return memory_at(&queues->memory, gpa, len);
}

static void note_dirty(void *opaque, uint64_t gpa, uint64_t len)
{
    Queues *queues = opaque;

    memory_wrote(&queues->memory, gpa, len);
}

static const VskVringOps vring_ops = {
    .map = map_gpa,
    .dirty = note_dirty,
};

/* A ring at @addr that goes on at the queue's base; NULL if that cannot be. */
static VskVring *make_vring(Queues *queues, VskQueue queue,
                            const QueueAddr *addr)
{
    const Memory *memory = &queues->memory;
    const Queue *q = &queues->queue[queue];
    VskVringConfig config = {
        .num = q->num,
        .desc = memory_at_qva(memory, addr->desc, VSK_VRING_DESC_SIZE(q->num)),
        .avail = memory_at_qva(memory, addr->avail,
                               VSK_VRING_AVAIL_SIZE(q->num)),
        .used = memory_at_qva(memory, addr->used, VSK_VRING_USED_SIZE(q->num)),
        .used_gpa = addr->used_gpa,
        .base = queue_base(queues, queue),
        .event_idx = queues->features & (1ull << RING_F_EVENT_IDX),
        .indirect = queues->features & (1ull << RING_F_INDIRECT_DESC),
    };

    if (!q->num || !config.desc || !config.avail || !config.used) {
        return NULL;
    }
    config.inflight = inflight_queue(&queues->inflight, queue, q->num);
    return vsk_vring_new(&config, &vring_ops, queues, NULL);
}

bool queue_addr_is_valid(const Queues *queues, const QueueAddr *addr,
                         unsigned int num)
{
    const Memory *memory = &queues->memory;

    return num &&
           memory_at_qva(memory, addr->desc, VSK_VRING_DESC_SIZE(num)) &&
           memory_at_qva(memory, addr->avail, VSK_VRING_AVAIL_SIZE(num)) &&
           memory_at_qva(memory, addr->used, VSK_VRING_USED_SIZE(num));
}

/* Interrupt the driver if it wants that, which is asked as late as now. */
static void call_driver(Queues *queues, VskQueue queue)
{
    Queue *q = &queues->queue[queue];

    q->late_call = false;
    if (!vsk_vring_wants_interrupt(q->vring)) {
        return;
    }
    q->called = queue_base(queues, queue);
    if (q->call_fd >= 0) {
        /* A counter that is full is as good. #syscalls write */
        eventfd_write(q->call_fd, 1);
    }
}

static void use_vring(Queue *q, VskVring *vring)
{
    vsk_vring_free(q->vring);
    q->vring = vring;
    q->started = vring;
    if (vring) {
        /* What an earlier run asked for still stands in the ring. */
        vsk_vring_set_notification(vring, q->wants_notify);
    }
}

bool queue_start(Queues *queues, VskQueue queue)
{
    Queue *q = &queues->queue[queue];
    VskVring *vring = make_vring(queues, queue, &q->addr);

    if (vring) {
        q->wants_notify = true;
        use_vring(q, vring);
    }
    return vring;
}

void queue_stop(Queues *queues, VskQueue queue)
{
    Queue *q = &queues->queue[queue];

    if (q->started) {
        if (q->late_call) {
            call_driver(queues, queue);
        }
        q->base = vsk_vring_base(q->vring);
        q->broken = NULL;
        use_vring(q, NULL);
    }
}

bool queue_move(Queues *queues, VskQueue queue, const QueueAddr *addr)
{
    Queue *q = &queues->queue[queue];
    VskVring *vring = make_vring(queues, queue, addr);

    if (!vring) {
        q->late_call = false; /* its ring may be gone: not to be looked at */
        queue_stop(queues, queue);
        return false;
    }
    q->addr = *addr;
    q->broken = broken(q);
    use_vring(q, vring);
    if (vsk_vring_has_avail(vring) && q->kick_fd >= 0) {
        /* A kick may have come between the two. */
        eventfd_write(q->kick_fd, 1);
    }
    return true;
}

bool queues_remap(Queues *queues)
{
    bool all = true;

    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        Queue *q = &queues->queue[i];

        if (q->started && !queue_move(queues, i, &q->addr)) {
            all = false;
        }
    }
    return all;
}

/* --- What libvsock-device calls ------------------------------------------- */

static bool queue_pop(void *opaque, VskQueue queue, VskChain *ret_chain)
{
    Queues *queues = opaque;

    if (!queue_is_ready(queues, queue) ||
        !vsk_vring_pop(queues->queue[queue].vring, ret_chain)) {
        return false;
    }
    queues->work++;
    return true;
}

static void queue_unpop(void *opaque, VskQueue queue, VskChain *chain)
{
    Queues *queues = opaque;

    queues->work--; /* lest looking alone counts */
    vsk_vring_unpop(queues->queue[queue].vring, chain);
}

static void queue_push(void *opaque, VskQueue queue, VskChain *chain,
                       uint32_t len)
{
    Queues *queues = opaque;

    vsk_vring_push(queues->queue[queue].vring, chain, len);
}

/*
 * While polling, an answer of the host is likely to follow what the guest sent.
 * So a driver whose TX queue has plenty of room hears that its packets were
 * taken when it hears of the answer, or soon: it is woken once, not twice.
 */
static bool can_wait(Queues *queues, VskQueue queue)
{
    const Queue *q = &queues->queue[queue];

    return queues->polling && queue == VSK_QUEUE_TX &&
           (uint16_t)(queue_base(queues, queue) - q->called) < q->num / 4;
}

static void queue_flush(void *opaque)
{
    Queues *queues = opaque;
    bool news[VSK_QUEUE_NUM];

    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        Queue *q = &queues->queue[queue];

        news[queue] = q->started && vsk_vring_publish(q->vring);
    }
    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        if (news[queue] && can_wait(queues, queue) && !news[VSK_QUEUE_RX]) {
            queues->queue[queue].late_call = true;
        } else if (news[queue]) {
            call_driver(queues, queue);
        }
    }
    if (news[VSK_QUEUE_RX]) {
        queues_make_late_calls(queues);
    }
    if (queues->memory.log_grew) {
        memory_tell_log(&queues->memory);
    }
}

static bool queue_set_notification(void *opaque, VskQueue queue, bool enable)
{
    Queues *queues = opaque;
    Queue *q = &queues->queue[queue];

    q->wants_notify = enable;
    if (!queue_is_ready(queues, queue)) {
        return false;
    }
    if (queues->polling && queue != VSK_QUEUE_EVENT) {
        return enable && vsk_vring_has_avail(q->vring);
    }
    return vsk_vring_set_notification(q->vring, enable);
}

static void queue_refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    Queues *queues = opaque;

    log_refused(queues->refusals, why, hdr);
}

const VskDevOps queue_ops = {
    .pop = queue_pop,
    .unpop = queue_unpop,
    .push = queue_push,
    .flush = queue_flush,
    .set_notification = queue_set_notification,
    .refused = queue_refused,
};

/* --- Polling -------------------------------------------------------------- */

/* The queues that drivers notify of often. */
static const VskQueue polled[] = { VSK_QUEUE_RX, VSK_QUEUE_TX };

void queues_begin_polling(Queues *queues)
{
    queues->polling = true;
    for (int i = 0; i < G_N_ELEMENTS(polled); i++) {
        if (queue_is_ready(queues, polled[i])) {
            vsk_vring_set_notification(queues->queue[polled[i]].vring, false);
        }
    }
}

void queues_make_late_calls(Queues *queues)
{
    const Queue *tx = &queues->queue[VSK_QUEUE_TX];

    if (tx->late_call && tx->started) {
        call_driver(queues, VSK_QUEUE_TX);
    }
}

unsigned int queues_end_polling(Queues *queues)
{
    unsigned int mask = 0;

    queues->polling = false;
    queues_make_late_calls(queues);
    for (int i = 0; i < G_N_ELEMENTS(polled); i++) {
        Queue *q = &queues->queue[polled[i]];

        if (q->wants_notify && queue_is_ready(queues, polled[i]) &&
            vsk_vring_set_notification(q->vring, true)) {
            mask |= 1u << polled[i];
        }
    }
    return mask;
}

unsigned int queues_poll(const Queues *queues)
{
    unsigned int mask = 0;

    for (int i = 0; i < G_N_ELEMENTS(polled); i++) {
        const Queue *q = &queues->queue[polled[i]];

        if (q->wants_notify && queue_is_ready(queues, polled[i]) &&
            vsk_vring_has_avail(q->vring)) {
            mask |= 1u << polled[i];
        }
    }
    return mask;
}
