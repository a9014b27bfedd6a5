/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device: three virtqueues in front of the mux (virtio 1.4, 5.10).
 *
 * Theory of operation
 * -------------------
 * Guest to host, packets are popped and checked here and given to the mux one
 * by one, except that neighbouring RW packets of one flow go as one, so that
 * many small ones cost one write to the host socket.
 *
 * Host to guest, a flow that has data gets as many RX chains as it is likely
 * to fill, one read goes into all their payload areas, and the headers are
 * written after; chains that were not needed go back as if never popped.
 *
 * No chain is kept between calls, so a stop, a reset or a migration finds the
 * rings at rest.  TX is left alone while the mux has no room for answers, and
 * taken up again when RX has drained (5.10.6.3.1: no deadlock, nothing
 * dropped).
 */

#include "vsock-device.h"
#include "limits.h"
#include "mux.h"
#include "pkt.h"

#include <string.h>

/* The driver and TRANSPORT_RESET (5.10.6.7). */
typedef enum EventState {
    EVENT_NONE,
    EVENT_OWED, /* no buffer for it yet; RX is held */
    EVENT_LATE, /* the same, but RX goes on: it has been held for too long */
    EVENT_SENT, /* RX is held until the driver gives the buffer back */
} EventState;

/* Neighbouring RW packets of one flow, not yet given to the mux. */
typedef struct Batch {
    VskHdr hdr;      /* of the last one; @len is the sum */
    unsigned int n_iov, n_chains;
    struct iovec iov[VSK_TURN_IOV];
    VskChain chains[VSK_TURN_CHAINS];
} Batch;

struct VskDev {
    const VskDevOps *ops;
    void *opaque;
    VskMux *mux;
    uint64_t guest_cid;
    uint64_t features;
    bool driver_ok;
    bool paused;
    bool again;        /* more to do than one call may */
    bool tx_stalled;   /* until RX drains */
    bool rx_starved;   /* until the driver gives buffers */
    EventState event;
    int64_t event_at_ms; /* when RX is held no longer */
    unsigned int event_left; /* chains in the queue when it was sent */
    VskStats stats;
    Batch batch;
    VskChain rx_chains[VSK_TURN_CHAINS];
    struct iovec rx_iov[VSK_TURN_IOV];
};

static void refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    VskDev *dev = opaque;

    dev->stats.refused[why]++;
    if (dev->ops->refused) {
        dev->ops->refused(dev->opaque, why, hdr);
    }
}

static void saw_packet(VskDev *dev, bool to_guest, const VskHdr *hdr,
                       const struct iovec *payload, unsigned int n_payload)
{
    if (to_guest) {
        dev->stats.packets_to_guest++;
        dev->stats.bytes_to_guest += hdr->len;
    } else {
        dev->stats.packets_from_guest++;
        dev->stats.bytes_from_guest += hdr->len;
    }
    if (dev->ops->packet) {
        dev->ops->packet(dev->opaque, to_guest, hdr, payload, n_payload);
    }
}

/* --- Guest to host ------------------------------------------------------- */

static void return_tx(VskDev *dev, VskChain *chain)
{
    dev->ops->push(dev->opaque, VSK_QUEUE_TX, chain, 0);
}

static void end_batch(VskDev *dev, int64_t now_ms)
{
    Batch *batch = &dev->batch;

    if (!batch->n_chains) {
        return;
    }
    vsk_mux_from_guest(dev->mux, &batch->hdr, batch->iov, batch->n_iov,
                       now_ms);
    for (unsigned int i = 0; i < batch->n_chains; i++) {
        return_tx(dev, &batch->chains[i]);
    }
    batch->n_chains = 0;
    batch->n_iov = 0;
}

static bool fits_batch(const Batch *batch, const VskHdr *hdr,
                       unsigned int n_iov)
{
    return batch->n_chains && batch->n_chains < VSK_TURN_CHAINS &&
           batch->n_iov + n_iov <= VSK_TURN_IOV &&
           batch->hdr.len + hdr->len <= VSK_TURN_BYTES &&
           batch->hdr.src_port == hdr->src_port &&
           batch->hdr.dst_port == hdr->dst_port &&
           batch->hdr.type == hdr->type;
}

