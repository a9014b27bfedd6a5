/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A listening AF_UNIX socket that is this process's alone: a lock beside it
 * says so, outlives nobody, and lets the next one clean up.
 */

#ifndef VSK_LISTENER_H
#define VSK_LISTENER_H

#include "vsock-device.h"

typedef struct VskListener VskListener;

/**
 * vsk_listener_new:
 * @path: of the socket; the lock is "@path.lock"
 *
 * Lock, remove a stale socket, and listen, mode 0600.
 *
 * Returns: NULL with @errp set, see #VskError; nothing has changed then, but
 * that a stale socket may be gone.
 */
VskListener *vsk_listener_new(const char *path, GError **errp);

/* Remove the socket and the lock.  NULL is fine. */
void vsk_listener_free(VskListener *listener);

int vsk_listener_get_fd(const VskListener *listener);

/* The next connection, non-blocking, the caller's; or a negative errno. */
int vsk_listener_accept(VskListener *listener);

#endif /* VSK_LISTENER_H */
