# SPDX-License-Identifier: GPL-2.0-or-later
#
# Connections for a test to end, and what each side sees when they end.

import contextlib
import socket
import time

from agent import GuestError
from hosts import STREAM
from tap import WAIT_S, check, equal
from vm import KINDS

DRIVER = 'vmw_vsock_virtio_transport'


def expect_end(sock):
    """The peer of @sock is gone: end of file, or a reset."""
    try:
        equal(sock.recv(1), b'')
    except ConnectionResetError:
        pass


def expect_guest_end(pending, timeout_s=WAIT_S):
    """The guest's receive, which waited for one byte, ended without it.

    ENOTCONN is what one gets that began after the reset.
    """
    try:
        equal(pending.wait(timeout_s)['eof'], '1')
    except GuestError as error:
        check(error.name in ('ECONNRESET', 'ENOTCONN'), str(error))


def pairs(lab, vm, kind=STREAM):
    """One connection made by each side; (slot, host's socket)."""
    there, back = lab.port(), lab.port()
    vm.agent.call('listen', 900, back, 8, KINDS[kind])
    return [(1, vm.guest_to_host(there, 1, vm.listen(there, kind=kind), kind)),
            (2, vm.host_to_guest(back, 2, kind=kind))]


def say(sock, data):
    """Send what a busy machine may have ended the wait for."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)


def is_broken(sock):
    """Whether a program that sends to @sock gets EPIPE."""
    try:
        sock.send(b'x', socket.MSG_DONTWAIT)
    except BrokenPipeError:
        return True
    except BlockingIOError:
        pass
    return False


def drain(sock):
    """Read what is left; the end must come."""
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass


def unload_driver(vm):
    """Unload the guest's driver, once its last connections have ended.

    A closed socket holds the driver until the device answers, or for 8 s.
    """
    end = time.monotonic() + 7
    while vm.agent.call('run', f'rmmod {DRIVER}')['status'] != '0':
        check(time.monotonic() < end, 'the guest does not let its driver go')
        time.sleep(0.1)


def load_driver(vm):
    vm.agent.shell(f'insmod /lib/modules/{DRIVER}.ko')
