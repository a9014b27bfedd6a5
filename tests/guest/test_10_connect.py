# SPDX-License-Identifier: GPL-2.0-or-later
#
# Making connections, both ways.

import re
import socket
import time

import pattern
from image import version
from tap import WAIT_S, Suite, check, equal, least
from vm import HOST_CID

suite = Suite(timeout_s=120)
AT_ONCE = 64
# Without an answer the agent gives up after 20 s.
AT_ONCE_MS = 10000
# And the device after 2 s.  A busy machine may need as long, not each time.
REFUSED_AT_ONCE_S = 1.5


@suite.case('/connect/guest-runs-the-kernel-that-was-asked-for')
def _(lab):
    release = lab.guest().agent.shell('uname -r').strip()
    suite.comment(f'Linux {release}')
    equal(release, lab.image.release())
    if lab.at_least:
        check(version(release) >= version(lab.at_least),
              f'{release} is older than {lab.at_least}')


@suite.case('/connect/guest-sees-its-own-cid')
def _(lab):
    equal(lab.guest().agent.call('cid')['cid'], '3')


@suite.case('/connect/guest-to-host-carries-bytes-both-ways')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = vm.guest_to_host(port, 1, vm.listen(port))
    exchange(vm, host, 1, 100000)


@suite.case('/connect/host-to-guest-carries-bytes-both-ways')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    host = vm.host_to_guest(port, 1)
    exchange(vm, host, 1, 100000)


def exchange(vm, host, slot, count, seed=1):
    """Send the pattern both ways between @host and the guest's @slot."""
    got = vm.agent.start('recv', slot, seed, count)
    pattern.send(host, seed, count)
    equal(got.wait()['bad'], '-1', 'first wrong byte')
    sent = vm.agent.start('send', slot, seed + 1, count)
    pattern.receive(host, seed + 1, count)
    sent.wait()


@suite.case('/connect/host-program-learns-cid-and-port-of-the-guest')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    address = vm.agent.call('connect', 1, HOST_CID, port)
    host, name = listener.accept()
    host.close()
    found = re.match(rb'\0vsock:(\d+):(\d+):', name)
    check(found, f'the client\'s name is {name!r}')
    equal(found.groups(), (b'3', address['port'].encode()))


@suite.case('/connect/guest-program-learns-that-the-host-called')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    pending = vm.agent.start('accept', 1, 900)
    vm.connect(port)
    equal(pending.wait()['cid'], str(HOST_CID))


@suite.case('/connect/port-without-host-listener-resets-at-once')
def _(lab):
    vm, port = lab.guest(), lab.port()
    error = vm.agent.start('connect', 1, HOST_CID, port).failure()
    equal(error.name, 'ECONNRESET')
    took = int(error.fields['ms'])
    check(took < AT_ONCE_MS, f'it took {took} ms')


@suite.case('/connect/port-without-guest-listener-refuses-at-once')
def _(lab):
    vm, port = lab.guest(), lab.port()
    took = least(lambda: refusal_s(vm, port), REFUSED_AT_ONCE_S / 2)
    check(took < REFUSED_AT_ONCE_S, f'it took {took} s')


def refusal_s(vm, port):
    start = time.monotonic()
    equal(vm.connect(port), None)
    return time.monotonic() - start


@suite.case('/connect/host-listener-that-died-resets')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.listen(port).close()
    equal(vm.agent.start('connect', 1, HOST_CID, port).error(), 'ECONNRESET')


@suite.case('/connect/64-at-once-from-the-guest')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    pending = [vm.agent.start('connect', slot, HOST_CID, port)
               for slot in range(AT_ONCE)]
    hosts = {}
    for _ in range(AT_ONCE):
        host, name = listener.accept()
        hosts[int(name.split(b':')[2])] = lab.keep(host)
    slots = {int(p.wait()['port']): slot for slot, p in enumerate(pending)}
    equal(set(hosts), set(slots), 'ports')
    talk_at_once(vm, {slots[port]: hosts[port] for port in hosts})


@suite.case('/connect/64-at-once-from-the-host')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, AT_ONCE)
    hosts = {slot: vm.host_to_guest(port, slot) for slot in range(AT_ONCE)}
    talk_at_once(vm, hosts)


def talk_at_once(vm, hosts):
    """Each pair exchanges bytes of its own while all others do."""
    count = 50000
    for host in hosts.values():
        host.settimeout(WAIT_S)
    received = {slot: vm.agent.start('recv', slot, slot, count)
                for slot in hosts}
    sent = {slot: vm.agent.start('send', slot, 100 + slot, count)
            for slot in hosts}
    for slot, host in hosts.items():
        pattern.send(host, slot, count)
    for slot, host in hosts.items():
        pattern.receive(host, 100 + slot, count)
        equal(received[slot].wait()['bad'], '-1', 'first wrong byte')
        sent[slot].wait()


@suite.case('/connect/200-one-after-another-each-way')
def _(lab):
    vm, there, back = lab.guest(), lab.port(), lab.port()
    listener = vm.listen(there)
    vm.agent.call('listen', 900, back, 8)
    for _ in range(200):
        host = vm.guest_to_host(there, 1, listener)
        host.close()
        vm.agent.call('close', 1)
        host = vm.host_to_guest(back, 1)
        vm.agent.call('close', 1)
        equal(host.recv(1), b'')
        host.close()


@suite.case('/connect/line-in-pieces-with-data-behind-it')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    pending = vm.agent.start('accept', 1, 900)
    host = lab.keep(socket.socket(socket.AF_UNIX))
    host.settimeout(WAIT_S)
    host.connect(vm.uds_path)
    line = f'CONNECT {port}\n'.encode()
    for at in range(len(line) - 1):
        host.sendall(line[at:at + 1])
    data = pattern.data(7, 100000)
    host.sendall(line[-1:] + data[:5000])
    pending.wait()
    host.sendall(data[5000:])
    equal(vm.agent.call('recv', 1, 7, len(data))['bad'], '-1')
