# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads what tests say in the Test Anything Protocol, and counts it.

Understands plans in front and behind, SKIP and TODO, a whole suite skipped by
"1..0 # SKIP why", "Bail out!", and subtests indented as TAP 14 and GLib do:
the points of a subtest are counted, and its closing line is not.
"""

import re

RESULT = re.compile(r'(not )?ok\b\s*(\d+)?\s*(?:- )?(.*)$')
PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*(.*))?$')
DIRECTIVE = re.compile(r'(?:^|\s)#\s*(skip|todo)\b\S*\s*(.*)$', re.I)

ERROR = re.compile(r'\b(?:\w*Error|ERROR|Bail out)\b')


class Tally:
    """What a test, or a suite of them, came to."""

    def __init__(self):
        self.passed = 0
        self.failed = []        # (name, why)
        self.skipped = []       # (name, why)

    def add(self, other, prefix=''):
        self.passed += other.passed
        self.failed += [(prefix + n, w) for n, w in other.failed]
        self.skipped += [(prefix + n, w) for n, w in other.skipped]

    def total(self):
        return self.passed + len(self.failed) + len(self.skipped)

    def line(self):
        return '%d passed, %d failed, %d skipped' % (
            self.passed, len(self.failed), len(self.skipped))


class Level:
    """One stream of test points: the outermost, or a subtest."""

    def __init__(self, indent):
        self.indent = indent
        self.tally = Tally()
        self.plan = None
        self.points = 0
        self.skip_all = None

    def close(self, name):
        """Check the plan, and give the tally."""
        if self.skip_all is not None:
            self.tally.skipped.append((name, self.skip_all or 'no reason given'))
        elif self.plan is None:
            self.tally.failed.append((name, 'it printed no TAP plan'))
        elif self.plan != self.points:
            self.tally.failed.append((name, 'it planned %d tests and ran %d'
                                      % (self.plan, self.points)))
        return self.tally


class Parser:
    """Feed it lines, then ask finish() for the tally."""

    def __init__(self, name):
        self.name = name
        self.levels = [Level(0)]
        self.subtest = None     # the tally of the subtest that just ended
        self.bail_out = None
        self.comment = ''       # the one before a test point that says why

    def feed(self, line):
        line = line.rstrip('\n')
        text = line.lstrip(' ')
        indent = len(line) - len(text)
        if text.lower().startswith('bail out!'):
            self.bail_out = text[9:].strip() or 'it bailed out'
            return
        if text.startswith('#'):
            self.take_comment(text[1:].strip())
        plan = PLAN.match(text)
        result = RESULT.match(text)
        if not plan and not result:
            return
        self.enter(indent)
        if plan:
            self.take_plan(plan)
        else:
            self.take_result(result)

    def take_comment(self, text):
        """Keep the last comment, or that of an error which others follow."""
        if text and (ERROR.search(text) or not ERROR.search(self.comment)):
            self.comment = text

    def enter(self, indent):
        """Make the level of this indentation the current one."""
        while indent < self.levels[-1].indent:
            ended = self.levels.pop().close('subtest')
            if self.subtest is None:
                self.subtest = Tally()
            self.subtest.add(ended)
        if indent > self.levels[-1].indent:
            self.levels.append(Level(indent))

    def take_plan(self, plan):
        level = self.levels[-1]
        level.plan = int(plan.group(1))
        note = plan.group(2) or ''
        if level.plan == 0:
            level.skip_all = re.sub(r'^skip\S*\s*', '', note, flags=re.I)

    def take_result(self, result):
        level = self.levels[-1]
        failed, name = bool(result.group(1)), result.group(3)
        level.points += 1
        directive = DIRECTIVE.search(name)
        why = ''
        if directive:
            name, why = name[:directive.start()], directive.group(2).strip()
        name = name.strip().replace('\\#', '#') or 'test %d' % level.points
        inner, self.subtest = self.subtest, None
        comment, self.comment = self.comment, ''
        if inner:
            level.tally.add(inner, name + ': ')
        if directive and directive.group(1).lower() == 'skip':
            level.tally.skipped.append((name, why or 'no reason given'))
        elif directive and failed:
            level.tally.skipped.append((name, 'known to fail: ' + why))
        elif failed and not (inner and inner.failed):
            level.tally.failed.append((name, comment or 'not ok'))
        elif not failed and not inner:
            level.tally.passed += 1

    def finish(self, exit_code):
        """The tally, given how the program ended (None: it ran too long)."""
        self.enter(0)
        outer = self.levels[0]
        if exit_code == 77 and outer.plan is None and not outer.points:
            outer.skip_all = 'exit code 77'
            outer.plan = 0
        tally = outer.close(self.name)
        if self.bail_out:
            tally.failed.append((self.name, 'Bail out! ' + self.bail_out))
        if exit_code is None:
            tally.failed.append((self.name, 'it ran too long and was ended'))
        elif exit_code < 0:
            tally.failed.append((self.name, 'signal %d' % -exit_code))
        elif exit_code not in (0, 77) and not tally.failed:
            tally.failed.append((self.name, 'exit code %d' % exit_code))
        return tally
