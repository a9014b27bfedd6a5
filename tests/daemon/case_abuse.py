# SPDX-License-Identifier: GPL-2.0-or-later
#
# Careless host programs and front-ends by the thousand.  Whatever they do,
# afterwards the daemon is idle, has its memory and descriptors back, and a
# clean connection works.

import contextlib
import resource
import socket
import threading
import time

import box
from box import (Health, World, check_new_guest, check_service, read_ok,
                 suite)
from frontend import (FrontEnd, GET_FEATURES, HEADER, RESET_DEVICE,
                      readable)
from guest import (REQUEST, RESPONSE, RST, RW, SEQPACKET, SHUTDOWN, Flow,
                   Guest)
from tap import check, equal, until

CLIENTS = 24000
AT_ONCE = 60
# For what must hold as long as clients do not finish their lines: a busy
# machine would take longer to look than they have by default.
PATIENT = '--line-timeout-ms=600000'

# What the guest does with a connection, by port.
SILENT, REFUSES, ACCEPTS, TALKS = 1, 2, 3, 4


def serve(guest, timeout_s=0, enough=None):
    """The guest reacts to all that comes, or to @enough REQUESTs.

    Returns how many REQUESTs, or other packets, there were.
    """
    count = 0
    while enough is None or count < enough:
        packet = guest.poll(timeout_s=timeout_s)
        if packet is None:
            break
        count += enough is None or packet.op == REQUEST
        port = packet.dst_port
        flow = Flow(guest, port, packet.src_port, packet.type)
        if packet.op == REQUEST and port == REFUSES:
            flow.send(RST)
        elif packet.op == REQUEST and port != SILENT:
            flow.send(RESPONSE)
            if port == TALKS:
                flow.send(RW, b'from the guest')
        elif packet.op == SHUTDOWN:
            flow.send(RST)
    return count


# --- Host programs that leave -------------------------------------------------

class Leaver:
    """How far a host program goes before it leaves.

    @heard: the guest gets its REQUEST before; @answered: so does it an OK.
    """

    def __init__(self, text=b'', heard=False, answered=False, after=b'',
                 read=0, half=False):
        self.text, self.after, self.read, self.half = text, after, read, half
        self.answered = answered
        self.heard = heard or answered

    def begin(self, world):
        return world.dial(text=self.text, kept=False)

    def go_on(self, sock):
        if self.answered:
            read_ok(sock)
        if self.after:
            sock.sendall(self.after)
        if self.read:
            sock.recv(self.read)
        if self.half:
            sock.shutdown(socket.SHUT_WR)


STAGES = {
    'before writing': Leaver(),
    'in mid-line': Leaver(b'CONN'),
    'before the end of the line': Leaver(b'CONNECT 3'),
    'after a line that is none': Leaver(b'GET / HTTP/1.1\r\n'),
    'after a line without end': Leaver(b'CONNECT ' + b'1' * 100),
    'after the line': Leaver(b'CONNECT 3\n'),
    'after the line with data behind': Leaver(b'CONNECT 3\ndata'),
    'after REQUEST, unanswered': Leaver(b'CONNECT 1\n', True),
    'after REQUEST, refused': Leaver(b'CONNECT 2\n', True),
    'after OK': Leaver(b'CONNECT 3\n', True, True),
    'after OK and data': Leaver(b'CONNECT 3\n', True, True, b'x' * 5000),
    'with data unread': Leaver(b'CONNECT 4\n', True, True),
    'with data half read': Leaver(b'CONNECT 4\n', True, True, read=4),
    'after half a close': Leaver(b'CONNECT 4\n', True, True, b'bye', 4, True),
    'after half a close alone': Leaver(b'CONNECT 3\n', half=True),
}


def crowd(world, guest, stage, count):
    """@count programs, some at once, get to @stage and leave."""
    program = STAGES[stage]
    while count > 0:
        socks = [program.begin(world) for _ in range(min(AT_ONCE, count))]
        requests = len(socks) * program.heard
        while requests > 0:
            served = serve(guest, 5, requests)
            check(served, f'{requests} REQUESTs are missing: {stage}')
            requests -= served
        for sock in socks:
            while program.answered and not readable(sock, 0):
                serve(guest, 0.001)
            program.go_on(sock)
            sock.close()
        serve(guest)
        count -= len(socks)


