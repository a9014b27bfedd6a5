# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhost-user as a well-behaved VMM speaks it: features, configuration space,
# memory in pieces, notifications.

import os
import struct

import frontend
from box import World, check_new_guest, check_service, exchange, suite
from frontend import (CONFIGURE_MEM_SLOTS, F_EVENT_IDX, F_INDIRECT,
                      F_LOG_ALL, F_PROTOCOL_FEATURES, F_VERSION_1, FrontEnd,
                      REPLY_ACK)
from guest import HEADER, HOST, RW, RX, TRANSPORT_RESET, TX, WINDOW
from ring import Region
from tap import check, equal

ALL = frontend.MQ | frontend.LOG_SHMFD | frontend.REPLY_ACK | \
    frontend.CONFIG | frontend.INFLIGHT_SHMFD | frontend.RESET | \
    frontend.CONFIGURE_MEM_SLOTS


# --- Features ----------------------------------------------------------------

@suite.case('/protocol/features-of-a-production-vmm-are-offered')
def _():
    with World() as world:
        world.start()
        with FrontEnd(world.socket_path()) as front:
            front.negotiate()
            equal(front.offered_protocol, ALL, 'protocol features')
            for bit in (F_VERSION_1, F_EVENT_IDX, F_INDIRECT,
                        F_PROTOCOL_FEATURES, F_LOG_ALL):
                check(front.offered & bit, f'{bit:#x} in {front.offered:#x}')


@suite.case('/protocol/queue-number-is-three')
def _():
    with World() as world:
        world.start()
        with FrontEnd(world.socket_path()) as front:
            equal(front.negotiate().get_u64(frontend.GET_QUEUE_NUM), 3)


@suite.case('/protocol/config-space-is-the-cid')
def _():
    for cid in 3, 0x89abcdef:
        with World() as world:
            world.start(cids=(cid,))
            with FrontEnd(world.socket_path(cid)) as front:
                front.negotiate()
                space = struct.pack('<Q', cid)
                equal(front.get_config(), space)
                equal(front.get_config(0, 4), space[:4])
                equal(front.get_config(4, 4), space[4:])


@suite.case('/protocol/every-message-is-acknowledged-when-asked')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        check(guest.front.protocol & REPLY_ACK, 'offered')
        check_service(world, guest)     # Refused is raised for a bad one


@suite.case('/protocol/no-message-is-acknowledged-unasked')
def _():
    with World() as world:
        world.start()
        with world.guest(protocol=ALL & ~REPLY_ACK) as guest:
            guest.front.sync()          # any other answer would raise
            check_service(world, guest)


@suite.case('/protocol/every-subset-of-features-works')
def _():
    with World() as world:
        world.start()
        for without in (0, F_EVENT_IDX, F_INDIRECT, frontend.F_SEQPACKET,
                        F_EVENT_IDX | F_INDIRECT):
            check_new_guest(world, without=without)
        for protocol in (0, REPLY_ACK, CONFIGURE_MEM_SLOTS, ALL,
                         frontend.INFLIGHT_SHMFD | frontend.CONFIG):
            check_new_guest(world, protocol=protocol)


@suite.case('/protocol/front-end-without-protocol-features-is-served')
def _():
    # Rings are then enabled from the start, and nobody says so.
    with World() as world:
        world.start()
        with world.guest(without=F_PROTOCOL_FEATURES, protocol=0) as guest:
            check_service(world, guest)


@suite.case('/protocol/two-queues-suffice-as-with-qemu')
def _():
    with World() as world:
        world.start()
        check_new_guest(world, queues=2)


@suite.case('/protocol/rings-of-every-size-work')
def _():
    with World() as world:
        world.start()
        for size in 2, 4, 128, 256, 1024:
            check_new_guest(world, size=size,
                            regions=[Region(16 << 20)])


# --- Memory ------------------------------------------------------------------

@suite.case('/protocol/memory-at-an-offset-in-its-file-is-found')
def _():
    with World() as world:
        world.start()
        for slots in 0, CONFIGURE_MEM_SLOTS:
            check_new_guest(world, regions=[Region(offset=12288)],
                            protocol=REPLY_ACK | slots)


