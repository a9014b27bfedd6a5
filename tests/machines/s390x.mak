# SPDX-License-Identifier: GPL-2.0-or-later
#
# A machine with channel I/O, and the device; see scripts/build-machines.
CONFIG_S390_CCW_VIRTIO=y
CONFIG_VHOST_VSOCK=y
