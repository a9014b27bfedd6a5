/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the program can still do once it serves guests.
 */

#ifndef VHOST_USER_VSOCK_SANDBOX_H
#define VHOST_USER_VSOCK_SANDBOX_H

#include <glib.h>
#include <stdbool.h>

/*
 * Shut all threads of the process in: no new privileges, and no system call
 * but those that sources tag with "#syscalls".  Any other ends the process,
 * with a line that names it.
 */
bool sandbox_enter(GError **errp);

#endif /* VHOST_USER_VSOCK_SANDBOX_H */