@suite.case('/abuse/24000-host-programs-leave-at-every-stage', timeout_s=120)
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest)
        for stage in STAGES:            # what malloc keeps, it keeps now
            crowd(world, guest, stage, 2 * AT_ONCE)
        settle(guest)
        health = Health(daemon, slack_kib=512)
        for stage in STAGES:
            crowd(world, guest, stage, CLIENTS // len(STAGES))
        settle(guest)
        health.expect_back()
        check_service(world, guest)


def settle(guest):
    """Until the device owes the guest nothing any more."""
    while serve(guest, 0.3):
        pass
    guest.tx_done()


@suite.case('/abuse/300-host-programs-hang-in-mid-line')
def _():
    with World() as world:
        daemon = world.start(*world.options(), PATIENT)
        guest = world.guest()
        check_service(world, guest)
        health = Health(daemon)
        socks = [world.dial(text=b'CONNECT 12', kept=False)
                 for _ in range(300)]
        daemon.expect_idle()
        check_service(world, guest)
        for sock in socks:
            sock.close()
        health.expect_back()


@suite.case('/abuse/more-host-programs-than-descriptors')
def _():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    with World() as world:
        daemon = world.start(preexec_fn=few)
        guest = world.guest()
        check_service(world, guest)
        health = Health(daemon)
        socks = []
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            socks.append(sock)
            with contextlib.suppress(BlockingIOError):
                sock.connect(world.uds_path())
        daemon.expect_idle()
        for sock in socks:
            sock.close()
        health.expect_back()
        check_service(world, guest)


@suite.case('/abuse/front-end-waits-for-a-descriptor')
def _():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

    with World() as world:
        # Silent clients may be a quarter of the connections: here too many.
        daemon = world.start(*world.options(), '--max-conns=4096', PATIENT,
                             preexec_fn=few)
        health = Health(daemon)
        socks = [world.dial(kept=False) for _ in range(100)]
        until(lambda: daemon.fds() == 60, 'all descriptors are taken')
        late = FrontEnd(world.socket_path())
        time.sleep(0.3)
        daemon.expect_idle()
        check(not readable(late.sock, 0), 'there was a descriptor')
        daemon.expect_log('cannot accept a VMM')
        equal(daemon.log().count('cannot accept a VMM'), 1, 'lines')
        for sock in socks:
            sock.close()
        with Guest(front=late.negotiate()) as guest:
            check_service(world, guest)
        health.expect_back()


# --- Host programs that do not work -------------------------------------------

@suite.case('/abuse/64-requests-to-a-program-that-never-accepts')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest)
        health = Health(daemon)
        for backlog in 0, 16, 128:
            with world.listener(77, backlog=backlog):
                for port in range(64):
                    guest.send(REQUEST, 2000 + port, 77, kick=False)
                began = time.monotonic()
                guest.rings[1].force_kick()
                ops = [guest.receive(RESPONSE, RST).op for _ in range(64)]
                took = time.monotonic() - began
                check(took < 10, f'{took:.1f} s for 64 answers')
                equal(ops.count(RESPONSE), min(64, backlog + 1), 'accepted')
                check_service(world, guest)
                daemon.expect_idle()
            settle(guest)
        health.expect_back()
        check_service(world, guest)


@suite.case('/abuse/20000-requests-to-ports-without-a-program')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest)
        health = Health(daemon)
        left = 20000
        for at in range(20000):
            guest.send(REQUEST, 1024 + at % 60000, 9, kick=at % 32 == 31,
                       type=SEQPACKET if at % 2 else 1)
            guest.collect()
            left -= len(guest.inbox)
            guest.inbox.clear()
        guest.rings[1].force_kick()
        while left:
            guest.receive(RST)
            left -= 1
        health.expect_back()
        check_service(world, guest)


@suite.case('/abuse/program-that-never-reads-costs-a-bounded-window')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest)
        health = Health(daemon)
        pairs = [world.connection(guest, 100 + at) for at in range(20)]
        for _, flow in pairs:
            while flow.room() > 0:
                flow.write(bytes(min(flow.room(), 65536)))
                packet = guest.poll(flow, 0.01)
                if packet:
                    flow.heard(packet)
        guest.tx_done()
        grown = daemon.memory_kib() - health.memory_kib
        check(grown < 20 * 300 + box.extra_slack_kib,
              f'{grown} KiB for 20 flows')
        daemon.expect_idle()
        for sock, flow in pairs:
            sock.close()
            while flow.receive().op not in (RST, SHUTDOWN):
                pass                    # CREDIT_UPDATEs
            flow.send(RST)
        health.expect_back()
        check_service(world, guest)


