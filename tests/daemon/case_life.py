# SPDX-License-Identifier: GPL-2.0-or-later
#
# How the daemon starts, is found, and ends.

import contextlib
import json
import os
import signal
import socket
import stat
import threading

import box
from box import World, check_new_guest, check_service, suite
from frontend import FrontEnd
from guest import Guest, RST, SHUTDOWN
from tap import WAIT_S, check, contains, equal, until


# --- Files -------------------------------------------------------------------

@suite.case('/life/says-that-it-listens-and-makes-private-sockets')
def _():
    # Who may be the VMM is for the umask to say.
    with World() as world:
        daemon = world.start(umask=0o27)
        daemon.expect_log('listening')
        for path, may in (world.socket_path(), 0o600), \
                (world.uds_path(), 0o600):
            mode = os.stat(path).st_mode
            check(stat.S_ISSOCK(mode), path)
            equal(oct(mode & 0o777), oct(may), path)
        equal(len(daemon.log().strip().split('\n')), 1, 'lines in the log')


@suite.case('/life/host-sockets-are-there-before-any-front-end')
def _():
    with World() as world:
        daemon = world.start()
        client = world.dial(1234)
        with world.guest() as guest:
            until(lambda: takes_one(guest) or closed(client),
                  'it is served or refused')
            check_service(world, guest)
        daemon.end()


def takes_one(guest):
    """Serve a host program that came, if one did."""
    packet = guest.poll()
    return packet and guest.answer(packet)


def closed(sock):
    sock.settimeout(0.3)
    try:
        return sock.recv(1) == b''
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@suite.case('/life/ends-cleanly-at-rest')
def _():
    for number in signal.SIGTERM, signal.SIGINT:
        with World() as world:
            daemon = world.start()
            daemon.end(number)
            equal(world.left(), [])


@suite.case('/life/ends-cleanly-with-a-front-end-and-connections')
def _():
    with World() as world:
        daemon = world.start()
        with world.guest() as guest:
            check_service(world, guest)
            sock, _ = world.connection(guest)
            waiting = world.dial(99)
            daemon.end()
            equal(world.left(), [])
            check(closed(sock) and closed(waiting), 'host programs see it')
            check(guest.front.is_gone(), 'the front-end sees it')


@suite.case('/life/ends-cleanly-under-load')
def _():
    for _ in range(3):
        with World() as world:
            daemon = world.start(world.vm(3), world.vm(4), cids=(3, 4))
            stop = threading.Event()
            threads = [threading.Thread(target=load, args=(world, cid, stop))
                       for cid in (3, 4)]
            for thread in threads:
                thread.start()
            until(lambda: daemon.ticks() > 5, 'load', 30)
            try:
                daemon.end()
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            equal(world.left(), [])


def load(world, cid, stop):
    """Bytes to the guest until the daemon goes."""
    try:
        with Guest(world.socket_path(cid), cid=cid) as guest:
            sock = world.dial(1, cid, kept=False)
            with sock:
                flow = guest.accept(1)
                sock.setblocking(False)
                while not stop.is_set():
                    try:
                        sock.send(bytes(65536))
                    except BlockingIOError:
                        pass
                    take(flow)
    except (OSError, AssertionError):
        pass


def take(flow):
    """Something, if it comes in time: the other threads are busy, too."""
    with contextlib.suppress(AssertionError):
        flow.read(32768, timeout_s=0.5)


@suite.case('/life/second-daemon-on-the-same-paths-is-refused')
def _():
    with World() as world:
        first = world.start()
        for args in (world.options(),
                     [world.vm(4).replace(world.socket_path(4),
                                          world.socket_path(3))],
                     [world.vm(4).replace(world.uds_path(4),
                                          world.uds_path(3))]):
            before = world.left()
            result = world.run(*args)
            check(result.returncode in (box.FAILED, box.USAGE),
                  f'exit code {result.returncode}')
            check(result.stderr.strip(), 'no sentence')
            equal(world.left(), before)
        check_new_guest(world)
        first.end()
        equal(world.left(), [])


