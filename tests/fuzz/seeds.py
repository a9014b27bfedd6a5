#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes inputs of the targets `device` and `mux`.

usage: seeds.py TARGET FOLDER

One is made of each packet script of tests/qtest: what its guest sends and its
host programs do, in the same order, in the numbers that fuzz-device.c and
guest-packets.c read.  What a script expects is left out; the model knows.
Others are flows at work, with random steps.
"""

import os
import random
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'scripts'))
sys.dont_write_bytecode = True
from packet_scripts import DATA, load_scripts  # noqa: E402

# Steps, as in guest_step(), embedder_step() and host_step().
HONEST, WRONG, RAW, REPEAT, OFFER, BUFFERS = 1, 13, 18, 19, 20, 21
EVENT, LATE, KICK_TX, DISPATCH, SETTLE, PASS, DRIVER, PAUSE, RESET = \
    22, 23, 25, 28, 29, 32, 33, 34, 35
END_FLOWS, BREAK, HEAL, CONNECT, WRITE, WRITE_MUCH, READ, READ_ALL, SHUTDOWN, CLOSE = \
    36, 37, 38, 39, 42, 44, 47, 48, 50, 51
LISTEN, UNLISTEN, ACCEPT, URGENT = 53, 54, 55, 59

with open(os.path.join(TOP, 'subprojects', 'libvsock-device', 'tests',
                       'fault.h'), encoding='utf-8') as header:
    # That can fail, in their order.
    CALLS = re.findall(r'(?m)^    X\((\w+), ', header.read())
FAILURES = 18  # ways in which they do: see transport_break()

# Of the config: no listeners and buffers; nothing else unusual.
BARE = [64, 0]

OPS = {'REQUEST': 0, 'RESPONSE': 2, 'RST': 4, 'SHUTDOWN': 5, 'RW': 7,
       'CREDIT_UPDATE': 12, 'CREDIT_REQUEST': 14}
CLIENT, NOBODY = 4, 7  # whom, beside the listeners 0 to 3
SHUT = {'SHUT_RD': 0, 'SHUT_WR': 1, 'SHUT_RDWR': 2}


def length(payload):
    """Bytes of a payload as scripts write it."""
    text = str(payload)
    found = re.match(r'pattern:(\w+)', text)
    if not found:
        return len(text)
    return int(found.group(1)) if found.group(1).isdigit() else 262144


def size_byte(n):
    """See length_of() of guest-packets.c."""
    if n < 64:
        return n
    if n < 4096:
        return 64 + n // 64
    return 128 + min(n // 1024, 63) if n < 65536 else 192


class Input:
    """The bytes of one input, and who is who in it."""

    def __init__(self):
        self.bytes = BARE + [BUFFERS, BUFFERS]
        self.guest_ports = []
        self.listeners = {}   # host port to index
        self.types = {}       # index to 'is of seqpacket'
        self.slots = {}       # name of a socket to the program's place

    def add(self, *numbers):
        self.bytes += [number & 255 for number in numbers]

    def slot(self, name):
        """Programs take the first place that is free."""
        if name not in self.slots:
            taken = set(self.slots.values())
            self.slots[name] = min(set(range(12)) - taken, default=11)
        return self.slots[name]

    def guest_port(self, number):
        if number not in self.guest_ports:
            self.guest_ports.append(number)
        return self.guest_ports.index(number) & 3

    def packet(self, hdr, payload):
        """The three bytes of make_packet()."""
        op = OPS.get(str(hdr.get('op')).replace('VIRTIO_VSOCK_OP_', ''), 15)
        whom = self.listeners.get(hdr.get('dst_port'))
        if whom is None:
            whom = CLIENT if not str(hdr.get('dst_port')).isdigit() else NOBODY
        seqpacket = 'SEQPACKET' in str(hdr.get('type')) or \
            self.types.get(whom, False)
        end = 'EOM' in str(hdr.get('flags')) or not seqpacket
        size = size_byte(length(payload)) if op == OPS['RW'] else \
            int('BOTH' in str(hdr) or 2)
        return [op | whom << 4 | seqpacket << 7,
                self.guest_port(hdr.get('src_port')) << 4 | (not end) << 6,
                size]


def send(made, step):
    hdr = step['hdr']
    packet = made.packet(hdr, step.get('payload', ''))
    if 'truncate' in step:
        made.add(WRONG, packet[0], packet[1], 15, 0xe0, 20)
    elif 'src_cid' in hdr:
        made.add(WRONG, *packet, 0x07, 0, 99)
    elif 'dst_cid' in hdr:
        made.add(WRONG, *packet, 0x27, 0, 99)
    elif 'buf_alloc' in hdr or 'fwd_cnt' in hdr:
        made.add(WRONG, *packet, 0xf3)
    elif 'repeat' in step:
        made.add(REPEAT, 100 | 3, *packet)
    else:
        shape = 3 if 'split' in step else 0
        made.add(HONEST, packet[0], packet[1] | shape, packet[2])


def socket_step(made, step):
    op, slot = step['op'], made.slot(step['sock_id'])
    if op == 'sock-accept':
        made.add(ACCEPT, made.listeners.get(step['listener'], 0))
    elif op == 'sock-async-connect':
        seqpacket = 'SEQPACKET' in str(step.get('type'))
        made.add(CONNECT, seqpacket << 7, made.guest_port(
            step.get('dst_port', 1)), SETTLE)
        made.add(HONEST, OPS['RESPONSE'] | CLIENT << 4, 0, 0)
    elif op == 'sock-send':
        n = length(step['payload'])
        made.add(*([WRITE, slot, n] if n < 256 else
                   [WRITE_MUCH, slot, n // 1024, 0]))
    elif op == 'sock-recv':
        made.add(READ_ALL, slot)
    elif op == 'sock-shutdown':
        made.add(SHUTDOWN, slot, SHUT.get(step['how'], 2))
    elif op == 'sock-close':
        made.add(CLOSE, slot)
        made.slots.pop(step['sock_id'])


def listen(made, step):
    index = len(made.listeners) & 3
    seqpacket = 'SEQPACKET' in str(step.get('type'))
    made.listeners[step['port']] = index
    made.listeners[step['sock_id']] = index
    made.types[index] = seqpacket
    made.add(LISTEN, index | min(step.get('backlog', 7), 7) << 2 |
             seqpacket << 5)


def from_script(script):
    """What its steps amount to."""
    made = Input()
    for step in script.steps[1:]:
        op = step.get('op')
        if op == 'send':
            send(made, step)
        elif op == 'sock-listen':
            listen(made, step)
        elif op == 'fill-window':
            made.add(REPEAT, 7, *made.packet(
                dict(step['hdr'], op='RW'), 'pattern:4000'))
        elif op in ('receive', 'receive-data', 'expect-none', 'tx-wait'):
            made.add(BUFFERS, SETTLE)
        elif op == 'rx-offer':
            made.add(OFFER, 128 | min(step.get('count', 1), 31), 4)
        elif op in ('device-close', 'device-open'):
            made.add(DRIVER, 0)
        elif op == 'sleep':
            made.add(PASS, step['ms'] // 50)
        elif op == 'migrate':
            made.add(EVENT, 4, PAUSE, 0, PAUSE, RESET, 0)
        elif op == 'qmp':
            made.add(PAUSE, 0)
        elif op and op.startswith('sock-'):
            socket_step(made, step)
    return bytes(made.bytes)


# --- Flows at work -----------------------------------------------------------

def packet_of(rand, flow, op, size):
    whom, port = flow
    seqpacket = whom in (1, 2)
    layout = rand.choice([0, 0, 0, 1, 2, 3, 4, 5, 6])
    return [op | whom << 4 | seqpacket << 7,
            port << 4 | (rand.random() < .3) << 6 | layout, size]


def random_step(rand, flow):
    slot = rand.randrange(12)
    size = rand.choice([0, 1, 5, 40, 70, 100, 130, 150, 190, 192])
    op = rand.choice([OPS['RW']] * 8 + list(OPS.values()))
    return rand.choice([
        [HONEST, *packet_of(rand, flow, op, size)],
        [HONEST, *packet_of(rand, flow, OPS['RW'], size)],
        [REPEAT, rand.choice([101, 103, 111, 7, 3]),
         *packet_of(rand, flow, OPS['RW'], rand.choice([0, 1, 64, 130]))],
        [WRONG, *packet_of(rand, flow, op, size),
         rand.choice([0xe0, 0xe7, 0xe3, 0xe4, 0xff, 0xe8, 0xf2]), 128],
        [READ_ALL, slot], [READ, slot, rand.randrange(256)],
        [WRITE, slot, rand.randrange(256)],
        [WRITE_MUCH, slot, rand.randrange(256), 0],
        [WRITE + 3, slot, rand.randrange(256)],
        [SHUTDOWN, slot, rand.randrange(3)], [CLOSE, slot],
        [OFFER, rand.randrange(256), rand.randrange(16)],
        [BUFFERS], [SETTLE], [DISPATCH], [KICK_TX],
        [PASS, rand.randrange(256)], [ACCEPT, rand.randrange(4)],
        [CONNECT + 2, rand.randrange(256), rand.randrange(256), SETTLE,
         HONEST, OPS['RESPONSE'] | CLIENT << 4, 0, 0],
        [BREAK, rand.randrange(len(CALLS)), rand.randrange(256), rand.randrange(12)],
        [HEAL], [PAUSE, 0], [EVENT, 4], [URGENT, slot], [END_FLOWS, 0], [RESET, rand.randrange(80)],
        [DRIVER, rand.randrange(256)], [RAW, 44] + [0] * 44,
    ])


def at_work(rand):
    made = [rand.choice([0, 0, 0, 2, 8, 16, 32, 40]),
            rand.choice([0, 0, 0, 8, 1, 2])]
    flows = [(rand.choice([0, 1, 2, CLIENT]), rand.randrange(4))
             for _ in range(rand.randint(1, 3))]
    for flow in flows:
        if flow[0] != CLIENT:
            made += [HONEST, *packet_of(rand, flow, 0, 0)]
            made += [ACCEPT, flow[0] | rand.choice([0, 4, 8, 12])]
        else:
            made += [CONNECT, rand.choice([0, 128]), flow[1], SETTLE, HONEST,
                     OPS['RESPONSE'] | CLIENT << 4, 0, 0]
    for _ in range(rand.randint(5, 60)):
        made += random_step(rand, rand.choice(flows))
    return bytes(number & 255 for number in made)


def with_failure(call, how):
    """A little of everything, while one call fails now and then."""
    made = [0, 0, BREAK, call, 1 << 3, how]
    for whom in (0, 1):
        made += [HONEST, OPS['REQUEST'] | whom << 4 | whom << 7, 0, 0]
        made += [ACCEPT, whom | 12]
    made += [CONNECT, 0, 1, SETTLE, HONEST, OPS['RESPONSE'] | CLIENT << 4,
             0, 0]
    for step in ([WRITE, 0, 50], [WRITE, 1, 50], [WRITE, 2, 50]):
        made += [BREAK, call, 0, how] + step + [SETTLE]
    for whom in (0, 1, CLIENT):
        made += [BREAK, call, 0, how]
        made += [HONEST, OPS['RW'] | whom << 4 | (whom == 1) << 7, 0, 190]
        made += [SETTLE, READ_ALL, min(whom, 2), SETTLE]
    return bytes(made + [CLOSE, 0, SETTLE, SHUTDOWN, 1, 1, SETTLE])


def slow_reader(kind):
    """The guest never takes what a program sent that has closed."""
    unread = [0xf8, 0x78 | kind]
    return bytes([0, 2, WRONG, OPS['REQUEST'], 0, 1, unread[1],
                  ACCEPT, 0, WRITE, 0, 40, SETTLE, CLOSE, 0, SETTLE,
                  PASS, 100, SETTLE, PASS, 200, SETTLE,
                  WRONG, OPS['CREDIT_UPDATE'], 0, 1, unread[1],
                  PASS, 200, SETTLE, PASS, 200])


def more(made):
    """Failures, and what seldom comes about."""
    for call in range(len(CALLS)):
        for how in range(FAILURES):
            made['failure-%d-%d' % (call, how)] = with_failure(call, how)
    for kind in range(8):
        made['slow-reader-%d' % kind] = slow_reader(kind)
        made['bad-length-%d' % kind] = bytes([
            0, 0, HONEST, OPS['REQUEST'], 0, 0, ACCEPT, 0,
            WRONG, list(OPS.values())[kind % 7], 0, 1, 0x78, 128, SETTLE])
    for call in range(len(CALLS)):
        for nth in range(6):
            # To make a device fails; see make_device() and break_calls().
            made['unmade-%d-%d' % (call, nth)] = bytes(
                [0, 0x38, 1, call, nth << 3, 5 + nth])
    for flag in (0, 128):
        # Clients that say nothing, more than may wait; then all is over.
        made['silent-%d' % flag] = bytes(
            [6 | flag, 0] + [CONNECT + 2, 5, 0, SETTLE] * 4 +
            [BREAK, 0, 0, 6, CONNECT, 0, 0, DISPATCH, HEAL, PASS, 3, SETTLE])
        # Bytes with a descriptor, and out of band, in between of others.
        made['odd-bytes-%d' % flag] = bytes(
            [flag, 0, HONEST, OPS['REQUEST'], 0, 0, ACCEPT, 0] +
            [WRITE, 0, 50, WRITE + 4, 0, 9, WRITE, 0, 5, URGENT, 0] * 2 +
            [SETTLE, WRITE + 4, 0, 1, SETTLE, WRITE, 0, 2, CLOSE, 0])
    for seqpacket in (0, 128):
        whom = OPS['REQUEST'] | (seqpacket >> 3) | seqpacket
        # More packets to the guest than one call may move.
        made['many-%d' % seqpacket] = bytes(
            [64, 0, LISTEN, (seqpacket >> 7) | 28 | seqpacket >> 2, BUFFERS,
             HONEST, whom, 0, 0, SETTLE, ACCEPT, seqpacket >> 7] +
            [OFFER, 31, 0] * 10 + [WRITE + 3, 0, 255] * 2 + [SETTLE] +
            [OFFER, 31, 3] * 10 + [REPEAT, 127, 14, 0, 0] * 4 + [SETTLE])
    # Events where there is no room, and where there is much.
    made['no-room'] = bytes([0, 0] + [EVENT, 0] * 300 + [RESET, 0, SETTLE])
    made['much-room'] = bytes([0, 0] + [EVENT, 4] * 40 + [RESET, 0, SETTLE] +
                              [HONEST, OPS['REQUEST'], 0, 0, SETTLE])
    for how in range(8):
        # A driver that is late, and says what is not so.
        made['late-%d' % how] = bytes(
            [64, 0, LISTEN, 28, LATE, how << 5 | 3, BUFFERS, HONEST,
             OPS['REQUEST'], 0, 0, SETTLE, LATE, how << 5, HONEST, OPS['RW'],
             0, 9, SETTLE, LATE, how << 5 | 9, SETTLE, DISPATCH])
    made['paused-twice'] = bytes([0, 0, PAUSE, 0, SETTLE, HEAL])
    # For some time the kernel has no memory for what the guest sends.
    for how in (5, 9):
        made['no-memory-%d' % how] = bytes(
            [0, 0, HONEST, OPS['REQUEST'], 0, 0, ACCEPT, 0,
             BREAK, CALLS.index('SENDMSG'), 7, how, HONEST, OPS['RW'], 0, 100] +
            [PASS, 1, SETTLE] * 30 + [HEAL, PASS, 20, SETTLE])
    for how in range(256):
        # Made oddly: see make_device().
        made['odd-%d' % how] = bytes([0, 0x38, how, how * 7 & 255, how * 8 & 255,
                                      how, SETTLE])
    # Messages without bytes that no one reads.
    made['empty'] = bytes([0, 0, HONEST, OPS['REQUEST'] | 0x90, 0, 0,
                           REPEAT, 7, OPS['RW'] | 0x90, 0, 0])


def main():
    folder = sys.argv[2]
    made = {script.name: from_script(script) for script in load_scripts(DATA)}
    for number in range(150):
        made['at-work-%d' % number] = at_work(random.Random(number))
    more(made)
    for name, data in made.items():
        with open(os.path.join(folder, name), 'wb') as f:
            f.write(data[:1024])


main()
