# SPDX-License-Identifier: GPL-2.0-or-later
#
# Ends of connections: half and whole, orderly and by death.

import signal
import socket
import subprocess
import time

import pattern
from ends import drain, expect_end, expect_guest_end, is_broken, pairs, say
from tap import WAIT_S, Suite, check, equal, until
from vm import Vm

suite = Suite(timeout_s=120)
MB = 1000 * 1000


@suite.case('/half-close/guest-ends-first-and-still-receives')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        sent = vm.agent.start('send', slot, 1, MB)
        pattern.receive(host, 1, MB)
        sent.wait()
        vm.agent.call('shut', slot, 'wr')
        equal(host.recv(1), b'')
        got = vm.agent.start('recv', slot, 2, 3 * MB)
        pattern.send(host, 2, 2 * MB)
        host.shutdown(socket.SHUT_WR)
        fields = got.wait()
        equal((fields['count'], fields['eof'], fields['bad']),
              (str(2 * MB), '1', '-1'))


@suite.case('/half-close/host-ends-first-and-still-receives')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        got = vm.agent.start('recv', slot, 3, 3 * MB)
        pattern.send(host, 3, 2 * MB)
        host.shutdown(socket.SHUT_WR)
        fields = got.wait()
        equal((fields['count'], fields['eof'], fields['bad']),
              (str(2 * MB), '1', '-1'))
        sent = vm.agent.start('send', slot, 4, 2 * MB)
        pattern.receive(host, 4, 2 * MB)
        sent.wait()
        vm.agent.call('close', slot)
        equal(host.recv(1), b'')


@suite.case('/half-close/lasts-as-long-as-it-is-wanted')
def _(lab):
    vm = lab.guest()
    both = pairs(lab, vm)
    for slot, host in both:
        vm.agent.call('shut', slot, 'wr')
        equal(host.recv(1), b'')
    time.sleep(9)  # longer than the time a whole close may take
    for slot, host in both:
        got = vm.agent.start('recv', slot, 5, MB)
        pattern.send(host, 5, MB)
        equal(got.wait()['bad'], '-1')


@suite.case('/half-close/guest-receives-no-more-and-the-host-gets-epipe')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        vm.agent.call('shut', slot, 'rd')
        until(lambda: is_broken(host), 'EPIPE')
        sent = vm.agent.start('send', slot, 6, MB)
        pattern.receive(host, 6, MB)
        sent.wait()


@suite.case('/close/by-the-guest-is-end-of-file-at-the-host')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        vm.agent.call('close', slot)
        equal(host.recv(1), b'')


@suite.case('/close/by-the-host-is-end-of-file-in-the-guest')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        got = vm.agent.start('recv', slot, 1, 1)
        host.close()
        equal(got.wait()['eof'], '1')


@suite.case('/close/by-the-guest-right-after-sending-loses-nothing')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        sent = vm.agent.start('send', slot, 7, 300000)
        sent.wait()
        vm.agent.call('close', slot)
        time.sleep(0.2)
        pattern.receive(host, 7, 300000)
        equal(host.recv(1), b'')


@suite.case('/close/by-the-host-right-after-sending-loses-nothing')
def _(lab):
    vm = lab.guest()
    for slot, host in pairs(lab, vm):
        host.sendall(pattern.data(8, 150000))
        host.close()
        time.sleep(0.2)
        fields = vm.agent.call('recv', slot, 8, 200000)
        equal((fields['count'], fields['eof'], fields['bad']),
              ('150000', '1', '-1'))


@suite.case('/kill/host-client-killed-and-the-guest-is-told')
def _(lab):
    vm, port = lab.guest(), lab.port()
    vm.agent.call('listen', 900, port, 8)
    accepted = vm.agent.start('accept', 1, 900)
    client = subprocess.Popen([lab.nc, '--uds-path', vm.uds_path, str(port)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        accepted.wait()
        client.stdin.write(b'x')
        client.stdin.flush()
        got = vm.agent.start('recv', 1, 1, 1)
        fields = got.wait()
        equal(fields['count'], '1')
        got = vm.agent.start('recv', 1, 1, 1)
        client.send_signal(signal.SIGKILL)
        expect_guest_end(got)
    finally:
        client.kill()
        client.communicate()


@suite.case('/kill/host-client-killed-in-mid-transfer-and-the-guest-goes-on')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    for slot in range(4):
        host = vm.guest_to_host(port, slot, listener)
        sent = vm.agent.start('send', slot, 1, 50 * MB)
        host.recv(MB)
        host.close()  # with bytes unread, as a killed program does
        check(sent.error() in ('EPIPE', 'ECONNRESET', 'ENOTCONN'), 'errno')
    host = vm.guest_to_host(port, 10, listener)
    sent = vm.agent.start('send', 10, 1, MB)
    pattern.receive(host, 1, MB)
    sent.wait()


@suite.case('/kill/guest-program-killed-and-the-host-is-told')
def _(lab):
    vm, port = lab.guest(), lab.port()
    listener = vm.listen(port)
    vm.agent.shell(f'sleep 100 | nc-vsock 2 {port} >/dev/null & '
                   f'echo $! >/tmp/pid')
    host = vm.accept(listener)
    vm.agent.shell('kill -9 $(cat /tmp/pid)')
    expect_end(host)


@suite.case('/kill/qemu-killed-and-all-host-programs-are-told')
def _(lab):
    vm = Vm(lab, 'victim')
    both = pairs(lab, vm)
    waiting = lab.keep(socket.socket(socket.AF_UNIX))
    waiting.settimeout(WAIT_S)
    waiting.connect(vm.uds_path)
    waiting.sendall(b'CONN')
    vm.agent.start('send', 1, 1, 10 * MB)
    both[0][1].recv(MB)
    vm.kill()
    drain(both[0][1])
    expect_end(both[1][1])
    if lab.has_daemon():
        # It lives on, and waits for the line.
        say(waiting, b'ECT 1\n')
    expect_end(waiting)


@suite.case('/kill/new-qemu-takes-the-sockets-of-a-killed-one-over')
def _(lab):
    vm = Vm(lab, 'victim')
    listener = vm.listen(5000)
    vm.guest_to_host(5000, 1, listener)
    vm.kill()
    vm.start()
    vm.wait_ready()
    vm.guest_to_host(5000, 1, listener)
    vm.agent.call('listen', 900, 5001, 8)
    host = vm.host_to_guest(5001, 2)
    host.sendall(b'x')
    equal(vm.agent.call('recv', 2, 0, 0)['bad'], '-1')


@suite.case('/kill/second-qemu-with-the-same-path-is-refused')
def _(lab):
    lab.not_with_daemon('the daemon has the path; a second daemon is refused '
                        'in /daemon/second-one-with-the-same-path-is-refused')
    vm = lab.guest()
    second = Vm(lab, 'second', uds_path=vm.uds_path, start=False,
                device_args=f',uds-path={vm.uds_path}')
    process = subprocess.run(
        [lab.qemu, '-nodefaults', '-no-user-config', '-display', 'none',
         '-S', '-device', second.device_options()],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S,
        check=False)
    check(process.returncode != 0, 'it started')
    check(b'vsock' in process.stderr, process.stderr)
    port = lab.port()
    vm.guest_to_host(port, 1, vm.listen(port))
    vm.agent.call('listen', 900, lab.port(), 8)
    vm.host_to_guest(lab.last_port, 2)
