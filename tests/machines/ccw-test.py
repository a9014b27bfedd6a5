#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhost-vsock-ccw, the device on the channel I/O of s390x: that it is there, has
# its properties, and can be plugged and unplugged.  No guest runs.  TAP.
#
# usage: tests/machines/ccw-test.py [-l] [-p PATTERN]
#
# environment: QEMU_S390X, the program; default: build/bin/qemu-system-s390x

import os
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, 'tests', 'guest'),
                os.path.join(TOP, 'tests', 'tools')]
sys.dont_write_bytecode = True

from qmp import Qmp, QmpError  # noqa: E402
from tap import WAIT_S, Suite, check, contains, equal, until  # noqa: E402

suite = Suite()
QEMU = os.environ.get('QEMU_S390X') or os.path.join(
    TOP, 'build', 'bin', 'qemu-system-s390x')
# Of a boot loader, which the machine wants, and does not run: at most.
LOADER_BYTES = 4096


class Machine:
    """An s390x machine whose CPU does nothing."""

    def __init__(self, *args):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory(prefix='vsock-ccw-')
        self.path = os.path.join(self.folder.name, 'v.sock')
        ours, theirs = socket.socketpair()
        loader = os.path.join(self.folder.name, 'loader')
        with open(loader, 'wb') as file:
            file.truncate(LOADER_BYTES)
        self.errors = open(os.path.join(self.folder.name, 'err'), 'w+b')
        self.process = subprocess.Popen(
            [QEMU, '-machine', 's390-ccw-virtio', '-accel', 'qtest',
             '-nodefaults', '-display', 'none', '-bios', loader,
             '-chardev', f'socket,id=qmp,fd={theirs.fileno()}',
             '-mon', 'chardev=qmp,mode=control', *args],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stderr=self.errors)
        theirs.close()
        try:
            self.qmp = Qmp(ours)
        except (OSError, QmpError) as error:
            self.errors.seek(0)
            raise AssertionError(self.errors.read().decode()) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.qmp.close()
        self.errors.close()
        self.folder.cleanup()

    def quit(self):
        self.qmp.command('quit')
        equal(self.process.wait(WAIT_S), 0)

    def plug(self, **properties):
        self.qmp.command('device_add', driver='vhost-vsock-ccw', id='vsock0',
                         uds_path=self.path, **properties)

    def get(self, name, inner=''):
        return self.qmp.command('qom-get',
                                path='/machine/peripheral/vsock0' + inner,
                                property=name)


@suite.case('/ccw/plugged-at-the-start')
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'v.sock')
        with Machine('-device', 'vhost-vsock-ccw,id=vsock0,guest-cid=3,'
                     f'devno=fe.0.0042,uds-path={path}') as machine:
            check(os.path.exists(path), 'no socket for host programs')
            equal(machine.get('realized'), True)
            equal(machine.get('devno'), 'fe.0.0042')
            equal(machine.get('guest-cid'), 3)
            equal(machine.get('backend'), 'auto')
            equal(machine.get('type', '/virtio-backend'),
                  'vhost-vsock-device')
            machine.quit()
        check(not os.path.exists(path), 'it left its socket')


@suite.case('/ccw/hot-plugged-and-unplugged-three-times')
def _():
    with Machine() as machine:
        for _ in range(3):
            machine.plug(guest_cid=4)
            check(os.path.exists(machine.path), 'no socket')
            machine.qmp.command('device_del', id='vsock0')
            machine.qmp.wait_event('DEVICE_DELETED')
            until(lambda: not os.path.exists(machine.path),
                  'the socket goes with the device')
        machine.quit()


@suite.case('/ccw/says-what-is-wrong-with-a-cid')
def _():
    with Machine() as machine:
        try:
            machine.plug(guest_cid=2)
        except QmpError as error:
            contains(str(error), 'guest-cid property must be greater than 2')
        else:
            raise AssertionError('CID 2 was taken')
        machine.quit()


@suite.case('/ccw/host-program-is-refused-without-a-driver')
def _():
    with Machine() as machine:
        machine.plug(guest_cid=5)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(WAIT_S)
            client.connect(machine.path)
            client.sendall(b'CONNECT 1234\n')
            equal(client.recv(100), b'')
        machine.quit()


if __name__ == '__main__':
    sys.exit(suite.main())
