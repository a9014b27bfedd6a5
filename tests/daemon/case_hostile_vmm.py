# SPDX-License-Identifier: GPL-2.0-or-later
#
# A front-end that breaks every rule of the protocol.

import contextlib
import os
import random
import socket
import struct
import time

import frontend
from box import World, check_new_guest, suite
from frontend import (ADDRESS, ADD_MEM_REG, FrontEnd, HEADER, LOG,
                      NEED_REPLY, REGION, REM_MEM_REG, SET_LOG_BASE,
                      SET_MEM_TABLE,
                      SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_CALL,
                      SET_VRING_ENABLE, SET_VRING_ERR, SET_VRING_KICK,
                      SET_VRING_NUM, STATE, U64, VERSION)
from guest import RX, TX
from ring import Region, Ring
from siege import siege
from tap import check

EVERY_REQUEST = range(frontend.LAST_REQUEST + 1)
# As long as the longest that a message's payload can be, and more.
LENGTHS = (0, 1, 4, 7, 8, 9, 12, 16, 20, 24, 32, 39, 40, 41, 264, 268, 300)


# --- Messages ----------------------------------------------------------------

@suite.case('/hostile-vmm/message-that-ends-at-every-length')
def _():
    with siege() as under:
        for request in EVERY_REQUEST:
            whole = HEADER.pack(request, VERSION, 40) + bytes(40)
            for length in range(0, len(whole), 1 if request < 3 else 7):
                with under.session(f'{request} cut at {length}',
                                   negotiate=False, heard=False) as front:
                    front.send_bytes(whole[:length])
                    front.sock.shutdown(socket.SHUT_WR)
                    front.is_gone()


@suite.case('/hostile-vmm/every-request-with-every-length')
def _():
    with siege() as under:
        for request in EVERY_REQUEST:
            for length in LENGTHS:
                for byte in b'\x00\xff':
                    with under.session(f'{request} of {length} bytes '
                                       f'{byte}') as front:
                        front.send(request, bytes([byte]) * length)


@suite.case('/hostile-vmm/absurd-sizes-and-flags')
def _():
    with siege() as under:
        for request in EVERY_REQUEST:
            for size in 273, 65536, 1 << 31, 0xffffffff:
                with under.session(f'{request}, size {size}') as front:
                    front.send(request, bytes(300), size=size)
            for flags in 0, 2, 3, 5, 13, 0xffffffff:
                with under.session(f'{request}, flags {flags}') as front:
                    front.send(request, bytes(8), flags=flags)
        for request in 46, 255, 1 << 16, 0x80000000, 0xffffffff:
            with under.session(f'request {request}') as front:
                front.send(request, bytes(8))


@suite.case('/hostile-vmm/message-in-single-bytes-is-understood')
def _():
    with siege() as under:
        with under.session('bytes') as front:
            front.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for byte in HEADER.pack(frontend.GET_FEATURES, VERSION, 0) * 3:
                front.send_bytes(bytes([byte]))
            for _ in range(3):
                front.answer(frontend.GET_FEATURES)


@suite.case('/hostile-vmm/a-thousand-messages-in-one-write-are-answered')
def _():
    with siege() as under:
        with under.session('flood') as front:
            front.send_bytes(
                HEADER.pack(frontend.GET_FEATURES, VERSION, 0) * 1000)
            for _ in range(1000):
                front.answer(frontend.GET_FEATURES)


# --- Descriptors -------------------------------------------------------------

def wrong_fds():
    """Descriptors of every kind that no message wants."""
    kinds = {'/dev/null': os.open('/dev/null', os.O_RDWR),
             'a folder': os.open('/', os.O_RDONLY),
             'read-only': os.open('/etc/hostname', os.O_RDONLY),
             'a path': os.open('/', os.O_PATH),
             'empty memory': os.memfd_create('empty'),
             'an eventfd that is full': os.eventfd((1 << 64) - 2 &
                                                   0xffffffff)}
    kinds['a pipe to read'], kinds['a pipe to write'] = os.pipe()
    left, right = socket.socketpair()
    kinds['a socket'], kinds['its peer'] = left.detach(), right.detach()
    return kinds


