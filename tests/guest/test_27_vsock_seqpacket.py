# SPDX-License-Identifier: GPL-2.0-or-later
#
# What Linux's own test of AF_VSOCK, tools/testing/vsock/vsock_test, checks of
# sockets that keep the bounds of messages.

import errno
import socket
import struct
import threading

import pattern
from agent import GuestError
from ends import expect_end
from guest_socket import SIOCINQ, SIOCOUTQ, guest_pairs
from tap import WAIT_S, Skip, Suite, check, equal, until
from vm import HOST_CID, SEQPACKET

BACKENDS = 'emulator', 'vhost-user', 'kernel'
# They run in VMs inside VMs, too.
suite = Suite(timeout_s=300)
# What both sides hold for a program unless it asks for more.
BUFFER = 262144
SMALL = 512
WAIT_MS = 300
MANY = 2000
SO_SNDBUFFORCE = 32
# What AF_UNIX takes of a socket's send buffer besides a message's bytes.
UNIX_OVERHEAD = 32


def messages_pairs(lab, vm):
    return guest_pairs(lab, vm, SEQPACKET)


def receive(host, size):
    """The next message; it must be the pattern's first @size bytes."""
    equal(host.recv(2 * BUFFER), pattern.data(1, size), f'{size} bytes')


@suite.case('/vsock-test/seqpacket/connection-reset')
def _(lab):
    vm, port = lab.guest(), lab.port()
    equal(vm.connect(port, SEQPACKET), None)
    guest = vm.agent.start('connect', 1, HOST_CID, port, 'seqpacket')
    equal(guest.error(), 'ECONNRESET')
    vm.bind(port, SEQPACKET)
    guest = vm.agent.start('connect', 1, HOST_CID, port, 'seqpacket')
    equal(guest.error(), 'ECONNRESET')


@suite.case('/vsock-test/seqpacket/messages-of-the-guest-keep-their-bounds')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        sent = guest.start('sendmany', 1, MANY, 3000)
        for message in pattern.messages(1, MANY, 3000):
            equal(host.recv(4000), message)
        sent.wait()


@suite.case('/vsock-test/seqpacket/messages-of-the-host-keep-their-bounds')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        got = guest.start('recvmany', 1, MANY, 3000)
        for message in pattern.messages(1, MANY, 3000):
            host.send(message)
        equal(got.wait()['bad'], '-1', 'first wrong message')


@suite.case('/vsock-test/seqpacket/large-ones-both-ways-at-once-keep-their-bounds')
def _(lab):
    count, size = 60, BUFFER - 1
    for guest, host in messages_pairs(lab, lab.guest()):
        allow_large(host)
        sent = guest.start('sendmany', 1, count, size)
        got = guest.start('recvmany', 2, count, size)

        def send():
            for message in pattern.messages(2, count, size):
                host.send(message)

        job = threading.Thread(target=send, daemon=True)
        job.start()
        for number, message in enumerate(pattern.messages(1, count, size)):
            check(host.recv(size + 1) == message, f'message {number}')
        sent.wait()
        equal(got.wait()['bad'], '-1', 'first wrong message')
        job.join(WAIT_S)


def allow_large(host):
    """Let a message of AF_UNIX be as large as the guest's buffer."""
    if host.family != socket.AF_UNIX:
        return
    for name in SO_SNDBUFFORCE, socket.SO_SNDBUF:
        try:
            host.setsockopt(socket.SOL_SOCKET, name, 4 * BUFFER)
        except PermissionError:
            continue
        if host.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= \
                BUFFER + UNIX_OVERHEAD:
            return
    raise Skip('this user may not send so large a message on AF_UNIX')


@suite.case('/vsock-test/seqpacket/message-as-large-as-the-buffer-arrives')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        sent = guest.start_send(BUFFER)
        receive(host, BUFFER)
        equal(sent.wait()['count'], str(BUFFER))
        allow_large(host)
        host.send(pattern.data(1, BUFFER))
        equal(guest.recv(BUFFER + 1), BUFFER)


@suite.case('/vsock-test/seqpacket/eor-is-kept-both-ways')
def _(lab):
    vm = lab.guest()
    if not vm.host.carries_eor:
        raise Skip('AF_UNIX carries no MSG_EOR')
    for guest, host in messages_pairs(lab, vm):
        for flags in 0, socket.MSG_EOR, 0:
            guest.send(SMALL, flags | socket.MSG_NOSIGNAL)
            data, _, got, _ = host.recvmsg(BUFFER)
            equal((len(data), got & socket.MSG_EOR), (SMALL, flags))
            host.send(pattern.data(1, SMALL), flags)
            got = guest.start_recv(BUFFER).wait()
            equal((got['count'], int(got['flags']) & socket.MSG_EOR),
                  (str(SMALL), flags))