@suite.case('/protocol/eight-regions-in-one-table')
def _():
    with World() as world:
        world.start()
        regions = [Region(guest=(1 + 16 * at) << 20,
                          user=0x7e0000000000 + (at << 32), offset=4096 * at)
                   for at in range(8)]
        with world.guest(regions=regions, protocol=REPLY_ACK) as guest:
            check_service(world, guest)
            for region in regions[1:]:
                send_from(world, guest, region)


@suite.case('/protocol/as-many-memory-slots-as-it-says')
def _():
    with World() as world:
        world.start()
        with FrontEnd(world.socket_path()) as front:
            slots = front.negotiate().get_u64(frontend.GET_MAX_MEM_SLOTS)
        check(slots >= 8, f'{slots} slots')
        regions = [Region(size=4 << 20, guest=(1 + 16 * at) << 20,
                          user=0x7e0000000000 + (at << 32))
                   for at in range(slots)]
        with world.guest(regions=regions) as guest:
            check_service(world, guest)
            send_from(world, guest, regions[-1])


def send_from(world, guest, region, port=77):
    """A packet whose payload lies in @region reaches the host."""
    with world.listener(port) as listener:
        flow = guest.connect(port, port=41000)
        sock, _ = listener.accept()
        with sock:
            header = region.alloc(64)
            data = region.alloc(4096)
            region.write(data, b'from another region')
            flow.sent += 19
            packet = packet_of(flow, 19)
            region.write(header, packet)
            guest.make_room(2)
            guest.rings[TX].add([(header, 44, False), (data, 19, False)])
            guest.rings[TX].kick()
            equal(sock.recv(100), b'from another region')
            guest.tx_done()
            flow.close()


def packet_of(flow, length):
    return HEADER.pack(flow.guest.cid, HOST, flow.port, flow.host_port,
                       length, flow.type, RW, 0, WINDOW, flow.taken)


@suite.case('/protocol/memory-is-added-and-removed-while-rings-run')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        before = daemon.fds()
        for turn in range(50):
            more = Region(size=2 << 20, guest=(64 + turn) << 20,
                          user=0x7f0000000000)
            guest.front.add_region(more)
            exchange(sock, flow)
            send_from(world, guest, more, port=78 + turn % 2)
            guest.front.remove_region(more)
            exchange(sock, flow)
        daemon.expect_fds(before)


@suite.case('/protocol/buffers-over-the-border-of-two-regions-work')
def _():
    # Adjacent for the guest, apart for the front-end.
    with World() as world:
        world.start()
        first = Region(guest=1 << 20)
        second = Region(guest=first.guest + first.size, user=0x7f1000000000)
        guest = world.guest(regions=[first, second])
        sock, flow = world.connection(guest)
        first.write(second.guest - 22, packet_of(flow, 5)[:22])
        second.write(second.guest, packet_of(flow, 5)[22:] + b'hello')
        guest.reclaim()
        guest.rings[TX].add([(second.guest - 22, 49, False)])
        guest.rings[TX].kick()
        equal(sock.recv(10), b'hello')


# --- Notifications -----------------------------------------------------------

@suite.case('/protocol/calls-are-held-back-as-event-idx-asks')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        ring = guest.rings[RX]
        ring.clear_call()
        far = (ring.next_used + 1000) & 0xffff
        ring.avail_words[2 + ring.size] = far
        sock.sendall(b'quiet')
        while ring.used_idx() == ring.next_used:
            pass
        try:
            os.eventfd_read(ring.call_fd)
            raise AssertionError('called, and nobody asked')
        except BlockingIOError:
            pass
        equal(flow.read(5), b'quiet')


@suite.case('/protocol/index-wraps-at-65536')
def _():
    with World() as world:
        world.start()
        guest = world.guest(first=65500)
        equal(guest.event(), TRANSPORT_RESET)
        sock, flow = world.connection(guest)
        for _ in range(100):
            exchange(sock, flow)
