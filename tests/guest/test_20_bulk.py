# SPDX-License-Identifier: GPL-2.0-or-later
#
# Much data, and readers that are slow.

import threading
import time

import pattern
from tap import WAIT_S, Suite, check, equal

suite = Suite(timeout_s=180)
GB = 1000 * 1000 * 1000
MB = 1000 * 1000


def rate(count, start):
    return f'{count / MB / (time.monotonic() - start):.0f} MB/s'


@suite.case('/bulk/1-gb-guest-to-host-arrives-whole')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    start = time.monotonic()
    sent = vm.agent.start('send', 1, 5, GB)
    value = pattern.receive(host, 5, GB)
    sent.wait()
    suite.comment(f'sha256 {value}, {rate(GB, start)}')


@suite.case('/bulk/1-gb-host-to-guest-arrives-whole')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    host = vm.host_to_guest(port, 1)
    host.settimeout(WAIT_S)
    start = time.monotonic()
    got = vm.agent.start('recv', 1, 6, GB)
    pattern.send(host, 6, GB)
    fields = got.wait()
    equal((fields['count'], fields['bad']), (str(GB), '-1'))
    suite.comment(f'compared byte by byte in the guest, {rate(GB, start)}')


@suite.case('/bulk/100-mb-both-ways-at-once-on-one-connection')
def _(lab):
    vm, port = lab.guest(), lab.port()
    count = 100 * MB
    host = vm.guest_to_host(port, 1, vm.listen(port))
    host.settimeout(WAIT_S)
    sent = vm.agent.start('send', 1, 7, count)
    got = vm.agent.start('recv', 1, 8, count)
    writer = threading.Thread(target=pattern.send, args=(host, 8, count),
                              daemon=True)
    writer.start()
    pattern.receive(host, 7, count)
    sent.wait()
    equal(got.wait()['bad'], '-1', 'first wrong byte')
    writer.join(WAIT_S)


@suite.case('/bulk/host-that-does-not-read-stops-the-guest-and-loses-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    count = 8 * MB
    host = vm.guest_to_host(port, 1, vm.listen(port))
    sent = vm.agent.start('send', 1, 9, count)
    time.sleep(0.5)
    check(not sent.is_done(), '8 MB went to nobody')
    pattern.receive(host, 9, count)
    sent.wait()


@suite.case('/bulk/guest-that-does-not-read-stops-the-host-and-loses-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    count = 8 * MB
    host = vm.guest_to_host(port, 1, vm.listen(port))
    writer = threading.Thread(target=pattern.send, args=(host, 10, count),
                              daemon=True)
    writer.start()
    time.sleep(0.5)
    check(writer.is_alive(), '8 MB went to nobody')
    equal(vm.agent.call('recv', 1, 10, count)['bad'], '-1')
    writer.join(WAIT_S)
    check(not writer.is_alive(), 'the writer still waits')


@suite.case('/bulk/stalled-connections-do-not-stop-another')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    stalled = [vm.guest_to_host(port, slot, listener) for slot in range(8)]
    for slot in range(8):
        vm.agent.start('send', slot, 1, 8 * MB)  # which nobody reads
    for host in stalled:
        host.setblocking(False)
        try:
            while True:
                host.send(bytes(65536))  # which nobody reads either
        except BlockingIOError:
            pass
    host = vm.guest_to_host(port, 20, listener)
    sent = vm.agent.start('send', 20, 11, 20 * MB)
    pattern.receive(host, 11, 20 * MB)
    sent.wait()
    got = vm.agent.start('recv', 20, 12, 20 * MB)
    pattern.send(host, 12, 20 * MB)
    equal(got.wait()['bad'], '-1')


@suite.case('/bulk/8-connections-share')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    hosts = [vm.guest_to_host(port, slot, listener) for slot in range(8)]
    sent = [vm.agent.start('send', slot, slot, 10 * MB) for slot in range(8)]
    jobs = []
    failures = []

    def receive(slot):
        try:
            pattern.receive(hosts[slot], slot, 10 * MB)
        except (AssertionError, OSError) as error:
            failures.append(error)

    for slot in range(8):
        jobs.append(threading.Thread(target=receive, args=(slot,),
                                     daemon=True))
        jobs[-1].start()
    for job in jobs:
        job.join(WAIT_S)
        check(not job.is_alive(), 'a reader still waits')
    equal(failures, [])
    for pending in sent:
        pending.wait()


@suite.case('/bulk/one-byte-at-a-time')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    pending = vm.agent.start('echo', 1)
    for value in range(200):
        host.sendall(bytes([value]))
        equal(host.recv(100), bytes([value]))
    host.shutdown(1)
    equal(pending.wait()['count'], '200')
    equal(host.recv(1), b'')


@suite.case('/bulk/guest-with-a-small-buffer-neither-stalls-nor-loses')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    for slot, size in enumerate((1000, 8192, 65536)):
        host = vm.guest_to_host(port, slot, listener)
        vm.agent.call('buffer', slot, size)
        got = vm.agent.start('recv', slot, 13, MB)
        pattern.send(host, 13, MB)
        equal(got.wait()['bad'], '-1')
        sent = vm.agent.start('send', slot, 14, MB)
        pattern.receive(host, 14, MB)
        sent.wait()


@suite.case('/bulk/guest-that-shrinks-its-buffer-in-mid-transfer-loses-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    writer = threading.Thread(target=pattern.send, args=(host, 15, 4 * MB),
                              daemon=True)
    writer.start()
    time.sleep(0.3)  # the window is full: the guest does not read yet
    vm.agent.call('buffer', 1, 16384)
    got = vm.agent.start('recv', 1, 15, 4 * MB)
    fields = got.wait()
    equal((fields['count'], fields['bad']), (str(4 * MB), '-1'))
    vm.agent.call('buffer', 1, 262144)
    writer.join(WAIT_S)
    sent = vm.agent.start('send', 1, 16, 4 * MB)
    pattern.receive(host, 16, 4 * MB)
    sent.wait()
