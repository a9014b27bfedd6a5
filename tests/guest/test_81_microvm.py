# SPDX-License-Identifier: GPL-2.0-or-later
#
# The device on virtio-mmio: a guest on -machine microvm, without PCI.

import re

from ends import pairs
from service import expect_service
from tap import Suite, check, equal
from test_10_connect import exchange
from vm import Vm

suite = Suite(timeout_s=180)
LEGACY = ('-global', 'virtio-mmio.force-legacy=on')
MODERN = ('-global', 'virtio-mmio.force-legacy=off')
VERSION_1 = 32


class MicroVm(Vm):
    """A guest that finds its devices by ACPI: Debian's kernels do not take
    them from the command line."""

    def __init__(self, lab, args):
        super().__init__(lab, 'microvm', machine='microvm', args=args)

    def device_options(self):
        return super().device_options().replace('-pci,', '-device,', 1)

    def _argv(self, more):
        argv = super()._argv(more)
        # Under TCG Linux has nothing there to measure the TSC with.
        argv[argv.index('-append') + 1] += f' tsc_early_khz={tsc_khz()}'
        # The machine has one serial port of its own, and that is the console.
        at = argv.index('chardev:agent') - 1
        argv[at:at + 2] = ['-device', 'isa-serial,chardev=agent']
        return argv


def tsc_khz():
    """The host's, which QEMU's TCG hands on; roughly is good enough."""
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        found = re.search(r'^cpu MHz\s*: (\d+)', file.read(), re.M)
    return int(found.group(1)) * 1000 if found else 2000000


def features(vm):
    """The bits that the driver took, as Linux shows them."""
    return vm.agent.shell('cat /sys/bus/virtio/devices/virtio0/features')


def drive(lab, args):
    with MicroVm(lab, args) as vm:
        equal(vm.agent.call('cid')['cid'], '3')
        equal(vm.agent.shell('ls /sys/bus/pci/devices | wc -l').strip(), '0')
        for slot, host in pairs(lab, vm):
            exchange(vm, host, slot, 1000000)
        expect_service(lab, vm)
        return features(vm)


@suite.case('/microvm/modern-carries-bytes-both-ways')
def _(lab):
    check(drive(lab, MODERN)[VERSION_1] == '1', 'VERSION_1 was not taken')


@suite.case('/microvm/legacy-carries-bytes-both-ways')
def _(lab):
    lab.not_with_daemon('the daemon serves no driver without VERSION_1')
    check(drive(lab, LEGACY)[VERSION_1] == '0', 'VERSION_1 was taken')
