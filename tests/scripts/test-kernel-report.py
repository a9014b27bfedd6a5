#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests what tests/kernel/run makes of VMs that die, hang or leave tests out.
# Shell scripts stand in for QEMU; in place of a VM's serial ports they have
# standard output and the file "console".

import contextlib
import io
import os
import sys
import tempfile
from unittest import mock

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, 'kernel'), os.path.join(TESTS, 'tools')]
sys.dont_write_bytecode = True

import machine  # noqa: E402
from jobs import Job  # noqa: E402
from report import Report  # noqa: E402
from tap import Suite, check, contains, equal  # noqa: E402

suite = Suite()
NAMES = ['/a', '/b', '/c']
GOOD = 'ok 1 /a\nok 2 - /b\nok 3 /c\n'


class FakeContents:
    kernel = initrd = 'none'

    def __init__(self, path):
        self.path = path

    def program(self, _name):
        return self.path


def report_of(said, then=''):
    """The lines that are reported of a VM that says @said, and then does
    something."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'fake')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\n'
                       f'echo a last word >{folder}/vm/console\n'
                       f'cat <<"END" | head -c -1\n{said}\nEND\n{then}\n')
        os.chmod(path, 0o755)
        out = io.StringIO()
        job = Job('vm', NAMES, 'true')
        with contextlib.redirect_stdout(out):
            report = Report()
            report.plan([job])
            report.run(job, machine.Machine(FakeContents(path),
                                            os.path.join(folder, 'vm')))
    lines = out.getvalue().splitlines()
    equal(lines[0], '1..4', 'plan')
    results = [line for line in lines if not line.startswith('#')][1:]
    equal(len(results), 4, 'results')
    return lines


def names(lines, prefix):
    return [line.split()[-1] for line in lines if line.startswith(prefix)]


def expect_failed(lines, failed, why):
    equal(sorted(names(lines, 'not ok')), sorted(failed))
    contains('\n'.join(lines), why)


@suite.case('/kernel-report/all-is-well')
def _():
    lines = report_of('1..3\n' + GOOD + '# job: exit 0\n')
    expect_failed(lines, [], '')
    equal(names(lines, 'ok'), NAMES + ['/vm/vm'])


@suite.case('/kernel-report/failure-keeps-its-words')
def _():
    lines = report_of('ok 1 /a\n# because\nnot ok 2 /b\nok 3 /c\n'
                      '# job: exit 1\n')
    expect_failed(lines, ['/b'], '# because')
    check(lines.index('# because') < lines.index('not ok 2 /b'), 'the order')


@suite.case('/kernel-report/killed-in-the-middle')
def _():
    lines = report_of('ok 1 /a\n', 'kill -9 $$')
    expect_failed(lines, ['/b', '/c', '/vm/vm'], 'its QEMU ended with -9')
    contains('\n'.join(lines), '# a last word')


@suite.case('/kernel-report/panic-takes-it-down-early')
def _():
    lines = report_of('ok 1 /a\n', 'exit 0')
    expect_failed(lines, ['/b', '/c', '/vm/vm'],
                  'it went down before its job was done')
    contains('\n'.join(lines), '# a last word')


@suite.case('/kernel-report/line-that-was-cut-off-is-no-result')
def _():
    lines = report_of('ok 1 /a\nok 2 /b\nok 3 /c', 'exit 0')
    expect_failed(lines, ['/c', '/vm/vm'], 'it went down')


@suite.case('/kernel-report/hangs')
def _():
    with mock.patch.object(machine, 'SILENCE_S', 1):
        lines = report_of('ok 1 /a\n', 'exec sleep 600')
    expect_failed(lines, ['/b', '/c', '/vm/vm'], 'it said nothing for 1 s')


@suite.case('/kernel-report/talks-for-ever')
def _():
    with mock.patch.object(machine, 'LIMIT_S', 1):
        lines = report_of('ok 1 /a\n', 'while sleep 0.2; do echo x; done')
    expect_failed(lines, ['/b', '/c', '/vm/vm'], 'it took more than 1 s')


@suite.case('/kernel-report/says-nothing-at-all')
def _():
    lines = report_of('')
    expect_failed(lines, NAMES + ['/vm/vm'], 'it went down before')


@suite.case('/kernel-report/leaves-a-test-out')
def _():
    lines = report_of('1..2\nok 1 /a\nok 2 /c\n# job: exit 0\n')
    expect_failed(lines, ['/b', '/vm/vm'], 'left out 1 of 3 tests')


@suite.case('/kernel-report/bad-exit-after-good-tests')
def _():
    lines = report_of(GOOD + '# job: exit 134\n')
    expect_failed(lines, ['/vm/vm'], 'it passed, and exited with 134')


@suite.case('/kernel-report/dies-after-the-last-test')
def _():
    lines = report_of(GOOD + '# job: exit 0\n', 'kill -11 $$')
    expect_failed(lines, ['/vm/vm'], 'its QEMU ended with -11')


@suite.case('/kernel-report/skip-for-want-of-the-node-is-a-failure')
def _():
    lines = report_of('ok 1 /a # SKIP is not for the backend "kernel"\n'
                      'ok 2 /b # SKIP cannot open /dev/vhost-vsock\n'
                      'ok 3 /c\n# job: exit 0\n')
    expect_failed(lines, ['/b'], 'cannot open /dev/vhost-vsock')
    contains('\n'.join(lines), 'ok 1 /a # SKIP is not for the backend')


@suite.case('/kernel-report/result-twice-counts-once')
def _():
    lines = report_of('not ok 1 /a\nok 1 /a\nok 2 /b\nok 3 /c\n'
                      '# job: exit 1\n')
    expect_failed(lines, ['/a'], '')


if __name__ == '__main__':
    sys.exit(suite.main())
