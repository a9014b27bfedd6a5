# SPDX-License-Identifier: GPL-2.0-or-later
#
# nc-vsock connecting: the handshake, and the ends of a connection.

import os
import signal
import socket
import subprocess
import threading
import time

from nc_box import (OK, CONN, LOCAL, accept, expect, expect_end, read_all,
                    reap, suite, world, write_and_ignore)
from tap import WAIT_S, contains, equal, until


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
        sock.settimeout(WAIT_S)
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
        equal(process.communicate(timeout=WAIT_S)[0], b'data')
        equal(process.returncode, OK)


@suite.case('/timeout/idle-connection-ends')
def _():
    with world() as box:
        device = box.device()
        # Longer than a busy machine lets one sleep over, less than in all.
        process = box.start('-w', '1', 3, 1234)
        sock = accept(device)
        for _ in range(4):
            time.sleep(0.3)
            sock.sendall(b'x')
        equal(process.poll(), None, 'exit code')
        contains(expect_end(process, CONN, b'xxxx'), 'timed out')
        sock.close()
