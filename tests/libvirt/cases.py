# SPDX-License-Identifier: GPL-2.0-or-later
#
# Domains of an ordinary user, on a machine without /dev/vhost-vsock: the
# emulator, in QEMU and in the daemon.

import contextlib
import os
import xml.etree.ElementTree as ElementTree

import page
from domain import Domain, expect_ends_when_saved
from ends import pairs
from hosts import SEQPACKET
from service import MB, exchange, expect_service
from tap import Suite, Skip, contains, equal

suite = Suite(timeout_s=120)

# What of the page's arguments names places where an ordinary user may not
# write.
UDS_PATH = '/run/vsock-guest/guest'
DAEMON_SOCKET = '/run/vhost-user-vsock/3.sock'


def emulator_domain(lab, name):
    path = os.path.join(lab.new_dir('sockets'), 'v')
    return Domain(lab, lab.libvirtd, name, page.element('vhost-vsock-pci'),
                  words={UDS_PATH: path}, cid=3, uds_path=path)


@contextlib.contextmanager
def backend(lab, name):
    before, lab.backend = lab.backend, name
    try:
        yield
    finally:
        lab.backend = before


@suite.case('/libvirt-session/libvirt-asks-qemu-and-finds-the-device')
def _(lab):
    answer = ElementTree.fromstring(lab.libvirtd.virsh(
        'domcapabilities', '--emulatorbin', lab.qemu, '--virttype', 'qemu'))
    equal(answer.find('path').text, lab.qemu)
    contains(lab.libvirtd.capabilities(), "<flag name='vhost-vsock'/>")


@suite.case('/libvirt-session/emulator-bytes-both-ways-and-saved-and-restored')
def _(lab):
    with emulator_domain(lab, 'emulated') as domain:
        domain.start()
        domain.wait_ready()
        expect_service(lab, domain)
        for slot, host in pairs(lab, domain, SEQPACKET):
            exchange(domain, slot, host, 100000)
        domain.agent.call('close', 0, 1023)

        host_port, guest_port = lab.port(), lab.port()
        listener = domain.listen(host_port)
        domain.agent.call('listen', 950, guest_port, 8)
        expect_ends_when_saved(lab, domain)
        exchange(domain, 20, domain.guest_to_host(host_port, 20, listener), MB)
        exchange(domain, 21, domain.host_to_guest(guest_port, 21, 950), MB)


@suite.case('/libvirt-session/daemon-behind-debians-qemu')
def _(lab):
    with backend(lab, 'vhost-user'):
        domain = Domain(
            lab, lab.libvirtd, 'daemon', cid=3,
            qemu=os.path.join(lab.build, 'stock-qemu', 'qemu-system-x86_64'),
            example=page.element('vhost-user-vsock-pci'),
            words={DAEMON_SOCKET: lambda domain: domain.host.guest.socket})
        with domain:
            domain.start()
            domain.wait_ready()
            expect_service(lab, domain)


@suite.case('/libvirt-session/element-vsock-needs-the-node')
def _(lab):
    if os.path.exists('/dev/vhost-vsock'):
        raise Skip('this machine has /dev/vhost-vsock')
    with Domain(lab, lab.libvirtd, 'refused',
                devices=[page.element("<cid auto='yes'/>")]) as domain:
        lab.libvirtd.virsh('define', domain.write(domain.xml, 'domain'))
        contains(domain.virsh('start', may_fail=True),
                 page.text("unable to open vhost-vsock device"))
