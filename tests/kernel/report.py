# SPDX-License-Identifier: GPL-2.0-or-later
#
# One TAP stream of what several VMs say at once.  What a VM does not report
# has failed, and so has a test that was skipped for a reason of the VM's.

import re
import threading

from tap import Suite

RESULT = re.compile(r'(not )?ok \d+ (?:- )?(\S+)(?:\s+# SKIP\s*(.*))?$', re.I)
# Scripts for what only the emulator has; cases for a newer guest.
RIGHT_SKIP = re.compile(r'is not for the backend "kernel"$|'
                        r'is in Linux [\d.]+ and later, the guest has ')


class Report:
    def __init__(self):
        self.tap = Suite()
        self.lock = threading.Lock()

    def plan(self, jobs):
        # One more of each job: how its VM ended.
        self.tap.plan(sum(len(job.tests) + 1 for job in jobs))

    def say(self, text):
        with self.lock:
            self.tap.comment(text)

    def failed(self):
        return self.tap.failed

    def run(self, job, machine):
        """Let @machine do @job, and report on each of its tests."""
        missing = dict.fromkeys(job.tests)
        comments = []
        failed = 0
        for line in machine.give(job.script):
            match = RESULT.match(line)
            if match and match.group(2) in missing:
                del missing[match.group(2)]
                failed += self._take(match, comments)
                comments = []
            elif line and not re.match(r'1\.\.\d+', line):
                comments.append(line[2:] if line.startswith('# ') else line)
        why = machine.why_it_ended
        if not why and missing:
            why = f'its job left out {len(missing)} of {len(job.tests)} tests'
        if not why and machine.exit_code and not failed:
            why = f'it passed, and exited with {machine.exit_code}'
        with self.lock:
            if why:
                self.tap.comment('\n'.join(comments) or 'no more words')
                self.tap.comment(machine.describe())
            for name in missing:
                self._not_ok(name, f'it did not run to its end: VM '
                                   f'{job.name}: {why}')
            if why:
                self._not_ok(f'/vm/{job.name}', f'VM {job.name}: {why}')
            else:
                self.tap.report(True, f'/vm/{job.name}')

    def _take(self, match, comments):
        """Report one result; whether the test failed."""
        failed, name, skip = match.groups()
        with self.lock:
            if comments:
                self.tap.comment('\n'.join(comments))
            if skip is not None and not RIGHT_SKIP.search(skip):
                self._not_ok(name, f'it was skipped, though this VM has all '
                                   f'it needs: {skip}')
                return True
            self.tap.report(not failed, name, skip)
            return bool(failed)

    def _not_ok(self, name, why):
        self.tap.comment(why)
        self.tap.report(False, name)
