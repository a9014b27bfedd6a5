/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * RSTs that wait for the guest and belong to no flow, so that there is no flow
 * to owe them: a ring of fixed size.  When it is full the device stops taking
 * packets, which the driver must expect (5.10.6.1), instead of dropping any.
 */

#ifndef VSK_RSTS_H
#define VSK_RSTS_H

#include "vsock-limits.h"
#include "vsock-device.h"

typedef struct VskRsts {
    VskHdr hdrs[VSK_MAX_ORPHAN_RSTS];
    unsigned int head, n;
} VskRsts;

/* Whether there is room for the answers to two packets of the guest. */
bool vsk_rsts_have_room(const VskRsts *rsts);

/* Owe the RST that answers @hdr; nothing answers an RST.  There is room. */
void vsk_rsts_answer(VskRsts *rsts, const VskHdr *hdr);

/*
 * The guest uses the ports of @request again: an RST that still waits for
 * their former use would hit the new flow.
 */
void vsk_rsts_forget(VskRsts *rsts, const VskHdr *request);

/* The oldest, which is then forgotten; false if there is none. */
bool vsk_rsts_next(VskRsts *rsts, VskHdr *ret_hdr);

#endif /* VSK_RSTS_H */
