/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A listening AF_UNIX socket at a path that is this process's alone.
 *
 * A lock beside it, "<path>.lock", says so to all who use this module; it ends
 * with its owner, however that dies, and lets the next one clean up.  Whoever
 * does not use it is seen by its socket: a file that a live program's socket is
 * bound to is not removed, unless that was bound while we looked, nor one that
 * is no socket, or another user's.
 */

#ifndef VSOCK_SOCKET_FILE_H
#define VSOCK_SOCKET_FILE_H

#include <glib.h>

G_BEGIN_DECLS

typedef struct VskSocketFile VskSocketFile;

/**
 * vsk_socket_file_new:
 * @path: at most 107 bytes
 * @sock_type: SOCK_STREAM or SOCK_SEQPACKET
 * @backlog: as of listen()
 *
 * Lock, remove what a dead program left, and listen, non-blocking, mode 0600.
 *
 * Returns: NULL with @errp set, see #VskError; nothing has changed then, but
 * that a stale socket may be gone.
 */
VskSocketFile *vsk_socket_file_new(const char *path, int sock_type,
                                   int backlog, GError **errp);

/* Remove the socket, if it is still ours, and the lock.  NULL is fine. */
void vsk_socket_file_free(VskSocketFile *file);

/* The socket, which stays @file's. */
int vsk_socket_file_get_fd(const VskSocketFile *file);

G_END_DECLS

#endif /* VSOCK_SOCKET_FILE_H */
