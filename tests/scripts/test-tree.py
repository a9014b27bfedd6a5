# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests rules that every file of the checkout keeps.

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(HERE, '..', 'tools'),
                os.path.join(TOP, 'scripts')]
from overlay import overlay_files  # noqa: E402
from tap import Skip, Suite, check  # noqa: E402

# Files that cannot carry a licence line, or are not ours to change.
NO_SPDX = re.compile(r'^(COPYING|LICENSES/.*|.*/LICENSE|\.gitignore|'
                     r'.*\.(json|patch|rst|png|svg|pcapng|bin|in)|'
                     r'patches/.*/series|\.mailmap|tests/fuzz/corpus/.*)$')
# Sources whose lines QEMU's own meson.build has already; a qtest program has
# none for the source of its own name.
QEMU_BUILDS = ('hw/virtio/vhost-vsock-pci.c', 'tests/qtest/vhost-vsock-test.c')
BSD = 'subprojects/libvsock-device/'
LONGEST = 800
TEXT_WIDTH = 80
# What begins a comment within a text is none.
COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|'
                               r"'(?:\\.|[^'\\\n])*'|/\*.*?\*/", re.S)

suite = Suite()


def checkout():
    """Every file: what git knows, or all that is there in a tarball."""
    git = subprocess.run(
        ['git', '-C', TOP, 'ls-files', '-z', '--cached', '--others',
         '--exclude-standard'], capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = git.stdout.split('\0')
    else:
        names = [os.path.relpath(os.path.join(path, name), TOP)
                 for path, _, files in os.walk(TOP) for name in files]
        names = [n for n in names if not n.startswith(('build/', '.git/'))]
    return sorted(n for n in names
                  if n and os.path.isfile(os.path.join(TOP, n)))


def text_of(name):
    with open(os.path.join(TOP, name), 'rb') as f:
        return f.read().decode('utf-8', errors='replace')


def offences(found):
    """Fail with the list, if it is not empty."""
    for one in found:
        suite.comment(one)
    check(not found, '%d of them, the first: %s' % (len(found), found[:1]))


def apt_hosts():
    """The hosts of this machine's package archives."""
    hosts = set()
    for path, _, names in os.walk('/etc/apt'):
        for name in names:
            if not name.endswith(('.list', '.sources')):
                continue
            with open(os.path.join(path, name), encoding='utf-8') as f:
                hosts |= set(re.findall(r'https?://([^/\s]+)', f.read()))
    return hosts


@suite.case('/tree/every-file-has-its-licence-line')
def spdx():
    wrong = []
    for name in checkout():
        if NO_SPDX.match(name):
            continue
        head = '\n'.join(text_of(name).splitlines()[:5])
        licence = 'BSD-3-Clause' if name.startswith(BSD) else \
            'GPL-2.0-or-later'
        if 'SPDX-License-Identifier: ' + licence not in head:
            wrong.append(name)
    offences(wrong)


@suite.case('/tree/no-file-names-a-package-host')
def hosts():
    names = apt_hosts()
    if not names:
        raise Skip('this machine names no package archive')
    pattern = re.compile('|'.join(map(re.escape, names)))
    offences([n for n in checkout() if pattern.search(text_of(n))])


@suite.case('/tree/no-file-names-a-path-of-one-machine')
def paths():
    pattern = re.compile(r'(?:^|[^A-Za-z0-9_.$}])/(?:root|work)/\w',
                         re.M)
    offences(['%s: %s' % (n, pattern.search(text_of(n)).group().strip())
              for n in checkout()
              if not n.startswith('tests/scripts/')
              and pattern.search(text_of(n))])


@suite.case('/tree/no-source-is-longer-than-800-lines')
def length():
    offences([n for n in checkout() if n.endswith(('.c', '.h', '.py'))
              and text_of(n).count('\n') > LONGEST])


@suite.case('/tree/c-sources-keep-to-80-columns')
def width():
    wrong = []
    for name in checkout():
        if name.endswith(('.c', '.h')):
            wrong += ['%s:%d' % (name, number) for number, line
                      in enumerate(text_of(name).splitlines(), 1)
                      if len(line) > TEXT_WIDTH]
    offences(wrong)


@suite.case('/tree/block-comments-of-the-series-are-as-qemu-wants-them')
def block_comments():
    """Of several lines: none behind code, and /* and */ on lines of their own."""
    wrong = []
    for name in overlay_files():
        if not name.endswith(('.c', '.h')):
            continue
        text = text_of(name)
        for found in COMMENT_OR_STRING.finditer(text):
            lines = found.group().split('\n')
            before = text[text.rfind('\n', 0, found.start()) + 1:found.start()]
            if lines[0].startswith('/*') and len(lines) > 1 and (
                    before.strip() or lines[0] not in ('/*', '/**') or
                    lines[-1].strip() != '*/'):
                wrong.append('%s:%d' % (
                    name, text.count('\n', 0, found.start()) + 1))
    offences(wrong)


@suite.case('/tree/no-tabs-and-no-spaces-at-line-ends')
def whitespace():
    wrong = []
    for name in checkout():
        if name.endswith(('.c', '.h', '.py', 'meson.build', '.rst', '.sh')):
            wrong += ['%s:%d' % (name, number) for number, line
                      in enumerate(text_of(name).splitlines(), 1)
                      if re.search(r'\t|\s$', line)]
    offences(wrong)


@suite.case('/tree/files-end-with-a-newline')
def last_line():
    offences([n for n in checkout() if n.endswith(
        ('.c', '.h', '.py', '.rst', '.sh', '.build', '.json', '.patch'))
        and text_of(n)[-1:] not in ('\n', '')])


@suite.case('/tree/no-word-about-work-left-undone')
def undone():
    pattern = re.compile(r'\b(?:FIX' + r'ME|TO' + r'DO|XX' + r'X)\b')
    offences(['%s:%d' % (name, number) for name in checkout()
              if name.endswith(('.c', '.h', '.build', '.rst'))
              for number, line in enumerate(text_of(name).splitlines(), 1)
              if pattern.search(line)])


@suite.case('/tree/shell-scripts-parse')
def shell():
    wrong = []
    for name in checkout():
        first = text_of(name)[:40].split('\n')[0]
        if name.endswith('.sh') or re.match(r'#!/bin/(ba)?sh', first):
            shell_name = 'sh' if first == '#!/bin/sh' else 'bash'
            run = subprocess.run([shell_name, '-n', os.path.join(TOP, name)],
                                 capture_output=True, text=True, check=False)
            if run.returncode:
                wrong.append(run.stderr)
    offences(wrong)


@suite.case('/tree/python-scripts-parse')
def python():
    wrong = []
    for name in checkout():
        if name.endswith('.py') or \
                text_of(name)[:40].startswith('#!/usr/bin/python3'):
            try:
                compile(text_of(name), name, 'exec')
            except SyntaxError as error:
                wrong.append('%s: %s' % (name, error))
    offences(wrong)


@suite.case('/tree/every-patch-is-in-the-series-and-says-why')
def patch_headers():
    wrong = []
    for name in checkout():
        if not name.endswith('.patch'):
            continue
        series = text_of(os.path.dirname(name) + '/series').split()
        head = text_of(name).split('--- a/')[0]
        if os.path.basename(name) not in series or \
                not re.match(r'Description: \S.*\n \S', head):
            wrong.append(name)
    offences(wrong)


@suite.case('/tree/every-source-is-built-by-every-patch-set')
def built():
    wrong = []
    patches_folder = os.path.join(TOP, 'patches')
    for patches in sorted(n for n in os.listdir(patches_folder)
                          if n.startswith('qemu-')):
        folder = 'patches/' + patches
        text = ''.join(text_of(n) for n in checkout()
                       if n.startswith(folder + '/'))
        for name in checkout():
            if re.match(r'(hw|tests/qtest)/.*\.c$', name) and \
                    name not in QEMU_BUILDS and \
                    "'%s'" % os.path.basename(name) not in text:
                wrong.append('%s is not in %s' % (name, folder))
    offences(wrong)


# A call of the system in C.  Those that only happen before the sandbox stands
# are in files that make no other.
SYSTEM_CALL = re.compile(
    r'\b(accept4|bind|close|connect|epoll_ctl|epoll_wait|eventfd_write|fcntl|'
    r'fstat|ftruncate|lstat|memfd_create|mmap|munmap|poll|recv|recvmsg|'
    r'sendmmsg|sendmsg|sendto|setsockopt|shutdown|socket|unlink|write)\(')
BEFORE_SANDBOX = ('contrib/vhost-user-vsock/vm.c',
                  'subprojects/libvsock-device/src/path.c')


@suite.case('/tree/system-calls-of-the-daemon-are-tagged-for-its-sandbox')
def tagged():
    wrong = []
    for name in checkout():
        if not re.match(r'(contrib/vhost-user-vsock|subprojects/'
                        r'libvsock-device/src)/[^/]*\.c$', name) or \
                name in BEFORE_SANDBOX:
            continue
        code = re.sub(r'/\*.*?\*/|"[^"\n]*"|(->|\.)\w+\(', '', text_of(name),
                      flags=re.S)
        if SYSTEM_CALL.search(code) and '#syscalls ' not in text_of(name):
            wrong.append(name)
    offences(wrong)


sys.exit(suite.main())
