# SPDX-License-Identifier: GPL-2.0-or-later
#
# What does the device's work, and host programs' ends of connections: AF_UNIX
# sockets beside those of the emulator or of the vhost-user daemon, or with the
# kernel's vhost_vsock AF_VSOCK sockets.  Cases that use them through class Vm
# hold for all.

import contextlib
import ctypes
import os
import socket
import struct

from daemon import Daemon, Guest
from tap import WAIT_S, until

_libc = ctypes.CDLL(None, use_errno=True)
HOST_CID = 2
TIMEOUT_S = WAIT_S
CONNECT_S = 20
SO_VM_SOCKETS_CONNECT_TIMEOUT = 6
STREAM = socket.SOCK_STREAM
SEQPACKET = socket.SOCK_SEQPACKET


def connect_unix(sock, path, timeout_s=TIMEOUT_S):
    """Connect an AF_UNIX socket, which may wait for room in the backlog: a
    socket that Python gave a timeout is non-blocking, and such a one hears
    EAGAIN at once when a busy machine let the backlog fill."""
    before = sock.gettimeout()
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                    struct.pack('ll', int(timeout_s), 0))
    sock.connect(path)
    sock.settimeout(before)


class Host:
    """The host of a guest.  Sockets are closed when the case ends."""

    # Whether a message of the guest keeps its MSG_EOR.
    carries_eor = False
    # What the process may keep of a load: malloc keeps the edges of what it
    # gave out, and the library has it give the rest back from 4 MiB on.  TCG
    # notes each block of the guest's code that it has met.
    KEPT_KB = 6 << 10
    # The same over a boot, which is new code.
    KEPT_BY_BOOT_KB = 64 << 10

    def __init__(self, lab, vm):
        self.lab = lab
        self.vm = vm

    # --- What does the device's work: QEMU, unless something else does -------

    def start(self):
        """Before QEMU starts, or before the device is plugged."""

    def stop(self):
        """After QEMU's end."""

    def worker(self):
        return self.vm

    def cpu_seconds(self):
        """What a process other than QEMU took."""
        return 0

    def qemu_options(self):
        return []

    def qemu_max_fds(self):
        return self.vm.max_fds

    def before_plug(self):
        pass

    def after_unplug(self):
        pass

    def memory_kb(self):
        """Memory of QEMU's heap."""
        total = 0
        heap = False
        with open(f'/proc/{self.vm.pid}/smaps', encoding='utf-8') as file:
            for line in file:
                if '-' in line.split(' ')[0]:
                    heap = line.rstrip().endswith('[heap]')
                elif heap and line.startswith('Rss:'):
                    total += int(line.split()[1])
        return total

    def own_memory_kb(self):
        """Memory that is QEMU's own, in which nothing of the guest lies:
        neither its RAM nor the code that TCG makes."""
        ram_kb = self.vm.MEMORY_MB << 10
        total = 0
        counts = False
        with open(f'/proc/{self.vm.pid}/smaps', encoding='utf-8') as file:
            for line in file:
                words = line.split()
                if '-' in words[0]:
                    counts = words[1].startswith('rw-p')
                elif words[0] == 'Size:' and int(words[1]) == ram_kb:
                    counts = False
                elif counts and words[0] == 'Anonymous:':
                    total += int(words[1])
        return total

    def thread_ids(self):
        """The threads that do the device's work."""
        threads = self.vm.qmp.command('query-iothreads')
        return [thread['thread-id'] for thread in threads] or [self.vm.pid]

    def log(self):
        """What was said of the device."""
        with open(self.vm.file('stderr'), encoding='utf-8',
                  errors='replace') as file:
            return file.read()

    # --- Host programs' ends -------------------------------------------------

    def accept(self, listener):
        sock, _ = listener.accept()
        self._set_timeout(sock, TIMEOUT_S)
        return self.lab.keep(sock)

    @staticmethod
    def _set_timeout(sock, timeout_s):
        sock.settimeout(timeout_s)

    def _new_socket(self, family, kind, timeout_s=TIMEOUT_S):
        sock = self.lab.keep(socket.socket(family, kind))
        sock.settimeout(timeout_s)
        return sock


class EmulatorHost(Host):
    def device_options(self):
        text = f'vhost-vsock-pci,id=vsock0,guest-cid={self.vm.cid}'
        if self.vm.given_path:
            text += f',uds-path={self.vm.uds_path}'
        if os.path.exists('/dev/vhost-vsock'):
            text += ',backend=emulator'
        return text

    def take_path_of(self, vm):
        """Use the path of another guest, which has it."""
        self.vm.uds_path = vm.uds_path

    def connect(self, port, kind=STREAM, timeout_s=TIMEOUT_S):
        """Connect to a port of the guest; None: refused."""
        sock = self._new_socket(socket.AF_UNIX, kind, timeout_s)
        suffix = '_seqpacket' if kind == SEQPACKET else ''
        connect_unix(sock, self.vm.uds_path + suffix)
        sock.sendall(f'CONNECT {port}\n'.encode())
        try:
            line = sock.recv(64) if kind == SEQPACKET else self._line(sock)
        except ConnectionResetError:
            line = b''
        if not line:
            sock.close()
            return None
        if not line.startswith(b'OK ') or len(line) > 9:
            raise AssertionError(f'the answer was {line!r}')
        return sock

    @staticmethod
    def _line(sock):
        """Up to the newline and no further: data may follow."""
        line = b''
        while not line.endswith(b'\n'):
            byte = sock.recv(1)
            if not byte:
                if line:
                    raise AssertionError(f'the answer was {line!r}')
                break
            line += byte
        return line

    def bind(self, port, kind=STREAM):
        path = f'{self.vm.uds_path}_{port}'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock = self._new_socket(socket.AF_UNIX, kind)
        sock.bind(path)
        self.lab.remove_later(path)
        return sock


