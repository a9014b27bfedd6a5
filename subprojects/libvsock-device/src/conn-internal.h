/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of a flow share: conn.c (its life and its packets to the
 * guest), from-guest.c and to-guest.c (its pipes).  For nobody else.
 */

#ifndef VSK_CONN_INTERNAL_H
#define VSK_CONN_INTERNAL_H

#include "conn.h"

/* Nothing more to do for either side, but the RST if @tell_guest. */
void vsk_conn_die(VskConn *conn, bool tell_guest);

/* After anything that may have completed an end: draw the conclusions. */
void vsk_conn_settle_ends(VskConn *conn);

/* The host program takes no more; what is staged for it is lost. */
void vsk_conn_host_deaf(VskConn *conn);

/* Both directions of the host socket have ended. */
void vsk_conn_host_hung_up(VskConn *conn);

/* Write staged bytes to the stream, which may take some again. */
void vsk_conn_flush(VskConn *conn);

/* Whether staged bytes wait for the kernel's memory: no event tells of that. */
bool vsk_conn_waits_for_memory(const VskConn *conn);

/* Whether there may be bytes for the guest, and it may be sent some. */
bool vsk_conn_can_send(const VskConn *conn);

/*
 * An end of file is found by reading, which takes credit.  Without credit,
 * and with nothing left to read, it is told all the same.
 */
void vsk_conn_find_end(VskConn *conn);

#endif /* VSK_CONN_INTERNAL_H */
