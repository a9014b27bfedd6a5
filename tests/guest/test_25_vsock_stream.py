# SPDX-License-Identifier: GPL-2.0-or-later
#
# What Linux's own test of AF_VSOCK, tools/testing/vsock/vsock_test, checks of
# stream sockets, between the guest and host programs.

import select
import socket
import threading
import time

import pattern
from agent import GuestError
from ends import expect_end, is_broken
from guest_socket import (SIOCINQ, SIOCOUTQ, GuestSocket, expect_no_complaint,
                          guest_pairs)
from tap import WAIT_S, Suite, check, equal, until
from vm import HOST_CID, STREAM

BACKENDS = 'emulator', 'vhost-user', 'kernel'
# They run in VMs inside VMs, too.
suite = Suite(timeout_s=300)
AT_ONCE = 100
HELD = 128 * 1024           # bytes that the guest holds for a program
LOW_WATER = 4096
# So few that the guest does not tell of their room by itself, and yet more
# than one packet: only whole ones count.
TAKEN = 10000
HIGH_WATER = HELD - 4096
# More than both sides and the host's sockets hold.
BOUND = 2 * 1024 * 1024
FULL_S = 0.5


@suite.case('/vsock-test/stream/connection-reset')
def _(lab):
    vm = lab.guest()
    equal(vm.connect(lab.port()), None)
    error = vm.agent.start('connect', 1, HOST_CID, lab.port()).error()
    equal(error, 'ECONNRESET')


@suite.case('/vsock-test/stream/bound-but-not-listening-resets')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.bind(port)
    error = vm.agent.start('connect', 1, HOST_CID, port).error()
    equal(error, 'ECONNRESET')
    bound = GuestSocket(vm, 2, STREAM)
    bound.call('bind', socket.VMADDR_CID_ANY, port)
    equal(vm.connect(port), None)


@suite.case('/vsock-test/stream/guest-closes-and-the-host-reads-on')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.send(1)
        guest.close()
        until(lambda: is_broken(host), 'EPIPE')
        equal(host.recv(10), pattern.data(1, 1))
        expect_end(host)  # a reset, if what was tried reached the device


@suite.case('/vsock-test/stream/host-closes-and-the-guest-reads-on')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        host.send(pattern.data(1, 1))
        host.close()
        until(lambda: send_error(guest) == 'EPIPE', 'EPIPE')
        equal(guest.recv(10), 1)
        equal(guest.recv(10), 0)


def send_error(guest, flags=socket.MSG_NOSIGNAL):
    try:
        guest.send(1, flags)
    except GuestError as error:
        return error.name
    return None


@suite.case('/vsock-test/stream/100-connections-at-once')
def _(lab):
    vm, there, back = lab.guest(), lab.port(), lab.port()
    listener = vm.listen(there)
    vm.agent.call('listen', 900, back, AT_ONCE)
    hosts = {}
    for slot in range(0, AT_ONCE, 2):
        hosts[slot] = vm.guest_to_host(there, slot, listener)
        hosts[slot + 1] = vm.host_to_guest(back, slot + 1)
    for slot, host in hosts.items():
        host.sendall(pattern.data(1, slot + 1))
    for slot, host in hosts.items():
        guest = GuestSocket(vm, slot)
        equal(guest.recv(AT_ONCE + 1), slot + 1)
        guest.send(1)
        guest.close()
        equal(host.recv(10), pattern.data(1, 1))
        equal(host.recv(10), b'')


@suite.case('/vsock-test/stream/peek-leaves-the-bytes-there')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        peeked = guest.start_recv(50, socket.MSG_PEEK)
        host.sendall(pattern.data(1, 1000))
        check(0 < int(peeked.wait()['same']) <= 50, 'bytes at the first peek')
        equal(guest.recv(1000, socket.MSG_PEEK | socket.MSG_WAITALL), 1000)
        equal(guest.recv(2000), 1000)
        equal(recv_error(guest), 'EAGAIN')


def recv_error(guest):
    """Why a receive that does not wait gets nothing."""
    return guest.start_recv(10, socket.MSG_DONTWAIT).error()


@suite.case('/vsock-test/stream/poll-waits-for-the-low-water-mark')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.set(socket.SOL_SOCKET, socket.SO_RCVLOWAT, LOW_WATER)
        host.sendall(pattern.data(1, LOW_WATER - 1))
        # The bytes are there; they are not enough.
        equal(guest.recv(LOW_WATER - 1, socket.MSG_PEEK |
                         socket.MSG_WAITALL), LOW_WATER - 1)
        equal(guest.poll(300), 0)
        polled = guest.start('poll', select.POLLIN, 10000)
        host.sendall(b'x')
        equal(int(polled.wait()['events']), select.POLLIN)
        equal(guest.recv(LOW_WATER - 1), LOW_WATER - 1)
        equal(guest.poll(100), 0)


