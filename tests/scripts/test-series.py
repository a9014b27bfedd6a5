# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests how the patches of a source package are written, with a small checkout
# and a small source; and the table that says which file is in which patch.

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SCRIPTS = os.path.join(TOP, 'scripts')
sys.path[:0] = [os.path.join(TOP, 'tests', 'tools'), SCRIPTS]
from checkout import Checkout  # noqa: E402
from overlay import (files_below, overlay_files, patch_of,  # noqa: E402
                     patch_set, places, read_list)
from tap import Suite, check, contains, equal  # noqa: E402

suite = Suite()

FILES = '''lib/       lib.patch
lib/tests/ tests.patch
lib/notes/ -
hw/        device.patch
'''
HEADER = 'Description: Do it\n Because.\nForwarded: no\n'
MESON = ''.join('line %d\n' % i for i in range(30))
DEVICE = HEADER + '''
--- a/meson.build
+++ b/meson.build
@@ -1,4 +1,5 @@
 line 0
+device
 line 1
 line 2
 line 3
'''
DAEMON = HEADER + '''
--- a/meson.build
+++ b/meson.build
@@ -20,7 +20,7 @@
 line 18
 line 19
 line 20
-line 21
+daemon
 line 22
 line 23
 line 24
'''


class World(Checkout):
    """A checkout with a library, a device and two edits; a source of QEMU."""

    def __init__(self):
        super().__init__(['write-series', 'overlay.py'], {
            'patches/common/files': FILES,
            'patches/common/series': '# all\nlib.patch\ntests.patch\n'
                                     'device.patch\ndaemon.patch\n'
                                     'other.patch\n',
            'patches/common/lib.patch': HEADER,
            'patches/common/tests.patch': HEADER,
            'patches/qemu-1.0/series': 'device.patch\ndaemon.patch\n',
            'patches/qemu-1.0/device.patch': DEVICE,
            'patches/qemu-1.0/daemon.patch': DAEMON,
            'lib/a.c': 'a\n',
            'lib/tests/t.c': 't\n',
            'lib/notes/n.rst': 'n\n',
            'hw/device.c': 'ours\n',
            'source/hw/device.c': 'theirs\n',
            'source/meson.build': MESON,
        })

    def series(self, out='out', **options):
        return self.run('write-series', '1.0', self.path('source'),
                        self.path(out), **options)


@suite.case('/series/has-the-patches-that-do-something-in-order')
def order():
    with World() as w:
        w.series()
        equal(w.read('out/series'),
              'lib.patch\ntests.patch\ndevice.patch\ndaemon.patch\n')
        equal(sorted(os.listdir(w.path('out'))),
              ['daemon.patch', 'device.patch', 'lib.patch', 'series',
               'tests.patch'])


@suite.case('/series/a-file-goes-by-the-longest-path-of-the-table')
def longest():
    with World() as w:
        w.series()
        contains(w.read('out/lib.patch'), '+++ b/lib/a.c\n@@ -0,0 +1 @@\n+a\n')
        equal(w.read('out/lib.patch').count('+++ '), 1)
        contains(w.read('out/tests.patch'), '--- /dev/null\n+++ b/lib/tests/')


@suite.case('/series/a-file-that-qemu-has-is-changed')
def replaced():
    with World() as w:
        w.series()
        contains(w.read('out/device.patch'), '--- a/hw/device.c\n'
                 '+++ b/hw/device.c\n@@ -1 +1 @@\n-theirs\n+ours\n')


@suite.case('/series/lines-are-counted-after-the-patches-before')
def counted():
    with World() as w:
        w.series()
        contains(w.read('out/daemon.patch'), '@@ -20,7 +20,7 @@\n line 18\n')
        source = w.path('source')
        for patch in w.read('out/series').split():
            said = subprocess.run(
                ['patch', '-p1', '-F0', '-i', '../out/' + patch], check=True,
                cwd=source, capture_output=True, text=True).stdout
            check('offset' not in said, said)
        equal(w.read('source/meson.build'), MESON.replace(
            'line 0\n', 'line 0\ndevice\n').replace('line 21', 'daemon'))
        check(not os.path.exists(os.path.join(source, 'lib/notes')), 'notes')


