/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of the runner itself: what it says of wrong scripts, of wrong
 * expectations, and of a QEMU that dies.
 */

#ifndef VHOST_VSOCK_SELFTEST_H
#define VHOST_VSOCK_SELFTEST_H

void vvt_selftest_add(void);

#endif /* VHOST_VSOCK_SELFTEST_H */
