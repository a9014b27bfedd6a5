# SPDX-License-Identifier: GPL-2.0-or-later
#
# The vhost-user daemon, as a process that cases start, look at and end.

import contextlib
import os
import signal
import subprocess

from process import Process, prepare_child
from tap import WAIT_S, until

END_TIMEOUT_S = WAIT_S
NOBODY = 65534


class Guest:
    """What the daemon is told of one guest."""

    def __init__(self, cid, socket, uds_path, given_path=True):
        self.cid = cid
        self.socket = socket
        self.uds_path = uds_path
        self.words = {'guest-cid': cid, 'socket': socket}
        if given_path:
            self.words['uds-path'] = uds_path

    def options(self):
        return [f'--{name}={value}' for name, value in self.words.items()]

    def vm_option(self):
        return ['--vm', ','.join(f'{name}={value}'
                                 for name, value in self.words.items())]


class Daemon(Process):
    """@guests: whom it serves.  Its messages go to a file in @folder."""

    def __init__(self, lab, guests, folder, args=(), max_fds=None, user=None,
                 by_vm=False):
        super().__init__()
        self.lab = lab
        self.guests = list(guests)
        self.args = list(args)
        self.max_fds = max_fds
        self.user = user
        self.by_vm = by_vm or len(self.guests) != 1
        self.log = os.path.join(folder, 'daemon')
        lab.daemons.append(self)

    def argv(self):
        argv = []
        if self.user is not None:
            argv = ['setpriv', f'--reuid={self.user}', f'--regid={self.user}',
                    '--clear-groups']
        argv.append(self.lab.daemon)
        for guest in self.guests:
            argv += guest.vm_option() if self.by_vm else guest.options()
        return argv + self.args

    def start(self):
        """Start it; its sockets are there on return."""
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: prepare_child(self.max_fds))
        until(self._is_up, 'the daemon makes its sockets')
        return self

    def _is_up(self):
        if not self.is_alive():
            raise AssertionError(f'the daemon ended with '
                                 f'{self.process.returncode}: {self.said()}')
        return all(is_listening(path) for guest in self.guests
                   for path in (guest.socket, guest.uds_path))

    def said(self):
        """Its messages."""
        with open(self.log, encoding='utf-8', errors='replace') as log:
            return log.read()

    def describe(self):
        return (f'the daemon: {self.state()}\n'
                f'--- its messages:\n{self.said()[-3000:]}')

    def terminate(self):
        """SIGTERM; returns its exit code."""
        self.process.terminate()
        return self.process.wait(END_TIMEOUT_S)

    def end(self):
        """End it in an orderly way, if it runs; sanitizers have a say."""
        if self.is_alive():
            code = self.terminate()
            if code not in (0, -signal.SIGTERM):
                raise AssertionError(f'the daemon ended with {code}: '
                                     f'{self.said()}')

    # --- What it takes -------------------------------------------------------

    def memory_kb(self):
        """Memory of its own: not files, not the guest's."""
        with open(f'/proc/{self.pid}/status', encoding='ascii') as file:
            for line in file:
                if line.startswith('RssAnon:'):
                    return int(line.split()[1])
        raise AssertionError('no RssAnon')


def is_listening(path):
    """Whether a socket listens there.  A connection would disturb it."""
    with contextlib.suppress(FileNotFoundError):
        with open('/proc/net/unix', encoding='utf-8',
                  errors='replace') as file:
            return any(line.rstrip('\n').endswith(' ' + path) and
                       line.split()[3] == '00010000' for line in file)
    return False
