# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches that nothing from outside can take, and what has them instead.

Each rule is a source, words of the line, and the reason.  Rules that match
nothing any more are of no harm.
"""

import re

EMBEDDER = 'the embedder\'s, with its user\'s environment'
ASSERTED = 'what the caller has made sure of'
OTHER_USER = 'needs a program of another user: /host/trust'
OTHER_PROCESS = 'needs another process between two calls: /socket-file'
LINUX = 'Linux does not let it fail so: test-fault'
MEMORY = 'needs tens of megabytes: /trim'

RULES = [
    ('path.c', r'.', EMBEDDER),
    ('trim.c', r'.', MEMORY),
    ('mux.c', r'trim\.at_ms', MEMORY),
    ('host.c', r'is_trusted|peer\.uid|S_IWOTH|is_bound_there|getpeername|'
               r'stat\(|strcmp\(found|g_path_is_absolute|st_ino|SO_PEERCRED|'
               r'vsk_path_for_port\(base', OTHER_USER),
    ('socket-file.c', r'is_file_at|is_own_lock|st_ino|lstat|st_nlink|'
                      r'i < 100|!again|errno == ENOENT|case ENOENT|st_uid|'
                      r'EWOULDBLOCK|unlink|refuse_lock', OTHER_PROCESS),
    ('socket-file.c', r'VSK_SUN_PATH_SIZE', ASSERTED),
    ('*', r'if \((host|mux|table|stream|dev|listener)\) \{|'
          r'if \(!(host|mux|table|listener)\) \{', 'half-built or none: free'),
    ('*', r'epoll_fd (>=|<) 0', LINUX),
    ('*', r'ECONNABORTED|ENOTCONN|ECONNREFUSED|ENFILE', LINUX),
    ('stream.c', r'poll\(&pfd|getsockopt|now < size|setsockopt', LINUX),
    ('seqpacket.c', r'getsockopt|set_option|SNDBUF_OVERHEAD|'
                    r'VSK_CLOSE_MESSAGES', LINUX),
    ('table.c', r'a->(guest_port|type)', 'needs equal hashes'),
    ('table.c', r'next_host_port|n_ports|vsk_table_find|slots->len',
     'needs 32768 host clients in a row: /table'),
    ('mux.c', r'vsk_table_pick_host_port', 'the same'),
    ('host.c', r'i < VSK_MAX_HOST_CLIENTS|vsk_path_format_source', ASSERTED),
    ('vring.c', r'config->|is_aligned|!check\(|if \(why\)|ops->dirty|'
                r'uintptr_t', EMBEDDER),
    ('dev.c', r'ops->(refused|packet)', EMBEDDER),
    ('from-guest.c', r'VSK_PHASE_DRAINING|switch', ASSERTED),
    ('*', r'^switch \(|^default:', ASSERTED),
]


def reason(source, line):
    """Why a branch cannot be taken from outside; None: it can."""
    for name, words, why in RULES:
        if name in ('*', source) and re.search(words, line):
            return why
    return None
