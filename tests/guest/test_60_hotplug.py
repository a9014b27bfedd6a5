# SPDX-License-Identifier: GPL-2.0-or-later
#
# The device is unplugged from, and plugged into, a running guest.

import os

import pattern
from ends import expect_end, expect_guest_end, pairs
from service import expect_service, plug, unplug
from tap import WAIT_S, Suite, check, equal
from test_10_connect import AT_ONCE_MS
from vm import HOST_CID, Vm

suite = Suite(timeout_s=120)


@suite.case('/hotplug/unplug-ends-connections-and-removes-the-socket')
def _(lab):
    with Vm(lab, 'unplug') as vm:
        both = pairs(lab, vm)
        reads = [vm.agent.start('recv', slot, 1, 1) for slot, _ in both]
        unplug(vm)
        for _, host in both:
            expect_end(host)
        for pending in reads:
            expect_guest_end(pending)
        if lab.has_daemon():
            equal(vm.connect(1234), None, 'connection without a device')
        else:
            check(not os.path.exists(vm.uds_path), 'it still has its socket')
        error = vm.agent.start('connect', 5, HOST_CID, 1234).failure()
        check(int(error.fields['ms']) < AT_ONCE_MS, str(error))


@suite.case('/hotplug/three-times-out-and-in')
def _(lab):
    with Vm(lab, 'replug') as vm:
        port = lab.port()
        vm.agent.call('listen', 950, port, 8)
        for _ in range(3):
            both = pairs(lab, vm)
            unplug(vm)
            for _, host in both:
                expect_end(host)
            vm.agent.call('close', 0, 899)
            plug(vm)
            vm.host_to_guest(port, 21, listener_slot=950)
            expect_service(lab, vm)


@suite.case('/hotplug/into-a-guest-that-booted-without-it')
def _(lab):
    with Vm(lab, 'bare', device=False) as vm:
        plug(vm)
        expect_service(lab, vm)


@suite.case('/hotplug/unplug-with-data-in-flight')
def _(lab):
    with Vm(lab, 'unplug') as vm:
        (_, first), (_, second) = pairs(lab, vm)
        vm.agent.start('send', 1, 1, 500 * 1000 * 1000)
        vm.agent.start('recv', 2, 1, 500 * 1000 * 1000)
        first.recv(1 << 20)
        second.setblocking(False)
        second.send(pattern.data(1, 100000))
        unplug(vm)
        second.settimeout(WAIT_S)
        expect_end(second)
        while first.recv(1 << 20):
            pass
        plug(vm)
        vm.agent.call('close', 0, 1023)
        expect_service(lab, vm)


@suite.case('/hotplug/taken-cid-is-refused-and-the-guest-goes-on')
def _(lab):
    main = lab.guest()
    with Vm(lab, 'bare', device=False) as vm:
        vm.host.take_path_of(main)
        try:
            plug(vm)
        except Exception as error:
            suite.comment(str(error))
            if 'Parameter' in str(error):
                raise   # not the reason that was asked for
        else:
            raise AssertionError('it was plugged')
        vm.agent.call('ping')
    expect_service(lab, main)
