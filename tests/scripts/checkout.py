# SPDX-License-Identifier: GPL-2.0-or-later
"""A small checkout in a temporary folder, for tests of our scripts."""

import os
import shutil
import subprocess
import tempfile

from tap import equal

SCRIPTS = os.path.join(os.path.dirname(__file__), '..', '..', 'scripts')


class Checkout(tempfile.TemporaryDirectory):
    """With these scripts of ours, and these files: name to text."""

    def __init__(self, scripts, files):
        super().__init__(suffix=' with a space')
        for script in scripts:
            self.write('scripts/' + script, '')
            shutil.copy(os.path.join(SCRIPTS, script),
                        self.path('scripts/' + script))
        for name, text in files.items():
            self.write(name, text)

    def __enter__(self):
        return self

    def path(self, name):
        return os.path.join(self.name, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as f:
            return f.read()

    def run(self, script, *args, code=0, **env):
        """What it says when it ends with @code."""
        run = subprocess.run(
            ['/usr/bin/python3', self.path('scripts/' + script), *args],
            capture_output=True, text=True, check=False,
            env={'PATH': '/usr/bin:/bin', **env})
        equal(run.returncode, code, script + ': ' + run.stderr)
        return run.stdout + run.stderr
