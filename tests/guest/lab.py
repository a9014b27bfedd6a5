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
        self.backend = options.backend
        # The daemon is for QEMUs without our device: Debian's is one.
        folder = 'stock-qemu' if self.has_daemon() else 'bin'
        self.qemu = os.path.abspath(
            options.qemu or os.path.join(self.build, folder,
                                         'qemu-system-x86_64'))
        self.daemon = os.path.abspath(
            getattr(options, 'daemon', None) or
            os.path.join(self.build, 'bin', 'vhost-user-vsock'))
        self.accel = options.accel
        self.at_least = options.at_least
        self.image = Image(self.build, options.kernel, options.image)
        self.image_given = bool(options.image)
        self.nc = os.path.join(self.build, 'bin', 'nc-vsock')
        # Short, for paths of sockets end at 107 bytes.
        self.dir = tempfile.mkdtemp(prefix='vsock-guest-')
        self.vms = []
        self.daemons = []
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

    def close_kept(self, but=()):
        """Close sockets before the case ends."""
        for sock in self.kept:
            if sock not in but:
                sock.close()
        self.kept = list(but)

    def remove_later(self, path):
        """Remove the file when the case ends, if it is still there."""
        self.paths.append(path)

    def end_case(self, all_vms=False):
        """Close what the case left; only the shared guest goes on."""
        self.close_kept()
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
        for daemon in self.daemons:
            if not self.main or daemon is not self.main.daemon:
                daemon.kill()
        self.daemons = [self.main.daemon] if self.main and \
            self.has_daemon() else []

    def guest(self):
        """The guest that cases share: with the device, and all slots free."""
        if self.main is None or not self.main.is_alive():
            self.main = Vm(self, 'main')
        if not self.main.worker().is_alive():
            raise AssertionError('the daemon is gone since the case before')
        self.main.agent.call('close', 0, 1023)
        return self.main

    def describe(self):
        return '\n'.join(one.describe() for one in self.vms + self.daemons)

    def prepare(self):
        """Have all that the cases need: the programs, and the image."""
        programs = [self.qemu]
        if self.backend != 'kernel':
            programs.append(self.nc)
        if self.has_daemon():
            programs.append(self.daemon)
        for program in programs:
            if not os.access(program, os.X_OK):
                bail_out(f'{program} is not there; build it first')
        if self.image_given:
            self.image.check()
        else:
            self.image.make()

    def has_daemon(self):
        return self.backend == 'vhost-user'

    def not_with_daemon(self, why):
        """Skip the case if the emulator is in the daemon."""
        if self.has_daemon():
            raise Skip(why)

    def once_for_all_kernels(self):
        """Skip a long case where another suite has it."""
        if self.at_least:
            raise Skip('it takes long, and is no matter of the guest\'s '
                       'kernel: suite guest has it')

    def has_kernel(self, oldest):
        """Whether the guest's kernel is this version or later."""
        return version(self.image.release()) >= version(oldest)

    def need_kernel(self, oldest, what):
        """Skip the case if the guest's kernel is older than @what is."""
        if not self.has_kernel(oldest):
            raise Skip(f'{what} is in Linux {oldest} and later, the guest '
                       f'has {self.image.release()}')
