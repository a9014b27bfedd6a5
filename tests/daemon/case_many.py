# SPDX-License-Identifier: GPL-2.0-or-later
#
# Very many connections one after the other, opened and ended in all ways.  In
# the library's tests they are 100 000 too (test-many.c); here the daemon
# around it is watched.  VHOST_VSOCK_TEST_MANY is another number.

import os
import select

from box import Health, World, check_service, suite
from guest import REQUEST, RESPONSE, RST, RW, SHUTDOWN
from tap import WAIT_S, equal

PORT = 1234
MANY = int(os.environ.get('VHOST_VSOCK_TEST_MANY') or 100000)


def host_closes(guest, host, port):
    host.close()
    guest.receive(SHUTDOWN)
    guest.send(RST, port, PORT)


def guest_resets(guest, host, port):
    guest.send(RW, port, PORT, b'question')
    guest.send(RST, port, PORT)
    equal(host.recv(100), b'question')
    host.close()


def guest_shuts_down(guest, host, port):
    guest.send(SHUTDOWN, port, PORT, flags=3)
    guest.receive(RST)
    host.close()


ENDS = host_closes, guest_resets, guest_shuts_down


def one_connection(guest, listener, number):
    port = 1024 + number % 60000
    guest.send(REQUEST, port, PORT)
    guest.receive(RESPONSE)
    select.select([listener], [], [], WAIT_S)
    host = listener.accept()[0]
    ENDS[number % len(ENDS)](guest, host, port)


@suite.case('/many/connections-leave-nothing', timeout_s=60 + MANY // 100)
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest, PORT + 1)
        listener = world.listener(PORT)
        for number in range(MANY):
            if number == MANY // 10:
                health = Health(daemon)
            one_connection(guest, listener, number)
        health.expect_back()
        check_service(world, guest, PORT + 1)
