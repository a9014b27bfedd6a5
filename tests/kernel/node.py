# SPDX-License-Identifier: GPL-2.0-or-later
#
# /dev/vhost-vsock as a program of the host uses it, and QEMUs that take it
# without a guest to run.

import contextlib
import errno
import fcntl
import os
import socket
import struct
import subprocess

from qmp import Qmp
from tap import WAIT_S, check

NODE = '/dev/vhost-vsock'
EMULATES = 'vhost-vsock: emulator for CID'

# linux/vhost.h: _IOW(0xAF, 0x60, __u64)
VHOST_VSOCK_SET_GUEST_CID = 0x4008af60

NOBODY = 65534


class Holder:
    """Somebody else's guest: holds @cid in the kernel."""

    def __init__(self, cid):
        self.fd = os.open(NODE, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(self.fd, VHOST_VSOCK_SET_GUEST_CID,
                        struct.pack('=Q', cid))
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def is_free(cid):
    try:
        with Holder(cid):
            return True
    except OSError as error:
        check(error.errno == errno.EADDRINUSE, str(error))
        return False


def device(cid, options=''):
    return f'vhost-vsock-pci,id=vsock0,guest-cid={cid}{options}'


class Bare:
    """A QEMU whose guest never runs.  Use as a context manager."""

    def __init__(self, lab, *args, fds=(), user=None, qemu=None,
                 accel='tcg'):
        self.dir = lab.new_dir('bare')
        os.chmod(lab.dir, 0o711)
        os.chmod(self.dir, 0o1777)
        ours, its = socket.socketpair()
        environment = dict(os.environ, HOME=self.dir, XDG_RUNTIME_DIR=self.dir)
        with its, open(self.file('stderr'), 'wb') as stderr:
            self.process = subprocess.Popen(
                [qemu or lab.qemu, '-nodefaults', '-no-user-config', '-S',
                 '-accel', accel, '-display', 'none', '-vga', 'none',
                 '-chardev', f'socket,id=qmp,fd={its.fileno()}',
                 '-mon', 'chardev=qmp,mode=control', *args],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                pass_fds=[its.fileno(), *fds], user=user, group=user,
                env=environment)
        self.sock = ours
        self.qmp = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.sock.close()

    def file(self, name):
        return os.path.join(self.dir, name)

    def messages(self):
        with open(self.file('stderr'), errors='replace') as file:
            return file.read()

    def start(self):
        """It must come up."""
        try:
            self.qmp = Qmp(self.sock)
        except Exception as error:
            self.process.wait(WAIT_S)
            raise AssertionError(f'QEMU ended with {self.process.returncode}: '
                                 f'{self.messages()}') from error
        return self

    def refusal(self):
        """It must end with an error, which is returned."""
        code = self.process.wait(WAIT_S)
        check(code == 1, f'QEMU ended with {code}: {self.messages()}')
        return self.messages()

    def quit(self):
        self.qmp.command('quit')
        code = self.process.wait(WAIT_S)
        check(code == 0, f'QEMU ended with {code}: {self.messages()}')

    def count_fds(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))


@contextlib.contextmanager
def open_fd(path=NODE):
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def shell(command):
    result = subprocess.run(command, shell=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)
    check(result.returncode == 0, f'{command}: {result.stdout}')
