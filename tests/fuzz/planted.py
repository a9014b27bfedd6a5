# SPDX-License-Identifier: GPL-2.0-or-later
"""Bugs put into a copy of the library, each of which a short run must find."""

import os
import re
import shutil
import subprocess

from building import Build
from targets import LIBRARY, TARGETS, TOP

SECONDS = 60 # for each, at the most

# Of a target's log; one that cannot run fails, too, but says none of these.
FINDING = re.compile(r' does not hold$|ERROR: \w+Sanitizer|: runtime error: |'
                     r'Test unit written to \S*/(crash|leak)-', re.MULTILINE)

# What it is; the target that is to find it; source, from the top or of the
# library; words, and their stead.
PLANTS = [
    ('more-than-credit', 'device', 'to-guest.c',
     'MIN(vsk_credit_room(&conn->credit), VSK_TURN_BYTES)', 'VSK_TURN_BYTES'),
    ('end-before-the-last-bytes', 'device', 'conn.c',
     'bool drained = !vsk_stage_waits(&conn->stage);', 'bool drained = true;'),
    ('descriptor-leaks', 'device', 'host.c',
     'return fd;\n    }\n    close(fd);', 'return fd;\n    }'),
    ('chain-is-kept', 'device', 'dev-rx.c', 'while (n > used) {',
     'while (n > used + 1) {'),
    ('credit-ahead-of-host', 'mux', 'credit.c',
     'hdr->fwd_cnt = credit->fwd_cnt;', 'hdr->fwd_cnt = credit->rx_cnt;'),
    ('message-ends-early', 'mux', 'conn.c',
     'conn->stage.messages && last && !conn->in_message;',
     'conn->stage.messages && last;'),
    ('no-rst-after-both-ends', 'mux', 'conn.c',
     'vsk_conn_die(conn, true);\n    } else if',
     'vsk_conn_die(conn, false);\n    } else if'),
    ('event-is-missed', 'mux', 'conn.c',
     '(vsk_stage_waits(&conn->stage) ? EPOLLOUT : 0)', '0'),
    ('room-wraps', 'credit', 'credit.c',
     'int64_t room = (int64_t)credit->peer_buf_alloc - in_flight;',
     'int32_t room = (int32_t)(credit->peer_buf_alloc - in_flight);'),
    ('overrun-allowed', 'credit', 'credit.c',
     '(uint64_t)vsk_credit_held(credit) + len',
     'vsk_credit_held(credit) + len'),
    ('header-of-43-bytes', 'hdr', 'pkt.c',
     'sizeof(wire)) < sizeof(wire)) {', 'sizeof(wire)) < sizeof(wire) - 1) {'),
    ('slice-forgets-offset', 'hdr', 'pkt.c',
     'n = MIN(iov[i].iov_len - offset, len - done);',
     'n = MIN(iov[i].iov_len, len - done);'),
    ('line-one-byte-too-long', 'line', 'line.c',
     '*ret_room = VSK_MAX_LINE - line->len;',
     '*ret_room = VSK_MAX_LINE + 1 - line->len;'),
    ('port-of-33-bits', 'line', 'line.c',
     'if (port > UINT32_MAX) {', 'if (port > 2ull * UINT32_MAX) {'),
    ('ring-one-byte-too-much', 'ring', 'ring.c',
     'if (size - offset > ring->capacity - ring->used) {',
     'if (size - offset > ring->capacity - ring->used + 1) {'),
    ('ring-wraps-late', 'ring', 'ring.c',
     'uint32_t first = MIN(len, ring->capacity - ring->head);',
     'uint32_t first = MIN(len, ring->capacity);'),
    ('length-of-14-bits', 'stage', 'stage.c',
     '} while (code[n++] & 0x80);', '} while (code[n++] & 0x80 && n < 2);'),
    ('descriptor-behind-the-table', 'vring', 'vring.c',
     'if (walk->desc.next >= walk->table.n) {',
     'if (walk->desc.next > walk->table.n) {'),
    ('wrong-page-is-dirty', 'vring', 'vring.c',
     'note_dirty(vring, elem->gpa[i], n);',
     'note_dirty(vring, elem->gpa[n_out], n);'),
    ('string-beyond-its-end', 'script', 'tests/qtest/vhost-vsock-json.c',
     "if (*c->p == '\\\\' && c->p[1]) {", "if (*c->p == '\\\\') {"),
    ('socket-name-leaks', 'script', 'tests/qtest/vhost-vsock-match.c',
     'g_free(spec->field[f].terms[i].sock_id);', ''),
    ('queue-size-of-100', 'config', 'contrib/vhost-user-vsock/vm-options.c',
     'if (n & (n - 1)) {', 'if (n & 1) {'),
    ('half-a-message-keeps-its-descriptors', 'messages',
     'contrib/vhost-user-vsock/session.c',
     'message_fini(&session->reader);', ''),
    ('removed-region-stays-mapped', 'messages',
     'contrib/vhost-user-vsock/memory.c',
     'file_unmap(&r->map);', ''),
    ('yaml-event-leaks', 'config', 'contrib/vhost-user-vsock/config-file.c',
     'yaml_event_delete(&r.event);', ''),
]


def plant(folder, source, old, new):
    """A copy of what targets are built of, with one edit."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in (LIBRARY, 'tests/fuzz', 'tests/qtest', 'contrib'):
        shutil.copytree(os.path.join(TOP, part), os.path.join(folder, part),
                        ignore=shutil.ignore_patterns('corpus', '*-data'))
    path = os.path.join(folder, source if '/' in source else
                        os.path.join(LIBRARY, 'src', source))
    with open(path, encoding='utf-8') as f:
        text = f.read()
    if text.count(old) != 1:
        raise RuntimeError('%s has %d times: %s' % (source, text.count(old),
                                                    old))
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text.replace(old, new))


def is_found(build, folder, name, seconds):
    """Whether the target has a finding, on its corpus or soon after."""
    fresh = os.path.join(folder, 'new')
    path = os.path.join(folder, 'log')
    os.makedirs(fresh)
    with open(path, 'w', encoding='utf-8') as log:
        code = subprocess.run(
            [build.program(name), '-max_total_time=%d' % seconds,
             '-max_len=%d' % TARGETS[name].max_len,
             '-artifact_prefix=' + folder + os.sep, fresh,
             os.path.join(TOP, 'tests', 'fuzz', 'corpus', name)],
            check=False, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT).returncode
    with open(path, encoding='utf-8', errors='replace') as log:
        text = log.read()
    if code and not FINDING.search(text):
        raise RuntimeError('%s did not run, with %d: see %s'
                           % (name, code, path))
    return code != 0


def check(base, args):
    """Plant one after the other; whether each was found."""
    plants = [p for p in PLANTS if p[1] in args.names]
    good = True
    if args.tap:
        print('1..%d' % len(plants), flush=True)
    for number, (what, name, source, old, new) in enumerate(plants, 1):
        folder = os.path.join(base, 'planted')
        plant(folder, source, old, new)
        build = Build(os.path.join(base, 'planted-build'), 'sanitize', folder)
        build.make([name])
        found = is_found(build, folder, name, args.seconds or SECONDS)
        good &= found
        if args.tap:
            print('%sok %d /fuzz/planted/%s' % ('' if found else 'not ',
                                                number, what), flush=True)
        else:
            print('%-8s %s by %s' % ('found' if found else 'MISSED', what,
                                     name), flush=True)
    return good