@suite.case('/vsock-test/stream/bad-receive-buffer-loses-no-byte')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        host.sendall(pattern.data(1, 512))
        expect_bad(guest.start('badbuffer', 'recv', 512, 0))
        equal(guest.recv(1000), 512)


def expect_bad(pending):
    """Older kernels say ENOMEM of every error of a transport."""
    error = pending.error()
    check(error in ('EFAULT', 'ENOMEM'), f'errno {error}')


@suite.case('/vsock-test/stream/bad-send-buffer-sends-nothing-wrong')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        expect_bad(guest.start('badbuffer', 'send', 512,
                               socket.MSG_NOSIGNAL))
        equal(guest.send(1000), 1000)
        pattern.receive(host, 1, 1000)


@suite.case('/vsock-test/stream/small-packets-merge-and-stay-intact')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        data = pattern.data(1, 200)
        host.sendall(data[:100])
        equal(guest.recv(40, socket.MSG_WAITALL), 40)
        for at in range(100, 200, 10):
            host.sendall(data[at:at + 10])
        equal(guest.recv(160, socket.MSG_WAITALL, at=40), 160)
        for at in range(0, 200, 10):
            guest.send(10, at=at)
        pattern.receive(host, 1, 200)


@suite.case('/vsock-test/stream/guest-shut-wr-gives-epipe-and-sigpipe')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.call('shut', 'wr')
        expect_epipe(lab, guest)
        equal(host.recv(1), b'')


@suite.case('/vsock-test/stream/host-shut-rd-gives-the-guest-epipe-and-sigpipe')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        host.shutdown(socket.SHUT_RD)
        until(lambda: send_error(guest) == 'EPIPE', 'EPIPE')
        expect_epipe(lab, guest)


@suite.case('/vsock-test/stream/guest-shut-rd-gives-the-host-epipe')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.call('shut', 'rd')
        until(lambda: is_broken(host), 'EPIPE')
        equal(guest.recv(1), 0)


def expect_epipe(lab, guest):
    """SIGPIPE comes with EPIPE, unless the program asked for none.

    Before 6.7 it never came.
    """
    signal = '1' if lab.has_kernel('6.7') else '0'
    for flags, signals in (socket.MSG_NOSIGNAL, '0'), (0, signal):
        error = guest.start_send(1, flags).failure()
        equal((error.name, error.fields['sigpipe']), ('EPIPE', signals))


@suite.case('/vsock-test/stream/bound-port-connects-again-after-its-close')
def _(lab):
    vm, port, own = lab.guest(), lab.port(), lab.port()
    listener = vm.listen(port)
    for number in range(1, 4):
        guest = GuestSocket(vm, 1, STREAM)
        guest.call('bind', socket.VMADDR_CID_ANY, own)
        guest.call('dial', HOST_CID, port)
        host = vm.accept(listener)
        guest.send(number)
        guest.close()
        pattern.receive(host, 1, number)
        equal(host.recv(1), b'')
        host.close()


def send_in_background(host, count):
    job = threading.Thread(target=pattern.send, args=(host, 1, count),
                           daemon=True)
    job.start()
    return job


@suite.case('/vsock-test/stream/raised-low-water-mark-makes-room-known')
def _(lab):
    lab.need_kernel('6.8', 'the credit update for SO_RCVLOWAT')
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.set_buffer(HELD)
        job = send_in_background(host, HELD + TAKEN)
        until(lambda: guest.recv(HELD, socket.MSG_PEEK) == HELD, 'all held')
        equal(guest.recv(TAKEN), TAKEN)
        guest.set(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HIGH_WATER)
        expect_rest(guest, job)


@suite.case('/vsock-test/stream/less-than-the-low-water-mark-makes-room-known')
def _(lab):
    lab.need_kernel('6.8', 'the credit update when little is unread')
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.set_buffer(HELD)
        guest.set(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HIGH_WATER)
        job = send_in_background(host, HELD + TAKEN)
        until(lambda: guest.recv(HELD, socket.MSG_PEEK) == HELD, 'all held')
        equal(guest.recv(TAKEN), TAKEN)
        expect_rest(guest, job)


