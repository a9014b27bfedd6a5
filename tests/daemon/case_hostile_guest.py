# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest whose driver breaks every rule of virtqueues.

import os
import random
import threading
import time

import frontend
from box import check_service, suite
from guest import EVENT, HEADER, REQUEST, RX, TX, Guest
from ring import DESC, INDIRECT, NEXT, WRITE
from siege import siege
from tap import WAIT_S, check, least

QUEUES = {RX: 'rx', TX: 'tx', EVENT: 'event'}
PAGE = 4096
FIT = 1 << 15


# --- What a driver can do wrong ----------------------------------------------

# Descriptors that the driver does not use otherwise begin here.
FREE = 128


def chain_of(*descs):
    """The driver offers a chain of (address, length, flags, next).

    An address of ... is one in its memory; flags FIT are those of the queue.
    """
    def act(guest, ring):
        base = guest.regions[0].alloc(PAGE)
        for index, (address, length, flags, following) in enumerate(descs):
            if flags & FIT:
                flags = flags & ~FIT | (ring is not guest.rings[TX]) * WRITE
            ring.write_desc(FREE + index, base if address is ... else address,
                            length, flags,
                            following + FREE * (following < FREE))
        offer(ring, FREE)
    return act


def table_of(*descs, length=None, flags=INDIRECT, address=None):
    """The same by an indirect table."""
    def act(guest, ring):
        place = guest.regions[0].alloc(2 * PAGE)
        for index, desc in enumerate(descs):
            guest.regions[0].write(place + 16 * index, DESC.pack(
                place + PAGE if desc[0] is ... else desc[0], *desc[1:]))
        ring.write_desc(FREE, place if address is None else address,
                        16 * len(descs) if length is None else length,
                        flags, 0)
        offer(ring, FREE)
    return act


def offer(ring, head):
    ring.avail_words[2 + ring.next_avail % ring.size] = head
    ring.set_avail_idx(ring.next_avail + 1)


def head_of(number):
    return lambda guest, ring: offer(ring, number)


def jump(by):
    return lambda guest, ring: ring.set_avail_idx(ring.next_avail + by)


TOP = (1 << 64) - 1
END = (9 << 20) - 1                     # the last byte of the guest's memory

WRONG = {
    'a descriptor after itself': chain_of((..., 64, NEXT, 0)),
    'a loop of two': chain_of((..., 64, NEXT, 1), (..., 64, NEXT, 0)),
    'a loop of writable ones': chain_of((..., 64, NEXT | WRITE, 1),
                                        (..., 64, NEXT | WRITE, 0)),
    'next outside of the table': chain_of((..., 64, NEXT, 256)),
    'next far outside': chain_of((..., 64, NEXT, 65535)),
    'address 0': chain_of((0, 64, FIT, 0)),
    'address before memory': chain_of(((1 << 20) - 8, 64, FIT, 0)),
    'the last byte and more': chain_of((END, 64, FIT, 0)),
    'the highest address': chain_of((TOP, 64, FIT, 0)),
    'address that wraps': chain_of((TOP - 8, 64, FIT, 0)),
    'all memory there is': chain_of((..., 0xffffffff, FIT, 0)),
    'good, then outside': chain_of((..., 44, FIT | NEXT, 1),
                                   (TOP, 64, 0, 0)),
    'readable and writable mixed': chain_of((..., 44, WRITE | NEXT, 1),
                                            (..., 44, 0, 0)),
    'the wrong direction': chain_of((..., 64, 0, 0)),
    'the wrong direction too': chain_of((..., 64, WRITE, 0)),
    'no byte at all': chain_of((..., 0, FIT, 0)),
    'many of no byte': chain_of(*[(..., 0, NEXT, at + 1) for at in range(99)],
                                (..., 0, 0, 0)),
    'shorter than a header': chain_of((..., 43, FIT, 0)),
    'one byte': chain_of((..., 1, FIT, 0)),
    'every flag': chain_of((..., 64, 0x7fff, 0)),
    'an indirect table in a table': table_of((..., 64, INDIRECT, 0)),
    'a table that loops': table_of((..., 64, NEXT, 0)),
    'a table with next outside': table_of((..., 64, NEXT, 9)),
    'a table of no byte': table_of(length=0),
    'a table of 15 bytes': table_of(length=15),
    'a table of 17 bytes': table_of((..., 64, 0, 0), length=17),
    'a table of 4 GiB': table_of(length=0xfffffff0),
    'a table of a MiB': table_of(*[(..., 1, NEXT, 1)] * 200, length=1 << 20),
    'a table outside': table_of(length=16, address=TOP - 15),
    'a table at the end': table_of(length=16, address=END - 7),
    'a table and a next': table_of((..., 64, 0, 0), flags=INDIRECT | NEXT),
    'a writable table': table_of((..., 64, 0, 0), flags=INDIRECT | WRITE),
    'a head outside': head_of(256),
    'a head far outside': head_of(65535),
    'avail runs ahead': jump(257),
    'avail runs far ahead': jump(32768),
    'avail runs back': jump(-1),
    'avail runs far back': jump(-300),
}


