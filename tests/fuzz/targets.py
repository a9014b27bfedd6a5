# SPDX-License-Identifier: GPL-2.0-or-later
"""The fuzz targets: what each one is, and what it is built of."""

import glob
import os

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LIBRARY = 'subprojects/libvsock-device'


def qemu():
    """The folder in which scripts/build-qemu has source and objects."""
    for build in (os.environ.get('BUILD'), os.path.join(TOP, 'build')):
        series = 'qemu-' + (os.environ.get('QEMU') or '*')
        found = glob.glob(os.path.join(build or '', series, 'source/VERSION'))
        folders = sorted(path[:-len('/source/VERSION')] for path in found)
        built = [folder for folder in folders if
                 os.path.exists(os.path.join(folder,
                                             'objects/libqemuutil.a'))]
        if folders:
            return os.path.abspath((built or folders)[0])
    raise RuntimeError('there is no QEMU; first: make qemu')


def place(text, top):
    """@text with the checkout for '{top}', and qemu() for '{qemu}'."""
    text = text.replace('{top}', top)
    return text.replace('{qemu}', qemu()) if '{qemu}' in text else text


class Target:
    """One program with an LLVMFuzzerTestOneInput().

    sources   paths from the top of the checkout; '*' is fine
    without   sources that are left out
    about     one line for `--list`
    flags     more for the compiler; see place()
    link      more for the linker; the same
    packages  of pkg-config
    max_len   bytes of the largest input
    faults    whether the library's system calls can be made to fail
    seeds     whether seeds.py makes inputs for it
    check_s   seconds in `make check`
    """

    def __init__(self, about, sources, without=(), flags=(), link=(),
                 packages=('glib-2.0',), max_len=4096, seeds=False,
                 faults=False, check_s=8):
        self.about = about
        self.sources = list(sources)
        self.without = list(without)
        self.flags = list(flags)
        self.link = list(link)
        self.packages = list(packages)
        self.max_len = max_len
        self.seeds = seeds
        self.faults = faults
        self.check_s = check_s

    def files(self, top):
        """The sources, found in the checkout at @top."""
        found = []
        for pattern in self.sources:
            paths = sorted(glob.glob(os.path.join(top, place(pattern, top))))
            if not paths:
                raise RuntimeError('no file %s' % pattern)
            found += [os.path.relpath(path, top) for path in paths]
        return [path for path in found if path not in self.without]


def library(*names):
    """Sources of the library, all or some, as they are shipped."""
    return [LIBRARY + '/src/' + name for name in names or ['*.c']]


def fixtures(*names):
    """Helpers of the library's unit tests."""
    return [LIBRARY + '/tests/' + name for name in names]


def daemon(*names):
    """Sources of the daemon."""
    return ['contrib/vhost-user-vsock/' + name for name in names]


def own(*names):
    return ['tests/fuzz/' + name for name in names]


# For "name.h" only: src/limits.h must not stand in for <limits.h>.
FLAGS = [
    '-std=gnu11', '-D_GNU_SOURCE', '-g', '-O1', '-fno-omit-frame-pointer',
    '-Wall', '-Wextra', '-Wno-sign-compare', '-Wno-missing-field-initializers',
    '-I{top}/' + LIBRARY + '/include',
    '-iquote', '{top}/' + LIBRARY + '/src',
    '-iquote', '{top}/' + LIBRARY + '/tests',
    '-iquote', '{top}/tests/fuzz',
]

DAEMON_FLAGS = [
    '-iquote', '{top}/contrib/vhost-user-vsock', '-Wno-unused-parameter',
    '-isystem', '{qemu}/source/subprojects/libvhost-user',
    '-DVHOST_USER_VSOCK_VERSION="0"',
]

