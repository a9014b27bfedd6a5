# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each CID belongs to one guest of the host: who comes second gets an error,
# never a device in another place.

from node import EMULATES, Bare, Holder, device, is_free
from qmp import QmpError
from tap import Suite, check, contains

suite = Suite(timeout_s=60)
CID = 71
TAKEN = 'unable to set guest cid: Address already in use'


def expect_taken(lab, options):
    with Bare(lab, '-device', device(CID, options)) as qemu:
        text = qemu.refusal()
    contains(text, TAKEN)
    contains(text, 'choose a guest-cid of your own')
    check(EMULATES not in text, f'it fell back: {text}')


@suite.case('/cid/taken-is-an-error-with-backend-kernel')
def _(lab):
    with Holder(CID):
        expect_taken(lab, ',backend=kernel')


@suite.case('/cid/taken-is-an-error-with-auto-too')
def _(lab):
    with Holder(CID):
        expect_taken(lab, '')


@suite.case('/cid/two-guests-cannot-have-the-same')
def _(lab):
    with Bare(lab, '-device', device(CID)) as first:
        first.start()
        expect_taken(lab, '')
        first.quit()
    with Bare(lab, '-device', device(CID)) as second:
        second.start().quit()


@suite.case('/cid/taken-is-an-error-of-device-add-and-qemu-goes-on')
def _(lab):
    with Bare(lab) as qemu, Holder(CID):
        qemu.start()
        before = qemu.count_fds()
        try:
            qemu.qmp.command('device_add', driver='vhost-vsock-pci',
                             id='vsock0', guest_cid=CID)
        except QmpError as error:
            contains(str(error), TAKEN)
        else:
            raise AssertionError('it was added')
        check(qemu.count_fds() == before, 'descriptors were left open')
        qemu.qmp.command('device_add', driver='vhost-vsock-pci', id='vsock0',
                         guest_cid=CID + 1)
        check(not is_free(CID + 1), 'the kernel does not know the CID')
        qemu.quit()


@suite.case('/cid/killed-qemu-leaves-it-free')
def _(lab):
    with Bare(lab, '-device', device(CID)) as qemu:
        qemu.start()
        check(not is_free(CID), 'the kernel does not know the CID')
    check(is_free(CID), 'the CID is still taken')


@suite.case('/cid/reserved-ones-are-refused')
def _(lab):
    for cid in 0, 1, 2, 0xffffffff, 0x100000000:
        with Bare(lab, '-device', device(cid, ',backend=kernel')) as qemu:
            contains(qemu.refusal(), 'guest-cid property must be ')
