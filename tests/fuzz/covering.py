# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the library the corpora reach: lines and branches, by llvm-cov."""

import json
import os
import subprocess

from targets import LIBRARY

# llvm-cov's branch: line, column, line, column, times true, times false, ….
LINE, COLUMN, TRUE, FALSE = 0, 1, 4, 5


def run_corpus(build, name, folders, raw):
    """Execute every input once."""
    env = dict(os.environ, LLVM_PROFILE_FILE=raw)
    with open(raw + '.log', 'w', encoding='utf-8') as log:
        code = subprocess.run([build.program(name), '-runs=0', *folders],
                              env=env, check=False, stdout=log,
                              stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL).returncode
    if code:
        raise RuntimeError('%s: the corpus has a finding, see %s.log'
                           % (name, raw))


def export(build, names, data):
    programs = [build.program(name) for name in names]
    objects = [arg for program in programs[1:]
               for arg in ('-object', program)]
    run = subprocess.run(['llvm-cov', 'export', programs[0], *objects,
                          '-instr-profile', data,
                          os.path.join(build.top, LIBRARY, 'src')],
                         check=True, stdout=subprocess.PIPE)
    return json.loads(run.stdout)['data'][0]


def unreached(entry):
    """Lines that tell which sides of branches were never taken."""
    with open(entry['filename'], encoding='utf-8') as f:
        source = f.read().splitlines()
    for branch in entry['branches']:
        for index, word in ((TRUE, 'true'), (FALSE, 'false')):
            if not branch[index]:
                yield '%s:%d:%d: never %-5s | %s' % (
                    os.path.basename(entry['filename']), branch[LINE],
                    branch[COLUMN], word, source[branch[LINE] - 1].strip())


def report(build, folder, corpora):
    """Print a table; what is not reached goes into a file of @folder."""
    raws = []
    for name, folders in corpora.items():
        raws.append(os.path.join(folder, name + '.raw'))
        run_corpus(build, name, folders, raws[-1])
    data = os.path.join(folder, 'all.data')
    subprocess.run(['llvm-profdata', 'merge', '-o', data, *raws], check=True)
    exported = export(build, list(corpora), data)
    missing = os.path.join(folder, 'unreached.txt')
    with open(missing, 'w', encoding='utf-8') as f:
        for entry in exported['files']:
            f.writelines(line + '\n' for line in unreached(entry))
    print('%-16s %16s %16s' % ('', 'lines', 'branches'))
    for entry in exported['files']:
        show(os.path.basename(entry['filename']), entry['summary'])
    show('all', exported['totals'])
    print('Branches that nothing reaches: ' + os.path.relpath(missing))
    return True


def show(name, summary):
    def part(what):
        return '%d/%d %5.1f%%' % (summary[what]['covered'],
                                  summary[what]['count'],
                                  summary[what]['percent'])
    print('%-16s %16s %16s' % (name, part('lines'), part('branches')))
