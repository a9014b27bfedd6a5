/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What libvsock-device asks of its embedder, on QEMU's virtqueues: chains,
 * notifications, and a log of what was refused.
 *
 * Everything but vhost_vsock_emulator_check_rings() runs in VSockEmulator.ctx,
 * inside a call of the library.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/virtio/virtio.h"
#include "trace.h"
#include "vhost-vsock-emulator.h"

/* --- Rings ---------------------------------------------------------------- */

static bool range_is_ram(AddressSpace *as, hwaddr addr, hwaddr size,
                         bool is_write)
{
    RCU_READ_LOCK_GUARD();
    while (size) {
        hwaddr len = size;
        hwaddr offset;
        MemoryRegion *mr = address_space_translate(as, addr, &offset, &len,
                                                   is_write,
                                                   MEMTXATTRS_UNSPECIFIED);

        /* A write to ROM, or any access to a RAM device, takes the BQL. */
        if (!memory_region_is_ram(mr) || memory_region_is_ram_device(mr) ||
            (is_write && memory_region_is_rom(mr)) || !len) {
            return false;
        }
        addr += len;
        size -= len;
    }
    return true;
}

bool vhost_vsock_emulator_ring_is_ram(VSockEmulator *e, int queue)
{
    VirtIODevice *vdev = e->vdev;
    AddressSpace *as = vdev->dma_as;

    return !virtio_queue_get_desc_addr(vdev, queue) ||
           (range_is_ram(as, virtio_queue_get_desc_addr(vdev, queue),
                         virtio_queue_get_desc_size(vdev, queue), false) &&
            range_is_ram(as, virtio_queue_get_avail_addr(vdev, queue),
                         virtio_queue_get_avail_size(vdev, queue), false) &&
            range_is_ram(as, virtio_queue_get_used_addr(vdev, queue),
                         virtio_queue_get_used_size(vdev, queue), true));
}

bool vhost_vsock_emulator_check_rings(VSockEmulator *e)
{
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        if (!vhost_vsock_emulator_ring_is_ram(e, i)) {
            virtio_error(e->vdev, "vhost-vsock: CID %" PRIu64
                         ": virtqueue %d is not in guest RAM",
                         e->vsock->guest_cid, i);
            return false;
        }
    }
    return true;
}

/* --- Chains --------------------------------------------------------------- */

static VirtQueue *emulator_vq(VSockEmulator *e, VskQueue queue)
{
    return e->vsock->vqs[queue];
}

/*
 * Whether all buffers of @elem are guest RAM.  Others were mapped through a
 * bounce buffer: it may hold what was never written, and giving it back
 * writes to a device, perhaps to this one.
 */
static bool element_is_ram(const VirtQueueElement *elem)
{
    ram_addr_t offset;

    RCU_READ_LOCK_GUARD();
    for (unsigned int i = 0; i < elem->out_num; i++) {
        if (!memory_region_from_host(elem->out_sg[i].iov_base, &offset)) {
            return false;
        }
    }
    for (unsigned int i = 0; i < elem->in_num; i++) {
        if (!memory_region_from_host(elem->in_sg[i].iov_base, &offset)) {
            return false;
        }
    }
    return true;
}

static bool emulator_pop(void *opaque, VskQueue queue, VskChain *ret_chain)
{
    VSockEmulator *e = opaque;
    VirtQueueElement *elem;

    elem = virtqueue_pop(emulator_vq(e, queue), sizeof(*elem));
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
    if (!element_is_ram(elem)) {
        /* The library refuses a chain without buffers, and gives it back. */
        trace_vhost_vsock_not_ram(e->vsock->guest_cid, queue);
        ret_chain->n_out = 0;
        ret_chain->n_in = 0;
    }
    return true;
}

/*
 * Not by virtqueue_unpop(): in a packed ring that goes one descriptor back
 * whatever the length of the chain.
 */
static void emulator_unpop(void *opaque, VskQueue queue, VskChain *chain)
{
    VSockEmulator *e = opaque;
    AddressSpace *as = e->vdev->dma_as;
    VirtQueueElement *elem = chain->elem;

    for (unsigned int i = 0; i < elem->in_num; i++) {
        dma_memory_unmap(as, elem->in_sg[i].iov_base, elem->in_sg[i].iov_len,
                         DMA_DIRECTION_FROM_DEVICE, 0);
    }
    for (unsigned int i = 0; i < elem->out_num; i++) {
        dma_memory_unmap(as, elem->out_sg[i].iov_base,
                         elem->out_sg[i].iov_len, DMA_DIRECTION_TO_DEVICE, 0);
    }
    virtqueue_rewind(emulator_vq(e, queue), elem->ndescs);
    g_free(elem);
    chain->elem = NULL;
}

