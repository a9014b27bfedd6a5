# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests when scripts/conformance is content with the page and the logs.

import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, '..', '..', 'scripts', 'conformance')
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from tap import Suite, check, equal  # noqa: E402

README = '''\
Rows:

==  =====
A1  A row
B2  Another
==  =====
'''
SCRIPTS = {
    'both': [{'_rows': ['A1'], '_description': 'Both do it.'}],
    'emulator-only': [{'_rows': ['A1', 'B2'], '_requires': ['emulator', 'vhost-user'],
                       '_description': 'The emulator does it.',
                       '_linux_differs': 'Linux does not.'}],
    'parted': [{'_rows': 'B2', '_description': ['A', 'claim.'],
                '_linux_lacks': ['No', 'such thing.']},
               {'op': 'sleep', 'ms': 1, 'only': 'emulator'}],
    'linux-only': [{'_rows': 'B2', '_requires': 'kernel',
                    '_description': 'Linux does it.',
                    '_emulator_lacks': 'AF_UNIX cannot.'}],
    'no-front-end': [{'_rows': 'B2', '_requires': ['emulator', 'kernel'],
                      '_description': 'Not through QEMU.',
                      '_vhost_user_lacks': 'QEMU has it not.'}],
}
SKIP = ' # SKIP is not for the backend "%s"'
SUITES = {'replay': 'no line', 'replay-vhost-user': 'no line',
          'kernel': '# Linux 6.1.0-9',
          'kernel-new': '# Linux 7.2.1+deb14'}

suite = Suite()


class Case:
    """Scripts, logs of a run in which all went well, and no page."""

    def __init__(self, folder):
        self.folder = folder
        self.data = self.make('data')
        self.page = os.path.join(folder, 'page.rst')
        self.write('data/README.rst', README)
        for name, steps in SCRIPTS.items():
            self.write('data/%s.json' % name, json.dumps(steps))
        for name in SUITES:
            self.log(name)

    def make(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w',
                  encoding='utf-8') as f:
            f.write(text)

    def log(self, suite_name, both='ok', parted='', linux=None):
        backend = {'replay': 'emulator', 'replay-vhost-user': 'vhost-user'}
        backend = backend.get(suite_name, 'kernel')
        skip = SKIP % backend
        self.make('logs/' + suite_name)
        self.write('logs/%s/x.log' % suite_name,
                   '$ command\n1..6\n%s has /dev/vhost-vsock\n'
                   '%s 1 /vhost-vsock/replay/both.json\r\n'
                   'ok 2 /vhost-vsock/replay/emulator-only.json%s\n'
                   '    ok 3 /vhost-vsock/replay/parted.json%s\n'
                   'ok 4 /vhost-vsock/replay/linux-only.json%s\n'
                   'ok 5 /vhost-vsock/replay/no-front-end.json%s\n'
                   'ok 6 /vhostfd/other\n'
                   % (linux or SUITES[suite_name], both,
                      skip if backend == 'kernel' else '', parted,
                      skip if backend != 'kernel' else '',
                      skip if backend == 'vhost-user' else ''))

    def run(self, *options):
        """The names of the checks that failed, and all that was said."""
        run = subprocess.run(
            [sys.executable, PROGRAM, '--data', self.data, '--page',
             self.page, '--logs', os.path.join(self.folder, 'logs'),
             *options], capture_output=True, text=True, check=False)
        equal(run.stderr, '')
        failed = [line.split('/')[-1] for line in run.stdout.splitlines()
                  if line.startswith('not ok')]
        equal(run.returncode, 1 if failed else 0)
        return failed, run.stdout


def case(name):
    """Decorator: a case that gets a Case, with the page written."""
    def add(function):
        @suite.case('/conformance/' + name)
        def run():
            with tempfile.TemporaryDirectory() as folder:
                it = Case(folder)
                equal(it.run('--write')[0], [])
                function(it)
        return run
    return add


@case('page-of-the-same-run-passes')
def same(it):
    equal(it.run()[0], [])
    with open(it.page, encoding='utf-8') as f:
        page = f.read()
    for line in ('A1   2        2 ok      2 ok    1 ok       1 ok',
                 '``both``           ok        ok      ok         ok',
                 '``emulator-only``  ok        ok      differs 1  differs 1',
                 '``parted``         ok 2      ok 2    ok 2       ok 2',
                 '``linux-only``     n/a 3     n/a 3   ok         ok',
                 '``no-front-end``   ok        n/a 4   ok         ok',
                 '1. Linux does not.', '2. No such thing.',
                 '3. AF_UNIX cannot.', '4. QEMU has it not.'):
        check(line in page, 'not in the page: ' + line)
    # A reason stands under its own heading, once.
    _, what_linux_lacks, what_emulator_lacks, _ = page.rsplit('~\n\n', 3)
    check('No such' in what_linux_lacks and 'AF_UNIX' not in what_linux_lacks,
          what_linux_lacks)
    check('AF_UNIX' in what_emulator_lacks and
          'No such' not in what_emulator_lacks, what_emulator_lacks)


@case('page-is-the-same-whatever-the-order-of-the-log')
def order(it):
    path = 'logs/kernel/x.log'
    with open(os.path.join(it.folder, path), encoding='utf-8') as f:
        lines = f.readlines()
    it.write(path, ''.join(reversed(lines)))
    equal(it.run()[0], [])


@case('edited-page-fails-and-names-the-command')
def edited(it):
    with open(it.page, 'a', encoding='utf-8') as f:
        f.write('more\n')
    failed, said = it.run()
    equal(failed, ['the-page-says-what-came'])
    check('scripts/conformance --write' in said, said)


@case('script-that-failed-on-a-kernel-fails')
def broken(it):
    it.log('kernel', both='not ok')
    failed, said = it.run()
    equal(failed, ['every-script-holds', 'the-page-says-what-came'])
    check('Linux 6.1: both' in said, said)


@case('script-skipped-without-a-reason-fails')
def skipped(it):
    it.write('logs/kernel/x.log',
             'ok 1 /vhost-vsock/replay/both.json # SKIP no such node\n')
    check('every-script-holds' in it.run()[0], 'it passed')


@case('part-that-was-skipped-for-another-reason-fails')
def skipped_part(it):
    it.log('kernel', parted=' # SKIP no such node')
    check('every-script-holds' in it.run()[0], 'it passed')


@case('other-kernel-than-the-column-says-fails')
def other_kernel(it):
    it.log('kernel', linux='# Linux 6.12.1')
    equal(it.run()[0], ['columns-say-which-linux-it-was'])
    it.log('kernel')
    it.log('kernel-new', linux='# Linux 6.16.9')
    equal(it.run()[0], ['columns-say-which-linux-it-was'])


@case('missing-log-fails')
def missing(it):
    os.remove(os.path.join(it.folder, 'logs', 'kernel-new', 'x.log'))
    failed, said = it.run()
    equal(failed[:2], ['columns-say-which-linux-it-was',
                       'every-script-ran-on-every-backend'])
    check('kernel-new: 5 scripts' in said, said)


@case('log-of-an-older-run-counts-as-missing')
def stale(it):
    path = os.path.join(it.folder, 'logs', 'replay', 'x.log')
    os.utime(path, (1000, 1000))
    equal(it.run()[0], [])
    equal(it.run('--since', '2000')[0][0],
          'every-script-ran-on-every-backend')


@case('script-without-a-result-fails')
def new_script(it):
    it.write('data/new.json', json.dumps([{'_rows': ['A1']}]))
    equal(it.run()[0][0], 'every-script-ran-on-every-backend')


sys.exit(suite.main())
