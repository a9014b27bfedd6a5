# SPDX-License-Identifier: GPL-2.0-or-later
#
# Everything at once, in an order that a seed decides; afterwards nothing of
# it may be left.

import os
import random
import socket
import time

import pattern
from ends import pairs
from tap import WAIT_S, Suite, check, equal, until
from vm import Vm

suite = Suite(timeout_s=180)
STRESS_S = 10
N_SLOTS = 40
KB = 1000


class Stress:
    """Random deeds on up to N_SLOTS connections."""

    def __init__(self, lab, vm, seed):
        self.lab = lab
        self.vm = vm
        self.random = random.Random(seed)
        self.port = lab.port()
        self.listener = vm.listen(self.port)
        self.guest_port = lab.port()
        vm.agent.call('listen', 900, self.guest_port, N_SLOTS)
        self.hosts = {}
        self.deeds = {}

    def step(self):
        slot = self.random.randrange(N_SLOTS)
        if slot not in self.hosts:
            deed = self.random.choice([self.dial, self.answer])
        else:
            deed = self.random.choice([
                self.send, self.send, self.receive, self.receive,
                self.receive_some, self.half_close, self.guest_closes,
                self.host_closes, self.guest_leaves_in_mid_way,
                self.stop_and_go])
        self.deeds[deed.__name__] = self.deeds.get(deed.__name__, 0) + 1
        deed(slot)

    # Each deed keeps the two ends of a slot in step, or ends both.

    def dial(self, slot):
        self.hosts[slot] = self.vm.guest_to_host(self.port, slot,
                                                 self.listener)

    def answer(self, slot):
        self.hosts[slot] = self.vm.host_to_guest(self.guest_port, slot)

    def send(self, slot):
        count = self.random.randrange(1, 400 * KB)
        got = self.vm.agent.start('recv', slot, slot, count)
        pattern.send(self.hosts[slot], slot, count)
        fields = got.wait()
        equal((fields['count'], fields['bad']), (str(count), '-1'))

    def receive(self, slot):
        count = self.random.randrange(1, 400 * KB)
        sent = self.vm.agent.start('send', slot, slot, count)
        pattern.receive(self.hosts[slot], slot, count)
        sent.wait()

    def receive_some(self, slot):
        """The host program dies with most of it not read."""
        sent = self.vm.agent.start('send', slot, slot, 1000 * KB)
        self.hosts[slot].recv(self.random.randrange(1, 300 * KB))
        self.hosts.pop(slot).close()
        check(sent.error() in ('EPIPE', 'ECONNRESET', 'ENOTCONN'), 'errno')
        self.vm.agent.call('close', slot)

    def half_close(self, slot):
        host = self.hosts.pop(slot)
        if self.random.random() < 0.5:
            self.vm.agent.call('shut', slot, 'wr')
            equal(host.recv(1), b'')
            host.sendall(pattern.data(slot, 50 * KB))
            host.close()
            fields = self.vm.agent.call('recv', slot, slot, 60 * KB)
            equal((fields['count'], fields['eof'], fields['bad']),
                  (str(50 * KB), '1', '-1'))
        else:
            host.shutdown(socket.SHUT_WR)
            equal(self.vm.agent.call('recv', slot, 0, 1)['eof'], '1')
            self.vm.agent.call('send', slot, slot, 50 * KB)
            self.vm.agent.call('close', slot)
            pattern.receive(host, slot, 50 * KB)
            equal(host.recv(1), b'')
            host.close()
        self.vm.agent.call('close', slot)

    def guest_closes(self, slot):
        self.vm.agent.call('close', slot)
        equal(self.hosts[slot].recv(1), b'')
        self.hosts.pop(slot).close()

    def host_closes(self, slot):
        self.hosts.pop(slot).close()
        equal(self.vm.agent.call('recv', slot, 0, 1)['eof'], '1')
        self.vm.agent.call('close', slot)

    def guest_leaves_in_mid_way(self, slot):
        """The guest's program dies with bytes it did not read."""
        host = self.hosts.pop(slot)
        host.setblocking(False)
        try:
            host.send(bytes(300 * KB))
        except BlockingIOError:
            pass
        self.vm.agent.call('close', slot)
        host.settimeout(WAIT_S)
        try:
            equal(host.recv(1), b'')
        except ConnectionResetError:
            pass
        host.close()

    def stop_and_go(self, slot):
        self.vm.qmp.command('stop')
        self.hosts[slot].sendall(pattern.data(slot, 10 * KB))
        self.vm.qmp.command('cont')
        fields = self.vm.agent.call('recv', slot, slot, 10 * KB)
        equal(fields['bad'], '-1')


@suite.case('/stress/random-deeds-leave-nothing-behind')
def _(lab):
    seed = int.from_bytes(os.urandom(4), 'little')
    suite.comment(f'seed {seed}')
    with Vm(lab, 'stress') as vm:
        worker = vm.worker()
        before = worker.count_fds()
        stress = Stress(lab, vm, seed)
        end = time.monotonic() + STRESS_S
        while time.monotonic() < end:
            stress.step()
        suite.comment(', '.join(f'{name} {count}' for name, count
                                in sorted(stress.deeds.items())))
        vm.agent.call('close', 0, N_SLOTS)
        for host in stress.hosts.values():
            host.close()
        until(lambda: worker.count_fds() <= before,
              f'the device is back to {before} fds')
        for slot, host in pairs(lab, vm):
            got = vm.agent.start('recv', slot, 1, 100 * KB)
            pattern.send(host, 1, 100 * KB)
            equal(got.wait()['bad'], '-1')


@suite.case('/stress/400-short-connections-leak-neither-fds-nor-memory')
def _(lab):
    with Vm(lab, 'stress') as vm:
        port = lab.port()
        listener = vm.listen(port)
        vm.agent.call('listen', 900, lab.port(), 8)
        back = lab.last_port
        sizes = []
        for number in range(400):
            if number % 2:
                host = vm.guest_to_host(port, 1, listener)
                vm.agent.call('send', 1, 1, 1000)
                vm.agent.call('close', 1)
                pattern.receive(host, 1, 1000)
            else:
                host = vm.host_to_guest(back, 1)
                host.sendall(pattern.data(1, 1000))
                vm.agent.call('recv', 1, 1, 1000)
                vm.agent.call('close', 1)
            equal(host.recv(1), b'')
            host.close()
            if number in (199, 399):
                sizes.append((vm.worker().count_fds(), vm.host.memory_kb()))
        (fds, memory), (more_fds, more_memory) = sizes
        suite.comment(f'after 200: {fds} fds, {memory} KB; '
                      f'after 400: {more_fds} fds, {more_memory} KB')
        check(more_fds <= fds + 2, f'{more_fds} fds')
        check(more_memory <= memory + 1000, f'{more_memory} KB')