@suite.case('/series/is-the-same-each-time-and-when-the-checkout-is-laid')
def same():
    with World() as w:
        w.series()
        w.series(out='again')
        # As lay-overlay leaves it: a link, and QEMU's own file aside.
        w.write('source.pristine/hw/device.c', 'theirs\n')
        w.write('source.pristine/meson.build', MESON)
        w.write('source/meson.build', 'laid\n')
        for name in 'hw/device.c', 'lib/a.c':
            path = w.path('source/' + name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.exists(path):
                os.unlink(path)
            os.symlink(w.path(name), path)
        w.series(out='laid')
        for name in w.read('out/series').split():
            equal(w.read('again/' + name), w.read('out/' + name))
            equal(w.read('laid/' + name), w.read('out/' + name))


@suite.case('/series/a-header-says-who-and-whether-it-was-forwarded')
def header():
    with World() as w:
        w.series()
        check(re.match(r'Description: Do it\n Because\.\nForwarded: no\n'
                       r'Author: .+\n(Last-Update: [-\d]{10}\n)?\n--- ',
                       w.read('out/lib.patch')), w.read('out/lib.patch'))


@suite.case('/series/author-can-be-named')
def author():
    with World() as w:
        w.series(AUTHOR='A. Packager <a@example.org>')
        contains(w.read('out/lib.patch'),
                 '\nAuthor: A. Packager <a@example.org>\n')


@suite.case('/series/what-is-not-committed-is-told-and-gets-no-date')
def dirty():
    with World() as w:
        def git(*args):
            subprocess.run(['git', '-C', w.name, '-c', 'user.name=A',
                            '-c', 'user.email=a@example.org', *args],
                           check=True, capture_output=True)

        git('init')
        git('add', 'lib', 'hw', 'patches', 'scripts')
        git('commit', '-m', 'all')
        check('warning' not in w.series(), 'a warning')
        contains(w.read('out/lib.patch'), '\nLast-Update: ')
        w.write('lib/new.c', 'new\n')
        contains(w.series(), 'not committed:\n?? lib/new.c\n')
        check('Last-Update' not in w.read('out/lib.patch'), 'it has a date')


@suite.case('/series/an-old-patch-does-not-stay-in-the-folder')
def old():
    with World() as w:
        w.write('out/gone.patch', '')
        w.series()
        check(not os.path.exists(w.path('out/gone.patch')), '')


@suite.case('/series/what-no-patch-can-bring-is-refused')
def refused():
    with World() as w:
        w.write('lib/empty.c', '')
        contains(w.series(code=1), 'lib/empty.c is empty')
    with World() as w:
        w.write('lib/odd.bin', 'a\0b')
        contains(w.series(code=1), 'lib/odd.bin cannot be in a patch')
    with World() as w:
        os.unlink(w.path('patches/common/lib.patch'))
        contains(w.series(code=1), 'lib.patch has no header')
    with World() as w:
        w.write('patches/common/series', 'lib.patch\ntests.patch\n')
        contains(w.series(code=1), 'lacks daemon.patch device.patch')
    with World() as w:
        w.write('patches/qemu-1.0/series', 'daemon.patch\ndevice.patch\n')
        contains(w.series(code=1), 'not in the order')
    with World() as w:
        w.write('source/meson.build', 'another one\n')
        contains(w.series(code=1), 'device.patch does not fit')


@suite.case('/series/an-unknown-one-is-an-error-that-lists-those-there-are')
def unknown():
    run = subprocess.run([os.path.join(SCRIPTS, 'make-patches')],
                         env=dict(os.environ, QEMU='9.9'),
                         capture_output=True, text=True, check=False)
    equal(run.returncode, 1)
    contains(run.stderr, "no patch set for QEMU '9.9'")
    contains(run.stderr, 'Sets here: 7.2 10.0 ')


@suite.case('/table/every-file-of-the-overlay-has-a-place')
def placed():
    table = places()
    lacking = [name for folder in ('hw', 'include', 'subprojects', 'contrib',
                                   'tests/qtest', 'docs')
               for name in files_below(folder)
               if not any(name == path or path.endswith('/') and
                          name.startswith(path) for path in table)]
    equal(lacking, [])


@suite.case('/table/every-line-of-it-has-a-file')
def used():
    table = places()
    files = [name for path in table for name in (
        files_below(path) if path.endswith('/') else [path])]
    check(all(os.path.exists(os.path.join(TOP, name)) for name in files),
          'a path that is not there')
    deciding = {max((p for p in table if name == p or p.endswith('/') and
                     name.startswith(p)), key=len) for name in files}
    equal(sorted(deciding), sorted(table))
    equal(patch_of('nowhere/at/all', table), None)


@suite.case('/table/every-patch-is-in-the-common-order')
def ordered():
    common = [words[0] for words in
              read_list(os.path.join(TOP, 'patches/common/series'))]
    found = set(overlay_files().values())
    for name in sorted(os.listdir(os.path.join(TOP, 'patches'))):
        if name.startswith('qemu-'):
            names = patch_set(name[len('qemu-'):])[1]
            equal([n for n in common if n in names], names, name)
            found.update(names)
    equal(sorted(found), sorted(common))


sys.exit(suite.main())
