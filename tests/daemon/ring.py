# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guest memory and the driver's side of a split virtqueue (virtio 1.x, 2.7).

import mmap
import os
import struct
import threading
import time

from frontend import REGION, eventfd, readable
from tap import WAIT_S, check

DESC = struct.Struct('<QIHH')           # address, length, flags, next
NEXT, WRITE, INDIRECT = 1, 2, 4

PAGE = 4096


class Region:
    """A piece of guest memory.

    The guest's addresses and the front-end's are different on purpose, as is
    the place in the file: who takes one for the other is caught.
    """

    def __init__(self, size=8 << 20, guest=1 << 20, user=0x7e0000000000,
                 offset=0):
        self.size, self.guest, self.user, self.offset = \
            size, guest, user, offset
        self.fd = os.memfd_create('guest', os.MFD_CLOEXEC)
        os.ftruncate(self.fd, offset + size)
        self.map = mmap.mmap(self.fd, offset + size)
        self.view = memoryview(self.map)[offset:]
        self.used = 0

    def __del__(self):
        os.close(self.fd)

    def describe(self):
        return REGION.pack(self.guest, self.size, self.user, self.offset)

    def user_address(self, guest):
        return guest - self.guest + self.user

    def alloc(self, size, align=PAGE):
        """Returns a guest address that nobody else got."""
        start = (self.used + align - 1) // align * align
        if start + size > self.size:
            raise AssertionError('guest memory is used up')
        self.used = start + size
        return self.guest + start

    def write(self, guest, data):
        at = guest - self.guest
        self.view[at:at + len(data)] = data

    def read(self, guest, size):
        at = guest - self.guest
        return bytes(self.view[at:at + size])

    def words(self, guest, size, form):
        at = guest - self.guest
        return self.view[at:at + size].cast(form)


class Ring:
    """A split virtqueue as the driver sees it, with EVENT_IDX."""

    patience_s = WAIT_S                 # with a call that has to come

    def __init__(self, region, size=256, event_idx=True, first=0,
                 aligned=PAGE):
        self.region = region
        self.size = size
        self.event_idx = event_idx
        self.desc = region.alloc(16 * size, aligned)
        self.avail = region.alloc(6 + 2 * size, aligned)
        self.used = region.alloc(6 + 8 * size, aligned)
        self.avail_words = region.words(self.avail, 6 + 2 * size, 'H')
        self.used_words = region.words(self.used, 6 + 8 * size, 'H')
        self.kick_fd = eventfd()
        self.call_fd = eventfd()
        self.fence = threading.Lock()
        self.free = list(range(size - 1, -1, -1))
        self.chains = {}                # head -> its descriptors
        self.next_avail = first         # idx that is published
        self.kicked_at = first          # idx at the last look at avail_event
        self.next_used = first          # idx up to which was looked
        self.avail_words[1] = self.used_words[1] = first

    def close(self):
        for fd in self.kick_fd, self.call_fd:
            os.close(fd)

    def again(self):
        """New eventfds, as for a new session; the memory stays as it is."""
        self.kick_fd = eventfd()
        self.call_fd = eventfd()
        return self

    # --- To the device -------------------------------------------------------

    def write_desc(self, index, address, length, flags, following=0):
        self.region.write(self.desc + 16 * index, DESC.pack(
            address, length, flags, following))

    def add(self, segments):
        """Publish a chain of (address, length, writable); returns its head."""
        chain = [self.free.pop() for _ in segments]
        for place, (address, length, writable) in enumerate(segments):
            last = place == len(segments) - 1
            self.write_desc(chain[place], address, length,
                            (WRITE if writable else 0) | (0 if last else NEXT),
                            0 if last else chain[place + 1])
        self.chains[chain[0]] = chain
        self.publish(chain[0])
        return chain[0]

    def publish(self, head):
        self.avail_words[2 + self.next_avail % self.size] = head
        self.set_avail_idx(self.next_avail + 1)

    def set_avail_idx(self, idx):
        self.next_avail = idx & 0xffff
        self.avail_words[1] = self.next_avail

    def kick(self):
        """Tell the device, if it wants to be told."""
        with self.fence:
            pass                        # the index before the event
        if self.wants_kick():
            self.force_kick()

    def wants_kick(self):
        old, self.kicked_at = self.kicked_at, self.next_avail
        if not self.event_idx:
            return not self.used_words[0] & 1
        event = self.used_words[2 + 4 * self.size]
        return (self.next_avail - event - 1) & 0xffff < \
            (self.next_avail - old) & 0xffff

    def force_kick(self):
        os.eventfd_write(self.kick_fd, 1)

    # --- From the device -----------------------------------------------------

    def used_idx(self):
        return self.used_words[1]

    def pop_used(self):
        """The next (head, length) that the device gave back, or None."""
        if self.used_words[1] == self.next_used:
            return None
        at = 2 + 4 * (self.next_used % self.size)
        head = self.used_words[at] | self.used_words[at + 1] << 16
        length = self.used_words[at + 2] | self.used_words[at + 3] << 16
        if head not in self.chains:
            raise AssertionError(f'chain {head} was given back, and the '
                                 'device had it not')
        self.next_used = (self.next_used + 1) & 0xffff
        self.free += reversed(self.chains.pop(head))
        return head, length

    def wait_used(self, timeout_s):
        """Wait for the device's call; whether there is a used chain.

        A call may come for nothing, but no used chain may come without.
        """
        end = time.monotonic() + timeout_s
        self.avail_words[2 + self.size] = self.next_used
        with self.fence:
            pass                        # the event before the index
        while self.used_words[1] == self.next_used:
            if not readable(self.call_fd, end - time.monotonic()):
                break
            self.clear_call()
        else:
            self.clear_call()
            return True
        if self.used_words[1] == self.next_used:
            return False
        check(readable(self.call_fd, self.patience_s),
              'there are used chains, and the device did not call')
        self.clear_call()
        return True

    def clear_call(self):
        try:
            os.eventfd_read(self.call_fd)
        except BlockingIOError:
            pass
