/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the two types of host socket share: stream.c (bytes) and seqpacket.c
 * (messages).  For nobody else.
 */

#ifndef VSK_STREAM_INTERNAL_H
#define VSK_STREAM_INTERNAL_H

#include "stream.h"

#include <sys/socket.h>

typedef struct VskStreamSocket {
    VskStream base;
    int fd;
    bool say_ok; /* its client waits for an "OK <port>" line */

    /* Of stream.c. */
    bool is_wide; /* its send buffer was made larger */

    /* Of seqpacket.c. */
    VskMessage next; /* the next message, if it is known */
    bool in_message; /* part of it was read */
    bool drop;       /* all of it was read, and it is in the socket yet */
    bool reset;      /* the host program closed with messages unread */
} VskStreamSocket;

static inline VskStreamSocket *vsk_stream_socket(const VskStream *stream)
{
    return (VskStreamSocket *)stream;
}

/* recvmsg(); a negative errno instead of -1, never -EINTR. */
ssize_t vsk_socket_receive(int fd, struct msghdr *msg, int flags);

/* Operations of VskStreamOps. */
ssize_t vsk_socket_writev(VskStream *stream, const struct iovec *iov,
                          int n_iov);
void vsk_socket_shutdown(VskStream *stream, int how);
int vsk_socket_accepted(VskStream *stream, uint32_t host_port);
bool vsk_socket_has_hung_up(VskStream *stream);
int vsk_socket_get_fd(const VskStream *stream);
void vsk_socket_close(VskStream *stream);

#endif /* VSK_STREAM_INTERNAL_H */