@suite.case('/life/sockets-of-a-dead-daemon-are-taken-over')
def _():
    with World() as world:
        for _ in range(2):
            daemon = world.start()
            with world.guest() as guest:
                check_service(world, guest)
                daemon.kill()
            contains(world.left(), 'vhost3.sock')
            contains(world.left(), 'vm3.vsock')
        daemon = world.start()
        check_new_guest(world)
        daemon.end()
        equal(world.left(), [])


@suite.case('/life/a-file-that-took-the-place-of-a-socket-is-not-removed')
def _():
    with World() as world:
        daemon = world.start()
        for path in world.socket_path(), world.uds_path():
            os.unlink(path)
            with open(path, 'w', encoding='ascii') as file:
                file.write('precious')
        daemon.end()
        for path in world.socket_path(), world.uds_path():
            with open(path, encoding='ascii') as file:
                equal(file.read(), 'precious')


@suite.case('/life/paths-of-live-programs-are-kept')
def _():
    # What another daemon or a program that knows of no locks listens on.
    with World() as world:
        world.start()
        agent = world.listener(1234)
        for path in (world.uds_path() + '_seqpacket', world.uds_path() +
                     '_1234', world.uds_path() + '.lock'):
            inode = os.stat(path).st_ino
            box.refused(world, '--guest-cid=4', f'--uds-path={path}',
                        f'--socket={world.socket_path(4)}',
                        words=[os.path.basename(path)])
            box.refused(world, '--guest-cid=4', f'--socket={path}',
                        f'--uds-path={world.uds_path(4)}',
                        words=[os.path.basename(path)])
            equal(os.stat(path).st_ino, inode, path)
        agent.setblocking(False)
        try:
            agent.accept()
            raise AssertionError('the program was disturbed')
        except BlockingIOError:
            pass
        agent.settimeout(WAIT_S)
        with world.guest() as guest:
            flow = guest.connect(1234, port=50000)
            agent.accept()[0].close()
            flow.close()


@suite.case('/life/guest-does-not-reach-the-guest-of-another-daemon')
def _():
    # Whose uds-path is where the first guest's host programs would be.
    with World() as world:
        world.start()
        path = world.uds_path() + '_5'
        other = world.start('--guest-cid=4', f'--uds-path={path}',
                            f'--socket={world.socket_path(4)}', cids=(4,))
        with world.guest() as guest, world.guest(4) as target:
            flow = guest.connect(5, port=50000)
            flow.write(b'CONNECT 22\n')
            if flow.receive(SHUTDOWN, RST).op == SHUTDOWN:
                flow.send(RST)
            other.expect_log('another guest')
            equal(target.poll(timeout_s=0.2), None, 'what the other got')
            while guest.poll(timeout_s=0.2):
                pass  # an RST may follow the SHUTDOWN
            check_service(world, guest)


@suite.case('/life/of-many-that-start-at-once-one-takes-dead-paths-over')
def _():
    with World() as world:
        world.start().kill()
        daemons = [world.start(wait=False) for _ in range(8)]
        until(lambda: sum(daemon.is_alive() for daemon in daemons) == 1,
              'all but one end', 20)
        last, = (daemon for daemon in daemons if daemon.is_alive())
        last.wait_ready(world.socket_path())
        check_new_guest(world)
        last.end()
        equal(world.left(), [])


# --- Activation --------------------------------------------------------------

def listening(world, name='given.sock'):
    sock = world.stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(world.path(name))
    sock.listen(8)
    return sock


def without_socket(world, *more):
    return ['--guest-cid=3', '--uds-path=' + world.uds_path(), *more]


def start_given(world, *args, **kwargs):
    daemon = world.start(*args, wait=False, **kwargs)
    until(lambda: box.is_listening(world.uds_path()) or
          not daemon.is_alive(), 'the daemon listens')
    daemon.check_alive()
    return daemon


@suite.case('/life/fd-of-a-listening-socket-is-served-again-and-again')
def _():
    with World() as world:
        sock = listening(world)
        daemon = start_given(world, *without_socket(
            world, f'--fd={sock.fileno()}'), pass_fds=[sock.fileno()])
        for _ in range(3):
            with Guest(world.path('given.sock')) as guest:
                check_service(world, guest)
        daemon.end()
        equal(world.left(), ['given.sock'])


