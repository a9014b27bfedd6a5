# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the cases with a guest do to it: move bytes both ways, stop it, take the
# device out and put it in.

import socket
import time

import pattern
from ends import pairs
from tap import WAIT_S, check, equal, until

MB = 1000 * 1000


def expect_service(lab, vm, count=MB):
    """New connections by each side carry @count bytes each way."""
    for slot, host in pairs(lab, vm):
        exchange(vm, slot, host, count)
        host.close()
    vm.agent.call('close', 0, 899)


def exchange(vm, slot, host, count, timeout_s=WAIT_S):
    """@count bytes each way, compared by SHA-256."""
    host.settimeout(timeout_s)
    got = vm.agent.start('recv', slot, 1, count)
    pattern.send(host, 1, count)
    fields = got.wait(timeout_s)
    equal((fields['count'], fields['bad']), (str(count), '-1'))
    sent = vm.agent.start('send', slot, 2, count)
    pattern.receive(host, 2, count)
    sent.wait(timeout_s)


def stop_and_go(vm):
    for _ in range(5):
        vm.qmp.command('stop')
        time.sleep(0.2)
        vm.qmp.command('cont')
        time.sleep(0.1)


def expect_silence(sock):
    sock.settimeout(0.1)
    try:
        raise AssertionError(f'came: {sock.recv(100)!r}')
    except socket.timeout:
        sock.settimeout(WAIT_S)


def expect_no_driver(vm, port=1234):
    """A host program is not connected: no driver of the guest runs."""
    try:
        equal(vm.connect(port, timeout_s=1 if vm.lab.has_daemon() else
                         WAIT_S),
              None, 'connection without a driver')
    except socket.timeout:
        # QEMU 7.2 does not tell a daemon why the queues stopped: the VM may
        # go on, and its host programs with it.
        check(vm.lab.has_daemon(), 'no answer')


def unplug(vm):
    vm.qmp.drop_events('DEVICE_DELETED')
    vm.qmp.command('device_del', id='vsock0')
    while vm.qmp.wait_event('DEVICE_DELETED').get('device') != 'vsock0':
        pass
    vm.host.after_unplug()


def plug(vm):
    vm.host.before_plug()
    driver, *options = vm.device_options().split(',')
    # QEMU 9 and later want a number to be one.
    arguments = {name: int(value) if value.isdigit() else value
                 for name, value in (o.split('=', 1) for o in options)}
    vm.qmp.command('device_add', driver=driver, **arguments)
    until(lambda: has_cid(vm), 'the guest finds the device')


def has_cid(vm):
    return vm.agent.call('cid')['cid'] == str(vm.cid)
