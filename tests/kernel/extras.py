# SPDX-License-Identifier: GPL-2.0-or-later
#
# What only one job's VM has: files in a second initramfs behind the common one.
# Linux unpacks both.

import os
import re
import shutil
import subprocess

from contents import HERE, TOP, Failed

STOCK_THERE = '/stock'
CHECKER = 'vmstate-static-checker.py'


class Extra:
    """The files that @list_files tells for the Contents it is given; in a VM
    with so much memory."""

    def __init__(self, name, list_files, memory_mb=1200):
        self.name = name
        self.list_files = list_files
        self.memory_mb = memory_mb

    def initrd(self, contents):
        return os.path.join(contents.dir, f'initrd-{self.name}.img')

    def make(self, contents):
        """Make the whole initramfs, or bring it up to date."""
        files = self.list_files(contents)
        recipe = ''.join(f'{path}:{there}\n' for path, there in files)
        image = self.initrd(contents)
        if self._is_new(image, recipe, contents, files):
            return
        stage = os.path.join(contents.stage, f'extra-{self.name}')
        shutil.rmtree(stage, ignore_errors=True)
        for path, there in files:
            copy = stage + there
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            if os.path.isdir(path):
                shutil.copytree(path, copy, dirs_exist_ok=True)
            else:
                shutil.copy2(path, copy)
        contents.run(['sh', '-c', 'cat "$1" >"$2.new" && cd "$3" && find . |'
                      'cpio --quiet -o -H newc -R 0:0 | gzip -1 >>"$2.new" &&'
                      'mv "$2.new" "$2"', 'sh', contents.initrd, image, stage])
        shutil.rmtree(stage)
        with open(image + '.recipe', 'w', encoding='utf-8') as file:
            file.write(recipe)

    @staticmethod
    def _is_new(image, recipe, contents, files):
        try:
            with open(image + '.recipe', encoding='utf-8') as file:
                if file.read() != recipe:
                    return False
            made = os.path.getmtime(image)
        except FileNotFoundError:
            return False
        return all(os.path.getmtime(path) < made
                   for path in [contents.initrd, *(path for path, _ in files)])


def checker(contents):
    """QEMU's program that compares migration streams, of our QEMU's source."""
    objects = os.path.dirname(os.path.realpath(
        contents.program('qemu-system-x86_64')))
    return os.path.join(os.path.dirname(objects), 'source', 'scripts', CHECKER)


def stock_qemu(contents):
    """Debian's own QEMU, with libraries of its own, at STOCK_THERE."""
    contents.run([os.path.join(TOP, 'scripts', 'stock-qemu')])
    found = os.path.join(contents.build, 'stock-qemu', 'qemu-system-x86_64')
    program, libraries = os.path.realpath(found), ''
    if not os.path.islink(found):
        root = os.path.join(contents.build, 'stock-qemu', 'root')
        program = os.path.join(root, 'usr', 'bin', 'qemu-system-x86_64')
        libraries = ':'.join(os.path.join(root, name, 'x86_64-linux-gnu')
                             for name in ('usr/lib', 'lib'))
    text = subprocess.run(
        ['ldd', program], check=True, stdout=subprocess.PIPE, text=True,
        env=dict(os.environ, LD_LIBRARY_PATH=libraries)).stdout
    missing = re.search(r'(\S+) => not found', text)
    if missing:
        raise Failed(f'library {missing.group(1)} is missing')
    return [(os.path.join(HERE, 'stock-qemu'),
             f'{STOCK_THERE}/qemu-system-x86_64'),
            (checker(contents), f'{STOCK_THERE}/{CHECKER}'),
            (program, f'{STOCK_THERE}/bin/qemu-system-x86_64'),
            *((os.path.realpath(path),
               f'{STOCK_THERE}/lib/{os.path.basename(path)}')
              for path in sorted(set(re.findall(r'(/\S+) \(0x', text)))
              if '/ld-linux' not in path)]


def libvirt(contents):
    """Debian's libvirtd, its driver for QEMU and virsh; and the page that has
    the tests' XML.  One helper saves and restores domains, the other writes
    their AppArmor profiles."""
    lib = '/usr/lib/x86_64-linux-gnu/libvirt/connection-driver'
    files = [(path, path) for path in (
        '/usr/sbin/libvirtd', '/usr/bin/virsh', '/usr/share/libvirt/cpu_map',
        '/usr/lib/libvirt/libvirt_iohelper', '/usr/lib/libvirt/virt-aa-helper',
        f'{lib}/libvirt_driver_qemu.so')]
    files += contents.libraries([path for path, _ in files])
    page = 'docs/system/devices/vhost-vsock.rst'
    return files + apparmor(contents) + [(os.path.join(TOP, page), f'/{page}')]


def apparmor(contents):
    """Debian's AppArmor with libvirt's profiles."""
    wanted = {'apparmor': ['/sbin/apparmor_parser', '/etc/apparmor',
                           '/etc/apparmor.d', '/usr/share/apparmor-features'],
              'libvirt-daemon-system': ['/etc/apparmor.d']}
    contents.run([os.path.join(TOP, 'scripts', 'unpack-packages'), *wanted])
    return [(os.path.join(contents.build, 'unpacked', package) + path, path)
            for package, paths in wanted.items() for path in paths]


EXTRAS = {'migration': Extra('migration', stock_qemu, memory_mb=1400),
          'libvirt': Extra('libvirt', libvirt, memory_mb=1700)}
