/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Scripts that are cut short: after any of their steps the device is unplugged
 * or reset, the machine reset, saved or ended.
 */

#ifndef VHOST_VSOCK_ENDS_H
#define VHOST_VSOCK_ENDS_H

/*
 * Add cases for the scripts @paths, as VHOST_VSOCK_TEST_ENDS wants it: "all",
 * or a number of them, chosen at random.  @some: without that variable some are
 * added, else none.
 */
void vvt_ends_add(const GPtrArray *paths, bool some);

#endif /* VHOST_VSOCK_ENDS_H */
