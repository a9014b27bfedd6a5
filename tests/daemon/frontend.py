# SPDX-License-Identifier: GPL-2.0-or-later
#
# The front-end of vhost-user, as docs/interop/vhost-user.rst of QEMU has it:
# messages on an AF_UNIX socket, descriptors beside them.  What a VMM would do,
# one method a message, so that a test can also do it wrong.

import array
import os
import select
import socket
import struct
import time

from tap import WAIT_S

# Requests of the front-end.
GET_FEATURES = 1
SET_FEATURES = 2
SET_OWNER = 3
RESET_OWNER = 4
SET_MEM_TABLE = 5
SET_LOG_BASE = 6
SET_LOG_FD = 7
SET_VRING_NUM = 8
SET_VRING_ADDR = 9
SET_VRING_BASE = 10
GET_VRING_BASE = 11
SET_VRING_KICK = 12
SET_VRING_CALL = 13
SET_VRING_ERR = 14
GET_PROTOCOL_FEATURES = 15
SET_PROTOCOL_FEATURES = 16
GET_QUEUE_NUM = 17
SET_VRING_ENABLE = 18
GET_CONFIG = 24
SET_CONFIG = 25
POSTCOPY_ADVISE = 28
GET_INFLIGHT_FD = 31
SET_INFLIGHT_FD = 32
RESET_DEVICE = 34
GET_MAX_MEM_SLOTS = 36
ADD_MEM_REG = 37
REM_MEM_REG = 38
LAST_REQUEST = 45

# Protocol features, by bit.
MQ = 1 << 0
LOG_SHMFD = 1 << 1
REPLY_ACK = 1 << 3
CONFIG = 1 << 9
INFLIGHT_SHMFD = 1 << 12
RESET = 1 << 13
CONFIGURE_MEM_SLOTS = 1 << 15

# Device features, by bit.
F_SEQPACKET = 1 << 1
F_LOG_ALL = 1 << 26
F_INDIRECT = 1 << 28
F_EVENT_IDX = 1 << 29
F_PROTOCOL_FEATURES = 1 << 30
F_VERSION_1 = 1 << 32

HEADER = struct.Struct('=III')          # request, flags, size of the payload
VERSION = 1
REPLY = 1 << 2
NEED_REPLY = 1 << 3

U64 = struct.Struct('=Q')
STATE = struct.Struct('=II')            # ring, number
ADDRESS = struct.Struct('=IIQQQQ')      # ring, flags, desc, used, avail, log
REGION = struct.Struct('=QQQQ')         # guest address, size, user, offset
LOG = struct.Struct('=QQ')              # size, offset
CONFIG_SPACE = struct.Struct('=III')    # offset, size, flags
INFLIGHT = struct.Struct('=QQHH4x')     # size, offset, queues, queue size

RING_LOG = 1                            # flag in ADDRESS
NO_FD = 1 << 8                          # flag beside a ring's number
MAX_FDS = 8


class Gone(Exception):
    """The back-end ended the session."""


class Refused(Exception):
    """The back-end answered REPLY_ACK's question with something but 0."""


