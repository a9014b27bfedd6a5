# SPDX-License-Identifier: GPL-2.0-or-later
#
# A libvirtd that is started by hand: of an ordinary user with folders of its
# own, or of root in a VM.

import contextlib
import glob
import os
import subprocess

from daemon import is_listening
from process import Process, prepare_child
from tap import WAIT_S, until

END_TIMEOUT_S = WAIT_S
# Logs are files, and no virtlogd has to run for them.
COMMON_CONF = 'stdio_handler = "file"\n'


class Libvirtd(Process):
    """Use as a context manager.  @conf: more lines of qemu.conf."""

    uri = None

    def __init__(self, lab, conf=''):
        super().__init__()
        self.dir = lab.new_dir('libvirtd')
        self.conf = COMMON_CONF + conf
        self.environment = dict(os.environ)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end()

    def folder(self, kind):
        """Where it keeps things of this @kind: etc, run, cache or log."""
        raise NotImplementedError

    def start(self):
        os.makedirs(self.folder('etc'), exist_ok=True)
        with open(os.path.join(self.folder('etc'), 'qemu.conf'), 'w',
                  encoding='utf-8') as file:
            file.write(self.conf)
        log = os.path.join(self.dir, 'log')
        with open(log, 'ab') as output:
            self.process = subprocess.Popen(
                ['libvirtd'], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=self.environment,
                preexec_fn=prepare_child)
        until(self._listens, 'libvirtd opens its socket', timeout_s=60)

    def _listens(self):
        if not self.is_alive():
            raise AssertionError(f'libvirtd ended: {self.describe()}')
        return is_listening(os.path.join(self.folder('run'), 'libvirt-sock'))

    def virsh(self, *args, timeout_s=600, may_fail=False):
        """Returns what virsh says."""
        result = subprocess.run(
            ['virsh', '-q', '-c', self.uri, *args], check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout_s,
            env=self.environment)
        if result.returncode and not may_fail:
            raise AssertionError(f'virsh {" ".join(args)}: {result.stdout}')
        return result.stdout

    def qemu_pid(self, name):
        """The process of a domain."""
        path, = glob.glob(os.path.join(self.folder('run'), 'qemu', '**',
                                       f'{name}.pid'), recursive=True)
        with open(path, encoding='ascii') as file:
            return int(file.read())

    def end(self):
        """End it, and every QEMU that it started."""
        for name in self.virsh('list', '--name', may_fail=True).split():
            self.virsh('destroy', name, may_fail=True)
        if self.is_alive():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_TIMEOUT_S)
        self.kill()

    def qemu_log(self, name):
        """The command line and the messages of a domain's QEMU."""
        path = os.path.join(self.folder('log'), 'qemu', f'{name}.log')
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()

    def capabilities(self):
        """What it found out about the QEMUs that it asked."""
        text = ''
        for path in glob.glob(os.path.join(self.folder('cache'), 'qemu', '**',
                                           'capabilities', '*.xml'),
                              recursive=True):
            with open(path, encoding='utf-8') as file:
                text += file.read()
        return text

    def describe(self):
        with open(os.path.join(self.dir, 'log'), encoding='utf-8',
                  errors='replace') as file:
            lines = file.readlines()[-30:]
        return f'libvirtd: {self.state()}\n--- its messages:\n' + \
            ''.join(lines)


class SessionLibvirtd(Libvirtd):
    """An ordinary user's, as `virsh` starts it at need."""

    uri = 'qemu:///session'

    def __init__(self, lab, conf=''):
        super().__init__(lab, conf)
        self.environment = {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8',
            'HOME': self.dir, 'XDG_RUNTIME_DIR': os.path.join(self.dir, 'run')}
        os.mkdir(self.environment['XDG_RUNTIME_DIR'], 0o700)

    def folder(self, kind):
        return os.path.join(self.dir, {'etc': '.config', 'run': 'run',
                                       'cache': '.cache',
                                       'log': '.cache'}[kind], 'libvirt')


class SystemLibvirtd(Libvirtd):
    """That of the machine."""

    uri = 'qemu:///system'

    def folder(self, kind):
        return {'etc': '/etc', 'run': '/run', 'cache': '/var/cache',
                'log': '/var/log'}[kind] + '/libvirt'
