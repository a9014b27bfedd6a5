# SPDX-License-Identifier: GPL-2.0-or-later
#
# Several guests in one process.

import frontend
from box import Health, World, check_new_guest, check_service, suite
from frontend import FrontEnd
from guest import RST, REQUEST
from tap import check, equal


def two(world, *more):
    return world.start(world.vm(3), world.vm(4), *more, cids=(3, 4))


@suite.case('/vms/two-guests-are-served-each-by-its-own-paths')
def _():
    with World() as world:
        daemon = two(world)
        with world.guest(3) as third, world.guest(4) as fourth:
            equal([g.front.get_config()[0] for g in (third, fourth)], [3, 4])
            for port in 1, 2:
                check_service(world, third, port)
                check_service(world, fourth, port)
            equal([third.poll(), fourth.poll()], [None, None])
        daemon.end()


@suite.case('/vms/a-guest-does-not-reach-another-or-its-programs')
def _():
    with World() as world:
        two(world)
        with world.guest(3) as third, world.guest(4) as fourth:
            with world.listener(77, cid=4):
                third.send(REQUEST, 40000, 77)
                third.receive(RST)
            for cid in 4, 3:
                third.send(REQUEST, 40000, 77, dst_cid=cid)
                third.send(REQUEST, 40001, 77, dst_cid=2, src_cid=4)
            equal(fourth.poll(timeout_s=0.2), None)
            check_service(world, third)


@suite.case('/vms/front-end-that-hangs-in-mid-message-stops-only-its-guest')
def _():
    whole = frontend.HEADER.pack(frontend.SET_OWNER, 1, 0)
    ask = frontend.HEADER.pack(frontend.SET_FEATURES, 1, 8) + bytes(8)
    with World() as world:
        daemon = two(world)
        health = Health(daemon)
        with world.guest(4) as fourth:
            for begun in whole[:1], whole[:-1], ask[:12], ask[:-1]:
                with FrontEnd(world.socket_path(3)) as front:
                    front.send_bytes(begun)
                    check_service(world, fourth)
                    daemon.expect_idle()
        check_new_guest(world, 3)
        health.expect_back()


@suite.case('/vms/half-a-message-stops-neither-its-guest-nor-the-end')
def _():
    with World() as world:
        daemon = world.start()
        with world.guest() as guest:
            guest.front.send_bytes(
                frontend.HEADER.pack(frontend.SET_FEATURES, 1, 8) + bytes(3))
            check_service(world, guest)
            daemon.end()


@suite.case('/vms/front-end-that-never-reads-answers-stops-only-its-guest')
def _():
    with World() as world:
        daemon = two(world)
        with world.guest(4) as fourth, \
                FrontEnd(world.socket_path(3)) as front:
            front.sock.settimeout(0.5)
            try:
                while True:
                    front.send(frontend.GET_FEATURES)
            except (TimeoutError, frontend.Gone):
                pass
            check_service(world, fourth)
            daemon.expect_idle()
        check_new_guest(world, 3)


@suite.case('/vms/one-guest-under-load-does-not-hold-up-another')
def _():
    with World() as world:
        two(world)
        with world.guest(3) as third, world.guest(4) as fourth:
            sock, flow = world.connection(third)
            sock.setblocking(False)
            for _ in range(50):
                try:
                    while True:
                        sock.send(bytes(65536))
                except BlockingIOError:
                    pass
                flow.read(32768)
                check_service(world, fourth)


@suite.case('/vms/sixteen-guests-fit-into-one-process')
def _():
    with World() as world:
        cids = range(3, 19)
        daemon = world.start(*(world.vm(cid) for cid in cids), cids=cids)
        guests = [world.guest(cid) for cid in cids]
        for guest in guests:
            check_service(world, guest)
        daemon.expect_idle()
        check(daemon.fds() < 16 * 24, f'{daemon.fds()} descriptors')
        daemon.end()
        equal(world.left(), [])
