# SPDX-License-Identifier: GPL-2.0-or-later
"""The show and the checks of `make run`.

usage: demo.py BUILD
"""

import hashlib
import os
import signal
import subprocess
import sys
import time

from guest import Guest, GuestError, HOST_NODE

MEGABYTES = 100
SIZE = MEGABYTES * 1000 * 1000
WAIT = 300              # seconds that a step may take, TCG on a busy machine


class Demo:
    """The steps; each returns what it saw, or raises GuestError."""

    def __init__(self, build, guest):
        self.guest = guest
        self.program = os.path.join(build, 'bin', 'nc-vsock')
        self.options = self.choose_world()
        self.failed = 0
        self.children = []

    def choose_world(self):
        """The option that nc-vsock needs here, if any."""
        if self.guest.emulated:
            # With an AF_VSOCK beside the emulator's sockets both could be
            # meant, and nc-vsock does not guess.
            return ['--unix'] if os.path.exists(HOST_NODE) else []
        told = subprocess.run([self.program, '--explain', '-l', '1234'],
                              capture_output=True, check=False, text=True)
        return [] if told.stdout.startswith('listen vsock') else ['--vsock']

    def host(self, *args, **kwargs):
        """Start nc-vsock on the host."""
        child = subprocess.Popen([self.program, *self.options, '-w', str(WAIT),
                                  *map(str, args)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, **kwargs)
        self.children.append(child)
        return child

    def typed(self, *args):
        """The command line as a user would type it."""
        return ' '.join(['nc-vsock', *self.options, *map(str, args)])

    def show(self, title, commands, step):
        """Run a step and print what came of it."""
        print('%-16s' % title + commands[0])
        for command in commands[1:]:
            print(' ' * 16 + command)
        try:
            outcome, good = step(), True
        except (GuestError, subprocess.TimeoutExpired) as error:
            outcome, good = str(error), False
            self.failed += 1
        while self.children:
            child = self.children.pop()
            if child.poll() is None:
                child.kill()
                child.wait()
        print('%16s%s  %s\n' % ('', 'ok' if good else 'FAILED', outcome),
              flush=True)

    def guest_to_host(self):
        listener = self.host('-l', 1234)
        listener.stdin.close()
        self.guest.run(from_guest("echo 'hello from the guest'", 1234))
        heard = self.finish(listener)
        expect(heard == b'hello from the guest\n', 'the host heard %r' % heard)
        return 'the host heard: ' + heard.decode().strip()

    def host_to_guest(self):
        listener = self.guest.start('nc-vsock -l 1234')
        self.connect(1234, b'hello from the host\n')
        heard = self.guest.wait(listener)
        expect(heard == 'hello from the host', 'the guest heard %r' % heard)
        return 'the guest heard: ' + heard

    def three_at_once(self):
        listener = self.host('-k', '-l', 1235)
        clients = [self.guest.start(from_guest('echo client %d' % i, 1235))
                   for i in (1, 2, 3)]
        # All three have spoken and none has been answered: all are connected.
        heard = sorted(listener.stdout.readline().decode().strip()
                       for _ in clients)
        listener.stdin.write(b'welcome, all three\n')
        listener.stdin.close()
        answers = [self.guest.wait(client) for client in clients]
        listener.terminate()
        listener.wait()
        expect(heard == ['client 1', 'client 2', 'client 3'],
               'the host heard %s' % heard)
        expect(answers == ['welcome, all three'] * 3,
               'the guests heard %s' % answers)
        return 'the host heard %s, and answered all of them' % ', '.join(heard)

    def bulk_to_host(self):
        self.guest.run('dd if=/dev/urandom of=/tmp/data bs=1000000 count=%d'
                       % MEGABYTES)
        wanted = self.guest.run('sha256sum </tmp/data').split()[0]
        listener = self.host('-l', 1236)
        listener.stdin.close()
        client = self.guest.start(from_guest('', 1236, '/tmp/data'))
        digest, count, began = hashlib.sha256(), 0, None
        while True:
            piece = listener.stdout.read1(1 << 20)
            began = began or time.monotonic()
            if not piece:
                break
            digest.update(piece)
            count += len(piece)
        seconds = time.monotonic() - began
        self.guest.wait(client)
        listener.wait()
        return bulk_outcome(count, digest.hexdigest(), wanted, seconds)

    def bulk_to_guest(self):
        data = os.urandom(SIZE)
        self.guest.run('rm -f /tmp/data')
        listener = self.guest.start('nc-vsock -l 1236 >/tmp/back')
        began = self.connect(1236, data)
        self.guest.wait(listener)
        seconds = time.monotonic() - began
        seen = self.guest.run('sha256sum </tmp/back').split()[0]
        count = int(self.guest.run('wc -c </tmp/back; rm /tmp/back'))
        return bulk_outcome(count, seen, hashlib.sha256(data).hexdigest(),
                            seconds)

    def connect(self, port, data):
        """Send data to a port of the guest, as soon as it listens there.

        Returns when the connection that succeeded was begun.
        """
        deadline = time.monotonic() + WAIT
        while True:
            began = time.monotonic()
            client = self.host(self.guest.cid, port, stderr=subprocess.PIPE)
            _, said = client.communicate(data, WAIT)
            if client.returncode == 0:
                return began
            if time.monotonic() > deadline:
                raise GuestError(said.decode().strip())
            time.sleep(0.1)

    def finish(self, listener):
        """All that a listener of the host hears."""
        heard = listener.stdout.read()
        listener.wait()
        expect(listener.returncode == 0,
               'nc-vsock ended with exit code %d' % listener.returncode)
        return heard


def from_guest(command, port, source=None):
    """A guest's shell command that sends a command's output to the host.

    The host's listener may need a moment; a refused connection sends nothing.
    """
    send = 'nc-vsock 2 %d' % port
    send = '%s <%s' % (send, source) if source else '%s | %s' % (command, send)
    return ('for i in $(seq 100); do %s 2>/tmp/said && exit; '
            'sleep 0.2; done; cat /tmp/said; exit 1' % send)


def expect(good, why):
    if not good:
        raise GuestError(why)


def bulk_outcome(count, seen, wanted, seconds):
    expect(count == SIZE, '%d bytes arrived of %d' % (count, SIZE))
    expect(seen == wanted, 'the sha256 differs: %s, not %s' % (seen, wanted))
    return '%d MB in %.2f s: %.0f MB/s; sha256 %s… at both ends' % (
        MEGABYTES, seconds, MEGABYTES / max(seconds, 0.001), wanted[:12])


def steps(demo):
    cid = demo.guest.cid
    typed = demo.typed
    demo.show('guest -> host', ['host$  ' + typed('-l 1234'),
                                'guest# echo … | nc-vsock 2 1234'],
              demo.guest_to_host)
    demo.show('host -> guest', ['guest# nc-vsock -l 1234',
                                'host$  echo … | ' + typed(cid, 1234)],
              demo.host_to_guest)
    demo.show('three at once', ['host$  ' + typed('-k -l 1235'),
                                'guest# nc-vsock 2 1235, three times'],
              demo.three_at_once)
    demo.show('guest -> host', ['host$  ' + typed('-l 1236 | sha256sum'),
                                'guest# nc-vsock 2 1236 <data'],
              demo.bulk_to_host)
    demo.show('host -> guest', ['guest# nc-vsock -l 1236 | sha256sum',
                                'host$  %s <data' % typed(cid, 1236)],
              demo.bulk_to_guest)


def main():
    build = os.path.abspath(sys.argv[1])
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    cid = os.environ.get('GUEST_CID') or '3'
    if not cid.isdecimal():
        raise GuestError('GUEST_CID=%s is not a number' % cid)
    cid = int(cid)
    kvm = os.environ.get('KVM', '') not in ('', '0')
    began = time.monotonic()
    with Guest(build, cid, kvm) as guest:
        print('==> Booting a Linux guest, no network, no daemon, user %s:'
              % (os.environ.get('USER') or os.getuid()))
        print('    qemu-system-x86_64 … -device %s' % guest.device)
        guest.boot()
        print('    %s' % guest.backend_line)
        print('    Up after %.1f s: %s\n'
              % (time.monotonic() - began, guest.run('uname -sr')), flush=True)
        demo = Demo(build, guest)
        steps(demo)
        if demo.failed:
            print('==> %d of 5 failed.  Logs: %s' % (demo.failed, guest.logs))
        else:
            print('==> All five held.')
        if interactive:
            print('\nThis is the guest\'s shell.  From another terminal,\n'
                  '    %s %s\nis a shell in it too.  '
                  'Try: nc-vsock 2 1234 here, and there: %s\n'
                  'Leave with exit, or Ctrl-].\n'
                  % (os.path.relpath(demo.program),
                     ' '.join(demo.options + [str(cid), '23']),
                     os.path.relpath(demo.program) + ' '
                     + ' '.join(demo.options + ['-l 1234'])), flush=True)
            guest.interact()
    sys.exit(1 if demo.failed else 0)


if __name__ == '__main__':
    # Ended from outside, it still ends the guest.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        main()
    except GuestError as error:
        sys.exit('error: %s' % error)
    except KeyboardInterrupt:
        sys.exit(130)
