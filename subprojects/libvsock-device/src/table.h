/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All flows of a device: by handle, by ports, and the host ports that are free.
 */

#ifndef VSK_TABLE_H
#define VSK_TABLE_H

#include "conn.h"

typedef struct VskTable VskTable;

/*
 * @seed keys the hash, so that a guest cannot aim for collisions, and places
 * the first host port.
 */
VskTable *vsk_table_new(uint64_t seed);

/* @table must be empty. */
void vsk_table_free(VskTable *table);

/* Flows, whether or not they can be found by their ports. */
unsigned int vsk_table_size(const VskTable *table);

/*
 * Add @conn, set conn->handle.  No flow with the same ports may be there to be
 * found.  The table does not own flows.
 */
void vsk_table_insert(VskTable *table, VskConn *conn);

/* No longer find @conn by its ports; by its handle, still. */
void vsk_table_hide(VskTable *table, VskConn *conn);

/* Forget @conn.  Its handle is never given out again. */
void vsk_table_remove(VskTable *table, VskConn *conn);

/* The flow, or NULL. */
VskConn *vsk_table_find(const VskTable *table, const VskKey *key);

/* The flow, or NULL if it is gone. */
VskConn *vsk_table_at(const VskTable *table, uint64_t handle);

/*
 * The flow in slot @i, or NULL; for going through all of them, from 0 to
 * vsk_table_slots() - 1.  Removing the flow that is visited is fine.
 */
VskConn *vsk_table_slot(const VskTable *table, unsigned int i);
unsigned int vsk_table_slots(const VskTable *table);

/*
 * A host port that is free for @guest_port, different from the last ones.
 * False if there is none.
 */
bool vsk_table_pick_host_port(VskTable *table, uint32_t guest_port,
                              VskType type, uint32_t *ret_host_port);

#endif /* VSK_TABLE_H */
