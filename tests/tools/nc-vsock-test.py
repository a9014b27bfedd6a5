#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests nc-vsock against scripted peers on AF_UNIX sockets.  It never opens an
# AF_VSOCK socket: what would use one is only asked for its choice (--explain).
#
# usage: nc-vsock-test.py [--nc PROGRAM] [-l] [-p PATTERN]

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tap import Suite, check, contains, equal, until  # noqa: E402

suite = Suite(timeout_s=60)
nc = None
NOBODY = 65534

OK, CONN, USAGE, LOCAL = 0, 1, 2, 3


# --- What the cases use ------------------------------------------------------

@contextlib.contextmanager
def world(vsock=False, guests=()):
    """A made-up machine: a run-time directory and a device node."""
    box = World()
    try:
        if vsock:
            open(box.node, 'w').close()
        for cid in guests:
            box.device(cid)
        yield box
    finally:
        box.close()


class World:
    def __init__(self):
        self.top = tempfile.mkdtemp(prefix='ncv')
        self.dir = os.path.join(self.top, 'run')
        os.mkdir(self.dir, 0o700)
        self.node = os.path.join(self.top, 'node')
        self.stack = contextlib.ExitStack()

    def close(self):
        self.stack.close()
        shutil.rmtree(self.top)

    def path(self, name):
        return os.path.join(self.dir, name)

    def device(self, cid=3):
        """Listen where the emulated device of guest @cid would."""
        return self.listener(f'{cid}.vsock')

    def listener(self, name):
        sock = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(self.path(name))
        sock.listen(8)
        sock.settimeout(20)
        return sock

    def dead_socket(self, name):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path(name))

    def argv(self, *args):
        return [nc, '--dir', self.dir, '--vsock-node', self.node,
                *map(str, args)]

    def run(self, *args, **kwargs):
        kwargs.setdefault('stdin', subprocess.DEVNULL)
        return subprocess.run(self.argv(*args), capture_output=True,
                              timeout=30, check=False, **kwargs)

    def start(self, *args, **kwargs):
        for stream in 'stdin', 'stdout', 'stderr':
            kwargs.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen(self.argv(*args), bufsize=0, **kwargs)
        self.stack.callback(reap, process)
        return process

    def start_listener(self, *args, name='2.vsock_1234', **kwargs):
        process = self.start('-l', *args, 1234, **kwargs)
        until(lambda: is_listening(self.path(name)) or
              process.poll() is not None, 'listener')
        return process

    def connect(self, name='2.vsock_1234', source=None):
        sock = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(20)
        if source:
            sock.bind('\0' + source)
        sock.connect(self.path(name))
        return sock

    def explain(self, *args):
        return self.run('--explain', *args)


def reap(process):
    if process.poll() is None:
        process.kill()
    for stream in process.stdin, process.stdout, process.stderr:
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def is_listening(path):
    """Whether somebody listens at @path, without connecting to it."""
    with open('/proc/net/unix') as lines:
        for line in lines:
            words = line.split()
            if len(words) == 8 and words[7] == path:
                return int(words[3], 16) & 0x10000 != 0
    return False


def accept(device, port=1234, ok=b'OK 1024\n'):
    """Take a client, check its line, answer @ok."""
    sock, _ = device.accept()
    sock.settimeout(20)
    equal(read_line(sock), b'CONNECT %d\n' % port, 'line')
    if ok:
        sock.sendall(ok)
    return sock


def read_line(sock):
    line = b''
    while not line.endswith(b'\n'):
        byte = sock.recv(1)
        if not byte:
            break
        line += byte
    return line


def read_all(sock):
    pieces = []
    while True:
        pieces.append(sock.recv(1 << 20))
        if not pieces[-1]:
            return b''.join(pieces)


def expect_end(process, code, stdout=None, timeout_s=20):
    """Wait for the end; returns what is on stderr."""
    equal(process.wait(timeout_s), code, 'exit code')
    if stdout is not None:
        equal(process.stdout.read(), stdout, 'stdout')
    return process.stderr.read().decode()


