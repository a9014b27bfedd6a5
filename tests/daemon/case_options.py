# SPDX-License-Identifier: GPL-2.0-or-later
#
# The command line: what it says of itself, and what it says of mistakes.

import json
import os
import re
import socket
import time

from box import OK, World, check_new_guest, refused, suite
from tap import check, contains, equal


def with_option(world, option, value):
    """The options of a daemon that would start, but for one."""
    given = [o for o in world.options() if not o.startswith(option + '=')]
    return given + [f'{option}={value}']


@suite.case('/options/help-names-every-option-and-shows-an-example')
def _():
    with World() as world:
        for option in '--help', '-h':
            result = world.run(option)
            equal((result.returncode, result.stderr), (OK, ''))
            for name in ('guest-cid', 'socket', 'uds-path', 'tx-buffer-size',
                         'queue-size', 'groups', 'vm', 'config', 'fd',
                         'print-capabilities', 'poll-us', 'seqpacket',
                         'max-conns', 'max-staged', 'request-timeout-ms',
                         'close-timeout-ms', 'line-timeout-ms', 'sandbox', 'log-level', 'version',
                         'help'):
                contains(result.stdout, '--' + name)
            check(re.search(r'vhost-user-vsock .*--guest-cid', result.stdout),
                  'no example')
            check(max(map(len, result.stdout.split('\n'))) <= 80,
                  'a line is wider than 80 columns')
        equal(world.left(), [])


@suite.case('/options/version-is-one-line')
def _():
    with World() as world:
        for option in '--version', '-V':
            result = world.run(option)
            equal((result.returncode, result.stderr), (OK, ''))
            check(re.fullmatch(r'vhost-user-vsock \S+( .*)?\n', result.stdout),
                  f'not a version: {result.stdout!r}')


@suite.case('/options/capabilities-are-json-of-type-vsock')
def _():
    # VHostUserBackendCapabilities of vhost-user.json; other options are to
    # be ignored, the daemon is not to start.
    with World() as world:
        for more in [], world.options(), ['--queue-size=3']:
            result = world.run('--print-capabilities', *more)
            equal((result.returncode, result.stderr), (OK, ''))
            said = json.loads(result.stdout)
            equal(said.pop('type'), 'vsock')
            features = said.pop('features', [])
            check(all(isinstance(f, str) for f in features), 'features')
            equal(said, {}, 'what the schema does not know')
            equal(world.left(), [])


@suite.case('/options/guest-cid-that-no-guest-can-have-is-refused')
def _():
    with World() as world:
        for value in ('0', '1', '2', '4294967295', '4294967296', '-1', 'abc',
                      '', '3x', '0x', '99999999999999999999999', '3.0'):
            refused(world, *with_option(world, '--guest-cid', value),
                    words=['guest-cid'])


@suite.case('/options/guest-cid-of-every-size-works')
def _():
    for cid in 3, 65536, 4294967294:
        with World() as world:
            daemon = world.start(cids=(cid,))
            check_new_guest(world, cid)
            daemon.end()


@suite.case('/options/path-that-cannot-be-a-socket-is-refused')
def _():
    with World() as world:
        os.mkdir(world.path('folder'))
        with open(world.path('file'), 'w', encoding='ascii') as file:
            file.write('precious')
        for option in '--socket', '--uds-path':
            for value in ('', world.path('x' * 120), world.path('no/such'),
                          world.path('folder'), world.path('file')):
                refused(world, *with_option(world, option, value))
        with open(world.path('file'), encoding='ascii') as file:
            equal(file.read(), 'precious')


@suite.case('/options/path-too-long-for-a-port-behind-it-is-refused')
def _():
    # PATH_4294967294 and PATH_seqpacket must fit into 107 bytes, too.
    with World() as world:
        longest = world.path('u' * (107 - 11 - len(world.dir) - 1))
        refused(world, *with_option(world, '--uds-path', longest + 'u'))
        daemon = world.start(*with_option(world, '--uds-path', longest))
        daemon.end()


@suite.case('/options/one-path-for-both-sockets-is-refused')
def _():
    with World() as world:
        refused(world, *with_option(world, '--uds-path',
                                    world.socket_path()))
        refused(world, *with_option(world, '--uds-path',
                                    world.dir + '/./vhost3.sock'))


