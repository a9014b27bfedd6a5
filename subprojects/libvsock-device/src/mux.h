/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All flows of one device together: which packet is whose, whose turn it is,
 * what is due when, and what has to be refused.
 *
 * Packets are pushed in by vsk_mux_from_guest() and pulled out by
 * vsk_mux_next().  After every touch of a flow the mux asks it what it wants
 * and makes it so; no other code registers a descriptor or a timer.
 */

#ifndef VSK_MUX_H
#define VSK_MUX_H

#include "conn.h"

typedef struct VskMux VskMux;

typedef void VskMuxRefusedFn(void *opaque, VskRefusal why, const VskHdr *hdr);

/*
 * @config has its defaults filled in.  @refused is told of all that is refused,
 * with @opaque.  Errors as vsk_dev_new().
 */
VskMux *vsk_mux_new(const VskDevConfig *config, VskMuxRefusedFn *refused,
                    void *opaque, GError **errp);
void vsk_mux_free(VskMux *mux);

int vsk_mux_get_fd(const VskMux *mux);

/* As vsk_dev_next_deadline(). */
int64_t vsk_mux_next_deadline(const VskMux *mux);

/* Whether host clients are let in, and those for seqpacket flows, too. */
void vsk_mux_set_open(VskMux *mux, bool open, bool seqpacket);

/* While paused no timer of a flow runs. */
void vsk_mux_set_paused(VskMux *mux, bool paused, int64_t now_ms);

/* Serve host sockets and timers.  Returns true if there is more to do. */
bool vsk_mux_dispatch(VskMux *mux, int64_t now_ms);

/* End all flows without a word to the guest; forget what is owed to it. */
void vsk_mux_reset(VskMux *mux, int64_t now_ms);

/* Reset all flows on our own account: the guest is owed an RST for each. */
void vsk_mux_end_flows(VskMux *mux, int64_t now_ms);

/*
 * Whether there is room for the answers to two packets of the guest.  If
 * not, leave its packets in the ring until vsk_mux_next() made room.
 */
bool vsk_mux_can_take(const VskMux *mux);

/*
 * One packet of the guest, its length and addresses checked.  @payload holds
 * @hdr->len bytes, no more.  Calls @refused if it is refused.
 */
void vsk_mux_from_guest(VskMux *mux, const VskHdr *hdr,
                        const struct iovec *payload, unsigned int n_payload,
                        int64_t now_ms);

/* A packet that failed its checks: reset the flow it names, or answer it. */
void vsk_mux_refuse(VskMux *mux, const VskHdr *hdr, VskRefusal why,
                    int64_t now_ms);

typedef enum VskMuxNext {
    VSK_MUX_NOTHING,
    VSK_MUX_CONTROL, /* *@ret_hdr is a packet without payload */
    VSK_MUX_DATA,    /* *@ret_conn is to be read, then vsk_mux_end_turn() */
} VskMuxNext;

/* Whether vsk_mux_next() has anything. */
bool vsk_mux_has_next(const VskMux *mux);

/* What goes to the guest next. */
VskMuxNext vsk_mux_next(VskMux *mux, int64_t now_ms, VskHdr *ret_hdr,
                        VskConn **ret_conn);

/* @conn has had its turn: the next one is another's.  It may be gone now. */
void vsk_mux_end_turn(VskMux *mux, VskConn *conn, int64_t now_ms);

/* Fill in conns, conns_opened and staged. */
void vsk_mux_get_stats(const VskMux *mux, VskStats *stats);

#endif /* VSK_MUX_H */