/* Put an RW packet, which has payload, into the batch. */
static void add_to_batch(VskDev *dev, VskChain *chain, const VskHdr *hdr,
                         int64_t now_ms)
{
    Batch *batch = &dev->batch;
    uint32_t before = 0;
    size_t len;

    if (fits_batch(batch, hdr, chain->n_out)) {
        before = batch->hdr.len;
    } else {
        end_batch(dev, now_ms);
    }
    batch->n_iov += vsk_iov_slice(batch->iov + batch->n_iov,
                                  VSK_TURN_IOV - batch->n_iov, chain->out,
                                  chain->n_out, VSK_HDR_SIZE, hdr->len, &len);
    g_assert(len == hdr->len);
    batch->chains[batch->n_chains++] = *chain;
    batch->hdr = *hdr;
    batch->hdr.len += before;
}

/* Returns the bytes of the packet, for the budget. */
static size_t take_chain(VskDev *dev, VskChain *chain, int64_t now_ms)
{
    struct iovec payload[VSK_TURN_IOV];
    unsigned int n_payload;
    size_t len, size;
    VskRefusal why;
    VskHdr hdr;

    if (!vsk_hdr_decode(chain->out, chain->n_out, &hdr)) {
        refused(dev, VSK_REFUSED_TX_CHAIN_SHORT, NULL);
        return_tx(dev, chain);
        return 0;
    }
    size = vsk_iov_size(chain->out, chain->n_out) - VSK_HDR_SIZE;
    if (chain->n_out > VSK_MAX_CHAIN_IOV) {
        size = 0;
    }
    if (!vsk_hdr_check(&hdr, size, dev->guest_cid, &why)) {
        end_batch(dev, now_ms);
        vsk_mux_refuse(dev->mux, &hdr, why, now_ms);
        return_tx(dev, chain);
        return 0;
    }
    if (hdr.op != VSK_OP_RW) {
        hdr.len = 0; /* no other op has payload */
    }
    n_payload = vsk_iov_slice(payload, VSK_TURN_IOV, chain->out, chain->n_out,
                              VSK_HDR_SIZE, hdr.len, &len);
    saw_packet(dev, false, &hdr, payload, n_payload);
    if (hdr.len) {
        add_to_batch(dev, chain, &hdr, now_ms);
    } else {
        end_batch(dev, now_ms);
        vsk_mux_from_guest(dev->mux, &hdr, NULL, 0, now_ms);
        return_tx(dev, chain);
    }
    return hdr.len;
}

/* Take packets until there are none, or no room, or the budget is used. */
static void take_tx(VskDev *dev, int64_t now_ms)
{
    unsigned int n = 0;
    size_t bytes = 0;
    bool asked = false;
    VskChain chain;

    dev->ops->set_notification(dev->opaque, VSK_QUEUE_TX, false);
    for (;;) {
        dev->tx_stalled = !vsk_mux_can_take(dev->mux);
        if (dev->tx_stalled) {
            break;
        }
        if (n == VSK_CALL_PACKETS || bytes >= VSK_CALL_BYTES) {
            dev->again = true;
            break;
        }
        if (!dev->ops->pop(dev->opaque, VSK_QUEUE_TX, &chain)) {
            /* Flows act on what came, before the driver is let sleep. */
            end_batch(dev, now_ms);
            /* Chains may have come just before; ask once, lest we spin. */
            if (asked || !dev->ops->set_notification(dev->opaque,
                                                     VSK_QUEUE_TX, true)) {
                break;
            }
            asked = true;
            continue;
        }
        asked = false;
        bytes += take_chain(dev, &chain, now_ms);
        n++;
    }
    end_batch(dev, now_ms);
    if (n) {
        dev->ops->flush(dev->opaque, VSK_QUEUE_TX);
    }
}

/* --- Host to guest ------------------------------------------------------- */

/* The next RX chain. */
static bool pop_rx(VskDev *dev, VskChain *ret_chain)
{
    if (dev->ops->pop(dev->opaque, VSK_QUEUE_RX, ret_chain)) {
        return true;
    }
    /* Only a device that waits for buffers wants to hear of them. */
    if (dev->ops->set_notification(dev->opaque, VSK_QUEUE_RX, true)) {
        dev->ops->set_notification(dev->opaque, VSK_QUEUE_RX, false);
        if (dev->ops->pop(dev->opaque, VSK_QUEUE_RX, ret_chain)) {
            return true;
        }
        dev->ops->set_notification(dev->opaque, VSK_QUEUE_RX, true);
    }
    dev->rx_starved = true;
    return false;
}

static void push_packet(VskDev *dev, VskChain *chain, const VskHdr *hdr,
                        const struct iovec *payload, unsigned int n_payload)
{
    vsk_hdr_encode(hdr, chain->in, chain->n_in);
    saw_packet(dev, true, hdr, payload, n_payload);
    dev->ops->push(dev->opaque, VSK_QUEUE_RX, chain, VSK_HDR_SIZE + hdr->len);
}

