/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of flows: table.h.
 */

#include "vsock-limits.h"
#include "table.h"

/* The table looks at keys and handles only, so a bare struct will do. */
static VskConn *add(VskTable *table, uint32_t guest_port, uint32_t host_port)
{
    VskConn *conn = g_new0(VskConn, 1);

    conn->key.guest_port = guest_port;
    conn->key.host_port = host_port;
    conn->key.type = VSK_TYPE_STREAM;
    vsk_table_insert(table, conn);
    return conn;
}

static void drop(VskTable *table, VskConn *conn)
{
    vsk_table_remove(table, conn);
    g_free(conn);
}

static void drop_all(VskTable *table)
{
    for (unsigned int i = 0; i < vsk_table_slots(table); i++) {
        if (vsk_table_slot(table, i)) {
            drop(table, vsk_table_slot(table, i));
        }
    }
    g_assert_cmpuint(vsk_table_size(table), ==, 0);
    vsk_table_free(table);
}

static VskConn *find(VskTable *table, uint32_t guest_port, uint32_t host_port,
                     VskType type)
{
    VskKey key = {
        .guest_port = guest_port,
        .host_port = host_port,
        .type = type,
        .hash = 4711, /* means nothing */
    };

    return vsk_table_find(table, &key);
}

static void test_finds_by_ports_and_type(void)
{
    VskTable *table = vsk_table_new(1);
    VskConn *a = add(table, 1024, 80);
    VskConn *b = add(table, 1024, 81); /* same guest port: another flow */
    VskConn *c = add(table, 80, 1024);

    g_assert_cmpuint(vsk_table_size(table), ==, 3);
    g_assert_true(find(table, 1024, 80, VSK_TYPE_STREAM) == a);
    g_assert_true(find(table, 1024, 81, VSK_TYPE_STREAM) == b);
    g_assert_true(find(table, 80, 1024, VSK_TYPE_STREAM) == c);
    g_assert_null(find(table, 1024, 80, VSK_TYPE_SEQPACKET));
    g_assert_null(find(table, 1024, 82, VSK_TYPE_STREAM));
    drop_all(table);
}

static void test_hidden_is_found_by_handle_only(void)
{
    VskTable *table = vsk_table_new(1);
    VskConn *a = add(table, 1024, 80);
    VskConn *b;

    vsk_table_hide(table, a);
    vsk_table_hide(table, a);
    g_assert_null(find(table, 1024, 80, VSK_TYPE_STREAM));
    g_assert_true(vsk_table_at(table, a->handle) == a);
    g_assert_cmpuint(vsk_table_size(table), ==, 1);
    b = add(table, 1024, 80); /* the ports are free again */
    g_assert_true(find(table, 1024, 80, VSK_TYPE_STREAM) == b);
    drop(table, a);
    g_assert_true(find(table, 1024, 80, VSK_TYPE_STREAM) == b);
    drop_all(table);
}

static void test_handles_are_never_given_again(void)
{
    VskTable *table = vsk_table_new(1);
    g_autoptr(GArray) old = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (int i = 0; i < 200; i++) {
        VskConn *conn = add(table, 1024, 80);

        for (guint k = 0; k < old->len; k++) {
            g_assert_null(vsk_table_at(table,
                                       g_array_index(old, uint64_t, k)));
        }
        g_assert_true(vsk_table_at(table, conn->handle) == conn);
        g_array_append_val(old, conn->handle);
        drop(table, conn);
    }
    g_assert_cmpuint(vsk_table_slots(table), ==, 1); /* slots are, though */
    drop_all(table);
}

static void test_unknown_handles_lead_nowhere(void)
{
    VskTable *table = vsk_table_new(1);
    VskConn *a = add(table, 1024, 80);

    g_assert_null(vsk_table_at(table, a->handle + 1));
    g_assert_null(vsk_table_at(table, a->handle + (1ull << 32)));
    g_assert_null(vsk_table_at(table, UINT64_MAX));
    drop_all(table);
}

static void test_slots_can_be_removed_while_visited(void)
{
    VskTable *table = vsk_table_new(1);
    unsigned int seen = 0;

    for (uint32_t i = 0; i < 50; i++) {
        add(table, i, 80);
    }
    for (unsigned int i = 0; i < vsk_table_slots(table); i++) {
        VskConn *conn = vsk_table_slot(table, i);

        seen++;
        if (i % 2) {
            drop(table, conn);
        }
    }
    g_assert_cmpuint(seen, ==, 50);
    g_assert_cmpuint(vsk_table_size(table), ==, 25);
    drop_all(table);
}

