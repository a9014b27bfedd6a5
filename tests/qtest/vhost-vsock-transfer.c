/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bytes, or messages, that a host program is to send or to read.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include "vhost-vsock-payload.h"
#include "vhost-vsock-script.h"
#include "vhost-vsock-transfer.h"

/* One recv() of a stream takes at most this much. */
#define READ_CHUNK 65536 /* bytes */

VvtTransfer *vvt_transfer_new(GBytes *payload, unsigned repeat, int type)
{
    VvtTransfer *transfer = g_new0(VvtTransfer, 1);
    g_autoptr(GByteArray) all = g_byte_array_new();
    size_t len;
    const uint8_t *data = g_bytes_get_data(payload, &len);
    unsigned i;

    transfer->messages = type == SOCK_SEQPACKET;
    if (transfer->messages) {
        transfer->unit = g_bytes_ref(payload);
        transfer->left = repeat;
        return transfer;
    }
    for (i = 0; i < repeat; i++) {
        g_byte_array_append(all, data, len);
    }
    transfer->unit = g_byte_array_free_to_bytes(g_steal_pointer(&all));
    transfer->left = 1;
    return transfer;
}

void vvt_transfer_free(VvtTransfer *transfer)
{
    if (transfer) {
        g_assert(!vvt_transfer_is_running(transfer));
        if (transfer->thread) {
            g_thread_join(transfer->thread);
        }
        g_bytes_unref(transfer->unit);
        g_free(transfer);
    }
}

/* Count @n bytes; whether the unit is done. */
static bool advance(VvtTransfer *transfer, size_t n)
{
    transfer->done += n;
    transfer->total += n;
    if (transfer->done < g_bytes_get_size(transfer->unit)) {
        return false;
    }
    transfer->done = 0;
    transfer->left--;
    return true;
}

static uint32_t send_all(VvtTransfer *transfer, int fd, int flags)
{
    size_t len;
    const uint8_t *data = g_bytes_get_data(transfer->unit, &len);

    flags |= MSG_NOSIGNAL | (transfer->eor ? MSG_EOR : 0);
    while (transfer->left > 0) {
        ssize_t n = send(fd, data + transfer->done, len - transfer->done,
                         flags);

        if (n < 0) {
            return errno;
        }
        advance(transfer, n);
    }
    return 0;
}

static void *send_blocking(void *opaque)
{
    VvtTransfer *transfer = opaque;

    transfer->code = send_all(transfer, transfer->fd, 0);
    g_atomic_int_set(&transfer->finished, true);
    return NULL;
}

void vvt_transfer_start(VvtTransfer *transfer, const VvtSock *sock)
{
    /* All other calls ask not to block by a flag of their own. */
    fcntl(sock->fd, F_SETFL, fcntl(sock->fd, F_GETFL) & ~O_NONBLOCK);
    transfer->fd = sock->fd;
    transfer->thread = g_thread_new("send", send_blocking, transfer);
}

bool vvt_transfer_is_running(const VvtTransfer *transfer)
{
    return transfer->thread && !g_atomic_int_get(&transfer->finished);
}

uint32_t vvt_transfer_send(VvtTransfer *transfer, const VvtSock *sock)
{
    if (vvt_transfer_is_running(transfer)) {
        return EAGAIN;
    }
    return transfer->thread ? transfer->code :
                              send_all(transfer, sock->fd, MSG_DONTWAIT);
}

/* AF_VSOCK has no ancillary data that would tell the end from nothing. */
static bool has_ended(const VvtSock *sock)
{
    struct pollfd p = { .fd = sock->fd, .events = POLLRDHUP };

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP));
}

ssize_t vvt_sock_recv(const VvtSock *sock, void *buf, size_t len,
                      int *ret_flags)
{
    char control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = { buf, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(sock->fd, &msg, MSG_DONTWAIT);

    if (n < 0) {
        return -errno;
    }
    if (n == 0 && (sock->type == SOCK_STREAM ||
                   (sock->passcred ? msg.msg_controllen == 0 :
                                     has_ended(sock)))) {
        return -ENODATA;
    }
    *ret_flags = msg.msg_flags;
    return n;
}

static bool check_message(const VvtTransfer *transfer, size_t n, int flags,
                          GString *ret_wrong)
{
    size_t len = g_bytes_get_size(transfer->unit);
    bool eor = flags & MSG_EOR;

    if (n < len) {
        g_string_append_printf(ret_wrong, "a message of %zu bytes expected, "
                               "one of %zu came\n", len, n);
        return false;
    }
    if (transfer->check_eor && eor != transfer->eor) {
        g_string_append_printf(ret_wrong, "the message came %s MSG_EOR\n",
                               eor ? "with" : "without");
        return false;
    }
    return true;
}

uint32_t vvt_transfer_recv(VvtTransfer *transfer, const VvtSock *sock,
                           GString *ret_wrong)
{
    size_t len = g_bytes_get_size(transfer->unit);
    /* One byte more shows that a message is too long. */
    size_t room = transfer->messages ? len + 1 : READ_CHUNK;
    g_autofree uint8_t *buf = g_malloc(room);

    while (transfer->left > 0) {
        int flags = 0;
        ssize_t n;

        if (!transfer->messages && len == 0) {
            return 0;
        }
        n = vvt_sock_recv(sock, buf, transfer->messages ? room :
                          MIN(len - transfer->done, room), &flags);
        if (n < 0) {
            return n == -ENODATA ? VVT_EXPECT_EOF : -n;
        }
        if (!vvt_payload_compare(transfer->unit, transfer->done, buf, n,
                                 ret_wrong) ||
            (transfer->messages &&
             !check_message(transfer, n, flags, ret_wrong))) {
            return 0;
        }
        advance(transfer, n);
    }
    return 0;
}
