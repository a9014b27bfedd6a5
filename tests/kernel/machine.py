# SPDX-License-Identifier: GPL-2.0-or-later
#
# One VM with /dev/vhost-vsock that does one job, and what it says meanwhile.

import os
import re
import selectors
import subprocess
import time

# How long a VM may say nothing, and how long it may take.  A script that
# hangs is ended after 60 s times SLOW.  A guest under TCG in a VM under TCG
# boots in silence: for more than 300 s on a machine with ten other programs.
SLOW = 4
SILENCE_S = 1200
LIMIT_S = 9000

# Warnings go to the console; what costs time and tests nothing is off.  So is
# the timer that is set for one time only: TCG loses its interrupt where a guest
# under KVM is entered, and the VM, waiting for it, stops for ever.
KERNEL_OPTIONS = ('console=ttyS0 loglevel=5 panic=-1 mitigations=off '
                  'init_on_alloc=0 nohz=off highres=off')
# TCG of QEMU 7.2 spoils the flags where an interrupt meets a cmpxchg16b, which
# Linux 6.12 and later use to allocate memory.
CPU = 'max,-cx16'
# QEMU's own 1024 MB of translated code are more than two VMs need.
ACCEL = 'tcg,tb-size=512'
END = re.compile(r'# job: exit (\d+)$')


class Machine:
    """A VM: give() yields the lines of its job, then why_it_ended tells."""

    def __init__(self, contents, folder, memory_mb=1200, initrd=None):
        self.contents = contents
        self.dir = folder
        self.memory_mb = memory_mb
        self.initrd = initrd or contents.initrd
        self.process = None
        self.exit_code = None       # of the job
        self.why_it_ended = None    # None: the job came to its end

    def file(self, name):
        return os.path.join(self.dir, name)

    def argv(self):
        # The job's output is QEMU's, so that it ends when QEMU does; QEMU
        # dies with this process.
        return ['setpriv', '--pdeathsig', 'KILL',
                self.contents.program('qemu-system-x86_64'),
                '-nodefaults', '-no-user-config', '-display', 'none',
                '-vga', 'none', '-accel', ACCEL, '-cpu', CPU,
                '-m', str(self.memory_mb), '-no-reboot',
                '-kernel', self.contents.kernel,
                '-initrd', self.initrd,
                '-append', KERNEL_OPTIONS,
                '-fw_cfg', f'name=opt/job,file={self.file("job")}',
                '-chardev', f'file,id=console,path={self.file("console")}',
                '-serial', 'chardev:console',
                '-chardev', 'stdio,id=out,signal=off',
                '-serial', 'chardev:out']

    def give(self, job):
        """Boot, run the shell script @job, and yield its lines."""
        os.makedirs(self.dir, exist_ok=True)
        with open(self.file('job'), 'w', encoding='utf-8') as file:
            file.write(job)
        with open(self.file('output'), 'wb') as output, \
                open(self.file('stderr'), 'wb') as stderr:
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stderr=stderr,
                stdout=subprocess.PIPE)
            try:
                yield from self._lines(output)
            finally:
                self.process.kill()
                self.process.wait()
                self.process.stdout.close()

    def _lines(self, output):
        """What ends without a newline was cut off, and is no line."""
        buffer = b''
        end = time.monotonic() + LIMIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    self.why_it_ended = f'it took more than {LIMIT_S} s'
                    return
                if not selector.select(SILENCE_S):
                    self.why_it_ended = f'it said nothing for {SILENCE_S} s'
                    return
                piece = os.read(self.process.stdout.fileno(), 65536)
                output.write(piece)
                output.flush()
                if not piece:
                    break
                *lines, buffer = (buffer + piece).split(b'\n')
                for line in lines:
                    text = line.decode(errors='replace').rstrip('\r')
                    match = END.match(text)
                    if match:
                        self.exit_code = int(match.group(1))
                    else:
                        yield text
        self._judge(self.process.wait())

    def _judge(self, code):
        if code != 0:
            self.why_it_ended = f'its QEMU ended with {code}'
        elif self.exit_code is None:
            self.why_it_ended = 'it went down before its job was done'

    def describe(self):
        """The ends of all that was said."""
        text = ''
        for name, what in (('stderr', 'its QEMU'), ('console', 'its console'),
                           ('output', 'its job')):
            with open(self.file(name), errors='replace') as file:
                lines = file.readlines()[-30:]
            text += f'--- {what} said last ({self.file(name)}):\n'
            text += ''.join(line.rstrip() + '\n' for line in lines)
        return text