# What is no fault of the ring, only of the packet or of nothing.
BEARABLE = {'the wrong direction', 'the wrong direction too', 'one byte',
            'shorter than a header', 'a writable table', 'avail runs back'}


@suite.case('/hostile-guest/rings-spoilt-in-every-way', timeout_s=120)
def _():
    for queue in QUEUES:
        with siege() as under:
            for what, act in WRONG.items():
                spoil(under, f'{QUEUES[queue]}: {what}', queue, act,
                      reported=queue != EVENT and what not in BEARABLE)


def spoil(under, what, queue, act, reported):
    with under.guest(what, rx_buffers=8) as guest:
        host, _ = under.world.connection(guest, 7)
        err = frontend.eventfd()
        guest.front.command(frontend.SET_VRING_ERR, frontend.U64.pack(queue),
                            [err])
        act(guest, guest.rings[queue])
        host.sendall(bytes(60000))
        work_at(under, guest, what)
        check(not reported or frontend.readable(err, WAIT_S),
              f'{what}: no word by the error eventfd')
        os.close(err)
        renew(under, guest, what)


@suite.case('/hostile-guest/event-queue-spoilt-when-an-event-is-owed')
def _():
    with siege() as under:
        for what, act in WRONG.items():
            with under.guest(what, first=7, start=False) as guest:
                act(guest, guest.rings[EVENT])
                guest.resume()
                work_at(under, guest, what)
                renew(under, guest, what)


def work_at(under, guest, what):
    """Kick all that can be kicked: no more is done than there is to do."""
    def ticks_of_kicks():
        before = under.daemon.ticks()
        for ring in guest.rings:
            ring.force_kick()
        time.sleep(0.02)
        return under.daemon.ticks() - before

    spent = least(ticks_of_kicks, 2)
    check(spent <= 2, f'{spent} ticks of CPU with {what}')
    under.check(what)


def renew(under, guest, what):
    """The driver resets the device, and all is well again."""
    front = guest.front
    guest.stop()
    front.command(frontend.RESET_DEVICE)
    front.remove_region(guest.regions[0])
    front.close_rings()
    try:
        check_service(under.world, Guest(front=front))
    except AssertionError as error:
        raise AssertionError(f'no service after {what}') from error


@suite.case('/hostile-guest/spoilt-ring-is-reported-once-and-by-the-errfd')
def _():
    with siege() as under:
        with under.guest('loop') as guest:
            err = frontend.eventfd()
            guest.front.command(frontend.SET_VRING_ERR,
                                frontend.U64.pack(TX), [err])
            before = len(under.daemon.log())
            WRONG['a loop of two'](guest, guest.rings[TX])
            for _ in range(100):
                guest.rings[TX].force_kick()
                guest.rings[RX].force_kick()
            check(frontend.readable(err, WAIT_S),
                  'no word by the error eventfd')
            guest.front.sync()
            lines = [line for line in under.daemon.log()[before:].splitlines()
                     if ': message ' not in line]
            check(len(lines) == 1, f'{lines} in the log')


@suite.case('/hostile-guest/other-vm-is-served-while-a-ring-is-spoilt')
def _():
    with siege() as under:
        with under.guest('loop') as guest:
            WRONG['a loop of two'](guest, guest.rings[TX])
            guest.rings[TX].force_kick()
            under.daemon.expect_idle()
            for port in 101, 102:
                check_service(under.world, under.bystander, port)


