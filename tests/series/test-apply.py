#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply a series to Debian's pristine source, as a packager does; TAP.

folder/source is left with all patches applied; it is unpacked anew only if
that is not pristine without them.  scripts/check-series runs this.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, 'tests', 'tools'),
                os.path.join(TOP, 'scripts')]
from overlay import (overlay_files, patch_set, patched_files,  # noqa: E402
                     read, read_text, write)
from tap import Suite, check, equal  # noqa: E402

suite = Suite(timeout_s=300)
job = argparse.Namespace()


def set_up(options):
    """Keep the arguments, and where everything is, in @job."""
    vars(job).update(vars(options))
    job.source = os.path.join(job.folder, 'source')
    job.snapshot = os.path.join(job.folder, 'pristine.json')
    job.names = read_text(os.path.join(job.patches, 'series')).split()


def run(*command, code=0, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, check=False, **options)
    if code is not None:
        equal(done.returncode, code,
              ' '.join(command[:3]) + ':\n' + done.stdout[-2000:])
    return done.stdout


def quilt(*args, code=0):
    env = dict(os.environ, QUILT_PATCHES='debian/patches', QUILT_NO_DIFF='1',
               QUILTRC='/dev/null')
    return run('quilt', *args, code=code, cwd=job.source, env=env)


def contents():
    """Every file of the source but quilt's and Debian's: a digest of each."""
    found = {}
    for folder, folders, names in os.walk(job.source):
        if folder == job.source:
            folders[:] = [f for f in folders if f not in ('.pc', 'debian')]
        for file in names:
            path = os.path.join(folder, file)
            found[os.path.relpath(path, job.source)] = (
                os.readlink(path) if os.path.islink(path)
                else hashlib.sha256(read(path)).hexdigest())
    return found


def debian_series():
    """Debian's own patches; ours are behind them, if they are there."""
    path = os.path.join(job.source, 'debian', 'patches', 'series')
    return path + '.debian', path


def take_back():
    """Pop our patches; whether the pristine source is what remains."""
    kept, used = debian_series()
    if not os.path.exists(job.snapshot) or not os.path.exists(kept):
        return False
    applied = quilt('applied', code=None).split()
    own = [words.split()[0] for words in read_text(kept).splitlines()
           if words.split() and not words.startswith('#')]
    for patch in reversed(applied):
        if os.path.basename(patch) not in own:
            quilt('pop', code=None)
    shutil.copyfile(kept, used)
    return contents() == json.loads(read(job.snapshot))


@suite.case('/series/debians-source-is-pristine')
def pristine():
    if os.path.isdir(job.source) and take_back():
        return
    shutil.rmtree(job.folder, ignore_errors=True)
    os.makedirs(job.folder)
    run('dpkg-source', '--no-check', '--no-copy', '-x', job.dsc, job.source)
    kept, used = debian_series()
    shutil.copyfile(used, kept)
    write(job.snapshot, json.dumps(contents()))


@suite.case('/series/every-header-is-dep-3')
def headers():
    for patch in job.names:
        head = read_text(os.path.join(job.patches, patch)).split('\n--- ')[0]
        check(head.endswith('\n'), patch + ': no empty line before the diff')
        lines = head[:-1].split('\n')
        check(re.match(r'Description: \S.{5,60}$', lines[0]),
              patch + ': ' + lines[0])
        fields = [line for line in lines if not line.startswith(' ')]
        for line in fields:
            check(re.match(r'(Description|Forwarded|Author|Last-Update|Origin'
                           r'|Bug(-Debian)?|Applied-Upstream): \S', line),
                  patch + ': ' + line)
        for field in 'Forwarded', 'Author':
            equal(sum(line.startswith(field + ':') for line in fields), 1,
                  patch + ': ' + field)


@suite.case('/series/the-same-commit-makes-the-same-patches')
def again():
    with tempfile.TemporaryDirectory() as other:
        run(os.path.join(TOP, 'scripts', 'write-series'), job.series, job.laid, other)
        equal(sorted(os.listdir(other)), sorted(os.listdir(job.patches)))
        for patch in os.listdir(other):
            check(read(os.path.join(other, patch)) ==
                  read(os.path.join(job.patches, patch)), patch + ' differs')


@suite.case('/series/quilt-applies-all-without-offset-or-fuzz')
def push():
    used = debian_series()[1]
    for patch in job.names:
        shutil.copy(os.path.join(job.patches, patch), os.path.dirname(used))
    with open(used, 'a', encoding='utf-8') as series:
        series.write(read_text(os.path.join(job.patches, 'series')))
    said = quilt('push', '-a', '-v', '--fuzz=0')
    lines = re.findall(r'.*(?:\boffset|with fuzz|[Rr]eversed).*', said)
    check(not lines, '\n'.join(lines))
    applied = [os.path.basename(p) for p in quilt('applied').split()]
    equal(applied[-len(job.names):], job.names)


@suite.case('/series/dpkg-source-unpacks-a-package-of-it')
def package():
    """What dpkg-source does at its own unpacking: every patch, no fuzz."""
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch:
        tree = os.path.join(scratch, 'tree')
        os.makedirs(os.path.join(tree, 'debian'))
        for part in 'patches', 'source':
            shutil.copytree(os.path.join(job.source, 'debian', part),
                            os.path.join(tree, 'debian', part))
        for part in 'control', 'changelog':
            shutil.copy(os.path.join(job.source, 'debian', part),
                        os.path.join(tree, 'debian'))
        before = json.loads(read(job.snapshot))
        for patch in job.names:
            for file in patched_files(os.path.join(job.patches, patch)):
                if file in before:
                    kept = os.path.join(job.source, '.pc', patch, file)
                    target = os.path.join(tree, file)
                    if not os.path.exists(target):
                        os.makedirs(os.path.dirname(target), exist_ok=True)
                        shutil.copyfile(kept, target)
        series = os.path.join(tree, 'debian', 'patches', 'series')
        shutil.copyfile(os.path.join(job.patches, 'series'), series)
        run('dpkg-source', '--before-build', tree)
        for patch in job.names:
            for file in patched_files(os.path.join(job.patches, patch)):
                check(read(os.path.join(tree, file)) ==
                      read(os.path.join(job.source, file)), file + ' differs')


@suite.case('/series/the-patched-source-is-the-tree-that-is-built-here')
def compare():
    before = json.loads(read(job.snapshot))
    after = contents()
    files = overlay_files()
    folder, edits = patch_set(job.series)
    edited = {file for patch in edits
              for file in patched_files(os.path.join(folder, patch))}
    changed = {file for file in {*before, *after}
               if before.get(file) != after.get(file)}
    same = {file for file in files if file in before and
            before[file] == after[file]}
    equal(sorted(changed), sorted({*files, *edited} - same))
    for file in sorted({*files, *edited}):
        check(read(os.path.join(job.source, file)) ==
              read(os.path.join(job.laid, file)), file + ' differs')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('series', help='the series of QEMU, say 7.2')
    parser.add_argument('dsc', help="Debian's source package")
    parser.add_argument('patches', help='what make patches wrote')
    parser.add_argument('laid', help='the tree this checkout was laid over')
    parser.add_argument('folder', help='where to work')
    return suite.main(parser, set_up)


sys.exit(main())
