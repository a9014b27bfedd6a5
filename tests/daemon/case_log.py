# SPDX-License-Identifier: GPL-2.0-or-later
#
# LOG_SHMFD: while a VM migrates, every page that the daemon writes is marked.

import mmap
import os

import frontend
from box import World, exchange, suite
from frontend import F_LOG_ALL, U64
from guest import RW, RX, TX
from ring import PAGE
from tap import WAIT_S, check, equal, until


class Log:
    """The dirty log: a bit for each page, from guest address 0."""

    def __init__(self, regions, offset=0):
        top = max(region.guest + region.size for region in regions)
        self.size = (top // PAGE // 8 + PAGE - 1) // PAGE * PAGE
        self.offset = offset
        self.fd = os.memfd_create('log', os.MFD_CLOEXEC)
        os.ftruncate(self.fd, offset + self.size)
        self.map = mmap.mmap(self.fd, offset + self.size)

    def close(self):
        self.map.close()
        os.close(self.fd)

    def take(self):
        """The pages that were marked since the last time."""
        marked = self.look()
        self.map[self.offset:] = bytes(self.size)
        return marked

    def look(self):
        """The same, and they stay."""
        return {8 * at + bit for at, byte in enumerate(self.map[self.offset:])
                if byte for bit in range(8) if byte & 1 << bit}


def start_logging(world, guest, offset=0):
    """As QEMU does when a migration begins, under running rings."""
    log = Log(guest.regions, offset)
    world.stack.callback(log.close)
    front = guest.front
    front.set_log(log.fd, log.size, log.offset)
    switch_logging(guest, True)
    return log


def switch_logging(guest, on):
    front = guest.front
    front.set_features(front.features & ~F_LOG_ALL | (F_LOG_ALL * on))
    for index, ring in enumerate(guest.rings):
        front.set_ring_address(index, ring, frontend.RING_LOG * on, ring.used)
    front.sync()


def pages(address, size):
    return set(range(address // PAGE, (address + size - 1) // PAGE + 1))


def watch(guest):
    """Note every page that a used rx chain says was written."""
    written = set()
    collect = guest.collect

    def collect_and_note():
        ring = guest.rings[RX]
        for idx in range(ring.next_used, ring.next_used +
                         ((ring.used_idx() - ring.next_used) & 0xffff)):
            at = 2 + 4 * (idx % ring.size)
            written.update(pages(guest.buffers[ring.used_words[at]],
                                 ring.used_words[at + 2]))
            written.update(pages(ring.used + 4 + 8 * (idx % ring.size), 8))
        collect()
    guest.collect = collect_and_note
    return written


@suite.case('/log/every-page-that-was-written-is-marked-and-few-others')
def _():
    for offset in 0, 8192:
        with World() as world:
            world.start()
            guest = world.guest()
            sock, flow = world.connection(guest)
            log = start_logging(world, guest, offset)
            log.take()
            written = watch(guest)
            for _ in range(5):
                exchange(sock, flow)
            sock.sendall(bytes(100000))
            flow.read(100000)
            guest.tx_done()
            written |= pages(guest.rings[RX].used, 4)
            written |= pages(guest.rings[TX].used, 4)
            # A CREDIT_UPDATE may be on its way: marked, and not used yet.
            until(lambda: others(guest, log, written) == set(),
                  'no others are marked')
            marked = log.look()
            check(written <= marked, f'not marked: {written - marked}')
            check(len(marked) > 20, f'only {len(marked)} marked')


def others(guest, log, written):
    """What is marked besides, and is not the event queue's used ring."""
    guest.collect()
    return log.look() - written - pages(guest.rings[2].used, 6 + 8 * 256)


@suite.case('/log/nothing-is-marked-when-it-is-off')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        log = start_logging(world, guest)
        exchange(sock, flow)
        check(log.take(), 'nothing while it is on')
        switch_logging(guest, False)
        guest.tx_done()
        log.take()
        exchange(sock, flow)
        guest.tx_done()
        equal(log.take(), set())


@suite.case('/log/used-ring-is-marked-where-the-front-end-says')
def _():
    # log_guest_addr need not be where the ring is.
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        log = start_logging(world, guest)
        elsewhere = guest.regions[0].alloc(PAGE)
        guest.front.set_ring_address(RX, guest.rings[RX], frontend.RING_LOG,
                                     elsewhere)
        log.take()
        exchange(sock, flow)
        marked = log.take()
        check(elsewhere // PAGE in marked, 'not where it was told')
        check(guest.rings[RX].used // PAGE not in marked, 'where the ring is')


@suite.case('/log/front-end-is-told-by-the-log-eventfd')
def _():
    with World() as world:
        world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        fd = frontend.eventfd()
        guest.front.command(frontend.SET_LOG_FD, b'', [fd])
        start_logging(world, guest)
        exchange(sock, flow)
        check(frontend.readable(fd, WAIT_S), 'not told')
        os.close(fd)


@suite.case('/log/new-log-takes-the-place-of-the-old')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        sock, flow = world.connection(guest)
        before = daemon.fds()
        for _ in range(10):
            log = start_logging(world, guest)
            log.take()
            flow.send(RW, b'x')
            guest.tx_done()
            check(guest.rings[TX].used // PAGE in log.take(), 'marked')
            equal(sock.recv(10), b'x')
        daemon.expect_fds(before)


@suite.case('/log/session-without-the-feature-works-with-a-bare-log')
def _():
    # Without LOG_SHMFD nothing can be logged, and SET_LOG_BASE has no sense;
    # the session ends or answers, and the next works.
    with World() as world:
        daemon = world.start()
        with world.guest(protocol=frontend.REPLY_ACK) as guest:
            guest.front.send(frontend.SET_LOG_BASE, U64.pack(0))
            try:
                guest.front.receive()
            except frontend.Gone:
                pass
        daemon.check_alive()
        with world.guest() as guest:
            guest.front.sync()
