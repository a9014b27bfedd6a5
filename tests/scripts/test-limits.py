# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests that vsock-limits.h tells all of each limit, that the tests which it
# names exist, and that users are told the same.

import ast
import glob
import os
import re
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, '..', '..')
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from tap import Suite, check, equal  # noqa: E402

LIBRARY = 'subprojects/libvsock-device'
BLOCK = re.compile(r'/\*\*\n(.*?)\*/((?:\s*#define[^\n]*)*)', re.S)
DEFINE = re.compile(r'#define +(\w+)(?: +(.+))?')
# "NAME: unit", or "FILE NAME: unit" where it is defined elsewhere.
HEAD = re.compile(r'(?:(\S+/\S+) )?([A-Z]\w+): (\w[\w ]*)$')
FIELDS = ('Why', 'Then', 'Tests')
# What is no limit: include guards.
OTHERS = {'VSOCK_LIMITS_H'}
CASE = re.compile(r"\.case\('(/[^']+)'")
QUOTED = re.compile(r'"([\w/-]+)"')

suite = Suite()


def read(path):
    with open(os.path.join(TOP, path), encoding='utf-8') as file:
        return file.read()


def files(pattern):
    return [os.path.relpath(path, TOP)
            for path in sorted(glob.glob(os.path.join(TOP, pattern)))]


class Limit:
    def __init__(self, path, name, unit, fields):
        self.path = path            # None: the header itself
        self.name = name
        self.unit = unit
        self.fields = fields


def parse_block(text):
    """The limits of one comment, which share all but name and unit."""
    lines = [re.sub(r'^ \*(?: |$)', '', line) for line in text.split('\n')]
    heads, fields, field = [], {}, None
    for line in lines:
        head = HEAD.match(line)
        started = re.match(r'(\w+): (.*)', line)
        if not heads or (head and not fields):
            check(head, f'not a limit: {line!r}')
            heads.append(head.groups())
        elif started and started.group(1) in FIELDS + ('Row',):
            field = started.group(1)
            fields[field] = started.group(2)
        elif line.startswith('    ') and field:
            fields[field] += ' ' + line.strip()
        else:
            field = None
    return [Limit(*head, fields) for head in heads]


def limits():
    text = read(LIBRARY + '/include/vsock-limits.h')
    return [limit for block, _ in BLOCK.findall(text)
            for limit in parse_block(block)]


def values():
    """What the header's macros stand for."""
    known = {}
    for name, text in DEFINE.findall(
            read(LIBRARY + '/include/vsock-limits.h')):
        if name in OTHERS:
            continue
        number = re.sub(r'\b(\d+)u?l?l?\b', r'\1', text)
        number = re.sub(r'VSK_\w+', lambda m: str(known[m.group()]), number)
        tree = ast.parse(number, mode='eval')
        known[name] = eval(compile(tree, name, 'eval'), {})
    return known


def test_names():
    """All tests that there are: unit tests, the daemon's, guests', replay's."""
    names = set()
    for path in files(LIBRARY + '/tests/*.c') + \
            files('contrib/vhost-user-vsock/tests/*.c'):
        text = read(path)
        strings = QUOTED.findall(text)
        for suite_name in [''] + re.findall(
                r'g_test_add_func\("(/[\w/-]*/)" \w+', text):
            names.update(suite_name + string for string in strings)
    for path in files('tests/daemon/case_*.py') + \
            files('tests/guest/test_*.py'):
        names.update(CASE.findall(read(path)))
    for path in files('tests/qtest/vhost-vsock-test-data/*.json'):
        names.add('/vhost-vsock/replay/' + os.path.basename(path)[:-5])
    return names


@suite.case('/limits/each-tells-why-what-then-and-its-tests')
def complete():
    known, names = values(), test_names()
    described = set()
    for limit in limits():
        described.add(limit.name)
        for field in FIELDS:
            check(limit.fields.get(field), f'{limit.name} lacks "{field}"')
        for test in limit.fields['Tests'].split():
            check(test in names, f'{limit.name}: there is no test {test}')
    equal(sorted(set(known) - described), [], 'limits without a description')


@suite.case('/limits/those-of-embedders-are-where-it-says')
def elsewhere():
    known = values()
    for limit in limits():
        if limit.path:
            found = dict(DEFINE.findall(read(limit.path)))
            check(limit.name in found, f'no {limit.name} in {limit.path}')
        else:
            check(limit.name in known, f'there is no {limit.name}')


# --- What users are told -----------------------------------------------------

