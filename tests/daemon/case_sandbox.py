# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the daemon may do: as an ordinary user, and shut in by seccomp.  All
# other cases run with the filter on, too.

import configparser
import errno
import os
import shutil
import signal
import socket
import subprocess

import box
from box import World, check_new_guest, check_service, suite
from case_life import CONTRIB, activated, listening
from guest import Guest, REQUEST, RST
from inject import inject
from tap import WAIT_S, Skip, check, contains, equal, until

NOBODY = 65534
# Of x86_64.
MMAP, MPROTECT, SOCKET, FORK, EXECVE, KILL, PTRACE, SETUID, OPENAT, BPF = \
    9, 10, 41, 57, 59, 62, 101, 105, 257, 321

TRAPPED = 128 + signal.SIGSYS


def as_nobody():
    """What starts a program as an ordinary user."""
    if os.geteuid() != 0:
        return []
    if not shutil.which('setpriv'):
        raise Skip('there is no setpriv')
    return ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}',
            '--clear-groups', '--inh-caps=-all', '--bounding-set=-all']


def give(*paths):
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def fields(daemon):
    """For each thread of it, what /proc says."""
    folder = f'/proc/{daemon.pid}/task'
    for thread in os.listdir(folder):
        with open(f'{folder}/{thread}/status', encoding='ascii') as file:
            yield dict(line.rstrip('\n').split(':\t', 1) for line in file
                       if ':\t' in line)


def start(world, *args, **kwargs):
    """Start the daemon, and wait until it has shut itself in."""
    daemon = world.start(*args, **kwargs)
    until(lambda: all(status['Seccomp'] == '2' for status in fields(daemon)),
          'the filter is on')
    return daemon


@suite.case('/sandbox/every-thread-is-under-the-filter')
def _():
    with World() as world:
        daemon = start(world, world.vm(3), world.vm(4), cids=(3, 4))
        with world.guest(4):
            found = list(fields(daemon))
            check(len(found) >= 3, f'{len(found)} threads')
            for status in found:
                equal(status['Seccomp'], '2', status['Name'])
                equal(status['NoNewPrivs'], '1', status['Name'])


@suite.case('/sandbox/none-goes-without')
def _():
    with World() as world:
        daemon = world.start(*world.options(), '--sandbox=none')
        equal({status['Seccomp'] for status in fields(daemon)}, {'0'})
        check_new_guest(world)
        daemon.end()


@suite.case('/sandbox/call-that-is-not-in-the-list-ends-the-process')
def _():
    for call, args in ((FORK, ()), (EXECVE, (0, 0, 0)), (PTRACE, (0,)),
                       (KILL, (1, 0)), (SETUID, (0,)), (BPF, (0, 0, 0))):
        with World() as world:
            daemon = start(world)
            equal(inject(daemon.pid, call, *args), -signal.SIGSYS,
                  f'call {call}')
            daemon.expect_exit(TRAPPED)
            contains(daemon.log(), f'system call {call} ')


@suite.case('/sandbox/the-same-call-is-done-without-the-filter')
def _():
    # That the case above is not red for another reason.
    with World() as world:
        daemon = world.start(*world.options(), '--sandbox=none')
        equal(inject(daemon.pid, BPF, 99, 0, 0), -errno.EINVAL)
        equal(inject(daemon.pid, EXECVE, 0, 0, 0), -errno.EFAULT)


@suite.case('/sandbox/no-file-can-be-opened')
def _():
    with World() as world:
        daemon = start(world)
        equal(inject(daemon.pid, OPENAT, 0, 0, 0), -errno.EACCES)
        check_new_guest(world)
        daemon.end()


@suite.case('/sandbox/no-socket-but-of-the-host')
def _():
    with World() as world:
        daemon = start(world)
        result = inject(daemon.pid, SOCKET, socket.AF_INET,
                        socket.SOCK_STREAM, 0)
        check(result < 0, f'a socket of the network: {result}')


@suite.case('/sandbox/no-memory-can-become-code')
def _():
    readable_writable_executable, private_anonymous = 7, 0x22
    for call, args in ((MMAP, (0, 4096, readable_writable_executable,
                               private_anonymous)),
                       (MPROTECT, (0, 4096, readable_writable_executable))):
        with World() as world:
            daemon = start(world)
            result = inject(daemon.pid, call, *args)
            check(result < 0 and result != -errno.ENOMEM,
                  f'call {call} was let through: {result}')


@suite.case('/sandbox/ordinary-user-serves-guests')
def _():
    with World() as world:
        give(world.dir)
        daemon = world.start(prefix=as_nobody())
        status = next(fields(daemon))
        check(status['Uid'].split()[0] != '0', 'is still root')
        equal(int(status['CapEff'], 16), 0, 'capabilities')
        with world.guest() as guest:
            check_from_outside(world, guest)
        daemon.end()
        equal(world.left(), [])


