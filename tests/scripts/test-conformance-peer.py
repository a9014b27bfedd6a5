# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests what scripts/conformance-peer makes of logs.

import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, '..', '..', 'scripts', 'conformance-peer')
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from tap import Suite, check, equal  # noqa: E402

README = 'Rows:\n\n==  =====\nA1  A row\nB2  Another\n==  =====\n'
RST = {'op': 'receive', 'hdr': {'op': 'VIRTIO_VSOCK_OP_RST'}}
READ = {'op': 'sock-recv', 'sock_id': 's', 'expect': ['EOF', 'ECONNRESET']}
SCRIPTS = {
    'good': [{'_rows': ['A1']}],
    'silent': [{'_rows': ['A1', 'B2']}, RST],
    'other': [{'_rows': ['A1']}, RST],
    'open': [{'_rows': 'B2', '_linux_differs': 'It does.'},
             dict(READ, only=['emulator', 'vhost-user'])],
    'stuck': [{'_rows': 'B2', '_requires': ['emulator', 'vhost-user'],
               '_linux_lacks': 'No lines.'}, RST],
    'packets': [{'_rows': 'B2', '_requires': 'seqpacket'}],
}
LOG = '''\
# peer 1.0
# QEMU emulator version 7.2
ok 1 /vhost-vsock/replay/good.json
# /x/silent.json:9: step 2 (receive): no packet came
#   no packet had been seen
not ok 2 /vhost-vsock/replay/silent.json
# /x/other.json:9: step 2 (receive): the packet is not the one expected
#     src_cid    2                                  2
#   * op         RST (3)                            INVALID (0)
not ok 3 /vhost-vsock/replay/other.json
# /x/open.json:9: step 2 (sock-recv): recv: EOF or ECONNRESET expected, EAGAIN came
not ok 4 /vhost-vsock/replay/open.json
# nothing more happened within 60 seconds
not ok 5 /vhost-vsock/replay/stuck.json
ok 6 /vhost-vsock/replay/packets.json # SKIP needs VIRTIO_VSOCK_F_SEQPACKET, no
'''

suite = Suite()


def make(log=LOG):
    """Run it; the page and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        def write(name, text):
            with open(os.path.join(folder, name), 'w',
                      encoding='utf-8') as f:
                f.write(text)
        write('README.rst', README)
        for name, steps in SCRIPTS.items():
            write(name + '.json', json.dumps(steps))
        write('waived.log', log)
        write('strict.log', log)
        page = os.path.join(folder, 'page.rst')
        run = subprocess.run([sys.executable, PROGRAM, '--data', folder,
                              '--logs', folder, '--page', page],
                             capture_output=True, text=True, check=False)
        if run.returncode:
            return None, run.stderr
        with open(page, encoding='utf-8') as f:
            return f.read(), run.stderr


@suite.case('/conformance-peer/says-what-was-expected-and-came')
def lines():
    page, said = make()
    equal(said, '')
    words = [' '.join(line.split()) for line in page.splitlines()]
    for line in ('``silent`` 2 receive RST nothing ok',
                 '``other`` 2 receive RST INVALID ok',
                 '``open`` 2 sock-recv EOF or ECONNRESET nothing, the socket '
                 'stays open differs',
                 '``stuck`` an end the daemon hangs n/a',
                 'all 6 1 4 1', '4 2 all'):
        check(line in words, 'not in the page: ' + line)
    check('1 scripts were skipped' in page, page)


@suite.case('/conformance-peer/log-without-a-script-is-refused')
def missing():
    page, said = make(LOG.replace('good.json', 'gone.json'))
    equal(page, None)
    check('lacks 1 scripts, the first: good' in said, said)


sys.exit(suite.main())