def expect_rest(guest, job):
    equal(guest.poll(10000), select.POLLIN)
    for at in TAKEN, TAKEN + HELD // 2:
        equal(guest.recv(HELD // 2, socket.MSG_WAITALL, at=at), HELD // 2)
    job.join(WAIT_S)
    check(not job.is_alive(), 'the host still waits')


@suite.case('/vsock-test/stream/siocoutq-comes-to-0')
def _(lab):
    lab.need_kernel('6.11', 'SIOCOUTQ')
    for guest, host in guest_pairs(lab, lab.guest()):
        equal(guest.ioctl(SIOCOUTQ), 0)
        guest.send(100000)
        pattern.receive(host, 1, 100000)
        until(lambda: guest.ioctl(SIOCOUTQ) == 0, 'SIOCOUTQ is 0')


@suite.case('/vsock-test/stream/siocinq-tells-the-unread-bytes')
def _(lab):
    lab.need_kernel('6.17', 'SIOCINQ')
    for guest, host in guest_pairs(lab, lab.guest()):
        equal(guest.ioctl(SIOCINQ), 0)
        host.sendall(pattern.data(1, 20000))
        until(lambda: guest.ioctl(SIOCINQ) == 20000, 'SIOCINQ is 20000')
        guest.recv(1000)
        equal(guest.ioctl(SIOCINQ), 19000)
        guest.recv(19000, at=1000)
        equal(guest.ioctl(SIOCINQ), 0)


@suite.case('/vsock-test/stream/failed-connect-may-be-tried-again')
def _(lab):
    vm, port = lab.guest(), lab.port()
    guest = GuestSocket(vm, 1, STREAM)
    equal(guest.start('dial', HOST_CID, port).error(), 'ECONNRESET')
    listener = vm.listen(port)
    guest.call('dial', HOST_CID, port)
    host = vm.accept(listener)
    guest.send(100)
    pattern.receive(host, 1, 100)
    expect_no_complaint(vm)


@suite.case('/vsock-test/stream/accept-queue-of-the-guest-leaks-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    for _ in range(20):
        vm.agent.call('listen', 900, port, 8)
        waiting = [vm.connect(port) for _ in range(8)]
        vm.agent.call('close', 900)
        for host in waiting:
            expect_end(host)
            host.close()
    # As many as the backlog, given up by the host, leave it usable too.
    vm.agent.call('listen', 900, port, 4)
    for _ in range(20):
        vm.connect(port).close()
        vm.agent.call('accept', 1, 900)
    host = vm.host_to_guest(port, 1)
    host.sendall(pattern.data(1, 100))
    equal(GuestSocket(vm, 1).recv(200), 100)
    expect_no_complaint(vm)


@suite.case('/vsock-test/stream/accept-queue-of-the-host-leaks-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    for _ in range(8):
        listener = vm.listen(port, backlog=8)
        for slot in range(8):
            vm.agent.call('connect', slot, HOST_CID, port)
        listener.close()
        for slot in range(8):
            expect_no_byte(GuestSocket(vm, slot))
        vm.agent.call('close', 0, 7)
    listener = vm.listen(port)
    host = vm.guest_to_host(port, 1, listener)
    host.sendall(pattern.data(1, 100))
    equal(GuestSocket(vm, 1).recv(200), 100)


def expect_no_byte(guest):
    """The peer is gone, in order or by a reset."""
    try:
        equal(guest.recv(1), 0)
    except GuestError as error:
        check(error.name in ('ECONNRESET', 'ENOTCONN'), str(error))


@suite.case('/vsock-test/stream/senders-are-bounded-by-the-room-of-the-peer')
def _(lab):
    for guest, host in guest_pairs(lab, lab.guest()):
        guest.set_buffer(HELD)
        host.setblocking(False)
        sent = fill(lambda: send_some(host))
        check(HELD <= sent <= BOUND, f'the host sent {sent} bytes')
        sent = fill(lambda: guest_send_some(guest))
        check(HELD <= sent <= BOUND, f'the guest sent {sent} bytes')


def fill(send):
    """Send until nothing more is taken for a while; how much that was.

    What the peer has said it holds must be taken, however slow it is.
    """
    total, last = 0, time.monotonic()
    while total < HELD or time.monotonic() < last + FULL_S:
        count = send()
        if count:
            total, last = total + count, time.monotonic()
        else:
            time.sleep(0.02)
    return total


def send_some(host):
    try:
        return host.send(bytes(65536))
    except BlockingIOError:
        return 0


def guest_send_some(guest):
    try:
        return guest.send(65536, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except GuestError as error:
        equal(error.name, 'EAGAIN')
        return 0
