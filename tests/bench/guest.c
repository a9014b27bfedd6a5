/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest: flows, and packets in and out.
 *
 * Buffers as Linux has them: RX buffers of 4 KiB, header and payload in one,
 * offered anew when less than half are left; a TX packet is a header and a
 * payload, of 64 KiB at the most, one for each write.  A flow's window is
 * 256 KiB, and news of it is sent when less than 64 KiB of it are free.
 */

#include "guest.h"
#include "front-end.h"
#include "guest-memory.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WINDOW 262144u        /* bytes, for each flow */
#define TELL_CREDIT 65536u    /* bytes free in the window */
#define BUCKETS 8192
#define FIRST_PORT 1024
#define MAX_LISTENERS 4
#define HOST_CID 2

enum { RX, TX, N_RINGS };

/* A packet without payload, that waits for room in the ring. */
typedef struct Control {
    uint32_t guest_port, host_port, fwd_cnt;
    uint16_t op;
    uint32_t flags;
} Control;

struct Guest {
    Bench *bench;
    FrontEnd *front_end;
    GuestMemory *memory;
    Ring rings[N_RINGS];
    int kick[N_RINGS], call;
    const GuestOps *ops;
    void *opaque;
    uint32_t listeners[MAX_LISTENERS];
    unsigned n_listeners;
    uint32_t next_port;
    GQueue controls;
    RxBuffer *rx_taken[RING_SIZE]; /* to be offered anew */
    unsigned n_rx_taken;
    Flow *buckets[BUCKETS];
};

static unsigned bucket_of(uint32_t guest_port, uint32_t host_port)
{
    return (guest_port * 31 + host_port) % BUCKETS;
}

static Flow *flow_find(Guest *guest, uint32_t guest_port, uint32_t host_port)
{
    Flow *flow = guest->buckets[bucket_of(guest_port, host_port)];

    while (flow && (flow->guest_port != guest_port ||
                    flow->host_port != host_port)) {
        flow = flow->next_in_bucket;
    }
    return flow;
}

static Flow *flow_new(Guest *guest, uint32_t guest_port, uint32_t host_port)
{
    Flow **bucket = &guest->buckets[bucket_of(guest_port, host_port)];
    Flow *flow = g_new0(Flow, 1);

    flow->guest_port = guest_port;
    flow->host_port = host_port;
    flow->next_in_bucket = *bucket;
    *bucket = flow;
    return flow;
}

void flow_queue_push(FlowQueue *queue, Flow *flow)
{
    if (flow->is_queued) {
        return;
    }
    flow->is_queued = true;
    flow->next_queued = NULL;
    if (queue->first) {
        queue->last->next_queued = flow;
    } else {
        queue->first = flow;
    }
    queue->last = flow;
}

Flow *flow_queue_pop(FlowQueue *queue)
{
    Flow *flow = queue->first;

    if (flow) {
        queue->first = flow->next_queued;
        flow->is_queued = false;
    }
    return flow;
}

static void flow_free(Guest *guest, Flow *flow)
{
    Flow **at = &guest->buckets[bucket_of(flow->guest_port, flow->host_port)];

    while (*at != flow) {
        at = &(*at)->next_in_bucket;
    }
    *at = flow->next_in_bucket;
    g_free(flow);
}

/* The flow is over: tell the program, and forget it. */
static void flow_end(Guest *guest, Flow *flow)
{
    flow->state = FLOW_CLOSED;
    if (guest->ops->closed) {
        guest->ops->closed(guest->bench, flow, guest->opaque);
    }
    flow_free(guest, flow);
}

static void flow_refuse(Guest *guest, Flow *flow)
{
    if (!guest->ops->refused) {
        bench_die("the host refused a connection");
    }
    flow_free(guest, flow);
    guest->ops->refused(guest->bench, guest->opaque);
}

static void write_header(TxSlot *slot, uint32_t guest_port,
                         uint32_t host_port, uint16_t op, uint32_t flags,
                         uint32_t len, uint32_t fwd_cnt)
{
    *slot->header = (struct virtio_vsock_hdr) {
        .src_cid = BENCH_GUEST_CID,
        .dst_cid = HOST_CID,
        .src_port = guest_port,
        .dst_port = host_port,
        .len = len,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = WINDOW,
        .fwd_cnt = fwd_cnt,
    };
}

/* Take back what the device has sent. */
static bool reclaim(Guest *guest)
{
    TxSlot *slot;
    uint32_t len;
    bool any = false;

    while ((slot = ring_get(&guest->rings[TX], &len))) {
        guest_memory_put_tx(guest->memory, slot);
        any = true;
    }
    return any;
}

static TxSlot *get_slot(Guest *guest, unsigned pieces)
{
    Ring *ring = &guest->rings[TX];

    if (!ring_has_room(ring, pieces) &&
        !(reclaim(guest) && ring_has_room(ring, pieces))) {
        return NULL;
    }
    return guest_memory_get_tx(guest->memory);
}

static void put_packet(Guest *guest, TxSlot *slot, uint32_t len)
{
    RingPiece pieces[] = {
        { slot->header_address, sizeof(*slot->header) },
        { slot->payload_address, len },
    };

    ring_add(&guest->rings[TX], pieces, len > 0 ? 2 : 1, false, slot);
}

