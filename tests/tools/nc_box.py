# SPDX-License-Identifier: GPL-2.0-or-later
#
# A made-up machine for nc-vsock, and peers that a test scripts.

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile

from tap import WAIT_S, Suite, contains, equal, until

suite = Suite(timeout_s=60)

# Exit codes.
OK, CONN, USAGE, LOCAL = 0, 1, 2, 3

# The nc-vsock to test; set once, before any case runs.
program = None


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
        sock.settimeout(WAIT_S)
        return sock

    def dead_socket(self, name):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path(name))

    def argv(self, *args):
        return [program, '--dir', self.dir, '--vsock-node', self.node,
                *map(str, args)]

    def run(self, *args, **kwargs):
        kwargs.setdefault('stdin', subprocess.DEVNULL)
        return subprocess.run(self.argv(*args), capture_output=True,
                              timeout=WAIT_S, check=False, **kwargs)

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
        sock.settimeout(WAIT_S)
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
    sock.settimeout(WAIT_S)
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


def expect_end(process, code, stdout=None, timeout_s=WAIT_S):
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


def write_and_ignore(stream, data):
    with contextlib.suppress(OSError, ValueError):
        while data:
            data = data[stream.write(data):]


def write_socket_and_ignore(sock, data):
    with contextlib.suppress(OSError):
        sock.sendall(data)


def cpu_ticks(pid):
    with open(f'/proc/{pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return int(fields[11]) + int(fields[12])
