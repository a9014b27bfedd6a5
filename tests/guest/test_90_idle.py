# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU takes no processor time when nothing can move.

import socket
import time

import pattern
from ends import load_driver, pairs, unload_driver
from service import expect_no_driver
from tap import WAIT_S, Suite, equal
from vm import Vm

suite = Suite(timeout_s=120)
MB = 1000 * 1000
IDLE_CONNECTIONS = 64
IDLE_S = 8
STALL_S = 3
# Of one processor, beyond what QEMU takes without the device.
IDLE_MARGIN_PERCENT = 1.0
# Of one processor, in all; a loop that spins takes 100.
STALL_LIMIT_PERCENT = 5.0
# Now and then the guest itself has something to do, the more of the processor
# the slower that is; a loop that spins does so each time.
TRIES = 6


def expect_rest(vm, what, renew=lambda: None):
    """QEMU must be as good as idle from now on.  @renew: for another try, what
    does not last."""
    for _ in range(TRIES):
        time.sleep(0.5)
        percent, = percents(STALL_S, vm)
        suite.comment(f'CPU over {STALL_S} s: {percent:.2f} %, {what}')
        if percent <= STALL_LIMIT_PERCENT:
            return
        renew()
    raise AssertionError(f'{percent:.2f} %, {what}')


def stuff(sock):
    """Send as much as fits."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        sock.settimeout(WAIT_S)


@suite.case('/idle/64-open-connections-cost-no-more-than-no-device')
def _(lab):
    with Vm(lab, 'bare', device=False) as bare, Vm(lab, 'idle') as vm:
        port = lab.port()
        listener = vm.listen(port)
        vm.agent.call('listen', 900, lab.port(), IDLE_CONNECTIONS)
        for slot in range(0, IDLE_CONNECTIONS, 2):
            vm.guest_to_host(port, slot, listener)
            host = vm.host_to_guest(lab.last_port, slot + 1)
            # One that has moved bytes, as connections do before they idle.
            host.sendall(pattern.data(1, 1000))
            vm.agent.call('recv', slot + 1, 1, 1000)
        time.sleep(9)  # so that what a timer may still do is over
        for _ in range(TRIES):
            with_it, without = percents(IDLE_S, vm, bare)
            suite.comment(f'CPU over {IDLE_S} s: {with_it:.2f} % with the '
                          f'device and {IDLE_CONNECTIONS} open connections, '
                          f'{without:.2f} % without the device')
            if with_it <= without + IDLE_MARGIN_PERCENT:
                return
        raise AssertionError(f'{with_it:.2f} % against {without:.2f} %')


def percents(seconds, *vms):
    """What each takes of a processor from now on."""
    before = [vm.cpu_seconds() for vm in vms]
    time.sleep(seconds)
    return [(vm.cpu_seconds() - its) / seconds * 100
            for vm, its in zip(vms, before)]


@suite.case('/idle/readers-that-stall-cost-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    for slot in range(8):
        stuff(vm.guest_to_host(port, slot, listener))
        vm.agent.start('send', slot, 1, 8 * MB)
    expect_rest(vm, 'with 8 connections full both ways')


@suite.case('/idle/half-closed-connections-cost-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    for slot in range(0, 12, 4):
        vm.guest_to_host(port, slot, listener)
        vm.agent.call('shut', slot, 'wr')
        vm.guest_to_host(port, slot + 1, listener).shutdown(socket.SHUT_WR)
        # Ended by one side, full in the other direction.
        stuff(vm.guest_to_host(port, slot + 2, listener))
        vm.agent.call('shut', slot + 2, 'wr')
        host = vm.guest_to_host(port, slot + 3, listener)
        host.shutdown(socket.SHUT_WR)
        vm.agent.start('send', slot + 3, 1, 8 * MB)
    expect_rest(vm, 'with 12 connections half closed')


@suite.case('/idle/host-program-gone-with-its-bytes-not-taken-costs-nothing')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    for slot in range(4):
        host = vm.guest_to_host(port, slot, listener)
        stuff(host)
        host.close()
    expect_rest(vm, 'with 4 host programs gone and the guest not reading')


@suite.case('/idle/stopped-vm-costs-nothing-whatever-host-programs-do')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    hosts = [vm.guest_to_host(port, slot, listener) for slot in range(6)]
    vm.qmp.command('stop')
    try:
        for host in hosts[:2]:
            host.close()
        for host in hosts[2:4]:
            stuff(host)
        hosts[3].close()
        hosts[4].shutdown(socket.SHUT_WR)
        for text in b'', b'CONN', b'CONNECT 1234\n':
            client = lab.keep(socket.socket(socket.AF_UNIX))
            client.connect(vm.uds_path)
            client.sendall(text)
        client.close()
        expect_rest(vm, 'stopped')
    finally:
        vm.qmp.command('cont')
    equal(vm.agent.call('recv', 0, 1, 1)['eof'], '1')


@suite.case('/idle/host-clients-without-a-line-cost-nothing')
def _(lab):
    vm = lab.guest()

    def dial():
        for number in range(32):
            client = lab.keep(socket.socket(socket.AF_UNIX))
            client.connect(vm.uds_path)
            client.sendall(b'CONNECT 1'[:number % 10])

    dial()
    expect_rest(vm, 'with 32 host clients that wait', dial)
    port = lab.port()
    vm.agent.call('listen', 900, port, 8)
    vm.host_to_guest(port, 1)


@suite.case('/idle/guest-without-a-driver-costs-nothing')
def _(lab):
    vm = lab.guest()
    unload_driver(vm)
    try:
        for _ in range(4):
            expect_no_driver(vm)
            client = lab.keep(socket.socket(socket.AF_UNIX))
            client.connect(vm.uds_path)
        expect_rest(vm, 'without a driver')
    finally:
        load_driver(vm)
    for slot, host in pairs(lab, vm):
        host.sendall(pattern.data(1, 1000))
        equal(vm.agent.call('recv', slot, 1, 1000)['bad'], '-1')
