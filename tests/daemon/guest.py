# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest without a VM: the three virtqueues of a socket device (virtio 1.4,
# 5.10) on a vhost-user session, and the packets on them.

import collections
import dataclasses
import struct
import time

import frontend
from frontend import FrontEnd
from ring import Region, Ring
from tap import WAIT_S, equal

HEADER = struct.Struct('<QQIIIHHIII')
HOST = 2

STREAM, SEQPACKET = 1, 2
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = \
    range(1, 8)
NO_RECEIVE, NO_SEND = 1, 2
EOM = 1
TRANSPORT_RESET = 0

RX, TX, EVENT = range(3)
WINDOW = 256 << 10


@dataclasses.dataclass
class Packet:
    """A packet of the device, or to it; names as in the standard."""
    op: int
    src_port: int
    dst_port: int
    payload: bytes = b''
    type: int = STREAM
    flags: int = 0
    buf_alloc: int = WINDOW
    fwd_cnt: int = 0
    src_cid: int = 0
    dst_cid: int = HOST
    len: int = None

    def header(self):
        length = len(self.payload) if self.len is None else self.len
        return HEADER.pack(self.src_cid, self.dst_cid, self.src_port,
                           self.dst_port, length, self.type, self.op,
                           self.flags, self.buf_alloc, self.fwd_cnt)


def parse(data):
    (src_cid, dst_cid, src_port, dst_port, length, kind, op, flags, buf_alloc,
     fwd_cnt) = HEADER.unpack_from(data)
    payload = data[HEADER.size:]
    equal(len(payload), length, 'payload of a packet')
    return Packet(op, src_port, dst_port, payload, kind, flags, buf_alloc,
                  fwd_cnt, src_cid, dst_cid, length)


class Guest:
    """A driver that has its queues up; by default as Linux does."""

    def __init__(self, path=None, sock=None, cid=3, size=256, queues=3,
                 rx_buffers=None, rx_bytes=4096, regions=None, start=True,
                 first=0, front=None, **negotiation):
        self.cid = cid
        self.front = front or FrontEnd(path, sock).negotiate(**negotiation)
        self.regions = regions or [Region()]
        self.rings = [Ring(self.regions[0], size, bool(
            self.front.features & frontend.F_EVENT_IDX), first)
                      for _ in range(queues)]
        self.rx_bytes = rx_bytes
        self.rx_count = size if rx_buffers is None else rx_buffers
        self.buffers = {}               # head -> address, of the rx queue
        self.spare_tx = []
        self.tx_buffers = {}
        self.inbox = collections.deque()
        self.events = {}                # head -> address, of the event queue
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.front.close()

    def start(self):
        """Queues that nobody used before."""
        self.resume([ring.next_avail for ring in self.rings])
        self.fill()

    def resume(self, bases=None):
        """Queues that another session left as they are in memory."""
        self.front.set_features()
        self.front.share(self.regions)
        self.start_rings(bases or self.used())

    def start_rings(self, bases):
        for index, ring in enumerate(self.rings):
            self.front.start_ring(index, ring, bases[index])
        for index in range(len(self.rings)):
            self.front.enable_ring(index)
        self.front.sync()               # without REPLY_ACK it may take a while

    def used(self):
        """What a VMM takes for the bases when the back-end has died."""
        return [ring.used_idx() for ring in self.rings]

    def stop(self):
        """Stop all queues; returns where they were."""
        return [self.front.stop_ring(i) for i in range(len(self.rings))]

    def again(self, path, **negotiation):
        """The same guest on a new session; its queues have to be resumed."""
        self.front.close()
        self.front = FrontEnd(path).negotiate(**negotiation)
        for ring in self.rings:
            ring.again()
        return self

    # --- Queues --------------------------------------------------------------

    def fill(self):
        """Post what the receive and event queues can take."""
        for _ in range(self.rx_count):
            self.post(self.regions[0].alloc(self.rx_bytes, 64))
        self.rings[RX].kick()
        if len(self.rings) > EVENT:
            for _ in range(min(8, self.rings[EVENT].size)):
                self.post_event(self.regions[0].alloc(64, 64))
            self.rings[EVENT].kick()

    def post(self, address):
        head = self.rings[RX].add([(address, self.rx_bytes, True)])
        self.buffers[head] = address

    def send(self, op, src_port=0, dst_port=0, payload=b'', kick=True,
             **fields):
        """Send a packet, header and payload in a descriptor each."""
        fields.setdefault('src_cid', self.cid)
        packet = Packet(op, src_port, dst_port, payload, **fields)
        self.reclaim()
        room = 64 + len(payload)
        size, address = next(
            (s for s in self.spare_tx if s[0] >= room), (None, None))
        if address is None:
            size = max(4096, room)
            address = self.regions[0].alloc(size, 64)
        else:
            self.spare_tx.remove((size, address))
        self.regions[0].write(address, packet.header())
        segments = [(address, HEADER.size, False)]
        if payload:
            self.regions[0].write(address + 64, payload)
            segments.append((address + 64, len(payload), False))
        self.make_room(len(segments))
        head = self.rings[TX].add(segments)
        self.tx_buffers[head] = (size, address)
        if kick:
            self.rings[TX].kick()

    def make_room(self, count, timeout_s=WAIT_S):
        end = time.monotonic() + timeout_s
        while len(self.rings[TX].free) < count:
            self.rings[TX].wait_used(max(0, end - time.monotonic()))
            self.reclaim()
            if time.monotonic() > end:
                raise AssertionError('the device gives no tx chain back')

    def reclaim(self):
        while True:
            used = self.rings[TX].pop_used()
            if not used:
                return
            if used[0] in self.tx_buffers:
                self.spare_tx.append(self.tx_buffers.pop(used[0]))

    def tx_done(self, timeout_s=WAIT_S):
        """Wait until every tx chain was given back."""
        end = time.monotonic() + timeout_s
        while self.rings[TX].chains:
            self.rings[TX].wait_used(max(0, end - time.monotonic()))
            self.reclaim()
            if time.monotonic() > end:
                raise AssertionError('not every tx chain was given back: '
                                     f'{len(self.rings[TX].chains)} are left')

    def collect(self):
        """Put what the device has delivered into the inbox."""
        ring, any_used = self.rings[RX], False
        while True:
            used = ring.pop_used()
            if not used:
                break
            any_used = True
            head, length = used
            address = self.buffers.pop(head)
            self.inbox.append(parse(self.regions[0].read(address, length)))
            self.post(address)
        if any_used:
            ring.kick()

    def receive(self, *ops, flow=None, timeout_s=WAIT_S):
        """The next packet, of @flow if given; one of @ops, if any."""
        packet = self.poll(flow, timeout_s)
        if packet is None:
            raise AssertionError(f'no packet within {timeout_s} s')
        if ops and packet.op not in ops:
            raise AssertionError(f'got op {packet.op}, want one of {ops}: '
                                 f'{packet}')
        return packet

    def poll(self, flow=None, timeout_s=0):
        """The next packet, or None when there is none in time."""
        end = time.monotonic() + timeout_s
        while True:
            self.collect()
            for packet in self.inbox:
                if flow is None or flow.owns(packet):
                    self.inbox.remove(packet)
                    return packet
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.rings[RX].wait_used(left)

    def event(self, timeout_s=WAIT_S):
        """The next event; None if none comes.  Its buffer is posted again."""
        ring = self.rings[EVENT]
        ring.wait_used(timeout_s)
        used = ring.pop_used()
        if not used:
            return None
        head, length = used
        equal(length, 4, 'length of an event')
        address = self.events.pop(head)
        event, = struct.unpack('<I', self.regions[0].read(address, 4))
        self.post_event(address)
        ring.kick()
        return event

    def post_event(self, address):
        self.events[self.rings[EVENT].add([(address, 4, True)])] = address

    # --- Connections ---------------------------------------------------------

    def connect(self, host_port, port=40000, type=STREAM):
        """Connect to the host's @host_port; the reply must be RESPONSE."""
        flow = Flow(self, port, host_port, type)
        flow.send(REQUEST)
        flow.receive(RESPONSE)
        return flow

    def accept(self, port, timeout_s=WAIT_S):
        """Take the next connection of a host program to @port."""
        packet = self.receive(REQUEST, timeout_s=timeout_s)
        equal(packet.dst_port, port, 'port')
        return self.answer(packet)

    def answer(self, packet):
        flow = Flow(self, packet.dst_port, packet.src_port, packet.type)
        flow.heard(packet)
        flow.send(RESPONSE)
        return flow