static void refuse_rx(VskDev *dev, VskChain *chain)
{
    refused(dev, VSK_REFUSED_RX_CHAIN_SHORT, NULL);
    dev->ops->push(dev->opaque, VSK_QUEUE_RX, chain, 0);
}

/*
 * Add the payload area of @chain to the @n_iov pieces in rx_iov.  Returns the
 * new number, or 0 if it has none or does not fit.
 */
static unsigned int add_rx_area(VskDev *dev, const VskChain *chain,
                                unsigned int n_iov)
{
    size_t size = vsk_iov_size(chain->in, chain->n_in);
    size_t want, len;

    if (size <= VSK_HDR_SIZE || chain->n_in > VSK_TURN_IOV - n_iov) {
        return 0;
    }
    want = MIN(size - VSK_HDR_SIZE, VSK_MAX_PKT_PAYLOAD);
    return n_iov + vsk_iov_slice(dev->rx_iov + n_iov, VSK_TURN_IOV - n_iov,
                                 chain->in, chain->n_in, VSK_HDR_SIZE, want,
                                 &len);
}

/* Make packets of @total bytes that were read into the first chains.
 * Returns how many chains they took. */
static unsigned int push_data(VskDev *dev, VskConn *conn, size_t total,
                              unsigned int n_chains)
{
    unsigned int i;

    for (i = 0; i < n_chains && total; i++) {
        VskChain *chain = &dev->rx_chains[i];
        size_t room = MIN(vsk_iov_size(chain->in, chain->n_in) - VSK_HDR_SIZE,
                          VSK_MAX_PKT_PAYLOAD);
        size_t len = MIN(room, total);
        struct iovec payload[VSK_TURN_IOV];
        unsigned int n_payload = 0;
        VskHdr hdr;

        if (dev->ops->packet) {
            n_payload = vsk_iov_slice(payload, VSK_TURN_IOV, chain->in,
                                      chain->n_in, VSK_HDR_SIZE, len, &room);
        }
        vsk_conn_make_rw(conn, (uint32_t)len, &hdr);
        push_packet(dev, chain, &hdr, payload, n_payload);
        total -= len;
    }
    g_assert(total == 0);
    return i;
}

/*
 * Give @conn its turn, beginning with @first, which was popped.  Returns the
 * chains used.
 */
static unsigned int send_data(VskDev *dev, VskConn *conn,
                              const VskChain *first)
{
    unsigned int want = vsk_conn_wants_chains(conn);
    unsigned int n = 1, used, n_iov;
    size_t total;

    dev->rx_chains[0] = *first;
    n_iov = add_rx_area(dev, first, 0);
    if (!n_iov) {
        refuse_rx(dev, &dev->rx_chains[0]);
        return 1;
    }
    while (n < want &&
           dev->ops->pop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[n])) {
        unsigned int more = add_rx_area(dev, &dev->rx_chains[n], n_iov);

        if (!more) {
            /* Too small, or too many pieces: let it come first, next time. */
            dev->ops->unpop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[n]);
            break;
        }
        n_iov = more;
        n++;
    }
    total = vsk_conn_read(conn, dev->rx_iov, n_iov);
    used = push_data(dev, conn, total, n);
    while (n > used) {
        dev->ops->unpop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[--n]);
    }
    return used;
}

static bool rx_is_held(const VskDev *dev)
{
    return dev->event == EVENT_OWED || dev->event == EVENT_SENT;
}

/* Fill RX buffers until nothing waits, or none are left, or the budget is. */
static void fill_rx(VskDev *dev, int64_t now_ms)
{
    unsigned int n = 0, turns = 0;
    VskChain chain;

    while (!rx_is_held(dev) && vsk_mux_has_next(dev->mux)) {
        VskConn *conn;
        VskHdr hdr;

        if (n >= VSK_CALL_PACKETS || turns++ >= VSK_CALL_PACKETS) {
            dev->again = true;
            break;
        }
        if (!pop_rx(dev, &chain)) {
            break;
        }
        if (vsk_iov_size(chain.in, chain.n_in) < VSK_HDR_SIZE) {
            refuse_rx(dev, &chain);
            n++;
            continue;
        }
        switch (vsk_mux_next(dev->mux, now_ms, &hdr, &conn)) {
        case VSK_MUX_NOTHING:
            dev->ops->unpop(dev->opaque, VSK_QUEUE_RX, &chain);
            break;
        case VSK_MUX_CONTROL:
            push_packet(dev, &chain, &hdr, NULL, 0);
            n++;
            break;
        case VSK_MUX_DATA:
            n += send_data(dev, conn, &chain);
            vsk_mux_end_turn(dev->mux, conn, now_ms);
            break;
        }
    }
    if (n) {
        dev->ops->flush(dev->opaque, VSK_QUEUE_RX);
    }
}

