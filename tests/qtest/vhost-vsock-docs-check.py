#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that README.rst documents what vhost-vsock-test reads.

Names are taken from the tables of the runner's sources beside this script.
Speaks TAP; takes no arguments and needs no build.
"""

import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, 'vhost-vsock-test-data')


def read(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def source(part):
    return read(os.path.join(HERE, 'vhost-vsock-%s.c' % part))


def find(pattern, text, least):
    """All matches; a table that cannot be found any more is an error."""
    found = re.findall(pattern, text)
    if len(found) < least:
        raise AssertionError('%d matches of %s, %d or more expected: '
                             'the sources are written otherwise now'
                             % (len(found), pattern, least))
    return found


def ops():
    """The ops, each with the members it takes."""
    names = dict(find(r'\[VVT_KEY_(\w+)\] = \{ "(\w+)"', source('keys'), 40))
    table = find(r'\[VVT_OP_\w+\] = \{ "([a-z-]+)",([^}]*)\}',
                 source('script'), 20)
    return {op: [names[k] for k in re.findall(r'\bB\((\w+)\)', members)]
            for op, members in table}


def entries():
    """README.rst's entries of the ops: name to text."""
    text = README.split('\nPackets\n~~~')[1].split('\nBackends\n---')[0]
    parts = re.split(r'^``([a-z-]+)``\n(?=  )', text, flags=re.M)
    # An entry ends where a line is not indented.
    return {name: re.split(r'\n(?=\S)', body)[0]
            for name, body in zip(parts[1::2], parts[2::2])}


def undocumented(names):
    return sorted(n for n in set(names)
                  if not re.search(r'(?<!\w)%s(?![\w-])' % re.escape(n),
                                   README))


def check_ops():
    there = set(entries())
    return ['no entry: ' + n for n in sorted(set(ops()) - there)] + \
           ['no such op: ' + n for n in sorted(there - set(ops()))]


def check_members():
    there = entries()
    return ['%s: %s' % (op, member) for op, members in ops().items()
            for member in members
            if '``%s``' % member not in there.get(op, '')]


def check_first_object():
    return undocumented(find(r'"(_[a-z_]+)"', source('script'), 4) +
                        sum(map(list, REASONS.values()), []))


def check_header():
    return undocumented(find(r'= FIELD\((\w+)\)', source('match'), 10) +
                        find(r'strcmp\(text, "([A-Z_]+)"\)',
                             source('keys-hdr'), 4) +
                        find(r'"VIRTIO_VSOCK_\w+_",\s*"(\w+)"',
                             source('match'), 10))


def check_values():
    tables = find(r'(?s)const Name \w+_names\[\] = \{(.*?)\n\};',
                  source('keys'), 7)
    names = [n for t in tables for n in find(r'\{ "([\w-]+)"', t, 2)]
    return undocumented(names + find(r'\bE\((E[A-Z]+)\)', source('keys'), 15) +
                        find(r'\[VVT_END_\w+\] = "([\w-]+)"',
                             source('script'), 6) +
                        find(r'\[VVT_PLACE_\w+\] = "(\w+)"',
                             source('keys-raw'), 8) +
                        find(r'\{ "([A-Z]+)", (?:VRING|1u)',
                             source('keys-raw'), 5))


def check_environment():
    text = ''.join(source(part) for part in ('test', 'config'))
    return undocumented(find(r'(?:getenv|env_or_null)\("(\w+)"\)', text, 5) +
                        find(r'\{ "([\w-]+)", VVT_WAIVE_', text, 3))


def strings(value):
    """A member of the first object that is a string or an array of them."""
    return [value] if isinstance(value, str) else value


def scripts():
    """Name, first object and steps of each script."""
    paths = sorted(glob.glob(os.path.join(DATA, '*.json')))
    if not paths:
        raise AssertionError('there are no scripts')
    for path in paths:
        steps = json.loads(read(path))
        yield os.path.basename(path), steps[0], steps[1:]


def known_rows():
    return set(find(r'(?m)^([A-Z]\d)  \S', README, 25))


def check_rows():
    return ['%s: %s' % (name, row) for name, head, _ in scripts()
            for row in strings(head.get('_rows')) or ['no _rows']
            if row not in known_rows()]


def check_every_row():
    tested = {row for _, head, _ in scripts() for row in strings(head['_rows'])}
    return sorted(known_rows() - tested)


# Backends other than the emulator, and why they part from it.
REASONS = {
    'kernel': ('_linux_breaks', '_linux_differs', '_linux_lacks',
               '_emulator_lacks'),
    'vhost-user': ('_vhost_user_lacks',),
}


def parted(one, other, head, steps):
    """Whether the script, or a step, is for one backend and not the other."""
    return any((one in names) != (other in names) for names in
               [strings(head.get('_requires', []))] +
               [strings(step.get('only', [])) for step in steps])


def check_reasons():
    """What is not for every backend says why, and nothing else does."""
    wrong = []
    for name, head, steps in scripts():
        for backend, members in REASONS.items():
            expected = parted('emulator', backend, head, steps)
            given = [member for member in members if head.get(member)]
            if len(given) != expected:
                wrong.append('%s: %d of %s, %d expected'
                             % (name, len(given), ', '.join(members),
                                expected))
    return wrong


README = read(os.path.join(DATA, 'README.rst'))

CHECKS = {
    'every-op-has-an-entry': check_ops,
    'every-entry-names-its-members': check_members,
    'members-of-the-first-object': check_first_object,
    'fields-and-values-of-headers': check_header,
    'names-of-values': check_values,
    'environment': check_environment,
    'every-script-names-rows-of-the-table': check_rows,
    'every-row-has-a-script': check_every_row,
    'what-is-not-for-every-backend-says-why': check_reasons,
}


def main():
    failed = 0
    print('1..%d' % len(CHECKS))
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        try:
            wrong = check()
        except (AssertionError, IndexError, OSError, KeyError,
                ValueError) as error:
            wrong = ['%s: %s' % (type(error).__name__, error)]
        for line in wrong:
            print('# ' + line)
        print('%sok %d /docs/packet-scripts/%s'
              % ('not ' if wrong else '', number, name), flush=True)
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