def expect(result, code, *texts):
    equal((result.returncode, code), (code, code),
          f'exit code, with {result.stderr!r}')
    for text in texts:
        contains((result.stdout + result.stderr).decode(), text)


# --- The command line --------------------------------------------------------

@suite.case('/options/help-tells-usage-and-exit-codes')
def _():
    with world() as box:
        expect(box.run('--help'), OK, 'Usage: nc-vsock', 'Exit status',
               '--uds-path')


@suite.case('/options/version-names-the-program')
def _():
    with world() as box:
        expect(box.run('--version'), OK, 'nc-vsock ')


@suite.case('/options/wrong-arguments-exit-2')
def _():
    wrong = [
        [], ['3'], ['3', '4', '5'], ['-l'], ['-l', '3', '4'], ['x', '4'],
        ['3', '-4'], ['3', '4x'], ['3', ''], ['3', '4294967295'],
        ['4294967295', '4'], ['0', '4'], ['3', '99999999999999999999'],
        ['-k', '3', '4'], ['--cid', '3', '4', '5'], ['--nonsense', '3', '4'],
        ['-w', '0', '3', '4'], ['-w', 'soon', '3', '4'],
        ['-w', 'nan', '3', '4'], ['--vsock', '--unix', '3', '4'],
        ['--vsock', '--uds-path', '/x', '4'], ['--vsock', '--cid', '3', '4'],
        ['-l', '--uds-path', '/x', '--cid', '3', '4'], ['--dir', '', '3', '4'],
    ]
    with world(vsock=True) as box:
        for args in wrong:
            expect(box.run(*args), USAGE, '--help')


# --- Which world -------------------------------------------------------------

@suite.case('/world/connect-takes-vsock-where-only-that-is')
def _():
    with world(vsock=True) as box:
        expect(box.explain(3, 1234), OK, 'connect vsock cid 3 port 1234\n')


@suite.case('/world/connect-takes-the-emulator-where-only-that-is')
def _():
    with world(guests=[3]) as box:
        expect(box.explain(3, 1234), OK,
               f'connect unix {box.path("3.vsock")} port 1234\n')


@suite.case('/world/connect-takes-vsock-if-only-other-guests-are-emulated')
def _():
    with world(vsock=True, guests=[4, 33]) as box:
        expect(box.explain(3, 1234), OK, 'connect vsock cid 3 ')


@suite.case('/world/connect-with-both-is-an-error-that-names-both')
def _():
    with world(vsock=True, guests=[3]) as box:
        expect(box.explain(3, 1234), USAGE, box.node, box.path('3.vsock'),
               '--vsock', '--unix')


@suite.case('/world/connect-with-both-obeys-the-option')
def _():
    with world(vsock=True, guests=[3]) as box:
        expect(box.explain('--vsock', 3, 1234), OK, 'connect vsock cid 3 ')
        expect(box.explain('--unix', 3, 1234), OK, 'connect unix ')


@suite.case('/world/connect-with-none-says-what-is-missing')
def _():
    with world() as box:
        expect(box.explain(3, 1234), USAGE, box.node, box.path('3.vsock'))


@suite.case('/world/connect-does-not-take-a-plain-file-for-a-socket')
def _():
    with world() as box:
        open(box.path('3.vsock'), 'w').close()
        expect(box.explain(3, 1234), USAGE, 'no emulator')


@suite.case('/world/connect-to-cid-2-is-vsock-only')
def _():
    with world(vsock=True, guests=[2, 3]) as box:
        expect(box.explain(2, 1234), OK, 'connect vsock cid 2 port 1234\n')
        expect(box.explain('--unix', 2, 1234), USAGE, 'CID 2')
    with world(guests=[2, 3]) as box:
        expect(box.explain(2, 1234), USAGE, 'CID 2', box.node)


@suite.case('/world/listen-takes-vsock-where-only-that-is')
def _():
    with world(vsock=True) as box:
        expect(box.explain('-l', 1234), OK, 'listen vsock port 1234\n')


@suite.case('/world/listen-takes-the-emulator-where-a-guest-is')
def _():
    with world(guests=[7]) as box:
        expect(box.explain('-l', 1234), OK,
               f'listen unix {box.path("2.vsock_1234")} port 1234\n')