class FrontEnd:
    """One session with a back-end that listens at @path."""

    def __init__(self, path=None, sock=None, timeout_s=WAIT_S):
        if sock is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
        sock.settimeout(timeout_s)
        self.sock = sock
        self.features = 0
        self.protocol = 0
        self.rings = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Leave without a word, as a VMM that was killed does."""
        self.sock.close()
        self.close_rings()

    def close_rings(self):
        for ring in self.rings.values():
            ring.close()
        self.rings = {}

    # --- Messages ------------------------------------------------------------

    def send(self, request, payload=b'', fds=(), flags=VERSION, size=None):
        size = len(payload) if size is None else size
        self.send_bytes(HEADER.pack(request, flags, size) + payload, fds)

    def send_bytes(self, data, fds=()):
        try:
            if fds:
                rights = array.array('i', fds)
                sent = self.sock.sendmsg(
                    [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                data = data[sent:]
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone('while it was written to') from error

    def receive(self):
        """The next message: request, flags, payload, descriptors."""
        header, fds = self.read(HEADER.size)
        request, flags, size = HEADER.unpack(header)
        payload, more = self.read(size)
        return request, flags, payload, fds + more

    def read(self, size):
        data, fds = b'', []
        while len(data) < size:
            try:
                piece, rights, _, _ = socket.recv_fds(
                    self.sock, size - len(data), MAX_FDS)
            except ConnectionResetError as error:
                raise Gone('reset') from error
            fds += rights
            if not piece:
                raise Gone(f'after {len(data)} of {size} bytes')
            data += piece
        return data, fds

    def ask(self, request, payload=b'', fds=(), flags=VERSION):
        """A message that has an answer of its own."""
        self.send(request, payload, fds, flags)
        return self.answer(request)

    def answer(self, request):
        got, flags, payload, fds = self.receive()
        if got != request or flags & ~NEED_REPLY != VERSION | REPLY:
            raise AssertionError(f'request {request} was answered by '
                                 f'{got}, flags {flags:#x}')
        self.received_fds = fds
        return payload

    def command(self, request, payload=b'', fds=()):
        """A message without an answer; with REPLY_ACK, see that it worked."""
        if not self.protocol & REPLY_ACK:
            self.send(request, payload, fds)
            return
        reply = self.ask(request, payload, fds, VERSION | NEED_REPLY)
        status, = U64.unpack(reply)
        if status:
            raise Refused(f'request {request}: {status}')

    def sync(self):
        """Return when the back-end has read all that was sent."""
        self.ask(GET_FEATURES)

    def catch_up(self):
        """The same, whatever answers may come before."""
        self.send(GET_FEATURES)
        while self.receive()[0] != GET_FEATURES:
            pass

    def is_gone(self, timeout_s=WAIT_S):
        """Whether the back-end ends the session within @timeout_s."""
        end = time.monotonic() + timeout_s
        while True:
            left = max(0, end - time.monotonic())
            if not readable(self.sock, left):
                return False
            try:
                if not self.sock.recv(65536):
                    return True
            except ConnectionResetError:
                return True

    # --- What a VMM does when it starts --------------------------------------

    def get_u64(self, request):
        return U64.unpack(self.ask(request))[0]

    def negotiate(self, features=None, protocol=None, without=0):
        """Take what is offered, or of it what the caller names."""
        offered = self.get_u64(GET_FEATURES)
        self.offered = offered
        self.features = offered if features is None else offered & features
        self.features &= ~(without | F_LOG_ALL)
        if offered & F_PROTOCOL_FEATURES:
            self.offered_protocol = self.get_u64(GET_PROTOCOL_FEATURES)
            wanted = self.offered_protocol
            if protocol is not None:
                wanted &= protocol
            self.send(SET_PROTOCOL_FEATURES, U64.pack(wanted))
            self.protocol = wanted
        self.command(SET_OWNER)
        return self

    def set_features(self, features=None):
        if features is not None:
            self.features = features
        self.command(SET_FEATURES, U64.pack(self.features))

    def get_config(self, offset=0, size=8):
        head = CONFIG_SPACE.pack(offset, size, 0)
        reply = self.ask(GET_CONFIG, head + bytes(size))
        return reply[CONFIG_SPACE.size:]

    def share(self, regions, slots=None):
        """Tell where guest memory is; @slots: one message a region."""
        if slots is None:
            slots = bool(self.protocol & CONFIGURE_MEM_SLOTS)
        if slots:
            for region in regions:
                self.add_region(region)
            return
        payload = struct.pack('=II', len(regions), 0)
        payload += b''.join(region.describe() for region in regions)
        self.command(SET_MEM_TABLE, payload, [r.fd for r in regions])

    def add_region(self, region):
        self.command(ADD_MEM_REG, bytes(8) + region.describe(), [region.fd])

    def remove_region(self, region):
        self.command(REM_MEM_REG, bytes(8) + region.describe())

    def get_inflight(self, queues, size):
        """Returns (descriptor, its size, offset in it)."""
        reply = self.ask(GET_INFLIGHT_FD, INFLIGHT.pack(0, 0, queues, size))
        length, offset, _, _ = INFLIGHT.unpack(reply)
        return self.received_fds[0], length, offset

    def set_inflight(self, area, queues, size):
        fd, length, offset = area
        self.command(SET_INFLIGHT_FD,
                     INFLIGHT.pack(length, offset, queues, size), [fd])

    def set_log(self, fd, size, offset=0):
        return self.ask(SET_LOG_BASE, LOG.pack(size, offset), [fd])

    # --- Rings ---------------------------------------------------------------

    def start_ring(self, index, ring, base=0, flags=0, log=0):
        """In the order in which QEMU sends them."""
        self.rings[index] = ring
        self.command(SET_VRING_NUM, STATE.pack(index, ring.size))
        self.command(SET_VRING_BASE, STATE.pack(index, base))
        self.set_ring_address(index, ring, flags, log)
        self.command(SET_VRING_KICK, U64.pack(index), [ring.kick_fd])
        self.command(SET_VRING_CALL, U64.pack(index), [ring.call_fd])

    def set_ring_address(self, index, ring, flags=0, log=0):
        user = ring.region.user_address
        self.command(SET_VRING_ADDR, ADDRESS.pack(
            index, flags, user(ring.desc), user(ring.used), user(ring.avail),
            log))

    def enable_ring(self, index, on=True):
        if self.features & F_PROTOCOL_FEATURES:
            self.command(SET_VRING_ENABLE, STATE.pack(index, on))

    def stop_ring(self, index):
        """Returns where the back-end was in the available ring."""
        reply = self.ask(GET_VRING_BASE, STATE.pack(index, 0))
        return STATE.unpack(reply)[1]


def eventfd(value=0):
    return os.eventfd(value, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def readable(file, timeout_s):
    """Whether there is something to read within @timeout_s."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(max(0, timeout_s) * 1000))