static void send_controls(Guest *guest)
{
    Control *control;
    TxSlot *slot;

    while ((control = g_queue_peek_head(&guest->controls)) &&
           (slot = get_slot(guest, 1))) {
        write_header(slot, control->guest_port, control->host_port,
                     control->op, control->flags, 0, control->fwd_cnt);
        put_packet(guest, slot, 0);
        g_free(g_queue_pop_head(&guest->controls));
    }
    ring_publish(&guest->rings[TX]);
}

static void send_control(Guest *guest, Flow *flow, uint16_t op,
                         uint32_t flags)
{
    Control control = {
        flow->guest_port, flow->host_port, flow->fwd_cnt, op, flags
    };

    flow->last_fwd_cnt = flow->fwd_cnt;
    g_queue_push_tail(&guest->controls,
                      g_memdup2(&control, sizeof(control)));
}

uint32_t guest_credit(const Flow *flow)
{
    uint32_t in_flight = flow->tx_cnt - flow->peer_fwd_cnt;

    return flow->peer_buf_alloc > in_flight ?
           flow->peer_buf_alloc - in_flight : 0;
}

uint32_t guest_send(Guest *guest, Flow *flow, const void *data, uint32_t len)
{
    TxSlot *slot;

    len = MIN(len, guest_credit(flow));
    if (len == 0 || !g_queue_is_empty(&guest->controls) ||
        !(slot = get_slot(guest, 2))) {
        return 0;
    }
    memcpy(slot->payload, data, len);
    write_header(slot, flow->guest_port, flow->host_port, VIRTIO_VSOCK_OP_RW,
                 0, len, flow->fwd_cnt);
    flow->last_fwd_cnt = flow->fwd_cnt;
    flow->tx_cnt += len;
    flow->sent += len;
    put_packet(guest, slot, len);
    ring_publish(&guest->rings[TX]);
    return len;
}

Flow *guest_connect(Guest *guest, uint32_t host_port)
{
    Flow *flow = flow_new(guest, guest->next_port++, host_port);

    flow->by_guest = true;
    send_control(guest, flow, VIRTIO_VSOCK_OP_REQUEST, 0);
    send_controls(guest);
    return flow;
}

