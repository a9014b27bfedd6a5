# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests that the manual pages name the options, variables and exit codes that
# the programs have, as their help does, and no others; that each page can be
# made; and that what goes into QEMU's manual names no file that stays here.

import fnmatch
import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
sys.path.insert(0, os.path.join(TOP, 'scripts'))
from overlay import overlay_files, places  # noqa: E402
from tap import Skip, Suite, check, equal  # noqa: E402

PAGES = ('nc-vsock', 'vhost-user-vsock', 'vhost-vsock-test')
# Options that are there to be refused.
REFUSED = {'--forward-cid', '--forward-listen'}
OPTION = re.compile(r'(?<![\w-])--?[\w?][\w-]*')
# Variables that a library reads for the program.
READ_BY_GLIB = {'TMPDIR'}

suite = Suite()


def read(*path):
    with open(os.path.join(TOP, *path), encoding='utf-8') as f:
        return f.read()


def page(name):
    return read('docs', 'tools', name + '.rst')


def section(text, title):
    """What stands below a title, to the next one of its kind."""
    body = re.split(r'^%s\n-+\n' % re.escape(title), text, flags=re.M)
    check(len(body) == 2, f'section "{title}" is there once')
    return re.split(r'^[^\n]+\n-+\n', body[1], flags=re.M)[0]


def options_of_page(name):
    found = []
    for line in re.findall(r'^\.\. option:: (.*)$', page(name), re.M):
        found += OPTION.findall(line)
    equal(sorted(set(found)), sorted(found), f'options told once in {name}')
    return set(found)


def options_of_source(path):
    """What getopt_long() is given."""
    text = read(path)
    table = re.search(r'struct option long_options\[\] = \{(.*?)\n\};', text,
                      re.S).group(1)
    short = re.search(r'getopt_long\(argc, argv, "([^"]*)"', text).group(1)
    return {'--' + name for name in re.findall(r'\{ "([\w-]+)"', table)} | \
        {'-' + letter for letter in re.sub(r'[+:]', '', short)}


def help_of_source(path, name):
    text = read(path)
    body = re.search(r'char %s\[\] =\n(.*?);\n' % name, text, re.S).group(1)
    return ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', body))


def values(name):
    """Terms of the page's environment."""
    text = section(page(name), 'Environment')
    terms = [line for line in text.split('\n') if line.startswith('``')]
    return set(re.findall(r'``(\w+)``', ' '.join(terms)))


def variables(*patterns):
    """What the sources ask for of the environment."""
    found = set()
    for pattern in patterns:
        for path in glob.glob(os.path.join(TOP, pattern)):
            found |= set(re.findall(
                r'(?:getenv|env_or_null)\("(\w+)"\)', read(path)))
    return found


@suite.case('/manuals/options-of-nc-vsock-are-those-of-source-and-help')
def nc_options():
    path = 'contrib/nc-vsock/nc-vsock-options.c'
    source = options_of_source(path)
    equal(options_of_page('nc-vsock'), source, 'page')
    text = help_of_source(path, 'help_text').split('Without these')[0]
    in_help = set(OPTION.findall(' '.join(
        re.findall(r'(?:^|\\n) +(-.*?)(?:  |\\n)', text))))
    equal(in_help, source, 'help')


@suite.case('/manuals/options-of-the-daemon-are-those-of-source-and-help')
def daemon_options():
    path = 'contrib/vhost-user-vsock/options.c'
    source = options_of_source(path)
    text = page('vhost-user-vsock')
    equal(options_of_page('vhost-user-vsock') | REFUSED, source, 'page')
    for name in REFUSED:
        check(f'``{name}``' in text, f'{name} is told of')
    in_help = set(OPTION.findall(help_of_source(path, 'help')))
    for name in source - REFUSED:
        check(name in in_help or not name.startswith('--'),
              f'{name} is not in the help')


@suite.case('/manuals/variables-are-those-of-the-sources')
def environment():
    library = 'subprojects/libvsock-device/src/*.c'
    equal(values('nc-vsock'),
          variables('contrib/nc-vsock/*.c', library), 'nc-vsock')
    equal(values('vhost-user-vsock'), variables(
        'contrib/vhost-user-vsock/*.c', library) | {'NOTIFY_SOCKET'},
          'vhost-user-vsock')
    runner = variables('tests/qtest/vhost-vsock*.c')
    equal(values('vhost-vsock-test'), runner | READ_BY_GLIB,
          'vhost-vsock-test')
    usage = read('tests/qtest/vhost-vsock-test.c').split('#define USAGE')
    readme = read('tests/qtest/vhost-vsock-test-data/README.rst')
    for name in runner:
        check(name in usage[0], f'{name} is not in the first comment')
        check(name in usage[1].split('\n\n')[0], f'{name} is not in the help')
        check(f'``{name}``' in readme, f'{name} is not in README.rst')


@suite.case('/manuals/exit-codes-of-nc-vsock-are-those-of-the-source')
def exit_codes():
    enum = re.search(r'typedef enum NcExit \{(.*?)\}',
                     read('contrib/nc-vsock/nc-vsock-internal.h'),
                     re.S).group(1)
    codes = re.findall(r'NC_EXIT_\w+ = (\d+)', enum)
    told = re.findall(r'^(\d+)$', section(page('nc-vsock'), 'Exit status'),
                      re.M)
    equal(told, codes, 'exit codes')