@suite.case('/options/numbers-that-make-no-sense-are-refused')
def _():
    with World() as world:
        for option, values in {
                '--tx-buffer-size': ('0', '-1', 'abc', '', '4294967296'),
                '--queue-size': ('0', '-1', 'abc', '', '3', '100', '65536'),
                '--max-conns': ('0', '-1', 'abc', '', '99999999999'),
                '--max-staged': ('0', '-1', '32767', '1099511627777', ''),
                '--request-timeout-ms': ('0', '-1', '3600001', ''),
                '--close-timeout-ms': ('0', '-1', '3600001', ''),
                '--line-timeout-ms': ('0', '-1', '3600001', ''),
                '--poll-us': ('-1', 'abc', '', '99999999999'),
                '--seqpacket': ('maybe', ''),
                '--sandbox': ('yes', '', 'chroot'),
                '--log-level': ('loud', ''),
                '--fd': ('-1', 'abc', '', '99', '2147483648')}.items():
            for value in values:
                refused(world, *with_option(world, option, value),
                        words=[option[2:]])


@suite.case('/options/what-is-not-there-is-refused-by-name')
def _():
    with World() as world:
        refused(world, *world.options(), '--groups=a+b', words=['groups'])
        refused(world, *world.options(), '--forward-cid=1',
                words=['forward-cid'])
        refused(world, *world.options(), '--forward-listen=1+2',
                words=['forward-listen'])
        refused(world, *world.options(), '--nonsense', words=['nonsense'])
        refused(world, *world.options(), '-xy', words=['-xy'])
        refused(world, *world.options(), 'stray', words=['stray'])


@suite.case('/options/mistake-of-any-length-is-a-line')
def _():
    with World() as world:
        for length in 900, 1100, 100000:
            result = world.run('--' + 'x' * length)
            check(result.stderr.endswith('\n'), 'no end of the line')
            check(min(length, 1000) < len(result.stderr) <= 1024,
                  f'{len(result.stderr)} bytes')
            equal(result.stderr.count('\n'), 1, 'lines')


@suite.case('/options/group-default-is-accepted')
def _():
    with World() as world:
        daemon = world.start(*world.options(), '--groups=default',
                             '--tx-buffer-size=65536', '--queue-size=1024')
        check_new_guest(world)
        daemon.end()


@suite.case('/options/what-is-missing-is-named')
def _():
    with World() as world:
        refused(world, words=['socket'])
        refused(world, '--guest-cid=3', '--uds-path=' + world.uds_path(),
                words=['socket'])
        refused(world, '--socket', words=['socket'])


@suite.case('/options/several-sources-of-one-thing-are-refused')
def _():
    with World() as world:
        vm = world.vm(4)
        refused(world, *world.options(), vm, words=['vm'])
        refused(world, *world.options(), '--config=' + world.path('config'),
                words=['config'])
        refused(world, vm, '--config=' + world.path('config'),
                words=['config'])
        here, there = socket.socketpair()
        with here, there:
            refused(world, *world.options(), f'--fd={there.fileno()}',
                    words=['fd', 'socket'], pass_fds=[there.fileno()])


@suite.case('/options/vm-with-a-mistake-is-refused')
def _():
    with World() as world:
        good = world.vm(3)[5:]
        for text, word in (
                ('', 'socket'), ('guest-cid', 'guest-cid'),
                ('guest-cid=3', 'socket'),
                (good.replace('guest-cid=3', 'guest-cid=2'), 'guest-cid'),
                (good + ',colour=red', 'colour'), (good + ',', None),
                (good + ',guest-cid=4', 'guest-cid'),
                (good + ',queue-size=5', 'queue-size'),
                (good + ',tx-buffer-size=', 'tx-buffer-size'),
                (good + ',groups=other', 'groups'),
                (good + ',forward-cid=1', 'forward-cid')):
            refused(world, '--vm=' + text, words=[word] if word else [])


