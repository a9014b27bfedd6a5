# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with open connections moves from Debian's own QEMU to ours and back,
# and between our backends (SPEC E1: connections end, listeners stay).
#
# One guest is moved on from case to case; where it is not on the QEMU that the
# case wants, one is booted there.  Each case says in a line what the guest saw;
# docs/system/devices/vhost-vsock.rst has the table.

import contextlib
import threading
import time

import pattern
from guest_socket import expect_no_complaint
from hosts import HOST_CID, SEQPACKET, STREAM
from moves import (KINDS, LISTENERS, MACHINE, WRONG_BYTES, Moved, Scene,
                   exchange, expect_new_connections)
from node import Bare, device, open_fd
from tap import WAIT_S, Suite, check, contains, equal

JOB = 'migration'
suite = Suite(timeout_s=400)
OLD_MACHINE = 'pc-q35-5.0'
# The kernel gives a CID to one QEMU at a time.
CID, OTHER_CID = 90, 91

# Every way from one to another, each beginning where the one before ended.
TOUR = ['stock', 'stock', 'kernel', 'kernel', 'stock', 'emulator', 'kernel',
        'emulator', 'emulator', 'stock']

# What Linux tells programs of a connection that the event ended.
WAITED = {'ECONNRESET'}
# Linux's receive of a message ends with 0 bytes instead.
WAITED_SEQPACKET = {'ECONNRESET', 'EOF'}
LATE = {'ENOTCONN', 'EPIPE'}
ALLOWED = {
    'stream receives that waited': WAITED,
    'seqpacket receives that waited': WAITED_SEQPACKET,
    'a send under way': WAITED | LATE,
    'a receive under way': WAITED | LATE,
    'recv afterwards': LATE,
    'send afterwards': LATE,
}
# Linux's vhost_vsock does not log what it writes to the guest's memory.  What it
# wrote while the guest ran on, after the page was sent, stays behind.
MAY_BE_LEFT_BEHIND = 'a receive under way'
HOST_RECEIVES = {'ECONNRESET', 'EOF'}
HOST_SENDS = {'ECONNRESET', 'EPIPE'}


def guest_on(lab, kind, machine=MACHINE):
    vm = lab.main
    if not vm or not vm.is_alive() or (vm.kind, vm.machine) != (kind, machine):
        if vm:
            vm.kill()
        vm = Moved(lab, kind, CID, machine)
        vm.set_up(KINDS[:1] if machine == OLD_MACHINE else KINDS)
    return vm


def tell(how, vm, new, guest, host):
    text = [f'{vm.kind} to {new.kind} by {how}',
            f'the guest read CID {vm.cid}, then {new.cid}']
    text += [f'{what}: {" ".join(got)}' for what, got in guest.items()]
    text += [f'host programs: {" ".join(host[0] + host[1])}',
             'old listeners accepted']
    Suite.comment('; '.join(text))


def expect_move(how, vm, new, guest, host):
    """Check what was seen, and the guest's state on the QEMU @new."""
    equal(new.cid_seen(), new.cid, 'CID in the guest')
    for what, got in guest.items():
        also = {WRONG_BYTES} if (how, what) == ('socket', MAY_BE_LEFT_BEHIND) \
            and vm.kind != 'emulator' else set()
        check(set(got) <= ALLOWED[what] | also, f'{what}: {got}')
    check(set(host[0]) <= HOST_RECEIVES and set(host[1]) <= HOST_SENDS,
          f'host programs: {host}')
    expect_new_connections(new)
    expect_no_complaint(new)
    tell(how, vm, new, guest, host)


def move_by_file(vm, target, how='file'):
    """Save the guest, end its QEMU, start another with the same CID."""
    scene = Scene(vm)
    new = vm.by_file(target, vm.cid) if how == 'file' else \
        vm.by_snapshot(target, vm.cid)
    host = scene.host_ends()
    new.go_on()
    expect_move(how, vm, new, scene.guest_ends(new), host)
    return new


def move_by_socket(vm, target):
    """Both QEMUs are there at once, and the guest runs until the end."""
    scene = Scene(vm)
    cid = CID + OTHER_CID - vm.cid if vm.shares_node(target) else vm.cid
    new = vm.by_socket(target, cid)
    new.go_on()
    guest = scene.guest_ends(new)
    vm.quit()
    expect_move('socket', vm, new, guest, scene.host_ends())
    return new


