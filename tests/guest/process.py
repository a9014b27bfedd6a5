# SPDX-License-Identifier: GPL-2.0-or-later
#
# A program that cases run, and what it takes of the machine.

import ctypes
import os
import resource
import signal

_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def prepare_child(max_fds=None):
    """In the child: die with the test, and keep to a limit."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if max_fds:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max_fds, max_fds))


class Process:
    """@process is a subprocess.Popen, or None before the start."""

    def __init__(self):
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def state(self):
        if self.process is None:
            return 'not started'
        code = self.process.poll()
        return 'running' if code is None else f'ended with {code}'

    def kill(self):
        """End it at once, as a crash would."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def cpu_seconds(self):
        """User and system time so far."""
        with open(f'/proc/{self.pid}/stat', encoding='utf-8') as file:
            fields = file.read().rsplit(')', 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def count_fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))
