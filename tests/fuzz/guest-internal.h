/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files of the hostile guest share: guest.c (its rings) and
 * guest-packets.c (what it puts there).  For nobody else.
 */

#ifndef FUZZ_GUEST_INTERNAL_H
#define FUZZ_GUEST_INTERNAL_H

#include "content.h"
#include "guest.h"

#define HONEST_BUF_ALLOC 262144
#define FIRST_GUEST_PORT 1000
#define N_GUEST_PORTS 4

/* What the device finds in a TX chain. */
typedef struct Packet {
    VskHdr hdr;
    size_t body;   /* bytes behind the header that the chain has; or of @raw */
    bool honest;   /* credit and length are to be made true */
    bool relative; /* fwd_cnt is added to what the guest got */
    bool raw;      /* @bytes, and no header */
    uint8_t bytes[64];
} Packet;

#endif /* FUZZ_GUEST_INTERNAL_H */