@suite.case('/options/two-vms-that-share-something-are-refused')
def _():
    with World() as world:
        mine = world.vm(3)
        path, uds = world.socket_path, world.uds_path
        for cid, socket_path, uds_path, word in (
                (3, path(4), uds(4), 'cid'), (4, path(3), uds(4), 'socket'),
                (4, path(4), uds(3), ''), (4, uds(3), uds(4), ''),
                (4, path(4), path(3), '')):
            refused(world, mine, f'--vm=guest-cid={cid},socket={socket_path},'
                                 f'uds-path={uds_path}', words=[word])


@suite.case('/options/path-where-another-guest-looks-is-refused')
def _():
    with World() as world:
        path, uds = world.socket_path, world.uds_path
        for first, second in (
                ((path(3), uds(3)), (path(4), uds(3) + '_5')),
                ((path(3), uds(4) + '_seqpacket'), (path(4), uds(4))),
                ((uds(4) + '_7', uds(3)), (path(4), uds(4))),
                ((path(3), uds(3)), (uds(4) + '_7', uds(4)))):
            refused(world, *(f'--vm=guest-cid={cid},socket={each[0]},'
                             f'uds-path={each[1]}'
                             for cid, each in ((3, first), (4, second))),
                    words=['looks for host programs'])
        world.start(*(f'--vm=guest-cid={cid},socket={path(cid)},'
                      f'uds-path={uds(3)}{end}'
                      for cid, end in ((3, ''), (4, '_5x'))), cids=(3, 4))


@suite.case('/options/queue-size-is-the-largest-ring-that-is-taken')
def _():
    with World() as world:
        daemon = world.start(*world.options(), '--queue-size=128')
        for size in 16, 128:
            check_new_guest(world, size=size)
        daemon.end()


@suite.case('/options/tx-buffer-size-is-what-a-flow-is-told')
def _():
    for more, window in ([], 262144), (['--tx-buffer-size=65536'], 65536):
        with World() as world:
            world.start(*world.options(), *more)
            _, flow = world.connection(world.guest())
            equal(flow.window, window, f'window with {more}')


@suite.case('/options/max-conns-is-how-many-flows-there-can-be')
def _():
    with World() as world:
        world.start(*world.options(), '--max-conns=3')
        guest = world.guest()
        listener = world.listener(9)
        for port in 1, 2, 3:
            guest.connect(9, port)
        guest.send(1, 4, 9)
        equal(guest.receive().op, 3, 'op of the answer to the fourth')
        listener.close()


@suite.case('/options/max-staged-is-what-all-flows-are-told')
def _():
    with World() as world:
        world.start(*world.options(), '--max-staged=65536')
        guest, told = world.guest(), 0
        with world.listener(9):
            for port in range(1, 65536 // 8192 + 1):
                told += guest.connect(9, port).window
            guest.send(1, 4000, 9)
            equal(guest.receive().op, 3, 'op of the answer to the last')
        equal(told, 65536, 'sum of the windows')


@suite.case('/options/timeouts-are-kept')
def _():
    with World() as world:
        world.start(*world.options(), '--line-timeout-ms=300',
                    '--request-timeout-ms=400', '--close-timeout-ms=500')
        guest = world.guest()
        # A busy machine may take longer, but not each time.
        line, request, close = (min(times) for times in zip(
            *(times_kept(world, guest) for _ in range(3))))
        check(0.2 < line < 2, f'{line:.1f} s for the line')
        check(0.3 < request < 2, f'{request:.1f} s for the request')
        check(0.4 < close < 4, f'{close:.1f} s to close')


def times_kept(world, guest):
    """How long it takes until each of the three is over."""
    began = time.monotonic()
    silent, asking = world.dial(), world.dial(1234)
    equal(silent.recv(1), b'')
    line = time.monotonic() - began
    equal(asking.recv(1), b'')
    request = time.monotonic() - began
    guest.receive()
    guest.receive()                     # its REQUEST, and its end
    sock, flow = world.connection(guest, 1235)
    began = time.monotonic()
    sock.close()
    while flow.receive().op != 3:
        pass
    return line, request, time.monotonic() - began


@suite.case('/options/seqpacket-off-is-not-offered')
def _():
    with World() as world:
        for value, bit in ('off', 0), ('on', 2):
            daemon = world.start(*world.options(), f'--seqpacket={value}')
            with world.guest() as guest:
                equal(guest.front.offered & 2, bit, 'feature')
            daemon.end()
