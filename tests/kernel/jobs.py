# SPDX-License-Identifier: GPL-2.0-or-later
#
# The jobs for VMs: which tests each consists of, and how it runs them there.

import os
import re
import shlex
import subprocess
import sys

from contents import GUEST_THERE, HERE, SCRIPTS_THERE, TESTS, TESTS_THERE
from extras import EXTRAS
from machine import SLOW

REPLAY = '/vhost-vsock/replay/'


class Job:
    def __init__(self, name, tests, script):
        self.name = name
        self.tests = tests      # the names that it must report
        self.script = script    # for the VM's shell
        self.extra = EXTRAS.get(name)   # what only its VM has; None: nothing


def make_jobs(contents, pattern, parts):
    """All jobs with a test whose name fits, the replay suite in @parts."""
    jobs = [guest_job(pattern)]
    jobs += [case_job(name, pattern)
             for name in ('device', 'migration', 'libvirt')]
    tests = [test for test in replay_tests(contents)
             if re.search(pattern, test)]
    jobs += [replay_job(f'replay-{part + 1}', tests[part::parts])
             for part in range(parts)]
    return [job for job in jobs if job.tests]


def listed(*argv):
    """The names that a test program lists."""
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True).stdout.split()


def replay_tests(contents):
    return [name for name in listed(contents.program('vhost-vsock-test'), '-l',
                                    contents.scripts)
            if name.startswith(REPLAY)]


def replay_job(name, tests):
    """Packet scripts against the node, one after the other: they share the
    ports of CID 2."""
    files = [f'{SCRIPTS_THERE}/{test[len(REPLAY):]}' for test in tests]
    return Job(name, tests,
               'export QTEST_QEMU_BINARY=/usr/bin/qemu-system-x86_64\n'
               'export VHOST_VSOCK_TEST_BACKEND=kernel\n'
               f'export VHOST_VSOCK_TEST_SLOW={SLOW}\n'
               f'exec vhost-vsock-test --tap -k {shlex.join(files)}\n')


def case_job(name, pattern):
    """The cases here that are for this job: with QEMU on the node, and guests
    of its own."""
    tests = listed(sys.executable, os.path.join(HERE, 'inside'), '-l',
                   '--job', name, '-p', pattern)
    return Job(name, tests,
               f'exec {TESTS_THERE}/kernel/inside {GUEST_THERE} '
               f'--job {name} -p {shlex.quote(pattern)}\n')


def guest_job(pattern):
    """Those guest tests that hold for any host."""
    tests = listed(sys.executable, os.path.join(TESTS, 'guest', 'run'),
                   '--backend', 'kernel', '-l', '-p', pattern)
    return Job('guest', tests,
               f'exec {TESTS_THERE}/guest/run --backend kernel --accel kvm '
               f'--qemu /usr/bin/qemu-system-x86_64 --build /tmp '
               f'--image {GUEST_THERE} -p {shlex.quote(pattern)}\n')
