# SPDX-License-Identifier: GPL-2.0-or-later
#
# The least a Python test needs to speak TAP: cases with names that are claims,
# a deadline for each, skips with reasons, and failures that say where.

import argparse
import contextlib
import os
import re
import signal
import sys
import time
import traceback

# Limits end what hangs, so none has to be tight: a machine that has much else
# to do may be so many times slower than an idle one, for which those of cases
# and of until() are written.
SLOWEST = 5
# And this is for what an idle machine does at once.
WAIT_S = 150


class Skip(Exception):
    """Raised by a case that cannot run here; the text is the reason."""


class Deadline(BaseException):
    """A case took longer than it may.

    Not an Exception, so that no handler inside the case swallows it.
    """


class Suite:
    """Cases in the order in which they were written down."""

    def __init__(self, timeout_s=60):
        self.timeout_s = timeout_s
        self.cases = []
        self.number = 0
        self.failed = 0

    def case(self, name, timeout_s=None):
        """Decorator: the function is the case @name."""
        def add(function):
            self.cases.append((name, function, timeout_s or self.timeout_s))
            return function
        return add

    @staticmethod
    def comment(text):
        for line in str(text).rstrip('\n').split('\n'):
            print('# ' + line, flush=True)

    def report(self, ok, name, skip=None):
        self.number += 1
        self.failed += not ok
        line = f'{"ok" if ok else "not ok"} {self.number} {name}'
        if skip is not None:
            line += f' # SKIP {skip}'
        print(line, flush=True)

    def plan(self, count):
        print(f'1..{count}', flush=True)

    def run_case(self, name, function, timeout_s, args=(), on_failure=None):
        """Run one case and report it.  Returns whether it passed."""
        start = time.monotonic()
        try:
            with deadline(timeout_s):
                function(*args)
        except Skip as why:
            self.report(True, name, skip=str(why))
            return True
        except (Exception, Deadline):
            # The reason comes last, next to the result that it explains.
            text = traceback.format_exc()
            if on_failure:
                on_failure()
            self.comment(text)
            self.report(False, name)
            return False
        self.report(True, name)
        took = time.monotonic() - start
        if took > 1:
            self.comment(f'{took:.1f} s')
        return True

    def select(self, pattern):
        return [c for c in self.cases if re.search(pattern, c[0])]

    def main(self, parser=None, setup=None):
        """Run as a program: [-l] [-p PATTERN]; returns the exit code."""
        parser = parser or argparse.ArgumentParser()
        add_arguments(parser)
        options = parser.parse_args()
        cases = self.select(options.pattern)
        if options.list:
            for name, _, _ in cases:
                print(name)
            return 0
        if setup:
            setup(options)
        self.plan(len(cases))
        for name, function, timeout_s in cases:
            self.run_case(name, function, timeout_s)
        return 1 if self.failed else 0


def add_arguments(parser):
    parser.add_argument('-l', '--list', action='store_true',
                        help='print the names of the cases, and exit')
    parser.add_argument('-p', '--pattern', default='',
                        help='run only cases whose name matches')


@contextlib.contextmanager
def deadline(seconds):
    """Raise Deadline in the body when @seconds of an idle machine are over."""
    seconds *= SLOWEST

    def expire(_signum, _frame):
        raise Deadline(f'not done in {seconds} s')

    old = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def equal(got, want, what='value'):
    if got != want:
        raise AssertionError(f'{what}: got {shorten(got)}, '
                             f'want {shorten(want)}')


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def contains(text, part):
    if part not in text:
        raise AssertionError(f'{shorten(part)} is not in {shorten(text)}')


def shorten(value):
    text = repr(value)
    return text if len(text) <= 400 else f'{text[:200]} … {text[-200:]}'


def until(condition, what, timeout_s=10, step_s=0.01):
    """Wait for something that other processes bring about, up to @timeout_s of
    an idle machine."""
    timeout_s *= SLOWEST
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f'{what}: not within {timeout_s} s')
        time.sleep(step_s)


def least(measure, enough, times=5):
    """The least that @measure returns, which is called until that is @enough
    or less: a busy machine may take longer, but not each time."""
    value = measure()
    while value > enough and times > 1:
        value = min(value, measure())
        times -= 1
    return value


if __name__ == '__main__':
    sys.exit(f'{os.path.basename(__file__)} is not a test by itself')