@suite.case('/hostile-vmm/descriptors-nobody-asked-for-are-closed')
def _():
    fd = frontend.eventfd()
    with siege() as under:
        before = under.daemon.fds()
        for request in EVERY_REQUEST:
            for count in 1, 2, 8, 9, 200:
                with under.session(f'{request}, {count} fds') as front:
                    front.send(request, bytes(8), [fd] * count)
                with under.session(f'{request}, {count} fds, cut',
                                   heard=False) as front:
                    front.send(request, b'', [fd] * count, size=40)
        under.daemon.expect_fds(before)
    os.close(fd)


@suite.case('/hostile-vmm/descriptors-on-every-byte-are-closed')
def _():
    fd = frontend.eventfd()
    with siege() as under:
        before = under.daemon.fds()
        with under.session('fds on every byte') as front:
            message = HEADER.pack(SET_MEM_TABLE, VERSION, 40) + bytes(40)
            for byte in message:
                front.send_bytes(bytes([byte]), [fd] * 8)
        under.daemon.expect_fds(before)
    os.close(fd)


@suite.case('/hostile-vmm/descriptors-of-the-wrong-kind')
def _():
    region = Region(1 << 20)
    with siege() as under:
        for kind, fd in wrong_fds().items():
            for request in SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR:
                with under.guest(f'{request} with {kind}') as guest:
                    guest.front.command(request, U64.pack(TX), [fd])
                    guest.send(5, 1, 2, b'data')
                    guest.poll(timeout_s=0.02)
            for request, payload in (
                    (SET_MEM_TABLE, struct.pack('=II', 1, 0) +
                     region.describe()),
                    (ADD_MEM_REG, bytes(8) + region.describe()),
                    (SET_LOG_BASE, LOG.pack(4096, 0)),
                    (frontend.SET_LOG_FD, b''),
                    (frontend.SET_INFLIGHT_FD, frontend.INFLIGHT.pack(
                        65536, 0, 3, 256))):
                with under.session(f'{request} with {kind}') as front:
                    front.send(request, payload, [fd])
            os.close(fd)


# --- Memory ------------------------------------------------------------------

PAGE = 4096
TOP = (1 << 64) - PAGE


def table(*regions, count=None):
    return struct.pack('=II', len(regions) if count is None else count, 0) + \
        b''.join(REGION.pack(*region) for region in regions)


@suite.case('/hostile-vmm/memory-that-cannot-be')
def _():
    memory = Region(1 << 20)
    size = memory.size
    with siege() as under:
        for guest, length, user, offset in (
                (0, 0, 0, 0), (0, size + 1, 0, 0),
                (0, size, 0, 1), (0, size, 0, PAGE), (0, 1 << 63, 0, 1 << 63),
                (0, (1 << 64) - 1, 0, 0), (0, (1 << 64) - 1, 0, 2),
                (0, PAGE, 0, (1 << 64) - 1), (0, 1 << 47, 0, 0),
                (TOP, size, 0, 0), (0, size, TOP, 0), (TOP, PAGE, TOP, 0),
                ((1 << 64) - 1, 1, (1 << 64) - 1, 0), (0, size, 0, TOP)):
            what = f'{guest:#x} {length:#x} {user:#x} {offset:#x}'
            with under.session('table ' + what) as front:
                front.command(SET_MEM_TABLE,
                              table((guest, length, user, offset)),
                              [memory.fd])
                raise AssertionError('it was taken')
            with under.session('slot ' + what) as front:
                front.command(ADD_MEM_REG, bytes(8) + REGION.pack(
                    guest, length, user, offset), [memory.fd])
                raise AssertionError('it was taken')


@suite.case('/hostile-vmm/memory-tables-that-do-not-add-up')
def _():
    memory = Region(1 << 20)
    one = (1 << 20, 1 << 20, 1 << 40, 0)
    with siege() as under:
        before = under.daemon.fds()
        for given, count, fds in (
                (0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 2), (1, 0, 1),
                (1, 2, 1), (1, 2, 2), (8, 9, 8), (9, 9, 8), (8, 8, 7),
                (1, 1 << 31, 1), (1, 0xffffffff, 1), (8, 8, 8), (0, 0, 0)):
            with under.session(f'{given} {count} {fds}') as front:
                front.command(SET_MEM_TABLE,
                              table(*[one] * given, count=count),
                              [memory.fd] * fds)
        with under.session('more slots than there are') as front:
            for at in range(600):
                front.command(ADD_MEM_REG, bytes(8) + REGION.pack(
                    at << 30, 1 << 20, at << 30, 0), [memory.fd])
        with under.session('the same slot twice, removed thrice') as front:
            for _ in range(2):
                front.command(ADD_MEM_REG, bytes(8) + REGION.pack(*one),
                              [memory.fd])
            for _ in range(3):
                front.command(REM_MEM_REG, bytes(8) + REGION.pack(*one))
        under.daemon.expect_fds(before)