def leave_no_bytes_behind(lab):
    """Bytes that came when their pages were on the other side already."""
    vm, port = guest_on(lab, 'emulator'), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    new = vm.by_socket('emulator', vm.cid,
                       lambda: host.sendall(pattern.data(2, 100000)))
    # KVM itself writes to one, for its clock.
    pages = vm.pages_unlike(new)
    check(len(pages) <= 1, f'pages differ: {pages}')
    new.go_on()
    vm.quit()
    expect_new_connections(new)


def add_cases():
    for how, move in (('file', move_by_file), ('socket', move_by_socket)):
        for source, target in zip(TOUR, TOUR[1:]):
            @suite.case(f'/migrate/{how}/{source}-to-{target}')
            def _(lab, move=move, source=source, target=target):
                move(guest_on(lab, source), target)
            if (how, source, target) == ('socket', 'emulator', 'emulator'):
                suite.case('/migrate/socket/emulator-leaves-no-bytes-behind')(
                    leave_no_bytes_behind)


add_cases()


@suite.case('/migrate/snapshot/stock-to-kernel-and-back')
def _(lab):
    new = move_by_file(guest_on(lab, 'stock'), 'kernel', 'snapshot')
    move_by_file(new, 'stock', 'snapshot')


# --- One CID, one host -------------------------------------------------------

@suite.case('/migrate/cid/destination-with-the-same-is-refused')
def _(lab):
    """The one way on one host is another CID: see the cases by socket."""
    vm = guest_on(lab, 'stock')
    port = lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    with Bare(lab, '-device', device(vm.cid), '-incoming', 'defer') as other:
        contains(other.refusal(), 'unable to set guest cid: '
                                  'Address already in use')
    exchange(vm, 1, host, STREAM)


@suite.case('/migrate/cid/one-descriptor-cannot-be-given-to-both')
def _(lab):
    """vhostfd is no way round it: the kernel binds it to one process."""
    with open_fd() as fd:
        options = device(CID + 5, f',vhostfd={fd}')
        with Bare(lab, '-device', options, fds=[fd]) as first:
            first.start()
            with Bare(lab, '-device', options, '-incoming', 'defer',
                      fds=[fd]) as other:
                contains(other.refusal(), 'Device or resource busy')
            first.quit()


# --- Clients that come at once -----------------------------------------------

@suite.case('/migrate/client-that-came-before-the-guest-ran-is-served')
def _(lab):
    """The event that ends old connections must not end one that is new."""
    vm = guest_on(lab, 'kernel')
    new = vm.by_file('kernel', vm.cid)
    pending = new.agent.start('accept', 1, LISTENERS[STREAM])
    came = []
    thread = threading.Thread(target=lambda: came.append(
        connect_at_last(new, new.ports[STREAM])), daemon=True)
    thread.start()
    time.sleep(0.3)
    new.go_on()
    thread.join(WAIT_S)
    pending.wait()
    exchange(new, 1, came[0], STREAM)


def connect_at_last(vm, port):
    """From 6.2 on Linux refuses while the device does not run; on 6.1 the
    client waits, for 2 s."""
    end = time.monotonic() + WAIT_S / 2
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            sock = vm.connect(port, timeout_s=2)
            if sock:
                return sock
        time.sleep(0.05)
    return None


@suite.case('/migrate/source-goes-on-when-the-destination-is-given-up')
def _(lab):
    vm, port = guest_on(lab, 'kernel'), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    vm.migrate_to('/dev/null')
    vm.qmp.command('cont')
    exchange(vm, 1, host, STREAM)
    expect_new_connections(vm)


# --- An old machine type -----------------------------------------------------

@suite.case('/migrate/machine/pc-q35-5.0-to-our-backends-and-back')
def _(lab):
    """There the device is transitional, and without seqpacket."""
    vm = guest_on(lab, 'stock', OLD_MACHINE)
    check_old_device(vm)
    vm = move_by_file(vm, 'kernel')
    check_old_device(vm)
    vm = move_by_socket(vm, 'emulator')
    check_old_device(vm)
    check_old_device(move_by_file(vm, 'stock'))


def check_old_device(vm):
    equal(vm.agent.shell('cat /sys/bus/virtio/drivers/*/virtio*/../device |'
                         'grep 0x1012').strip(), '0x1012')
    port = vm.lab.port()
    vm.listen(port, kind=SEQPACKET)
    equal(vm.agent.start('connect', 30, HOST_CID, port, 'seqpacket').error(),
          'ESOCKTNOSUPPORT')
