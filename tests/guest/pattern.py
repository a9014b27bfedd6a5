# SPDX-License-Identifier: GPL-2.0-or-later
#
# Test data of which each byte is known from a seed and its place; the guest's
# agent makes the same bytes (pattern.c).

import hashlib
import struct
import threading

BLOCK_SIZE = 1024 * 1024
_MASK = (1 << 64) - 1
_bases = {}


def _base(seed):
    """A block's words after the first."""
    if seed not in _bases:
        words = []
        state = seed
        for _ in range(BLOCK_SIZE // 8):
            state = (state + 0x9e3779b97f4a7c15) & _MASK
            z = state
            z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & _MASK
            z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & _MASK
            words.append(z ^ (z >> 31))
        _bases[seed] = struct.pack(f'<{len(words)}Q', *words)[8:]
    return _bases[seed]


def blocks(seed, count):
    """The first @count bytes, in pieces."""
    base = _base(seed)
    for number in range(-(-count // BLOCK_SIZE)):
        block = struct.pack('<Q', number) + base
        yield block[:count - number * BLOCK_SIZE]


def data(seed, count):
    return b''.join(blocks(seed, count))


def digest(seed, count):
    state = hashlib.sha256()
    for block in blocks(seed, count):
        state.update(block)
    return state.hexdigest()


def messages(seed, count, max_size):
    """What the agent's sendmany sends."""
    block = data(seed, BLOCK_SIZE)
    for word in struct.unpack_from(f'<{count}Q', block, 8):
        yield block[:1 + word % max_size]


def send(sock, seed, count):
    for block in blocks(seed, count):
        sock.sendall(block)


def receive(sock, seed, count):
    """Read @count bytes; fail unless they are the pattern's, by SHA-256."""
    want = []
    job = threading.Thread(target=lambda: want.append(digest(seed, count)))
    job.start()
    state = hashlib.sha256()
    left = count
    while left:
        piece = sock.recv(min(left, 1 << 20))
        if not piece:
            break
        state.update(piece)
        left -= len(piece)
    job.join()
    if left:
        raise AssertionError(f'end of file {left} bytes before {count}')
    if state.hexdigest() != want[0]:
        raise AssertionError(f'{count} bytes came, with the wrong hash')
    return state.hexdigest()
