/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device with one open flow, and a host program at its other end.
 */

#include "link.h"
#include "unix-socket.h"

#include <unistd.h>

Link link_new(void)
{
    Link link = { .vm = vm_new() };

    link.listener = vm_listen(link.vm, HOST_PORT, 8);
    link.fd = vm_open(link.vm, link.listener, GUEST_PORT, HOST_PORT);
    g_assert_cmpuint(vm_take_tx(link.vm), ==, 1);
    return link;
}

void link_free(Link *link)
{
    close(link->fd);
    close(link->listener);
    vm_free(link->vm);
}

VskHdr rw_hdr(Vm *vm, size_t len)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);

    hdr.len = (uint32_t)len;
    return hdr;
}

void assert_alive(Link *link)
{
    vm_send(link->vm, GUEST_PORT, HOST_PORT, "alive");
    unix_expect(link->fd, "alive");
    vm_take_tx(link->vm);
    vm_expect_nothing(link->vm);
}
