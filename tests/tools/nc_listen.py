# SPDX-License-Identifier: GPL-2.0-or-later
#
# nc-vsock listening, for one client and for many.

import os
import signal
import socket
import stat
import subprocess
import threading
import time

from nc_box import (OK, CONN, LOCAL, cpu_ticks, expect, expect_end,
                    is_listening, read_all, suite, world)
from tap import contains, equal, until


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
                # Whoever runs the tests may ignore it, as nohup does.
                process = box.start_listener(
                    '--unix', *args,
                    preexec_fn=lambda: signal.signal(sig, signal.SIG_DFL))
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
        process = box.start_listener('--unix', '-k', '-w', '1')
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
