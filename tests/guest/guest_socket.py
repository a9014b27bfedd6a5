# SPDX-License-Identifier: GPL-2.0-or-later
#
# A socket of the guest, with the calls that a case makes on it.

import select
import socket
import struct

from ends import pairs
from vm import KINDS, STREAM

SIOCINQ = 0x541b
SIOCOUTQ = 0x5411
SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000
BUFFER_SIZE = socket.SO_VM_SOCKETS_BUFFER_SIZE
BUFFER_MAX_SIZE = socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE
# The pattern that calls send and compare with, unless told otherwise.
SEED = 1


class GuestSocket:
    """The one in @slot.  Calls that fail raise GuestError."""

    def __init__(self, vm, slot, kind=None):
        self.agent = vm.agent
        self.slot = slot
        if kind is not None:
            self.agent.call('socket', slot, KINDS[kind])

    def start(self, verb, *args):
        return self.agent.start(verb, self.slot, *args)

    def call(self, verb, *args):
        return self.start(verb, *args).wait()

    def start_send(self, count, flags=socket.MSG_NOSIGNAL, at=0, seed=SEED):
        """One sendmsg() of @count bytes of the pattern from @at."""
        return self.start('sendmsg', seed, at, count, flags)

    def start_recv(self, size, flags=0, at=0, seed=SEED):
        """One recvmsg(), compared with the pattern from @at."""
        return self.start('recvmsg', seed, at, size, flags)

    def send(self, count, *args, **kwargs):
        """Returns how many bytes the call took."""
        return int(self.start_send(count, *args, **kwargs).wait()['count'])

    def recv(self, size, *args, **kwargs):
        """Returns how many bytes came; they must be the pattern's."""
        fields = self.start_recv(size, *args, **kwargs).wait()
        count, same = int(fields['count']), int(fields['same'])
        if same != min(count, size):
            raise AssertionError(f'byte {same} of {count} is wrong')
        return count

    def set(self, level, name, value):
        """@value: a number (int), or the bytes of the option."""
        if isinstance(value, int):
            value = struct.pack('i', value)
        self.call('setopt', level, name, value.hex())

    def set_buffer(self, size):
        """How many bytes the guest holds for the program."""
        for name in BUFFER_MAX_SIZE, BUFFER_SIZE:
            self.set(socket.AF_VSOCK, name, struct.pack('Q', size))

    def get(self, level, name):
        return int(self.call('getopt', level, name)['value'])

    def ioctl(self, request):
        return int(self.call('ioctl', request)['value'])

    def poll(self, timeout_ms, events=select.POLLIN):
        """The events that came; 0 when the time was up."""
        return int(self.call('poll', events, timeout_ms)['events'])

    def close(self):
        """Returns how long that took, in milliseconds."""
        return int(self.call('close')['ms'])


def guest_pairs(lab, vm, kind=STREAM):
    """As pairs() of ends.py, with GuestSocket for the guest's ends."""
    return [(GuestSocket(vm, slot), host)
            for slot, host in pairs(lab, vm, kind)]


def expect_no_complaint(vm):
    """The guest's kernel must not have warned of itself."""
    text = vm.agent.shell('dmesg | grep -E "WARNING:|BUG:|Oops|refcount_t|'
                          'general protection|possible deadlock|'
                          'INFO: task" || true')
    if text:
        raise AssertionError(f'the guest\'s kernel: {text}')
