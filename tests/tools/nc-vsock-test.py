#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests nc-vsock against scripted peers on AF_UNIX sockets.  It never opens an
# AF_VSOCK socket: what would use one is only asked for its choice (--explain).
#
# usage: nc-vsock-test.py [--nc PROGRAM] [-l] [-p PATTERN]

import argparse
import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import nc_box  # noqa: E402

# Each file adds its cases to the one suite.
for topic in 'choice', 'connect', 'bulk', 'listen':
    importlib.import_module('nc_' + topic)


def setup(options):
    nc_box.program = os.path.abspath(options.nc)
    if not os.access(nc_box.program, os.X_OK):
        sys.exit(f'{nc_box.program} is not there: build it, or name it by '
                 '--nc')


def main():
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
    parser = argparse.ArgumentParser(description='Tests of nc-vsock; TAP.')
    parser.add_argument('--nc', metavar='PROGRAM',
                        default=os.environ.get('NC_VSOCK') or
                        os.path.join(top, 'build', 'bin', 'nc-vsock'),
                        help='the nc-vsock to test (default: $NC_VSOCK, or '
                             'build/bin/nc-vsock)')
    return nc_box.suite.main(parser, setup)


if __name__ == '__main__':
    sys.exit(main())
