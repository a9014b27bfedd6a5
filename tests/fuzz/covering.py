# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the library the corpora reach: lines and branches, by llvm-cov."""

import json
import os
import subprocess

from targets import LIBRARY
from unreachable import reason

# llvm-cov's branch: line, column, line, column, times true, times false, ….
LINE, COLUMN, TRUE, FALSE = 0, 1, 4, 5


def run_corpus(build, name, folders, raw):
    """Execute every input once."""
    env = dict(os.environ, LLVM_PROFILE_FILE=raw)
    with open(raw + '.log', 'w', encoding='utf-8') as log:
        code = subprocess.run([build.program(name), '-runs=0',
                               '-artifact_prefix=' + raw + '-', *folders],
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


class Source:
    """What was reached of one file: of the lines, and the ways of branches.

    Macros' own branches do not count: most are those of g_assert().
    """

    def __init__(self, entry):
        self.name = os.path.basename(entry['filename'])
        self.lines = entry['summary']['lines']
        self.taken = self.exempt = self.ways = 0
        self.missing = []
        with open(entry['filename'], encoding='utf-8') as f:
            text = f.read().splitlines()
        for branch in entry['branches']:
            line = text[branch[LINE] - 1].strip()
            for index, word in ((TRUE, 'true'), (FALSE, 'false')):
                self.ways += 1
                self.taken += branch[index] > 0
                if not branch[index]:
                    self.miss('%s:%d:%d: never %-5s | %s' % (
                        self.name, branch[LINE], branch[COLUMN], word, line),
                        reason(self.name, line))

    def miss(self, what, why):
        self.exempt += why is not None
        self.missing.append(what + ('   (%s)' % why if why else ''))


def part(n, of):
    return '%d/%d %5.1f%%' % (n, of, 100 * n / of if of else 100)


def show(name, sources):
    taken, ways, exempt = (sum(getattr(s, what) for s in sources)
                           for what in ('taken', 'ways', 'exempt'))
    print('%-16s %16s %16s %8d %16s' % (
        name, part(sum(s.lines['covered'] for s in sources),
                   sum(s.lines['count'] for s in sources)),
        part(taken, ways), exempt, part(taken, ways - exempt)))


def report(build, folder, corpora):
    """Print a table; what is not reached goes into a file of @folder."""
    raws = []
    for name, folders in corpora.items():
        raws.append(os.path.join(folder, name + '.raw'))
        run_corpus(build, name, folders, raws[-1])
    data = os.path.join(folder, 'all.data')
    subprocess.run(['llvm-profdata', 'merge', '-o', data, *raws], check=True)
    sources = [Source(entry)
               for entry in export(build, list(corpora), data)['files']
               if entry['summary']['lines']['count']]
    missing = os.path.join(folder, 'unreached.txt')
    with open(missing, 'w', encoding='utf-8') as f:
        for source in sources:
            f.writelines(line + '\n' for line in source.missing)
    print('%-16s %16s %16s %8s %16s' % ('', 'lines', 'branches', 'exempt',
                                        'of the others'))
    for source in sources:
        show(source.name, [source])
    show('all', sources)
    print('Branches that nothing reaches: ' + os.path.relpath(missing))
    return True