@suite.case('/life/fd-of-a-connected-socket-is-one-session')
def _():
    # Its end is the end of the process: nobody could come after.
    with World() as world:
        ours, theirs = socket.socketpair()
        daemon = start_given(world, *without_socket(
            world, f'--fd={theirs.fileno()}'), pass_fds=[theirs.fileno()])
        theirs.close()
        with Guest(sock=ours) as guest:
            check_service(world, guest)
        daemon.expect_exit(box.OK)
        equal(world.left(), [])


@suite.case('/life/fd-that-is-no-socket-is-refused')
def _():
    with World() as world:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram, \
                socket.socket(socket.AF_UNIX) as idle, \
                open('/dev/null', 'rb') as file:
            for given in datagram, idle, file:
                result = world.run(*without_socket(
                    world, f'--fd={given.fileno()}'),
                    pass_fds=[given.fileno()])
                check(result.returncode in (box.FAILED, box.USAGE),
                      f'exit code {result.returncode}')
                contains(result.stderr, 'fd')
        equal(world.left(), [])


ACTIVATE = '''
import os, sys
count = int(sys.argv[1])
for at in range(count):
    os.dup2(int(sys.argv[2 + at]), 3 + at)
os.environ['LISTEN_FDS'] = str(count)
os.environ['LISTEN_PID'] = str(os.getpid() + int(os.environ.get('OTHER', 0)))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
'''


def activated(socks):
    """What precedes the daemon's arguments to start it as systemd does."""
    numbers = [str(sock.fileno()) for sock in socks]
    return dict(prefix=['/usr/bin/python3', '-c', ACTIVATE, str(len(socks)),
                        *numbers],
                pass_fds=[int(number) for number in numbers])


@suite.case('/life/systemd-hands-over-the-listening-socket')
def _():
    with World() as world:
        sock = listening(world)
        daemon = start_given(world, *without_socket(world),
                             **activated([sock]))
        for _ in range(2):
            with Guest(world.path('given.sock')) as guest:
                check_service(world, guest)
        daemon.end()
        equal(world.left(), ['given.sock'])


@suite.case('/life/sockets-of-systemd-for-another-process-are-not-taken')
def _():
    with World() as world:
        sock = listening(world)
        daemon = world.start(*without_socket(world), wait=False,
                             env=dict(os.environ, OTHER='1'),
                             **activated([sock]))
        daemon.process.wait(WAIT_S)
        check(daemon.process.returncode in (box.FAILED, box.USAGE),
              f'exit code {daemon.process.returncode}')
        contains(daemon.log(), 'socket')


@suite.case('/life/systemd-is-told-when-it-is-ready')
def _():
    for name in 'notify', '\0':
        with World() as world, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            address = world.path('config-notify') if name == 'notify' \
                else '\0vuv-notify-' + os.path.basename(world.dir)
            notify.bind(address)
            notify.settimeout(WAIT_S)
            shown = address.replace('\0', '@')
            daemon = world.start(env=dict(os.environ, NOTIFY_SOCKET=shown),
                                 wait=False)
            contains(notify.recv(4096).split(b'\n'), b'READY=1')
            with FrontEnd(world.socket_path()) as front:
                front.sync()
            daemon.end()


# --- What is installed -------------------------------------------------------

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRIB = os.path.join(HERE, '..', '..', 'contrib', 'vhost-user-vsock')


def shipped(ending):
    found = sorted(name for name in os.listdir(CONTRIB)
                   if name.split('.in')[0].endswith(ending))
    check(found, f'no {ending} in contrib/vhost-user-vsock')
    return [os.path.join(CONTRIB, name) for name in found]


@suite.case('/life/json-description-is-what-qemu-wants')
def _():
    # VhostUserBackend of vhost-user.json.
    for path in shipped('.json'):
        with open(path, encoding='utf-8') as file:
            said = json.loads(file.read().replace('@libexecdir@', '/usr/lib')
                              .replace('@bindir@', '/usr/bin'))
        equal(said.pop('type'), 'vsock')
        check(said.pop('description'), 'description')
        contains(said.pop('binary'), 'vhost-user-vsock')
        said.pop('tags', None)
        equal(said, {}, 'what the schema does not know')
        check(os.path.basename(path)[:2].isdigit(), 'no two digits')
