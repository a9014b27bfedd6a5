# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a user sees of the device, and other ways to run it.

import contextlib
import os
import stat
import subprocess
import time

import pattern
from ends import expect_end, pairs
from service import unplug
from tap import WAIT_S, Skip, Suite, check, contains, equal
from vm import HOST_CID, Vm

suite = Suite(timeout_s=180)
MB = 1000 * 1000


def exchange(lab, vm, count):
    for slot, host in pairs(lab, vm):
        got = vm.agent.start('recv', slot, 1, count)
        pattern.send(host, 1, count)
        equal(got.wait()['bad'], '-1')
        sent = vm.agent.start('send', slot, 2, count)
        pattern.receive(host, 2, count)
        sent.wait()
        host.close()
    vm.agent.call('close', 0, 1023)


@suite.case('/device/says-at-start-that-it-emulates-and-where')
def _(lab):
    lab.not_with_daemon('QEMU does not know of the emulator; '
                        '/daemon/says-at-start-where-its-sockets-are')
    vm = lab.guest()
    lines = [line for line in vm.stderr().split('\n') if 'emulator' in line]
    equal(len(lines) >= 1, True, f'info line, in {vm.stderr()!r}')
    contains(lines[0], 'vhost-vsock: emulator for CID 3: ')
    contains(lines[0], f'host sockets at {vm.uds_path}')


@suite.case('/device/socket-is-for-its-user-only')
def _(lab):
    vm = lab.guest()
    equal(stat.S_IMODE(os.stat(vm.uds_path).st_mode), 0o600)


@suite.case('/device/plain-one-is-found-in-the-run-time-directory')
def _(lab):
    cid = 4200 + os.getpid() % 1000
    with Vm(lab, 'plain', cid=cid, uds_path=default_path(cid)) as vm:
        exchange(lab, vm, MB)
        port = lab.port()
        vm.agent.call('listen', 900, port, 8)
        accepted = vm.agent.start('accept', 1, 900)
        client = subprocess.Popen([lab.nc, '--unix', str(cid), str(port)],
                                  stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        accepted.wait()
        sent = vm.agent.start('send', 1, 4, 1000)
        sent.wait()
        vm.agent.call('shut', 1, 'wr')
        out, _ = client.communicate(pattern.data(3, 1000), 30)
        equal(out, pattern.data(4, 1000))
        equal(client.returncode, 0)
        equal(vm.agent.call('recv', 1, 3, 1001)['count'], '1000')
        vm.quit()
    check(not os.path.exists(default_path(cid)), 'the socket is still there')


@suite.case('/device/plain-one-reaches-listeners-for-all-and-for-one-guest')
def _(lab):
    cid = 5300 + os.getpid() % 1000
    with Vm(lab, 'plain', cid=cid, uds_path=default_path(cid)) as vm:
        # A port that nobody else on this machine is likely to listen on.
        port = 3000000000 + os.getpid()
        expect_listener(lab, vm, port, [])
        expect_listener(lab, vm, port, ['--cid', str(cid)])
        # With both there, the guest's own comes first.
        with listening(lab, port, []) as for_all:
            expect_listener(lab, vm, port, ['--cid', str(cid)])
            equal(for_all.poll(), None, 'exit code')
        vm.quit()


@contextlib.contextmanager
def listening(lab, port, args):
    """nc-vsock on the host, listening in the run-time directory."""
    process = subprocess.Popen([lab.nc, '-l', '-v', '--unix', *args,
                                str(port)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        contains(process.stderr.readline(), b'listening at')
        yield process
    finally:
        process.terminate()
        process.communicate()


def expect_listener(lab, vm, port, args):
    with listening(lab, port, args) as process:
        address = vm.agent.call('connect', 1, HOST_CID, port)
        contains(process.stderr.readline(),
                 f'connection from {vm.cid}:{address["port"]}'.encode())
        vm.agent.call('send', 1, 3, 1000)
        vm.agent.call('close', 1)
        equal(process.stdout.read(), pattern.data(3, 1000))
        equal(process.wait(WAIT_S), 0, 'exit code')


def default_path(cid):
    if os.geteuid() == 0:
        return f'/run/vsock/{cid}.vsock'
    base = os.environ.get('XDG_RUNTIME_DIR')
    if base:
        return f'{base}/vsock/{cid}.vsock'
    if 'HOME' not in os.environ:
        raise Skip('neither XDG_RUNTIME_DIR nor HOME is set')
    return f'{os.environ["HOME"]}/.cache/vsock/{cid}.vsock'


@suite.case('/iothread/bytes-reset-stop-and-unplug')
def _(lab):
    lab.not_with_daemon('the daemon has a thread for each guest; '
                        '/thread/bytes-reset-stop-and-unplug')
    use_for_long(lab, device_args=',iothread=io0',
                 args=['-object', 'iothread,id=io0'])


@suite.case('/thread/bytes-reset-stop-and-unplug')
def _(lab):
    use_for_long(lab)


def use_for_long(lab, **how):
    with Vm(lab, 'thread', **how) as vm:
        exchange(lab, vm, 50 * MB)
        both = pairs(lab, vm)
        sent = vm.agent.start('send', 1, 5, 20 * MB)
        for _ in range(5):
            vm.qmp.command('stop')
            time.sleep(0.05)
            vm.qmp.command('cont')
        pattern.receive(both[0][1], 5, 20 * MB)
        sent.wait()
        vm.agent.start('send', 1, 5, 20 * MB)
        both[0][1].recv(MB)
        vm.qmp.command('system_reset')
        expect_end(both[1][1])
        vm.wait_ready()
        both = pairs(lab, vm)
        vm.agent.start('send', 1, 5, 20 * MB)
        both[0][1].recv(MB)
        unplug(vm)
        expect_end(both[1][1])
        vm.agent.call('ping')
        vm.quit()


@suite.case('/iothread/migration-in-mid-transfer')
def _(lab):
    lab.not_with_daemon('QEMU does not migrate its vhost-user-vsock')
    path = os.path.join(lab.dir, 'iothread-migration')
    with Vm(lab, 'iothread', device_args=',iothread=io0',
            args=['-object', 'iothread,id=io0']) as vm:
        (_, first), _ = pairs(lab, vm)
        vm.agent.start('send', 1, 5, 100 * MB)
        first.recv(MB)
        old_agent = vm.agent
        old_agent.call('ping')
        vm.migrate_to(path)
        vm.quit()
        vm.restore(old_agent, '-incoming', f'exec:cat {path}')
        exchange(lab, vm, MB)


@suite.case('/device/without-ioeventfd-it-works-too')
def _(lab):
    lab.not_with_daemon("QEMU's vhost-user-vsock-pci always has ioeventfd")
    with Vm(lab, 'no-ioeventfd', device_args=',ioeventfd=off') as vm:
        exchange(lab, vm, 20 * MB)


@suite.case('/device/packed-ring-works-too')
def _(lab):
    lab.not_with_daemon('QEMU 7.2 offers packed rings which a daemon has not')
    with Vm(lab, 'packed', device_args=',packed=on') as vm:
        exchange(lab, vm, 20 * MB)