@suite.case('/world/listen-does-not-count-listeners-as-guests')
def _():
    with world() as box:
        box.listener('2.vsock_99')
        box.listener('other.vsock')
        expect(box.explain('-l', 1234), USAGE, box.dir)


@suite.case('/world/listen-with-both-is-an-error-that-names-both')
def _():
    with world(vsock=True, guests=[7]) as box:
        expect(box.explain('-l', 1234), USAGE, box.node, box.path('7.vsock'),
               '--vsock', '--unix')
        expect(box.explain('-l', '--vsock', 1234), OK, 'listen vsock')
        expect(box.explain('-l', '--unix', 1234), OK, 'listen unix')


@suite.case('/world/listen-with-none-says-what-is-missing')
def _():
    with world() as box:
        expect(box.explain('-l', 1234), USAGE, box.node, box.dir, '--unix')


@suite.case('/world/listen-for-one-guest-takes-its-path')
def _():
    with world(vsock=True) as box:
        expect(box.explain('-l', '--cid', 5, 1234), OK,
               f'listen unix {box.path("5.vsock_1234")} ')


@suite.case('/world/uds-path-needs-no-cid-and-no-directory')
def _():
    with world(vsock=True) as box:
        expect(box.explain('--uds-path', '/x/vm.sock', 1234), OK,
               'connect unix /x/vm.sock port 1234\n')
        expect(box.explain('--uds-path', '/x/vm.sock', 3, 1234), OK,
               'connect unix /x/vm.sock port 1234\n')
        expect(box.explain('-l', '--uds-path', '/x/vm.sock', 1234), OK,
               'listen unix /x/vm.sock_1234 port 1234\n')


@suite.case('/world/too-long-a-path-is-an-error')
def _():
    with world() as box:
        long = '/' + 'x' * 106
        expect(box.explain('--uds-path', long, 1234), OK, long)
        expect(box.explain('--uds-path', long + 'x', 1234), USAGE, 'too long')
        expect(box.explain('-l', '--uds-path', long, 1234), USAGE, 'too long')
        expect(box.explain('--unix', '--dir', '/' + 'x' * 200, 3, 1234), USAGE,
               'too long')


def explain_as_user(box, env, *args):
    """Like World.explain(), but not as root and with @env."""
    program = shutil.copy(nc, box.top)
    os.chmod(box.top, 0o755)
    argv = [program, '--vsock-node', box.node, '--explain', *map(str, args)]
    user = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []}
    return subprocess.run(argv, capture_output=True, timeout=30, check=False,
                          env=env, stdin=subprocess.DEVNULL,
                          **(user if os.geteuid() == 0 else {}))


@suite.case('/world/run-time-directory-follows-the-environment-of-a-user')
def _():
    with world() as box:
        expect(explain_as_user(box, {'XDG_RUNTIME_DIR': '/run/u'},
                               '--unix', 3, 1),
               OK, 'connect unix /run/u/vsock/3.vsock port 1\n')
        expect(explain_as_user(box, {'HOME': '/h'}, '--unix', 3, 1),
               OK, 'connect unix /h/.cache/vsock/3.vsock port 1\n')
        expect(explain_as_user(box, {}, 3, 1),
               USAGE, 'XDG_RUNTIME_DIR', 'HOME', box.node)


# --- Connecting --------------------------------------------------------------

@suite.case('/connect/bytes-go-both-ways')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        process.stdin.write(b'to guest')
        equal(sock.recv(100), b'to guest')
        sock.sendall(b'from guest')
        equal(process.stdout.read(10), b'from guest')
        process.stdin.close()
        equal(sock.recv(100), b'')
        sock.close()
        equal(expect_end(process, OK, b''), '')


@suite.case('/connect/ok-line-in-pieces-is-understood')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234, stdin=subprocess.DEVNULL)
        sock = accept(device, ok=None)
        for byte in b'OK 65535\n':
            sock.sendall(bytes([byte]))
            time.sleep(0.01)
        sock.sendall(b'data')
        sock.close()
        expect_end(process, OK, b'data')


