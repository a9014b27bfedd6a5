# SPDX-License-Identifier: GPL-2.0-or-later
#
# The command line of nc-vsock, and which sockets it takes it to mean.

import os
import shutil
import subprocess

import nc_box
from nc_box import OK, USAGE, expect, suite, world
from tap import WAIT_S

NOBODY = 65534


# --- The command line --------------------------------------------------------

@suite.case('/options/help-tells-usage-and-exit-codes')
def _():
    with world() as box:
        expect(box.run('--help'), OK, 'Usage: nc-vsock', 'Exit status',
               '--uds-path')


@suite.case('/options/version-names-the-program')
def _():
    with world() as box:
        expect(box.run('--version'), OK, 'nc-vsock ')


@suite.case('/options/wrong-arguments-exit-2')
def _():
    wrong = [
        [], ['3'], ['3', '4', '5'], ['-l'], ['-l', '3', '4'], ['x', '4'],
        ['3', '-4'], ['3', '4x'], ['3', ''], ['3', '4294967295'],
        ['4294967295', '4'], ['0', '4'], ['3', '99999999999999999999'],
        ['-k', '3', '4'], ['--cid', '3', '4', '5'], ['--nonsense', '3', '4'],
        ['-w', '0', '3', '4'], ['-w', 'soon', '3', '4'],
        ['-w', 'nan', '3', '4'], ['--vsock', '--unix', '3', '4'],
        ['--vsock', '--uds-path', '/x', '4'], ['--vsock', '--cid', '3', '4'],
        ['-l', '--uds-path', '/x', '--cid', '3', '4'], ['--dir', '', '3', '4'],
    ]
    with world(vsock=True) as box:
        for args in wrong:
            expect(box.run(*args), USAGE, '--help')


# --- Which world -------------------------------------------------------------

@suite.case('/world/connect-takes-vsock-where-only-that-is')
def _():
    with world(vsock=True) as box:
        expect(box.explain(3, 1234), OK, 'connect vsock cid 3 port 1234\n')


@suite.case('/world/connect-takes-the-emulator-where-only-that-is')
def _():
    with world(guests=[3]) as box:
        expect(box.explain(3, 1234), OK,
               f'connect unix {box.path("3.vsock")} port 1234\n')


@suite.case('/world/connect-takes-vsock-if-only-other-guests-are-emulated')
def _():
    with world(vsock=True, guests=[4, 33]) as box:
        expect(box.explain(3, 1234), OK, 'connect vsock cid 3 ')


@suite.case('/world/connect-with-both-is-an-error-that-names-both')
def _():
    with world(vsock=True, guests=[3]) as box:
        expect(box.explain(3, 1234), USAGE, box.node, box.path('3.vsock'),
               '--vsock', '--unix')


@suite.case('/world/connect-with-both-obeys-the-option')
def _():
    with world(vsock=True, guests=[3]) as box:
        expect(box.explain('--vsock', 3, 1234), OK, 'connect vsock cid 3 ')
        expect(box.explain('--unix', 3, 1234), OK, 'connect unix ')


@suite.case('/world/connect-with-none-says-what-is-missing')
def _():
    with world() as box:
        expect(box.explain(3, 1234), USAGE, box.node, box.path('3.vsock'))


@suite.case('/world/connect-does-not-take-a-plain-file-for-a-socket')
def _():
    with world() as box:
        open(box.path('3.vsock'), 'w').close()
        expect(box.explain(3, 1234), USAGE, 'no emulator')


@suite.case('/world/connect-to-cid-2-is-vsock-only')
def _():
    with world(vsock=True, guests=[2, 3]) as box:
        expect(box.explain(2, 1234), OK, 'connect vsock cid 2 port 1234\n')
        expect(box.explain('--unix', 2, 1234), USAGE, 'CID 2')
    with world(guests=[2, 3]) as box:
        expect(box.explain(2, 1234), USAGE, 'CID 2', box.node)


@suite.case('/world/listen-takes-vsock-where-only-that-is')
def _():
    with world(vsock=True) as box:
        expect(box.explain('-l', 1234), OK, 'listen vsock port 1234\n')


@suite.case('/world/listen-takes-the-emulator-where-a-guest-is')
def _():
    with world(guests=[7]) as box:
        expect(box.explain('-l', 1234), OK,
               f'listen unix {box.path("2.vsock_1234")} port 1234\n')


@suite.case('/world/listen-does-not-count-listeners-as-guests')
def _():
    with world() as box:
        box.listener('2.vsock_99')
        box.listener('other.vsock')
        expect(box.explain('-l', 1234), USAGE, box.dir)


@suite.case('/world/listen-with-both-is-an-error-that-names-both')
def _():
    with world(vsock=True, guests=[7]) as box:
        expect(box.explain('-l', 1234), USAGE, box.node, box.path('7.vsock'),
               '--vsock', '--unix')
        expect(box.explain('-l', '--vsock', 1234), OK, 'listen vsock')
        expect(box.explain('-l', '--unix', 1234), OK, 'listen unix')


@suite.case('/world/listen-with-none-says-what-is-missing')
def _():
    with world() as box:
        expect(box.explain('-l', 1234), USAGE, box.node, box.dir, '--unix')


@suite.case('/world/listen-for-one-guest-takes-its-path')
def _():
    with world(vsock=True) as box:
        expect(box.explain('-l', '--cid', 5, 1234), OK,
               f'listen unix {box.path("5.vsock_1234")} ')


@suite.case('/world/uds-path-needs-no-cid-and-no-directory')
def _():
    with world(vsock=True) as box:
        expect(box.explain('--uds-path', '/x/vm.sock', 1234), OK,
               'connect unix /x/vm.sock port 1234\n')
        expect(box.explain('--uds-path', '/x/vm.sock', 3, 1234), OK,
               'connect unix /x/vm.sock port 1234\n')
        expect(box.explain('-l', '--uds-path', '/x/vm.sock', 1234), OK,
               'listen unix /x/vm.sock_1234 port 1234\n')


@suite.case('/world/too-long-a-path-is-an-error')
def _():
    with world() as box:
        long = '/' + 'x' * 106
        expect(box.explain('--uds-path', long, 1234), OK, long)
        expect(box.explain('--uds-path', long + 'x', 1234), USAGE, 'too long')
        expect(box.explain('-l', '--uds-path', long, 1234), USAGE, 'too long')
        expect(box.explain('--unix', '--dir', '/' + 'x' * 200, 3, 1234), USAGE,
               'too long')


def explain_as_user(box, env, *args):
    """Like World.explain(), but not as root and with @env."""
    program = shutil.copy(nc_box.program, box.top)
    os.chmod(box.top, 0o755)
    argv = [program, '--vsock-node', box.node, '--explain', *map(str, args)]
    user = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []}
    return subprocess.run(argv, capture_output=True, timeout=WAIT_S, check=False,
                          env=env, stdin=subprocess.DEVNULL,
                          **(user if os.geteuid() == 0 else {}))


@suite.case('/world/run-time-directory-follows-the-environment-of-a-user')
def _():
    with world() as box:
        expect(explain_as_user(box, {'XDG_RUNTIME_DIR': '/run/u'},
                               '--unix', 3, 1),
               OK, 'connect unix /run/u/vsock/3.vsock port 1\n')
        expect(explain_as_user(box, {'HOME': '/h'}, '--unix', 3, 1),
               OK, 'connect unix /h/.cache/vsock/3.vsock port 1\n')
        expect(explain_as_user(box, {}, 3, 1),
               USAGE, 'XDG_RUNTIME_DIR', 'HOME', box.node)
