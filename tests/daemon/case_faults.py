# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each system call of the daemon's own fails, at each of its calls, by strace.
#
# While it starts it may give up, with a line that says why.  Later it lives,
# the next session works, and descriptors are back.

import os
import re
import shutil
import subprocess

import box
from box import World, check_new_guest, read_exactly, read_ok, suite
from frontend import FrontEnd, Gone, Refused
from guest import Flow, Guest, REQUEST, RESPONSE, RST, SHUTDOWN
from tap import WAIT_S, Skip, check, equal, until

# The most calls of one kind that are made to fail; the others are skipped
# evenly.
MOST = 5
# For a session in which a call failed, and which may then just stand still.
PATIENCE_S = 0.3


def points(calls):
    """Which of @calls fail, from 1 on; and "1+", all of them."""
    stride = -(-calls // MOST)
    return ['1+', *map(str, range(1, calls + 1, stride))]


def strace(*args, out='/dev/null'):
    if not shutil.which('strace'):
        raise Skip('needs strace')
    return ['strace', '-f', '-qq', '-o', out, *args]


def plan(call, error=None, when=None):
    """Options of strace: have @call fail."""
    if not error:
        return ['-e', f'trace={call}']
    return ['-e', f'trace={call}', '-e', f'inject={call}:error={error}:'
            f'when={when}']


def count(path, call):
    with open(path, encoding='utf-8', errors='replace') as file:
        return len(re.findall(rf'^\d+ +{call}\(', file.read(), re.M))


class Tracer:
    """strace, attached to the threads of a daemon that runs."""

    def __init__(self, daemon, options, out='/dev/null'):
        self.pid = daemon.pid
        self.process = subprocess.Popen(
            strace('-p', str(self.pid), *options, out=out),
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def __enter__(self):
        until(self.is_attached, 'strace is attached', step_s=0.002)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=WAIT_S)

    def is_attached(self):
        if self.process.poll() is not None:
            text = self.process.stderr.read().decode()
            raise Skip(f'no strace here: {text.strip()}')
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with open(f'/proc/{self.pid}/task/{thread}/status',
                      encoding='ascii') as file:
                if 'TracerPid:\t0\n' in file.read():
                    return False
        return True


# --- A session ---------------------------------------------------------------

def session(world, patience_s=WAIT_S):
    """All that a session has, though not long of it."""
    with FrontEnd(world.socket_path(), timeout_s=patience_s) as front:
        front.negotiate()
        front.set_inflight(front.get_inflight(3, 256), 3, 256)
        guest = Guest(front=front)
        for ring in guest.rings:
            ring.patience_s = patience_s
        from_host(world, guest, patience_s)
        from_guest(world, guest, patience_s)
        guest.stop()


def from_host(world, guest, patience_s):
    with world.dial(1234, kept=False) as sock:
        sock.settimeout(patience_s)
        flow = guest.accept(1234, timeout_s=patience_s)
        read_ok(sock)
        exchange(sock, flow, patience_s)
    flow.receive(SHUTDOWN, timeout_s=patience_s)
    flow.send(RST)


def from_guest(world, guest, patience_s):
    with world.listener(1234) as listener:
        listener.settimeout(patience_s)
        flow = Flow(guest, 50001, 1234)
        flow.send(REQUEST)
        flow.receive(RESPONSE, timeout_s=patience_s)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(patience_s)
            exchange(sock, flow, patience_s)
    flow.receive(SHUTDOWN, timeout_s=patience_s)
    flow.send(RST)


def exchange(sock, flow, patience_s):
    sock.sendall(b'to the guest')
    equal(flow.read(12, timeout_s=patience_s), b'to the guest')
    flow.write(b'to the host', timeout_s=patience_s)
    equal(read_exactly(sock, 11), b'to the host')


def disturbed_session(world):
    """The same, which may end anywhere."""
    try:
        session(world, PATIENCE_S)
    except (Gone, Refused, AssertionError, OSError):
        pass


SESSION = (
    ('accept4', 'EMFILE'), ('accept4', 'ENOBUFS'),
    ('epoll_ctl', 'ENOMEM'),
    ('epoll_wait', 'EINTR'),
    ('fcntl', 'EBADF'),
    ('fstatfs', 'EIO'),
    ('ftruncate', 'ENOSPC'),
    ('memfd_create', 'EMFILE'),
    ('mmap', 'ENOMEM'),
    ('newfstatat', 'EIO'),
    ('poll', 'EINTR'),
    ('recvfrom', 'ECONNRESET'),
    ('recvmsg', 'ECONNRESET'), ('recvmsg', 'EINTR'), ('recvmsg', 'ENOMEM'),
    ('sendmsg', 'ENOBUFS'), ('sendmsg', 'EPIPE'),
    ('socket', 'EMFILE'),
    ('write', 'EAGAIN'),
)


def fail_in_session(call, error):
    if call == 'mmap' and box.extra_slack_kib:
        raise Skip('a sanitizer ends without its memory')
    with World() as world:
        # Seccomp's filter would see the call that strace puts there.
        daemon = world.start(*world.options(), '--sandbox=none')
        trace = world.path('stderr-trace')
        check_new_guest(world)
        with Tracer(daemon, plan(call), trace):
            session(world)
        health = box.Health(daemon)
        for when in points(count(trace, call)):
            with Tracer(daemon, plan(call, error, when)):
                disturbed_session(world)
            try:
                daemon.check_alive()
                check_new_guest(world)
                daemon.expect_fds(health.fds)
            except Exception as problem:
                raise AssertionError(f'{call} {when}: '
                                     f'{daemon.log()[-500:]}') from problem
        health.expect_back()
        daemon.end()


for pair in SESSION:
    suite.case('/faults/session/{}-{}'.format(*pair))(
        lambda pair=pair: fail_in_session(*pair))


# --- The start ---------------------------------------------------------------

START = (
    ('bind', 'EACCES'), ('bind', 'EADDRINUSE'),
    ('clone3', 'EAGAIN'),
    ('epoll_create1', 'EMFILE'),
    ('epoll_ctl', 'ENOSPC'),
    ('eventfd2', 'EMFILE'),
    ('fchmod', 'EPERM'),
    ('flock', 'ENOLCK'),
    ('listen', 'EADDRINUSE'),
    ('signalfd4', 'EMFILE'),
    ('socket', 'EMFILE'),
)


def start(world, call, error=None, when=None):
    """A daemon that is traced; it listens, or has ended."""
    trace = world.path('stderr-trace')
    daemon = world.start(*world.options(), '--sandbox=none', wait=False,
                         prefix=strace('-D', *plan(call, error, when),
                                       out=trace))
    until(lambda: 'listening on' in daemon.log() or not daemon.is_alive(),
          f'an outcome of {call} {when}')
    return daemon, trace


def check_outcome(world, daemon):
    if daemon.is_alive():
        disturbed_session(world)        # strace counts for each thread
        check_new_guest(world)
        daemon.end()
        return
    daemon.expect_exit(box.FAILED)
    lines = daemon.log().strip().split('\n')
    check(lines[-1].startswith('vhost-user-vsock: ') and len(lines) <= 2,
          f'not a sentence: {lines}')
    check(len(world.left()) <= 2, f'left behind: {world.left()}')


def fail_at_start(call, error):
    with World() as world:
        daemon, trace = start(world, call)
        daemon.kill()
        calls = count(trace, call)
    for when in points(calls):
        with World() as world:
            daemon, _ = start(world, call, error, when)
            try:
                check_outcome(world, daemon)
                world.start().end()     # what was left is taken over
            except Exception as problem:
                raise AssertionError(f'{call} {when}: {daemon.log()}') \
                    from problem


for pair in START:
    suite.case('/faults/start/{}-{}'.format(*pair))(
        lambda pair=pair: fail_at_start(*pair))