void guest_close(Guest *guest, Flow *flow)
{
    flow->state = FLOW_CLOSING;
    send_control(guest, flow, VIRTIO_VSOCK_OP_SHUTDOWN,
                 VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_controls(guest);
}

void guest_listen(Guest *guest, uint32_t port)
{
    g_assert(guest->n_listeners < MAX_LISTENERS);
    guest->listeners[guest->n_listeners++] = port;
}

static bool listens(const Guest *guest, uint32_t port)
{
    unsigned i;

    for (i = 0; i < guest->n_listeners; i++) {
        if (guest->listeners[i] == port) {
            return true;
        }
    }
    return false;
}

static void opened(Guest *guest, Flow *flow)
{
    flow->state = FLOW_OPEN;
    if (guest->ops->opened) {
        guest->ops->opened(guest->bench, flow, guest->opaque);
    }
}

static void take_data(Guest *guest, Flow *flow, const uint8_t *data,
                      uint32_t len)
{
    flow->received += len;
    if (guest->ops->data) {
        guest->ops->data(guest->bench, flow, data, len, guest->opaque);
    }
    flow->fwd_cnt += len;
    if (WINDOW - (flow->fwd_cnt - flow->last_fwd_cnt) < TELL_CREDIT) {
        send_control(guest, flow, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    }
}

/* A packet for a flow there is not: a new one, or the last of an old one. */
static void take_unknown(Guest *guest, const struct virtio_vsock_hdr *header)
{
    Flow nobody = {
        .guest_port = header->dst_port, .host_port = header->src_port,
    };
    Flow *flow;

    if (header->op == VIRTIO_VSOCK_OP_RST) {
        return;
    }
    if (header->op != VIRTIO_VSOCK_OP_REQUEST ||
        !listens(guest, header->dst_port)) {
        send_control(guest, &nobody, VIRTIO_VSOCK_OP_RST, 0);
        return;
    }
    flow = flow_new(guest, header->dst_port, header->src_port);
    flow->peer_buf_alloc = header->buf_alloc;
    flow->peer_fwd_cnt = header->fwd_cnt;
    send_control(guest, flow, VIRTIO_VSOCK_OP_RESPONSE, 0);
    opened(guest, flow);
}

/* The host is done: as Linux does with nothing left to read, reset it. */
static void take_end(Guest *guest, Flow *flow,
                     const struct virtio_vsock_hdr *header)
{
    if (header->op == VIRTIO_VSOCK_OP_RST) {
        if (flow->state == FLOW_REQUESTED) {
            flow_refuse(guest, flow);
            return;
        }
        flow->ended_by_host = flow->state != FLOW_CLOSING;
        flow_end(guest, flow);
    } else if (header->flags & VIRTIO_VSOCK_SHUTDOWN_SEND) {
        flow->ended_by_host = flow->state != FLOW_CLOSING;
        send_control(guest, flow, VIRTIO_VSOCK_OP_RST, 0);
        flow_end(guest, flow);
    }
}

static void take_packet(Guest *guest, const RxBuffer *buffer, uint32_t len)
{
    const struct virtio_vsock_hdr *header = buffer->header;
    Flow *flow = flow_find(guest, header->dst_port, header->src_port);
    uint32_t credit;

    if (len < sizeof(*header) || len - sizeof(*header) != header->len) {
        bench_die("an RX chain of %u bytes has a packet of %u", len,
                  header->len);
    }
    if (!flow) {
        take_unknown(guest, header);
        return;
    }
    credit = guest_credit(flow);
    flow->peer_buf_alloc = header->buf_alloc;
    flow->peer_fwd_cnt = header->fwd_cnt;
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        opened(guest, flow);
        break;
    case VIRTIO_VSOCK_OP_RW:
        take_data(guest, flow, (const uint8_t *)(header + 1), header->len);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        send_control(guest, flow, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
    case VIRTIO_VSOCK_OP_RST:
        take_end(guest, flow, header);
        return;
    }
    if (guest->ops->credit && guest_credit(flow) != credit) {
        guest->ops->credit(guest->bench, flow, guest->opaque);
    }
}

static void offer_rx(Guest *guest)
{
    while (guest->n_rx_taken > 0) {
        RxBuffer *buffer = guest->rx_taken[--guest->n_rx_taken];
        RingPiece piece = { buffer->address, RX_BUFFER_SIZE };

        ring_add(&guest->rings[RX], &piece, 1, true, buffer);
    }
    ring_publish(&guest->rings[RX]);
}

bool guest_turn(Guest *guest)
{
    RxBuffer *buffer;
    uint32_t len;
    bool any = reclaim(guest);

    while ((buffer = ring_get(&guest->rings[RX], &len))) {
        take_packet(guest, buffer, len);
        guest->rx_taken[guest->n_rx_taken++] = buffer;
        any = true;
        if (guest->n_rx_taken > RING_SIZE / 2) {
            send_controls(guest);
            offer_rx(guest);
        }
    }
    send_controls(guest);
    return any;
}

static void sleep_for_call(Guest *guest)
{
    uint64_t count;

    if (guest->bench->spin) {
        if (bench_now_ns() % 1024 == 0) {
            bench_tick();
        }
        return;
    }
    if (!ring_enable_call(&guest->rings[TX]) ||
        !ring_enable_call(&guest->rings[RX])) {
        return;
    }
    if (read(guest->call, &count, sizeof(count)) < 0) {
        if (errno != EINTR) {
            bench_die_errno("waiting for the device");
        }
        bench_tick();
    }
}

void guest_turn_or_wait(Guest *guest)
{
    if (!guest_turn(guest)) {
        sleep_for_call(guest);
    }
}

static void start_device(Guest *guest, uint64_t features)
{
    FrontEndMemory memory;
    FrontEndRing rings[N_RINGS];
    unsigned i;

    guest_memory_describe(guest->memory, &memory);
    for (i = 0; i < N_RINGS; i++) {
        Ring *ring = &guest->rings[i];

        guest->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ring_init(ring, guest_memory_ring(guest->memory, i),
                  features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX),
                  guest->kick[i], guest->call);
        if (features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)) {
            guest_memory_use_indirect(guest->memory, ring, i);
        }
        rings[i] = (FrontEndRing) {
            RING_SIZE, ring->desc, ring->avail, ring->used, guest->kick[i],
            guest->call,
        };
    }
    front_end_start(guest->front_end, features, &memory, rings, N_RINGS);
    /* A backend may have changed that of the file, which is ours too. */
    fcntl(guest->call, F_SETFL, fcntl(guest->call, F_GETFL) & ~O_NONBLOCK);
}

Guest *guest_new(Bench *bench, const char *socket, unsigned block)
{
    Guest *guest = g_new0(Guest, 1);
    unsigned i;

    guest->bench = bench;
    guest->next_port = FIRST_PORT;
    guest->call = eventfd(0, EFD_CLOEXEC);
    guest->memory = guest_memory_new(block);
    guest->front_end = front_end_new(socket);
    start_device(guest, front_end_features(
        guest->front_end,
        UINT64_C(1) << VIRTIO_F_VERSION_1 |
        UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
        UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC));
    for (i = 0; i < RING_SIZE; i++) {
        guest->rx_taken[i] = guest_memory_rx(guest->memory, i);
    }
    guest->n_rx_taken = RING_SIZE;
    offer_rx(guest);
    return guest;
}

void guest_set_ops(Guest *guest, const GuestOps *ops, void *opaque)
{
    guest->ops = ops;
    guest->opaque = opaque;
}

void guest_free(Guest *guest)
{
    if (!guest) {
        return;
    }
    front_end_free(guest->front_end);
    guest_memory_free(guest->memory);
    close(guest->kick[RX]);
    close(guest->kick[TX]);
    close(guest->call);
    g_queue_clear_full(&guest->controls, g_free);
    g_free(guest);
}
