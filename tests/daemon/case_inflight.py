# SPDX-License-Identifier: GPL-2.0-or-later
#
# INFLIGHT_SHMFD: a daemon that dies in the middle of a batch loses no chain of
# the driver, and gives none back twice.

import mmap
import os
import random
import struct
import time

import frontend
from box import World, background, check_service, read_ok, suite
from guest import (CREDIT_UPDATE, REQUEST, RST, RW, RX, SHUTDOWN,
                   TRANSPORT_RESET, TX)
from tap import check, equal

# QueueRegionSplit of vhost-user.rst: features, version, number of
# descriptors, head of the last batch, used idx; then a state for each.
HEAD = struct.Struct('<QHHHH')
STATE = struct.Struct('<B5xHQ')         # in flight, next, counter
VERSION = 1


class Area:
    """What the daemon shares, so that its successor knows what it had."""

    def __init__(self, front, queues, size):
        self.queues, self.size = queues, size
        self.fd, self.length, self.offset = front.get_inflight(queues, size)
        self.map = mmap.mmap(self.fd, self.length + self.offset)
        self.stride = self.length // queues

    def close(self):
        self.map.close()
        os.close(self.fd)

    def give(self, front):
        front.set_inflight((self.fd, self.length, self.offset), self.queues,
                           self.size)

    def write_head(self, queue, last_batch, used_idx):
        HEAD.pack_into(self.map, self.offset + queue * self.stride, 0,
                       VERSION, self.size, last_batch, used_idx)

    def read_head(self, queue):
        return HEAD.unpack_from(self.map, self.offset + queue * self.stride)

    def write_state(self, queue, head, inflight, counter, following=0):
        STATE.pack_into(self.map, self.at(queue, head), inflight, following,
                        counter)

    def inflight(self, queue):
        return {head for head in range(self.size) if STATE.unpack_from(
            self.map, self.at(queue, head))[0]}

    def at(self, queue, head):
        return self.offset + queue * self.stride + HEAD.size + \
            head * STATE.size


def tracked(world, **kwargs):
    """A guest whose session has such an area from the start."""
    guest = world.guest(start=False, **kwargs)
    area = Area(guest.front, len(guest.rings), guest.rings[0].size)
    world.stack.callback(area.close)
    area.give(guest.front)
    guest.start()
    return guest, area


def come_back(world, guest, area):
    guest.again(world.socket_path())
    area.give(guest.front)
    guest.resume()


@suite.case('/inflight/area-has-room-for-every-descriptor')
def _():
    with World() as world:
        daemon = world.start()
        before = daemon.fds()
        with frontend.FrontEnd(world.socket_path()) as front:
            front.negotiate()
            for queues, size in (3, 256), (2, 128), (3, 1024), (1, 2):
                area = Area(front, queues, size)
                check(area.stride >= HEAD.size + STATE.size * size,
                      f'{area.length} bytes for {queues} of {size}')
                equal(area.map[area.offset:], bytes(area.length), 'content')
                area.close()
        daemon.expect_fds(before)


@suite.case('/inflight/service-is-the-same-and-nothing-stays-marked')
def _():
    with World() as world:
        world.start()
        guest, area = tracked(world)
        check_service(world, guest)
        guest.tx_done()
        equal([area.inflight(q) for q in (RX, TX)], [set(), set()])
        for queue in RX, TX:
            head = area.read_head(queue)
            equal((head[1], head[4]), (VERSION, guest.rings[queue].used_idx()))


