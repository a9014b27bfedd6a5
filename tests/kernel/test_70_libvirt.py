# SPDX-License-Identifier: GPL-2.0-or-later
#
# Domains of Debian's libvirt, run by root, whose QEMU is ours, runs as
# libvirt-qemu, and is confined by AppArmor: with the node, by libvirt's own
# element, and with the emulator.  The XML and the rules are the manual's.

import os
import pwd
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), 'libvirt'))

import page  # noqa: E402
from domain import Domain, expect_ends_when_saved  # noqa: E402
from ends import expect_end, expect_guest_end, pairs  # noqa: E402
from libvirtd import SystemLibvirtd  # noqa: E402
from node import is_free  # noqa: E402
from service import MB, exchange, expect_service  # noqa: E402
from tap import Suite, check, contains, equal, until  # noqa: E402

JOB = 'libvirt'
suite = Suite(timeout_s=400)
USER = 'libvirt-qemu'
RULES = '/etc/apparmor.d/local/abstractions/libvirt-qemu'
# What Debian's libvirt-daemon-system does when it is installed, and systemd at
# boot.  Each start of a domain compiles its profile five times, which takes a
# quarter of the time without the optimizations.
SET_UP = f'''
echo '{USER}:x:64055:64055::/var/lib/libvirt:/bin/false' >>/etc/passwd
echo '{USER}:x:64055:' >>/etc/group
ln -s /run /var/run
mkdir -p /var/lib/libvirt/qemu
chown {USER}:{USER} /var/lib/libvirt/qemu /dev/kvm
mkdir -p {os.path.dirname(RULES)}
touch {RULES}
mount -t securityfs securityfs /sys/kernel/security
echo Optimize=no-expr-simplify >>/etc/apparmor/parser.conf
echo Optimize=no-minimize >>/etc/apparmor/parser.conf
cd /etc/apparmor.d
touch local/usr.sbin.libvirtd local/usr.lib.libvirt.virt-aa-helper
apparmor_parser -r -K usr.sbin.libvirtd usr.lib.libvirt.virt-aa-helper
'''
CONF = f'user = "{USER}"\ngroup = "{USER}"\nsecurity_driver = "apparmor"\n'


def libvirtd(lab):
    """The one that cases share."""
    if not hasattr(lab, 'libvirtd'):
        subprocess.run(['sh', '-e', '-c', SET_UP], check=True)
        allow('/dev/vhost-vsock')
        os.chmod(lab.dir, 0o711)
        lab.libvirtd = SystemLibvirtd(lab, CONF)
        lab.libvirtd.start()
    return lab.libvirtd


def allow(word):
    """Domains that start from now on have the page's rule with this @word."""
    with open(RULES, 'a', encoding='ascii') as file:
        file.write(page.text(word) + '\n')


def vsock(model='virtio'):
    element = page.element("<cid auto='yes'/>")
    element.set('model', model)
    return element


def boot(domain):
    domain.start()
    if domain.cid is None:
        domain.read_cid()
    domain.wait_ready()
    return domain


def first(lab):
    """The domain that cases share."""
    if lab.main is None or not lab.main.is_alive():
        lab.main = boot(Domain(lab, libvirtd(lab), 'first',
                               devices=[vsock()]))
    lab.main.agent.call('close', 0, 1023)
    return lab.main


@suite.case('/libvirt/asks-qemu-and-finds-the-device')
def _(lab):
    contains(libvirtd(lab).virsh('domcapabilities', '--emulatorbin', lab.qemu,
                                 '--virttype', 'kvm'), lab.qemu)
    contains(lab.libvirtd.capabilities(), "<flag name='vhost-vsock'/>")


@suite.case('/libvirt/finds-a-cid-and-hands-over-the-node')
def _(lab):
    domain = first(lab)
    equal(domain.cid, 3)
    check('"vhostfd":' in lab.libvirtd.qemu_log(domain.name),
          'QEMU was not given the node')
    equal(os.stat(f'/proc/{domain.pid}').st_uid, pwd.getpwnam(USER).pw_uid)
    with open(f'/proc/{domain.pid}/attr/current', encoding='ascii') as file:
        equal(file.read().strip(),
              f'libvirt-{domain.virsh("domuuid").strip()} (enforce)')
    equal(domain.guest_cid(), domain.cid)
    expect_service(lab, domain)


@suite.case('/libvirt/another-domain-not-transitional-has-another-cid')
def _(lab):
    domain = first(lab)
    with Domain(lab, lab.libvirtd, 'second',
                devices=[vsock('virtio-non-transitional')]) as other:
        boot(other)
        contains(lab.libvirtd.qemu_log('second'),
                 'vhost-vsock-pci-non-transitional')
        check(other.cid != domain.cid, 'both have one CID')
        expect_service(lab, other)
    expect_service(lab, domain)


@suite.case('/libvirt/detach-and-attach')
def _(lab):
    domain = first(lab)
    both = pairs(lab, domain)
    reads = [domain.agent.start('recv', slot, 1, 1) for slot, _ in both]
    domain.detach(vsock())
    for _, host in both:
        expect_end(host)
    for pending in reads:
        expect_guest_end(pending)
    # The guest lets go of it first, then QEMU.
    until(lambda: is_free(domain.cid), 'the CID is free')
    domain.agent.call('close', 0, 1023)
    domain.attach(vsock())
    expect_service(lab, domain)


@suite.case('/libvirt/saved-and-restored')
def _(lab):
    domain = first(lab)
    port = lab.port()
    domain.agent.call('listen', 950, port, 8)
    expect_ends_when_saved(lab, domain)
    domain.read_cid()
    exchange(domain, 21, domain.host_to_guest(port, 21, 950), MB)
    expect_service(lab, domain)


@suite.case('/libvirt/emulator-where-the-page-says')
def _(lab):
    path = '/run/vsock-guest/guest'
    os.mkdir(os.path.dirname(path), 0o700)
    user = pwd.getpwnam(USER)
    os.chown(os.path.dirname(path), user.pw_uid, user.pw_gid)
    lab.backend = 'emulator'
    # Host programs of this user's QEMU are its own, or have open sockets.
    umask = os.umask(0)
    try:
        with Domain(lab, libvirtd(lab), 'emulated',
                    page.element('backend=emulator'), cid=3,
                    uds_path=path) as domain:
            lab.libvirtd.virsh('define', domain.write(domain.xml, 'domain'))
            contains(domain.virsh('start', may_fail=True),
                     f"cannot open lock '{path}.lock': Permission denied")
            domain.virsh('undefine')
            allow(os.path.dirname(path) + '/*')
            boot(domain)
            expect_service(lab, domain)
    finally:
        os.umask(umask)
        lab.backend = 'kernel'
