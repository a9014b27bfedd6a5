# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest is saved and restored with open connections: those end cleanly on
# both sides, listeners stay.

import os

import pattern
from ends import expect_end, expect_guest_end, pairs
from snapshot import add_disk, disk_option
from tap import WAIT_S, Suite, equal, until
from vm import Vm

suite = Suite(timeout_s=240)
MB = 1000 * 1000


class Scene:
    """A guest with listeners on both sides, and open connections."""

    def __init__(self, lab, vm):
        lab.not_with_daemon("QEMU does not migrate its vhost-user-vsock; "
                            '/daemon/migration-is-refused-and-hurts-nothing')
        self.lab = lab
        self.vm = vm
        self.host_port = lab.port()
        self.guest_port = lab.port()
        self.listener = vm.listen(self.host_port)
        vm.agent.call('listen', 950, self.guest_port, 8)
        self.hosts = []
        self.reads = []

    def open(self):
        """Open connections, of which the guest reads."""
        self.hosts = [host for _, host in pairs(self.lab, self.vm)]
        self.reads = [self.vm.agent.start('recv', slot, 1, 1)
                      for slot in (1, 2)]
        # A request that is still under way would be cut by the move.
        self.vm.agent.call('ping')

    def expect_hosts_end(self):
        for host in self.hosts:
            expect_end(host)

    def expect_guest_ends(self):
        """In the restored guest.  Its reports come on the new line."""
        for pending in self.reads:
            expect_guest_end(pending)

    def expect_listeners(self):
        """Both sides' listeners, older than the move, still take clients."""
        vm = self.vm
        host = vm.guest_to_host(self.host_port, 20, self.listener)
        exchange(vm, host, 20)
        host = vm.host_to_guest(self.guest_port, 21, listener_slot=950)
        exchange(vm, host, 21)


def exchange(vm, host, slot):
    got = vm.agent.start('recv', slot, 3, MB)
    pattern.send(host, 3, MB)
    equal(got.wait()['bad'], '-1')
    sent = vm.agent.start('send', slot, 4, MB)
    pattern.receive(host, 4, MB)
    sent.wait()
    host.close()
    vm.agent.call('close', slot)


# --- Migration to a file -----------------------------------------------------

def migrate(lab, vm):
    """Save @vm into a file, end it, and restore it in a new QEMU."""
    path = os.path.join(lab.dir, 'migration')
    old_agent = vm.agent
    old_agent.call('ping')
    vm.migrate_to(path)
    vm.quit()
    vm.restore(old_agent, '-incoming', f'exec:cat {path}')
    os.unlink(path)


@suite.case('/migration/open-connections-end-cleanly-on-both-sides')
def _(lab):
    with Vm(lab, 'mover') as vm:
        scene = Scene(lab, vm)
        scene.open()
        migrate(lab, vm)
        scene.expect_hosts_end()
        scene.expect_guest_ends()


@suite.case('/migration/listeners-of-both-sides-stay-over-three-moves')
def _(lab):
    with Vm(lab, 'mover') as vm:
        scene = Scene(lab, vm)
        for _ in range(3):
            scene.open()
            migrate(lab, vm)
            scene.expect_hosts_end()
            scene.expect_guest_ends()
            scene.expect_listeners()


@suite.case('/migration/with-data-in-flight-both-ways')
def _(lab):
    with Vm(lab, 'mover') as vm:
        scene = Scene(lab, vm)
        (_, first), (_, second) = pairs(lab, vm)
        sent = vm.agent.start('send', 1, 1, 1000 * MB)
        vm.agent.start('recv', 2, 2, 1000 * MB)
        first.recv(MB)
        second.setblocking(False)
        second.send(bytes(100000))
        migrate(lab, vm)
        second.settimeout(WAIT_S)
        scene.hosts = [second]
        scene.expect_hosts_end()
        error = sent.error()
        equal(error in ('ECONNRESET', 'EPIPE', 'ENOTCONN'), True, error)
        scene.expect_listeners()


@suite.case('/migration/source-goes-on-when-it-is-continued')
def _(lab):
    with Vm(lab, 'stayer') as vm:
        scene = Scene(lab, vm)
        (_, first), _ = pairs(lab, vm)
        vm.migrate_to(os.path.join(vm.dir, 'unused'))
        vm.qmp.command('cont')
        exchange(vm, first, 1)
        scene.expect_listeners()


@suite.case('/migration/cancelled-in-mid-way-hurts-nothing')
def _(lab):
    with Vm(lab, 'stayer') as vm:
        scene = Scene(lab, vm)
        (_, first), _ = pairs(lab, vm)
        vm.qmp.command('migrate-set-parameters', max_bandwidth=1 << 20)
        vm.qmp.command('migrate', uri='exec:cat > /dev/null')
        vm.qmp.command('migrate_cancel')
        until(lambda: vm.qmp.command('query-migrate').get('status') ==
              'cancelled', 'cancellation')
        exchange(vm, first, 1)
        scene.expect_listeners()


# --- Snapshots ---------------------------------------------------------------

@suite.case('/snapshot/savevm-leaves-connections-alone')
def _(lab):
    with Vm(lab, 'saved') as vm:
        scene = Scene(lab, vm)
        add_disk(vm)
        (_, first), (_, second) = pairs(lab, vm)
        vm.qmp.human('savevm one')
        exchange(vm, first, 1)
        exchange(vm, second, 2)
        scene.expect_listeners()


@suite.case('/snapshot/loadvm-ends-connections-and-keeps-listeners')
def _(lab):
    with Vm(lab, 'saved') as vm:
        scene = Scene(lab, vm)
        add_disk(vm)
        scene.open()
        vm.qmp.human('savevm one')
        for _ in range(2):
            later = vm.guest_to_host(scene.host_port, 30, scene.listener)
            vm.agent.expect(scene.reads)
            vm.qmp.human('loadvm one')
            expect_end(later)
            scene.expect_hosts_end()
            scene.expect_guest_ends()
            scene.expect_listeners()


@suite.case('/snapshot/loadvm-in-a-new-qemu')
def _(lab):
    with Vm(lab, 'saved') as vm:
        scene = Scene(lab, vm)
        path = add_disk(vm)
        scene.open()
        old_agent = vm.agent
        vm.qmp.human('savevm one')
        vm.quit()
        scene.expect_hosts_end()
        vm.restore(old_agent, '-blockdev', disk_option(path),
                   '-loadvm', 'one')
        scene.expect_guest_ends()
        scene.expect_listeners()
