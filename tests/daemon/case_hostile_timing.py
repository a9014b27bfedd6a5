# SPDX-License-Identifier: GPL-2.0-or-later
#
# A front-end that breaks the rules while the daemon is at work with what it
# gave before.

import ctypes
import errno
import os
import signal
import socket
import struct
import time

import frontend
from box import World, check_new_guest, suite
from frontend import (ADDRESS, ADD_MEM_REG, NEED_REPLY, REGION, REM_MEM_REG,
                      SET_MEM_TABLE, SET_VRING_ADDR, SET_VRING_BASE,
                      SET_VRING_KICK, SET_VRING_NUM, STATE, U64, VERSION)
from guest import CREDIT_UPDATE, REQUEST, RST, RX, TX
from siege import siege
from tap import WAIT_S, Skip, check, equal

SECONDS = 2                             # for what only chance would find
NO_TABLE = struct.pack('=II', 0, 0)


# --- Areas that are in use ---------------------------------------------------

@suite.case('/hostile-vmm/inflight-area-is-asked-for-while-rings-run')
def _():
    with siege() as under:
        for queues, size in (3, 16), (3, 256), (1, 1024):
            with under.guest(f'another of {queues} x {size}',
                             start=False) as guest:
                fd, length, offset = guest.front.get_inflight(3, 256)
                guest.front.set_inflight((fd, length, offset), 3, 256)
                os.close(fd)
                guest.start()
                ask_again(guest, queues, size)


def ask_again(guest, queues, size):
    """It is refused, or it is not; what runs is not touched."""
    try:
        for _ in range(20):
            reply = guest.front.ask(frontend.GET_INFLIGHT_FD,
                                    frontend.INFLIGHT.pack(0, 0, queues,
                                                           size))
            for fd in guest.front.received_fds:
                os.close(fd)
            if len(reply) == frontend.INFLIGHT.size:
                equal(frontend.INFLIGHT.unpack(reply)[0], 0,
                      'size of an area while rings run')
    finally:
        guest.rings[TX].force_kick()
    guest.send(REQUEST, 4000, 9999)
    guest.receive(RST)


@suite.case('/hostile-vmm/inflight-area-is-set-while-rings-run')
def _():
    with siege() as under:
        with under.guest('another area', start=False) as guest:
            areas = [guest.front.get_inflight(3, 256) for _ in range(2)]
            guest.front.set_inflight(areas[0], 3, 256)
            guest.start()
            for turn in range(20):
                guest.front.set_inflight(areas[turn % 2], 3, 256)
                guest.send(CREDIT_UPDATE, 4000, 9999)


# --- Memory that goes while it is polled -------------------------------------

@suite.case('/hostile-vmm/memory-goes-while-the-daemon-polls')
def _():
    for gone in 'table', 'slot':
        with siege('--poll-us=100') as under:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                polled_memory_goes(under, gone)


def polled_memory_goes(under, gone):
    """Packets that start the poll, and no word of what follows."""
    slots = frontend.CONFIGURE_MEM_SLOTS * (gone == 'slot')
    with under.guest(f'{gone} goes', protocol=slots, queues=2) as guest:
        for _ in range(20):
            guest.send(RST, 4000, 9999)
        if slots:
            guest.front.remove_region(guest.regions[0])
        else:
            guest.front.send(SET_MEM_TABLE, NO_TABLE)


# --- Answers -----------------------------------------------------------------

@suite.case('/hostile-vmm/refused-message-is-answered-so')
def _():
    one = REGION.pack(1 << 20, 1 << 20, 1 << 40, 0)
    with siege() as under:
        for request, payload in (
                (SET_VRING_NUM, STATE.pack(0, 3)),
                (SET_VRING_NUM, STATE.pack(9, 16)),
                (SET_VRING_BASE, STATE.pack(0, 65536)),
                (SET_VRING_ADDR, ADDRESS.pack(0, 0, 0, 0, 0, 0)),
                (REM_MEM_REG, bytes(8) + one),
                (frontend.SET_FEATURES, U64.pack((1 << 64) - 1)),
                (frontend.SET_PROTOCOL_FEATURES, U64.pack((1 << 64) - 1))):
            with under.session(f'{request} {payload}') as front:
                reply = front.ask(request, payload,
                                  flags=VERSION | NEED_REPLY)
                check(U64.unpack(reply)[0] != 0, f'{request} was granted')


