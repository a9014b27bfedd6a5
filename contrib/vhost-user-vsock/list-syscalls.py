#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the list of system calls that the sandbox allows.

usage: list-syscalls.py OUTPUT SOURCE…

Each call that is made once the program serves guests has a tag in a comment
beside it: "#syscalls" and the kernel's names of what it may become, to the end
of the line.  All names found in the SOURCEs become a C header; one that a
machine's kernel does not have is skipped when the program starts.
"""

import re
import sys

TAG = re.compile(r'#syscalls((?:[ \t]+[a-z][a-z0-9_]*\b)+)')
COMMENT = re.compile(r'/\*.*?\*/', re.S)


def names_of(path):
    """The names that the comments of one file tag."""
    with open(path, encoding='utf-8') as f:
        comments = COMMENT.findall(f.read())
    return {name for comment in comments for line in TAG.findall(comment)
            for name in line.split()}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    output, sources = sys.argv[1], sys.argv[2:]
    names = sorted(set().union(*map(names_of, sources)))
    with open(output, 'w', encoding='utf-8') as f:
        f.write('/* Made by list-syscalls.py from the tags in %d sources. */\n'
                'static const char *const sandbox_syscalls[] = {\n'
                % len(sources))
        f.write(''.join('    "%s",\n' % name for name in names))
        f.write('};\n')


main()
