/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The socket where a VMM connects.
 */

#ifndef VHOST_USER_VSOCK_LISTENER_H
#define VHOST_USER_VSOCK_LISTENER_H

#include <glib.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "options.h"

typedef struct Listener {
    int fd;
    bool is_connection; /* given by --fd: the first and only VMM itself */
    char *path;         /* to remove at the end; NULL: not ours */
    dev_t dev;          /* what it is, lest another's be removed */
    ino_t ino;
} Listener;

void listener_init(Listener *listener);

/* Listen where @options say.  The socket of a program that died is taken over,
 * that of one that lives is not. */
bool listener_open(Listener *listener, const VmOptions *options,
                   GError **errp);
void listener_close(Listener *listener);

/*
 * The next VMM, or a negative errno.  -EAGAIN: none there.  -ENOTCONN: none
 * will ever come, for a connection was given and is used up.
 */
int listener_accept(Listener *listener);

#endif /* VHOST_USER_VSOCK_LISTENER_H */
