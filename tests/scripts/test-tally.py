# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests how `make check` counts what tests say.

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
sys.path.insert(0, os.path.join(HERE, '..', '..', 'scripts'))
from tap import Suite, equal  # noqa: E402
from tally import Parser  # noqa: E402

suite = Suite()


def count(text, code=0):
    """(passed, failed, skipped) and the reasons of a program's output."""
    parser = Parser('prog')
    for line in text.splitlines(True):
        parser.feed(line)
    tally = parser.finish(code)
    return ((tally.passed, len(tally.failed), len(tally.skipped)),
            [why for _, why in tally.failed + tally.skipped])


@suite.case('/tally/plan-in-front')
def plan_in_front():
    equal(count('TAP version 14\n1..2\nok 1 /a\nok 2 - b\n')[0], (2, 0, 0))


@suite.case('/tally/plan-behind')
def plan_behind():
    equal(count('ok 1 /a\nok 2 /b\n# random noise\n1..2\n')[0], (2, 0, 0))


@suite.case('/tally/not-ok-is-a-failure')
def not_ok():
    equal(count('1..2\nok 1 /a\nnot ok 2 /b\n', 1),
          ((1, 1, 0), ['not ok']))


@suite.case('/tally/a-failure-is-told-with-the-comment-before-it')
def why():
    equal(count('1..2\n# of a\nok 1 /a\n# one\n# two: 3 != 4\nnot ok 2 /b\n',
                1), ((1, 1, 0), ['two: 3 != 4']))


@suite.case('/tally/no-plan-is-a-failure')
def no_plan():
    equal(count('ok 1 /a\n'), ((1, 1, 0), ['it printed no TAP plan']))


@suite.case('/tally/silence-is-a-failure')
def silence():
    equal(count('')[0], (0, 1, 0))


@suite.case('/tally/a-plan-that-is-not-kept-is-a-failure')
def short_plan():
    equal(count('1..3\nok 1 /a\nok 2 /b\n'),
          ((2, 1, 0), ['it planned 3 tests and ran 2']))


@suite.case('/tally/an-exit-code-is-a-failure')
def exit_code():
    equal(count('1..1\nok 1 /a\n', 3), ((1, 1, 0), ['exit code 3']))


@suite.case('/tally/the-exit-code-of-a-failure-is-not-counted-again')
def exit_code_of_failure():
    equal(count('1..1\nnot ok 1 /a\n', 1)[0], (0, 1, 0))


@suite.case('/tally/a-signal-is-a-failure')
def killed():
    equal(count('1..2\nok 1 /a\n', -11)[0], (1, 2, 0))


@suite.case('/tally/a-timeout-is-a-failure')
def timeout():
    equal(count('1..1\nok 1 /a\n', None),
          ((1, 1, 0), ['it ran too long and was ended']))


@suite.case('/tally/skip-has-its-reason')
def skip():
    equal(count('1..2\nok 1 /a # SKIP no such node\nok 2 /b\n'),
          ((1, 0, 1), ['no such node']))


@suite.case('/tally/a-skipped-program-is-one-skip')
def skip_all():
    equal(count('1..0 # SKIP not here\n'), ((0, 0, 1), ['not here']))
    equal(count('1..0 # SKIP not here\n', 77), ((0, 0, 1), ['not here']))
    equal(count('', 77)[0], (0, 0, 1))


@suite.case('/tally/todo-is-no-failure')
def todo():
    equal(count('1..1\nnot ok 1 /a # TODO later\n')[0], (0, 0, 1))


@suite.case('/tally/bail-out-is-a-failure')
def bail_out():
    equal(count('1..1\nok 1 /a\nBail out! no memory\n'),
          ((1, 1, 0), ['Bail out! no memory']))


@suite.case('/tally/subtests-are-counted-and-their-closing-line-is-not')
def subtests():
    text = ('1..2\n# Subtest: group\n    ok 1 - x\n    ok 2 - y # SKIP z\n'
            '    1..2\nok 1 - group\nok 2 - alone\n')
    equal(count(text)[0], (2, 0, 1))


@suite.case('/tally/a-subtest-fails-once')
def subtest_fails():
    text = ('1..1\n    1..2\n    ok 1 - x\n    not ok 2 - y\n'
            'not ok 1 - group\n')
    equal(count(text, 1)[0], (1, 1, 0))


@suite.case('/tally/a-group-that-fails-by-itself-is-a-failure')
def group_fails():
    equal(count('1..1\n    1..1\n    ok 1 - x\nnot ok 1 - group\n', 1)[0],
          (1, 1, 0))


@suite.case('/tally/a-hash-in-a-name-is-no-directive')
def hash_in_name():
    equal(count('1..2\nok 1 /a\\#1\nok 2 issue #12 skipped\n')[0], (2, 0, 0))


sys.exit(suite.main())