@suite.case('/inflight/chains-that-were-taken-are-done-in-their-order')
def _():
    # As if the last daemon had died with three chains in its hands, taken in
    # another order than that of their numbers.
    with World() as world:
        daemon = world.start()
        guest, area = tracked(world)
        check_service(world, guest)
        guest.tx_done()
        guest.stop()
        daemon.kill()
        for port in 101, 102, 103, 104, 105:
            guest.send(RW, port, 9, kick=False)
        ring = guest.rings[TX]
        heads = [ring.avail_words[2 + (ring.used_idx() + at) % ring.size]
                 for at in range(5)]
        area.write_head(TX, 0, ring.used_idx())
        for counter, at in enumerate([2, 0, 1]):
            area.write_state(TX, heads[at], 1, 500 + counter)
        world.start()
        come_back(world, guest, area)
        equal(guest.event(), TRANSPORT_RESET)
        guest.tx_done()
        got = [guest.receive(RST).dst_port for _ in range(5)]
        equal(got, [103, 101, 102, 104, 105])
        equal(guest.poll(timeout_s=0.1), None)
        equal(area.inflight(TX), set())
        check_service(world, guest)


@suite.case('/inflight/chain-that-was-given-back-is-not-done-again')
def _():
    # It died between the index of the used ring and its own notes.
    with World() as world:
        daemon = world.start()
        guest, area = tracked(world)
        check_service(world, guest)
        guest.send(RW, 101, 9)
        guest.receive(RST)
        ring = guest.rings[TX]
        daemon.kill()
        last = ring.used_words[2 + 4 * ((ring.used_idx() - 1) % ring.size)]
        guest.tx_done()
        area.write_head(TX, last, (ring.used_idx() - 1) & 0xffff)
        area.write_state(TX, last, 1, 900)
        world.start()
        come_back(world, guest, area)
        equal(guest.event(), TRANSPORT_RESET)
        equal(guest.poll(timeout_s=0.2), None)
        equal(area.inflight(TX), set())
        check_service(world, guest)


@suite.case('/inflight/killed-in-mid-batch-no-chain-is-lost-or-doubled')
def _():
    # pop_used() raises when a chain comes back that the device had not.
    dice = random.Random(1)
    with World() as world:
        daemon = world.start()
        guest, area = tracked(world)
        for turn in range(12):
            with background(daemon.process.wait, 30):
                load(world, daemon, guest, dice.uniform(0.005, 0.05))
            daemon = world.start()
            come_back(world, guest, area)
            guest.tx_done()
            equal(guest.event(), TRANSPORT_RESET)
            guest.collect()
            equal(len(guest.rings[RX].chains), guest.rx_count, 'rx chains')
            guest.inbox.clear()
        use_every_rx_buffer(world, guest)
        equal([area.inflight(q) for q in (RX, TX)], [set(), set()])


def load(world, daemon, guest, seconds):
    """Bytes both ways, and a kill in the middle of it."""
    sock, flow = connect(world, guest)
    sock.setblocking(False)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            sock.send(bytes(65536))
        except BlockingIOError:
            pass
        for _ in range(20):
            flow.send(CREDIT_UPDATE)
            guest.send(RW, 4000, 9)     # of no flow: an RST comes back
        guest.collect()
        for packet in guest.inbox:
            flow.taken += len(packet.payload) * (packet.op == RW)
        guest.inbox.clear()
    for _ in range(100):
        guest.send(RW, 4000, 9, kick=False)
    guest.rings[TX].force_kick()
    daemon.process.kill()
    sock.close()


def connect(world, guest):
    """A connection; what the guest said of older ones is refused before."""
    sock = world.dial(1234)
    while True:
        packet = guest.receive(REQUEST, RST)
        if packet.op == REQUEST:
            flow = guest.answer(packet)
            read_ok(sock)
            return sock, flow


def use_every_rx_buffer(world, guest):
    """As many packets as there are buffers: none of them may be stuck."""
    sock, flow = connect(world, guest)
    seen = set()
    for _ in range(4 * guest.rx_count):
        sock.sendall(b'x')
        seen.add(guest.rings[RX].used_words[
            2 + 4 * (guest.rings[RX].next_used % guest.rings[RX].size)])
        flow.read(1)
    sock.close()
    flow.receive(SHUTDOWN)
    equal(len(seen), guest.rx_count, 'different rx chains')
