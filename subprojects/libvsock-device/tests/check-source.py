#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Check what compilers do not: names in comments, include order, sizes.

usage: check-source.py LIBRARY_DIR SOURCE…

SOURCEs are the library's .c files in the order in which their modules may know
of each other.  Speaks TAP.
"""

import os
import re
import sys

COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*', re.S)
WORD = re.compile(r'[A-Za-z_]\w*')
# What a comment names: @member, #Type, name() and whatever has our prefix.
NAMED = re.compile(r'@([A-Za-z_]\w*)'
                   r'|#(Vsk\w+)'
                   r'|\b(vsk_\w+|VSK_\w+|Vsk[A-Z]\w*)(\*?)'
                   r'|\b([a-z_]\w*)\(\)')
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
# Headers that any module may include, whatever their place.
ANYWHERE = {'vsock-device.h', 'vsock-limits.h', 'vsock-path.h',
            'vsock-socket-file.h', 'vsock-vring.h'}
# Functions of the system that comments may name.
SYSTEM = {
    'accept', 'bind', 'close', 'connect', 'epoll_wait', 'flock',
    'getpeername', 'lstat', 'malloc', 'mkdir', 'poll', 'read', 'readv',
    'recvmsg', 'sendmsg', 'shutdown', 'write', 'writev',
}


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


class Tree:
    """The library's sources, split into code and comments."""

    def __init__(self, top, sources):
        self.top = top
        self.sources = [os.path.basename(path) for path in sources]
        self.files = {}
        for folder in ('include', 'src', 'tests'):
            for name in sorted(os.listdir(os.path.join(top, folder))):
                if name.endswith(('.c', '.h')):
                    path = os.path.join(folder, name)
                    self.files[path] = read(os.path.join(top, path))

    def library(self):
        return {path: text for path, text in self.files.items()
                if not path.startswith('tests')}

    def words_of_code(self):
        words = set()
        for text in self.library().values():
            words.update(WORD.findall(COMMENT.sub(' ', text)))
        return words


def line_of(text, offset):
    return text.count('\n', 0, offset) + 1


def check_names(tree):
    """Every symbol that a comment names exists in the code."""
    words = tree.words_of_code()
    problems = []
    for path, text in tree.library().items():
        for comment in COMMENT.finditer(text):
            for match in NAMED.finditer(comment.group()):
                at, kind, own, star, call = match.groups()
                name = at or kind or own or call
                # A family: VSK_SHUTDOWN_*, or a prefix "vsk_".
                if own and (star or name.endswith('_')):
                    found = any(word.startswith(name) for word in words)
                else:
                    found = name in words or (call and name in SYSTEM)
                if not found:
                    line = line_of(text, comment.start() + match.start())
                    problems.append('%s:%d: there is no %s'
                                    % (path, line, name))
    return problems


def module_order(sources):
    """Place of each module; files of one noun, as conn-*.c, share one."""
    order = {}
    for place, source in enumerate(sources):
        order[os.path.splitext(source)[0]] = place
    return order


def place_of(name, order):
    stem = os.path.splitext(name)[0]
    stem = re.sub(r'-internal$', '', stem)
    return order.get(stem)


def check_includes(tree):
    """A module includes those before it in the order of meson.build."""
    order = module_order(tree.sources)
    problems = []
    for path, text in tree.files.items():
        if not path.startswith('src'):
            continue
        own = place_of(os.path.basename(path), order)
        for match in INCLUDE.finditer(text):
            name = match.group(1)
            if name in ANYWHERE:
                continue
            other = place_of(name, order)
            where = '%s:%d' % (path, line_of(text, match.start()))
            if other is None:
                problems.append('%s: %s belongs to no module' % (where, name))
            elif own is None:
                problems.append('%s: the file belongs to no module' % where)
            elif other > own:
                problems.append('%s: %s comes later in meson.build'
                                % (where, name))
    return problems


def check_sources(tree):
    """meson.build names every file of src/."""
    present = {os.path.basename(path) for path in tree.files
               if path.startswith('src') and path.endswith('.c')}
    return ['src/%s: not in meson.build' % name
            for name in sorted(present - set(tree.sources))]


def check_sizes(tree):
    """No file has more than 800 lines."""
    return ['%s: %d lines' % (path, text.count('\n'))
            for path, text in tree.files.items() if text.count('\n') > 800]


CHECKS = [
    ('names-in-comments-exist', check_names),
    ('includes-follow-the-order-of-modules', check_includes),
    ('all-sources-are-built', check_sources),
    ('files-are-not-too-long', check_sizes),
]


def main():
    tree = Tree(sys.argv[1], sys.argv[2:])
    failed = False
    print('1..%d' % len(CHECKS))
    for number, (name, check) in enumerate(CHECKS, 1):
        problems = check(tree)
        for problem in problems:
            print('# ' + problem)
        print('%sok %d /source/%s' % ('not ' if problems else '', number,
                                      name))
        failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