def check_from_outside(world, guest):
    """As check_service(); the host's programs let the daemon in."""
    sock, flow = world.connection(guest)
    box.exchange(sock, flow)
    with world.listener(7) as listener:
        give(world.uds_path(guest.cid) + '_7')
        flow = guest.connect(7)
        sock, _ = listener.accept()
        box.exchange(sock, flow)


@suite.case('/sandbox/run-time-directory-serves-without-uds-path')
def _():
    with World() as world:
        run = world.path('config-run')
        os.mkdir(run, 0o700)
        give(world.dir, run)
        daemon = world.start(
            '--guest-cid=3', '--socket=' + world.socket_path(),
            prefix=as_nobody(), env=dict(os.environ, XDG_RUNTIME_DIR=run))
        equal(os.listdir(run), ['vsock'])
        equal(os.stat(run + '/vsock').st_mode & 0o777, 0o700)
        world.uds_path = lambda cid: f'{run}/vsock/{cid}.vsock'
        with world.guest() as guest:
            sock, flow = world.connection(guest)
            box.exchange(sock, flow)
        daemon.end()
        check('3.vsock' not in os.listdir(run + '/vsock'), '3.vsock is left')


@suite.case('/sandbox/guest-reaches-no-other-user-where-all-may-write')
def _():
    if os.geteuid() != 0:
        raise Skip('needs root, to be another user')
    with World() as world:
        daemon = world.start()
        guest = world.guest()
        os.chmod(world.dir, 0o777)
        os.seteuid(NOBODY)
        try:
            theirs = world.listener(1234)
        finally:
            os.seteuid(0)
        os.symlink(world.socket_path(), world.uds_path() + '_1235')
        world.ours.add('vm3.vsock_1235')
        for port in 1234, 1235:
            guest.send(REQUEST, 1000 + port, port)
            equal(guest.receive().op, RST, 'answer')
        daemon.expect_log('where the guest connects to')
        os.chmod(world.dir, 0o755)
        guest.connect(1234, 999)
        theirs.accept()[0].close()
        daemon.end()


@suite.case('/sandbox/folder-of-somebody-else-is-a-sentence')
def _():
    with World() as world:
        os.chmod(world.dir, 0o755)
        if os.geteuid() != 0:
            raise Skip('needs another user')
        result = subprocess.run(
            [*as_nobody(), box.program, *world.options()], timeout=WAIT_S,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False)
        check(result.returncode in (box.FAILED, box.USAGE), result)
        contains(result.stderr, 'ermission denied')
        equal(world.left(), [])


# --- The units of systemd ----------------------------------------------------

def units(world):
    """Our units as they are installed, with this daemon in them."""
    os.mkdir(world.path('config-units'))
    for name in sorted(os.listdir(CONTRIB)):
        if name.endswith(('.service.in', '.socket.in')):
            with open(os.path.join(CONTRIB, name), encoding='utf-8') as file:
                text = file.read()
            text = text.replace('@bindir@/vhost-user-vsock', box.program)
            check('@' not in text.replace('vhost-user-vsock@', ''),
                  f'{name} has a variable left')
            path = world.path('config-units/' + name[:-3])
            with open(path, 'w', encoding='utf-8') as file:
                file.write(text)
            yield path


@suite.case('/sandbox/units-are-what-systemd-understands')
def _():
    with World() as world:
        paths = list(units(world))
        equal(len(paths), 2, 'units')
        if not shutil.which('systemd-analyze'):
            raise Skip('there is no systemd-analyze')
        for path in paths:
            name = path.replace('@.', '@3.')
            os.link(path, name)
        result = subprocess.run(
            ['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no',
             *(path.replace('@.', '@3.') for path in paths)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=WAIT_S, check=False,
            env=dict(os.environ, SYSTEMD_UNIT_PATH=os.path.dirname(
                paths[0]) + ':'))
        lines = [line for line in (result.stdout + result.stderr).split('\n')
                 if 'vhost-user-vsock' in line]
        equal((result.returncode, lines), (0, []))


@suite.case('/sandbox/unit-starts-the-daemon-as-it-wants-to-be-started')
def _():
    # The options of ExecStart, with a socket handed over.
    with World() as world:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str
        path = next(p for p in units(world) if p.endswith('.service'))
        parser.read(path)
        service = parser['Service']
        equal(service['Type'], 'notify')
        command = service['ExecStart'].replace('%i', '3').split()
        equal(command[0], box.program)
        allowed = service['RuntimeDirectory'].replace('%i', '3')
        for option in command[1:]:
            if option.startswith('--uds-path='):
                contains(option, f'/run/{allowed}/')
        result = world.run(*command[1:], '--version')
        equal(result.returncode, box.OK)
        check_service_of(world, command)


def check_service_of(world, command):
    args = [option if not option.startswith('--uds-path=') else
            '--uds-path=' + world.uds_path() for option in command[1:]]
    sock = listening(world)
    daemon = world.start(*args, wait=False, **activated([sock]))
    with Guest(world.path('given.sock')) as guest:
        check_service(world, guest)
    daemon.end()
