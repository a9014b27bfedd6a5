# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bytes both ways until something ends them, and what a process may keep once
# they are gone.

import threading
import time

import pattern
from ends import pairs
from tap import WAIT_S, Suite, check, until

# More than is sent before the end comes.
ENDLESS = 10 ** 12
ENOUGH = 3 * 1000 * 1000
# With the daemon a reboot ends connections when the guest is up again.
END_S = WAIT_S
# What is left of a load in a process that did the device's work, at most.
KEPT_KB = 1024
REST_S = 1.0
# Of ten milliseconds.
REST_TICKS = 2


class Load:
    """A connection made by each side, with bytes both ways on each."""

    def __init__(self, lab, vm):
        self.counts = {}
        self.ends = {}
        self.jobs = []
        self.reports = []
        for slot, host in pairs(lab, vm):
            host.settimeout(END_S)
            self.reports += [vm.agent.start('send', slot, 1, ENDLESS),
                             vm.agent.start('recv', slot, 1, ENDLESS)]
            for deed in self._read, self._write:
                job = threading.Thread(target=self._run, daemon=True,
                                       args=(deed, slot, host))
                self.jobs.append(job)
                job.start()

    def _run(self, deed, slot, host):
        key = deed.__name__, slot
        self.counts[key] = 0
        try:
            deed(key, host)
            self.ends[key] = 'end of file'
        except OSError as error:
            self.ends[key] = type(error).__name__

    def _read(self, key, host):
        while piece := host.recv(1 << 16):
            self.counts[key] += len(piece)

    def _write(self, key, host):
        for block in pattern.blocks(1, ENDLESS):
            host.sendall(block)
            self.counts[key] += len(block)

    def wait_running(self):
        """Until much has gone each way, on each connection."""
        until(lambda: len(self.counts) == len(self.jobs) and
              min(self.counts.values()) > ENOUGH, 'bytes go each way', 30)

    def expect_host_ends(self):
        """Each host program learns that it is over."""
        for job in self.jobs:
            job.join(END_S)
        check(len(self.ends) == len(self.jobs), f'ends: {self.ends}')
        right = 'end of file', 'ConnectionResetError', 'BrokenPipeError'
        check(all(end in right for end in self.ends.values()),
              f'ends: {self.ends}')


class Rest:
    """What a process has before a load; afterwards it must be back there."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.pid = daemon.pid
        self.fds = daemon.count_fds()
        self.memory_kb = daemon.memory_kb()

    def expect(self, what):
        daemon = self.daemon
        check(daemon.is_alive() and daemon.pid == self.pid,
              f'the daemon {daemon.state()}')
        until(lambda: daemon.count_fds() <= self.fds,
              f'it is back to {self.fds} fds')
        until(lambda: daemon.memory_kb() <= self.memory_kb + KEPT_KB,
              f'memory is back from {daemon.memory_kb()} KB to '
              f'{self.memory_kb} KB')
        Suite.comment(f'after {what}: {self.fds} fds, memory '
                      f'{self.memory_kb} KB, then {daemon.memory_kb()} KB')
        until(lambda: ticks_of(daemon) <= REST_TICKS,
              f'no more than {REST_TICKS} ticks in {REST_S} s of rest')


def ticks_of(daemon):
    """What it takes of the processor from now on."""
    before = daemon.cpu_seconds()
    time.sleep(REST_S)
    return round((daemon.cpu_seconds() - before) * 100)
