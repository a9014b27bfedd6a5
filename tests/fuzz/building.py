# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds fuzz targets with clang's libFuzzer; ninja sees to what changed."""

import hashlib
import os
import re
import shlex
import subprocess

from targets import FLAGS, FLAVOURS, LIBRARY, TARGETS, TOP, place

RULES = '''rule compile
  command = clang $flags -fsanitize=fuzzer-no-link -MMD -MF $out.d -c $in -o $out
  description = compile $in
  depfile = $out.d
  deps = gcc
rule join
  command = clang $flags -r -nostdlib $wraps -o $out $in
  description = join $out
rule link
  command = clang $flags -fsanitize=fuzzer $in -o $out $libs
  description = link $out
'''


def pkg_config(what, packages):
    if not packages:
        return []
    run = subprocess.run(['pkg-config', what, *packages], check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    return run.stdout.split()


def wraps(top):
    """Have the library's system calls go to fault.c: those of fault.h."""
    with open(os.path.join(top, LIBRARY, 'tests', 'fault.h'),
              encoding='utf-8') as f:
        calls = re.findall(r'(?m)^    X\(\w+, (\w+)\)', f.read())
    return ['-Wl,--wrap=' + call + suffix for call in calls
            for suffix in ('', '64')]


class Build:
    """Programs of one flavour, of the checkout at @top."""

    def __init__(self, folder, flavour, top=TOP):
        self.folder = os.path.join(folder, flavour)
        self.flavour = FLAVOURS[flavour]
        self.top = top

    def program(self, name):
        return os.path.join(self.folder, 'fuzz-' + name)

    def write(self, names):
        """build.ninja; sources that targets share are compiled once."""
        text = [RULES]
        known = set()
        for name in names:
            target = TARGETS[name]
            flags = [shlex.quote(place(flag, self.top))
                     for flag in FLAGS + target.flags + self.flavour]
            flags += pkg_config('--cflags', target.packages)
            mark = hashlib.sha256(' '.join(flags).encode()).hexdigest()[:8]
            objects, faulty = [], []
            for source in target.files(self.top):
                obj = 'obj/%s/%s.o' % (mark, source[:-2].replace('/', '-'))
                (faulty if target.faults and
                 source.startswith(LIBRARY + '/src/') else objects).append(obj)
                if obj not in known:
                    known.add(obj)
                    text.append('build %s: compile %s\n  flags = %s\n'
                                % (obj, os.path.join(self.top, source),
                                   ' '.join(flags)))
            if faulty:
                objects.append('obj/%s/faulty.o' % mark)
                text.append('build %s: join %s\n  wraps = %s\n'
                            % (objects[-1], ' '.join(faulty),
                               ' '.join(wraps(self.top))))
            libs = [place(lib, self.top) for lib in target.link]
            libs += pkg_config('--libs', target.packages)
            text.append('build fuzz-%s: link %s\n  flags = %s\n  libs = %s\n'
                        % (name, ' '.join(objects), ' '.join(self.flavour),
                           ' '.join(libs)))
        with open(os.path.join(self.folder, 'build.ninja'), 'w',
                  encoding='utf-8') as f:
            f.write(''.join(text))

    def make(self, names):
        """Build @names; raises RuntimeError with what the compiler said."""
        os.makedirs(self.folder, exist_ok=True)
        self.write(names)
        jobs = ['-j', os.environ['JOBS']] if os.environ.get('JOBS') else []
        run = subprocess.run(['ninja', '-C', self.folder, *jobs], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             stdin=subprocess.DEVNULL, text=True)
        if run.returncode:
            raise RuntimeError('\n'.join(
                line for line in run.stdout.splitlines()
                if not line.startswith('[')))
