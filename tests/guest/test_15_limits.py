# SPDX-License-Identifier: GPL-2.0-or-later
#
# More than there is room for.

import socket

import pattern
from agent import GuestError
from tap import WAIT_S, Suite, check, equal, until
from test_90_idle import expect_rest
from vm import HOST_CID, Vm

suite = Suite(timeout_s=120)
FEW_FDS = 80
MANY = 120


def exchange(vm, host, slot):
    got = vm.agent.start('recv', slot, 1, 100000)
    pattern.send(host, 1, 100000)
    equal(got.wait()['bad'], '-1')
    sent = vm.agent.start('send', slot, 2, 100000)
    pattern.receive(host, 2, 100000)
    sent.wait()


@suite.case('/limits/no-fd-left-refuses-the-guest-and-hurts-nobody-else')
def _(lab):
    with Vm(lab, 'few-fds', max_fds=FEW_FDS) as vm:
        port = lab.port()
        listener = vm.listen(port)
        hosts, slots = [], []
        for slot in range(MANY):
            try:
                vm.agent.call('connect', slot, HOST_CID, port)
            except GuestError as error:
                equal(error.name, 'ECONNRESET')
                continue
            slots.append(slot)
            hosts.append(vm.accept(listener))
        check(0 < len(slots) < MANY, f'{len(slots)} connections')
        suite.comment(f'{len(slots)} connections with {FEW_FDS} fds')
        for slot, host in list(zip(slots, hosts))[::10]:
            exchange(vm, host, slot)
        vm.agent.call('close', 0, 899)
        for host in hosts:
            equal(host.recv(1), b'')
            host.close()
        exchange(vm, until(lambda: try_connect(vm, port, listener), 'room'),
                 1)


def try_connect(vm, port, listener):
    try:
        return vm.guest_to_host(port, 1, listener)
    except GuestError:
        return None


@suite.case('/limits/no-fd-left-refuses-host-clients-and-does-not-spin')
def _(lab):
    with Vm(lab, 'few-fds', max_fds=FEW_FDS) as vm:
        port = lab.port()
        vm.agent.call('listen', 900, port, 200)
        clients = []
        for _ in range(MANY):
            client = lab.keep(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(vm.uds_path)
            except BlockingIOError:
                break  # the backlog is full
            client.sendall(f'CONNECT {port}\n'.encode())
            clients.append(client)
        suite.comment(f'{len(clients)} host clients with {FEW_FDS} fds')
        expect_rest(vm, 'with no fd left')
        for client in clients:
            client.close()
        vm.agent.call('close', 0, 900)
        port = lab.port()
        vm.agent.call('listen', 900, port, 8)
        accepted = vm.agent.start('accept', 1, 900)
        host = until(lambda: vm.connect(port), 'room')
        accepted.wait()
        exchange(vm, host, 1)


@suite.case('/limits/500-connections-at-once')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port, backlog=600)
    pending = [vm.agent.start('connect', slot, HOST_CID, port)
               for slot in range(500)]
    hosts = {}
    for _ in range(500):
        host, name = listener.accept()
        host.settimeout(WAIT_S)
        hosts[int(name.split(b':')[2])] = lab.keep(host)
    for slot, request in enumerate(pending):
        host = hosts[int(request.wait()['port'])]
        host.sendall(pattern.data(1, 5000))
    for slot in range(0, 500, 7):
        equal(vm.agent.call('recv', slot, 1, 5000)['bad'], '-1')
