/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The RX queue: packets to the guest.
 */

#include "dev-internal.h"
#include "pkt.h"

void vsk_dev_expect_rx(VskDev *dev)
{
    if (dev->driver_ok && !dev->paused) {
        dev->rx_starved = false;
        dev->ops->set_notification(dev->opaque, VSK_QUEUE_RX, false);
    }
}

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

static void push_packet(VskDev *dev, VskChain *chain, const VskHdr *hdr)
{
    vsk_hdr_encode(hdr, chain->in, chain->n_in);
    vsk_dev_saw_packet(dev, true, hdr, chain->in, chain->n_in);
    vsk_dev_push(dev, VSK_QUEUE_RX, chain, VSK_HDR_SIZE + hdr->len);
}

static void refuse_rx(VskDev *dev, VskChain *chain)
{
    vsk_dev_refused(dev, VSK_REFUSED_RX_CHAIN_SHORT, NULL);
    vsk_dev_push(dev, VSK_QUEUE_RX, chain, 0);
}

/* Bytes of payload that one packet can put into @chain. */
static size_t rx_room(const VskChain *chain)
{
    size_t size = vsk_iov_size(chain->in, chain->n_in);

    return size > VSK_HDR_SIZE ? MIN(size - VSK_HDR_SIZE, VSK_MAX_PKT_PAYLOAD)
                               : 0;
}

/*
 * Add the payload area of chain @i of rx_chains to the @n_iov pieces in
 * rx_iov.  Returns the new number, or 0 if it has none or does not fit.
 */
static unsigned int add_rx_area(VskDev *dev, unsigned int i,
                                unsigned int n_iov)
{
    const VskChain *chain = &dev->rx_chains[i];
    size_t room = rx_room(chain);
    size_t len;

    if (!room || chain->n_in > VSK_TURN_IOV - n_iov) {
        return 0;
    }
    dev->rx_room[i] = (uint32_t)room;
    return n_iov + vsk_iov_slice(dev->rx_iov + n_iov, VSK_TURN_IOV - n_iov,
                                 chain->in, chain->n_in, VSK_HDR_SIZE, room,
                                 &len);
}

/*
 * Make packets of @total bytes that were read into the first chains; one, if
 * there are none: an empty message.  Returns how many chains they took.
 */
static unsigned int push_data(VskDev *dev, VskConn *conn, size_t total,
                              unsigned int n_chains)
{
    unsigned int i = 0;

    do {
        uint32_t len = (uint32_t)MIN(dev->rx_room[i], total);
        VskHdr hdr;

        total -= len;
        vsk_conn_make_rw(conn, len, total == 0, &hdr);
        push_packet(dev, &dev->rx_chains[i], &hdr);
    } while (++i < n_chains && total);
    g_assert(total == 0);
    return i;
}

/*
 * Take more chains for the turn of @conn, whose first area is in rx_iov: as
 * many as it is likely to fill, and none for the rest of a turn only.  Returns
 * the number of chains.
 */
static unsigned int pop_more(VskDev *dev, VskConn *conn, unsigned int *n_iov)
{
    unsigned int want = vsk_conn_wants_chains(conn);
    uint32_t bytes = dev->rx_room[0];
    unsigned int n = 1;

    while (n < want && bytes + dev->rx_room[n - 1] <= VSK_TURN_BYTES &&
           dev->ops->pop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[n])) {
        unsigned int more = add_rx_area(dev, n, *n_iov);

        if (!more) {
            /* Too small, or too many pieces: let it come first, next time. */
            dev->ops->unpop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[n]);
            break;
        }
        bytes += dev->rx_room[n];
        *n_iov = more;
        n++;
    }
    return n;
}

/*
 * Give @conn its turn, beginning with @first, which was popped.  Returns the
 * chains used.
 */
static unsigned int send_data(VskDev *dev, VskConn *conn,
                              const VskChain *first)
{
    unsigned int n, n_iov, used = 0;
    size_t total;

    dev->rx_chains[0] = *first;
    n_iov = add_rx_area(dev, 0, 0);
    if (!n_iov) {
        refuse_rx(dev, &dev->rx_chains[0]);
        return 1;
    }
    n = pop_more(dev, conn, &n_iov);
    switch (vsk_conn_read(conn, dev->rx_iov, n_iov, &total)) {
    case VSK_READ_NOTHING:
        break;
    case VSK_READ_DATA:
        used = push_data(dev, conn, total, n);
        break;
    case VSK_READ_TOO_BIG:
        vsk_dev_refused(dev, VSK_REFUSED_MESSAGE_SIZE, NULL);
        break;
    }
    while (n > used) {
        dev->ops->unpop(dev->opaque, VSK_QUEUE_RX, &dev->rx_chains[--n]);
    }
    return used;
}

void vsk_dev_fill_rx(VskDev *dev, int64_t now_ms)
{
    uint64_t start = dev->stats.bytes_to_guest;
    unsigned int n = 0, turns = 0;
    VskChain chain;

    while (!vsk_dev_rx_is_held(dev) && vsk_mux_has_next(dev->mux)) {
        VskConn *conn;
        VskHdr hdr;

        if (n >= VSK_CALL_PACKETS || turns++ >= VSK_CALL_PACKETS ||
            dev->stats.bytes_to_guest - start >= VSK_CALL_BYTES) {
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
            push_packet(dev, &chain, &hdr);
            n++;
            break;
        case VSK_MUX_DATA:
            n += send_data(dev, conn, &chain);
            vsk_mux_end_turn(dev->mux, conn, now_ms);
            break;
        }
    }
}