@suite.case('/connect/longest-ok-line-is-understood')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 4294967294, stdin=subprocess.DEVNULL)
        sock = accept(device, 4294967294, b'OK 1073741824\n')
        sock.close()
        expect_end(process, OK, b'')


@suite.case('/connect/bytes-behind-the-ok-line-are-data')
def _():
    for data in b'\n', b'OK 1\n', b'x' * 5000:
        with world() as box:
            device = box.device()
            process = box.start(3, 1234, stdin=subprocess.DEVNULL)
            sock = accept(device, ok=b'OK 1024\n' + data)
            sock.close()
            expect_end(process, OK, data)


@suite.case('/connect/nothing-is-sent-before-the-ok-line')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        process.stdin.write(b'early')
        sock = accept(device, ok=None)
        sock.settimeout(0.2)
        try:
            raise AssertionError(f'came early: {sock.recv(100)!r}')
        except socket.timeout:
            pass
        sock.settimeout(20)
        sock.sendall(b'OK 1024\n')
        equal(sock.recv(100), b'early')


@suite.case('/connect/refusal-exits-1-and-names-the-port')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        accept(device, ok=None).close()
        contains(expect_end(process, CONN, b''), 'refuses port 1234')


@suite.case('/connect/end-inside-the-ok-line-exits-1')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        accept(device, ok=b'OK 10').close()
        expect_end(process, CONN, b'')


@suite.case('/connect/other-answers-exit-1')
def _():
    for answer in (b'NO 1\n', b'OK\n', b'OK \n', b'OK x\n', b'OK 1 \n',
                   b'ok 1\n', b'\n', b'OK 12345678901234567890\n'):
        with world() as box:
            device = box.device()
            process = box.start(3, 1234)
            sock = accept(device, ok=answer)
            contains(expect_end(process, CONN, b''), 'not as an emulator')
            sock.close()


@suite.case('/connect/silence-ends-with-the-timeout')
def _():
    with world() as box:
        device = box.device()
        process = box.start('-w', '0.3', 3, 1234)
        sock = accept(device, ok=b'OK ')
        contains(expect_end(process, CONN, b''), 'in time')
        sock.close()


@suite.case('/connect/full-backlog-ends-with-the-timeout')
def _():
    with world() as box:
        device = box.device()
        device.listen(0)
        box.connect('3.vsock')
        expect(box.run('-w', '0.3', 3, 1234), CONN, '3.vsock')


@suite.case('/connect/dead-and-missing-sockets-exit-1')
def _():
    with world() as box:
        box.dead_socket('3.vsock')
        expect(box.run(3, 1234), CONN, 'has the guest ended')
        expect(box.run('--unix', 4, 1234), CONN, '4.vsock')
        expect(box.run('--uds-path', box.path('none'), 1234), CONN, 'none')


@suite.case('/connect/verbose-names-the-peer')
def _():
    with world() as box:
        device = box.device()
        process = box.start('-v', 3, 1234, stdin=subprocess.DEVNULL)
        accept(device).close()
        contains(expect_end(process, OK, b''), 'connected to 3:1234')


# --- The end of each direction -----------------------------------------------

@suite.case('/half-close/stdin-ends-first-and-the-answer-is-read')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        process.stdin.write(b'question')
        process.stdin.close()
        equal(read_all(sock), b'question')
        sock.sendall(b'answer')
        sock.close()
        expect_end(process, OK, b'answer')


@suite.case('/half-close/peer-ends-first-and-stdin-is-still-sent')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        sock.sendall(b'all of it')
        sock.shutdown(socket.SHUT_WR)
        equal(process.stdout.read(), b'all of it')  # its end, so stdout closed
        for _ in range(3):
            process.stdin.write(b'later')
            equal(sock.recv(100), b'later')
        process.stdin.close()
        equal(sock.recv(100), b'')
        expect_end(process, OK)


@suite.case('/half-close/without-it-the-peer-is-not-told')
def _():
    with world() as box:
        device = box.device()
        process = box.start('-N', 3, 1234)
        sock = accept(device)
        process.stdin.write(b'x')
        process.stdin.close()
        equal(sock.recv(100), b'x')
        sock.settimeout(0.2)
        try:
            raise AssertionError(f'told: {sock.recv(100)!r}')
        except socket.timeout:
            pass
        sock.sendall(b'answer')
        sock.close()
        expect_end(process, OK, b'answer')


