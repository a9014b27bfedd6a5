# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of `make run`: QEMU, its console, and a channel for jobs in it.

The jobs travel on a second serial port, apart from the device that is shown.
"""

import base64
import collections
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty

HOST_NODE = '/dev/vsock'        # AF_VSOCK of this machine's kernel
LEAVE = b'\x1d'                 # Ctrl-]
BOOT_SECONDS = 300
JOB_SECONDS = 600


class GuestError(Exception):
    """Something did not go as it must; the text is for the user."""


class Guest:
    """Use as a context manager: the guest ends with it."""

    def __init__(self, build, cid, kvm):
        self.build = build
        self.cid = cid
        self.device = 'vhost-vsock-pci,guest-cid=%d' % cid
        self.accelerator = ['-accel', 'tcg']
        if kvm:
            self.accelerator = ['-accel', 'kvm', '-cpu', 'host']
            if not os.access('/dev/kvm', os.R_OK | os.W_OK):
                raise GuestError('KVM=1, but /dev/kvm is missing or not '
                                 'permitted; without KVM=1 the guest runs '
                                 'anywhere')
        self.logs = os.path.relpath(os.path.join(build, 'logs'))
        self.folder = tempfile.mkdtemp(prefix='vsock-run-')
        self.qemu = None
        self.sockets = {}
        self.answers = {}
        self.changed = threading.Condition()
        self.next_id = 0
        self.gone = False
        self.console_tail = collections.deque(maxlen=20)
        self.on_console = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.qemu and self.qemu.poll() is None:
            self.qemu.terminate()
            try:
                self.qemu.wait(10)
            except subprocess.TimeoutExpired:
                self.qemu.kill()
                self.qemu.wait()
        for sock in self.sockets.values():
            sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def boot(self):
        """Start QEMU and wait until the guest takes jobs."""
        os.makedirs(self.logs, exist_ok=True)
        listeners = {name: self.listener(name) for name in ('tty', 'jobs')}
        image = os.path.join(self.build, 'guest')
        command = [
            os.path.join(self.build, 'bin', 'qemu-system-x86_64'),
            '-nodefaults', '-no-user-config', '-display', 'none',
            *self.accelerator, '-m', '512', '-no-reboot',
            '-kernel', os.path.join(image, 'vmlinuz'),
            '-initrd', os.path.join(image, 'initrd.img'),
            '-append', 'console=ttyS0 quiet panic=-1 TERM=%s'
            % os.environ.get('TERM', 'linux'),
            '-device', self.device]
        for name in listeners:
            command += ['-chardev', 'socket,id=%s,path=%s/%s'
                        % (name, self.folder, name), '-serial',
                        'chardev:' + name]
        self.errors = os.path.join(self.logs, 'run-qemu.log')
        with open(self.errors, 'wb') as log:
            self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log)
        for name, listener in listeners.items():
            self.sockets[name] = self.accept(listener)
        for loop in (self.read_console, self.read_answers):
            threading.Thread(target=loop, daemon=True).start()
        try:
            self.wait('ready', BOOT_SECONDS)
        except GuestError:
            if self.gone and not self.console_tail:
                raise GuestError(self.early_end()) from None
            raise

    def listener(self, name):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(os.path.join(self.folder, name))
        sock.listen(1)
        sock.settimeout(0.2)
        return sock

    def accept(self, listener):
        with listener:
            deadline = time.monotonic() + BOOT_SECONDS
            while time.monotonic() < deadline and self.qemu.poll() is None:
                try:
                    sock, _ = listener.accept()
                except TimeoutError:
                    continue
                sock.settimeout(None)
                return sock
        raise GuestError(self.early_end())

    def early_end(self):
        """Why QEMU ended before the guest was up."""
        said = self.stderr().rstrip()
        if 'in use' in said:
            said += ('\n       To take another CID: make run GUEST_CID=%d'
                     % (self.cid + 1))
        return 'QEMU ended at once:\n' + said

    def stderr(self):
        with open(self.errors, encoding='utf-8', errors='replace') as f:
            return f.read()

    @property
    def backend_line(self):
        """The device's word on which backend it took."""
        for line in self.stderr().splitlines():
            start = line.find('vhost-vsock: emulator for CID')
            if start >= 0:
                return line[start:]
        return 'vhost-vsock: the host kernel\'s /dev/vhost-vsock'

    @property
    def emulated(self):
        return 'emulator' in self.backend_line

    def read_console(self):
        with open(os.path.join(self.logs, 'run-console.log'), 'wb') as log:
            while True:
                try:
                    piece = self.sockets['tty'].recv(4096)
                except OSError:
                    piece = b''
                if not piece:
                    break
                log.write(piece)
                log.flush()
                if self.on_console:
                    self.on_console(piece)
                else:
                    self.console_tail.append(piece)
        self.end()

    def read_answers(self):
        with self.sockets['jobs'].makefile('r', encoding='ascii') as lines:
            try:
                for line in lines:
                    words = line.split()
                    if len(words) >= 2:
                        with self.changed:
                            self.answers[words[0]] = words[1:]
                            self.changed.notify_all()
            except OSError:
                pass
        self.end()

    def end(self):
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def start(self, command):
        """Start a shell command in the guest; returns its handle."""
        self.next_id += 1
        job = 'job%d' % self.next_id
        self.sockets['jobs'].sendall(('%s %s\n' % (job, command)).encode())
        return job

    def wait(self, job, seconds=JOB_SECONDS):
        """What a job printed, once it has ended well."""
        with self.changed:
            self.changed.wait_for(lambda: job in self.answers or self.gone,
                                  seconds)
            answer = self.answers.pop(job, None)
        if answer is None:
            tail = b''.join(self.console_tail).decode(errors='replace')
            raise GuestError(
                'the guest %s; its console (all of it: %s/run-console.log):'
                '\n%s\n%s' % ('ended' if self.gone else 'did not answer within '
                              '%d s' % seconds, self.logs, tail[-1500:],
                              self.stderr()[-1500:]))
        code, *output = answer
        text = base64.b64decode(output[0]).decode(errors='replace') \
            if output else ''
        if code != '0':
            raise GuestError('in the guest: exit code %s: %s' % (code, text))
        return text

    def run(self, command):
        return self.wait(self.start(command))

    def interact(self):
        """Give the terminal to the guest's console until one of them ends."""
        size = shutil.get_terminal_size()
        self.run('stty -F /dev/ttyS0 rows %d cols %d' % (size.lines,
                                                         size.columns))
        done, wake = os.pipe()
        self.on_console = lambda piece: os.write(1, piece)
        self.run('echo >/tmp/shell')
        threading.Thread(target=self.close_when_gone, args=(wake,),
                         daemon=True).start()
        before = termios.tcgetattr(0)
        tty.setraw(0)
        try:
            while True:
                ready, _, _ = select.select([0, done], [], [])
                typed = os.read(0, 1024) if 0 in ready else b''
                if done in ready or not typed or LEAVE in typed:
                    break
                self.sockets['tty'].sendall(typed)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            print()

    def close_when_gone(self, wake):
        with self.changed:
            self.changed.wait_for(lambda: self.gone)
        os.close(wake)