@suite.case('/hostile-vmm/memory-goes-from-under-running-rings')
def _():
    with siege() as under:
        for how in ('slot', 'none', 'other', 'moved', 'twice'):
            with under.guest(how) as guest:
                region = guest.regions[0]
                host, flow = under.world.connection(guest, 7)
                host.sendall(bytes(100000))
                front = guest.front
                if how == 'slot':
                    front.remove_region(region)
                elif how == 'none':
                    front.command(SET_MEM_TABLE, table())
                elif how == 'other':
                    other = Region(1 << 20, guest=1 << 40, user=1 << 41)
                    front.share([other], slots=False)
                elif how == 'moved':
                    region.user += 1 << 32
                    front.share([region], slots=False)
                else:
                    front.remove_region(region)
                    front.add_region(region)
                for _ in range(20):
                    guest.rings[RX].force_kick()
                    guest.rings[TX].force_kick()
                guest.poll(timeout_s=0.05)


@suite.case('/hostile-vmm/memory-file-shrinks-under-running-rings')
def _():
    with siege() as under:
        for part in 0, PAGE, 1 << 20:
            with under.guest(f'cut at {part}') as guest:
                host, _ = under.world.connection(guest, 7)
                os.ftruncate(guest.regions[0].fd, part)
                host.sendall(bytes(100000))
                guest.rings[RX].force_kick()
                guest.rings[TX].force_kick()
                under.check(f'cut at {part}')


# --- Rings -------------------------------------------------------------------

@suite.case('/hostile-vmm/rings-of-absurd-sizes-and-numbers')
def _():
    with siege() as under:
        for request in (SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE,
                        frontend.GET_VRING_BASE):
            for index in 0, 2, 3, 4, 127, 255, 256, 1 << 31, 0xffffffff:
                for number in (0, 1, 3, 255, 32768, 65535, 65536, 1 << 31,
                               0xffffffff):
                    what = f'{request} of ring {index}: {number}'
                    with under.session(what) as front:
                        front.send(request, STATE.pack(index, number))


@suite.case('/hostile-vmm/rings-outside-of-memory')
def _():
    with siege() as under:
        for part in range(3):
            for where in ('before', 'last byte', 'one short', 'behind',
                          'odd', 0, (1 << 64) - 1, (1 << 64) - 16, 1 << 63):
                with under.session(f'part {part} {where}') as front:
                    place_ring(front, part, where)


def place_ring(front, part, where):
    """Set up a ring with one of its three parts somewhere wrong."""
    region = Region(1 << 20)
    front.set_features()
    front.share([region])
    ring = Ring(region)
    user = region.user
    size = (16 * ring.size, 6 + 8 * ring.size, 6 + 2 * ring.size)[part]
    place = {'before': user - 16, 'last byte': user + region.size - 1,
             'one short': (user + region.size - size + 16) // 16 * 16,
             'behind': user + region.size, 'odd': user + 1}.get(where, where)
    parts = [region.user_address(at)
             for at in (ring.desc, ring.used, ring.avail)]
    parts[part] = place
    front.command(SET_VRING_NUM, STATE.pack(0, ring.size))
    front.command(SET_VRING_BASE, STATE.pack(0, 0))
    front.command(SET_VRING_ADDR, ADDRESS.pack(0, 0, *parts, 0))
    front.command(SET_VRING_KICK, U64.pack(0), [ring.kick_fd])
    front.enable_ring(0)
    ring.set_avail_idx(1)
    ring.force_kick()
    front.sync()


@suite.case('/hostile-vmm/steps-left-out-or-in-another-order')
def _():
    steps = ('features', 'memory', 'num', 'base', 'address', 'kick', 'call',
             'enable')
    dice = random.Random(4)
    orders = [[s for s in steps if s != left] for left in steps]
    orders += [list(reversed(steps))]
    orders += [dice.sample(steps, len(steps)) for _ in range(100)]
    with siege() as under:
        for order in orders:
            with under.session(' '.join(order)) as front:
                take_steps(front, order)


