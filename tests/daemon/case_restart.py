# SPDX-License-Identifier: GPL-2.0-or-later
#
# Stops, resets, and front-ends and daemons that come back.

import frontend
from box import World, check_new_guest, check_service, exchange, suite
from frontend import FrontEnd
from guest import EVENT, RX, TRANSPORT_RESET, TX, Guest
from tap import WAIT_S, equal


@suite.case('/restart/stopped-rings-say-where-they-were-and-go-on')
def _():
    # What QEMU does at "stop" and "cont": connections live.
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        for _ in range(3):
            exchange(sock, flow)
            guest.tx_done()
            bases = guest.stop()
            equal(bases[TX], guest.rings[TX].next_avail, 'tx')
            equal(bases[RX], guest.rings[RX].used_idx(), 'rx')
            equal(bases[EVENT], 0, 'event')
            sock.sendall(b'waits')
            equal(guest.poll(timeout_s=0.1), None)
            guest.start_rings(bases)
            equal(flow.read(5), b'waits')


@suite.case('/restart/disabled-ring-is-left-alone')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        guest.front.enable_ring(RX, False)
        sock.sendall(b'waits')
        equal(guest.poll(timeout_s=0.2), None)
        guest.front.enable_ring(RX)
        equal(flow.read(5), b'waits')


@suite.case('/restart/reset-device-ends-flows-and-keeps-listeners')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        for _ in range(3):
            sock, _ = world.connection(guest)
            guest.front.command(frontend.RESET_DEVICE)
            sock.settimeout(WAIT_S)
            try:
                equal(sock.recv(1), b'', 'host program')
            except ConnectionResetError:
                pass
            guest.front.close()
            guest = world.guest()
            check_service(world, guest)
            daemon.check_alive()


@suite.case('/restart/driver-resets-and-comes-back-in-the-same-session')
def _():
    # A guest that reboots: rings stop, and start anew from 0.
    with World() as world:
        daemon = world.start()
        with FrontEnd(world.socket_path()) as front:
            front.negotiate()
            before = daemon.fds()
            for _ in range(3):
                guest = Guest(front=front)
                check_service(world, guest)
                guest.stop()
                front.command(frontend.RESET_DEVICE)
                front.remove_region(guest.regions[0])
                front.close_rings()
            daemon.expect_fds(before)


@suite.case('/restart/other-driver-in-the-same-session-has-no-old-flows')
def _():
    # As QEMU 7.2 tells of a reboot: rings stop, and start elsewhere.
    with World() as world:
        world.start()
        with FrontEnd(world.socket_path()) as front:
            front.negotiate()
            guest = Guest(front=front)
            sock, _ = world.connection(guest)
            guest.stop()
            front.remove_region(guest.regions[0])
            front.close_rings()
            guest = Guest(front=front)
            equal(end_of(sock), b'')
            check_service(world, guest)
            equal(guest.event(timeout_s=0.1), None)


@suite.case('/restart/device-is-plugged-40-times-on-one-connection')
def _():
    # QEMU keeps the connection, and takes no region back when it unplugs.
    with World() as world:
        daemon = world.start()
        with FrontEnd(world.socket_path()) as front:
            for _ in range(40):
                front.negotiate()
                guest = Guest(front=front)
                check_service(world, guest)
                guest.stop()
                front.close_rings()
            with open(f'/proc/{daemon.pid}/maps', encoding='ascii') as maps:
                equal(sum('/memfd:guest' in line for line in maps), 1, 'regions')


@suite.case('/restart/front-end-goes-and-the-next-is-served')
def _():
    with World() as world:
        daemon = world.start()
        check_new_guest(world)
        before = daemon.fds()
        for _ in range(20):
            with world.guest() as guest:
                sock, _ = world.connection(guest)
            equal(end_of(sock), b'')
        check_new_guest(world)
        daemon.expect_fds(before)


def end_of(sock):
    try:
        return sock.recv(1)
    except ConnectionResetError:
        return b''


@suite.case('/restart/second-front-end-waits-for-its-turn')
def _():
    with World() as world:
        world.start()
        with world.guest() as guest:
            with FrontEnd(world.socket_path()) as other:
                other.send(frontend.GET_FEATURES)
                check_service(world, guest)
                guest.front.close()
                other.answer(frontend.GET_FEATURES)


# --- Transport reset ---------------------------------------------------------

@suite.case('/restart/driver-that-was-there-before-is-told-of-lost-flows')
def _():
    # The daemon restarts under a running guest: its rings go on where they
    # were, and it must learn that its connections are gone.
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        sock, _ = world.connection(guest)
        guest.tx_done()
        guest.collect()
        daemon.kill()
        sock.close()
        daemon = world.start()
        guest.again(world.socket_path())
        guest.resume()
        equal(guest.event(), TRANSPORT_RESET)
        check_service(world, guest)
        equal(guest.event(timeout_s=0.2), None, 'a second event')


@suite.case('/restart/new-driver-gets-no-event')
def _():
    with World() as world:
        world.start()
        for _ in range(2):
            with world.guest() as guest:
                check_service(world, guest)
                equal(guest.event(timeout_s=0.1), None)


@suite.case('/restart/front-end-that-comes-back-tells-the-driver')
def _():
    # As above, but the daemon lived: only the session broke.
    with World() as world:
        world.start()
        guest = world.guest()
        world.connection(guest)
        guest.tx_done()
        guest.collect()
        guest.again(world.socket_path())
        guest.resume()
        equal(guest.event(), TRANSPORT_RESET)
        check_service(world, guest)


@suite.case('/restart/event-that-has-no-buffer-yet-is-not-lost')
def _():
    with World() as world:
        world.start()
        guest = world.guest(start=False, first=7)
        guest.resume()
        equal(guest.event(timeout_s=0.1), None)
        guest.fill()
        equal(guest.event(), TRANSPORT_RESET)
        check_service(world, guest)
