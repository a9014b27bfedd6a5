# SPDX-License-Identifier: GPL-2.0-or-later
#
# On each machine type the guest finds the device that Debian's own QEMU has:
# the same PCI configuration space, BARs, features and queues; and the migration
# stream is the same.

import json
import os
import socket
import subprocess
import sys

from daemon import is_listening
from moves import STOCK
from node import Bare
from tap import Suite, check, equal, until

JOB = 'migration'
suite = Suite(timeout_s=120)
CID = 95
VERSIONS = ['7.2', '7.1', '7.0', '6.2', '6.1', '6.0', '5.2', '5.1', '5.0',
            '4.2', '2.12', '2.4']
CHECKER = '/stock/vmstate-static-checker.py'

FEATURE_SEQPACKET = 1 << 1
CAP_MSIX, CAP_VENDOR = 0x11, 0x09
# Capabilities of virtio-pci: two structures, and the window onto all.
CFG_COMMON, CFG_DEVICE, CFG_WINDOW = 1, 4, 5
# Where BAR 0 is put.
PORTS = 0xc000


class Qtest:
    """The line on which QEMU's tests play the guest."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        until(lambda: is_listening(path), 'the socket for qtest')
        self.sock.connect(path)
        self.file = self.sock.makefile('rw', encoding='ascii')

    def run(self, commands):
        """All at once; returns the values of those that give one."""
        commands = list(commands)
        self.file.write(''.join(line + '\n' for line in commands))
        self.file.flush()
        answers = [self.file.readline().split() for _ in commands]
        check(all(answer and answer[0] == 'OK' for answer in answers),
              f'qtest: {answers}')
        return [int(answer[1], 0) for answer in answers if len(answer) > 1]


class Function:
    """A PCI device at @slot of bus 0."""

    def __init__(self, qtest, slot):
        self.qtest = qtest
        self.at = 0x80000000 | slot << 11

    def read(self, *offsets):
        return self.qtest.run(command for offset in offsets for command in (
            f'outl 0xcf8 {self.at | offset:#x}', 'inl 0xcfc'))

    def write(self, offset, value):
        self.qtest.run([f'outl 0xcf8 {self.at | offset:#x}',
                        f'outl 0xcfc {value:#x}'])

    def space(self):
        """All its bytes."""
        return b''.join(word.to_bytes(4, 'little')
                        for word in self.read(*range(0, 256, 4)))

    def bar_masks(self):
        bars = range(0x10, 0x28, 4)
        for bar in bars:
            self.write(bar, 0xffffffff)
        return self.read(*bars)


class Device:
    """What a guest can find out about the device."""

    def __init__(self, function):
        self.function = function
        self.space = function.space()
        self.caps = dict(self._list())
        self.bars = function.bar_masks()
        if (CAP_VENDOR, CFG_COMMON) in self.caps:
            self._read_modern()
        else:
            self._read_legacy()

    def seen(self):
        return {'configuration space': self.space.hex(), 'BARs': self.bars,
                'features': self.features, 'sizes of queues': self.queues,
                'CID': self.cid}

    def number(self, offset, size):
        return int.from_bytes(self.space[offset:offset + size], 'little')

    def ids(self):
        """Vendor, device, those of the subsystem, and the revision."""
        return tuple(self.number(offset, 2)
                     for offset in (0, 2, 0x2c, 0x2e)) + (self.space[8],)

    def vectors(self):
        return (self.number(self.caps[CAP_MSIX] + 2, 2) & 0x7ff) + 1

    def _read_modern(self):
        self.features = [self._common(4, 4, (0, 4, half)) for half in (0, 1)]
        self.queues = [self._common(24, 2, (22, 2, n)) for n in range(
            self._common(18, 2))]
        self.cid = self._through_window(CFG_DEVICE, 0, 4)

    def _read_legacy(self):
        """Of machines before 2.7: all is in the I/O ports of BAR 0."""
        run = self.function.qtest.run
        self.function.write(0x10, PORTS)
        self.function.write(4, 1)
        self.features = run([f'inl {PORTS}']) + [0]
        self.queues = run(command for n in range(3) for command in (
            f'outw {PORTS + 14} {n}', f'inw {PORTS + 12}'))
        self.cid = run([f'inl {PORTS + 20}'])[0]

    def _list(self):
        """Of capabilities: (what it is, where)."""
        at = self.space[0x34]
        while at:
            kind = self.space[at]
            yield ((CAP_VENDOR, self.space[at + 3]) if kind == CAP_VENDOR
                   else kind), at
            at = self.space[at + 1]

    def _through_window(self, structure, offset, size, value=None):
        """Read or write a structure's field, without mapping a BAR."""
        cap = self.caps[CAP_VENDOR, structure]
        window = self.caps[CAP_VENDOR, CFG_WINDOW]
        self.function.write(window + 4, self.space[cap + 4])
        self.function.write(window + 8, self.number(cap + 8, 4) + offset)
        self.function.write(window + 12, size)
        if value is None:
            return self.function.read(window + 16)[0] & (256 ** size - 1)
        return self.function.write(window + 16, value)

    def _common(self, offset, size, first=None):
        """A field of the common structure, after @first was written."""
        if first:
            self._through_window(CFG_COMMON, *first)
        return self._through_window(CFG_COMMON, offset, size)


