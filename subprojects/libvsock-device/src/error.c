/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Errors and refusals, and the words for them.
 */

#include "vsock-device.h"

#include <inttypes.h>

G_DEFINE_QUARK(vsk-error-quark, vsk_error)

static const char *const refusal_names[] = {
    [VSK_REFUSED_TX_CHAIN_SHORT] = "TX chain shorter than a header",
    [VSK_REFUSED_TX_LEN] = "len larger than the TX chain or 64 KiB",
    [VSK_REFUSED_RX_CHAIN_SHORT] = "RX chain too short",
    [VSK_REFUSED_EVENT_CHAIN_SHORT] = "event chain too short",
    [VSK_REFUSED_SRC_CID] = "source CID is not the guest's",
    [VSK_REFUSED_DST_CID] = "destination CID cannot be reached",
    [VSK_REFUSED_TYPE] = "unknown or not negotiated socket type",
    [VSK_REFUSED_OP] = "op has no meaning in this state",
    [VSK_REFUSED_NO_FLOW] = "no such connection",
    [VSK_REFUSED_NO_LISTENER] = "nobody listens on the port",
    [VSK_REFUSED_UNSAFE_LISTENER] = "listener that another user put there",
    [VSK_REFUSED_BACKLOG] = "backlog of the listener is full",
    [VSK_REFUSED_LIMIT] = "too many connections",
    [VSK_REFUSED_CREDIT] = "more payload than was advertised",
    [VSK_REFUSED_EMPTY_MESSAGES] = "too many empty messages",
    [VSK_REFUSED_MESSAGE_SIZE] = "host message larger than the guest's buffer",
    [VSK_REFUSED_HOST_LINE] = "host client sent no valid CONNECT line",
    [VSK_REFUSED_HOST_TIMEOUT] = "host client sent no CONNECT line in time",
    [VSK_REFUSED_HOST_LIMIT] = "too many host clients without CONNECT line",
    [VSK_REFUSED_HOST_GUEST] = "host client is another device's guest",
    [VSK_REFUSED_NOT_READY] = "guest has no driver running",
    [VSK_REFUSED_REQUEST_TIMEOUT] = "guest did not answer a REQUEST",
    [VSK_REFUSED_CLOSE_TIMEOUT] = "guest did not answer a SHUTDOWN",
};
G_STATIC_ASSERT(G_N_ELEMENTS(refusal_names) == VSK_REFUSED_NUM);

const char *vsk_refusal_name(VskRefusal why)
{
    g_return_val_if_fail((unsigned int)why < VSK_REFUSED_NUM, "unknown");
    return refusal_names[why];
}

static const char *const refusal_warnings[VSK_REFUSED_NUM] = {
    [VSK_REFUSED_TX_CHAIN_SHORT] =
        "the guest's driver sent a buffer smaller than a packet header",
    [VSK_REFUSED_TX_LEN] =
        "the guest's driver sent a packet longer than its buffer or 64 KiB",
    [VSK_REFUSED_RX_CHAIN_SHORT] =
        "the guest's driver offered an RX buffer too small for a packet",
    [VSK_REFUSED_EVENT_CHAIN_SHORT] =
        "the guest's driver offered an event buffer too small for an event",
    [VSK_REFUSED_SRC_CID] =
        "the guest sent from a CID that is not its own",
    [VSK_REFUSED_CREDIT] =
        "the guest sent more than the window it was told; connection reset",
    [VSK_REFUSED_UNSAFE_LISTENER] =
        "where the guest connects to lies another user's socket, or a link; "
        "use a directory where not everybody may write",
    [VSK_REFUSED_BACKLOG] =
        "a host program does not accept its connections fast enough",
    [VSK_REFUSED_LIMIT] =
        "too many connections, or no descriptor (ulimit -n) or memory left",
    [VSK_REFUSED_HOST_LINE] =
        "a host client did not begin with \"CONNECT <port>\"",
    [VSK_REFUSED_HOST_TIMEOUT] =
        "a host client did not send its \"CONNECT <port>\" line in time",
    [VSK_REFUSED_HOST_LIMIT] =
        "too many host clients that have not sent \"CONNECT <port>\"",
    [VSK_REFUSED_HOST_GUEST] =
        "another guest tried to connect: this uds-path is that guest's with "
        "\"_<port>\" behind it; choose another",
};

const char *vsk_refusal_warning(VskRefusal why)
{
    g_return_val_if_fail((unsigned int)why < VSK_REFUSED_NUM, NULL);
    return refusal_warnings[why];
}

const char *vsk_op_name(uint16_t op)
{
    static const char *const names[VSK_OP_NUM] = {
        [VSK_OP_INVALID] = "INVALID",
        [VSK_OP_REQUEST] = "REQUEST",
        [VSK_OP_RESPONSE] = "RESPONSE",
        [VSK_OP_RST] = "RST",
        [VSK_OP_SHUTDOWN] = "SHUTDOWN",
        [VSK_OP_RW] = "RW",
        [VSK_OP_CREDIT_UPDATE] = "CREDIT_UPDATE",
        [VSK_OP_CREDIT_REQUEST] = "CREDIT_REQUEST",
    };

    return op < VSK_OP_NUM ? names[op] : "unknown";
}

char *vsk_packet_describe(const VskHdr *hdr)
{
    return g_strdup_printf("(%s from %" PRIu64 ":%" PRIu32 " to %" PRIu64
                           ":%" PRIu32 ", %" PRIu32 " bytes)",
                           vsk_op_name(hdr->op), hdr->src_cid, hdr->src_port,
                           hdr->dst_cid, hdr->dst_port, hdr->len);
}
