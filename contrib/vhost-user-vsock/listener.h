/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The socket where a VMM connects.
 */

#ifndef VHOST_USER_VSOCK_LISTENER_H
#define VHOST_USER_VSOCK_LISTENER_H

#include <glib.h>
#include <stdbool.h>

#include "options.h"
#include "vsock-socket-file.h"

typedef struct Listener {
    int fd;
    bool is_connection; /* given by --fd: the first and only VMM itself */
    VskSocketFile *file; /* whose socket @fd is; NULL: it was given */
} Listener;

void listener_init(Listener *listener);

/* Listen where @options say; vsock-socket-file.h tells what is taken over. */
bool listener_open(Listener *listener, const VmOptions *options,
                   GError **errp);
void listener_close(Listener *listener);

/*
 * The next VMM, or a negative errno.  -EAGAIN: none there.  -ENOTCONN: none
 * will ever come, for a connection was given and is used up.
 */
int listener_accept(Listener *listener);

#endif /* VHOST_USER_VSOCK_LISTENER_H */