class Flow:
    """The guest's end of a connection."""

    def __init__(self, guest, port, host_port, type=STREAM):
        self.guest, self.port, self.host_port, self.type = \
            guest, port, host_port, type
        self.sent = self.taken = 0              # bytes to the host, from it
        self.window = self.forwarded = 0        # what the device told
        self.told = 0                           # of taken, to the device
        self.early = b''

    def owns(self, packet):
        return (packet.dst_port, packet.src_port) == \
            (self.port, self.host_port)

    def send(self, op, payload=b'', **fields):
        fields.setdefault('fwd_cnt', self.taken & 0xffffffff)
        self.guest.send(op, self.port, self.host_port, payload,
                        type=self.type, **fields)

    def heard(self, packet):
        self.window, self.forwarded = packet.buf_alloc, packet.fwd_cnt

    def receive(self, *ops, timeout_s=WAIT_S):
        packet = self.guest.receive(*ops, flow=self, timeout_s=timeout_s)
        self.heard(packet)
        return packet

    def room(self):
        return self.window - ((self.sent - self.forwarded) & 0xffffffff)

    def write(self, data, timeout_s=WAIT_S):
        """Send @data, within the window; what comes in is kept."""
        while data:
            if self.room() <= 0:
                packet = self.receive(timeout_s=timeout_s)
                if packet.op == RW:
                    self.early += packet.payload
                    self.taken += len(packet.payload)
                continue
            piece = data[:min(self.room(), 65536)]
            self.send(RW, piece)
            self.sent += len(piece)
            data = data[len(piece):]

    def read(self, size, timeout_s=WAIT_S):
        """Exactly @size bytes of the host program."""
        data, self.early = self.early, b''
        while len(data) < size:
            packet = self.receive(RW, CREDIT_UPDATE, CREDIT_REQUEST,
                                  timeout_s=timeout_s)
            data += packet.payload
            self.taken += len(packet.payload)
            if packet.op == CREDIT_REQUEST or \
                    self.taken - self.told > WINDOW // 2:
                self.send(CREDIT_UPDATE)
                self.told = self.taken
        data, self.early = data[:size], data[size:]
        return data

    def close(self):
        """End it cleanly from the guest's side."""
        self.send(SHUTDOWN, flags=NO_RECEIVE | NO_SEND)
        while self.receive().op != RST:
            pass