/* Returns whether there is something to tell the driver of. */
static bool emulator_publish(VSockEmulator *e, VskQueue queue)
{
    if (!e->pushed[queue]) {
        return false;
    }
    WITH_RCU_READ_LOCK_GUARD() {
        virtqueue_flush(emulator_vq(e, queue), e->pushed[queue]);
    }
    e->pushed[queue] = 0;
    return true;
}

static void emulator_notify(VSockEmulator *e, VskQueue queue)
{
    VirtIODevice *vdev = e->vdev;
    VirtQueue *vq = emulator_vq(e, queue);

    if (vdev->broken) {
        return;
    }
    if (e->iothread) {
        virtio_notify_irqfd(vdev, vq);
    } else {
        virtio_notify(vdev, vq);
    }
}

static void emulator_flush(void *opaque)
{
    VSockEmulator *e = opaque;
    bool news[VSK_QUEUE_NUM];

    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        news[queue] = emulator_publish(e, queue);
    }
    for (VskQueue queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        if (news[queue]) {
            emulator_notify(e, queue);
        }
    }
}

static void emulator_push(void *opaque, VskQueue queue, VskChain *chain,
                          uint32_t len)
{
    VSockEmulator *e = opaque;
    VirtQueueElement *elem = chain->elem;

    if (e->pushed[queue] == VHOST_VSOCK_VQ_SIZE) {
        /*
         * A driver may have set a larger queue, for which the virtio core has
         * no room to remember more.
         */
        emulator_publish(e, queue);
        emulator_notify(e, queue);
    }
    WITH_RCU_READ_LOCK_GUARD() {
        virtqueue_fill(emulator_vq(e, queue), elem, len,
                       e->pushed[queue]++);
    }
    g_free(elem);
    chain->elem = NULL;
}

static bool emulator_set_notification(void *opaque, VskQueue queue,
                                      bool enable)
{
    VSockEmulator *e = opaque;
    VirtQueue *vq = emulator_vq(e, queue);

    if (e->vdev->broken) {
        return false;
    }
    virtio_queue_set_notification(vq, enable);
    return enable && !virtio_queue_empty(vq);
}

/* --- Log ------------------------------------------------------------------ */

static void emulator_refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    static const VskHdr none;
    const VskHdr *h = hdr ?: &none;
    VSockEmulator *e = opaque;
    VSockRefusalLog *log = &e->refusals[why];
    uint64_t cid = e->vsock->guest_cid;
    const char *warning = vsk_refusal_warning(why);
    g_autofree char *packet = NULL;
    g_autofree char *more = NULL;
    int64_t now_ms;

    trace_vhost_vsock_refused(cid, vsk_refusal_name(why),
                              vsk_op_name(h->op), h->src_cid, h->src_port,
                              h->dst_cid, h->dst_port, h->len);
    if (!warning) {
        return; /* for the trace only */
    }

    now_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    if (now_ms < log->next_ms) {
        log->unsaid++;
        return;
    }
    packet = hdr ? vsk_packet_describe(hdr) : NULL;
    if (log->unsaid) {
        more = g_strdup_printf("; %u more since the last such line",
                               log->unsaid);
    }
    warn_report("vhost-vsock: CID %" PRIu64 ": %s%s%s%s", cid, warning,
                packet ? " " : "", packet ?: "", more ?: "");
    log->next_ms = now_ms + VSK_LOG_INTERVAL_MS;
    log->unsaid = 0;
}

static void emulator_packet(void *opaque, bool to_guest, const VskHdr *hdr,
                            const struct iovec *payload,
                            unsigned int n_payload)
{
    VSockEmulator *e = opaque;
    uint64_t cid = e->vsock->guest_cid;
    const char *op = vsk_op_name(hdr->op);

    if (to_guest) {
        trace_vhost_vsock_packet_to_guest(cid, op, hdr->type,
                                          hdr->src_port, hdr->dst_port,
                                          hdr->len, hdr->flags,
                                          hdr->buf_alloc, hdr->fwd_cnt);
    } else {
        trace_vhost_vsock_packet_from_guest(cid, op, hdr->type,
                                            hdr->src_port, hdr->dst_port,
                                            hdr->len, hdr->flags,
                                            hdr->buf_alloc, hdr->fwd_cnt);
    }
}

const VskDevOps vhost_vsock_emulator_queue_ops = {
    .pop = emulator_pop,
    .unpop = emulator_unpop,
    .push = emulator_push,
    .flush = emulator_flush,
    .set_notification = emulator_set_notification,
    .refused = emulator_refused,
    .packet = emulator_packet,
};
