# SPDX-License-Identifier: GPL-2.0-or-later
#
# What Linux's own test of AF_VSOCK, tools/testing/vsock/vsock_test, checks of
# the lives of sockets: the guest's kernel lives through it, and goes on.

import socket
import struct
import threading

import pattern
from guest_socket import (SIOCOUTQ, GuestSocket, expect_no_complaint,
                          guest_pairs)
from tap import Suite, check, equal, until
from vm import HOST_CID, STREAM

BACKENDS = 'emulator', 'vhost-user', 'kernel'
# They run in VMs inside VMs, too.
suite = Suite(timeout_s=300)
LINGER_S = 10
# CIDs that the device has not: nobody's, and that of vsock_loopback.
NO_CID = 0
LOOPBACK_CID = 1
CHURN_MS = 3000


def expect_service(lab, vm):
    """The guest's kernel has nothing to say, and all works."""
    expect_no_complaint(vm)
    for guest, host in guest_pairs(lab, vm):
        guest.send(1000)
        pattern.receive(host, 1, 1000)
        host.sendall(pattern.data(1, 1000))
        equal(guest.recv(1000, socket.MSG_WAITALL), 1000)


def set_linger(guest, seconds):
    guest.set(socket.SOL_SOCKET, socket.SO_LINGER,
              struct.pack('ii', 1, seconds))


@suite.case('/vsock-test/lifetime/close-that-lingers-does-no-harm')
def _(lab):
    vm = lab.guest()
    for guest, _ in guest_pairs(lab, vm):
        set_linger(guest, 1)
        guest.close()
    # One that was never connected has no transport to wait for.
    guest = GuestSocket(vm, 3, STREAM)
    set_linger(guest, 1)
    guest.close()
    expect_service(lab, vm)


@suite.case('/vsock-test/lifetime/close-waits-not-for-bytes-that-were-sent')
def _(lab):
    lab.need_kernel('6.16', 'a close that lingers for unsent bytes only')
    vm = lab.guest()
    for guest, host in guest_pairs(lab, vm):
        set_linger(guest, LINGER_S)
        guest.send(1)  # which the host does not read
        until(lambda: guest.ioctl(SIOCOUTQ) == 0, 'it is sent')
        took = guest.close()
        check(took < LINGER_S * 1000 / 2, f'{took} ms')
        equal(host.recv(2), pattern.data(1, 1))
    expect_service(lab, vm)


@suite.case('/vsock-test/lifetime/close-that-lingers-loses-no-byte')
def _(lab):
    lab.need_kernel('6.16', 'a close that lingers for unsent bytes only')
    vm = lab.guest()
    count = 200000
    for guest, host in guest_pairs(lab, vm):
        set_linger(guest, LINGER_S)
        sent = guest.start_send(count)
        sent.wait()
        took = guest.close()
        check(took < LINGER_S * 1000, f'{took} ms')
        pattern.receive(host, 1, count)
        equal(host.recv(1), b'')
    expect_service(lab, vm)


@suite.case('/vsock-test/lifetime/bound-socket-loses-its-transport-unharmed')
def _(lab):
    vm, port = lab.guest(), lab.port()
    guests = [GuestSocket(vm, slot, STREAM) for slot in range(30)]
    for number, guest in enumerate(guests):
        guest.call('bind', socket.VMADDR_CID_ANY, 20000 + number)
    for cid in HOST_CID, LOOPBACK_CID, NO_CID, HOST_CID:
        for pending in [guest.start('dial', cid, port) for guest in guests]:
            pending.error()
    vm.agent.call('close', 0, 29)
    # Its ports are free again.
    guest = GuestSocket(vm, 1, STREAM)
    guest.call('bind', socket.VMADDR_CID_ANY, 20000)
    expect_service(lab, vm)


@suite.case('/vsock-test/lifetime/broken-off-connects-change-transport-unharmed')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    job = threading.Thread(target=accept_all, args=(listener,), daemon=True)
    job.start()
    for other in NO_CID, LOOPBACK_CID:
        fields = vm.agent.call('churn', HOST_CID, port, other, CHURN_MS,
                               timeout_s=60)
        suite.comment(f'{fields["count"]} connects, {fields["connected"]} '
                      f'of them came through; then CID {other}')
        check(int(fields['count']) > 5, 'few connects')
    vm.agent.call('ping')
    listener.close()
    expect_service(lab, vm)


def accept_all(listener):
    """Take and drop what comes, until the listener is closed."""
    listener.settimeout(1)
    while True:
        try:
            listener.accept()[0].close()
        except TimeoutError:
            continue
        except OSError:
            return
