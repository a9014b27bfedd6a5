# SPDX-License-Identifier: GPL-2.0-or-later
#
# The XML that the manual page gives for libvirt, so that what it says is what
# is tested.

import os
import re
import xml.etree.ElementTree as ElementTree

PAGE = 'docs/system/devices/vhost-vsock.rst'
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
TITLE = 'With libvirt'
# A literal block: what is indented under a line that ends with "::".
BLOCK = re.compile(r'::\n\n((?:(?: {4}.*)?\n)+)')
SECTION = re.compile(rf'^{TITLE}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)', re.M | re.S)


def blocks():
    """The literal blocks of the page's section on libvirt."""
    with open(os.path.join(TOP, PAGE), encoding='utf-8') as file:
        section = SECTION.search(file.read())
    if not section:
        raise AssertionError(f'{PAGE} has no section "{TITLE}"')
    return [re.sub('^ {4}', '', block, flags=re.M).strip()
            for block in BLOCK.findall(section.group(1))]


def text(word):
    """The one block that has @word."""
    found = [block for block in blocks() if word in block]
    if len(found) != 1:
        raise AssertionError(f'in "{TITLE}" of {PAGE} {len(found)} blocks '
                             f'have {word}, not one')
    return found[0]


def element(word):
    """The one element that has @word."""
    return ElementTree.fromstring(text(word))
