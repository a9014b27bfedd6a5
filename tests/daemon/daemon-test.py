#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests the vhost-user daemon without a VM: a made-up front-end and guest on
# one side, made-up host programs on the other.
#
# usage: daemon-test.py [--daemon PROGRAM] [-l] [-p PATTERN]

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
              'restart', 'inflight', 'log', 'hostile_vmm', 'hostile_guest',
              'abuse', 'sandbox'):
    importlib.import_module('case_' + topic)


def setup(options):
    box.program = os.path.abspath(options.daemon)
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
    return box.suite.main(parser, setup)


if __name__ == '__main__':
    sys.exit(main())
