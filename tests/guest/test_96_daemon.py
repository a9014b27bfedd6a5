# SPDX-License-Identifier: GPL-2.0-or-later
#
# The vhost-user daemon as its users meet it: how it starts, for whom it works,
# how it ends.

import os
import signal
import stat

from daemon import NOBODY, Daemon, Guest
from ends import expect_end, pairs
from load import Load, Rest
from qmp import QmpError
from service import MB, exchange, expect_service
from tap import WAIT_S, Skip, Suite, check, contains, equal, until
from vm import HOST_CID, Vm

BACKENDS = 'vhost-user',
suite = Suite(timeout_s=180)
# One that needs 32 bits.
LARGE_CID = 4000000007


def expect_refusal(daemon, part):
    """It ends at once, with one sentence in which @part stands."""
    try:
        daemon.start()
    except AssertionError:
        pass
    else:
        raise AssertionError('it started')
    code = daemon.process.wait(WAIT_S)
    suite.comment(daemon.said().strip())
    check(code > 0, f'it ended with {code}')
    contains(daemon.said(), part)


@suite.case('/daemon/says-at-start-where-its-sockets-are')
def _(lab):
    vm = lab.guest()
    said = vm.daemon.said()
    for path in vm.host.guest.socket, vm.uds_path:
        contains(said, path)
    contains(said, 'listening')


@suite.case('/daemon/sockets-are-for-its-user-only')
def _(lab):
    vm = lab.guest()
    for path in vm.host.guest.socket, vm.uds_path:
        equal(stat.S_IMODE(os.stat(path).st_mode) & 0o077, 0, path)


@suite.case('/daemon/second-one-with-the-same-path-is-refused')
def _(lab):
    vm = lab.guest()
    folder = lab.new_dir('second')
    guest = Guest(4, os.path.join(folder, 'vhost'), vm.uds_path)
    expect_refusal(Daemon(lab, [guest], folder), vm.uds_path)
    expect_service(lab, vm)


@suite.case('/daemon/second-one-with-the-same-socket-is-refused')
def _(lab):
    vm = lab.guest()
    folder = lab.new_dir('second')
    guest = Guest(4, vm.host.guest.socket, os.path.join(folder, 'v.sock'))
    expect_refusal(Daemon(lab, [guest], folder), vm.host.guest.socket)
    expect_service(lab, vm)
    check(os.path.exists(vm.host.guest.socket), 'the socket is gone')


@suite.case('/daemon/large-cid-reaches-the-guest')
def _(lab):
    with Vm(lab, 'large', cid=LARGE_CID) as vm:
        equal(vm.agent.call('cid')['cid'], str(LARGE_CID))
        expect_service(lab, vm)


@suite.case('/daemon/ordinary-user-with-the-sandbox-on')
def _(lab):
    if os.geteuid() != 0:
        raise Skip('only root can become another user')
    folder = lab.new_dir('nobody')
    os.chown(folder, NOBODY, NOBODY)
    os.chmod(lab.dir, 0o711)
    guest = Guest(3, os.path.join(folder, 'vhost'),
                  os.path.join(folder, 'v.sock'))
    daemon = Daemon(lab, [guest], folder, user=NOBODY).start()
    with open(f'/proc/{daemon.pid}/status', encoding='ascii') as file:
        status = dict(line.rstrip('\n').split(':\t', 1) for line in file)
    equal((status['Uid'].split(), status['Seccomp'], status['NoNewPrivs']),
          ([str(NOBODY)] * 4, '2', '1'))
    with Vm(lab, 'nobody', daemon=daemon) as vm:
        for slot, host in allowed_pairs(lab, vm):
            exchange(vm, slot, host, MB)
    equal(daemon.terminate(), 0, 'exit code')
    equal(sorted(os.listdir(folder)), ['daemon'])


def allowed_pairs(lab, vm):
    """As pairs(); the guest calls a listener of the daemon's user."""
    there, back = lab.port(), lab.port()
    listener = vm.listen(there)
    path = f'{vm.uds_path}_{there}'
    os.chown(path, NOBODY, NOBODY)
    vm.agent.call('listen', 900, back, 8)
    both = [(1, vm.guest_to_host(there, 1, listener)),
            (2, vm.host_to_guest(back, 2))]
    os.unlink(path)
    return both