static void test_many_flows(void)
{
    VskTable *table = vsk_table_new(99);
    enum { N = 20000 };
    g_autofree VskConn **conns = g_new(VskConn *, N);

    for (uint32_t i = 0; i < N; i++) {
        conns[i] = add(table, i % 200, i / 200);
    }
    for (uint32_t i = 0; i < N; i++) {
        g_assert_true(find(table, i % 200, i / 200, VSK_TYPE_STREAM) ==
                      conns[i]);
        g_assert_true(vsk_table_at(table, conns[i]->handle) == conns[i]);
    }
    drop_all(table);
}

static void test_no_table_can_be_freed(void)
{
    vsk_table_free(NULL);
}

/* --- Host ports ---------------------------------------------------------- */

static uint32_t pick(VskTable *table, uint32_t guest_port)
{
    uint32_t port;

    g_assert_true(vsk_table_pick_host_port(table, guest_port,
                                           VSK_TYPE_STREAM, &port));
    g_assert_cmpuint(port, >=, VSK_FIRST_HOST_PORT);
    g_assert_cmpuint(port, <=, VSK_LAST_HOST_PORT);
    return port;
}

/* Each is given once before any is given again, whatever the first is. */
static void test_ports_are_not_given_again_soon(void)
{
    uint32_t n = VSK_LAST_HOST_PORT - VSK_FIRST_HOST_PORT + 1;
    g_autofree bool *given = g_new0(bool, VSK_LAST_HOST_PORT + 1);
    VskTable *table = vsk_table_new(7);
    uint32_t first = pick(table, 22);

    given[first] = true;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t port = pick(table, 22);

        g_assert_false(given[port]);
        given[port] = true;
    }
    g_assert_cmpuint(pick(table, 22), ==, first);
    drop_all(table);
}

static void test_ports_in_use_are_skipped(void)
{
    VskTable *table = vsk_table_new(7);
    uint32_t next = pick(table, 22) + 1;

    if (next + 2 > VSK_LAST_HOST_PORT) {
        next = VSK_FIRST_HOST_PORT;
        while (pick(table, 22) != VSK_LAST_HOST_PORT) {
        }
    }
    add(table, 22, next);
    add(table, 22, next + 1);
    add(table, 23, next + 2); /* another guest port does not matter */
    g_assert_cmpuint(pick(table, 22), ==, next + 2);
    drop_all(table);
}

static void test_ports_run_out(void)
{
    VskTable *table = vsk_table_new(7);
    uint32_t port = 4711;
    VskConn *some = NULL;

    for (uint32_t i = VSK_FIRST_HOST_PORT; i <= VSK_LAST_HOST_PORT; i++) {
        VskConn *conn = add(table, 22, i);

        some = i == 50000 ? conn : some;
    }
    g_assert_false(vsk_table_pick_host_port(table, 22, VSK_TYPE_STREAM,
                                            &port));
    g_assert_cmpuint(port, ==, 4711);
    pick(table, 23);
    drop(table, some);
    g_assert_cmpuint(pick(table, 22), ==, 50000);
    drop_all(table);
}

static void test_first_port_depends_on_the_seed(void)
{
    g_autoptr(GHashTable) firsts = g_hash_table_new(NULL, NULL);

    for (uint64_t seed = 0; seed < 64; seed++) {
        VskTable *table = vsk_table_new(seed);

        g_hash_table_add(firsts, GUINT_TO_POINTER(pick(table, 22)));
        drop_all(table);
    }
    g_assert_cmpuint(g_hash_table_size(firsts), >, 60);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/table/" path, fn)
    TEST("find/by-ports-and-type", test_finds_by_ports_and_type);
    TEST("find/hidden-by-handle-only", test_hidden_is_found_by_handle_only);
    TEST("find/among-many", test_many_flows);
    TEST("handle/is-never-given-again", test_handles_are_never_given_again);
    TEST("handle/unknown-leads-nowhere", test_unknown_handles_lead_nowhere);
    TEST("slots/can-be-removed-while-visited",
         test_slots_can_be_removed_while_visited);
    TEST("free/no-table-is-fine", test_no_table_can_be_freed);
    TEST("host-port/is-not-given-again-soon",
         test_ports_are_not_given_again_soon);
    TEST("host-port/in-use-is-skipped", test_ports_in_use_are_skipped);
    TEST("host-port/runs-out", test_ports_run_out);
    TEST("host-port/first-depends-on-the-seed",
         test_first_port_depends_on_the_seed);
    return g_test_run();
}
