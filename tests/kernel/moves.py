# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest that is moved from one QEMU to another: which QEMUs there are, how it
# is moved, and what is open meanwhile.

import errno
import os
import socket
import threading
import time

import pattern
import service
from agent import GuestError
from hosts import SEQPACKET, STREAM, EmulatorHost, KernelHost
from service import MB
from snapshot import add_disk, disk_option
from tap import WAIT_S, check, equal, until
from vm import KINDS as NAMES
from vm import Vm

STOCK = '/stock/qemu-system-x86_64'
MACHINE = 'pc-i440fx-7.2'
MUCH = 10000 * MB
PIECE = 65536
# Far above the few seconds that it takes: machines are busy at times.
MOVE_TIMEOUT_S = 150
SNAPSHOT = 'moved'
WRONG_BYTES = 'wrong bytes'
# Slots of the guest's agent.
LISTENERS = {STREAM: 950, SEQPACKET: 951}
KINDS = STREAM, SEQPACKET


class StockHost(KernelHost):
    """The device of Debian's own QEMU."""

    def device_options(self):
        return f'vhost-vsock-pci,id=vsock0,guest-cid={self.vm.cid}'


# The QEMU that has the guest: Debian's, or ours with one of its backends.
QEMUS = {'stock': (STOCK, StockHost), 'kernel': (None, KernelHost),
         'emulator': (None, EmulatorHost)}


class Moved(Vm):
    """A guest on the QEMU @kind."""

    MEMORY_MB = 192

    def __init__(self, lab, kind, cid, machine=MACHINE, start=True):
        qemu, host_class = QEMUS[kind]
        self.kind = kind
        self.disk = None        # with the snapshot that it was made from
        super().__init__(lab, kind, cid=cid, qemu=qemu, host_class=host_class,
                         machine=machine, start=start)
        self.lab.main = self

    def set_up(self, kinds=KINDS):
        """Listeners of the guest's, older than all that comes."""
        self.kinds = kinds
        self.ports = {kind: self.lab.port() for kind in kinds}
        for kind, port in self.ports.items():
            self.agent.call('listen', LISTENERS[kind], port, 8, NAMES[kind])

    def cid_seen(self):
        return int(self.agent.call('cid')['cid'])

    # --- The move ------------------------------------------------------------

    def destination(self, kind, cid):
        new = Moved(self.lab, kind, cid, self.machine, start=False)
        new.kinds, new.ports = self.kinds, self.ports
        return new

    def by_file(self, kind, cid):
        """Stopped, saved, ended, and restored; returns the guest there."""
        path = os.path.join(self.lab.dir, 'saved')
        self.lab.remove_later(path)
        self.qmp.command('stop')
        self.migrate_to(path, MOVE_TIMEOUT_S)
        self.quit()
        return self.restored(kind, cid, '-incoming', f'exec:cat {path}')

    def by_snapshot(self, kind, cid):
        """The same by savevm and loadvm."""
        path = self.disk or add_disk(self)
        self.qmp.command('stop')
        self.qmp.human(f'savevm {SNAPSHOT}')
        self.quit()
        new = self.restored(kind, cid, '-blockdev', disk_option(path),
                            '-loadvm', SNAPSHOT)
        new.disk = path
        return new

    def restored(self, kind, cid, *options):
        new = self.destination(kind, cid)
        new.start('-S', *options)
        until(new.has_arrived, 'the guest is restored', MOVE_TIMEOUT_S, 0.05)
        new.agent.follow(self.agent_left)
        return new

    def quit(self):
        self.agent_left = self.agent
        super().quit()

    def by_socket(self, kind, cid, late=None):
        """Moved while it runs; the QEMU that had it goes on without.

        @late is called when most of the memory is there.
        """
        path = os.path.join(self.lab.dir, 'socket')
        self.lab.remove_later(path)
        new = self.destination(kind, cid)
        new.start('-S', '-incoming', f'unix:{path}')
        self.set_migration(8 << 20 if late else 1 << 40)
        self.qmp.command('migrate', uri=f'unix:{path}')
        if late:
            until(self.is_most_there, 'most of the memory is there',
                  MOVE_TIMEOUT_S, 0.05)
            late()
            self.set_migration(1 << 40)
        until(self._migration_done, 'migration', MOVE_TIMEOUT_S, 0.05)
        until(new.has_arrived, 'the guest arrives', MOVE_TIMEOUT_S, 0.05)
        self.agent.sock.shutdown(socket.SHUT_RDWR)
        new.agent.follow(self.agent)
        return new

    def shares_node(self, kind):
        """Whether the one QEMU would have to take the CID from the other."""
        return 'emulator' not in (self.kind, kind)

    def set_migration(self, bandwidth):
        self.qmp.command('migrate-set-parameters', downtime_limit=2000,
                         max_bandwidth=bandwidth)

    def is_most_there(self):
        ram = self.qmp.command('query-migrate').get('ram')
        return ram and ram['remaining'] < ram['total'] / 8

    def ram(self, at, size):
        """Guest memory, in pages."""
        path = self.file('ram')
        self.qmp.command('pmemsave', val=at, size=size, filename=path)
        with open(path, 'rb') as file:
            pages = list(iter(lambda: file.read(4096), b''))
        os.unlink(path)
        return pages

    def pages_unlike(self, other):
        """Those that differ; both guests are stopped."""
        step = 32 << 20
        return [hex(at + 4096 * n)
                for at in range(0, self.MEMORY_MB << 20, step)
                for n, (mine, its) in enumerate(zip(
                    self.ram(at, step), other.ram(at, step))) if mine != its]

    def has_arrived(self):
        if not self.is_alive():
            raise AssertionError(f'QEMU ended: {self.stderr()}')
        return self.qmp.command('query-status')['status'] != 'inmigrate'

    def go_on(self):
        self.qmp.command('cont')
        self.wait_running()


