/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Timers and limits of the mux: mux.h.
 */

#include "vsock-limits.h"
#include "mux-fixture.h"
#include "unix-socket.h"

#include <unistd.h>

/* --- Time ---------------------------------------------------------------- */

static void test_requests_time_out(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int first = mux_client(m, 22);
    int second;
    uint32_t host_port;
    VskHdr hdr;
    VskConn *conn;

    mux_settle(m);
    vsk_mux_next(m->mux, m->now_ms, &hdr, &conn);
    host_port = hdr.src_port;
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, m->now_ms + 2000);
    mux_passes(m, 500);
    second = mux_client(m, 23);
    mux_settle(m);
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, m->now_ms + 1500);
    mux_passes(m, 1499);
    unix_expect_nothing(first);
    mux_passes(m, 1);
    unix_expect_last(first, "");
    unix_expect_nothing(second);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_REQUEST_TIMEOUT), ==, 1);
    vsk_mux_next(m->mux, m->now_ms, &hdr, &conn); /* the second's REQUEST */
    g_assert_cmpint(hdr.op, ==, VSK_OP_REQUEST);
    mux_expect(m, VSK_OP_RST, 22, host_port);
    mux_passes(m, 500);
    unix_expect_last(second, "");
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, -1);
    close(first);
    close(second);
}

static void test_closes_time_out(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    char byte;

    close(mux_open(m, listener, 1024, 80));
    mux_settle(m);
    mux_expect_data(m, 1024, &byte, 1);
    mux_expect(m, VSK_OP_SHUTDOWN, 1024, 80);
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, m->now_ms + 8000);
    mux_passes(m, 7999);
    mux_expect_nothing(m);
    mux_passes(m, 1);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_CLOSE_TIMEOUT), ==, 1);
    mux_expect(m, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(mux_conns(m), ==, 0);
    close(listener);
}

static void test_time_stands_still_while_paused(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int client = mux_client(m, 22);
    int late;

    mux_settle(m);
    mux_passes(m, 1000);
    vsk_mux_set_paused(m->mux, true, m->now_ms);
    vsk_mux_set_paused(m->mux, true, m->now_ms);
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, -1);
    mux_passes(m, 50000);
    late = mux_client(m, 23);
    mux_passes(m, 50000);
    vsk_mux_set_paused(m->mux, false, m->now_ms);
    mux_passes(m, 999);
    unix_expect_nothing(client);
    mux_passes(m, 1);
    unix_expect_last(client, "");
    unix_expect_nothing(late);
    close(client);
    close(late);
}

static void test_time_of_those_who_came_within_a_pause(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int within, after;

    vsk_mux_set_paused(m->mux, true, m->now_ms);
    mux_passes(m, 1000);
    within = mux_client(m, 22);
    mux_passes(m, 100000);
    vsk_mux_set_paused(m->mux, false, m->now_ms);
    mux_passes(m, 1000);
    after = mux_client(m, 23);
    mux_settle(m);
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, m->now_ms + 1000);
    mux_passes(m, 1000);
    unix_expect_last(within, "");
    unix_expect_nothing(after);
    mux_passes(m, 1000);
    unix_expect_last(after, "");
    close(within);
    close(after);
}

/* --- Limits -------------------------------------------------------------- */

static void test_max_conns(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = 3,
    });
    int listener = mux_listen(m, 80, 8);
    int fds[3];
    int client;

    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = mux_open(m, listener, 1000 + i, 80);
    }
    mux_says(m, VSK_OP_REQUEST, 1003, 80);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_LIMIT), ==, 1);
    mux_expect(m, VSK_OP_RST, 1003, 80);
    client = mux_client(m, 22);
    mux_settle(m);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_LIMIT), ==, 1);
    unix_expect_last(client, "");
    close(client);
    mux_says(m, VSK_OP_RST, 1000, 80); /* room for one */
    close(fds[0]);
    fds[0] = mux_open(m, listener, 1003, 80);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(listener);
}

static void test_window_shrinks_with_load(void)
{
    enum { MAX_STAGED = 2 << 20, WINDOW = 16000 };
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = 1000,
        .max_staged = MAX_STAGED,
        .buf_alloc = WINDOW,
    });
    int listener = mux_listen(m, 80, 4);
    uint64_t advertised = 0;
    uint32_t last = WINDOW;
    int fds[1000];
    uint32_t port;

    for (port = 1; port < 1000; port++) {
        mux_says(m, VSK_OP_REQUEST, port, 80);
        if (mux_refused(m, VSK_REFUSED_LIMIT)) {
            break;
        }
        mux_expect(m, VSK_OP_RESPONSE, port, 80);
        g_assert_cmpuint(m->last.buf_alloc, <=, last);
        g_assert_cmpuint(m->last.buf_alloc, >=, VSK_MIN_BUF_ALLOC);
        last = m->last.buf_alloc;
        advertised += last;
        fds[port] = unix_accept(listener);
    }
    mux_expect(m, VSK_OP_RST, port, 80);
    g_assert_cmpuint(last, ==, VSK_MIN_BUF_ALLOC);
    g_assert_cmpuint(advertised, <=, MAX_STAGED);
    g_assert_cmpuint(advertised, >, MAX_STAGED - VSK_MIN_BUF_ALLOC);
    for (uint32_t i = 1; i < port; i++) {
        mux_says(m, VSK_OP_RST, i, 80);
        close(fds[i]);
    }
    mux_says(m, VSK_OP_REQUEST, 1, 80); /* all is given back */
    mux_expect(m, VSK_OP_RESPONSE, 1, 80);
    g_assert_cmpuint(m->last.buf_alloc, ==, WINDOW);
    close(listener);
}