/* --- Events -------------------------------------------------------------- */

/*
 * Chains in the event queue, VSK_TURN_CHAINS at the most.  A notification alone
 * does not say that the driver took an event: embedders look into all queues
 * when a VM starts.
 */
static unsigned int count_events(VskDev *dev)
{
    unsigned int count, n = 0;

    while (n < VSK_TURN_CHAINS &&
           dev->ops->pop(dev->opaque, VSK_QUEUE_EVENT, &dev->rx_chains[n])) {
        n++;
    }
    count = n;
    while (n) {
        dev->ops->unpop(dev->opaque, VSK_QUEUE_EVENT, &dev->rx_chains[--n]);
    }
    return count;
}

static bool event_is_owed(const VskDev *dev)
{
    return dev->event == EVENT_OWED || dev->event == EVENT_LATE;
}

static void send_event(VskDev *dev, int64_t now_ms)
{
    uint32_t id = GUINT32_TO_LE(VSK_EVENT_TRANSPORT_RESET);
    VskChain chain;

    if (!event_is_owed(dev)) {
        return;
    }
    /* A chain that comes after the last look is told of. */
    dev->ops->set_notification(dev->opaque, VSK_QUEUE_EVENT, true);
    while (event_is_owed(dev) &&
           dev->ops->pop(dev->opaque, VSK_QUEUE_EVENT, &chain)) {
        bool fits = vsk_iov_size(chain.in, chain.n_in) >= sizeof(id);

        if (fits) {
            vsk_iov_from_buf(chain.in, chain.n_in, &id, sizeof(id));
            /* The driver ends all its flows now, also those since the reset. */
            vsk_mux_reset(dev->mux, now_ms);
            dev->event = EVENT_SENT;
            dev->event_at_ms = now_ms + VSK_EVENT_TIMEOUT_MS;
            /* Before the driver can give the buffer back. */
            dev->event_left = count_events(dev);
            dev->ops->set_notification(dev->opaque, VSK_QUEUE_EVENT, true);
        } else {
            refused(dev, VSK_REFUSED_EVENT_CHAIN_SHORT, NULL);
        }
        dev->ops->push(dev->opaque, VSK_QUEUE_EVENT, &chain,
                       fits ? sizeof(id) : 0);
        dev->ops->flush(dev->opaque, VSK_QUEUE_EVENT);
    }
}

static void expire_event(VskDev *dev, int64_t now_ms)
{
    if (rx_is_held(dev) && dev->event_at_ms <= now_ms) {
        dev->event = dev->event == EVENT_OWED ? EVENT_LATE : EVENT_NONE;
    }
}

/* --- The public calls ---------------------------------------------------- */

static void run(VskDev *dev, int64_t now_ms)
{
    if (!dev->driver_ok || dev->paused) {
        return;
    }
    expire_event(dev, now_ms);
    send_event(dev, now_ms);
    take_tx(dev, now_ms);
    fill_rx(dev, now_ms);
    if (dev->tx_stalled && vsk_mux_can_take(dev->mux)) {
        dev->again = true; /* RX has drained: TX goes on, next call */
    }
}

/* There may be RX buffers: the driver need not tell of more. */
static void expect_rx(VskDev *dev)
{
    if (dev->driver_ok && !dev->paused) {
        dev->rx_starved = false;
        dev->ops->set_notification(dev->opaque, VSK_QUEUE_RX, false);
    }
}

void vsk_dev_dispatch(VskDev *dev, int64_t now_ms)
{
    dev->again = false;
    dev->again |= vsk_mux_dispatch(dev->mux, now_ms);
    run(dev, now_ms);
}

void vsk_dev_kick(VskDev *dev, VskQueue queue, int64_t now_ms)
{
    if (queue == VSK_QUEUE_EVENT && dev->event == EVENT_SENT &&
        dev->driver_ok && !dev->paused &&
        (count_events(dev) > dev->event_left ||
         dev->event_left == VSK_TURN_CHAINS)) {
        /* The driver gave the buffer back, or there are too many to tell. */
        dev->event = EVENT_NONE;
    }
    if (queue == VSK_QUEUE_RX && dev->rx_starved) {
        expect_rx(dev);
    }
    run(dev, now_ms);
}

