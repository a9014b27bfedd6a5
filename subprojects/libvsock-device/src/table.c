/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All flows of a device.
 *
 * A handle is a slot's number and, above it, how often the slot was used:
 * what epoll reports of a flow that has ended leads nowhere, never to the flow
 * that has its slot now.
 */

#include "table.h"
#include "vsock-limits.h"

typedef struct Slot {
    VskConn *conn;
    uint32_t generation;
} Slot;

struct VskTable {
    uint64_t seed;
    GHashTable *by_key; /* VskKey in VskConn → VskConn */
    GArray *slots;      /* of Slot */
    GArray *free_slots; /* of guint */
    unsigned int size;
    uint32_t next_host_port;
};

/* The finalizer of MurmurHash3: each bit of @x moves about half of all. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ (x >> 33);
}

static guint key_hash(gconstpointer p)
{
    return ((const VskKey *)p)->hash;
}

static gboolean key_equal(gconstpointer pa, gconstpointer pb)
{
    const VskKey *a = pa;
    const VskKey *b = pb;

    return a->guest_port == b->guest_port && a->host_port == b->host_port &&
           a->type == b->type;
}

static uint32_t hash_of(const VskTable *table, const VskKey *key)
{
    uint64_t ports = (uint64_t)key->guest_port << 32 | key->host_port;

    return (uint32_t)mix(mix(ports ^ table->seed) + key->type + table->seed);
}

VskTable *vsk_table_new(uint64_t seed)
{
    VskTable *table = g_new0(VskTable, 1);
    uint32_t n_ports = VSK_LAST_HOST_PORT - VSK_FIRST_HOST_PORT + 1;

    table->seed = mix(seed);
    table->next_host_port = (uint32_t)(VSK_FIRST_HOST_PORT +
                                       mix(~seed) % n_ports);
    table->by_key = g_hash_table_new(key_hash, key_equal);
    table->slots = g_array_new(FALSE, TRUE, sizeof(Slot));
    table->free_slots = g_array_new(FALSE, FALSE, sizeof(guint));
    return table;
}

void vsk_table_free(VskTable *table)
{
    if (!table) {
        return;
    }
    g_assert(table->size == 0);
    g_hash_table_unref(table->by_key);
    g_array_unref(table->slots);
    g_array_unref(table->free_slots);
    g_free(table);
}

unsigned int vsk_table_size(const VskTable *table)
{
    return table->size;
}

static guint take_slot(VskTable *table)
{
    guint n_free = table->free_slots->len;
    guint i = table->slots->len;

    if (n_free) {
        i = g_array_index(table->free_slots, guint, n_free - 1);
        g_array_set_size(table->free_slots, n_free - 1);
    } else {
        g_array_set_size(table->slots, i + 1);
    }
    return i;
}

void vsk_table_insert(VskTable *table, VskConn *conn)
{
    guint i = take_slot(table);
    Slot *slot = &g_array_index(table->slots, Slot, i);

    slot->conn = conn;
    conn->handle = (uint64_t)slot->generation << 32 | i;
    conn->key.hash = hash_of(table, &conn->key);
    conn->is_listed = g_hash_table_add(table->by_key, &conn->key);
    g_assert(conn->is_listed);
    table->size++;
}

void vsk_table_hide(VskTable *table, VskConn *conn)
{
    if (conn->is_listed) {
        g_hash_table_remove(table->by_key, &conn->key);
        conn->is_listed = false;
    }
}

void vsk_table_remove(VskTable *table, VskConn *conn)
{
    guint i = (guint)conn->handle;
    Slot *slot = &g_array_index(table->slots, Slot, i);

    g_assert(vsk_table_at(table, conn->handle) == conn);
    vsk_table_hide(table, conn);
    slot->conn = NULL;
    slot->generation++;
    g_array_append_val(table->free_slots, i);
    table->size--;
}

VskConn *vsk_table_find(const VskTable *table, const VskKey *key)
{
    VskKey probe = *key;
    VskKey *found;

    probe.hash = hash_of(table, key);
    found = g_hash_table_lookup(table->by_key, &probe);
    return found ? (VskConn *)((char *)found - offsetof(VskConn, key)) : NULL;
}

VskConn *vsk_table_at(const VskTable *table, uint64_t handle)
{
    guint i = (guint)handle;
    const Slot *slot;

    if (i >= table->slots->len) {
        return NULL;
    }
    slot = &g_array_index(table->slots, Slot, i);
    return slot->generation == handle >> 32 ? slot->conn : NULL;
}

VskConn *vsk_table_slot(const VskTable *table, unsigned int i)
{
    return g_array_index(table->slots, Slot, i).conn;
}

unsigned int vsk_table_slots(const VskTable *table)
{
    return table->slots->len;
}

bool vsk_table_pick_host_port(VskTable *table, uint32_t guest_port,
                              VskType type, uint32_t *ret_host_port)
{
    uint32_t n_ports = VSK_LAST_HOST_PORT - VSK_FIRST_HOST_PORT + 1;

    for (uint32_t i = 0; i < n_ports; i++) {
        VskKey key = {
            .guest_port = guest_port,
            .host_port = table->next_host_port,
            .type = type,
        };

        if (table->next_host_port++ == VSK_LAST_HOST_PORT) {
            table->next_host_port = VSK_FIRST_HOST_PORT;
        }
        if (!vsk_table_find(table, &key)) {
            *ret_host_port = key.host_port;
            return true;
        }
    }
    return false;
}
