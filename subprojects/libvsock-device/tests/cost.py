#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold the library to a number of instructions per packet.

usage: cost.py COST-PROGRAM

Runs the program under callgrind and speaks TAP.  Instructions of the library,
GLib and libc are counted, those of the kernel and of the embedder are not, so
the figures are the same on a busy machine; another compiler moves them a
little, for which the bounds leave an eighth.  A bound that is passed means that
somebody pays for a change: make it cheaper, or raise the bound and say in the
commit what is worth it.  One that is far too high hides the next slow-down:
that fails, too.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

# Case: instructions for each packet or connection, as gcc 12 -O2 makes it.
MEASURED = {
    'guest-to-host-64': 385,
    'guest-to-host-4096': 436,
    'guest-to-host-65536': 1436,
    'host-to-guest-64': 2070,
    'host-to-guest-65536': 625,
    'connection-of-guest': 7659,
    'connection-of-host': 9124,
}
SLACK = 1 / 8


def measure(program):
    """Instructions of each case, from callgrind's dumps."""
    with tempfile.TemporaryDirectory(prefix='vsk-cost-') as folder:
        out = os.path.join(folder, 'out')
        subprocess.run(
            ['valgrind', '--tool=callgrind', '--collect-atstart=no', '-q',
             '--callgrind-out-file=' + out, program, folder], check=True)
        found = {}
        for path in glob.glob(out + '.*'):
            with open(path, encoding='utf-8') as file:
                text = file.read()
            case = re.search(r'^desc: Trigger: Client Request: (\S+) (\d+)',
                             text, re.M)
            total = re.search(r'^totals: (\d+)', text, re.M)
            if case and total:
                found[case[1]] = int(total[1]) / int(case[2])
        return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = measure(sys.argv[1])
    print('1..%d' % len(MEASURED))
    for name, wanted in MEASURED.items():
        got = found.get(name, 0)
        ok = abs(got - wanted) <= wanted * SLACK
        print('%sok - /cost/%s: %.0f instructions, %d to %d wanted'
              % ('' if ok else 'not ', name, got, wanted * (1 - SLACK),
                 wanted * (1 + SLACK)))


main()
