# SPDX-License-Identifier: GPL-2.0-or-later
#
# backend=auto and backend=kernel where the node is there, is not, or may not
# be opened.

import contextlib
import os

from node import EMULATES, NODE, NOBODY, Bare, device, is_free, shell
from tap import Suite, check, contains, equal

suite = Suite(timeout_s=120)
CID = 70


def expect_kernel(lab, options, **how):
    """The kernel has the device, and nothing is said of it."""
    with Bare(lab, '-device', device(CID, options), **how) as qemu:
        qemu.start()
        check(not is_free(CID), 'the kernel does not know the CID')
        equal(qemu.messages(), '')
        qemu.quit()
    check(is_free(CID), 'the CID is still taken')


def expect_fallback(lab, why, **how):
    """auto: the emulator, which says why.  kernel: an error, with the way
    out."""
    with Bare(lab, '-device', device(CID), **how) as qemu:
        qemu.start()
        contains(qemu.messages(), f'{EMULATES} {CID}: ')
        contains(qemu.messages(), f'cannot open {NODE} ({why})')
        qemu.quit()
    with Bare(lab, '-device', device(CID, ',backend=kernel'), **how) as qemu:
        text = qemu.refusal()
        contains(text, f'vhost-vsock: failed to open vhost device: {why}')
        contains(text, 'backend=emulator works without')
        check(EMULATES not in text, text)


@suite.case('/node/auto-takes-it-where-it-is')
def _(lab):
    expect_kernel(lab, '')


@suite.case('/node/kernel-takes-it')
def _(lab):
    expect_kernel(lab, ',backend=kernel')


@suite.case('/node/emulator-leaves-it-alone')
def _(lab):
    with Bare(lab, '-device', device(CID, ',backend=emulator')) as qemu:
        qemu.start()
        contains(qemu.messages(), f'{EMULATES} {CID}: ')
        check(is_free(CID), 'the kernel has the CID')
        qemu.quit()


@suite.case('/node/auto-with-uds-path-means-the-emulator')
def _(lab):
    path = os.path.join(lab.new_dir('uds'), 'v')
    with Bare(lab, '-device', device(CID, f',uds-path={path}')) as qemu:
        qemu.start()
        contains(qemu.messages(), f'{EMULATES} {CID}: ')
        check(is_free(CID), 'the kernel has the CID')
        qemu.quit()


@suite.case('/node/auto-with-iothread-warns-that-the-kernel-has-none')
def _(lab):
    with Bare(lab, '-object', 'iothread,id=io0', '-device',
              device(CID, ',iothread=io0,max-conns=7')) as qemu:
        qemu.start()
        contains(qemu.messages(), 'has: iothread, max-conns')
        check(not is_free(CID), 'the kernel does not know the CID')
        qemu.quit()


@suite.case('/node/not-permitted-to-this-user')
def _(lab):
    expect_fallback(lab, 'Permission denied', user=NOBODY)


@suite.case('/node/permitted-to-another-user')
def _(lab):
    os.chmod(NODE, 0o666)
    try:
        expect_kernel(lab, ',backend=kernel', user=NOBODY)
    finally:
        os.chmod(NODE, 0o600)


@contextlib.contextmanager
def module_unloaded():
    shell('rmmod vhost_vsock')
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NODE)
        shell('insmod /lib/modules/vhost_vsock.ko')


@suite.case('/node/absent')
def _(lab):
    with module_unloaded():
        check(not os.path.exists(NODE), f'{NODE} is still there')
        expect_fallback(lab, 'No such file or directory')


@suite.case('/node/there-without-its-module')
def _(lab):
    number = os.stat(NODE).st_rdev
    with module_unloaded():
        os.mknod(NODE, 0o600 | 0o020000, number)
        expect_fallback(lab, 'No such device')
    expect_kernel(lab, ',backend=kernel')
