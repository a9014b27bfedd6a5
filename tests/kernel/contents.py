# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the VM boots: Debian's cloud kernel with vhost_vsock and KVM, and an
# initramfs with QEMU, the replay suite, Python, the tests, the libraries they
# need, and an image for a guest of the VM's own.

import os
import re
import shutil
import subprocess
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)

# Where things are in the VM.
TESTS_THERE = '/tests'
SCRIPTS_THERE = '/scripts'
GUEST_THERE = '/guest-image'

PROGRAMS = ['qemu-system-x86_64', 'vhost-vsock-test']
FIRMWARE = ['bios-256k.bin', 'kvmvapic.bin', 'linuxboot_dma.bin']
# Of Python's library: large, or in need of libraries, and of no use here.
PYTHON_WITHOUT = shutil.ignore_patterns(
    'test', 'config-*', 'idlelib', 'lib2to3', 'ensurepip', 'pydoc_data',
    'tkinter', 'turtledemo', 'distutils', 'dist-packages', '_sqlite3*',
    '_ssl*', '_tkinter*', '_curses*', '_dbm*', '_gdbm*', 'nis*', 'readline*')


class Failed(Exception):
    """The image cannot be made."""


def kernel_option(suite):
    return ['--kernel', suite] if suite else []


class Contents:
    """The VM's image with the kernel of @suite, in the build folder; in it the
    image of a guest with that of @guest_suite.  None: the running Debian's.
    Subclasses put more into it, and give it another @name."""

    name = 'kernel-test'
    tests = ['guest', 'kernel', 'libvirt', 'tools']

    def __init__(self, build, suite=None, guest_suite=None):
        self.build = build
        self.suite = suite
        self.guest_suite = guest_suite
        self.dir = os.path.join(build, f'{self.name}-{suite or "own"}')
        self.kernel = os.path.join(self.dir, 'vmlinuz')
        self.initrd = os.path.join(self.dir, 'initrd.img')
        self.scripts = os.path.join(TESTS, 'qtest', 'vhost-vsock-test-data')
        self.stage = os.path.join(build, 'kernel-test-stage')
        self.guest = os.path.join(build,
                                  f'kernel-test-guest-{guest_suite or "own"}')

    def program(self, name):
        return os.path.join(self.build, 'bin', name)

    def need_programs(self):
        """What `make` builds has to be there."""
        static = os.path.join(self.build, 'lib', 'tests', 'tools',
                              'nc-vsock-static')
        for path in *map(self.program, PROGRAMS), static:
            if not os.access(path, os.X_OK):
                raise Failed(f'{path} is not there; build it first')

    def release(self):
        """What `uname -r` says in the VM."""
        with open(os.path.join(self.dir, 'release'), encoding='ascii') as file:
            return file.read().strip()

    def make(self):
        """Make the image, or bring it up to date."""
        os.makedirs(self.stage, exist_ok=True)
        adds = self.programs()
        adds += self.libraries([path for path, _ in adds])
        adds += [(self.scripts, SCRIPTS_THERE),
                 (os.path.join(HERE, 'guest-init'), '/etc/guest-init')]
        adds += [(os.path.join(TESTS, name), f'{TESTS_THERE}/{name}')
                 for name in self.tests]
        self.run([os.path.join(TESTS, 'guest', 'run'),
                  *kernel_option(self.guest_suite),
                  '--make-image', self.guest])
        adds += [(os.path.join(self.guest, name), f'{GUEST_THERE}/{name}')
                 for name in ('vmlinuz', 'initrd.img', 'release')]
        argv = [os.path.join(TOP, 'scripts', 'guest-image'), self.dir, '--host',
                *kernel_option(self.suite),
                '--add-module', 'kvm_amd', '--add-module', 'qemu_fw_cfg']
        for path, there in adds:
            argv += ['--add', f'{path}:{there}']
        self.run(argv)

    def programs(self):
        """What runs in the VM, and its data: (path here, path there)."""
        return [self.stripped(name) for name in PROGRAMS] + \
               [self.firmware(name) for name in FIRMWARE] + self.python()

    def run(self, argv):
        result = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace', env=dict(os.environ, BUILD=self.build))
        if result.returncode:
            raise Failed(f'{os.path.basename(argv[0])} exited with '
                         f'{result.returncode}: {result.stdout.strip()}')
        return result.stdout

    def stripped(self, name):
        """A program of ours, without what debuggers read: 40 MB less."""
        built, path = self.program(name), os.path.join(self.stage, name)
        if not os.path.exists(path) or \
                os.path.getmtime(path) < os.path.getmtime(built):
            self.run(['strip', '-o', path, built])
        return path, f'/usr/bin/{name}'

    def firmware(self, name):
        """Where our QEMU finds it here, and will there."""
        folders = self.run([self.program(PROGRAMS[0]), '-L', 'help']).split()
        for folder in folders:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path, f'/usr/share/qemu/{name}'
        raise Failed(f'firmware {name} is not in {" ".join(folders)}')

    def python(self):
        """The Python that runs this, with its library."""
        library = sysconfig.get_path('stdlib')
        copy = os.path.join(self.stage, os.path.basename(library))
        if not os.path.exists(copy):
            shutil.rmtree(copy + '.new', ignore_errors=True)
            shutil.copytree(library, copy + '.new', ignore=PYTHON_WITHOUT)
            os.rename(copy + '.new', copy)
        return [(os.path.realpath(sys.executable), '/usr/bin/python3'),
                (copy, library)]

    def libraries(self, paths):
        """The shared libraries and loader that the files of @paths need."""
        files = []
        for path in paths:
            if os.path.isdir(path):
                files += [os.path.join(folder, name)
                          for folder, _, names in os.walk(path)
                          for name in names if name.endswith('.so')]
            elif path.endswith('.so') or os.access(path, os.X_OK):
                files.append(path)
        text = self.run(['ldd', *files])
        missing = re.search(r'(\S+) => not found', text)
        if missing:
            raise Failed(f'library {missing.group(1)} is missing')
        found = set(re.findall(r'(/\S+) \(0x', text))
        return sorted((path, path if '/ld-linux' in path else
                       '/lib/x86_64-linux-gnu/' + os.path.basename(path))
                      for path in found)
