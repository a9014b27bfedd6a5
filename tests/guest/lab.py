# SPDX-License-Identifier: GPL-2.0-or-later
#
# What all guest tests share: where the programs are, the guest's image, and
# the running guests and open sockets, so that nothing outlives its test.

import contextlib
import os
import shutil
import subprocess
import tempfile

from tap import Suite
from vm import Vm

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


class Lab:
    def __init__(self, options):
        self.build = os.path.abspath(options.build)
        self.qemu = os.path.abspath(
            options.qemu or os.path.join(self.build, 'bin',
                                         'qemu-system-x86_64'))
        self.accel = options.accel
        self.image_dir = os.path.join(self.build, 'guest-test')
        self.kernel = os.path.join(self.image_dir, 'vmlinuz')
        self.initrd = os.path.join(self.image_dir, 'initrd.img')
        self.nc = os.path.join(self.build, 'bin', 'nc-vsock')
        # Short, for paths of sockets end at 107 bytes.
        self.dir = tempfile.mkdtemp(prefix='vsock-guest-')
        self.vms = []
        self.kept = []
        self.paths = []
        self.main = None
        self.n_dirs = 0
        self.last_port = 10000

    def close(self):
        self.end_case(all_vms=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def new_dir(self, name):
        self.n_dirs += 1
        path = os.path.join(self.dir, f'{self.n_dirs}-{name}')
        os.mkdir(path, 0o700)
        return path

    def port(self):
        """A port that no other case used."""
        self.last_port += 1
        return self.last_port

    def add_vm(self, vm):
        self.vms.append(vm)

    def keep(self, sock):
        """Close @sock when the case ends, whatever happens."""
        self.kept.append(sock)
        return sock

    def remove_later(self, path):
        """Remove the file when the case ends, if it is still there."""
        self.paths.append(path)

    def end_case(self, all_vms=False):
        """Close what the case left; only the shared guest goes on."""
        for sock in self.kept:
            sock.close()
        self.kept = []
        for path in self.paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.paths = []
        if all_vms and self.main:
            self.main.kill()
            self.main = None
        for vm in self.vms:
            if vm is not self.main:
                vm.kill()
                shutil.rmtree(vm.dir, ignore_errors=True)
        self.vms = [self.main] if self.main else []

    def guest(self):
        """The guest that cases share: with the device, and all slots free."""
        if self.main is None or not self.main.is_alive():
            self.main = Vm(self, 'main')
        self.main.agent.call('close', 0, 1023)
        return self.main

    def describe(self):
        return '\n'.join(vm.describe() for vm in self.vms)

    # --- The image -----------------------------------------------------------

    def make_image(self):
        """Build the agent and the guest's kernel and initramfs."""
        for program in self.qemu, self.nc:
            if not os.access(program, os.X_OK):
                bail_out(f'{program} is not there; build it first')
        os.makedirs(self.image_dir, exist_ok=True)
        agent = os.path.join(self.image_dir, 'agent')
        sources = [os.path.join(HERE, name)
                   for name in ('agent.c', 'pattern.c', 'pattern.h')]
        if is_older(agent, sources):
            run(['gcc', '-O2', '-static', '-pthread', '-std=gnu11',
                 '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o', agent,
                 *sources[:2]])
        nc = os.path.join(self.build, 'lib', 'tools', 'nc-vsock-static')
        run([os.path.join(TOP, 'scripts', 'guest-image'), self.image_dir,
             '--add', f'{agent}:/etc/guest-init',
             '--add', f'{nc}:/bin/nc-vsock',
             '--add-package', 'qemu-guest-agent'],
            env=dict(os.environ, BUILD=self.build))


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
