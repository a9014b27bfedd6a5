/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The configuration file of --config.
 */

#ifndef VHOST_USER_VSOCK_CONFIG_FILE_H
#define VHOST_USER_VSOCK_CONFIG_FILE_H

#include <glib.h>
#include <stdbool.h>

/*
 * Add the guests of @path, in YAML, to @vms (of VmOptions):
 *
 *     vms:
 *       - guest_cid: 3
 *         socket: /run/vm3/vhost.sock
 *         uds_path: /run/vm3/vm.vsock
 */
bool config_file_read(const char *path, GPtrArray *vms, GError **errp);

#endif /* VHOST_USER_VSOCK_CONFIG_FILE_H */
