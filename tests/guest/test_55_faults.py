# SPDX-License-Identifier: GPL-2.0-or-later
#
# Careless programs, on the host and in the guest, and what else goes wrong
# while they are at work.  Whatever it is, afterwards a new connection each way
# carries its bytes, and the device costs no more than before: health.py.

import array
import contextlib
import os
import random
import resource
import socket
import struct
import subprocess
import time
import types

import pattern
from agent import GuestError
from ends import drain, expect_end, say
from health import Health
from hosts import connect_unix
from load import Load
from service import MB, exchange, expect_service
from tap import WAIT_S, Skip, Suite, check, equal, until
from vm import HOST_CID, Vm

suite = Suite(timeout_s=300)
# Enough for a machine that has much else to do.
LONG_S = 300
# So many have windows of 256 MiB together, as long as there may be 2048.
READERS = 1800
STAGED_KB = 256 << 10
STREAMS = 12
# Those that a device with an I/O thread has to stand, too.
bodies = []


def fault(name, in_iothread=False):
    """Decorator: a case with the guest that cases share."""
    def add(body):
        suite.case(f'/faults/{name}')(lambda lab: body(lab, lab.guest()))
        if in_iothread:
            bodies.append(body)
        return body
    return add


@suite.case('/faults/some-of-them-with-an-iothread')
def _(lab):
    lab.not_with_daemon('the daemon has a thread for each guest')
    lab.once_for_all_kernels()
    with Vm(lab, 'iothread', device_args=',iothread=io0',
            args=['-object', 'iothread,id=io0']) as vm:
        for body in bodies:
            body(lab, vm)
            vm.agent.call('close', 0, 1023)


# --- Programs that do not work -----------------------------------------------

@fault('host-listener-that-never-accepts')
def _(lab, vm):
    health, port = Health(vm), lab.port()
    listener = vm.listen(port, backlog=16)
    # Linux lets one more in.  They can send, and nobody reads it.
    vm.agent.call('hold', HOST_CID, port, 17)
    vm.agent.call('fill', 100, timeout_s=LONG_S)
    fields = vm.agent.call('knock', HOST_CID, port, port, 500, 'wait',
                           timeout_s=LONG_S)
    equal(fields['reset'], '500')
    health.expect_rest('a full backlog')
    listener.close()
    vm.agent.call('release', timeout_s=LONG_S)
    health.expect_back(lab, 'a full backlog')


@fault(f'{READERS}-host-programs-that-never-read', in_iothread=True)
def _(lab, vm):
    health, port = Health(vm), lab.port()
    hosts = held_by_guest(vm, port, READERS)
    # A busy machine may let the guest wait for half a second.
    sent = int(vm.agent.call('fill', 1500, timeout_s=LONG_S)['count'])
    grown = health.grown_kb()
    suite.comment(f'{sent / MB:.0f} MB sent to {READERS} that do not read: '
                  f'{grown} KB')
    check(STAGED_KB / 4 < grown <= STAGED_KB + 4096, f'{grown} KB')
    health.expect_rest('host programs that do not read')
    for host in hosts[::2]:
        host.close()
    vm.agent.call('release', timeout_s=LONG_S)
    # Those who read after all get all of it, though the guest has left.
    read = sum(map(count_bytes, hosts[1::2]))
    check(sent * 0.2 < read < sent * 0.8, f'{read} of {sent}')
    health.expect_back(lab, 'host programs that do not read')


def held_by_guest(vm, port, count):
    """Connections that the guest keeps; the host's ends."""
    listener = vm.listen(port, backlog=4096)
    job = vm.agent.start('hold', HOST_CID, port, count)
    hosts = [vm.accept(listener) for _ in range(count)]
    job.wait(LONG_S)
    return hosts


def count_bytes(sock):
    total = 0
    while piece := sock.recv(1 << 20):
        total += len(piece)
    return total


@fault('64-guest-programs-that-never-read')
def _(lab, vm):
    health, port = Health(vm), lab.port()
    hosts = held_by_guest(vm, port, 64)
    total = 0
    for _ in range(3):
        total += sum(map(stuff, hosts))
        time.sleep(0.1)
    grown = health.grown_kb()
    suite.comment(f'{total / MB:.0f} MB sent to 64 that do not read: '
                  f'{grown} KB')
    # It stays in the sockets of those who wrote it.
    check(grown <= 1024, f'{grown} KB')
    health.expect_rest('guest programs that do not read')
    for host in hosts[::2]:
        host.close()
    vm.agent.call('release', timeout_s=LONG_S)
    health.expect_back(lab, 'guest programs that do not read')


