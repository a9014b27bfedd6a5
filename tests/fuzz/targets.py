# SPDX-License-Identifier: GPL-2.0-or-later
"""The fuzz targets: what each one is, and what it is built of."""

import glob
import os

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LIBRARY = 'subprojects/libvsock-device'


class Target:
    """One program with an LLVMFuzzerTestOneInput().

    sources   paths from the top of the checkout; '*' is fine
    about     one line for `--list`
    flags     more for the compiler, with '{top}' for the checkout
    link      more for the linker
    packages  of pkg-config
    max_len   bytes of the largest input
    seeds     whether seeds.py makes inputs for it
    check_s   seconds in `make check`
    """

    def __init__(self, about, sources, flags=(), link=(),
                 packages=('glib-2.0',), max_len=4096, seeds=False,
                 check_s=8):
        self.about = about
        self.sources = list(sources)
        self.flags = list(flags)
        self.link = list(link)
        self.packages = list(packages)
        self.max_len = max_len
        self.seeds = seeds
        self.check_s = check_s

    def files(self, top):
        """The sources, found in the checkout at @top."""
        found = []
        for pattern in self.sources:
            paths = sorted(glob.glob(os.path.join(top, pattern)))
            if not paths:
                raise RuntimeError('no file %s' % pattern)
            found += [os.path.relpath(path, top) for path in paths]
        return found


def library(*names):
    """Sources of the library, all or some, as they are shipped."""
    return [LIBRARY + '/src/' + name for name in names or ['*.c']]


def fixtures(*names):
    """Helpers of the library's unit tests."""
    return [LIBRARY + '/tests/' + name for name in names]


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

# How programs are built.  What matters for findings is the first.
FLAVOURS = {
    'sanitize': ['-fsanitize=address,undefined',
                 '-fno-sanitize-recover=undefined'],
    'fast': ['-O2'],
    'coverage': ['-fprofile-instr-generate', '-fcoverage-mapping'],
}

TARGETS = {
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
}
