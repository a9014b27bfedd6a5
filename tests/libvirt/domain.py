# SPDX-License-Identifier: GPL-2.0-or-later
#
# A domain of libvirt's with a Linux guest, and what a test does to it.  The
# device comes out of the page's XML; here is the rest that a guest needs.

import contextlib
import os
import signal
import socket
import xml.etree.ElementTree as ElementTree

from agent import Agent, GuestError
from ends import expect_end, expect_guest_end, pairs
from tap import until
from vm import Vm

# From Linux 6.17 on it is that of the loopback transport.
NO_CID = (socket.VMADDR_CID_ANY, 1)
HOTPLUG_TIMEOUT_S = 40
QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'
SKELETON = '''
<domain>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='file'><target port='0'/></serial>
    <serial type='unix'><target port='1'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>'''


class Stranger:
    """A process that is no child of ours, as subprocess.Popen shows one."""

    returncode = 'a code that libvirt knows'

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        try:
            with open(f'/proc/{self.pid}/stat', encoding='utf-8') as file:
                ended = file.read().rsplit(')', 1)[1].split()[0] in 'ZX'
        except FileNotFoundError:
            ended = True
        return self.returncode if ended else None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Domain(Vm):
    """@example: a domain of the page; @devices: elements of its own.  Words
    of the example's arguments are replaced as @words tells."""

    def __init__(self, lab, libvirtd, name, example=None, devices=(),
                 words=None, cid=None, uds_path=None, qemu=None):
        self.libvirtd = libvirtd
        super().__init__(lab, name, cid=cid, uds_path=uds_path, start=False,
                         qemu=qemu)
        self.xml = self._make_xml(example, devices, words or {})

    # --- What libvirt is told ------------------------------------------------

    def _make_xml(self, example, devices, words):
        ElementTree.register_namespace('qemu', QEMU_NAMESPACE)
        domain = ElementTree.fromstring(SKELETON)
        domain.set('type', 'kvm' if self.lab.accel == 'kvm' else 'qemu')
        ElementTree.SubElement(domain, 'name').text = self.name
        for tag in 'kernel', 'initrd':
            ElementTree.SubElement(domain.find('os'), tag).text = \
                getattr(self.lab.image, tag)
        inner = domain.find('devices')
        ElementTree.SubElement(inner, 'emulator').text = self.qemu
        for serial, (mode, path) in zip(inner.findall('serial'), (
                ('append', 'console'), ('bind', 'agent'))):
            source = ElementTree.SubElement(serial, 'source')
            source.set('path', self.file(path))
            if mode == 'bind':
                source.set('mode', mode)
        inner.extend(devices)
        if example is not None:
            domain.extend(example)
        self._replace(domain, words)
        return domain

    def _replace(self, domain, words):
        """What is not to be tested must be what the page says."""
        for old, new in words.items():
            found = [arg for arg in domain.iter(f'{{{QEMU_NAMESPACE}}}arg')
                     if old in arg.get('value')]
            if len(found) != 1:
                raise AssertionError(f'{len(found)} arguments have {old}')
            new = new(self) if callable(new) else new
            found[0].set('value', found[0].get('value').replace(old, new))

    def write(self, element, name):
        path = self.file(f'{name}.xml')
        ElementTree.ElementTree(element).write(path)
        return path

    def virsh(self, command, *args, **options):
        return self.libvirtd.virsh(command, self.name, *args, **options)

    # --- Its life ------------------------------------------------------------

    def start(self):
        """Define it and start it; the guest need not be up on return."""
        self.libvirtd.virsh('define', self.write(self.xml, 'domain'))
        self.resume()

    def resume(self):
        """Start it, perhaps from where it was saved; an agent that went on
        is followed."""
        old_agent, self.agent = self.agent, None
        self.runs += 1
        self.host.start()
        self.virsh('start', '--paused')
        self.process = Stranger(self.libvirtd.qemu_pid(self.name))
        self.agent = Agent(self._connect('agent'))
        if old_agent:
            self.agent.follow(old_agent)
        self.virsh('resume')

    def save(self):
        """The state goes where libvirt keeps it; QEMU ends."""
        self.virsh('managedsave')
        until(lambda: not self.is_alive(), 'QEMU ends')

    def stderr(self):
        return '\n'.join(self.libvirtd.qemu_log(self.name).split('\n')[-30:])

    def describe(self):
        return f'{super().describe()}{self.libvirtd.describe()}'

    def kill(self):
        """End QEMU at once, and let libvirt forget the domain."""
        self.virsh('destroy', may_fail=True)
        self.virsh('undefine', '--managed-save', may_fail=True)
        if self.process and self.is_alive():
            self.process.kill()
        self._close()

    # --- The vsock element ---------------------------------------------------

    def read_cid(self):
        """Take over the CID that libvirt found."""
        live = ElementTree.fromstring(self.virsh('dumpxml'))
        self.cid = int(live.find('devices/vsock/cid').get('address'))
        return self.cid

    def detach(self, device):
        self.virsh('detach-device', self.write(device, 'device'), '--live')
        until(lambda: self.guest_cid() is None, 'the guest loses the device',
              HOTPLUG_TIMEOUT_S)

    def attach(self, device):
        self.virsh('attach-device', self.write(device, 'device'), '--live')
        until(lambda: self.guest_cid() == self.read_cid(),
              'the guest finds the device', HOTPLUG_TIMEOUT_S)

    def guest_cid(self):
        """What the guest takes for its CID; None: it has none."""
        try:
            cid = int(self.agent.call('cid')['cid'])
        except GuestError:
            return None
        return None if cid in NO_CID else cid


def expect_ends_when_saved(lab, domain):
    """managedsave and start: connections end on both sides."""
    both = pairs(lab, domain)
    reads = [domain.agent.start('recv', slot, 1, 1) for slot, _ in both]
    domain.agent.call('ping')
    domain.save()
    for _, host in both:
        expect_end(host)
    domain.resume()
    for pending in reads:
        expect_guest_end(pending)
