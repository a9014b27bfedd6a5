/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a service manager and a service tell each other, without its library.
 */

#ifndef VHOST_USER_VSOCK_SYSTEMD_H
#define VHOST_USER_VSOCK_SYSTEMD_H

#include <stdbool.h>

/*
 * Sockets handed over (LISTEN_FDS): how many, and the first descriptor.  Asked
 * once; children do not see them.
 */
int systemd_listen_fds(int *ret_first);

/* Tell NOTIFY_SOCKET, if there is one: "READY=1" and the like. */
void systemd_notify(const char *state);

#endif /* VHOST_USER_VSOCK_SYSTEMD_H */
