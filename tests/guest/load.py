# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bytes both ways until something ends them, and what a process may keep once
# they are gone.

import threading
import time

import pattern
from ends import pairs
from tap import Suite, check, until

# More than is sent before the end comes.
ENDLESS = 10 ** 12
ENOUGH = 3 * 1000 * 1000
# With the daemon a reboot ends connections when the guest is up again.
END_S = 60
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
        memory_kb = daemon.memory_kb()
        Suite.comment(f'after {what}: {self.fds} fds, memory '
                      f'{self.memory_kb} KB, then {memory_kb} KB')
        check(memory_kb <= self.memory_kb + KEPT_KB,
              f'memory: {self.memory_kb} KB, then {memory_kb} KB')
        expect_idle(daemon)


def expect_idle(daemon):
    """It takes next to no processor time."""
    time.sleep(0.1)
    before = daemon.cpu_seconds()
    time.sleep(REST_S)
    ticks = round((daemon.cpu_seconds() - before) * 100)
    check(ticks <= REST_TICKS, f'{ticks} ticks in {REST_S} s of rest')