def runner_options():
    run = subprocess.run([RUNNER, '--help'], capture_output=True, text=True,
                         check=True)
    known = set(OPTION.findall(run.stdout)) | {'-k', '-V', '-?'}
    options = options_of_page('vhost-vsock-test')
    equal(options - known, set(), 'options that GLib does not know')


# Suite `tree` comes before it is built, `replay` after.
RUNNER = os.path.join(os.environ.get('BUILD') or os.path.join(TOP, 'build'),
                      'bin', 'vhost-vsock-test')
if os.path.exists(RUNNER):
    suite.case('/manuals/options-of-the-runner-are-those-of-its-help')(
        runner_options)


@suite.case('/manuals/each-page-can-be-made-and-read')
def made():
    try:
        import docutils  # noqa: F401
    except ImportError:
        raise Skip('python3-docutils is not installed')
    for name in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, name + '.1')
            run = subprocess.run(
                [os.path.join(TOP, 'scripts', 'make-man'),
                 os.path.join(TOP, 'docs', 'tools', name + '.rst'), output],
                capture_output=True, text=True, check=False)
            check(run.returncode == 0 and not run.stderr, run.stderr)
            with open(output, encoding='utf-8') as f:
                text = f.read().replace('\\-', '-')
            if shutil.which('man'):
                run = subprocess.run(
                    ['man', '--warnings=w', '-l', '-Tutf8', '-Z', output],
                    env=dict(os.environ, MANWIDTH='80'),
                    capture_output=True, text=True, check=False)
                check(run.returncode == 0 and not run.stderr, run.stderr)
        title = page(name).split('\n')[1]
        for wanted in ('TH "%s" 1' % name.upper(), 'SH SYNOPSIS',
                       'SH OPTIONS', 'SH EXIT STATUS', 'SH ENVIRONMENT',
                       'SH EXAMPLES', 'SH SEE ALSO', title):
            check(wanted in text, f'{name}: no {wanted!r}')


# As QEMU's conf.py has it, as far as the language of the pages goes.
CONF = '''
project = 'QEMU'
default_role = 'any'
master_doc = 'index'
suppress_warnings = ['ref.option']
man_pages = [(page, page.split('/')[1], page, [], 1) for page in %r]
'''


@suite.case('/manuals/sphinx-finds-nothing-to-warn-of')
def sphinx():
    if importlib.util.find_spec('sphinx') is None:
        raise Skip('python3-sphinx is not installed')
    pages = [path[len('docs/'):-len('.rst')] for path in overlay_files()
             if path.startswith('docs/')]
    with tempfile.TemporaryDirectory() as folder:
        for name in pages:
            path = os.path.join(folder, name + '.rst')
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy(os.path.join(TOP, 'docs', name + '.rst'), path)
        tools = [name for name in pages if name.startswith('tools/')]
        for name, text in (
                ('conf.py', CONF % tools),
                # A page of QEMU's own that ours link to.
                ('devel/style.rst', 'Style\n=====\n'),
                ('index.rst', 'Pages\n=====\n\n.. toctree::\n\n   ' +
                 '\n   '.join(pages + ['devel/style']) + '\n')):
            with open(os.path.join(folder, name), 'w',
                      encoding='utf-8') as f:
                f.write(text)
        for builder in 'html', 'man':
            run = subprocess.run(
                [sys.executable, '-m', 'sphinx', '-q', '-n', '-W',
                 '--keep-going', '-b', builder, folder,
                 os.path.join(folder, builder)],
                capture_output=True, text=True, check=False)
            check(run.returncode == 0, run.stderr)


@suite.case('/manuals/what-goes-into-qemu-names-no-file-that-stays-here')
def self_contained():
    ours = tuple(path for path, patch in places().items() if patch)
    pages = [name for name in ours if name.endswith('.rst')] + \
        ['tests/qtest/vhost-vsock-test-data/README.rst']
    check('docs/system/devices/vhost-vsock.rst' in pages, 'table of files')
    for name in pages:
        for path in re.findall(r'``([\w.-]+/[\w./*-]+)``', read(name)):
            first = path.split('/')[0]
            if not os.path.isdir(os.path.join(TOP, first)) or \
                    first in ('build', 'hw'):
                continue
            check(path.startswith(ours) or (path + '/').startswith(ours),
                  f'{name} names {path}')


def maintained(folder):
    """The patterns of our section of MAINTAINERS, from its patch."""
    text = read('patches', folder, 'vhost-vsock-docs.patch')
    section_lines = text.split('\n+vhost-vsock\n', 1)[1].split('\n+\n')[0]
    return re.findall(r'^\+F: (.*)$', section_lines, re.M)


def fits_pattern(name, pattern):
    """A folder is for all below it, another pattern for its own level."""
    if pattern.endswith('/'):
        return name.startswith(pattern)
    return fnmatch.fnmatch(name, pattern) and \
        name.count('/') == pattern.count('/')


@suite.case('/manuals/maintainers-have-every-file-that-goes-into-qemu')
def maintainers():
    for folder in sorted(os.listdir(os.path.join(TOP, 'patches'))):
        if folder == 'common':
            continue
        patterns = maintained(folder)
        used = set()
        for name in overlay_files():
            fits = [p for p in patterns if fits_pattern(name, p)]
            check(fits, f'{folder}: nobody has {name}')
            used.update(fits)
        equal(sorted(set(patterns) - used), [], f'{folder}: no such file')


sys.exit(suite.main())