/* The first ones do not take what the last ones need. */
static void test_as_many_as_allowed_find_room(void)
{
    enum { N = 200 };
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = N,
        .max_staged = 2 * N * VSK_MIN_BUF_ALLOC,
    });
    int listener = mux_listen(m, 80, 4);
    int fds[N];

    for (uint32_t i = 0; i < N; i++) {
        fds[i] = mux_open(m, listener, 1000 + i, 80);
    }
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_LIMIT), ==, 0);
    for (uint32_t i = 0; i < N; i++) {
        close(fds[i]);
    }
    close(listener);
}

static void test_rsts_that_wait_are_bounded(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    uint32_t n = 0;

    while (vsk_mux_can_take(m->mux)) {
        mux_says(m, VSK_OP_RW, n++, 80);
        g_assert_cmpuint(n, <=, VSK_MAX_ORPHAN_RSTS);
    }
    g_assert_cmpuint(n, ==, VSK_MAX_ORPHAN_RSTS - 1);
    mux_says(m, VSK_OP_RW, n++, 80); /* one of the two there is room for */
    for (uint32_t i = 0; i < n; i++) {
        mux_expect(m, VSK_OP_RST, i, 80); /* in order, none lost */
    }
    mux_expect_nothing(m);
    g_assert_true(vsk_mux_can_take(m->mux));
}

static void test_silent_clients_leave_room_for_flows(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = 8,
    });
    int clients[3];

    for (int i = 0; i < 3; i++) {
        clients[i] = unix_connect(m->path);
    }
    mux_settle(m);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_HOST_LIMIT), ==, 1);
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
    }
}

/* More wait for a descriptor than one call serves. */
static void test_clients_wait_for_descriptors(void)
{
    enum { N = 90 };
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int clients[N];

    if (!can_limit_fds()) {
        return;
    }
    for (int i = 0; i < N; i++) {
        clients[i] = mux_client(m, 22);
    }
    limit_fds();
    mux_settle(m);
    unlimit_fds();
    g_assert_cmpuint(mux_conns(m), ==, 0);
    mux_passes(m, VSK_ACCEPT_RETRY_MS);
    g_assert_cmpuint(mux_conns(m), ==, N);
    for (int i = 0; i < N; i++) {
        close(clients[i]);
    }
}

/* The rest waits for the next call. */
static void test_clients_of_one_call(void)
{
    enum { N = VSK_DISPATCH_CLIENTS + 10 };
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int clients[N];

    for (int i = 0; i < N; i++) {
        clients[i] = mux_client(m, 22);
    }
    g_assert_true(vsk_mux_dispatch(m->mux, m->now_ms));
    g_assert_cmpuint(mux_conns(m), ==, VSK_DISPATCH_CLIENTS);
    g_assert_false(vsk_mux_dispatch(m->mux, m->now_ms));
    g_assert_cmpuint(mux_conns(m), ==, N);
    for (int i = 0; i < N; i++) {
        close(clients[i]);
    }
}

/* Flows that have bytes for the guest. */
static unsigned int take_ready_data(MuxFixture *m)
{
    unsigned int n = 0;

    while (vsk_mux_has_next(m->mux)) {
        VskConn *conn;
        VskHdr hdr;
        char byte;

        g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                        VSK_MUX_DATA);
        n += vsk_conn_read(conn, &(struct iovec) { &byte, 1 }, 1,
                           &(size_t) { 0 }) == VSK_READ_DATA;
        vsk_mux_end_turn(m->mux, conn, m->now_ms);
    }
    return n;
}

static void test_events_of_one_call(void)
{
    enum {
        CALL = VSK_DISPATCH_BATCHES * VSK_POLL_EVENTS,
        N = CALL + 20,
    };
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = N,
    });
    int listener = mux_listen(m, 80, 8);
    int fds[N];

    for (uint32_t i = 0; i < N; i++) {
        fds[i] = mux_open(m, listener, 1000 + i, 80);
    }
    for (int i = 0; i < N; i++) {
        unix_write(fds[i], "x");
    }
    g_assert_true(vsk_mux_dispatch(m->mux, m->now_ms));
    g_assert_cmpuint(take_ready_data(m), ==, CALL);
    g_assert_false(vsk_mux_dispatch(m->mux, m->now_ms));
    g_assert_cmpuint(take_ready_data(m), ==, N - CALL);
    for (int i = 0; i < N; i++) {
        close(fds[i]);
    }
    close(listener);
}

static void test_no_descriptor_refuses_the_request(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);

    if (!can_limit_fds()) {
        close(listener);
        return;
    }
    limit_fds();
    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    unlimit_fds();
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_LIMIT), ==, 1);
    mux_expect(m, VSK_OP_RST, 1024, 80);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/mux/" path, fn)
    TEST("time/requests-time-out", test_requests_time_out);
    TEST("time/closes-time-out", test_closes_time_out);
    TEST("time/stands-still-while-paused",
         test_time_stands_still_while_paused);
    TEST("time/of-those-who-came-within-a-pause",
         test_time_of_those_who_came_within_a_pause);
    TEST("limits/max-conns", test_max_conns);
    TEST("limits/window-shrinks-with-load", test_window_shrinks_with_load);
    TEST("limits/as-many-as-allowed-find-room",
         test_as_many_as_allowed_find_room);
    TEST("limits/rsts-that-wait", test_rsts_that_wait_are_bounded);
    TEST("limits/silent-clients-leave-room-for-flows",
         test_silent_clients_leave_room_for_flows);
    TEST("limits/clients-wait-for-descriptors",
         test_clients_wait_for_descriptors);
    TEST("limits/clients-of-one-call", test_clients_of_one_call);
    TEST("limits/events-of-one-call", test_events_of_one_call);
    TEST("limits/no-descriptor", test_no_descriptor_refuses_the_request);
    return g_test_run();
}
