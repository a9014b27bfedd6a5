# SPDX-License-Identifier: GPL-2.0-or-later
#
# The daemon outlives the QEMUs that come to it, and one that dies, stops or
# reboots is no matter of another's guest.

import os
import signal
import socket

import pattern
from daemon import Daemon, Guest
from ends import expect_end, pairs, say
from load import Load, Rest
from service import MB, exchange, expect_service, has_cid, plug, unplug
from tap import WAIT_S, Suite, check, equal, until
from vm import HOST_CID, Vm

BACKENDS = 'vhost-user',
suite = Suite(timeout_s=240)
N_KILLS = 20
N_RESETS = 3


# --- One guest after another -------------------------------------------------

class Saved:
    """A guest that was saved before it had the device: a new QEMU has it, up
    and running, in a second."""

    def __init__(self, lab, vm):
        self.vm = vm
        self.path = os.path.join(lab.dir, 'saved')
        vm.agent.call('ping')
        vm.migrate_to(self.path)
        vm.quit()

    def start(self):
        """A new QEMU, a new front-end for the daemon."""
        vm = self.vm
        vm.start('-S', '-incoming', f'exec:cat {self.path}')
        until(lambda: vm.qmp.command('query-status')['status'] !=
              'inmigrate', 'the guest is restored', 60, 0.02)
        vm.qmp.command('cont')
        plug(vm)


@suite.case('/front-end/killed-under-load-20-times-and-the-next-one-is-served')
def _(lab):
    with Vm(lab, 'victim', device=False) as vm:
        saved = Saved(lab, vm)
        port = lab.port()
        listener = vm.listen(port)
        rest = None
        for number in range(N_KILLS):
            saved.start()
            vm.guest_to_host(port, 20, listener).close()
            expect_service(lab, vm, 100000)
            load = Load(lab, vm)
            load.wait_running()
            in_mid_line = client_in_mid_line(lab, vm)
            vm.kill()
            load.expect_host_ends()
            say(in_mid_line, b'34\n')
            expect_end(in_mid_line)
            equal(vm.connect(1234), None, 'connection without a guest')
            lab.close_kept(but=[listener])
            if number in (0, N_KILLS - 1):
                rest = rest or Rest(vm.daemon)
                rest.expect(f'{number + 1} front-ends')
        os.unlink(saved.path)


def client_in_mid_line(lab, vm):
    client = lab.keep(socket.socket(socket.AF_UNIX))
    client.settimeout(WAIT_S)
    client.connect(vm.uds_path)
    client.sendall(b'CONNECT 12')
    return client


@suite.case('/front-end/killed-while-it-boots')
def _(lab):
    with Vm(lab, 'victim', start=False) as vm:
        for wait_s in (0, 0.3, 0.8, 1.2, 1.6):
            vm.start()
            vm.agent.ready.wait(wait_s)
            vm.kill()
        vm.start()
        vm.wait_ready()
        expect_service(lab, vm)


@suite.case('/front-end/second-one-waits-until-the-first-is-gone')
def _(lab):
    first = lab.guest()
    with Vm(lab, 'second', start=False, daemon=first.daemon) as second:
        second.launch()
        exchange_all(lab, first)
        check(second.is_alive(), 'it ended')
        second.kill()
    expect_service(lab, first)


def exchange_all(lab, vm):
    for slot, host in pairs(lab, vm):
        exchange(vm, slot, host, MB)


@suite.case('/front-end/system-reset-under-load')
def _(lab):
    vm = lab.guest()
    expect_service(lab, vm)
    rest = Rest(vm.daemon)
    for _ in range(N_RESETS):
        load = Load(lab, vm)
        load.wait_running()
        vm.qmp.command('system_reset')
        load.expect_host_ends()
        vm.wait_ready()
        expect_service(lab, vm)
    lab.close_kept()
    rest.expect(f'{N_RESETS} resets')


@suite.case('/front-end/unplugged-and-plugged-on-the-same-connection')
def _(lab):
    with Vm(lab, 'replug') as vm:
        for _ in range(3):
            load = Load(lab, vm)
            load.wait_running()
            vm.qmp.drop_events('DEVICE_DELETED')
            vm.qmp.command('device_del', id='vsock0')
            while vm.qmp.wait_event('DEVICE_DELETED').get('device') != \
                    'vsock0':
                pass
            vm.qmp.command('device_add', driver='vhost-user-vsock-pci',
                           id='vsock0', chardev=vm.host.CHARDEV)
            # Only now: before, all the daemon saw was that the rings stopped,
            # as they do for a VM that is stopped.
            load.expect_host_ends()
            vm.agent.call('close', 0, 899)
            until(lambda: has_cid(vm), 'the guest finds the device')
            expect_service(lab, vm)


