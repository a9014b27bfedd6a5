# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests how the checkout is laid over QEMU's tree: what is new, changed or
# gone, and the patches; with a small checkout and a small tree.

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from checkout import Checkout  # noqa: E402
from tap import Suite, check, contains, equal  # noqa: E402

suite = Suite()

TREE = 'build/qemu-1.0/source'
FILES = '''# path, patch
hw/                     device.patch
include/                device.patch
subprojects/            lib.patch
subprojects/lib/notes/  -
'''
KCONFIG = ''.join('line %d\n' % i for i in range(20))
PATCH = '''Description: A test
 Why it is there.

--- a/hw/Kconfig
+++ b/hw/Kconfig
@@ -1,4 +1,4 @@
-line 0
+line zero
 line 1
 line 2
 line 3
'''


class World(Checkout):
    """A checkout with a device and a patch, and a tree of QEMU."""

    def __init__(self):
        super().__init__(['lay-overlay', 'update-patches', 'overlay.py'], {
            'patches/common/files': FILES,
            'hw/virtio/device.c': 'ours\n',
            'include/device.h': 'ours\n',
            'patches/qemu-1.0/series': 'one.patch\n',
            'patches/qemu-1.0/one.patch': PATCH,
            TREE + '/hw/virtio/device.c': 'theirs\n',
            TREE + '/hw/Kconfig': KCONFIG,
        })

    def remove(self, name):
        os.unlink(self.path(name))

    def laid(self, name):
        """A file of QEMU's tree."""
        return self.read(TREE + '/' + name)

    def edit(self, name, text):
        """Write a file of QEMU's tree."""
        self.write(TREE + '/' + name, text)

    def has(self, name):
        return os.path.lexists(self.path(TREE + '/' + name))

    def lay(self, code=0):
        return self.run('lay-overlay', '1.0', self.path(TREE), code=code)

    def times(self):
        return {name: os.stat(os.path.join(path, name)).st_mtime_ns
                for path, _, names in os.walk(self.path(TREE))
                for name in names}


@suite.case('/overlay/files-of-the-checkout-replace-those-of-qemu')
def replaces():
    with World() as w:
        w.lay()
        equal(w.laid('hw/virtio/device.c'), 'ours\n')
        equal(w.laid('include/device.h'), 'ours\n')


@suite.case('/overlay/an-edit-is-seen-without-laying-again')
def edit():
    with World() as w:
        w.lay()
        w.write('hw/virtio/device.c', 'edited\n')
        equal(w.laid('hw/virtio/device.c'), 'edited\n')


@suite.case('/overlay/laying-twice-touches-nothing')
def twice():
    with World() as w:
        w.lay()
        before = w.times()
        equal(w.lay(), '')
        equal(w.times(), before)


@suite.case('/overlay/a-new-file-comes-and-a-removed-one-goes')
def new_and_removed():
    with World() as w:
        w.lay()
        w.write('subprojects/lib/src/new.c', 'new\n')
        w.remove('include/device.h')
        w.lay()
        equal(w.laid('subprojects/lib/src/new.c'), 'new\n')
        check(not w.has('include/device.h'), 'the link is still there')
        check(not w.has('include'), 'an empty folder is left')


@suite.case('/overlay/without-our-file-qemu-has-its-own-again')
def restored():
    with World() as w:
        w.lay()
        w.remove('hw/virtio/device.c')
        w.lay()
        equal(w.laid('hw/virtio/device.c'), 'theirs\n')


@suite.case('/overlay/what-the-table-excepts-stays-out')
def excepted():
    with World() as w:
        w.write('subprojects/lib/src.c', '')
        w.write('subprojects/lib/notes/a.rst', '')
        w.write('docs/b.rst', '')
        w.lay()
        check(w.has('subprojects/lib/src.c'), 'src.c is not there')
        check(not w.has('subprojects/lib/notes'), 'notes are there')
        check(not w.has('docs'), 'docs are there')


@suite.case('/overlay/a-path-is-once-in-the-table')
def once():
    with World() as w:
        w.write('patches/common/files', FILES + 'hw/ other.patch\n')
        contains(w.lay(code=1), 'hw/ other.patch')


@suite.case('/overlay/leftovers-of-editors-stay-out')
def leftovers():
    with World() as w:
        for name in ('device.c~', 'device.c.orig', '.device.c.swp'):
            w.write('hw/virtio/' + name, '')
        w.lay()
        for name in ('device.c~', 'device.c.orig', '.device.c.swp'):
            check(not w.has('hw/virtio/' + name), name)


@suite.case('/patches/are-applied-once')
def applied():
    with World() as w:
        w.lay()
        w.lay()
        equal(w.laid('hw/Kconfig'), KCONFIG.replace('line 0', 'line zero', 1))


@suite.case('/patches/a-changed-patch-is-applied-to-qemus-own-file')
def changed():
    with World() as w:
        w.lay()
        w.write('patches/qemu-1.0/one.patch', PATCH.replace('zero', 'nought'))
        w.lay()
        equal(w.laid('hw/Kconfig'), KCONFIG.replace('line 0', 'line nought', 1))


@suite.case('/patches/a-dropped-patch-is-taken-back')
def dropped():
    with World() as w:
        w.lay()
        w.write('patches/qemu-1.0/series', '# none\n')
        w.lay()
        equal(w.laid('hw/Kconfig'), KCONFIG)


