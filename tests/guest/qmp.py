# SPDX-License-Identifier: GPL-2.0-or-later
#
# A QMP client for one QEMU: commands and events in turn, no thread.

import json
import socket
import time

from tap import WAIT_S


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, sock):
        self.sock = sock
        self.buffer = b''
        self.events = []
        self._receive(WAIT_S)
        self.command('qmp_capabilities')

    def close(self):
        self.sock.close()

    def _receive(self, timeout_s):
        """The next message, whatever it is."""
        end = time.monotonic() + timeout_s
        while b'\n' not in self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('QMP: no message in time')
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(65536)
            except socket.timeout:
                continue
            if not piece:
                raise QmpError('QEMU closed QMP')
            self.buffer += piece
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def command(self, name, timeout_s=WAIT_S, fd=None, **arguments):
        """Run a command, with the descriptor @fd beside it."""
        message = {'execute': name}
        if arguments:
            message['arguments'] = {key.replace('_', '-'): value
                                    for key, value in arguments.items()}
        line = json.dumps(message).encode() + b'\n'
        if fd is None:
            self.sock.sendall(line)
        else:
            socket.send_fds(self.sock, [line], [fd])
        while True:
            answer = self._receive(timeout_s)
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise QmpError(f'{name}: {answer["error"]["desc"]}')
            else:
                return answer['return']

    def human(self, line, timeout_s=WAIT_S):
        """A command of the human monitor; what it prints is an error."""
        text = self.command('human-monitor-command', timeout_s,
                            command_line=line)
        if text.strip():
            raise QmpError(f'{line}: {text.strip()}')

    def wait_event(self, name, timeout_s=WAIT_S):
        """Wait for an event, the first of that name not taken yet."""
        end = time.monotonic() + timeout_s
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event.get('data', {})
            answer = self._receive(max(end - time.monotonic(), 0))
            if 'event' in answer:
                self.events.append(answer)

    def drop_events(self, name):
        self.command('query-status')
        self.events = [e for e in self.events if e['event'] != name]
