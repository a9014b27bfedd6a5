# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhostfd=: somebody else opened the node, and hands it to QEMU by number or,
# through the monitor, by name.

import os

from ends import expect_end, pairs
from node import EMULATES, NODE, NOBODY, Bare, device, is_free, open_fd
from qmp import QmpError
from service import expect_service, has_cid, unplug
from tap import Suite, check, contains, until
from vm import Vm

suite = Suite(timeout_s=120)
CID = 72


def expect_refused(lab, value, why, fds=()):
    for backend in '', ',backend=kernel':
        with Bare(lab, '-device', device(CID, f',vhostfd={value}{backend}'),
                  fds=fds) as qemu:
            text = qemu.refusal()
        contains(text, why)
        check(EMULATES not in text, f'it fell back: {text}')


def add(qmp, name, cid=CID):
    qmp.command('device_add', driver='vhost-vsock-pci', id='vsock0',
                guest_cid=cid, vhostfd=name)


@suite.case('/vhostfd/by-number-for-a-user-who-may-not-open-the-node')
def _(lab):
    with open_fd() as fd, Bare(lab, '-device', device(CID, f',vhostfd={fd}'),
                               fds=[fd], user=NOBODY) as qemu:
        qemu.start()
        check(not is_free(CID), 'the kernel does not know the CID')
        qemu.quit()


@suite.case('/vhostfd/by-name-through-the-monitor-serves-a-guest')
def _(lab):
    with Vm(lab, 'named', device=False, cid=CID) as vm:
        with open_fd() as fd:
            vm.qmp.command('getfd', fd=fd, fdname='vsock')
        add(vm.qmp, 'vsock')
        until(lambda: has_cid(vm), 'the guest finds the device')
        expect_service(lab, vm)
        both = pairs(lab, vm)
        unplug(vm)
        for _, host in both:
            expect_end(host)
        until(lambda: is_free(CID), 'the CID is free')


@suite.case('/vhostfd/is-closed-with-the-device')
def _(lab):
    with Bare(lab) as qemu:
        qemu.start()
        before = qemu.count_fds()
        for _ in range(3):
            with open_fd() as fd:
                qemu.qmp.command('getfd', fd=fd, fdname='vsock')
            add(qemu.qmp, 'vsock')
            check(not is_free(CID), 'the kernel does not know the CID')
            qemu.qmp.command('device_del', id='vsock0')
            qemu.qmp.command('system_reset')
            qemu.qmp.wait_event('DEVICE_DELETED')
            check(is_free(CID), 'the CID is still taken')
        check(qemu.count_fds() == before, 'descriptors were left open')
        qemu.quit()


@suite.case('/vhostfd/number-that-is-not-open')
def _(lab):
    expect_refused(lab, 200, 'unable to set non-blocking mode: '
                             'Bad file descriptor')


@suite.case('/vhostfd/name-that-nobody-gave')
def _(lab):
    expect_refused(lab, 'nobody', 'unable to parse vhostfd: ')
    with Bare(lab) as qemu:
        qemu.start()
        try:
            add(qemu.qmp, 'nobody')
        except QmpError as error:
            contains(str(error), 'unable to parse vhostfd: ')
        else:
            raise AssertionError('it was added')
        qemu.quit()


@suite.case('/vhostfd/of-something-else')
def _(lab):
    with open_fd('/dev/null') as fd:
        expect_refused(lab, fd, 'Inappropriate ioctl for device', fds=[fd])


@suite.case('/vhostfd/of-something-else-is-closed-and-qemu-goes-on')
def _(lab):
    with Bare(lab) as qemu:
        qemu.start()
        before = qemu.count_fds()
        for _ in range(3):
            with open_fd('/dev/null') as fd:
                qemu.qmp.command('getfd', fd=fd, fdname='wrong')
            try:
                add(qemu.qmp, 'wrong')
            except QmpError as error:
                contains(str(error), 'Inappropriate ioctl for device')
            else:
                raise AssertionError('it was added')
        check(qemu.count_fds() == before, 'descriptors were left open')
        with open_fd() as fd:
            qemu.qmp.command('getfd', fd=fd, fdname='right')
        add(qemu.qmp, 'right')
        check(not is_free(CID), 'the kernel does not know the CID')
        qemu.quit()


@suite.case('/vhostfd/contradicts-the-emulator')
def _(lab):
    path = os.path.join(lab.new_dir('uds'), 'v')
    with open_fd(NODE) as fd:
        for options in (f',vhostfd={fd},backend=emulator',
                        f',vhostfd={fd},uds-path={path}'):
            with Bare(lab, '-device', device(CID, options),
                      fds=[fd]) as qemu:
                contains(qemu.refusal(), 'vhostfd')
