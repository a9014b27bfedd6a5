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
 * taken up again when RX has drained (5.10.6.1: no deadlock, nothing
 * dropped).
 */

#include "dev-internal.h"
#include "pkt.h"

#include <string.h>

void vsk_dev_refused(VskDev *dev, VskRefusal why, const VskHdr *hdr)
{
    dev->stats.refused[why]++;
    if (dev->ops->refused) {
        dev->ops->refused(dev->opaque, why, hdr);
    }
}

static void mux_refused(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    vsk_dev_refused(opaque, why, hdr);
}

void vsk_dev_saw_packet(VskDev *dev, bool to_guest, const VskHdr *hdr,
                        const struct iovec *iov, unsigned int n_iov)
{
    if (to_guest) {
        dev->stats.packets_to_guest++;
        dev->stats.bytes_to_guest += hdr->len;
    } else {
        dev->stats.packets_from_guest++;
        dev->stats.bytes_from_guest += hdr->len;
    }
    if (dev->ops->packet) {
        struct iovec payload[VSK_TURN_IOV];
        size_t len;
        unsigned int n_payload = vsk_iov_slice(payload, VSK_TURN_IOV, iov,
                                               n_iov, VSK_HDR_SIZE, hdr->len,
                                               &len);

        dev->ops->packet(dev->opaque, to_guest, hdr, payload, n_payload);
    }
}

void vsk_dev_push(VskDev *dev, VskQueue queue, VskChain *chain, uint32_t len)
{
    dev->ops->push(dev->opaque, queue, chain, len);
    dev->pushed = true;
}

/* --- The public calls ---------------------------------------------------- */

static void run(VskDev *dev, int64_t now_ms)
{
    if (!dev->driver_ok || dev->paused) {
        return;
    }
    vsk_dev_check_event(dev, now_ms);
    vsk_dev_send_event(dev, now_ms);
    vsk_dev_take_tx(dev, now_ms);
    vsk_dev_fill_rx(dev, now_ms);
    if (dev->tx_stalled && vsk_mux_can_take(dev->mux)) {
        dev->again = true; /* RX has drained: TX goes on, next call */
    }
    if (dev->pushed) {
        dev->pushed = false;
        dev->ops->flush(dev->opaque);
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
    if (queue == VSK_QUEUE_RX && dev->rx_starved) {
        vsk_dev_expect_rx(dev);
    }
    run(dev, now_ms);
}

int64_t vsk_dev_next_deadline(const VskDev *dev)
{
    int64_t at = vsk_mux_next_deadline(dev->mux);

    if (dev->again) {
        return 0;
    }
    if (dev->driver_ok && !dev->paused && vsk_dev_rx_is_held(dev) &&
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
    /* Stream sockets need no feature (5.10.3). */
    dev->seqpacket = ok && dev->may_seqpacket &&
                     (features & (1ull << VSK_F_SEQPACKET));
    if (!ok || !dev->driver_ok) {
        vsk_mux_reset(dev->mux, now_ms);
        dev->event = EVENT_NONE;
    }
    dev->driver_ok = ok;
    vsk_mux_set_open(dev->mux, ok, dev->seqpacket);
    if (ok) {
        vsk_dev_expect_rx(dev);
        dev->again = true; /* chains may wait: no kick tells of them */
    }
}

void vsk_dev_set_paused(VskDev *dev, bool paused, int64_t now_ms)
{
    dev->paused = paused;
    vsk_mux_set_paused(dev->mux, paused, now_ms);
    if (!paused) {
        /* Buffers may have come with no one to be told. */
        vsk_dev_expect_rx(dev);
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

void vsk_dev_end_flows(VskDev *dev, int64_t now_ms)
{
    vsk_mux_end_flows(dev->mux, now_ms);
    run(dev, now_ms);
}

void vsk_dev_get_stats(const VskDev *dev, VskStats *ret_stats)
{
    *ret_stats = dev->stats;
    vsk_mux_get_stats(dev->mux, ret_stats);
}

/* --- Making one ---------------------------------------------------------- */

/* 0 is the default. */
static bool check_range(const char *what, uint64_t value, uint64_t least,
                        uint64_t most, GError **errp)
{
    if (value && (value < least || value > most)) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "%s=%" G_GUINT64_FORMAT " is not in the range %"
                    G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, what, value,
                    least, most);
        return false;
    }
    return true;
}

static bool check_limits(const VskDevConfig *config, GError **errp)
{
    return check_range("max-conns", config->max_conns, VSK_LEAST_CONNS,
                       VSK_MOST_CONNS, errp) &&
           check_range("buf-alloc", config->buf_alloc, VSK_MIN_BUF_ALLOC,
                       VSK_MOST_BUF_ALLOC, errp) &&
           check_range("max-staged", config->max_staged, VSK_LEAST_STAGED,
                       VSK_MOST_STAGED, errp) &&
           check_range("request-timeout-ms", config->request_timeout_ms,
                       VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS, errp) &&
           check_range("close-timeout-ms", config->close_timeout_ms,
                       VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS, errp) &&
           check_range("line-timeout-ms", config->line_timeout_ms,
                       VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS, errp);
}

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
    if (config->shared_path && strlen(config->shared_path) > VSK_PATH_MAX) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "socket path '%s' has more than %d bytes",
                    config->shared_path, VSK_PATH_MAX);
        return false;
    }
    return check_limits(config, errp);
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
    dev->may_seqpacket = config->seqpacket;
    dev->mux = vsk_mux_new(&full, mux_refused, dev, errp);
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