def stuff(sock):
    """Send as much as fits; returns how much."""
    total = 0
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(bytes(65536))
    sock.settimeout(WAIT_S)
    return total


# --- Host clients that leave -------------------------------------------------

PARTS = (b'', b'C', b'CONN', b'CONNECT', b'CONNECT 1', b'CONNECT 4294967295',
         b'CONNECT 4294967296\n', b'CONNECT 1\0\n', b'\n', b'\xff' * 4000,
         b'CONNECT ' + b'1' * 100, b'GET / HTTP/1.1\r\n')
UNFINISHED = PARTS[:6]


def dial(vm, text=b''):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    connect_unix(sock, vm.uds_path)
    if text:
        sock.sendall(text)
    return sock


@fault('host-clients-with-half-a-line')
def _(lab, vm):
    health = Health(vm)
    for _ in range(100):
        socks = [dial(vm, part) for part in PARTS]
        for sock in socks[::3]:
            sock.shutdown(socket.SHUT_WR)
        for sock in socks:
            sock.close()
    # Of these the device lets 128 stay, the last ones, for a time.
    socks = [dial(vm, UNFINISHED[number % 6]) for number in range(400)]
    health.expect_rest('400 clients with half a line')
    for sock in socks[:-128]:
        expect_end(sock)
    expect_service(lab, vm, 100000)
    for sock in socks:
        sock.close()
    health.expect_back(lab, 'clients with half a line')


@fault('2000-host-clients-that-leave-before-they-hear-ok', in_iothread=True)
def _(lab, vm):
    health, port = Health(vm), lab.port()
    vm.agent.call('listen', 900, port, 128)
    # So that "take" ends.
    vm.agent.call('setopt', 900, socket.SOL_SOCKET, socket.SO_RCVTIMEO,
                  struct.pack('qq', 1, 0).hex())
    taken = vm.agent.start('take', 900, 100000)
    for number in range(2000):
        sock = dial(vm, b'CONNECT %d\n' % (port if number % 4 else 1))
        if number % 8 == 1:
            # Once the guest's listener is full, some are refused by then.
            say(sock, b'x' * 5000)
        elif number % 8 == 2:
            sock.shutdown(socket.SHUT_WR)
        elif number % 8 == 3:
            time.sleep(0.001)
        sock.close()
    failure = taken.failure(LONG_S)
    equal(failure.name, 'EAGAIN')
    suite.comment(f'the guest accepted {failure.fields["count"]}')
    vm.agent.call('close', 900)
    vm.agent.call('release', timeout_s=LONG_S)
    health.expect_back(lab, 'clients that left')


@fault('host-clients-that-send-descriptors-and-urgent-bytes')
def _(lab, vm):
    health, port = Health(vm), lab.port()
    vm.agent.call('listen', 900, port, 128)
    line = b'CONNECT %d\n' % port
    with open('/dev/null', 'rb') as null:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                   array.array('i', [null.fileno()] * 200))]
        for number in range(200):
            sock = dial(vm)
            at = number % 2 * 5     # with the line's start, or amid it
            sock.sendall(line[:at])
            # Once the guest's listener is full, some are refused by then;
            # descriptors are by Linux since 6.16.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError,
                                     PermissionError):
                if number % 4 < 2:
                    sock.sendmsg([line[at:]], rights)
                    sock.sendmsg([b'data'], rights)
                else:
                    sock.send(b'!', socket.MSG_OOB)
                    sock.sendall(line[at:])
            if number % 8 == 0:
                time.sleep(0.002)
            sock.close()
    vm.agent.call('close', 900)
    health.expect_back(lab, 'descriptors and urgent bytes')


@fault('500-host-clients-come-while-the-guest-is-stopped')
def _(lab, vm):
    health, port = Health(vm), lab.port()
    vm.agent.call('listen', 900, port, 16)
    vm.qmp.command('stop')
    try:
        socks = [dial(vm, b'CONNECT %d\n' % port) for _ in range(500)]
        health.expect_rest('500 clients while it is stopped')
    finally:
        vm.qmp.command('cont')
    # The guest lets so many in as its listener's backlog has room for.
    served = sum(sock.recv(3) == b'OK ' for sock in socks)
    check(16 <= served <= 17, f'{served} were served')
    for sock in socks:
        sock.close()
    vm.agent.call('close', 900)
    health.expect_back(lab, '500 clients')


