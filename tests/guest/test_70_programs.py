# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs that people run, at both ends.

import hashlib
import json
import socket
import subprocess

import pattern
from daemon import is_listening
from tap import WAIT_S, Suite, check, contains, equal, until

suite = Suite(timeout_s=120)
GA_PORT = 9000


class HostNc:
    """nc-vsock on the host, at the device's own sockets."""

    def __init__(self, lab, vm, *args, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [lab.nc, '--uds-path', vm.uds_path, *map(str, args)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lab.keep(self)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def finish(self, data=None, timeout_s=WAIT_S):
        """Give it @data, wait for its end; stdout."""
        out, err = self.process.communicate(data, timeout_s)
        equal((self.process.returncode, err), (0, b''), 'exit code, stderr')
        return out


@suite.case('/programs/qemu-ga-answers-guest-info')
def _(lab):
    vm = lab.guest()
    vm.agent.shell(f'qemu-ga -d -m vsock-listen -p {vm.cid}:{GA_PORT} '
                   '-f /run/qga.pid -t /run')
    try:
        host = until(lambda: vm.connect(GA_PORT), 'qemu-ga listens')
        lines = host.makefile('rb')
        for command, argument in (('guest-sync', {'id': 4711}),
                                  ('guest-info', None),
                                  ('guest-get-osinfo', None)):
            message = {'execute': command}
            if argument:
                message['arguments'] = argument
            host.sendall(json.dumps(message).encode() + b'\n')
            answer = json.loads(lines.readline())['return']
            if command == 'guest-sync':
                equal(answer, 4711)
            elif command == 'guest-info':
                names = [c['name'] for c in answer['supported_commands']]
                equal('guest-info' in names, True)
                suite.comment(f'qemu-ga {answer["version"]}, '
                              f'{len(names)} commands')
            else:
                contains(answer['kernel-release'], 'cloud')
        # One client after another, as libvirt does.
        host.close()
        lines.close()
        host = until(lambda: vm.connect(GA_PORT), 'qemu-ga listens again')
        host.sendall(b'{"execute": "guest-ping"}\n')
        equal(json.loads(host.makefile('rb').readline()), {'return': {}})
    finally:
        vm.agent.shell('kill $(cat /run/qga.pid)', check=False)


def listen_on_host(lab, vm, port, *args):
    host = HostNc(lab, vm, '-l', *args, port, stdin=subprocess.DEVNULL)
    until(lambda: is_listening(f'{vm.uds_path}_{port}'), 'host listener')
    return host


def listen_in_guest(vm, port, command='', args=''):
    """Start nc-vsock -l in the guest; returns once it listens."""
    vm.agent.shell('rm -f /tmp/log')
    pending = vm.agent.start(
        'run', f'{command} nc-vsock -v -l {args} {port} 2>/tmp/log')
    until(lambda: 'listening' in vm.agent.shell('cat /tmp/log', check=False),
          'guest listener')
    return pending


@suite.case('/programs/nc-vsock-guest-to-host')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = listen_on_host(lab, vm, port)
    vm.agent.shell(f'echo hello from the guest | nc-vsock 2 {port}')
    equal(host.finish(), b'hello from the guest\n')


@suite.case('/programs/nc-vsock-host-to-guest')
def _(lab):
    vm, port = lab.guest(), lab.port()
    pending = listen_in_guest(vm, port, 'echo hello from the guest |')
    host = HostNc(lab, vm, port)
    equal(host.finish(b'hello from the host\n'), b'hello from the guest\n')
    fields = pending.wait()
    equal((fields['status'], bytes.fromhex(fields['output'])),
          ('0', b'hello from the host\n'))


@suite.case('/programs/nc-vsock-three-guest-programs-on-one-host-listener')
def _(lab):
    vm, port = lab.guest(), lab.port()
    host = listen_on_host(lab, vm, port, '-k')
    vm.agent.shell(
        f'for i in 1 2 3; do (echo client $i; sleep 1) | nc-vsock 2 {port} & '
        'done; wait')
    lines = sorted(host.process.stdout.readline() for _ in range(3))
    equal(lines, [b'client 1\n', b'client 2\n', b'client 3\n'])


@suite.case('/programs/nc-vsock-three-host-programs-on-one-guest-listener')
def _(lab):
    vm, port = lab.guest(), lab.port()
    pending = listen_in_guest(vm, port, args='-k </dev/null >/tmp/out')
    try:
        clients = [HostNc(lab, vm, port) for _ in range(3)]
        for i, client in enumerate(clients):
            client.process.stdin.write(b'client %d\n' % i)
            client.process.stdin.flush()
        until(lambda: vm.agent.shell('cat /tmp/out').count('\n') == 3,
              'three lines')
        for client in clients:
            client.finish()
        equal(sorted(vm.agent.shell('cat /tmp/out').split('\n')),
              ['', 'client 0', 'client 1', 'client 2'])
    finally:
        vm.agent.shell('killall nc-vsock', check=False)
    pending.wait()


@suite.case('/programs/nc-vsock-50-mb-each-way-with-checksums')
def _(lab):
    vm, port = lab.guest(), lab.port()
    size = 50 * 1000 * 1000
    data = pattern.data(3, size)
    want = hashlib.sha256(data).hexdigest()
    pending = listen_in_guest(vm, port, args='</dev/null >/tmp/in')
    HostNc(lab, vm, port).finish(data)
    equal(pending.wait()['status'], '0')
    equal(vm.agent.shell('sha256sum </tmp/in')[:64], want)
    host = listen_on_host(lab, vm, port)
    pending = vm.agent.start('run', f'nc-vsock 2 {port} </tmp/in')
    equal(hashlib.sha256(host.finish()).hexdigest(), want)
    equal(pending.wait()['status'], '0')
    vm.agent.shell('rm /tmp/in')


@suite.case('/programs/nc-vsock-refused-exits-1-in-the-guest')
def _(lab):
    vm, port = lab.guest(), lab.port()
    fields = vm.agent.call('run', f'nc-vsock 2 {port} 2>&1')
    equal(fields['status'], '1')
    contains(bytes.fromhex(fields['output']), b'refuses port')


@suite.case('/programs/nc-vsock-in-the-guest-ends-with-the-host-program')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    # The read end of the pipe stays open, so stdin does not end.
    pending = vm.agent.start('run', 'mkfifo /tmp/fifo; exec 3<>/tmp/fifo; '
                             f'nc-vsock 2 {port} <&3 2>&1')
    host = vm.accept(listener)
    host.shutdown(socket.SHUT_WR)
    vm.agent.shell('sleep 0.5')
    check(not pending.is_done(), 'it ended with half of the connection')
    host.close()
    equal(pending.wait()['status'], '0')
    vm.agent.shell('rm /tmp/fifo')
