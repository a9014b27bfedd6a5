# SPDX-License-Identifier: GPL-2.0-or-later
#
# What Linux's own test of AF_VSOCK, tools/testing/vsock/vsock_test, checks of
# MSG_ZEROCOPY: the guest gives the device pages of its program.

import select
import socket

import pattern
from guest_socket import (MSG_ZEROCOPY, SO_ZEROCOPY, GuestSocket,
                          expect_no_complaint)
from tap import Suite, check, equal, until
from vm import HOST_CID, KINDS, SEQPACKET, STREAM

BACKENDS = 'emulator', 'vhost-user', 'kernel'
# They run in VMs inside VMs, too.
suite = Suite(timeout_s=300)
ZEROCOPY = MSG_ZEROCOPY | socket.MSG_NOSIGNAL
SIZES = (1, 100, 4095, 4096, 4097, 65535, 65536, 65537, 200000)
# Of a completion (linux/vm_sockets.h, linux/errqueue.h).
SOL_VSOCK = 287
VSOCK_RECVERR = 1
SO_EE_ORIGIN_ZEROCOPY = 5
NEEDS = '6.7', 'MSG_ZEROCOPY'
# Half of it is more than the driver's RX buffers come and go.
LEAKS = 160


def connect(lab, kind=STREAM):
    """A socket of the guest that may send so, and the host's end of it."""
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port, kind=kind)
    host = vm.guest_to_host(port, 1, listener, kind)
    guest = GuestSocket(vm, 1)
    guest.set(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    return guest, host


def expect_completions(guest, count):
    """@count sends are done, each told once; how many were copied.

    One that had to wait for room is told in parts.
    """
    expected = copied = 0
    while expected < count:
        check(guest.poll(10000, 0) & select.POLLERR, 'a completion')
        fields = guest.call('errqueue')
        equal((fields['level'], fields['type'], fields['origin']),
              tuple(map(str, (SOL_VSOCK, VSOCK_RECVERR,
                              SO_EE_ORIGIN_ZEROCOPY))))
        first, last = int(fields['first']), int(fields['last'])
        equal(first, expected)
        copied += int(fields['copied']) * (last - first + 1)
        expected = last + 1
    return copied


@suite.case('/vsock-test/zerocopy/stream-data-is-whole-and-each-send-completes')
def _(lab):
    lab.need_kernel(*NEEDS)
    guest, host = connect(lab)
    for size in SIZES:
        sent = guest.start_send(size, ZEROCOPY)
        pattern.receive(host, 1, size)
        equal(sent.wait()['count'], str(size))
    copied = expect_completions(guest, len(SIZES))
    suite.comment(f'{copied} of them were copied after all')


@suite.case('/vsock-test/zerocopy/message-is-whole-and-each-send-completes')
def _(lab):
    lab.need_kernel(*NEEDS)
    guest, host = connect(lab, SEQPACKET)
    for size in SIZES:
        sent = guest.start_send(size, ZEROCOPY)
        equal(host.recv(1 << 20), pattern.data(1, size))
        equal(sent.wait()['count'], str(size))
    copied = expect_completions(guest, len(SIZES))
    suite.comment(f'{copied} of them were copied after all')


@suite.case('/vsock-test/zerocopy/without-it-the-error-queue-is-empty')
def _(lab):
    lab.need_kernel(*NEEDS)
    for kind in STREAM, SEQPACKET:
        guest, host = connect(lab, kind)
        equal(guest.start('errqueue').error(), 'EAGAIN')
        guest.send(1000)
        equal(host.recv(1000), pattern.data(1, 1000))
        equal(guest.poll(200, 0), 0)
        equal(guest.start('errqueue').error(), 'EAGAIN')


@suite.case('/vsock-test/zerocopy/small-sends-behind-a-large-one-stay-intact')
def _(lab):
    lab.need_kernel(*NEEDS)
    for first in 4097, 32769, 65537:
        guest, host = connect(lab)
        equal(guest.send(first, ZEROCOPY), first)
        # These may be put behind it in the same buffer.
        for at in range(first, first + 1000, 100):
            equal(guest.send(100, at=at), 100)
        pattern.receive(host, 1, first + 1000)
        expect_completions(guest, 1)


@suite.case('/vsock-test/zerocopy/guest-puts-small-bytes-behind-a-large-packet')
def _(lab):
    for first in 4097, 32769, 65537:
        vm, port = lab.guest(), lab.port()
        host = vm.guest_to_host(port, 1, vm.listen(port))
        data = pattern.data(1, first + 1000)
        host.sendall(data[:first])
        for at in range(first, len(data), 100):
            host.sendall(data[at:at + 100])
        equal(vm.agent.call('recv', 1, 1, len(data))['bad'], '-1')


@suite.case('/vsock-test/zerocopy/accepted-socket-may-be-set-to-it')
def _(lab):
    lab.need_kernel('6.19', 'SO_ZEROCOPY of an accepted socket')
    for kind in STREAM, SEQPACKET:
        vm, port = lab.guest(), lab.port()
        vm.agent.call('listen', 900, port, 8, KINDS[kind])
        host = vm.host_to_guest(port, 2, kind=kind)
        guest = GuestSocket(vm, 2)
        guest.set(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        guest.send(10000, ZEROCOPY)
        equal(len(host.recv(10000, socket.MSG_WAITALL)), 10000)
        expect_completions(guest, 1)


@suite.case('/vsock-test/zerocopy/completions-that-nobody-reads-are-freed')
def _(lab):
    lab.need_kernel(*NEEDS)
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    before = packets_of_guest(vm)
    for _ in range(LEAKS):
        host = vm.guest_to_host(port, 1, listener)
        guest = GuestSocket(vm, 1)
        guest.set(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        guest.send(100, ZEROCOPY)
        guest.close()
        host.close()
    # The last ones may be on their way still.
    until(lambda: packets_of_guest(vm) - before < LEAKS / 2,
          f'most of {LEAKS} packet buffers are freed')
    suite.comment(f'{packets_of_guest(vm) - before} packet buffers more than '
                  'before')
    expect_no_complaint(vm)


def packets_of_guest(vm):
    """The packet buffers that the guest's kernel has in use."""
    text = vm.agent.shell(
        'echo 1 >/sys/kernel/slab/skbuff_head_cache/shrink; '
        'cat /sys/kernel/slab/skbuff_head_cache/objects', check=True)
    return int(text.split()[0])