# --- Programs that are killed ------------------------------------------------

class Victims:
    """Host programs that send, and get it all back, until they are killed."""

    def __init__(self, lab, vm, count):
        self.lab = lab
        self.vm = vm
        self.port = lab.port()
        vm.agent.call('listen', 901, self.port, 128)
        self.processes = {}
        self.echoes = {}
        for slot in range(count):
            self.start(slot)

    def start(self, slot):
        accepted = self.vm.agent.start('accept', slot, 901)
        with open('/dev/zero', 'rb') as zero:
            self.processes[slot] = subprocess.Popen(
                [self.lab.nc, '--uds-path', self.vm.uds_path, str(self.port)],
                stdin=zero, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        accepted.wait()
        self.echoes[slot] = self.vm.agent.start('echo', slot)

    def kill(self, slot):
        self.processes[slot].kill()
        self.processes[slot].wait()
        with contextlib.suppress(GuestError):
            self.echoes[slot].wait()

    def end(self):
        for slot in self.processes:
            self.kill(slot)
        self.vm.agent.call('close', 0, 901)


@fault('host-programs-killed-at-any-moment-of-many-transfers',
       in_iothread=True)
def _(lab, vm):
    health = Health(vm)
    seed = int.from_bytes(os.urandom(4), 'little')
    suite.comment(f'seed {seed}')
    choice = random.Random(seed)
    victims = Victims(lab, vm, STREAMS)
    for _ in range(40):
        time.sleep(choice.random() * 0.03)
        slot = choice.randrange(STREAMS)
        victims.kill(slot)
        victims.start(slot)
    victims.end()
    health.expect_back(lab, 'killed host programs')


@fault('guest-programs-killed-with-bytes-in-flight-both-ways')
def _(lab, vm):
    health, port = Health(vm), lab.port()
    listener = vm.listen(port)
    for number in range(3):
        vm.agent.shell(
            'for i in 1 2 3 4 5 6; do '
            f'nc-vsock 2 {port} </dev/zero >/dev/null 2>/dev/null & '
            'echo $! >>/tmp/victims; done')
        hosts = [vm.accept(listener) for _ in range(6)]
        for host in hosts:
            host.recv(100000)
            stuff(host)
        time.sleep(0.02 * number)
        vm.agent.shell('kill -9 $(cat /tmp/victims); rm /tmp/victims')
        for host in hosts:
            drain(host)
            host.close()
    health.expect_back(lab, 'killed guest programs')


# --- Too few descriptors -----------------------------------------------------

@fault('no-descriptor-is-left-for-a-while', in_iothread=True)
def _(lab, vm):
    health, port = Health(vm), lab.port()
    listener = vm.listen(port)
    kept = vm.guest_to_host(port, 1, listener)
    old = resource.prlimit(health.pid, resource.RLIMIT_NOFILE)

    def refuses_all():
        # The limit is of their numbers: nothing at or above it is opened.
        resource.prlimit(health.pid, resource.RLIMIT_NOFILE,
                         (first_free_fd(health.pid), old[1]))
        fields = vm.agent.call('knock', HOST_CID, port, port, 300, 'wait',
                               timeout_s=LONG_S)
        return fields['reset'] == '300'

    try:
        # What the cases before had may be closed only now.
        until(refuses_all, 'all 300 are refused')
        clients = [dial(vm, b'CONNECT 1\n') for _ in range(100)]
        health.expect_rest('no descriptor')
        exchange(vm, 1, kept, MB)
    finally:
        resource.prlimit(health.pid, resource.RLIMIT_NOFILE, old)
    for client in clients:
        expect_end(client)
        client.close()
    kept.close()
    health.expect_back(lab, 'a time without descriptors')


def first_free_fd(pid):
    used = set(map(int, os.listdir(f'/proc/{pid}/fd')))
    return next(number for number in range(len(used) + 1)
                if number not in used)


# --- Guests that end ---------------------------------------------------------

@suite.case('/faults/guest-reset-under-load')
def _(lab):
    vm = lab.guest()
    expect_end_under_load(lab, vm, 'a reset',
                          lambda: vm.qmp.command('system_reset'))


@suite.case('/faults/guest-panic-under-load')
def _(lab):
    vm = lab.guest()
    expect_end_under_load(lab, vm, 'a panic', lambda: vm.agent.start(
        'run', 'echo c >/proc/sysrq-trigger'))


def expect_end_under_load(lab, vm, what, deed):
    """The guest boots again by @deed, and its host programs learn of it."""
    health = Health(vm, boots=True)
    load = Load(lab, vm)
    load.wait_running()
    deed()
    load.expect_host_ends()
    vm.wait_ready()
    health.expect_back(lab, what)


@suite.case('/faults/qemu-killed-under-load')
def _(lab):
    with Vm(lab, 'victim') as vm:
        load = Load(lab, vm)
        load.wait_running()
        clients = [dial(vm, part) for part in UNFINISHED]
        vm.kill()
        load.expect_host_ends()
        for client in clients:
            if not lab.has_daemon():    # which gives them 5 s
                expect_end(client)
            client.close()
        vm.start()
        vm.wait_ready()
        expect_service(lab, vm)


# --- The directory of the host sockets ---------------------------------------

def vm_in(lab, folder):
    """A guest, not started, whose host sockets are in @folder."""
    vm = Vm(lab, 'folder', start=False)
    vm.host.take_path_of(types.SimpleNamespace(
        uds_path=os.path.join(folder, 'v.sock')))
    return vm


@suite.case('/faults/folder-of-the-host-sockets-is-removed')
def _(lab):
    lab.once_for_all_kernels()
    folder = lab.new_dir('gone')
    with vm_in(lab, folder) as vm:
        vm.start()
        vm.wait_ready()
        health, port = Health(vm), lab.port()
        kept = vm.guest_to_host(port, 1, vm.listen(port))
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
        fields = vm.agent.call('knock', HOST_CID, port, port, 20, 'wait',
                               timeout_s=LONG_S)
        equal(fields['reset'], '20')
        exchange(vm, 1, kept, MB)
        health.expect_rest('the folder was removed')
        # In a new one host programs can listen, and no more.
        os.mkdir(folder, 0o700)
        exchange(vm, 2, vm.guest_to_host(port, 2, vm.listen(port)), MB)
        end(vm)
        equal(os.listdir(folder), [f'v.sock_{port}'])


def end(vm):
    """All of it in an orderly way."""
    vm.quit()
    vm.host.stop()


@suite.case('/faults/folder-of-the-host-sockets-is-full-then-read-only')
def _(lab):
    lab.once_for_all_kernels()
    with small_folder(lab) as folder, vm_in(lab, folder) as vm:
        vm.start()
        vm.wait_ready()
        health, port = Health(vm), lab.port()
        listener = vm.listen(port)
        kept = vm.guest_to_host(port, 1, listener)
        fill_folder(folder)
        vm.guest_to_host(port, 2, listener).close()
        dial(vm, b'CONNECT 1\n').close()
        with read_only(folder):
            exchange(vm, 3, vm.guest_to_host(port, 3, listener), MB)
            exchange(vm, 1, kept, MB)
            health.expect_rest('the folder is read-only')
            end(vm)
        # What could not be removed is taken over.
        check(os.path.exists(vm.uds_path), f'{vm.uds_path} is gone')
        vm.start()
        dial(vm, b'CONNECT 1\n').close()
        end(vm)
        check(not os.path.exists(vm.uds_path), f'{vm.uds_path} is there')


@contextlib.contextmanager
def small_folder(lab):
    folder = lab.new_dir('small')
    with mounted('-t', 'tmpfs', '-o', 'size=64k,nr_inodes=12,mode=700',
                 'none', folder):
        yield folder


@contextlib.contextmanager
def read_only(folder):
    """From outside, for those who have files open for writing, too."""
    with mounted('--bind', folder, folder):
        mount('-o', 'remount,bind,ro', 'none', folder)
        yield


@contextlib.contextmanager
def mounted(*args):
    mount(*args)
    try:
        yield
    finally:
        subprocess.run(['umount', '-l', args[-1]], check=True)


def mount(*args):
    result = subprocess.run(['mount', *args], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, check=False)
    if result.returncode:
        raise Skip(f'nothing may be mounted here: {result.stderr.strip()}')


def fill_folder(folder):
    """Until there is no room for one more file."""
    names = []
    try:
        while True:
            names.append(os.path.join(folder, str(len(names))))
            with open(names[-1], 'xb') as file:
                file.write(bytes(65536))
    except OSError:
        pass
    for name in names[-3:]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