@suite.case('/close/peer-closes-while-stdin-is-idle-and-all-ends')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        sock.sendall(b'bye')
        sock.close()
        equal(expect_end(process, OK, b'bye'), '')


@suite.case('/close/peer-half-closes-then-closes-while-stdin-is-idle')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        sock.shutdown(socket.SHUT_WR)
        equal(process.stdout.read(), b'')
        equal(process.poll(), None, 'exit code')
        sock.close()
        equal(expect_end(process, OK), '')


@suite.case('/close/peer-gone-before-all-was-sent-exits-1')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        sock.sendall(b'received')
        writer = threading.Thread(target=write_and_ignore,
                                  args=(process.stdin, b'x' * 4000000))
        writer.start()
        sock.recv(1)
        sock.shutdown(socket.SHUT_RD)
        sock.close()
        expect_end(process, CONN)
        process.stdin.close()
        writer.join()


def write_and_ignore(stream, data):
    with contextlib.suppress(OSError, ValueError):
        while data:
            data = data[stream.write(data):]


@suite.case('/close/reset-exits-1')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        process.stdin.write(b'never read')
        until(lambda: sock.recv(100, socket.MSG_PEEK), 'bytes')
        sock.close()  # with bytes unread: a reset
        contains(expect_end(process, CONN), 'reset')


@suite.case('/close/data-before-a-reset-is-written')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        process.stdin.write(b'never read')
        until(lambda: sock.recv(100, socket.MSG_PEEK), 'bytes')
        os.kill(process.pid, signal.SIGSTOP)
        sock.sendall(b'last words')
        sock.close()
        os.kill(process.pid, signal.SIGCONT)
        expect_end(process, CONN, b'last words')


@suite.case('/close/broken-stdout-exits-3')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        process.stdout.close()
        sock.sendall(b'nobody reads this')
        contains(expect_end(process, LOCAL), 'stdout')


@suite.case('/close/full-disk-at-stdout-exits-3')
def _():
    with world() as box:
        device = box.device()
        with open('/dev/full', 'wb') as full:
            process = box.start(3, 1234, stdout=full)
        sock = accept(device)
        sock.sendall(b'x')
        contains(expect_end(process, LOCAL), 'stdout')


@suite.case('/close/unreadable-stdin-exits-3')
def _():
    with world() as box:
        device = box.device()
        fd = os.open('/', os.O_RDONLY)
        process = box.start(3, 1234, stdin=fd)
        os.close(fd)
        sock = accept(device)
        contains(expect_end(process, LOCAL), 'stdin')
        sock.close()


@suite.case('/close/closed-stdin-is-an-end')
def _():
    with world() as box:
        device = box.device()
        argv = box.argv(3, 1234)
        process = subprocess.Popen(['/bin/sh', '-c', 'exec "$@" <&-', 'sh',
                                    *argv], stdout=subprocess.PIPE)
        box.stack.callback(reap, process)
        sock = accept(device)
        equal(read_all(sock), b'')
        sock.sendall(b'data')
        sock.close()
        equal(process.communicate(timeout=20)[0], b'data')
        equal(process.returncode, OK)


@suite.case('/timeout/idle-connection-ends')
def _():
    with world() as box:
        device = box.device()
        process = box.start('-w', '0.4', 3, 1234)
        sock = accept(device)
        for _ in range(4):
            time.sleep(0.2)
            sock.sendall(b'x')
        equal(process.poll(), None, 'exit code')
        contains(expect_end(process, CONN, b'xxxx'), 'timed out')
        sock.close()


# --- Bulk --------------------------------------------------------------------

BULK = 50 * 1000 * 1000


def block(seed, size=BULK):
    return random.Random(seed).randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@suite.case('/bulk/50-mb-both-ways-at-once-arrive-whole')
