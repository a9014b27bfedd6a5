# SPDX-License-Identifier: GPL-2.0-or-later
#
# Host programs' ends of connections: AF_UNIX sockets beside the emulator's,
# or with the kernel's vhost_vsock AF_VSOCK sockets.  Cases that use them
# through class Vm hold for both.

import contextlib
import ctypes
import os
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)
HOST_CID = 2
TIMEOUT_S = 20
STREAM = socket.SOCK_STREAM
SEQPACKET = socket.SOCK_SEQPACKET


class Host:
    """The host of a guest.  Sockets are closed when the case ends."""

    # Whether a message of the guest keeps its MSG_EOR.
    carries_eor = False

    def __init__(self, lab, vm):
        self.lab = lab
        self.vm = vm

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
        text = ''
        if self.vm.given_path:
            text = f',uds-path={self.vm.uds_path}'
        if os.path.exists('/dev/vhost-vsock'):
            text += ',backend=emulator'
        return text

    def connect(self, port, kind=STREAM, timeout_s=TIMEOUT_S):
        """Connect to a port of the guest; None: refused."""
        sock = self._new_socket(socket.AF_UNIX, kind, timeout_s)
        suffix = '_seqpacket' if kind == SEQPACKET else ''
        sock.connect(self.vm.uds_path + suffix)
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


class KernelHost(Host):
    carries_eor = True

    def device_options(self):
        return ',backend=kernel'

    def connect(self, port, kind=STREAM, timeout_s=TIMEOUT_S):
        """Connect to a port of the guest; None: refused."""
        sock = self._new_socket(socket.AF_VSOCK, kind, timeout_s)
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
        value = struct.pack('ll', int(timeout_s), 0)
        for name in socket.SO_RCVTIMEO, socket.SO_SNDTIMEO:
            # Python's own gives every option of AF_VSOCK eight bytes.
            if _libc.setsockopt(sock.fileno(), socket.SOL_SOCKET, name, value,
                                len(value)) < 0:
                raise OSError(ctypes.get_errno(), f'setsockopt {name}')

    def bind(self, port, kind=STREAM):
        sock = self._new_socket(socket.AF_VSOCK, kind)
        sock.bind((socket.VMADDR_CID_ANY, port))
        return sock


HOSTS = {'emulator': EmulatorHost, 'kernel': KernelHost}
