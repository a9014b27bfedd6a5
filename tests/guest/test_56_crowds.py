# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs by the thousand, and what each costs.

import contextlib
import resource
import socket
import threading

from agent import GuestError
from health import Health
from service import exchange
from tap import WAIT_S, Suite, check, equal
from test_55_faults import LONG_S, held_by_guest
from vm import HOST_CID, Vm

suite = Suite(timeout_s=400)
KNOCKS = 100000
# Of these the guest waits for the answer.
WAITS = 5000
IDLE = 10000
# Of the process that has the device, for a connection that moves nothing.
# Sockets and their names in the host's kernel are besides.  Users are told.
IDLE_CONNECTION_BYTES = 1024


def crowd(name):
    """Decorator: a case that takes long, and is once for all kernels."""
    def add(body):
        @suite.case(f'/crowds/{name}')
        def _(lab):
            lab.once_for_all_kernels()
            body(lab)
        return body
    return add


# --- Connections that are refused, or end at once ----------------------------

def knock(vm, health, ports, count, how):
    cpu = health.cpu_ns()
    fields = vm.agent.call('knock', HOST_CID, *ports, count, how,
                           timeout_s=5 * LONG_S)
    spent = (health.cpu_ns() - cpu) / count / 1000
    suite.comment(f'{count} REQUESTs in {int(fields["ms"]) / 1000:.1f} s, '
                  f'{spent:.0f} us of processor time each')
    return fields


@crowd(f'{KNOCKS}-requests-to-a-closed-port')
def _(lab):
    vm, port = lab.guest(), lab.port()
    health = Health(vm)
    fields = knock(vm, health, (port, port), WAITS, 'wait')
    equal(fields['reset'], str(WAITS))
    fields = knock(vm, health, (port, port), KNOCKS - WAITS, 'leave')
    equal(fields['left'], str(KNOCKS - WAITS))
    health.expect_back(lab, f'{KNOCKS} REQUESTs')


@crowd('10000-requests-to-an-open-and-a-closed-port-in-turn')
def _(lab):
    vm, open_port, closed_port = lab.guest(), lab.port(), lab.port()
    health = Health(vm)
    with accepting(vm, open_port) as counts:
        for how in 'wait', 'leave':
            fields = knock(vm, health, (open_port, closed_port), 5000, how)
        equal(fields['left'], '5000')
    suite.comment(f'the host program accepted {counts[0]}')
    check(counts[0] >= 2500, f'{counts[0]} were accepted')
    health.expect_back(lab, '10000 REQUESTs')


@contextlib.contextmanager
def accepting(vm, port):
    """A host program that closes what it accepts."""
    counts = [0]
    done = threading.Event()
    listener = vm.listen(port, backlog=4096)
    listener.settimeout(0.1)

    def run():
        while not done.is_set():
            with contextlib.suppress(socket.timeout):
                listener.accept()[0].close()
                counts[0] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        done.set()
        thread.join(WAIT_S)


# --- Connections that idle ---------------------------------------------------

@contextlib.contextmanager
def all_descriptors():
    """As many as the test may have; yields their number."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (old[1], old[1]))
    try:
        yield old[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


@crowd(f'{IDLE}-idle-connections-and-not-one-more')
def _(lab):
    with all_descriptors() as fds:
        # A device gives half of its process's descriptors to connections.
        count = min(IDLE, fds // 2)
        with Vm(lab, 'crowd', max_fds=2 * count) as vm:
            vm.agent.call('listen', 900, lab.port(), 128)
            expect_idle_crowd(lab, vm, count, lab.last_port)


def expect_idle_crowd(lab, vm, count, guest_port):
    health, port = Health(vm), lab.port()
    hosts = held_by_guest(vm, port, count // 2)
    half = health.grown_kb()            # the first fill gaps that malloc had
    taken = vm.agent.start('take', 900, count - count // 2)
    hosts += [vm.connect(guest_port) for _ in range(count - count // 2)]
    taken.wait(LONG_S)
    each = (health.grown_kb() - half) * 1024 // (count - count // 2)
    suite.comment(f'{count} connections: {each} bytes each')
    check(each <= IDLE_CONNECTION_BYTES, f'{each} bytes each')
    health.expect_rest('connections that idle')
    expect_refusals(lab, vm, guest_port)
    for number, index in enumerate(range(0, count, count // 20)):
        vm.agent.call('adopt', number, index)
        exchange(vm, number, hosts[index], 10000)
    vm.agent.call('close', 0, 99)
    for host in hosts[::2]:
        host.close()
    vm.agent.call('release', timeout_s=LONG_S)
    vm.agent.call('close', 900)
    lab.close_kept()
    health.expect_back(lab, 'connections that idled')


def expect_refusals(lab, vm, guest_port):
    """There is no room for one more, from neither side."""
    equal(vm.connect(guest_port), None, 'connection')
    port = lab.port()
    vm.listen(port)
    try:
        vm.agent.call('connect', 0, HOST_CID, port)
        raise AssertionError('there was room for one more')
    except GuestError as error:
        equal(error.name, 'ECONNRESET')