@suite.case('/patches/one-that-does-not-fit-changes-nothing-and-says-which')
def misfit():
    with World() as w:
        w.write('patches/qemu-1.0/one.patch', PATCH.replace('line 2', 'line x'))
        contains(w.lay(code=1), 'one.patch does not fit')
        equal(w.laid('hw/Kconfig'), KCONFIG)


@suite.case('/patches/a-series-without-a-set-is-an-error-that-lists-the-sets')
def no_set():
    with World() as w:
        contains(w.run('lay-overlay', '9.9', w.path(TREE), code=1),
                 'sets here: 1.0')


@suite.case('/patches/an-edit-in-the-tree-is-not-overwritten')
def hand_edit():
    with World() as w:
        w.lay()
        w.edit('hw/Kconfig', 'edited\n')
        contains(w.lay(code=1), 'update-patches 1.0')
        equal(w.laid('hw/Kconfig'), 'edited\n')


@suite.case('/patches/an-edit-in-the-tree-can-be-kept-as-a-patch')
def update():
    with World() as w:
        w.lay()
        edited = KCONFIG.replace('line 10', 'line ten')
        w.edit('hw/Kconfig', edited)
        w.run('update-patches', '1.0')
        equal(w.lay(), '')
        equal(w.laid('hw/Kconfig'), edited)
        contains(w.read('patches/qemu-1.0/one.patch'),
                 'Why it is there.\n\n--- a/hw/Kconfig')


@suite.case('/patches/a-file-can-be-added-to-a-new-patch')
def add_file():
    with World() as w:
        w.edit('meson.build', 'a\n')
        w.lay()
        w.run('update-patches', '1.0', 'meson.build:two.patch')
        w.edit('meson.build', 'b\n')
        w.run('update-patches', '1.0', 'meson.build:two.patch')
        w.lay()
        equal(w.laid('meson.build'), 'b\n')
        w.write('patches/qemu-1.0/series', 'one.patch\n')
        w.lay()
        equal(w.laid('meson.build'), 'a\n')


TWO = '''Description: The second of two

--- a/hw/Kconfig
+++ b/hw/Kconfig
@@ -8,6 +8,7 @@
 line 7
 line 8
 line 9
+two
 line 10
 line 11
 line 12
'''


def two_patches(w, order='one.patch\ntwo.patch\n'):
    """Both change hw/Kconfig."""
    w.write('patches/qemu-1.0/two.patch', TWO)
    w.write('patches/qemu-1.0/series', order)
    w.lay()


def patch_text(w, name):
    return w.read('patches/qemu-1.0/' + name)


@suite.case('/patches/two-may-change-one-file')
def two_on_one():
    with World() as w:
        two_patches(w)
        laid = w.laid('hw/Kconfig')
        contains(laid, 'line zero\n')
        contains(laid, 'line 9\ntwo\n')
        w.write('patches/qemu-1.0/series', 'two.patch\n')
        w.lay()
        equal(w.laid('hw/Kconfig'), laid.replace('zero', '0'))


@suite.case('/patches/without-an-edit-each-stays-what-it-was')
def two_unedited():
    with World() as w:
        two_patches(w)
        w.run('update-patches', '1.0')
        equal(patch_text(w, 'one.patch'), PATCH)
        contains(patch_text(w, 'two.patch'), '+two\n')
        check('zero' not in patch_text(w, 'two.patch'), 'one is in two')


@suite.case('/patches/an-edit-of-a-file-of-two-must-say-whose-it-is')
def two_unnamed():
    with World() as w:
        two_patches(w)
        edited = w.laid('hw/Kconfig').replace('line 15', 'line fifteen')
        w.edit('hw/Kconfig', edited)
        contains(w.run('update-patches', '1.0', code=1), 'one.patch two.patch')
        equal(patch_text(w, 'one.patch'), PATCH)


@suite.case('/patches/an-edit-for-the-first-moves-the-lines-of-the-second')
def two_first():
    with World() as w:
        two_patches(w)
        edited = w.laid('hw/Kconfig').replace('line 3\n', 'line 3\nnew\n')
        w.edit('hw/Kconfig', edited)
        w.run('update-patches', '1.0', 'hw/Kconfig:one.patch')
        contains(patch_text(w, 'one.patch'), '+new\n')
        contains(patch_text(w, 'two.patch'), '@@ -9,6 +9,7 @@\n line 7\n')
        equal(w.lay(), '')
        equal(w.laid('hw/Kconfig'), edited)


@suite.case('/patches/an-edit-for-the-second-leaves-the-first-alone')
def two_second():
    with World() as w:
        two_patches(w)
        edited = w.laid('hw/Kconfig').replace('two\n', 'two\nthree\n')
        w.edit('hw/Kconfig', edited)
        w.run('update-patches', '1.0', 'hw/Kconfig:two.patch')
        equal(patch_text(w, 'one.patch'), PATCH)
        contains(patch_text(w, 'two.patch'), '+three\n')
        equal(w.lay(), '')


@suite.case('/patches/an-edit-of-what-the-second-adds-is-not-for-the-first')
def two_wrong():
    with World() as w:
        two_patches(w)
        edited = w.laid('hw/Kconfig').replace('two\n', 'deux\n')
        w.edit('hw/Kconfig', edited)
        contains(w.run('update-patches', '1.0', 'hw/Kconfig:one.patch',
                       code=1), 'without what two.patch does')
        equal(patch_text(w, 'one.patch'), PATCH)
        w.run('update-patches', '1.0', 'hw/Kconfig:two.patch')
        contains(patch_text(w, 'two.patch'), '+deux\n')


sys.exit(suite.main())
