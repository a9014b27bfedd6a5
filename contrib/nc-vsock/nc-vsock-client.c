/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One connected socket, of either world, and the bytes that wait for it.
 */

#include "nc-vsock-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

NcClient *nc_client_new(int fd, const char *peer)
{
    NcClient *client = calloc(1, sizeof(*client));
    socklen_t len = sizeof(int);
    int domain = AF_UNIX;

    if (!client || !nc_ring_init(&client->to_client, NC_QUEUE_SIZE)) {
        free(client);
        return NULL;
    }
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    client->fd = fd;
    client->ask_gone = domain == AF_VSOCK;
    client->active_ms = nc_now_ms();
    snprintf(client->peer, sizeof(client->peer), "%s", peer);
    return client;
}

void nc_client_free(NcClient *client)
{
    close(client->fd);
    nc_ring_fini(&client->to_client);
    free(client);
}

bool nc_client_is_finished(const NcClient *client)
{
    return client->recv_done && client->send_done;
}

void nc_client_stop_sending(NcClient *client)
{
    client->send_done = true;
    if (client->to_client.len > 0) {
        client->lost = true;
        nc_ring_taken(&client->to_client, client->to_client.len);
    }
}

void nc_client_fail(NcClient *client, int err)
{
    nc_error("connection to %s: %s", client->peer, strerror(err));
    client->failed = true;
    client->recv_done = true;
    nc_client_stop_sending(client);
}

/*
 * A send of nothing is refused like any other where the client receives no
 * more, and does nothing where it does.
 */
void nc_client_probe(NcClient *client)
{
    if (!client->send_done &&
        send(client->fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN && errno != EINTR) {
        nc_client_stop_sending(client);
    }
}

void nc_client_read(NcClient *client, NcRing *to_stdout)
{
    struct iovec iov[2];
    struct msghdr msg = { .msg_iov = iov };
    ssize_t n;

    msg.msg_iovlen = (size_t)nc_ring_free(to_stdout, iov);
    if (msg.msg_iovlen == 0) {
        return;
    }
    n = recvmsg(client->fd, &msg, MSG_DONTWAIT);
    if (n > 0) {
        nc_ring_added(to_stdout, (size_t)n);
        client->active_ms = nc_now_ms();
    } else if (n == 0) {
        client->recv_done = true;
        nc_client_probe(client);
    } else if (errno != EAGAIN && errno != EINTR) {
        nc_client_fail(client, errno);
    }
}

void nc_client_write(NcClient *client)
{
    struct iovec iov[2];
    struct msghdr msg = { .msg_iov = iov };
    ssize_t n;

    msg.msg_iovlen = (size_t)nc_ring_used(&client->to_client, SIZE_MAX, iov);
    n = sendmsg(client->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        nc_ring_taken(&client->to_client, (size_t)n);
        client->active_ms = nc_now_ms();
    } else if (errno != EAGAIN && errno != EINTR) {
        /* Whatever it sent before it left is still there to be read. */
        nc_client_stop_sending(client);
    }
}
