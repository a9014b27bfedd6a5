# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a guest and host programs get from the daemon.

import socket
import time

import frontend
from box import (World, background, check_service, exchange, read_exactly,
                 suite)
from guest import EOM, REQUEST, RST, RW, SEQPACKET
from tap import check, equal, least


@suite.case('/service/bytes-go-both-ways-over-connections-of-both-sides')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        for port in 1, 1234, 65536, 0xfffffffe:
            check_service(world, guest, port)
        daemon.check_alive()


@suite.case('/service/megabytes-arrive-whole-in-both-directions')
def _():
    data = bytes(i * i >> 8 & 0xff for i in range(1 << 18)) * 8
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        with background(sock.sendall, data):
            check(flow.read(len(data)) == data, 'bytes to the guest')
        with background(read_exactly, sock, len(data)) as got:
            flow.write(data)
        check(got.result() == data, 'bytes to the host')


@suite.case('/service/no-listener-is-told-at-once')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        took = least(lambda: refusal_s(guest), 1)
        check(took < 1, f'{took:.1f} s')


def refusal_s(guest):
    began = time.monotonic()
    guest.send(REQUEST, 40000, 4321)
    equal(guest.receive(RST).src_port, 4321)
    return time.monotonic() - began


@suite.case('/service/seqpacket-is-offered-and-keeps-boundaries')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        check(guest.front.features & frontend.F_SEQPACKET, 'not offered')
        listener = world.listener(77, kind=socket.SOCK_SEQPACKET)
        flow = guest.connect(77, type=SEQPACKET)
        sock, _ = listener.accept()
        for message in b'one', b'two ' * 100, b'3':
            flow.send(RW, message, flags=EOM)
        equal([sock.recv(1000) for _ in range(3)],
              [b'one', b'two ' * 100, b'3'])


@suite.case('/service/polling-serves-and-rests')
def _():
    for poll_us in 0, 50, 1000:
        with World() as world:
            daemon = world.start(*world.options(), f'--poll-us={poll_us}')
            with world.guest() as guest:
                for port in 5, 6:
                    check_service(world, guest, port)
                sock, flow = world.connection(guest)
                for _ in range(200):
                    exchange(sock, flow)
                daemon.expect_idle()
            daemon.end()