@suite.case('/daemon/migration-is-refused-and-hurts-nothing')
def _(lab):
    vm = lab.guest()
    (_, first), _ = pairs(lab, vm)
    try:
        vm.qmp.command('migrate', uri='exec:cat > /dev/null')
        until(lambda: vm.qmp.command('query-migrate').get('status') ==
              'failed', 'migration fails')
    except QmpError as error:
        suite.comment(error)
        contains(str(error), 'vsock')
    exchange(vm, 1, first, MB)
    expect_service(lab, vm)


@suite.case('/daemon/polling-serves-and-rests')
def _(lab):
    folder = lab.new_dir('polling')
    guest = Guest(3, os.path.join(folder, 'vhost'),
                  os.path.join(folder, 'v.sock'))
    daemon = Daemon(lab, [guest], folder, args=['--poll-us', '50']).start()
    with Vm(lab, 'polling', daemon=daemon) as vm:
        expect_service(lab, vm)
        rest = Rest(daemon)
        expect_service(lab, vm, 20 * MB)
        rest.expect('20 MB each way')


@suite.case('/daemon/memory-plugged-under-load-is-used')
def _(lab):
    with Vm(lab, 'memory', memory_args=',slots=2,maxmem=2G') as vm:
        load = Load(lab, vm)
        load.wait_running()
        vm.qmp.command('object-add', qom_type='memory-backend-memfd',
                       id='more', share=True, size=512 << 20)
        vm.qmp.command('device_add', driver='pc-dimm', id='dimm0',
                       memdev='more')
        before = dict(load.counts)
        until(lambda: all(load.counts[key] > before[key] + 5 * MB
                          for key in before), 'bytes go on')
        vm.agent.call('close', 0, 899)
        load.expect_host_ends()
        vm.agent.shell('for m in /sys/devices/system/memory/memory*; do '
                       'grep -q offline $m/state && echo online > $m/state; '
                       'done; true')
        # What the guest had before is not enough any more.
        vm.agent.shell('mkdir /fill; mount -t tmpfs -o size=1G fill /fill; '
                       'dd if=/dev/zero of=/fill/it bs=1M count=450')
        expect_service(lab, vm, 20 * MB)


@suite.case('/daemon/qemu-without-shared-memory-is-refused-the-next-served')
def _(lab):
    with Vm(lab, 'unshared', start=False, share=False) as vm:
        vm.start()
        vm.wait_ready()
        error = vm.agent.start('connect', 1, HOST_CID, 1234).error()
        check(error in ('ENODEV', 'ETIMEDOUT', 'ECONNRESET'), error)
        suite.comment(vm.stderr())
        vm.kill()
        vm.share = True
        vm.start()
        vm.wait_ready()
        expect_service(lab, vm)


# --- Its end -----------------------------------------------------------------

@suite.case('/daemon/killed-and-a-new-one-takes-its-sockets-over')
def _(lab):
    with Vm(lab, 'victim') as vm:
        both = pairs(lab, vm)
        vm.daemon.kill()
        for _, host in both:
            expect_end(host)
        vm.kill()
        vm.start()
        vm.wait_ready()
        expect_service(lab, vm)


@suite.case('/daemon/ended-by-sigterm-under-load')
def _(lab):
    with Vm(lab, 'orphan') as vm:
        load = Load(lab, vm)
        load.wait_running()
        waiting = vm.agent.start('recv', 3, 1, 1)
        equal(vm.daemon.terminate(), 0, 'exit code')
        load.expect_host_ends()
        for path in vm.host.guest.socket, vm.uds_path:
            check(not os.path.exists(path), f'{path} is still there')
        equal(vm.qmp.command('query-status')['running'], True)
        vm.agent.call('ping')
        waiting.error()
        for report in load.reports:
            expect_guest_error(report)
        vm.quit()


def expect_guest_error(report):
    """A guest's program learnt that it is over."""
    try:
        fields = report.wait()
    except Exception as error:  # of the guest's kernel
        check(getattr(error, 'name', None) in
              ('ECONNRESET', 'EPIPE', 'ENOTCONN'), str(error))
    else:
        equal(fields.get('eof'), '1')


@suite.case('/daemon/ended-by-sigint-without-a-guest')
def _(lab):
    folder = lab.new_dir('alone')
    guest = Guest(3, os.path.join(folder, 'vhost'),
                  os.path.join(folder, 'v.sock'))
    daemon = Daemon(lab, [guest], folder).start()
    daemon.process.send_signal(signal.SIGINT)
    equal(daemon.process.wait(WAIT_S), 0, 'exit code')
    equal(sorted(os.listdir(folder)), ['daemon'])
