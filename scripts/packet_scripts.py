# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet scripts of tests/qtest, as the pages made of them see them."""

import glob
import json
import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(TOP, 'tests', 'qtest', 'vhost-vsock-test-data')
BUILD = os.path.abspath(os.environ.get('BUILD') or os.path.join(TOP, 'build'))

RESULT = re.compile(r'\s*(not )?ok \d+ (?:- )?/vhost-vsock/replay/(\S+)\.json'
                    r'(?:\s+# SKIP\s*(.*))?$', re.I)

# Why a script, or a step of it, is not for every backend: the member of the
# script that says so, the word in the tables, and the heading.
REASONS = [
    ('_linux_breaks', 'breaks',
     'Linux does otherwise than the standard asks'),
    ('_linux_differs', 'differs',
     'Linux does otherwise than the emulator, where the standard is silent'),
    ('_linux_lacks', 'n/a',
     'What does not exist on Linux'),
    ('_emulator_lacks', 'n/a',
     'What the emulator cannot do, and Linux can'),
    ('_vhost_user_lacks', 'n/a',
     'What cannot be had through QEMU\'s vhost-user-vsock-pci'),
]


def words(value):
    """A member that is a string, or an array of strings."""
    return value if isinstance(value, str) else ' '.join(value)


def strings(value):
    """The same as a list."""
    return [value] if isinstance(value, str) else value


def read(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()


# What _requires may hold that is no backend.
NOT_BACKENDS = ('seqpacket', 'pci', 'little-endian')


class Script:
    """What a packet script says about itself."""

    def __init__(self, path):
        self.steps = json.loads(read(path))
        head = self.steps[0]
        self.name = os.path.basename(path)[:-len('.json')]
        self.rows = words(head['_rows']).split()
        self.claim = words(head.get('_description', ''))
        self.needs = strings(head.get('_requires', []))
        # Of two backends one may be left out of a step, or of all.
        self.reasons = {'kernel': None, 'vhost-user': None}
        for member, kind, _ in REASONS:
            if member in head:
                other = ('vhost-user' if member == '_vhost_user_lacks'
                         else 'kernel')
                self.reasons[other] = (member, kind, words(head[member]))

    def excludes(self, backend):
        """Whether it is for other backends only."""
        return backend not in self.needs and \
            any(need not in NOT_BACKENDS for need in self.needs)

    def parts(self, other):
        """Whether a step is for one of the emulator and @other alone."""
        return any(('emulator' in names) != (other in names)
                   for names in (strings(step.get('only', []))
                                 for step in self.steps))


def load_scripts(folder):
    return [Script(path)
            for path in sorted(glob.glob(os.path.join(folder, '*.json')))]


def load_rows(folder):
    """The requirements: id to text, from the table of README.rst."""
    table = read(os.path.join(folder, 'README.rst')).rsplit('\n==  ==', 2)[1]
    return dict(re.findall(r'(?m)^([A-Z]\d)  (.*)$', table))


def table(head, lines):
    """A simple table of reStructuredText."""
    widths = [max(len(line[i]) for line in [head] + lines)
              for i in range(len(head))]
    rule = '  '.join('=' * width for width in widths)
    rows = ['  '.join(text.ljust(width)
                      for text, width in zip(line, widths)).rstrip()
            for line in [head] + lines]
    return '\n'.join([rule, rows[0], rule] + rows[1:] + [rule]) + '\n'
