# SPDX-License-Identifier: GPL-2.0-or-later
#
# What all guest tests share: where the programs are, the guest's image, and
# the running guests and open sockets, so that nothing outlives its test.

import contextlib
import os
import shutil
import tempfile

from image import Image, bail_out, version
from tap import Skip
from vm import Vm


class Lab:
    def __init__(self, options):
        self.build = os.path.abspath(options.build)
        self.qemu = os.path.abspath(
            options.qemu or os.path.join(self.build, 'bin',
                                         'qemu-system-x86_64'))
        self.accel = options.accel
        self.backend = options.backend
        self.at_least = options.at_least
        self.image = Image(self.build, options.kernel, options.image)
        self.image_given = bool(options.image)
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

    def prepare(self):
        """Have all that the cases need: the programs, and the image."""
        programs = [self.qemu]
        if self.backend == 'emulator':
            programs.append(self.nc)
        for program in programs:
            if not os.access(program, os.X_OK):
                bail_out(f'{program} is not there; build it first')
        if self.image_given:
            self.image.check()
        else:
            self.image.make()

    def has_kernel(self, oldest):
        """Whether the guest's kernel is this version or later."""
        return version(self.image.release()) >= version(oldest)

    def need_kernel(self, oldest, what):
        """Skip the case if the guest's kernel is older than @what is."""
        if not self.has_kernel(oldest):
            raise Skip(f'{what} is in Linux {oldest} and later, the guest '
                       f'has {self.image.release()}')
