# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files of this checkout belong into QEMU's tree, and the patch sets.

patches/common/files says which patch of a series brings which files, and so
also which are laid over QEMU's tree.  patches/qemu-SERIES has the patches of
QEMU's own files.  Used by lay-overlay, update-patches and write-series.
"""

import os
import re
import subprocess
import sys

IGNORED = re.compile(r'(~|\.orig|\.rej|\.sw.|\.o|\.pyc)$|^\.#|^#')

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMON = os.path.join(TOP, 'patches', 'common')


def fail(*lines):
    sys.exit('error: ' + '\n       '.join(lines))


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def read_text(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(content if isinstance(content, bytes) else content.encode())


def read_list(path):
    """The words of each line; what follows a # is not for us."""
    lines = [line.split('#')[0].split() for line in
             read_text(path).splitlines()]
    return [words for words in lines if words]


def places():
    """The table: paths and folders (with a / behind), and their patches."""
    found = {}
    for words in read_list(os.path.join(COMMON, 'files')):
        if len(words) != 2 or words[0] in found:
            fail('patches/common/files: not a path of its own and a patch: '
                 + ' '.join(words))
        found[words[0]] = None if words[1] == '-' else words[1]
    return found


def patch_of(name, table):
    """The patch that brings a file, by the longest path; None if none does."""
    fitting = [path for path in table if name == path or
               (path.endswith('/') and name.startswith(path))]
    return table[max(fitting, key=len)] if fitting else None


def files_below(path):
    for folder, folders, names in os.walk(os.path.join(TOP, path)):
        if os.path.isdir(os.path.join(folder, 'meson-private')):
            folders.clear()
            continue
        folders[:] = [f for f in folders if f != '__pycache__']
        for name in names:
            if not IGNORED.search(name):
                yield os.path.relpath(os.path.join(folder, name), TOP)


def overlay_files():
    """The checkout's files that belong into QEMU's tree: their patches."""
    table = places()
    found = set()
    for path in table:
        if path.endswith('/'):
            found.update(files_below(path))
        elif os.path.exists(os.path.join(TOP, path)):
            found.add(path)
    return {name: patch_of(name, table) for name in sorted(found)
            if patch_of(name, table)}


def patch_set(series_name):
    """The folder of a series' patches of QEMU's files, and their names."""
    folder = os.path.join(TOP, 'patches', 'qemu-' + series_name)
    path = os.path.join(folder, 'series')
    if not os.path.exists(path):
        fail('There is no patch set for QEMU %s; sets here: %s' % (
            series_name, ' '.join(
                sorted(n[5:] for n in os.listdir(os.path.dirname(folder))
                       if n.startswith('qemu-')))))
    return folder, [words[0] for words in read_list(path)]


def patched_files(patch):
    """The files that a patch changes; none if there is no such patch."""
    if not os.path.exists(patch):
        return []
    return re.findall(r'^\+\+\+ b/(\S+)', read_text(patch), re.M)


def header_of(patch):
    """What stands before the first hunk of a patch."""
    return re.split(r'^(?=--- a/)', read_text(patch),
                    flags=re.M)[0].rstrip() + '\n'


def apply(patch, folder):
    """Apply a patch in a folder; one that has no hunks changes nothing."""
    if not patched_files(patch):
        return
    run = subprocess.run(
        ['patch', '-p1', '-s', '-f', '-F0', '--no-backup-if-mismatch',
         '-d', folder, '-i', patch], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        fail('%s does not fit the files of this QEMU:' % os.path.relpath(patch),
             *run.stdout.splitlines(),
             'Refresh it for this version of QEMU, see scripts/update-patches.')
