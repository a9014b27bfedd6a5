# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a guest boots: Debian's cloud kernel, and an initramfs with the agent and
# the programs that cases run.

import contextlib
import fcntl
import glob
import os
import re
import subprocess

from tap import Suite

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SOURCES = sorted(glob.glob(os.path.join(HERE, '*.[ch]')))


class Image:
    """The image in @folder, with the kernel of @suite (None: the running
    Debian's)."""

    def __init__(self, build, suite=None, folder=None):
        self.build = build
        self.suite = suite
        self.dir = folder or os.path.join(
            build, f'guest-test-{suite}' if suite else 'guest-test')
        self.kernel = os.path.join(self.dir, 'vmlinuz')
        self.initrd = os.path.join(self.dir, 'initrd.img')
        self.release_file = os.path.join(self.dir, 'release')

    def make(self):
        """Make it, or bring it up to date."""
        with locked(self.dir):
            self._make()

    def _make(self):
        os.makedirs(self.dir, exist_ok=True)
        agent = os.path.join(self.dir, 'agent')
        if is_older(agent, SOURCES):
            run(['gcc', '-O2', '-static', '-pthread', '-std=gnu11',
                 '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o', agent,
                 *[name for name in SOURCES if name.endswith('.c')]])
        nc = os.path.join(self.build, 'lib', 'tests', 'tools',
                          'nc-vsock-static')
        kernel = ['--kernel', self.suite] if self.suite else []
        run([os.path.join(TOP, 'scripts', 'guest-image'), self.dir, *kernel,
             '--add', f'{agent}:/etc/guest-init',
             '--add', f'{nc}:/bin/nc-vsock',
             '--add-package', 'qemu-guest-agent',
             '--add-module', 'vsock_loopback',
             '--add-module', 'virtio_mmio'],
            env=dict(os.environ, BUILD=self.build))

    def check(self):
        """An image that somebody else made must be whole."""
        for path in self.kernel, self.initrd, self.release_file:
            if not os.path.exists(path):
                bail_out(f'{path} is not there')

    def release(self):
        """What `uname -r` says in the guest."""
        with open(self.release_file, encoding='ascii') as file:
            return file.read().strip()


@contextlib.contextmanager
def locked(folder):
    """Suites that run at once make what is in @folder one after the other."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + '.lock', 'wb') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def version(release):
    """'6.12.95+deb12-cloud-amd64' → (6, 12, 95)."""
    return tuple(map(int, re.match(r'[\d.]*\d', release).group().split('.')))


def is_older(target, sources):
    if not os.path.exists(target):
        return True
    made = os.path.getmtime(target)
    return any(os.path.getmtime(source) > made for source in sources)


def run(argv, **kwargs):
    result = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors='replace', **kwargs)
    if result.returncode:
        Suite.comment(result.stdout)
        bail_out(f'{os.path.basename(argv[0])} exited with '
                 f'{result.returncode}')


def bail_out(why):
    """No case can run."""
    print('Bail out! ' + why, flush=True)
    raise SystemExit(1)