def _():
    there, back = block(1), block(2)
    got = {}
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)

        def send():
            sock.sendall(back)
            sock.shutdown(socket.SHUT_WR)

        def feed():
            write_and_ignore(process.stdin, there)
            process.stdin.close()

        def read(name, function):
            got[name] = digest(function())

        jobs = [threading.Thread(target=send),
                threading.Thread(target=feed),
                threading.Thread(target=read,
                                 args=('there', lambda: read_all(sock))),
                threading.Thread(target=read,
                                 args=('back', process.stdout.read))]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        expect_end(process, OK)
    equal(got, {'there': digest(there), 'back': digest(back)})


@suite.case('/bulk/nobody-reading-stdout-does-not-stop-the-sending')
def _():
    data = block(3, 4000000)
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        filler = threading.Thread(target=write_socket_and_ignore,
                                  args=(sock, b'y' * 4000000))
        filler.start()
        writer = threading.Thread(target=write_and_ignore,
                                  args=(process.stdin, data))
        writer.start()
        got = b''
        while len(got) < len(data):
            got += sock.recv(1 << 20)
        equal(digest(got), digest(data))
        writer.join()
        equal(len(process.stdout.read(4000000)) > 0, True)
        sock.shutdown(socket.SHUT_RDWR)
        filler.join()


def write_socket_and_ignore(sock, data):
    with contextlib.suppress(OSError):
        sock.sendall(data)


@suite.case('/bulk/nobody-taking-stdin-does-not-stop-the-receiving')
def _():
    data = block(4, 4000000)
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        writer = threading.Thread(target=write_and_ignore,
                                  args=(process.stdin, b'z' * 4000000))
        writer.start()
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        got = b''
        while len(got) < len(data):
            got += process.stdout.read(1 << 20)
        equal(digest(got), digest(data))
        sender.join()
        process.kill()
        writer.join()


@suite.case('/bulk/waiting-costs-no-cpu')
def _():
    with world() as box:
        device = box.device()
        process = box.start(3, 1234)
        sock = accept(device)
        sock.shutdown(socket.SHUT_WR)
        equal(process.stdout.read(), b'')
        before = cpu_ticks(process.pid)
        time.sleep(0.5)
        check(cpu_ticks(process.pid) - before <= 1, 'it spins')
        equal(process.poll(), None, 'exit code')


