/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The two sockets that host clients connect to, by type; see
 * vsock-socket-file.h for what is safe about them.
 */

#ifndef VSK_LISTENER_H
#define VSK_LISTENER_H

#include "vsock-device.h"

typedef struct VskListener VskListener;

/**
 * vsk_listener_new:
 * @path: of the stream socket
 * @seqpacket: whether to have a seqpacket socket, too, at "<path>_seqpacket"
 *
 * Lock each path by "<path>.lock", remove stale sockets, and listen, mode
 * 0600.
 *
 * Returns: NULL with @errp set, see #VskError; nothing has changed then, but
 * that stale sockets may be gone.
 */
VskListener *vsk_listener_new(const char *path, bool seqpacket,
                              GError **errp);

/* Remove the sockets and the lock.  NULL is fine. */
void vsk_listener_free(VskListener *listener);

/* The socket for flows of @type; -1 if there is none. */
int vsk_listener_get_fd(const VskListener *listener, VskType type);

/*
 * The next connection, non-blocking, the caller's; or a negative errno.
 * -EXDEV: it was another device's guest, and is gone: guests do not reach each
 * other.
 */
int vsk_listener_accept(VskListener *listener, VskType type);

#if !defined(SO_PASSRIGHTS) && !defined(__hppa__) && !defined(__sparc__)
#define SO_PASSRIGHTS 83 /* Linux 6.16; libc's headers may be older */
#endif

/*
 * Have the kernel refuse descriptors that somebody sends to @fd, with EPERM,
 * if it can.  The last to close a descriptor may sleep: one of a TCP socket
 * with SO_LINGER for as long as its sender likes, and that would be us.
 */
void vsk_refuse_descriptors(int fd);

#endif /* VSK_LISTENER_H */
