# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests that the build finds Debian's archives in every form of apt's
# configuration.

import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from tap import Suite, check, contains, equal  # noqa: E402

PROGRAM = os.path.join(HERE, '..', '..', 'scripts', 'apt-sources')
suite = Suite()


def sources(files, codename='bookworm', code=0):
    """What the program prints for a machine with these files in /etc."""
    with tempfile.TemporaryDirectory() as etc:
        os.makedirs(etc + '/apt/sources.list.d')
        with open(etc + '/os-release', 'w', encoding='utf-8') as f:
            f.write('ID=debian\nVERSION_CODENAME=bookworm\n')
        for name, text in files.items():
            with open(etc + '/apt/' + name, 'w', encoding='utf-8') as f:
                f.write(text)
        run = subprocess.run(['/usr/bin/python3', PROGRAM, codename, etc],
                             capture_output=True, text=True, check=False)
        equal(run.returncode, code, 'exit code: ' + run.stderr)
        return run.stdout


def pairs(text):
    """The (URI, suite) pairs of the stanzas."""
    uris = [w.split()[1] for w in text.splitlines() if w[:5] == 'URIs:']
    suites = [w.split()[1] for w in text.splitlines() if w[:7] == 'Suites:']
    return list(zip(uris, suites))


ONE_LINE = '''
# a comment
deb [signed-by=/usr/share/keyrings/k.gpg arch=amd64] http://a.test/debian bookworm main contrib
deb-src http://a.test/debian bookworm main
#deb http://off.test/debian bookworm main
deb http://s.test/debian-security bookworm-security main
deb http://a.test/debian/ bookworm-updates main # why
deb http://other.test/apt stable-things other
deb http://a.test/debian bookworm-backports main
'''

DEB822 = '''# Debian
Types: deb
URIs: http://a.test/debian
# in between
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://s.test/debian-security/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
Enabled: no
'''

WANTED = [('http://a.test/debian/', 'bookworm'),
          ('http://s.test/debian-security/', 'bookworm-security'),
          ('http://a.test/debian/', 'bookworm-updates')]


@suite.case('/apt-sources/one-line')
def one_line():
    text = sources({'sources.list': ONE_LINE})
    equal(pairs(text), WANTED)
    contains(text, 'Signed-By: /usr/share/keyrings/k.gpg')


@suite.case('/apt-sources/deb822')
def deb822():
    text = sources({'sources.list.d/debian.sources': DEB822})
    equal(sorted(pairs(text)), sorted(WANTED))
    contains(text, 'Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n')


@suite.case('/apt-sources/both-forms-name-an-archive-once')
def both():
    text = sources({'sources.list': ONE_LINE,
                    'sources.list.d/debian.sources': DEB822})
    equal(sorted(pairs(text)), sorted(WANTED))


@suite.case('/apt-sources/source-packages-are-asked-for')
def source_packages():
    text = sources({'sources.list': ONE_LINE})
    equal(text.count('Types: deb deb-src'), 3)


@suite.case('/apt-sources/another-release-of-the-same-archives')
def another_release():
    text = sources({'sources.list': ONE_LINE}, 'trixie')
    equal([s for _, s in pairs(text)],
          ['trixie', 'trixie-security', 'trixie-updates'])


@suite.case('/apt-sources/one-more-suite-of-the-main-archive')
def one_more_suite():
    text = sources({'sources.list': ONE_LINE}, 'bookworm-backports')
    equal(pairs(text), [('http://a.test/debian/', 'bookworm-backports')])


@suite.case('/apt-sources/sid-has-no-suites-for-updates')
def sid():
    text = sources({'sources.list': ONE_LINE}, 'sid')
    equal(pairs(text), [('http://a.test/debian/', 'sid')])


@suite.case('/apt-sources/no-archive-is-an-error-that-says-so')
def none():
    equal(sources({'sources.list': '# nothing\n'}, code=1), '')


@suite.case('/apt-sources/other-files-of-the-folder-are-not-read')
def other_files():
    text = sources({'sources.list': ONE_LINE,
                    'sources.list.d/debian.sources.save': DEB822})
    check('a.test' in text and text.count('Types') == 3, text)


sys.exit(suite.main())
