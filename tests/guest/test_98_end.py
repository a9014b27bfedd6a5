# SPDX-License-Identifier: GPL-2.0-or-later
#
# The last: a daemon that many cases used has nothing left of them.

import os

from load import Load, Rest
from service import expect_service
from tap import Suite, check, equal

BACKENDS = 'vhost-user',
suite = Suite(timeout_s=120)


@suite.case('/end/of-the-daemon-that-many-cases-used')
def _(lab):
    vm = lab.guest()
    expect_service(lab, vm)
    lab.close_kept()
    rest = Rest(vm.daemon)
    load = Load(lab, vm)
    load.wait_running()
    vm.agent.call('close', 0, 1023)
    load.expect_host_ends()
    lab.close_kept()
    rest.expect('a load of the guest that cases share')
    suite.comment(f'{vm.daemon.cpu_seconds():.1f} s of processor time')
    vm.quit()
    equal(vm.daemon.terminate(), 0, 'exit code')
    for path in vm.host.guest.socket, vm.uds_path:
        check(not os.path.exists(path), f'{path} is still there')