@suite.case('/vsock-test/seqpacket/trunc-tells-the-true-length')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        host.send(pattern.data(1, SMALL))
        host.send(pattern.data(1, SMALL + 1))
        got = guest.start_recv(SMALL // 2, socket.MSG_TRUNC).wait()
        equal((got['count'], got['same']), (str(SMALL), str(SMALL // 2)))
        check(int(got['flags']) & socket.MSG_TRUNC, 'MSG_TRUNC')
        # What did not fit is gone; the next message is whole.
        equal(guest.recv(BUFFER), SMALL + 1)


@suite.case('/vsock-test/seqpacket/receive-gives-up-when-its-time-is-over')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        guest.set(socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                  struct.pack('ll', 0, WAIT_MS * 1000))
        error = guest.start_recv(SMALL).failure()
        equal(error.name, 'EAGAIN')
        waited = int(error.fields['ms'])
        check(WAIT_MS - 50 <= waited < 20 * WAIT_MS, f'{waited} ms')
        host.send(pattern.data(1, SMALL))
        equal(guest.recv(BUFFER), SMALL)


@suite.case('/vsock-test/seqpacket/bad-receive-buffer-drops-that-message-only')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        # Its second half is bad, after a page that is not.
        host.send(pattern.data(1, 3 * 4096))
        host.send(pattern.data(1, SMALL))
        bad = guest.start('badbuffer', 'recv', 3 * 4096, 0)
        check(bad.error() in ('EFAULT', 'ENOMEM'), 'errno')
        equal(guest.recv(BUFFER), SMALL)


@suite.case('/vsock-test/seqpacket/bad-send-buffer-sends-nothing-wrong')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        bad = guest.start('badbuffer', 'send', SMALL, socket.MSG_NOSIGNAL)
        check(bad.error() in ('EFAULT', 'ENOMEM'), 'errno')
        guest.send(SMALL + 1)
        receive(host, SMALL + 1)


@suite.case('/vsock-test/seqpacket/message-larger-than-the-host-holds-is-emsgsize')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        error = guest.start_send(BUFFER + 1).error()
        # Older kernels say ENOMEM of every error of a transport.
        check(error in ('EMSGSIZE', 'ENOMEM'), f'errno {error}')
        guest.send(SMALL)
        receive(host, SMALL)


@suite.case('/vsock-test/seqpacket/message-larger-than-the-guest-holds-is-refused')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        guest.set_buffer(BUFFER // 2)
        # The device knows of the new size before it sees this message.
        guest.send(SMALL)
        receive(host, SMALL)
        if lab.backend == 'kernel':
            expect_too_large(host, BUFFER // 2 + 1)
            host.send(pattern.data(1, SMALL))
            equal(guest.recv(BUFFER), SMALL)
        else:
            # An emulator cannot tell the program; it ends the connection.
            host.send(pattern.data(1, BUFFER // 2 + 1))
            expect_end(host)
            try:
                equal(guest.recv(1), 0)
            except GuestError as error:
                check(error.name in ('ECONNRESET', 'ENOTCONN'), str(error))


def expect_too_large(host, size):
    try:
        host.send(pattern.data(1, size))
    except OSError as error:
        check(error.errno in (errno.EMSGSIZE, errno.ENOMEM), str(error))
    else:
        raise AssertionError(f'{size} bytes were taken')


@suite.case('/vsock-test/seqpacket/peek-leaves-the-message-there')
def _(lab):
    lab.need_kernel('6.6', 'MSG_PEEK of messages')
    for guest, host in messages_pairs(lab, lab.guest()):
        host.send(pattern.data(1, SMALL))
        host.send(pattern.data(1, SMALL + 1))
        for _ in range(2):
            equal(guest.recv(10, socket.MSG_PEEK), 10)
            equal(guest.recv(BUFFER, socket.MSG_PEEK), SMALL)
        equal(guest.recv(BUFFER), SMALL)
        equal(guest.recv(BUFFER), SMALL + 1)


@suite.case('/vsock-test/seqpacket/guest-closes-and-the-host-reads-on')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        guest.send(SMALL)
        guest.send(SMALL + 1)
        guest.close()
        receive(host, SMALL)
        receive(host, SMALL + 1)
        equal(host.recv(1), b'')


@suite.case('/vsock-test/seqpacket/host-closes-and-the-guest-reads-on')
def _(lab):
    for guest, host in messages_pairs(lab, lab.guest()):
        host.send(pattern.data(1, SMALL))
        host.send(pattern.data(1, SMALL + 1))
        host.close()
        equal(guest.recv(BUFFER), SMALL)
        equal(guest.recv(BUFFER), SMALL + 1)
        equal(guest.recv(BUFFER), 0)
        until(lambda: send_error(guest) == 'EPIPE', 'EPIPE')


def send_error(guest):
    try:
        guest.send(1)
    except GuestError as error:
        return error.name
    return None


@suite.case('/vsock-test/seqpacket/siocoutq-comes-to-0')
def _(lab):
    lab.need_kernel('6.11', 'SIOCOUTQ')
    for guest, host in messages_pairs(lab, lab.guest()):
        guest.send(100000)
        receive(host, 100000)
        until(lambda: guest.ioctl(SIOCOUTQ) == 0, 'SIOCOUTQ is 0')


@suite.case('/vsock-test/seqpacket/siocinq-tells-the-unread-bytes')
def _(lab):
    lab.need_kernel('6.17', 'SIOCINQ')
    for guest, host in messages_pairs(lab, lab.guest()):
        host.send(pattern.data(1, SMALL))
        host.send(pattern.data(1, 20000))
        until(lambda: guest.ioctl(SIOCINQ) == SMALL + 20000, 'SIOCINQ')
        guest.recv(BUFFER)
        equal(guest.ioctl(SIOCINQ), 20000)
        guest.recv(BUFFER)
        equal(guest.ioctl(SIOCINQ), 0)