@suite.case('/abuse/400-idle-connections-come-and-go')
def _():
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        check_service(world, guest)
        settle(guest)
        before, fds = daemon.memory_kib(), daemon.fds()
        for turn in range(4):
            pairs = [world.connection(guest, 3) for _ in range(400)]
            equal(daemon.fds() - fds, 400, 'descriptors of 400')
            daemon.expect_idle()
            for sock, _ in pairs:
                sock.close()
            settle(guest)
            daemon.expect_fds(fds)
            grown = daemon.memory_kib() - before
            check(grown < 1024 + box.extra_slack_kib,
                  f'{grown} KiB after turn {turn}')
        check_service(world, guest)


# --- Front-ends that go -------------------------------------------------------

@suite.case('/abuse/front-end-restarts-50-times-under-load')
def _():
    with World() as world:
        daemon = world.start()
        restart_under_load(world, 5)
        health = Health(daemon, slack_kib=1024)
        restart_under_load(world, 50)
        health.expect_back()
        check_new_guest(world)


def restart_under_load(world, times):
    """Host programs write and read all the while; guests come and go."""
    stop = threading.Event()
    threads = [threading.Thread(target=stubborn, args=(world, stop))
               for _ in range(6)]
    with world.listener(9) as listener:
        for thread in threads:
            thread.start()
        try:
            for turn in range(times):
                guest = world.guest()
                flow = Flow(guest, 5000, 9)
                flow.send(REQUEST)
                until_busy(guest, flow, 0.03 + 0.001 * turn)
                guest.front.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                listener.accept()[0].close()


def until_busy(guest, flow, seconds):
    """Take and send for @seconds, without a thought of the window."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        serve(guest, 0.001)
        flow.send(RW, bytes(4096))


def stubborn(world, stop):
    """A host program that connects again whenever it is thrown out."""
    while not stop.is_set():
        sock = socket.socket(socket.AF_UNIX)
        with sock:
            sock.settimeout(0.2)
            try:
                sock.connect(world.uds_path())
                sock.sendall(b'CONNECT 4\n')
                while not stop.is_set():
                    sock.sendall(bytes(32768))
            except OSError:
                time.sleep(0.001)


@suite.case('/abuse/front-end-goes-with-400-connections-open')
def _():
    with World() as world:
        daemon = world.start()
        check_new_guest(world)
        health = Health(daemon)
        for _ in range(3):
            with world.guest() as guest:
                socks = [world.connection(guest, 3)[0] for _ in range(400)]
                socks[0].sendall(b'x')
            for sock in socks:
                until(lambda: is_over(sock), 'a host program sees the end')
                sock.close()
        health.expect_back()
        check_new_guest(world)


def is_over(sock):
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


@suite.case('/abuse/front-end-leaves-in-mid-message-2000-times')
def _():
    with World() as world:
        daemon = world.start()
        check_new_guest(world)
        health = Health(daemon, slack_kib=512)
        for turn in range(2000):
            with FrontEnd(world.socket_path()) as front:
                front.send_bytes(HEADER.pack(GET_FEATURES, 1, 0)
                                 [:turn % HEADER.size])
        health.expect_back()
        check_new_guest(world)


@suite.case('/abuse/guest-resets-300-times')
def _():
    with World() as world:
        daemon = world.start()
        check_new_guest(world)
        health = Health(daemon, slack_kib=512)
        with FrontEnd(world.socket_path()) as front:
            front.negotiate()
            for turn in range(300):
                guest = Guest(front=front, rx_buffers=16)
                sock, _ = world.connection(guest)
                if turn % 2:
                    guest.stop()
                front.command(RESET_DEVICE)
                front.remove_region(guest.regions[0])
                front.close_rings()
                until(lambda: is_over(sock), 'a host program sees the end')
                sock.close()
        health.expect_back()
        check_new_guest(world)
