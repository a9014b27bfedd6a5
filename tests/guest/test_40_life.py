# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's driver goes and comes back; the VM stops and goes on.

import threading
import time

import pattern
from ends import (DRIVER, drain, expect_end, load_driver, pairs,
                  unload_driver)
from service import (MB, expect_no_driver, expect_service, expect_silence,
                     stop_and_go)
from tap import WAIT_S, Suite, check, equal

suite = Suite(timeout_s=180)


@suite.case('/reboot/by-the-guest-ends-connections-and-keeps-host-listeners')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    both = pairs(lab, vm)
    vm.agent.call('reboot')
    for _, host in both:
        expect_end(host)
    vm.wait_ready()
    vm.guest_to_host(port, 1, listener).close()
    expect_service(lab, vm)


@suite.case('/reboot/host-clients-are-refused-while-no-driver-runs')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    vm.agent.call('reboot')
    end = time.monotonic() + 60
    refused = 0
    while not vm.agent.ready.is_set() and time.monotonic() < end:
        refused += vm.connect(port) is None
        time.sleep(0.05)
    vm.wait_ready()
    check(refused > 0, 'nobody was refused')
    expect_service(lab, vm)


@suite.case('/reboot/reset-by-the-host-with-data-in-flight')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    vm.agent.start('send', 1, 1, 100 * MB)
    host.recv(MB)
    vm.qmp.command('system_reset')
    drain(host)
    vm.wait_ready()
    expect_service(lab, vm)


@suite.case('/module/unload-and-reload-three-times')
def _(lab):
    vm, port = lab.guest(), lab.port()
    for _ in range(3):
        expect_service(lab, vm)
        unload_driver(vm)
        expect_no_driver(vm, port)
        load_driver(vm)
    expect_service(lab, vm)


@suite.case('/module/guest-listener-outlives-the-transport')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    unload_driver(vm)
    load_driver(vm)
    vm.host_to_guest(port, 1)


@suite.case('/device/unbound-from-its-driver-with-open-connections')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    driver = f'/sys/bus/virtio/drivers/{DRIVER}'
    device = vm.agent.shell(f'basename {driver}/virtio*').strip()
    vm.agent.shell(f'echo {device} > {driver}/unbind')
    if lab.has_daemon():
        # It learns only from the next driver that the last one has gone.
        vm.agent.shell(f'echo {device} > {driver}/bind')
    for _, host in both:
        expect_end(host)
    if not lab.has_daemon():
        vm.agent.shell(f'echo {device} > {driver}/bind')
    vm.agent.call('close', 0, 1023)
    expect_service(lab, vm)


@suite.case('/stop/data-in-flight-both-ways-is-kept')
def _(lab):
    vm = lab.guest()
    count = 40 * MB
    both = pairs(lab, vm)
    (_, first), (_, second) = both
    sent = vm.agent.start('send', 1, 1, count)
    got = vm.agent.start('recv', 2, 2, count)
    second.settimeout(WAIT_S)
    writer = threading.Thread(target=pattern.send, args=(second, 2, count),
                              daemon=True)
    writer.start()
    reader = threading.Thread(target=stop_and_go, args=(vm,), daemon=True)
    reader.start()
    pattern.receive(first, 1, count)
    sent.wait()
    equal(got.wait()['bad'], '-1')
    writer.join(WAIT_S)
    reader.join(WAIT_S)
    check(not reader.is_alive(), 'QMP did not answer')
    vm.wait_running()


@suite.case('/stop/nothing-moves-and-nothing-ends-while-stopped')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    vm.qmp.command('stop')
    try:
        for _, host in both:
            host.sendall(b'x' * 100)
        time.sleep(3)
        for _, host in both:
            expect_silence(host)
    finally:
        vm.qmp.command('cont')
    for slot, host in both:
        host.sendall(b'y')
        equal(vm.agent.call('recv', slot, 0, 0)['count'], '0')
        sent = vm.agent.start('send', slot, 3, MB)
        pattern.receive(host, 3, MB)
        sent.wait()


@suite.case('/stop/host-client-that-comes-while-stopped-waits-for-cont')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    vm.agent.start('accept', 1, 900)
    hosts = []
    vm.qmp.command('stop')
    try:
        job = threading.Thread(target=lambda: hosts.append(vm.connect(port)),
                               daemon=True)
        job.start()
        time.sleep(3)
        check(job.is_alive(), f'it got {hosts} while the VM was stopped')
    finally:
        vm.qmp.command('cont')
    job.join(WAIT_S)
    check(hosts and hosts[0], 'it was not connected after cont')


@suite.case('/stop/host-program-that-leaves-while-stopped-is-told-after-cont')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    waiting = [vm.agent.start('recv', slot, 1, 1) for slot, _ in both]
    vm.qmp.command('stop')
    try:
        for _, host in both:
            host.close()
        time.sleep(0.5)
    finally:
        vm.qmp.command('cont')
    for pending in waiting:
        equal(pending.wait()['eof'], '1')


@suite.case('/stop/reset-while-stopped')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    vm.qmp.command('stop')
    vm.qmp.command('system_reset')
    vm.qmp.command('cont')
    for _, host in both:
        expect_end(host)
    vm.wait_ready()
    expect_service(lab, vm)