class VhostUserHost(EmulatorHost):
    """The emulator in a process of its own, which QEMU's vhost-user-vsock
    talks to."""

    CHARDEV = 'vsock0-daemon'
    KEPT_KB = KEPT_BY_BOOT_KB = 4 << 10

    def __init__(self, lab, vm):
        super().__init__(lab, vm)
        self.shared = vm.daemon is not None
        if self.shared:
            self.guest = next(guest for guest in vm.daemon.guests
                              if guest.cid == vm.cid)
            vm.uds_path = self.guest.uds_path
        else:
            self.guest = Guest(vm.cid, vm.file('vhost'), vm.uds_path,
                               vm.given_path)
            vm.daemon = Daemon(lab, [self.guest], vm.dir,
                               max_fds=vm.max_fds)

    def take_path_of(self, vm):
        super().take_path_of(vm)
        self.guest = Guest(self.vm.cid, self.guest.socket, vm.uds_path)
        self.vm.daemon.guests = [self.guest]

    def start(self):
        if not self.vm.daemon.is_alive() and not self.shared:
            self.vm.daemon.start()

    def stop(self):
        if not self.shared:
            self.vm.daemon.end()

    def worker(self):
        return self.vm.daemon

    def cpu_seconds(self):
        daemon = self.vm.daemon
        return daemon.cpu_seconds() if daemon.process else 0

    def memory_kb(self):
        return self.vm.daemon.memory_kb()

    def own_memory_kb(self):
        return self.memory_kb()

    def thread_ids(self):
        return [int(name) for name in
                os.listdir(f'/proc/{self.vm.daemon.pid}/task')]

    def log(self):
        return self.vm.daemon.said()

    def qemu_max_fds(self):
        return None

    def qemu_options(self):
        share = 'on' if self.vm.share else 'off'
        options = ['-object', f'memory-backend-memfd,id=ram,share={share},'
                              f'size={self.vm.MEMORY_MB}M',
                   '-machine', 'memory-backend=ram']
        if self.vm.has_device:
            options += ['-chardev', f'socket,id={self.CHARDEV},'
                                    f'path={self.guest.socket}']
        return options

    def device_options(self):
        return f'vhost-user-vsock-pci,id=vsock0,chardev={self.CHARDEV}'

    def before_plug(self):
        self.start()
        data = {'server': False, 'addr': {
            'type': 'unix', 'data': {'path': self.guest.socket}}}
        if self.vm.reconnect:
            data['reconnect'] = 1
        self.vm.qmp.command('chardev-add', id=self.CHARDEV,
                            backend={'type': 'socket', 'data': data})
        until(self._is_connected, 'QEMU connects to the daemon')

    def _is_connected(self):
        """Without it QEMU plugs no device."""
        devices = self.vm.qmp.command('query-chardev')
        return any(one['label'] == self.CHARDEV and
                   'disconnected' not in one['filename'] for one in devices)

    def after_unplug(self):
        self.vm.qmp.command('chardev-remove', id=self.CHARDEV)


class KernelHost(Host):
    carries_eor = True

    def device_options(self):
        return (f'vhost-vsock-pci,id=vsock0,guest-cid={self.vm.cid},'
                'backend=kernel')

    def connect(self, port, kind=STREAM, timeout_s=TIMEOUT_S):
        """Connect to a port of the guest; None: refused."""
        sock = self._new_socket(socket.AF_VSOCK, kind, timeout_s)
        # Linux itself gives up after 2 s, in which a busy VM may not answer.
        self._set_option(sock, socket.AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT,
                         min(timeout_s, CONNECT_S))
        try:
            sock.connect((self.vm.cid, port))
        except ConnectionResetError:
            sock.close()
            return None
        self._set_timeout(sock, timeout_s)
        return sock

    @staticmethod
    def _set_timeout(sock, timeout_s):
        """By the kernel: Python would make the socket non-blocking, and a
        message sent so is cut off where the room of the moment ends."""
        sock.settimeout(None)
        for name in socket.SO_RCVTIMEO, socket.SO_SNDTIMEO:
            KernelHost._set_option(sock, socket.SOL_SOCKET, name, timeout_s)

    @staticmethod
    def _set_option(sock, level, name, seconds):
        value = struct.pack('ll', int(seconds), 0)
        # Python's own gives every option of AF_VSOCK eight bytes.
        if _libc.setsockopt(sock.fileno(), level, name, value,
                            len(value)) < 0:
            raise OSError(ctypes.get_errno(), f'setsockopt {name}')

    def bind(self, port, kind=STREAM):
        sock = self._new_socket(socket.AF_VSOCK, kind)
        sock.bind((socket.VMADDR_CID_ANY, port))
        return sock


HOSTS = {'emulator': EmulatorHost, 'vhost-user': VhostUserHost,
         'kernel': KernelHost}
