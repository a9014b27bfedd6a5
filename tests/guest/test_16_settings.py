# SPDX-License-Identifier: GPL-2.0-or-later
#
# Limits that a user has set on the device, reached; see vsock-limits.h.  The
# daemon's are in tests/daemon/case_options.py.

import os
import re
import socket
import time

from agent import GuestError
from qmp import QmpError
from tap import WAIT_S, Suite, check, contains, equal
from test_50_migration import migrate
from vm import HOST_CID, Vm

suite = Suite(timeout_s=180)
NOT_HERE = 'the device of this QEMU has no such properties; ' \
           'tests/daemon/case_options.py'
TRACE = ['-trace', 'vhost_vsock_packet_to_guest']
CONNS = 6
COMPLAINT = 'a host client did not begin with'


def silent(vm):
    """A host client that says nothing."""
    sock = vm.lab.keep(socket.socket(socket.AF_UNIX))
    sock.connect(vm.uds_path)
    sock.settimeout(WAIT_S)
    return sock


def time_for_the_line(vm):
    began = time.monotonic()
    equal(silent(vm).recv(1), b'')
    return time.monotonic() - began


def windows(vm):
    """What QEMU's trace says that each connection was told."""
    return [int(value) for value in
            re.findall(r'vsock_packet_to_guest .*RESPONSE.* buf_alloc=(\d+)',
                       vm.stderr())]


def connect_until_refused(vm, most):
    """Connect from the guest; how many of @most were accepted."""
    port = vm.lab.port()
    listener = vm.listen(port)
    for slot in range(most):
        try:
            vm.agent.call('connect', slot, HOST_CID, port)
        except GuestError as error:
            equal(error.name, 'ECONNRESET')
            return slot
        vm.accept(listener)
    return most


@suite.case('/settings/device-keeps-to-what-was-set')
def _(lab):
    lab.not_with_daemon(NOT_HERE)
    with Vm(lab, 'set', args=TRACE, device_args=f',max-conns={CONNS},'
            'buf-alloc=16K,line-timeout-ms=400') as vm:
        equal(connect_until_refused(vm, CONNS + 1), CONNS)
        equal(windows(vm), [16384] * CONNS)
        vm.agent.call('close', 0, 899)
        # A busy machine may take longer, not each time.
        took = min(time_for_the_line(vm) for _ in range(3))
        check(0.3 < took < 4, f'{took:.1f} s for the line')


@suite.case('/settings/memory-for-all-connections-is-bounded')
def _(lab):
    lab.not_with_daemon(NOT_HERE)
    with Vm(lab, 'staged', args=TRACE, device_args=',max-staged=64K') as vm:
        equal(connect_until_refused(vm, 20), 65536 // 8192)
        equal(sum(windows(vm)), 65536)


@suite.case('/settings/log-lines-of-one-reason-are-bounded')
def _(lab):
    lab.not_with_daemon('/hostile-vmm/log-is-not-filled-by-a-thousand-bad-'
                        'sessions')
    vm = lab.guest()
    before = vm.stderr().count(COMPLAINT)
    for _ in range(50):
        sock = silent(vm)
        sock.sendall(b'HELO\n')
        equal(sock.recv(1), b'')
        sock.close()
    said = vm.stderr().count(COMPLAINT) - before
    check(said <= 1, f'{said} lines within 10 s')
    check(COMPLAINT in vm.stderr(), 'no line at all')


@suite.case('/settings/migration-goes-to-others-and-to-none')
def _(lab):
    lab.not_with_daemon(NOT_HERE)
    with Vm(lab, 'mover', device_args=f',max-conns={CONNS}') as vm:
        equal(connect_until_refused(vm, CONNS + 1), CONNS)
        for there, room in ('', 3 * CONNS), (',max-conns=2,buf-alloc=8K', 2):
            vm.device_args = there
            migrate(lab, vm)
            vm.agent.call('close', 0, 899)
            equal(connect_until_refused(vm, 3 * CONNS), room, there)


@suite.case('/settings/what-is-out-of-range-is-refused')
def _(lab):
    lab.not_with_daemon(NOT_HERE)
    vm = lab.guest()
    path = os.path.join(vm.dir, 'refused.sock')
    for name, values in {
            'max-conns': (0, 1048577),
            'buf-alloc': (0, 8191, 1073741825),
            'max-staged': (0, 32767, 1099511627777),
            'request-timeout-ms': (0, 3600001),
            'close-timeout-ms': (0, 3600001),
            'line-timeout-ms': (0, 3600001)}.items():
        for value in values:
            said = refusal(vm, {'backend': 'emulator', 'uds-path': path,
                                name: value})
            contains(said, f'{name}={value} is not in the range')
            check(not os.path.exists(path), 'a socket is left')


@suite.case('/settings/kernel-backend-takes-none-of-them')
def _(lab):
    lab.not_with_daemon(NOT_HERE)
    vm = lab.guest()
    for name in ('max-conns', 'buf-alloc', 'max-staged', 'line-timeout-ms',
                 'request-timeout-ms', 'close-timeout-ms'):
        for how in {'backend': 'kernel'}, {'vhostfd': '99'}:
            said = refusal(vm, {**how, name: 65536})
            contains(said, f'{name} is for the emulator')


def refusal(vm, properties):
    """What QEMU says when such a device is to be added."""
    try:
        vm.qmp.command('device_add', driver='vhost-vsock-pci', id='refused',
                       **{'guest-cid': 77, **properties})
    except QmpError as error:
        return str(error)
    raise AssertionError(f'a device with {properties}')