def take_steps(front, order):
    region = Region(1 << 20)
    rings = [Ring(region) for _ in range(3)]
    for step in order:
        for index, ring in enumerate(rings):
            if step == 'num':
                front.command(SET_VRING_NUM, STATE.pack(index, 256))
            elif step == 'base':
                front.command(SET_VRING_BASE, STATE.pack(index, 0))
            elif step == 'address':
                front.set_ring_address(index, ring)
            elif step == 'kick':
                ring.set_avail_idx(3)
                front.command(SET_VRING_KICK, U64.pack(index), [ring.kick_fd])
                ring.force_kick()
            elif step == 'call':
                front.command(SET_VRING_CALL, U64.pack(index), [ring.call_fd])
            elif step == 'enable':
                front.enable_ring(index)
        if step == 'features':
            front.set_features()
        elif step == 'memory':
            front.share([region])


@suite.case('/hostile-vmm/running-rings-are-set-up-again')
def _():
    with siege() as under:
        for request, payload in (
                (SET_VRING_NUM, STATE.pack(RX, 2)),
                (SET_VRING_NUM, STATE.pack(RX, 1024)),
                (SET_VRING_BASE, STATE.pack(RX, 9)),
                (SET_VRING_ADDR, ADDRESS.pack(RX, 0, 0, 0, 0, 0)),
                (SET_VRING_KICK, U64.pack(RX | frontend.NO_FD)),
                (SET_VRING_CALL, U64.pack(RX | frontend.NO_FD)),
                (frontend.SET_FEATURES, U64.pack(0)),
                (frontend.SET_FEATURES, U64.pack((1 << 64) - 1)),
                (frontend.SET_PROTOCOL_FEATURES, U64.pack(0)),
                (frontend.SET_PROTOCOL_FEATURES, U64.pack((1 << 64) - 1)),
                (frontend.RESET_DEVICE, b''), (frontend.RESET_OWNER, b'')):
            with under.guest(f'{request} {payload}') as guest:
                host, _ = under.world.connection(guest, 7)
                guest.front.send(request, payload)
                with contextlib.suppress(BrokenPipeError):
                    host.sendall(bytes(50000))
                guest.rings[RX].force_kick()
                guest.rings[TX].force_kick()
                under.check(f'{request} {payload}')


# --- Shared areas ------------------------------------------------------------

@suite.case('/hostile-vmm/inflight-areas-that-cannot-be')
def _():
    area = os.memfd_create('inflight')
    os.ftruncate(area, 1 << 20)
    pack = frontend.INFLIGHT.pack
    with siege() as under:
        before = under.daemon.fds()
        for queues, size in ((0, 0), (0, 256), (3, 0), (65535, 65535),
                             (3, 65535), (4, 256), (65535, 256)):
            with under.session(f'get {queues} {size}') as front:
                front.send(frontend.GET_INFLIGHT_FD, pack(0, 0, queues, size))
                _, _, _, fds = front.receive()
                for fd in fds:
                    os.close(fd)
            for length, offset in ((1 << 20, 0), (0, 0), (1, 0), (64, 0),
                                   (1 << 40, 0), ((1 << 64) - 1, 1),
                                   (4096, (1 << 64) - 4096), (12320, 1),
                                   (12416, (1 << 20) - 4096)):
                with under.session(f'set {queues} {size} '
                                   f'{length} {offset}') as front:
                    front.command(frontend.SET_INFLIGHT_FD,
                                  pack(length, offset, queues, size), [area])
        with under.session('many areas') as front:
            for _ in range(200):
                os.close(front.get_inflight(3, 1024)[0])
        under.daemon.expect_fds(before)
    os.close(area)


@suite.case('/hostile-vmm/inflight-area-full-of-nonsense')
def _():
    dice = random.Random(2)
    with siege() as under:
        for turn in range(30):
            with under.guest(f'nonsense {turn}', start=False) as guest:
                fd, length, offset = guest.front.get_inflight(3, 256)
                filling = (b'\xff' * length, b'\x01' * length,
                           dice.randbytes(length))[turn % 3]
                os.pwrite(fd, filling, offset)
                guest.front.set_inflight((fd, length, offset), 3, 256)
                guest.start()
                guest.send(5, 1, 2, b'data')
                guest.poll(timeout_s=0.02)
                os.pwrite(fd, dice.randbytes(length), offset)
                guest.send(5, 1, 2, b'data')
                guest.poll(timeout_s=0.02)
                os.ftruncate(os.dup(fd), length)
                os.close(fd)