def look(lab, qemu, machine):
    """Both types of the device in @qemu, by their names."""
    path = os.path.join(lab.new_dir('qtest'), 'line')
    types = 'vhost-vsock-pci', 'vhost-vsock-pci-non-transitional'
    args = []
    for n, name in enumerate(types):
        args += ['-device', f'{name},addr={5 + n},guest-cid={CID + n}']
    with Bare(lab, '-machine', machine, '-qtest',
              f'unix:{path},server=on,wait=off', '-qtest-log', '/dev/null',
              *args, qemu=qemu, accel='kvm') as bare:
        bare.start()
        line = Qtest(path)
        found = {name: Device(Function(line, 5 + n))
                 for n, name in enumerate(types)}
        bare.quit()
    return found


def version(text):
    return tuple(map(int, text.split('.')))


def expect_device(device, number, transitional):
    """What upstream's compatibility tables say."""
    old = transitional and number < (5, 1)
    equal(device.ids(), (0x1af4, 0x1012, 0x1af4, 19, 0) if old else
          (0x1af4, 0x1053, 0x1af4, 0x1100, 1), 'PCI ids')
    equal(bool(device.features[0] & FEATURE_SEQPACKET), number > (6, 0),
          'seqpacket')
    equal(device.vectors(), 3, 'MSI-X vectors')
    equal(device.queues, [128, 128, 128], 'queues')


def expect_same(lab, chipset, number):
    machine = f'{chipset}-{number}'
    stock, ours = (look(lab, qemu, machine) for qemu in (STOCK, None))
    for name, device in ours.items():
        equal(device.seen(), stock[name].seen(), name)
        expect_device(device, version(number), name == 'vhost-vsock-pci')
        if name == 'vhost-vsock-pci':
            Suite.comment(f'{machine}: '
                          f'{":".join(f"{n:04x}" for n in device.ids()[:4])} '
                          f'revision {device.ids()[4]}, features '
                          f'{device.features[1]:08x}{device.features[0]:08x}')


def add_cases():
    for chipset in 'pc-q35', 'pc-i440fx':
        for number in VERSIONS:
            @suite.case(f'/machines/{chipset}-{number}-has-the-same-device')
            def _(lab, chipset=chipset, number=number):
                expect_same(lab, chipset, number)


add_cases()


def dump_vmstate(lab, qemu, machine, path):
    """The sections of the device."""
    subprocess.run([qemu, '-nodefaults', '-display', 'none', '-accel', 'kvm',
                    '-machine', machine, '-dump-vmstate', path], check=True)
    with open(path, encoding='utf-8') as file:
        all_of_them = json.load(file)
    some = {name: section for name, section in all_of_them.items()
            if name in ('vmschkmachine', 'vhost-vsock-device', 'virtio-pci',
                        'pci-device')}
    check('vhost-vsock-device' in some, 'the device has no section')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(some, file)


@suite.case('/machines/vmstate-is-the-same')
def _(lab):
    folder = lab.new_dir('vmstate')
    for machine in 'pc-q35-7.2', 'pc-q35-5.0':
        stock, ours = (os.path.join(folder, name)
                       for name in ('stock', 'ours'))
        dump_vmstate(lab, STOCK, machine, stock)
        dump_vmstate(lab, lab.qemu, machine, ours)
        for source, target in (stock, ours), (ours, stock):
            result = subprocess.run(
                [sys.executable, CHECKER, '-s', source, '-d', target],
                check=False, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True)
            equal((result.returncode, result.stdout), (0, ''), machine)
