# SPDX-License-Identifier: GPL-2.0-or-later
#
# A big-endian machine with a PCI bus, and the device; see scripts/build-machines.
CONFIG_PSERIES=y
CONFIG_NVDIMM=y
CONFIG_USB=y
CONFIG_VIRTIO_PCI=y
CONFIG_VHOST_VSOCK=y
