# SPDX-License-Identifier: GPL-2.0-or-later
#
# A folder with a daemon in it, host programs around it, and what /proc says of
# its health.

import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tap import WAIT_S, Suite, check, contains, equal, until
from guest import Guest, RST, SHUTDOWN

suite = Suite(timeout_s=60)

# The daemon to test, options it is always given, and memory that it may keep
# besides; set before any case runs.
program = None
extra = []
extra_slack_kib = 0

# Exit codes.
OK, FAILED, USAGE = 0, 1, 2

# Who asks it to end does not wait for guests or host programs: it takes a
# moment, and on a busy machine some seconds.
END_S = 20


class World:
    """A folder of sockets; all that was started in it ends with it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='vuv')
        self.stack = contextlib.ExitStack()
        self.ours = set()               # names of what host programs made

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def socket_path(self, cid=3):
        return self.path(f'vhost{cid}.sock')

    def uds_path(self, cid=3):
        return self.path(f'vm{cid}.vsock')

    def options(self, cid=3):
        return [f'--guest-cid={cid}', f'--socket={self.socket_path(cid)}',
                f'--uds-path={self.uds_path(cid)}']

    def vm(self, cid, **more):
        words = dict(guest_cid=cid, socket=self.socket_path(cid),
                     uds_path=self.uds_path(cid), **more)
        return '--vm=' + ','.join(f'{key.replace("_", "-")}={value}'
                                  for key, value in words.items())

    def start(self, *args, cids=(3,), wait=True, prefix=(), **kwargs):
        """Start the daemon; it serves guest 3 unless @args say otherwise."""
        if not args:
            args = self.options(cids[0])
        daemon = Daemon([*prefix, program, *extra, *map(str, args)], self,
                        **kwargs)
        self.stack.callback(daemon.reap)
        if wait:
            for cid in cids:
                daemon.wait_ready(self.socket_path(cid))
        return daemon

    def run(self, *args, **kwargs):
        """Run the daemon to its end."""
        return subprocess.run(
            [program, *map(str, args)], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=WAIT_S, check=False,
            cwd=self.dir, **kwargs)

    def guest(self, cid=3, **kwargs):
        guest = Guest(self.socket_path(cid), cid=cid, **kwargs)
        self.stack.callback(guest.front.close)
        return guest

    def listener(self, port, cid=3, backlog=64, kind=socket.SOCK_STREAM):
        """A host program that listens for guest @cid."""
        sock = self.stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.settimeout(WAIT_S)
        path = self.uds_path(cid) + f'_{port}'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.ours.add(os.path.basename(path))
        sock.bind(path)
        sock.listen(backlog)
        return sock

    def dial(self, port=None, cid=3, text=None, kept=True):
        """A host program that connects to guest @cid."""
        sock = socket.socket(socket.AF_UNIX)
        if kept:
            self.stack.callback(sock.close)
        sock.connect(self.uds_path(cid))
        sock.settimeout(WAIT_S)
        if port is not None:
            text = b'CONNECT %d\n' % port
        if text:
            sock.sendall(text)
        return sock

    def connection(self, guest, port=1234):
        """A host program connected to @guest: its socket, and the flow."""
        sock = self.dial(port, guest.cid)
        flow = guest.accept(port)
        read_ok(sock)
        return sock, flow

    def left(self):
        """What lies in the folder, without what tests put there."""
        return sorted(name for name in os.listdir(self.dir)
                      if not name.startswith(('stderr', 'config')) and
                      name not in self.ours)


class Daemon:
    """The daemon as a process."""

    count = 0

    def __init__(self, argv, world, **kwargs):
        Daemon.count += 1
        self.world = world
        self.log_path = world.path(f'stderr{Daemon.count}')
        kwargs.setdefault('cwd', world.dir)
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **kwargs)
        self.pid = self.process.pid

    def wait_ready(self, path):
        until(lambda: is_listening(path) or self.process.poll() is not None,
              f'the daemon listens at {path}')
        if self.process.poll() is not None:
            raise AssertionError(f'the daemon ended, '
                                 f'{self.process.returncode}: {self.log()}')

    def log(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as file:
            return file.read()

    def expect_log(self, text):
        until(lambda: text in self.log(),
              f'{text!r} in the log, which has {self.log()!r}')

    def is_alive(self):
        return self.process.poll() is None

    def check_alive(self):
        if not self.is_alive():
            raise AssertionError(f'the daemon ended, '
                                 f'{self.process.returncode}: '
                                 f'{self.log()[-2000:]}')

    def kill(self):
        self.process.kill()
        self.process.wait(WAIT_S)

    def end(self, number=signal.SIGTERM):
        """Ask it to end; it must, with exit code 0."""
        self.process.send_signal(number)
        self.expect_exit(OK, END_S)

    def expect_exit(self, code, timeout_s=WAIT_S):
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError('the daemon did not end within '
                                 f'{timeout_s} s') from None
        equal(self.process.returncode, code,
              f'exit code, with {self.log()!r}')

    def reap(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    # --- Health --------------------------------------------------------------

    def fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def ticks(self):
        with open(f'/proc/{self.pid}/stat', encoding='ascii') as file:
            fields = file.read().rsplit(')', 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def memory_kib(self):
        """Its own memory; what guests share with it does not count."""
        return self.status('RssAnon')

    def status(self, key):
        with open(f'/proc/{self.pid}/status', encoding='ascii') as file:
            for line in file:
                name, value = line.split(':', 1)
                if name == key:
                    return int(value.split()[0])
        raise AssertionError(f'no {key} in /proc/{self.pid}/status')

    def expect_idle(self, within_s=30):
        """It comes to rest: at most a tick of CPU, 10 ms, in 0.3 s."""
        end = time.monotonic() + within_s
        while True:
            before = self.ticks()
            time.sleep(0.3)
            spent = self.ticks() - before
            if spent <= 1:
                return
            if time.monotonic() > end:
                raise AssertionError(f'{spent} ticks of CPU in 0.3 s of rest')

    def expect_fds(self, at_most):
        until(lambda: self.fds() <= at_most, f'at most {at_most} descriptors')


class Health:
    """What a daemon costs at rest, to be compared with what it costs later.

    The bound on memory: what malloc keeps after a load, and no more for twice
    the load.
    """

    def __init__(self, daemon, slack_kib=2048):
        self.daemon = daemon
        self.fds = daemon.fds()
        self.memory_kib = daemon.memory_kib()
        self.bound_kib = self.memory_kib + slack_kib + extra_slack_kib

    def expect_back(self):
        self.daemon.check_alive()
        self.daemon.expect_fds(self.fds)
        self.daemon.expect_idle()
        until(lambda: self.daemon.memory_kib() <= self.bound_kib,
              f'memory back from {self.daemon.memory_kib()} KiB to '
              f'{self.memory_kib}, at most {self.bound_kib}')


def refused(world, *args, words=(), **kwargs):
    """It ends at once, with a sentence on @words, and leaves nothing behind.

    "uds-path" of the command line is "uds_path" in a file: either will do.
    """
    before = world.left()
    result = world.run(*args, **kwargs)
    shown = f'{args}: {result.stderr!r}'
    check(result.returncode in (FAILED, USAGE),
          f'exit code {result.returncode} with {shown}')
    equal(result.stdout, '', f'stdout with {shown}')
    lines = result.stderr.strip().split('\n')
    check(lines[0] and len(lines) <= 2, f'not a sentence: {shown}')
    said = result.stderr.lower().replace('_', '-')
    for word in words:
        check(word.replace('_', '-') in said, f'not about {word}: {shown}')
    equal(world.left(), before, f'files with {shown}')


def is_listening(path):
    """Whether somebody listens at @path, without connecting to it."""
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as lines:
        for line in lines:
            words = line.split()
            if len(words) == 8 and words[7] == path:
                if int(words[3], 16) & 0x10000:
                    return True
    return False


def read_ok(sock):
    line = b''
    while not line.endswith(b'\n'):
        byte = sock.recv(1)
        if not byte:
            raise AssertionError(f'end of file after {line!r}')
        line += byte
    contains(line, b'OK ')
    return int(line[3:])


def read_exactly(sock, size):
    data = b''
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise AssertionError(f'end of file after {len(data)} of {size}')
        data += piece
    return data


@contextlib.contextmanager
def background(function, *args):
    """Run a host program's part in a thread while the body runs."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(function, *args)
        yield future
        future.result(WAIT_S)


def check_service(world, guest, port=1234):
    """A new connection each way works, and carries bytes both ways."""
    sock, flow = world.connection(guest, port)
    with sock:
        exchange(sock, flow)
    flow.receive(SHUTDOWN)
    flow.send(RST)
    with world.listener(port, guest.cid) as listener:
        flow = guest.connect(port, port=50000 + port % 1000)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(WAIT_S)
            exchange(sock, flow)
            flow.close()


def exchange(sock, flow):
    sock.sendall(b'to the guest')
    equal(flow.read(12), b'to the guest')
    flow.write(b'to the host')
    equal(read_exactly(sock, 11), b'to the host')


def check_new_guest(world, cid=3, **kwargs):
    """The next front-end is served."""
    with world.guest(cid, **kwargs) as guest:
        check_service(world, guest)