int64_t vsk_dev_next_deadline(const VskDev *dev)
{
    int64_t at = vsk_mux_next_deadline(dev->mux);

    if (dev->again) {
        return 0;
    }
    if (dev->driver_ok && !dev->paused && rx_is_held(dev) &&
        (at < 0 || dev->event_at_ms < at)) {
        at = dev->event_at_ms;
    }
    return at;
}

int vsk_dev_get_fd(const VskDev *dev)
{
    return vsk_mux_get_fd(dev->mux);
}

void vsk_dev_set_driver_ok(VskDev *dev, bool ok, uint64_t features,
                           int64_t now_ms)
{
    if (!ok || !dev->driver_ok) {
        vsk_mux_reset(dev->mux, now_ms);
        dev->event = EVENT_NONE;
    }
    dev->features = ok ? features : 0;
    dev->driver_ok = ok;
    vsk_mux_set_open(dev->mux, ok);
    if (ok) {
        expect_rx(dev);
        dev->again = true; /* chains may wait: no kick tells of them */
    }
}

void vsk_dev_set_paused(VskDev *dev, bool paused, int64_t now_ms)
{
    dev->paused = paused;
    vsk_mux_set_paused(dev->mux, paused, now_ms);
    if (!paused) {
        /* Buffers may have come with no one to be told. */
        expect_rx(dev);
        run(dev, now_ms);
    }
}

void vsk_dev_transport_reset(VskDev *dev, int64_t now_ms)
{
    vsk_mux_reset(dev->mux, now_ms);
    dev->event = EVENT_OWED;
    dev->event_at_ms = now_ms + VSK_EVENT_TIMEOUT_MS;
    run(dev, now_ms);
}

void vsk_dev_get_stats(const VskDev *dev, VskStats *ret_stats)
{
    *ret_stats = dev->stats;
    vsk_mux_get_stats(dev->mux, ret_stats);
}

/* --- Making one ---------------------------------------------------------- */

static bool check_config(const VskDevConfig *config, GError **errp)
{
    if (config->guest_cid <= VSK_CID_HOST ||
        config->guest_cid >= VSK_CID_ANY) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "guest CID %" G_GUINT64_FORMAT " is not in the range "
                    "3 to 4294967294", config->guest_cid);
        return false;
    }
    if (!config->uds_path || !config->uds_path[0]) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "a path for the host sockets is needed");
        return false;
    }
    if (config->buf_alloc && config->buf_alloc < VSK_MIN_BUF_ALLOC) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "a window of %u bytes is less than %u",
                    config->buf_alloc, VSK_MIN_BUF_ALLOC);
        return false;
    }
    if (config->shared_path && strlen(config->shared_path) > VSK_PATH_MAX) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "socket path '%s' has more than %d bytes",
                    config->shared_path, VSK_PATH_MAX);
        return false;
    }
    return true;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

VskDev *vsk_dev_new(const VskDevConfig *config, const VskDevOps *ops,
                    void *opaque, GError **errp)
{
    VskDevConfig full = *config;
    VskDev *dev;

    if (!check_config(config, errp)) {
        return NULL;
    }
    full.max_conns = or_default(full.max_conns, VSK_DEFAULT_MAX_CONNS);
    full.buf_alloc = or_default(full.buf_alloc, VSK_DEFAULT_BUF_ALLOC);
    full.max_staged = full.max_staged ? full.max_staged
                                      : VSK_DEFAULT_MAX_STAGED;
    full.request_timeout_ms = or_default(full.request_timeout_ms,
                                         VSK_DEFAULT_REQUEST_TIMEOUT_MS);
    full.close_timeout_ms = or_default(full.close_timeout_ms,
                                       VSK_DEFAULT_CLOSE_TIMEOUT_MS);
    full.line_timeout_ms = or_default(full.line_timeout_ms,
                                      VSK_DEFAULT_LINE_TIMEOUT_MS);
    dev = g_new0(VskDev, 1);
    dev->ops = ops;
    dev->opaque = opaque;
    dev->guest_cid = config->guest_cid;
    dev->mux = vsk_mux_new(&full, refused, dev, errp);
    if (!dev->mux) {
        g_free(dev);
        return NULL;
    }
    return dev;
}

void vsk_dev_free(VskDev *dev)
{
    if (dev) {
        vsk_mux_free(dev->mux);
        g_free(dev);
    }
}