# QEMU's own headers are not looked at.
QEMU_FLAGS = [
    '-w', '-iquote', '{top}/tests/qtest',
    '-I{qemu}/objects', '-I{qemu}/objects/qapi',
    '-isystem', '{qemu}/source/linux-headers',
    '-isystem', '{qemu}/objects/linux-headers',
    '-iquote', '{qemu}/source/include',
    '-iquote', '{qemu}/source/tests/qtest',
]

# How programs are built.  What matters for findings is the first.
FLAVOURS = {
    'sanitize': ['-fsanitize=address,undefined',
                 '-fno-sanitize-recover=undefined'],
    'fast': ['-O2'],
    'coverage': ['-fprofile-instr-generate', '-fcoverage-mapping'],
}

WORLD = own('fuzz-device.c', 'guest.c', 'guest-packets.c', 'model.c',
            'programs.c') + fixtures('content.c', 'fake-ring.c')

TARGETS = {
    'device': Target(
        'the whole library: rings, sockets, time, faults',
        WORLD + own('transport-sockets.c') + library() +
        fixtures('fault.c', 'temp-dir.c', 'unix-socket.c'),
        max_len=1024, seeds=True, faults=True, check_s=20),
    'mux': Target(
        'the same without a system call: sockets in memory',
        WORLD + own('transport-memory.c') + library() +
        fixtures('scripted-stream.c'),
        without=library('host.c', 'listener.c', 'stream.c', 'seqpacket.c'),
        link=['-Wl,--wrap=' + call for call in
              ('epoll_create1', 'epoll_ctl', 'epoll_wait', 'close')],
        max_len=1024, seeds=True, check_s=20),
    'credit': Target('credit beside counters that never wrap',
                     own('fuzz-credit.c') + library('credit.c'), max_len=256,
                     check_s=4),
    'hdr': Target('the packet header, and scattered memory',
                  own('fuzz-hdr.c') + library('pkt.c'), max_len=512,
                  check_s=4),
    'line': Target('the line of a host client, in any pieces',
                   own('fuzz-line.c') + library('line.c'), max_len=80,
                   check_s=4),
    'ring': Target('the staging ring beside a plain queue',
                   own('fuzz-ring.c') + library('ring.c', 'pkt.c'),
                   max_len=256, check_s=4),
    'stage': Target('bytes and messages that wait for the host',
                    own('fuzz-stage.c') + library('stage.c', 'ring.c',
                                                  'pkt.c'),
                    max_len=256, check_s=4),
    'vring': Target('virtqueues whose driver writes anything, anywhere',
                    own('fuzz-vring.c') + library('vring.c', 'inflight.c',
                                                  'error.c'),
                    max_len=512),
    'script': Target('packet scripts, as the replay suite reads them',
                     own('fuzz-script.c') +
                     ['tests/qtest/vhost-vsock-%s.c' % name for name in
                      ('json', 'script', 'keys*', 'match', 'payload')],
                     flags=QEMU_FLAGS, packages=('glib-2.0', 'gthread-2.0'),
                     link=['{qemu}/objects/libqemuutil.a', '-lm']),
    'config': Target('configuration and options of the daemon',
                     own('fuzz-config.c') + daemon(
                         'config-file.c', 'options.c', 'vm-options.c',
                         'systemd.c') + library('path.c'),
                     flags=DAEMON_FLAGS, packages=('glib-2.0', 'yaml-0.1'),
                     link=['-Wl,--wrap=vsk_path_prepare_dir'], max_len=1024),
    'messages': Target('what a VMM sends to the daemon',
                       own('fuzz-messages.c', 'vmm.c') + library() +
                       daemon('*.c') +
                       ['{qemu}/source/subprojects/libvhost-user/'
                        'libvhost-user.c'],
                       without=daemon('main.c', 'sandbox.c', 'options.c',
                                      'config-file.c'),
                       flags=DAEMON_FLAGS, max_len=512,
                       link=['-Wl,--wrap=mmap', '-Wl,--wrap=munmap',
                             '-lpthread']),
}