def cpu_ticks(pid):
    with open(f'/proc/{pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return int(fields[11]) + int(fields[12])


# --- Listening ---------------------------------------------------------------

@suite.case('/listen/serves-one-client-both-ways-and-ends')
def _():
    with world() as box:
        process = box.start_listener('--unix')
        sock = box.connect()
        sock.sendall(b'from guest')
        equal(process.stdout.read(10), b'from guest')
        process.stdin.write(b'to guest')
        equal(sock.recv(100), b'to guest')
        sock.shutdown(socket.SHUT_WR)
        process.stdin.close()
        equal(read_all(sock), b'')
        equal(expect_end(process, OK, b''), '')


@suite.case('/listen/directory-is-0700-and-socket-0600')
def _():
    with world() as box:
        box.dir = os.path.join(box.top, 'new')
        process = box.start_listener('--unix', preexec_fn=lambda: os.umask(0))
        equal(process.poll(), None, 'exit code')
        equal(stat.S_IMODE(os.stat(box.dir).st_mode), 0o700)
        equal(stat.S_IMODE(os.stat(box.path('2.vsock_1234')).st_mode), 0o600)


@suite.case('/listen/refuses-a-directory-that-others-may-write')
def _():
    with world() as box:
        os.chmod(box.dir, 0o777)
        expect(box.run('-l', '--unix', 1234), LOCAL, box.dir)


@suite.case('/listen/uds-path-appends-the-port')
def _():
    with world() as box:
        process = box.start_listener('--uds-path', box.path('vm'),
                                     name='vm_1234', stdin=subprocess.DEVNULL)
        box.connect('vm_1234').close()
        expect_end(process, OK, b'')


@suite.case('/listen/relative-path-works')
def _():
    with world() as box:
        process = box.start('-l', '--uds-path', 'vm', 1234, cwd=box.dir)
        until(lambda: is_listening('vm_1234'), 'listener')
        process.send_signal(signal.SIGTERM)
        expect_end(process, -signal.SIGTERM)
        equal(os.listdir(box.dir), [])


@suite.case('/listen/verbose-names-the-client-by-its-bound-name')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-v', stdin=subprocess.DEVNULL)
        box.connect(source=f'vsock:7:5000:{os.getpid():016x}').close()
        text = expect_end(process, OK)
        contains(text, 'listening at ' + box.path('2.vsock_1234'))
        contains(text, 'connection from 7:5000')
    with world() as box:
        process = box.start_listener('--unix', '-v', stdin=subprocess.DEVNULL)
        box.connect().close()
        contains(expect_end(process, OK), 'connection from unknown')


@suite.case('/listen/second-client-is-refused')
def _():
    with world() as box:
        box.start_listener('--unix')
        box.connect()
        until(lambda: not os.path.exists(box.path('2.vsock_1234')), 'removal')


@suite.case('/listen/timeout-ends-the-wait-for-a-client')
def _():
    with world() as box:
        expect(box.run('-l', '--unix', '-w', '0.2', 1234), CONN, 'in time')
        equal(os.listdir(box.dir), [])


@suite.case('/listen/socket-is-removed-on-signals')
def _():
    for args in (), ('-k',):
        for sig in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            with world() as box:
                process = box.start_listener('--unix', *args)
                equal(os.listdir(box.dir), ['2.vsock_1234'])
                process.send_signal(sig)
                expect_end(process, -sig)
                equal(os.listdir(box.dir), [])


@suite.case('/listen/ignored-signals-stay-ignored')
def _():
    with world() as box:
        process = box.start_listener(
            '--unix', preexec_fn=lambda: signal.signal(signal.SIGHUP,
                                                       signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        equal(process.poll(), None, 'exit code')


@suite.case('/listen/stale-socket-is-taken-over')
def _():
    with world() as box:
        process = box.start_listener('--unix')
        process.kill()
        process.wait()
        equal(os.listdir(box.dir), ['2.vsock_1234'])
        process = box.start_listener('--unix', stdin=subprocess.DEVNULL)
        box.connect().close()
        expect_end(process, OK, b'')
        equal(os.listdir(box.dir), [])


@suite.case('/listen/live-listener-is-neither-replaced-nor-disturbed')
def _():
    with world() as box:
        process = box.start_listener('--unix', stdin=subprocess.DEVNULL)
        expect(box.run('-l', '--unix', 1234), LOCAL, 'another program')
        equal(process.poll(), None, 'exit code')
        box.connect().close()
        expect_end(process, OK, b'')


@suite.case('/listen/bound-socket-that-does-not-listen-yet-is-not-replaced')
def _():
    with world() as box, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(box.path('2.vsock_1234'))
        expect(box.run('-l', '--unix', 1234), LOCAL, 'another program')
        sock.listen()
        box.connect()


@suite.case('/listen/file-in-the-way-is-left-alone')
def _():
    with world() as box:
        path = box.path('2.vsock_1234')
        with open(path, 'w') as file:
            file.write('precious')
        expect(box.run('-l', '--unix', 1234), LOCAL, 'not a socket')
        with open(path) as file:
            equal(file.read(), 'precious')


@suite.case('/listen/another-socket-at-its-path-is-not-removed-at-the-end')
def _():
    with world() as box:
        process = box.start_listener('--unix')
        os.unlink(box.path('2.vsock_1234'))
        box.listener('2.vsock_1234')
        process.send_signal(signal.SIGTERM)
        expect_end(process, -signal.SIGTERM)
        equal(os.listdir(box.dir), ['2.vsock_1234'])


@suite.case('/listen/of-many-at-a-stale-socket-exactly-one-wins')
def _():
    with world() as box:
        for _ in range(5):
            box.dead_socket('2.vsock_1234')
            crowd = [box.start('-l', '--unix', 1234) for _ in range(8)]
            until(lambda: sum(p.poll() is None for p in crowd) == 1, 'one')
            for process in crowd:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    expect_end(process, -signal.SIGTERM)
                else:
                    expect_end(process, LOCAL, b'')


# --- Many clients ------------------------------------------------------------

@suite.case('/keep/three-clients-at-once-on-one-listener')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-k', '-v',
                                     stdin=subprocess.DEVNULL)
        socks = [box.connect(source=f'vsock:{3 + i}:77:{os.getpid():016x}')
                 for i in range(3)]
        got = []
        for i in (2, 0, 1):
            socks[i].sendall(b'client %d\n' % i)
            got.append(process.stdout.read(9))
        equal(got, [b'client 2\n', b'client 0\n', b'client 1\n'])
        for sock in socks:
            sock.close()
        until(lambda: cpu_ticks(process.pid) >= 0, 'alive')
        process.send_signal(signal.SIGTERM)
        text = expect_end(process, -signal.SIGTERM)
        for cid in 3, 4, 5:
            contains(text, f'connection from {cid}:77')


@suite.case('/keep/stdin-goes-to-all-clients')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-k')
        process.stdin.write(b'all ')  # kept until somebody is there
        first = box.connect()
        equal(first.recv(100), b'all ')
        others = [box.connect(), box.connect()]
        for sock in others:
            sock.sendall(b'x')
        equal(process.stdout.read(1) + process.stdout.read(1), b'xx')
        process.stdin.write(b'of you')
        for sock in [first, *others]:
            equal(sock.recv(100), b'of you')
        process.stdin.close()
        for sock in [first, *others, box.connect()]:
            equal(sock.recv(100), b'')


@suite.case('/keep/client-that-leaves-does-not-hurt-others')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-k')
        first, second = box.connect(), box.connect()
        second.sendall(b'1')
        equal(process.stdout.read(1), b'1')
        process.stdin.write(b'x')
        equal(second.recv(1), b'x')
        first.close()  # with a byte unread
        second.sendall(b'2')
        equal(process.stdout.read(1), b'2')
        process.stdin.write(b'y')
        equal(second.recv(1), b'y')
        third = box.connect()
        third.sendall(b'3')
        equal(process.stdout.read(1), b'3')


@suite.case('/keep/each-client-of-ten-arrives-whole')
def _():
    size = 300000
    with world() as box:
        with open(os.path.join(box.top, 'out'), 'wb') as out:
            process = box.start_listener('--unix', '-k', stdout=out,
                                         stdin=subprocess.DEVNULL)
        jobs = []
        for i in range(10):
            sock = box.connect()
            jobs.append(threading.Thread(target=send_and_wait,
                                         args=(sock, bytes([i]) * size)))
            jobs[-1].start()
        for job in jobs:
            job.join()
        path = os.path.join(box.top, 'out')
        until(lambda: os.path.getsize(path) == 10 * size, 'bytes')
        with open(path, 'rb') as file:
            data = file.read()
        equal([data.count(bytes([i])) for i in range(10)], [size] * 10)
        equal(process.poll(), None, 'exit code')


def send_and_wait(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    read_all(sock)


@suite.case('/keep/idle-clients-leave-with-the-timeout')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-k', '-w', '0.3')
        sock = box.connect()
        equal(sock.recv(1), b'')
        box.connect().sendall(b'next')
        equal(process.stdout.read(4), b'next')


@suite.case('/keep/broken-stdout-exits-3-and-removes-the-socket')
def _():
    with world() as box:
        process = box.start_listener('--unix', '-k')
        process.stdout.close()
        box.connect().sendall(b'x')
        expect_end(process, LOCAL)
        equal(os.listdir(box.dir), [])


def setup(options):
    global nc
    nc = os.path.abspath(options.nc)
    if not os.access(nc, os.X_OK):
        sys.exit(f'{nc} is not there: build it, or name it by --nc')


def main():
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
    parser = argparse.ArgumentParser(description='Tests of nc-vsock; TAP.')
    parser.add_argument('--nc', metavar='PROGRAM',
                        default=os.environ.get('NC_VSOCK') or
                        os.path.join(top, 'build', 'bin', 'nc-vsock'),
                        help='the nc-vsock to test (default: $NC_VSOCK, or '
                             'build/bin/nc-vsock)')
    return suite.main(parser, setup)


if __name__ == '__main__':
    sys.exit(main())