def error_name(error):
    return errno.errorcode[error.errno] if error else 'nothing'


def outcome(call):
    """What became of a call of the host: the errno's name, or what it gave."""
    try:
        return call()
    except OSError as error:
        return error_name(error)


class Sender:
    """A host program that sends as long as it can, seed 2."""

    def __init__(self, sock):
        self.sock = sock
        self.ended_with = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        """Not at full speed: the processor is the guest's too."""
        try:
            for block in pattern.blocks(2, MUCH):
                for at in range(0, len(block), PIECE):
                    self.sock.sendall(block[at:at + PIECE])
                    time.sleep(0.02)
        except OSError as error:
            self.ended_with = error


class Scene:
    """Connections of both sides' making: those that wait for a byte, those
    with bytes under way, and some that are not used before the move."""

    def __init__(self, vm):
        self.vm = vm
        agent = vm.agent
        self.waiting = {}
        for n, kind in enumerate(vm.kinds):
            for slot, connect in ((1, self.guest_connects),
                                  (3, self.host_connects)):
                sock = connect(slot + n, kind)
                self.waiting[slot + n] = (
                    kind, agent.start('recv', slot + n, 1, 1), sock)
        self.idle = self.guest_connects(5), self.host_connects(6)
        from_guest = self.guest_connects(7)
        self.sending = agent.start('send', 7, 2, MUCH)
        to_guest = self.host_connects(8)
        self.receiving = agent.start('recv', 8, 2, MUCH)
        self.sender = Sender(to_guest)
        check(from_guest.recv(MB), 'bytes of the guest')
        time.sleep(0.2)
        # No request is on its way.
        agent.call('ping')

    def guest_connects(self, slot, kind=STREAM):
        port = self.vm.lab.port()
        return self.vm.guest_to_host(port, slot, self.vm.listen(
            port, kind=kind), kind)

    def host_connects(self, slot, kind=STREAM):
        return self.vm.host_to_guest(self.vm.ports[kind], slot,
                                     LISTENERS[kind], kind)

    def host_ends(self):
        """What host programs got: (of receives, of sends)."""
        ends = [outcome(lambda sock=sock: sock.recv(1) or 'EOF')
                for _, _, sock in self.waiting.values()]
        self.sender.thread.join(WAIT_S)
        return ends, [error_name(self.sender.ended_with)]

    def guest_ends(self, vm):
        """What the guest's programs got, on the QEMU @vm: a list for each
        kind of call."""
        ends = {f'{NAMES[kind]} receives that waited': [
            guest_outcome(pending) for its, pending, _ in
            self.waiting.values() if its == kind] for kind in vm.kinds}
        ends['a send under way'] = [guest_outcome(self.sending)]
        ends['a receive under way'] = [guest_outcome(self.receiving)]
        for verb in 'recv', 'send':
            ends[f'{verb} afterwards'] = [
                guest_outcome(vm.agent.start(verb, slot, 1, 1))
                for slot in (5, 6)]
        return ends


def guest_outcome(pending):
    """What became of a call of the guest."""
    try:
        fields = pending.wait()
    except GuestError as error:
        equal(error.fields.get('bad', '-1'), '-1', 'the byte that is wrong')
        return error.name
    if fields.get('bad', '-1') != '-1':
        return WRONG_BYTES
    return 'EOF' if fields.get('eof') == '1' else str(fields)


def exchange(vm, slot, host, kind, count=200000):
    """Bytes each way, in messages if there are such."""
    if kind == STREAM:
        service.exchange(vm, slot, host, count)
        return
    got = vm.agent.start('recvmany', slot, 3, 20, 1000)
    for message in pattern.messages(3, 20, 1000):
        host.send(message)
    equal(got.wait()['bad'], '-1')
    sent = vm.agent.start('sendmany', slot, 4, 20, 1000)
    for message in pattern.messages(4, 20, 1000):
        equal(host.recv(2000), message, 'message')
    sent.wait()


def expect_new_connections(vm):
    """The guest's listeners still accept, and its programs connect."""
    for kind in vm.kinds:
        port = vm.lab.port()
        exchange(vm, 20, vm.guest_to_host(port, 20, vm.listen(
            port, kind=kind), kind), kind)
        exchange(vm, 21, vm.host_to_guest(vm.ports[kind], 21, LISTENERS[kind],
                                          kind), kind)
    vm.agent.call('close', 0, 949)
