# SPDX-License-Identifier: GPL-2.0-or-later
#
# The host's end of the line to the agent in the guest (agent.c).

import queue
import threading

from tap import WAIT_S


class GuestError(Exception):
    """A request failed in the guest: @name is the errno's."""

    def __init__(self, request, name, fields):
        super().__init__(f'{request}: {name} {fields}')
        self.name = name
        self.fields = fields


class Lost(Exception):
    """The line to the agent is gone, so QEMU is."""


class Pending:
    """A request that was sent; wait() gives its report."""

    def __init__(self, number, request):
        self.id = str(number)
        self.request = request
        self.reports = queue.Queue()

    def is_done(self):
        return not self.reports.empty()

    def wait(self, timeout_s=WAIT_S):
        try:
            report = self.reports.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f'guest: no answer to "{self.request}" in '
                               f'{timeout_s} s') from None
        self.reports.put(report)
        if report is None:
            raise Lost(self.request)
        status, fields = report
        if status != 'ok':
            raise GuestError(self.request, status, fields)
        return fields

    def failure(self, timeout_s=WAIT_S):
        """Wait for the request to fail; returns the GuestError."""
        try:
            fields = self.wait(timeout_s)
        except GuestError as error:
            return error
        raise AssertionError(f'"{self.request}" did not fail: {fields}')

    def error(self, timeout_s=WAIT_S):
        """Wait for the request to fail; returns the errno's name."""
        return self.failure(timeout_s).name


class Agent:
    def __init__(self, sock):
        self.sock = sock
        self.lock = threading.Lock()
        self.pending = {}
        self.last_id = 0
        self.orphans = {}
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def close(self):
        self.sock.close()

    def _read(self):
        buffer = b''
        while True:
            try:
                piece = self.sock.recv(65536)
            except OSError:
                piece = b''
            if not piece:
                break
            *lines, buffer = (buffer + piece).split(b'\n')
            for line in lines:
                self._take(line.decode(errors='replace').strip('\r\0'))
        with self.lock:
            lost, self.pending = self.pending, None
        self.orphans = lost
        for request in lost.values():
            request.reports.put(None)

    def _take(self, line):
        if line.endswith('ready'):
            self.ready.set()
            return
        words = line.split()
        with self.lock:
            request = self.pending.pop(words[0], None) if words else None
        if request is None:
            return
        fields = {}
        status = words[1]
        if status == 'error':
            status = words[2]
        for word in words[2:]:
            name, equals, value = word.partition('=')
            if equals:
                fields[name] = value
        request.reports.put((status, fields))

    def start(self, verb, *args):
        """Send a request and do not wait for its end."""
        text = ' '.join([verb, *map(str, args)])
        with self.lock:
            if self.pending is None:
                raise Lost(text)
            self.last_id += 1
            request = Pending(self.last_id, text)
            self.pending[request.id] = request
            self.sock.sendall(f'{request.id} {text}\n'.encode())
        return request

    def call(self, verb, *args, timeout_s=WAIT_S):
        return self.start(verb, *args).wait(timeout_s)

    def follow(self, old):
        """Take over what @old still waits for.

        The guest was moved to another QEMU, and reports on this line now.
        """
        old.reader.join()
        self.last_id = old.last_id
        self.expect(old.orphans.values())

    def expect(self, requests):
        """Wait, perhaps once more, for the reports of @requests.

        For a guest that is about to be put back to a time before them.
        """
        with self.lock:
            for request in requests:
                request.reports = queue.Queue()
                self.pending[request.id] = request

    def shell(self, command, timeout_s=WAIT_S, check=True):
        """Run a command in the guest; returns what it printed."""
        fields = self.call('run', command + ' 2>&1', timeout_s=timeout_s)
        output = bytes.fromhex(fields['output']).decode(errors='replace')
        if check and fields['status'] != '0':
            raise AssertionError(f'guest: "{command}" exited with '
                                 f'{fields["status"]}: {output}')
        return output
