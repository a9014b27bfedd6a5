/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Many connections at once, by host programs in threads and a guest that
 * answers all, while the device is reset, stopped, unplugged and migrated; and
 * very many of them one after the other.
 */

#ifndef VHOST_VSOCK_STORM_H
#define VHOST_VSOCK_STORM_H

void vvt_storm_add(void);

#endif /* VHOST_VSOCK_STORM_H */
