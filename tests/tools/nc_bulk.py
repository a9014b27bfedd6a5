# SPDX-License-Identifier: GPL-2.0-or-later
#
# nc-vsock with much data, and with peers that do not read.

import hashlib
import random
import socket
import threading
import time

from nc_box import (OK, accept, cpu_ticks, expect_end, read_all, suite, world,
                    write_and_ignore, write_socket_and_ignore)
from tap import check, equal


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