@suite.case('/front-end/device-plugged-anew-has-a-new-daemon')
def _(lab):
    with Vm(lab, 'orphan') as vm:
        for _ in range(2):
            both = pairs(lab, vm)
            vm.daemon.kill()
            for _, host in both:
                expect_end(host)
            unplug(vm)
            vm.agent.call('close', 0, 899)
            plug(vm)
            expect_service(lab, vm)


@suite.case('/front-end/that-reconnects-is-served-when-plugged-anew')
def _(lab):
    # With reconnect= QEMU 7.2 has no device at its start, only plugged ones.
    with Vm(lab, 'reconnect', device=False, reconnect=True) as vm:
        plug(vm)
        expect_service(lab, vm)
        vm.daemon.kill()
        vm.daemon.start()
        until(lambda: vm.daemon.said().count('has connected') == 2,
              'QEMU connects again')
        # It tells the new daemon neither of the guest's memory nor of the
        # device; a driver that starts anew is not told either.
        vm.qmp.command('system_reset')
        vm.wait_ready()
        check(vm.daemon.is_alive(), 'the daemon ended')
        unplug(vm)
        plug(vm)
        expect_service(lab, vm)


# --- Several guests ----------------------------------------------------------

def two_guests(lab, **how):
    """Two guests of one daemon."""
    folder = lab.new_dir('two')
    guests = [Guest(cid, os.path.join(folder, f'vhost{cid}'),
                    os.path.join(folder, f'v{cid}.sock')) for cid in (3, 4)]
    daemon = Daemon(lab, guests, folder, **how).start()
    vms = [Vm(lab, f'cid-{cid}', cid=cid, daemon=daemon, start=False)
           for cid in (3, 4)]
    for vm in vms:
        vm.start()
    for vm in vms:
        vm.wait_ready()
    return vms


@suite.case('/guests/two-of-one-daemon-reach-only-their-own-sockets')
def _(lab):
    first, second = two_guests(lab)
    port, back = lab.port(), lab.port()
    listener = second.listen(port)
    equal(first.agent.start('connect', 1, HOST_CID, port).error(),
          'ECONNRESET')
    host = second.guest_to_host(port, 1, listener)
    exchange(second, 1, host, MB)
    first.agent.call('listen', 900, back, 8)
    equal(second.connect(back), None)
    host = first.host_to_guest(back, 2)
    exchange(first, 2, host, MB)
    # Nor each other.
    error = first.agent.start('connect', 3, second.cid, port).error()
    check(error in ('ECONNRESET', 'ENODEV', 'EHOSTUNREACH', 'ETIMEDOUT'),
          error)


@suite.case('/guests/one-is-killed-and-the-other-goes-on')
def _(lab):
    first, second = two_guests(lab)
    expect_service(lab, first)
    expect_service(lab, second)
    lab.close_kept()
    rest = Rest(first.daemon)
    host = steady(lab, second)
    load = Load(lab, first)
    load.wait_running()
    first.kill()
    load.expect_host_ends()
    exchange(second, 1, host, 10 * MB)
    first.start()
    exchange(second, 1, host, 10 * MB)
    first.wait_ready()
    expect_service(lab, first)
    exchange(second, 1, host, MB)
    second.agent.call('close', 0, 1023)
    first.agent.call('close', 0, 1023)
    lab.close_kept()
    rest.expect('the death of one of two')


def steady(lab, vm):
    port = lab.port()
    return vm.guest_to_host(port, 1, vm.listen(port))


@suite.case('/guests/one-whose-qemu-hangs-does-not-stop-the-other')
def _(lab):
    first, second = two_guests(lab)
    _, (_, stuck) = pairs(lab, first)
    stuck.setblocking(False)
    first.process.send_signal(signal.SIGSTOP)
    try:
        try:
            while True:
                stuck.send(bytes(65536))
        except BlockingIOError:
            pass
        # A host program that calls it waits, and only that one.
        client = lab.keep(socket.socket(socket.AF_UNIX))
        client.connect(first.uds_path)
        client.sendall(b'CONNECT 1234\n')
        expect_service(lab, second, 10 * MB)
    finally:
        first.process.send_signal(signal.SIGCONT)
    client.settimeout(WAIT_S)
    expect_end(client)
    expect_service(lab, first)


@suite.case('/guests/both-under-load-at-once')
def _(lab):
    vms = two_guests(lab)
    ports = [lab.port() for _ in vms]
    hosts = [vm.guest_to_host(port, 1, vm.listen(port))
             for vm, port in zip(vms, ports)]
    sent = [vm.agent.start('send', 1, vm.cid, 30 * MB) for vm in vms]
    for vm, host in zip(vms, hosts):
        host.settimeout(WAIT_S)
        pattern.receive(host, vm.cid, 30 * MB)
    for pending in sent:
        pending.wait()
