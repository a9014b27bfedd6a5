# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches that no input of any target can take, and what has them instead.

Each rule is a source, words of the line, and the reason.  What only wants
patience, many flows or a call that fails is none: it counts as not reached.
"""

import re

EMBEDDER = 'the embedder\'s: a callback that it may leave out'
ENVIRONMENT = 'of the user\'s environment: test-path'
ASSERTED = 'what the caller has made sure of'
OTHER_USER = 'needs another user, or all to write: /host/trust, /socket-file'
OTHER_PROCESS = 'needs another process between two calls: /socket-file'

RULES = [
    ('path.c', r'.', ENVIRONMENT),
    ('host.c', r'peer\.uid|S_IWOTH|is_bound_there|getpeername|stat\(there|'
               r'strcmp\(found|g_path_is_absolute|st_ino|SO_PEERCRED|'
               r'vsk_path_for_port\(base, port, path\)', OTHER_USER),
    ('socket-file.c', r'st_uid', OTHER_USER),
    ('socket-file.c', r'i < 100', OTHER_PROCESS),
    ('socket-file.c', r'VSK_SUN_PATH_SIZE', ASSERTED),
    ('*', r'if \((host|mux|table|stream|dev|listener)\) \{|'
          r'if \(!(host|mux|table|listener)\) \{', 'half-built or none: free'),
    ('table.c', r'a->(guest_port|type)', 'needs equal hashes: test-table'),
    ('table.c', r'next_host_port|n_ports|vsk_table_find',
     'needs 32768 host clients in a row: /table'),
    ('mux.c', r'vsk_table_pick_host_port', 'the same'),
    ('table.c', r'slots->len', ASSERTED),
    ('host.c', r'i < VSK_MAX_HOST_CLIENTS|vsk_path_format_source', ASSERTED),
    ('vring.c', r'ops->dirty', EMBEDDER),
    ('dev.c', r'ops->(refused|packet)', EMBEDDER),
    ('from-guest.c', r'VSK_PHASE_DRAINING',
     'no packet finds it: vsk_conn_orphan()'),
    # The way past all cases of an enum, where there is no default.
    ('*', r'^switch \((conn->phase|vsk_mux_next\(|vsk_conn_read\(|'
          r'vsk_host_next\()', ASSERTED),
]


def reason(source, line):
    """Why a branch cannot be taken by any input; None: it can."""
    for name, words, why in RULES:
        if name in ('*', source) and re.search(words, line):
            return why
    return None
