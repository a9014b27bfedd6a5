#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests the vhost-user daemon without a VM: a made-up front-end and guest on
# one side, made-up host programs on the other.
#
# usage: daemon-test.py [--daemon PROGRAM] [--give=OPTION]… [--slack=KIB]
#                       [-l] [-p PATTERN]

import argparse
import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'tools')]
sys.dont_write_bytecode = True

import box  # noqa: E402

# Each file adds its cases to the one suite.
for topic in ('options', 'config', 'life', 'vms', 'service', 'protocol',
              'restart', 'inflight', 'log', 'hostile_vmm', 'hostile_timing',
              'hostile_guest', 'abuse', 'many', 'sandbox', 'faults'):
    importlib.import_module('case_' + topic)


def setup(options):
    box.program = os.path.abspath(options.daemon)
    box.extra = options.give
    box.extra_slack_kib = options.slack
    if not os.access(box.program, os.X_OK):
        sys.exit(f'{box.program} is not there: `make daemon` builds it, or '
                 'name another by --daemon')


def main():
    top = os.path.join(HERE, '..', '..')
    parser = argparse.ArgumentParser(description='Tests of the daemon; TAP.')
    parser.add_argument('--daemon', metavar='PROGRAM',
                        default=os.environ.get('VHOST_VSOCK_TEST_DAEMON') or
                        os.path.join(top, 'build', 'bin', 'vhost-user-vsock'),
                        help='the daemon to test (default: '
                             '$VHOST_VSOCK_TEST_DAEMON, or '
                             'build/bin/vhost-user-vsock)')
    parser.add_argument('--give', metavar='OPTION', action='append',
                        default=[], help='an option for every daemon that '
                                         'serves, such as --sandbox=none, '
                                         'which sanitizers need')
    parser.add_argument('--slack', metavar='KIB', type=int, default=0,
                        help='memory that may stay besides, for a daemon '
                             'whose sanitizer keeps what was freed')
    return box.suite.main(parser, setup)


if __name__ == '__main__':
    sys.exit(main())
