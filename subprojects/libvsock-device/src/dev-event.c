/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The event queue: TRANSPORT_RESET (5.10.6.7).
 */

#include "dev-internal.h"
#include "pkt.h"

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

void vsk_dev_send_event(VskDev *dev, int64_t now_ms)
{
    uint32_t id = GUINT32_TO_LE(VSK_EVENT_TRANSPORT_RESET);
    unsigned int n = 0;
    VskChain chain;

    if (!event_is_owed(dev)) {
        return;
    }
    /* A chain that comes after the last look is told of. */
    dev->ops->set_notification(dev->opaque, VSK_QUEUE_EVENT, true);
    while (event_is_owed(dev) && n++ < VSK_CALL_PACKETS &&
           dev->ops->pop(dev->opaque, VSK_QUEUE_EVENT, &chain)) {
        bool fits = vsk_iov_size(chain.in, chain.n_in) >= sizeof(id);

        if (fits) {
            vsk_iov_from_buf(chain.in, chain.n_in, &id, sizeof(id));
            /* The driver ends all its flows now, also those since the reset. */
            vsk_mux_reset(dev->mux, now_ms);
            dev->event_at_ms = now_ms + VSK_EVENT_TIMEOUT_MS;
            /* Before the driver can give the buffer back. */
            dev->event_left = count_events(dev);
            /* With more than can be counted, one more would not show. */
            dev->event = dev->event_left < VSK_TURN_CHAINS ? EVENT_SENT
                                                           : EVENT_NONE;
            dev->ops->set_notification(dev->opaque, VSK_QUEUE_EVENT, true);
        } else {
            vsk_dev_refused(dev, VSK_REFUSED_EVENT_CHAIN_SHORT, NULL);
        }
        vsk_dev_push(dev, VSK_QUEUE_EVENT, &chain, fits ? sizeof(id) : 0);
    }
    if (n > VSK_CALL_PACKETS) {
        dev->again = true;
    }
}

bool vsk_dev_rx_is_held(const VskDev *dev)
{
    return dev->event == EVENT_OWED || dev->event == EVENT_SENT;
}

void vsk_dev_check_event(VskDev *dev, int64_t now_ms)
{
    if (!vsk_dev_rx_is_held(dev)) {
        return;
    }
    if (dev->event_at_ms <= now_ms) {
        dev->event = dev->event == EVENT_OWED ? EVENT_LATE : EVENT_NONE;
    } else if (dev->event == EVENT_SENT &&
               count_events(dev) > dev->event_left) {
        dev->event = EVENT_NONE; /* the driver gave the buffer back */
    }
}
