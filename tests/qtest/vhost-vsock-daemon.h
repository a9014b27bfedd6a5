/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The daemon behind vhost-user-vsock-pci: a process of the case's own.
 *
 * It is started before QEMU and ended after it.  A daemon that ends by itself
 * ends the case at once (vvt_case_daemon_runs()); one that is stuck is killed
 * with the case, at the latest when the case's time is up.
 */

#ifndef VHOST_VSOCK_DAEMON_H
#define VHOST_VSOCK_DAEMON_H

#include "vhost-vsock-config.h"

typedef struct VvtDaemon VvtDaemon;

/*
 * Start the daemon for @guest_cid, with its sockets and its log in @dir, and
 * wait until QEMU can connect.  NULL: it cannot be run or does not listen,
 * which @ret_why says.
 */
VvtDaemon *vvt_daemon_start(const VvtConfig *config, uint64_t guest_cid,
                            const char *dir, GString *ret_why);

/*
 * To be called when QEMU is gone: the daemon must still be there, let go of
 * what belonged to the guest, end when told to, and leave no sockets behind.
 * @ret_why gets a line for each that it did not.
 */
void vvt_daemon_end(VvtDaemon *daemon, GString *ret_why);

#endif /* VHOST_VSOCK_DAEMON_H */