@suite.case('/hostile-vmm/logs-that-cannot-be')
def _():
    log = os.memfd_create('log')
    os.ftruncate(log, PAGE)
    with siege() as under:
        for size, offset in ((0, 0), (1, 0), (PAGE, 1), (2 * PAGE, 0),
                             (PAGE, PAGE), (1 << 40, 0), (1 << 63, 0),
                             ((1 << 64) - 1, 0), (PAGE, (1 << 64) - PAGE),
                             (8, 0), (PAGE, 0)):
            with under.guest(f'log {size:#x} {offset:#x}') as guest:
                guest.front.set_log(log, size, offset)
                write_with_log(guest, 0)
        for where in (0, 1, (1 << 64) - 1, (1 << 64) - 2048, 1 << 63,
                      PAGE * 8 * PAGE - 1, PAGE * 8 * PAGE):
            with under.guest(f'used ring logged at {where:#x}') as guest:
                guest.front.set_log(log, PAGE)
                write_with_log(guest, where)
    os.close(log)


def write_with_log(guest, where):
    front = guest.front
    front.set_features(front.features | frontend.F_LOG_ALL)
    for index, ring in enumerate(guest.rings):
        front.set_ring_address(index, ring, frontend.RING_LOG, where)
    guest.send(5, 1, 2, b'data')
    guest.poll(timeout_s=0.05)


@suite.case('/hostile-vmm/log-file-shrinks')
def _():
    with siege() as under:
        with under.guest('log shrinks') as guest:
            log = os.memfd_create('log')
            os.ftruncate(log, PAGE)
            guest.front.set_log(log, PAGE)
            os.ftruncate(log, 0)
            write_with_log(guest, 0)
            under.check('log shrinks')
            os.close(log)


# --- Chance ------------------------------------------------------------------

@suite.case('/hostile-vmm/ten-thousand-random-messages')
def _():
    dice = random.Random(3)
    memory = Region(1 << 20)
    fds = [memory.fd, frontend.eventfd(), os.open('/dev/null', os.O_RDWR)]
    with siege() as under:
        for turn in range(500):
            with under.session(f'random {turn}') as front:
                for _ in range(20):
                    send_random(dice, front, fds)
    os.close(fds[1])
    os.close(fds[2])


def send_random(dice, front, fds):
    length = dice.choice(LENGTHS)
    words = [dice.choice((0, 1, 2, 3, 255, 256, 4096, 1 << 20, 1 << 32,
                          (1 << 64) - 1)) for _ in range(length // 8)]
    payload = b''.join(U64.pack(word) for word in words)
    flags = VERSION | dice.choice((0, 0, NEED_REPLY))
    front.send(dice.choice(EVERY_REQUEST), payload,
               dice.choices(fds, k=dice.choice((0, 0, 1, 1, 2))), flags)


@suite.case('/hostile-vmm/log-is-not-filled-by-a-thousand-bad-sessions')
def _():
    with World() as world:
        daemon, began = world.start(), time.monotonic()
        for _ in range(1000):
            with FrontEnd(world.socket_path()) as front:
                front.send(frontend.LAST_REQUEST)
                check(front.is_gone(), 'is not ended')
        lines = daemon.log().count('\n')
        # 100 in each 10 s.
        most = 500 + 100 * (time.monotonic() - began) // 10
        check(30 < lines < most, f'{lines} lines in the log')
        check_new_guest(world)


@suite.case('/hostile-vmm/front-ends-come-and-go-at-every-step')
def _():
    with siege() as under:
        for count in range(200):
            with under.session(f'leaves after {count % 9} questions',
                               negotiate=False, heard=False) as front:
                for _ in range(count % 9):
                    front.send(frontend.GET_FEATURES)


@suite.case('/hostile-vmm/a-crowd-of-front-ends-waits-and-leaves')
def _():
    with siege() as under:
        crowd = []
        path = under.world.socket_path(3)
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            crowd.append(sock)
            try:
                sock.connect(path)
                sock.send(HEADER.pack(0, 0, 0xffffffff))
            except BlockingIOError:
                break
        for sock in crowd:
            sock.close()
        under.check('a crowd')
