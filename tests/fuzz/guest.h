/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A hostile guest: it makes packets and chains of every shape out of the fuzz
 * input, and sees what the device does with its rings.
 *
 * A packet is written into its chain when the device takes it, so that an
 * honest one can say what is true at that time.
 */

#ifndef FUZZ_GUEST_H
#define FUZZ_GUEST_H

#include "bytes.h"
#include "fake-ring.h"
#include "model.h"

typedef struct Guest {
    Model *model;
    FakeRings *rings;
    GHashTable *packets;      /* of Packet, by FakeChain */
    const FakeChain *last;    /* the chain that was popped last */
    const FakeChain *request; /* that of the last REQUEST */
    bool in_call;             /* of the device */
    bool sent_event;
    int64_t held_until_ms;    /* an event waits: no RX before */
    int64_t now_ms;
    unsigned int late;        /* chains that are yet to come late */
    uint64_t n_to_guest;      /* packets it got */
} Guest;

/* To be used with a Guest as @opaque. */
extern const VskDevOps guest_ops;

Guest *guest_new(Model *model);
void guest_free(Guest *guest);

/* --- Packets ---------------------------------------------------------- */

/* A packet that keeps to the rules, as far as it does not speak of flows that
 * are not.  Returns its payload's bytes. */
size_t guest_put_honest(Guest *guest, FuzzBytes *in);

/* One that breaks one rule or more; the same. */
size_t guest_put_wrong(Guest *guest, FuzzBytes *in);

/* A chain with any bytes, or none. */
void guest_put_raw(Guest *guest, FuzzBytes *in);

/* For every flow, what an honest guest says that has taken all it got. */
void guest_put_credit(Guest *guest);

/* --- Buffers ---------------------------------------------------------- */

/* An RX chain; 0 has the shape of Linux's. */
void guest_give_rx(Guest *guest, unsigned int shape);
void guest_give_event(Guest *guest, size_t size);

/* So many chains are to come late, and bits that say for which queues the
 * driver tells of chains where there are none. */
void guest_be_late(Guest *guest, uint8_t how);

/* --- Calls ------------------------------------------------------------ */

/* Around each call of the device. */
void guest_enter(Guest *guest);
void guest_leave(Guest *guest);

/* The device may touch no queue from now on. */
void guest_forbid(Guest *guest, bool forbidden);

/* The driver has been reset. */
void guest_forget(Guest *guest);

/* No event waits to be taken. */
void guest_clear_event(Guest *guest);

bool guest_is_held(const Guest *guest);

#endif /* FUZZ_GUEST_H */
