# SPDX-License-Identifier: GPL-2.0-or-later
#
# The configuration file: YAML, a list `vms` of maps.

import box
from box import USAGE, World, check_new_guest, suite
from tap import check


def write(world, text, name='config'):
    path = world.path(name)
    with open(path, 'wb') as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return '--config=' + path


def entry(world, cid=3, **more):
    """One guest, as it stands in the file."""
    values = dict(guest_cid=cid, socket=world.socket_path(cid),
                  uds_path=world.uds_path(cid))
    values.update(more)
    lines = [f'{key}: {value}' for key, value in values.items()
             if value is not None]
    return '  - ' + '\n    '.join(lines) + '\n'


def refused(world, text, *words):
    """The file is refused with a sentence that names it, and what is wrong."""
    try:
        box.refused(world, write(world, text), words=['config', *words])
    except Exception as error:
        raise AssertionError(f'with {text!r}') from error


@suite.case('/config/file-with-two-guests-serves-both')
def _():
    with World() as world:
        text = 'vms:\n' + entry(world, 3) + entry(
            world, 4, tx_buffer_size=65536, queue_size=256, groups='default')
        daemon = world.start(write(world, text), cids=(3, 4))
        check_new_guest(world, 3)
        check_new_guest(world, 4)
        daemon.end()


@suite.case('/config/yaml-as-people-write-it-is-understood')
def _():
    with World() as world:
        path, uds = world.socket_path(), world.uds_path()
        for text in (
                f'---\n# guests\nvms:\n- {{guest_cid: 3, socket: "{path}", '
                f"uds_path: '{uds}'}}\n...\n",
                f'{{"vms": [{{"guest_cid": 3, "socket": "{path}", '
                f'"uds_path": "{uds}"}}]}}',
                f'vms:\r\n  - socket: {path} # here\r\n'
                f'    uds_path: {uds}\r\n    guest_cid: 3\r\n',
                f'vms:\n  - guest_cid: 3\n    socket: {path}\n'
                f'    uds_path: {uds}\n    groups: [default]\n',
                f'vms:\n  - guest_cid: 3\n    socket: {path}\n'
                f'    uds_path: {uds}\n    groups:\n      - default\n'):
            daemon = world.start(write(world, text))
            daemon.end()


@suite.case('/config/what-is-not-yaml-is-refused')
def _():
    with World() as world:
        for text in ('vms: [', 'vms:\n\t- guest_cid: 3\n', 'vms: "', '}',
                     b'\xff\xfe\x00', b'vms: \x00', '%YAML 9.9\n---\nvms:\n',
                     '&a [*b]', 'x' * 100000, '[' * 50000):
            refused(world, text)


@suite.case('/config/what-is-not-a-list-of-guests-is-refused')
def _():
    with World() as world:
        for text in ('', '\n', '# nothing\n', '---\n', 'null', '3', 'vms',
                     '[]', '- vms', 'vms:', 'vms: 3', 'vms: []', 'vms: {}',
                     'vms: [3]', 'vms: [[]]', 'vms: [{}]',
                     'vms:\n- vms:\n  - guest_cid: 3\n'):
            refused(world, text)


@suite.case('/config/wrong-keys-are-named')
def _():
    with World() as world:
        good = entry(world)
        refused(world, 'guests:\n' + good, 'line 1')
        refused(world, 'vms:\n' + good + 'colour: red\n')
        refused(world, 'vms:\n' + good + '    colour: red\n', 'colour')
        refused(world, 'vms:\n' + good + '    ? [a, b]\n    : c\n')
        refused(world, 'vms:\n' + good + '    forward_cid: 1\n',
                'forward_cid')


@suite.case('/config/missing-socket-is-named')
def _():
    with World() as world:
        refused(world, 'vms:\n' + entry(world, socket=None), 'socket')


@suite.case('/config/wrong-types-and-values-are-named')
def _():
    with World() as world:
        for key, values in {
                'guest_cid': ('abc', '[3]', '{a: b}', '2', '-3', '3.5', '""',
                              '4294967295', 'null'),
                'queue_size': ('abc', '[]', '0', '100', '65536', 'null'),
                'tx_buffer_size': ('abc', '{}', '0', '-1', '4294967296'),
                'groups': ('[a, b]', 'other', '{a: b}', '[[default]]'),
                'socket': ('[]', '{}', '""', '/' + 'x' * 200, 'null'),
                'uds_path': ('[]', '{}', '""', '/' + 'x' * 200)}.items():
            for value in values:
                refused(world, 'vms:\n' + entry(world, **{key: value}), key)


@suite.case('/config/duplicates-are-refused')
def _():
    with World() as world:
        good = entry(world)
        refused(world, 'vms:\n' + good + '    guest_cid: 4\n', 'guest_cid')
        refused(world, 'vms:\n' + good + 'vms:\n' + entry(world, 4), 'vms')
        refused(world, 'vms:\n' + good + entry(
            world, 4, guest_cid=3), 'cid')
        refused(world, 'vms:\n' + good + entry(
            world, 4, uds_path=world.uds_path(3)))
        refused(world, 'vms:\n' + good + entry(
            world, 4, socket=world.socket_path(3)))
        refused(world, 'vms:\n' + good + '---\nvms:\n' + entry(world, 4))


@suite.case('/config/file-that-cannot-be-read-is-refused')
def _():
    with World() as world:
        for path in (world.path('no-such-config'), world.dir, '', '/dev/null',
                     '/proc/self/mem'):
            result = world.run('--config=' + path)
            check(result.returncode in (box.FAILED, USAGE), path)
            check(1 <= len(result.stderr.strip().split('\n')) <= 2,
                  f'not a sentence: {result.stderr!r}')


@suite.case('/config/aliases-that-multiply-cost-nothing')
def _():
    # A file of a few hundred bytes that means a gigabyte.
    text = 'a: &a [x, x, x, x, x, x, x, x, x]\n'
    for name, before in zip('bcdefghij', 'abcdefghi'):
        text += f'{name}: &{name} [' + ', '.join(['*' + before] * 9) + ']\n'
    with World() as world:
        refused(world, text + 'vms: *j\n')
