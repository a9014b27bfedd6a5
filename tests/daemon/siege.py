# SPDX-License-Identifier: GPL-2.0-or-later
#
# An attack on one guest's session, and what must hold while it goes on: the
# daemon lives, the guest beside it is served, and afterwards all is as before.

import contextlib

import frontend
from box import Health, World, check_new_guest, exchange
from frontend import FrontEnd
from tap import Deadline, check


class Siege:
    """Guest 3 is attacked, guest 4 looks on."""

    def __init__(self, world, *options):
        self.world = world
        # With debug all that ends a session is said, however often.
        self.daemon = world.start(world.vm(3), world.vm(4),
                                  '--log-level=debug', *options,
                                  cids=(3, 4))
        check_new_guest(world, 3)
        check_new_guest(world, 4)
        self.health = Health(self.daemon)
        self.read = 0                   # of the log
        self.bystander = world.guest(4)
        self.sock, self.flow = world.connection(self.bystander, 99)

    def check(self, what):
        """Neither the daemon nor the other guest noticed @what."""
        try:
            self.daemon.check_alive()
            exchange(self.sock, self.flow)
            self.daemon.check_alive()
        except (Exception, Deadline) as error:
            raise AssertionError(
                f'after {what}: {self.daemon.process.poll()}, '
                f'{self.daemon.log()[-300:]!r}') from error

    @contextlib.contextmanager
    def session(self, what, negotiate=True, heard=True):
        """A session that the daemon may end at any time, but not sit out.

        @heard: what was sent is whole, so that a question behind it must be
        answered.
        """
        front = FrontEnd(self.world.socket_path(3))
        with front:
            try:
                if negotiate:
                    front.negotiate()
                yield front
                if heard:
                    front.catch_up()
            except (frontend.Gone, frontend.Refused):
                self.expect_reason(what)
            except (Exception, Deadline) as error:
                raise AssertionError(f'during {what}') from error
        self.check(what)

    @contextlib.contextmanager
    def guest(self, what, **kwargs):
        """The same with a guest at work."""
        guest = self.world.guest(3, **kwargs)
        with guest:
            try:
                yield guest
                guest.front.catch_up()
            except (frontend.Gone, frontend.Refused, ConnectionError):
                pass
            except (Exception, Deadline) as error:
                raise AssertionError(f'during {what}') from error
        self.check(what)

    def expect_reason(self, what):
        """The daemon ended the session, or blames the driver, and says why.

        The latter not each time: a guest cannot fill the log.
        """
        self.daemon.check_alive()
        log = self.daemon.log()
        said = log[self.read:]
        self.read = len(log)
        check('ending the session' in said or 'broke a virtqueue' in log,
              f'no reason for {what}')

    def end(self):
        check_new_guest(self.world, 3)
        self.sock.close()
        self.bystander.front.close()
        self.health.expect_back()
        self.daemon.end()


@contextlib.contextmanager
def siege(*options):
    with World() as world:
        under = Siege(world, *options)
        yield under
        under.end()
