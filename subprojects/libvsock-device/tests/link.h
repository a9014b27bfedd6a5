/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device with one open flow, and a host program at its other end.
 */

#ifndef TEST_LINK_H
#define TEST_LINK_H

#include "vm.h"

#define GUEST_PORT 1024
#define HOST_PORT  80

typedef struct Link {
    Vm *vm;
    int listener;
    int fd; /* the host program's */
} Link;

Link link_new(void);
void link_free(Link *link);

/* The header of an RW packet of @len bytes. */
VskHdr rw_hdr(Vm *vm, size_t len);

/* Bytes still cross, and nothing else comes. */
void assert_alive(Link *link);

#endif /* TEST_LINK_H */