# --- Huge pages --------------------------------------------------------------

def huge_memory(size):
    """A file of huge pages that are not there; it may be had all the same."""
    libc = ctypes.CDLL(None, use_errno=True)
    hugetlb = 4
    fd = libc.memfd_create(b'huge', hugetlb)
    if fd < 0:
        raise Skip('no huge pages: ' + errno.errorcode[ctypes.get_errno()])
    os.ftruncate(fd, size)
    return fd


@suite.case('/hostile-vmm/part-of-a-huge-page-is-unmapped-when-it-goes')
def _():
    fd = huge_memory(4 << 20)
    region = bytes(8) + REGION.pack(1 << 20, 1 << 20, 1 << 40, 0)
    with siege() as under:
        before = maps(under.daemon)
        for _ in range(20):
            with under.session('a part of a huge page') as front:
                for _ in range(100):
                    front.command(ADD_MEM_REG, region, [fd])
                    front.command(REM_MEM_REG, region)
        check(maps(under.daemon) <= before + 8,
              f'{maps(under.daemon)} mappings, {before} before')
    os.close(fd)


def maps(daemon):
    with open(f'/proc/{daemon.pid}/maps', encoding='utf-8') as file:
        return sum(1 for _ in file)


@suite.case('/hostile-vmm/rings-in-huge-pages-that-are-not-there')
def _():
    fd = huge_memory(4 << 20)
    user = 1 << 40
    with siege() as under:
        for size in 1 << 20, 2 << 20, 4 << 20:
            with under.session(f'{size >> 20} MiB') as front:
                front.set_features()
                front.command(SET_MEM_TABLE, struct.pack('=II', 1, 0) +
                              REGION.pack(1 << 20, size, user, 0), [fd])
                for index in RX, TX:
                    kick = frontend.eventfd(1)
                    front.command(SET_VRING_NUM, STATE.pack(index, 16))
                    front.command(SET_VRING_BASE, STATE.pack(index, 0))
                    front.command(SET_VRING_ADDR, ADDRESS.pack(
                        index, 0, user, user + 4096, user + 8192, 0))
                    front.command(SET_VRING_KICK, U64.pack(index), [kick])
                    front.enable_ring(index)
                    os.close(kick)
    os.close(fd)


# --- What a VMM shares with the daemon beyond memory --------------------------

def block_call(world, cid):
    """The daemon's next interrupt of guest @cid never returns."""
    guest = world.guest(cid)
    call = os.eventfd(0, os.EFD_NONBLOCK)
    guest.front.send(frontend.SET_VRING_CALL, U64.pack(TX), [call])
    guest.front.sync()
    check(frontend.readable(call, WAIT_S), 'a new one is called at once')
    os.read(call, 8)
    os.write(call, struct.pack('=Q', 2**64 - 2))
    os.set_blocking(call, True)         # for the daemon, too: one description
    guest.send(RST, 50000, 9999)
    guest.rings[TX].force_kick()
    return call


@suite.case('/hostile-vmm/eventfd-that-blocks-stops-its-own-guest-only')
def _():
    with World() as world:
        daemon = world.start(world.vm(3), world.vm(4), cids=(3, 4))
        call = block_call(world, 3)
        time.sleep(0.2)
        check_new_guest(world, 4)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.expect_exit(1)
        daemon.expect_log('ending without it')
        check('vhost4.sock' not in os.listdir(world.dir),
              f'left: {os.listdir(world.dir)}')
        os.close(call)


@suite.case('/hostile-vmm/coming-again-and-again-fills-no-log')
def _():
    with World() as world:
        daemon, began = world.start(), time.monotonic()
        for _ in range(500):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(world.socket_path(3))
                sock.settimeout(WAIT_S)
                sock.sendall(b'\xff' * 12)
                check(not sock.recv(1), 'it answers')
        lines = len(daemon.log().splitlines())
        # So many in each 10 s.
        most = 110 * (1 + (time.monotonic() - began) // 10)
        check(lines <= most, f'{lines} lines')
        check_new_guest(world)
