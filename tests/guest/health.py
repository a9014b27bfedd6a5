# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the device costs the host at rest, to be compared with what it costs
# after a load: memory, descriptors, processor time, lines of log.

import re
import time

from service import expect_service
from tap import Suite, check, until

# What a thread of QEMU or of the daemon may take at rest, beyond what it took
# before, for the guest's clock goes on.  One that spins takes 100.
REST_S = 0.3
REST_PERCENT = 3.0
REST_WITHIN_S = 30
# Of one reason there is a line each so many seconds.
LOG_INTERVAL_S = 10


class Health:
    """Of the process that does the device's work, and of its thread."""

    def __init__(self, vm, boots=False):
        self.vm = vm
        self.worker = vm.worker()
        self.pid = self.worker.pid
        self.kept_kb = (vm.host.KEPT_BY_BOOT_KB if boots else
                        vm.host.KEPT_KB)
        self.fds = self.worker.count_fds()
        self.memory_kb = vm.host.own_memory_kb()
        self.log = len(vm.host.log())
        self.began = time.monotonic()
        self.thread_ids = vm.host.thread_ids()
        self.percent = self.cpu_percent()

    def cpu_ns(self):
        total = 0
        for number in self.thread_ids:
            with open(f'/proc/{self.pid}/task/{number}/schedstat',
                      encoding='ascii') as file:
                total += int(file.read().split()[0])
        return total

    def cpu_percent(self):
        """Of one processor, over some time from now on."""
        before, start = self.cpu_ns(), time.monotonic()
        time.sleep(REST_S)
        spent = self.cpu_ns() - before
        return spent / 1e7 / (time.monotonic() - start)

    def grown_kb(self):
        return self.vm.host.own_memory_kb() - self.memory_kb

    def expect_memory(self):
        """It gives back what it had, soon."""
        until(lambda: self.grown_kb() <= self.kept_kb,
              f'of {self.grown_kb()} KB no more than {self.kept_kb} are kept')
        return self.grown_kb()

    def expect_rest(self, what):
        """Its thread comes to rest."""
        end = time.monotonic() + REST_WITHIN_S
        while (percent := self.cpu_percent()) > self.percent + REST_PERCENT:
            check(time.monotonic() < end, f'{percent:.1f} % of a processor, '
                  f'{self.percent:.1f} % before {what}')
        return percent

    def expect_alive(self):
        check(self.worker.is_alive() and self.worker.pid == self.pid,
              f'{self.worker.state()}')

    def expect_few_lines(self, what):
        """At most a line of each reason in each interval."""
        said = self.vm.host.log()[self.log:]
        intervals = 1 + (time.monotonic() - self.began) // LOG_INTERVAL_S
        reasons = {}
        for line in said.splitlines():
            check(len(line) < 250, f'a line of {len(line)} bytes: {line}')
            reason = re.sub(r'\d+', 'N', line.split(': ', 3)[-1])[:40]
            reasons[reason] = reasons.get(reason, 0) + 1
        check(all(count <= intervals + 1 for count in reasons.values()),
              f'lines, after {what}: {reasons}')
        return len(said)

    def expect_back(self, lab, what):
        """All is as before, and a new guest program and a new host program
        are served."""
        self.expect_alive()
        self.expect_rest(what)
        expect_service(lab, self.vm, 300000)
        lab.close_kept()
        until(lambda: self.worker.count_fds() <= self.fds,
              f'it is back from {self.worker.count_fds()} to {self.fds} fds')
        percent = self.expect_rest(what)
        grown = self.expect_memory()
        said = self.expect_few_lines(what)
        Suite.comment(f'after {what}: {grown:+} KB, {self.fds} fds, '
                      f'{percent:.1f} % ({self.percent:.1f} % before), '
                      f'{said} bytes of log')
        self.expect_alive()
