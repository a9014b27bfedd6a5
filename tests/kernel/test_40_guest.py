# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest at work on the kernel backend: bytes, stop, reset, unplug, migration,
# and a QEMU that dies.

import errno
import os
import threading
import time

import pattern
from ends import (drain, expect_end, expect_guest_end, load_driver, pairs,
                  unload_driver)
from image import version
from node import is_free
from service import (MB, exchange, expect_service, expect_silence, plug,
                     stop_and_go, unplug)
from tap import WAIT_S, Suite, check, equal
from vm import Vm

suite = Suite(timeout_s=300)
# Of guests that run beside the one that cases share.
CID = 80
BOOT_UNDER_TCG_S = 1000


@suite.case('/guest/bytes-both-ways-keep-their-checksum')
def _(lab):
    expect_service(lab, lab.guest(), 20 * MB)


@suite.case('/guest/stop-and-cont-with-bytes-in-flight-both-ways')
def _(lab):
    vm, count = lab.guest(), 20 * MB
    (_, first), (_, second) = pairs(lab, vm)
    sent = vm.agent.start('send', 1, 1, count)
    got = vm.agent.start('recv', 2, 2, count)
    second.settimeout(WAIT_S)
    writer = threading.Thread(target=pattern.send, args=(second, 2, count),
                              daemon=True)
    writer.start()
    stopper = threading.Thread(target=stop_and_go, args=(vm,), daemon=True)
    stopper.start()
    first.settimeout(WAIT_S)
    pattern.receive(first, 1, count)
    sent.wait()
    fields = got.wait()
    equal((fields['count'], fields['bad']), (str(count), '-1'))
    writer.join(WAIT_S)
    stopper.join(WAIT_S)
    check(not stopper.is_alive(), 'QMP did not answer')
    vm.wait_running()


@suite.case('/guest/nothing-moves-and-nothing-ends-while-stopped')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    vm.qmp.command('stop')
    try:
        waiting = [send_to_stopped(host, pattern.data(7, 100))
                   for _, host in both]
        time.sleep(3)
        for _, host in both:
            expect_silence(host)
    finally:
        vm.qmp.command('cont')
    for (slot, host), count in zip(both, waiting):
        fields = vm.agent.call('recv', slot, 7, count)
        equal((fields['count'], fields['bad']), (str(count), '-1'))
        exchange(vm, slot, host, MB)


def send_to_stopped(sock, data):
    """How many bytes wait for the guest.  Later kernels than 6.1 refuse them
    while the device does not run; the connection goes on.  On 6.1 they wait,
    and the guest hears of them only if its interrupts are unmasked before the
    device runs."""
    try:
        sock.sendall(data)
        return len(data)
    except OSError as error:
        equal(error.errno, errno.EHOSTUNREACH)
        check(version(os.uname().release) > (6, 2), 'Linux 6.1 keeps them')
        return 0


@suite.case('/guest/reset-and-it-comes-back-with-no-connection-left')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    both = pairs(lab, vm)
    vm.agent.start('send', 1, 1, 100 * MB)
    both[0][1].recv(MB)
    vm.qmp.command('system_reset')
    vm.wait_ready()
    vm.guest_to_host(port, 1, listener)
    expect_service(lab, vm)
    # Linux's vhost does not tell host programs of a reset: they learn it from
    # the new guest's answer when they send.
    for _, host in both:
        host.sendall(b'x')
        drain(host)


@suite.case('/guest/driver-leaves-and-comes-back')
def _(lab):
    vm = lab.guest()
    for _ in range(2):
        expect_service(lab, vm)
        unload_driver(vm)
        load_driver(vm)
    expect_service(lab, vm)


@suite.case('/guest/unplug-while-connected')
def _(lab):
    with Vm(lab, 'unplug', cid=CID) as vm:
        both = pairs(lab, vm)
        reads = [vm.agent.start('recv', slot, 1, 1) for slot, _ in both]
        unplug(vm)
        for _, host in both:
            expect_end(host)
        for pending in reads:
            expect_guest_end(pending)
        check(is_free(vm.cid), 'the CID is still taken')
        vm.agent.call('close', 0, 1023)
        plug(vm)
        expect_service(lab, vm)


@suite.case('/guest/unplug-with-bytes-in-flight')
def _(lab):
    with Vm(lab, 'unplug', cid=CID) as vm:
        (_, first), (_, second) = pairs(lab, vm)
        vm.agent.start('send', 1, 1, 500 * MB)
        vm.agent.start('recv', 2, 1, 500 * MB)
        first.recv(1 << 20)
        second.setblocking(False)
        second.send(pattern.data(1, 100000))
        unplug(vm)
        second.settimeout(WAIT_S)
        expect_end(second)
        drain(first)
        vm.agent.call('close', 0, 1023)
        plug(vm)
        expect_service(lab, vm)


@suite.case('/guest/killed-qemu-ends-host-programs-connections')
def _(lab):
    with Vm(lab, 'killed', cid=CID) as vm:
        both = pairs(lab, vm)
        vm.kill()
        for _, host in both:
            expect_end(host)
        check(is_free(vm.cid), 'the CID is still taken')


@suite.case('/guest/migration-resets-the-transport-and-keeps-listeners')
def _(lab):
    path = os.path.join(lab.dir, 'migration')
    lab.remove_later(path)
    with Vm(lab, 'moved', cid=CID) as vm:
        host_port, guest_port = lab.port(), lab.port()
        listener = vm.listen(host_port)
        vm.agent.call('listen', 950, guest_port, 8)
        both = pairs(lab, vm)
        reads = [vm.agent.start('recv', slot, 1, 1) for slot, _ in both]
        old_agent = vm.agent
        old_agent.call('ping')
        vm.migrate_to(path)
        vm.quit()
        for _, host in both:
            expect_end(host)
        vm.restore(old_agent, '-incoming', f'exec:cat {path}')
        for pending in reads:
            expect_guest_end(pending)
        exchange(vm, 20, vm.guest_to_host(host_port, 20, listener), MB)
        exchange(vm, 21, vm.host_to_guest(guest_port, 21, 950), MB)


@suite.case('/tcg-guest/bytes-both-ways-then-the-cid-is-free',
            timeout_s=300)
def _(lab):
    lab.accel = 'tcg'
    try:
        with Vm(lab, 'tcg', cid=CID, start=False) as vm:
            vm.start()
            vm.wait_ready(BOOT_UNDER_TCG_S)
            for slot, host in pairs(lab, vm):
                exchange(vm, slot, host, 100000)
            vm.quit()
            check(is_free(CID), 'the CID is still taken')
    finally:
        lab.accel = 'kvm'