@suite.case('/hostile-guest/spoilt-ring-is-mended-by-the-next-front-end')
def _():
    with siege() as under:
        for what in 'a loop of two', 'avail runs far ahead', 'a head outside':
            with under.guest(what) as guest:
                WRONG[what](guest, guest.rings[TX])
                guest.rings[TX].force_kick()
                guest.front.sync()
            with under.world.guest(3) as guest:
                check_service(under.world, guest)


@suite.case('/hostile-guest/random-rings')
def _():
    dice = random.Random(5)
    with siege() as under:
        for turn in range(150):
            with under.guest(f'random {turn}') as guest:
                for ring in guest.rings:
                    randomise(dice, guest.regions[0], ring)
                    ring.force_kick()
                guest.front.sync()
                for ring in guest.rings:
                    ring.set_avail_idx(dice.randrange(65536))
                    ring.force_kick()


def randomise(dice, region, ring):
    for index in range(ring.size):
        address = dice.choice((region.guest + dice.randrange(region.size),
                               region.guest, END - 100, 0, TOP))
        ring.write_desc(index, address, dice.choice(
            (0, 1, 43, 44, 64, 4096, 65536, 0xffffffff)),
            dice.choice((0, 1, 2, 3, 4, 5, 7)), dice.randrange(ring.size + 2))
        ring.avail_words[2 + index] = dice.randrange(ring.size + 1)
    ring.avail_words[2 + ring.size] = dice.randrange(65536)
    ring.set_avail_idx(ring.next_avail + dice.choice((1, 10, 256)))


@suite.case('/hostile-guest/memory-that-changes-while-it-is-read')
def _():
    # A second thread of the driver writes descriptors and indices.

    dice = random.Random(6)
    with siege() as under:
        with under.guest('races') as guest:
            stop = threading.Event()
            thread = threading.Thread(target=scribble,
                                      args=(dice, guest, stop))
            thread.start()
            try:
                for _ in range(300):
                    for ring in guest.rings:
                        ring.force_kick()
                    under.check('races')
            finally:
                stop.set()
                thread.join()


def scribble(dice, guest, stop):
    region = guest.regions[0]
    ring = guest.rings[TX]
    while not stop.is_set():
        ring.write_desc(dice.randrange(4), region.guest + dice.randrange(
            region.size), dice.choice((44, 64, 5000, 1 << 31)),
            dice.choice((0, 1, 4)), dice.randrange(4))
        region.write(region.guest + dice.randrange(PAGE), HEADER.pack(
            3, 2, 1, 2, dice.choice((0, 20, 0xffffffff)), 1,
            dice.randrange(9), 0, dice.randrange(1 << 32), 0))
        ring.avail_words[2 + dice.randrange(ring.size)] = dice.randrange(4)
        ring.avail_words[1] = ring.used_idx() + dice.randrange(8) & 0xffff


@suite.case('/hostile-guest/packets-that-make-no-sense')
def _():
    dice = random.Random(7)
    words = (0, 1, 2, 3, 4, 99, 0x7fffffff, 0xfffffffe, 0xffffffff)
    with siege() as under:
        for turn in range(20):
            with under.guest(f'nonsense {turn}', rx_buffers=64) as guest:
                under.world.connection(guest, 7)
                for _ in range(300):
                    guest.send(dice.choice(range(12)), dice.choice(words),
                               dice.choice(words), bytes(dice.choice(
                                   (0, 1, 100))), type=dice.choice((0, 1, 2)),
                               flags=dice.choice(words),
                               buf_alloc=dice.choice(words),
                               fwd_cnt=dice.choice(words),
                               src_cid=dice.choice((3, 3, 3, 0, 4)),
                               dst_cid=dice.choice((2, 2, 2, 0, 3, 1 << 33)))
                    guest.collect()
                guest.tx_done()
                guest.collect()
                guest.inbox.clear()
                check_service(under.world, guest)


@suite.case('/hostile-guest/guest-that-takes-nothing-costs-nothing')
def _():
    with siege() as under:
        with under.guest('deaf', rx_buffers=0) as guest:
            before = under.daemon.memory_kib()
            for port in range(5000):
                if guest.rings[TX].free:
                    guest.send(REQUEST, port, 9, kick=port % 50 == 0)
            guest.rings[TX].force_kick()
            under.check('deaf')
            under.daemon.expect_idle()
            grown = under.daemon.memory_kib() - before
            check(grown < 2048, f'{grown} KiB')
