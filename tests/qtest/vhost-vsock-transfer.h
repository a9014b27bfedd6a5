/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bytes, or messages, that a host program is to send or to read.
 *
 * A stream socket has one unit, which may be cut anywhere.  On a seqpacket
 * socket each repetition is a message of its own, which goes and comes whole.
 */

#ifndef VHOST_VSOCK_TRANSFER_H
#define VHOST_VSOCK_TRANSFER_H

#include "vhost-vsock-host.h"

struct VvtTransfer {
    GBytes *unit;
    unsigned left;   /* units that are not done */
    size_t done;     /* bytes of the unit at hand */
    size_t total;    /* bytes done in all */
    bool messages;   /* a unit is a message */
    bool eor;        /* send it with MSG_EOR; expect it */
    bool check_eor;

    /* Of a thread that sends: see vvt_transfer_start(). */
    int fd;
    GThread *thread; /* NULL: there is none */
    gint finished;   /* atomic; @code is valid then */
    uint32_t code;
};

VvtTransfer *vvt_transfer_new(GBytes *payload, unsigned repeat, int type);
void vvt_transfer_free(VvtTransfer *transfer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvtTransfer, vvt_transfer_free)

/*
 * Go on as far as the socket lets us.  0: all is done; EAGAIN: not yet; else
 * an errno, or VVT_EXPECT_EOF.
 */
uint32_t vvt_transfer_send(VvtTransfer *transfer, const VvtSock *sock);

/*
 * Send by a thread that blocks, for AF_VSOCK: what a call that does not block
 * returns of a seqpacket socket does not tell how much of the message is on
 * its way.  vvt_transfer_send() then says how the thread does.  While it runs,
 * neither @transfer nor the descriptor may go.
 */
void vvt_transfer_start(VvtTransfer *transfer, const VvtSock *sock);
bool vvt_transfer_is_running(const VvtTransfer *transfer);

/* As vvt_transfer_send(); @ret_wrong gets what came and was not expected. */
uint32_t vvt_transfer_recv(VvtTransfer *transfer, const VvtSock *sock,
                           GString *ret_wrong);

/*
 * Read up to @len bytes, of a seqpacket socket one message; a message longer
 * than @len counts as that long.  Negative: an errno, or -ENODATA at the end
 * of file, which is not a message of 0 bytes.
 */
ssize_t vvt_sock_recv(const VvtSock *sock, void *buf, size_t len,
                      int *ret_flags);

#endif /* VHOST_VSOCK_TRANSFER_H */