def in_words(value, unit):
    """As the table has it: 256 KiB, 2 s, 16384."""
    if unit == 'bytes':
        for power, name in ((40, 'TiB'), (30, 'GiB'), (20, 'MiB'),
                            (10, 'KiB')):
            if value >= 1 << power and value % (1 << power) == 0:
                return f'{value >> power} {name}'
        return f'{value} bytes'
    if unit == 'milliseconds':
        return f'{value // 1000} s' if value % 1000 == 0 else f'{value} ms'
    return str(value)


def rows():
    """The cells of the table of limits, without the title."""
    text = read('docs/system/devices/vhost-vsock.rst')
    table = text.split('Limits of the emulator\n', 1)[1]
    table = table.split('.. list-table::', 1)[1]
    found = []
    for line in table.split('\n')[1:]:
        if line.startswith('   * - '):
            found.append([line[7:]])
        elif line.startswith('     - '):
            found[-1].append(line[7:])
        elif line.startswith('       '):
            found[-1][-1] += ' ' + line.strip()
        elif line and not line.startswith(' '):
            break
    return found[1:]


@suite.case('/limits/table-for-users-has-their-values')
def table():
    known = values()
    expected = {limit.fields['Row']: in_words(known[limit.name], limit.unit)
                for limit in limits() if 'Row' in limit.fields}
    told = {row[0]: row[1] for row in rows()}
    equal(sorted(told), sorted(expected), 'rows of the table')
    for row, value in expected.items():
        check(re.match(re.escape(value) + r'(?!\w)', told[row]),
              f'{row}: {told[row]!r} does not begin with {value!r}')


@suite.case('/limits/what-is-said-to-set-them-exists')
def settings():
    device = read('hw/virtio/vhost-vsock.c')
    daemon = read('contrib/vhost-user-vsock/options.c')
    manual = read('docs/tools/vhost-user-vsock.rst')
    page = read('docs/system/devices/vhost-vsock.rst')
    used = 0
    for row in rows():
        for name in re.findall(r'``([\w-]+)``', row[3]):
            used += 1
            if name.startswith('--'):
                check(f'{{ "{name[2:]}", ' in daemon, f'no option {name}')
                check(f'option:: {name}=' in manual,
                      f'{name} is not in the manual')
            else:
                check(f'"{name}", VHostVSock,' in re.sub(r'\s+', ' ', device),
                      f'there is no property {name}')
                check(f'``{name}=' in page, f'{name} is not in the page')
    check(used > 8, 'settings in the table')


@suite.case('/limits/manual-of-the-daemon-has-their-defaults')
def manual():
    known = values()
    text = read('docs/tools/vhost-user-vsock.rst')
    for option, macro in (('tx-buffer-size', 'VSK_DEFAULT_BUF_ALLOC'),
                          ('max-staged', 'VSK_DEFAULT_MAX_STAGED'),
                          ('request-timeout-ms',
                           'VSK_DEFAULT_REQUEST_TIMEOUT_MS'),
                          ('close-timeout-ms', 'VSK_DEFAULT_CLOSE_TIMEOUT_MS'),
                          ('line-timeout-ms', 'VSK_DEFAULT_LINE_TIMEOUT_MS')):
        about = text.split(f'option:: --{option}=', 1)[1].split('\n\n')[1]
        check(f'Default: {known[macro]}.' in about,
              f'{option}: {about!r} lacks {known[macro]}')


@suite.case('/limits/users-are-told-their-ranges')
def ranges():
    known = values()
    told = ' '.join(row[3] for row in rows())
    text = read('docs/tools/vhost-user-vsock.rst')
    for name, option, least, most, unit in (
            ('max-conns', 'max-conns', 'LEAST_CONNS', 'MOST_CONNS', ''),
            ('buf-alloc', 'tx-buffer-size', 'MIN_BUF_ALLOC', 'MOST_BUF_ALLOC',
             'bytes'),
            ('max-staged', 'max-staged', 'LEAST_STAGED', 'MOST_STAGED',
             'bytes'),
            ('request-timeout-ms', 'request-timeout-ms', 'LEAST_TIMEOUT_MS',
             'MOST_TIMEOUT_MS', '')):
        ends = known['VSK_' + least], known['VSK_' + most]
        in_table = ' to '.join(in_words(end, unit) for end in ends)
        check(f'``{name}``, {in_table};' in told, f'{name}: {in_table}')
        about = text.split(f'option:: --{option}=', 1)[1].split('\n\n')[1]
        check('%d to %d.' % ends in about, f'{option}: {about!r}')


sys.exit(suite.main())
