/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All flows together: mux.h.
 */

#include "mux-fixture.h"
#include "unix-socket.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Which packet is whose (R rows) -------------------------------------- */

static void test_packet_of_no_flow_gets_rst(void)
{
    static const VskOp ops[] = {
        VSK_OP_INVALID, VSK_OP_RESPONSE, VSK_OP_SHUTDOWN, VSK_OP_RW,
        VSK_OP_CREDIT_UPDATE, VSK_OP_CREDIT_REQUEST, VSK_OP_NUM,
    };
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);

    for (unsigned int i = 0; i < G_N_ELEMENTS(ops); i++) {
        mux_says(m, ops[i], 1024, 80);
        g_assert_cmpuint(mux_refused(m, VSK_REFUSED_NO_FLOW), ==, 1);
        mux_expect(m, VSK_OP_RST, 1024, 80);
        g_assert_cmpuint(m->last.len, ==, 0);
        g_assert_cmpuint(m->last.flags, ==, 0);
        g_assert_cmpuint(m->last.buf_alloc, ==, 0);
        g_assert_cmpuint(m->last.fwd_cnt, ==, 0);
        mux_expect_nothing(m);
    }
}

static void test_rst_is_never_answered(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    VskHdr hdr = { .type = 7, .op = VSK_OP_RST };

    mux_says(m, VSK_OP_RST, 1024, 80);
    mux_expect_nothing(m);
    vsk_mux_refuse(m->mux, &hdr, VSK_REFUSED_TYPE, m->now_ms);
    mux_expect_nothing(m);
}

static void test_request_without_listener_gets_rst(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);

    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_NO_LISTENER), ==, 1);
    mux_expect(m, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(mux_conns(m), ==, 0);
}

static void test_request_to_a_full_backlog_gets_rst(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 0);

    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    mux_says(m, VSK_OP_REQUEST, 1025, 80);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_BACKLOG), ==, 1);
    mux_expect(m, VSK_OP_RST, 1025, 80);
    mux_expect(m, VSK_OP_RESPONSE, 1024, 80);
    close(listener);
}

static void test_same_guest_port_is_two_flows(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int a = mux_listen(m, 80, 1);
    int b = mux_listen(m, 81, 1);
    int fd_a = mux_open(m, a, 1024, 80);
    int fd_b = mux_open(m, b, 1024, 81);

    mux_says(m, VSK_OP_RST, 1024, 80);
    mux_settle(m);
    unix_expect_last(fd_a, "");
    unix_expect_nothing(fd_b);
    g_assert_cmpuint(mux_conns(m), ==, 1);
    close(fd_a);
    close(fd_b);
    close(a);
    close(b);
}

static void test_second_request_does_not_touch_the_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 1);
    int fd = mux_open(m, listener, 1024, 80);

    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_OP), ==, 1);
    mux_expect_nothing(m);
    g_assert_false(unix_has_client(listener));
    unix_expect_nothing(fd);
    close(fd);
    close(listener);
}

static void test_ports_can_be_used_right_after_rst(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);

    for (int i = 0; i < 3; i++) {
        int fd = mux_open(m, listener, 1024, 80);

        mux_says(m, VSK_OP_RST, 1024, 80);
        mux_settle(m);
        unix_expect_last(fd, "");
        close(fd);
    }
    g_assert_cmpuint(mux_conns(m), ==, 0);
    close(listener);
}

static void test_owed_rst_does_not_hit_the_next_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    int fd = mux_open(m, listener, 1024, 80);
    VskHdr shut = {
        .src_cid = MUX_GUEST_CID, .dst_cid = VSK_CID_HOST, .src_port = 1024,
        .dst_port = 80, .type = VSK_TYPE_STREAM, .op = VSK_OP_SHUTDOWN,
        .flags = VSK_SHUTDOWN_BOTH,
    };

    vsk_mux_from_guest(m->mux, &shut, NULL, 0, m->now_ms); /* owes RST */
    close(fd);
    fd = mux_open(m, listener, 1024, 80); /* RESPONSE is all that comes */
    mux_expect_nothing(m);
    close(fd);
    close(listener);
}

static void test_waiting_rst_does_not_hit_the_next_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);

    mux_says(m, VSK_OP_RW, 1023, 80);
    for (int i = 0; i < 5; i++) {
        mux_says(m, VSK_OP_RW, 1024, 80);
        mux_says(m, VSK_OP_RW, 1025, 80);
    }
    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    mux_expect(m, VSK_OP_RST, 1023, 80);
    for (int i = 0; i < 5; i++) {
        mux_expect(m, VSK_OP_RST, 1025, 80);
    }
    mux_expect(m, VSK_OP_RESPONSE, 1024, 80);
    mux_expect_nothing(m);
    close(listener);
}

/* --- Packets that failed their checks ------------------------------------ */

static void refuse(MuxFixture *m, VskOp op, VskRefusal why)
{
    VskHdr hdr = {
        .src_cid = MUX_GUEST_CID, .dst_cid = VSK_CID_HOST, .src_port = 1024,
        .dst_port = 80, .type = VSK_TYPE_STREAM, .op = op,
    };

    vsk_mux_refuse(m->mux, &hdr, why, m->now_ms);
    g_assert_cmpuint(mux_refused(m, why), ==, 1);
}

static void test_wrong_address_touches_no_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 1);
    int fd = mux_open(m, listener, 1024, 80);

    refuse(m, VSK_OP_RST, VSK_REFUSED_SRC_CID);
    refuse(m, VSK_OP_RST, VSK_REFUSED_DST_CID);
    mux_expect_nothing(m);
    unix_expect_nothing(fd);
    close(fd);
    close(listener);
}

static void test_wrong_length_resets_its_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 2);
    int fd = mux_open(m, listener, 1024, 80);
    int other = mux_open(m, listener, 1025, 80);

    refuse(m, VSK_OP_RW, VSK_REFUSED_TX_LEN);
    mux_expect(m, VSK_OP_RST, 1024, 80);
    unix_expect_last(fd, "");
    unix_expect_nothing(other);
    refuse(m, VSK_OP_RW, VSK_REFUSED_TX_LEN); /* of no flow, now */
    mux_expect_nothing(m);
    close(fd);
    close(other);
    close(listener);
}

static void test_wrong_length_of_rst_gets_no_rst(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 1);
    int fd = mux_open(m, listener, 1024, 80);

    refuse(m, VSK_OP_RST, VSK_REFUSED_TX_LEN);
    mux_expect_nothing(m);
    unix_expect_last(fd, "");
    g_assert_cmpuint(mux_conns(m), ==, 0);
    close(fd);
    close(listener);
}

/* --- Host clients -------------------------------------------------------- */

static void test_client_becomes_a_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int client = mux_client(m, 22);
    g_autofree char *ok = NULL;
    uint32_t host_port;
    VskHdr hdr;
    VskConn *conn;

    mux_settle(m);
    g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                    VSK_MUX_CONTROL);
    g_assert_cmpint(hdr.op, ==, VSK_OP_REQUEST);
    g_assert_cmpuint(hdr.dst_port, ==, 22);
    host_port = hdr.src_port;
    mux_says(m, VSK_OP_RESPONSE, 22, host_port);
    ok = g_strdup_printf("OK %u\n", host_port);
    unix_expect(client, ok);
    g_assert_cmpuint(strlen(ok), <=, 9);
    close(client);
    mux_settle(m);
    mux_expect_data(m, 22, (char[1]) { 0 }, 1); /* finds the end */
    mux_expect(m, VSK_OP_SHUTDOWN, 22, host_port);
}

/* More than one call serves. */
static void test_many_clients_at_once(void)
{
    enum { N = 300 };
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .max_conns = N,
    });
    g_autoptr(GHashTable) ports = g_hash_table_new(NULL, NULL);
    int clients[N];

    for (int i = 0; i < N; i++) {
        clients[i] = mux_client(m, 22);
    }
    mux_settle(m);
    g_assert_cmpuint(mux_conns(m), ==, N);
    for (int i = 0; i < N; i++) {
        VskHdr hdr;
        VskConn *conn;

        g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                        VSK_MUX_CONTROL);
        g_hash_table_add(ports, GUINT_TO_POINTER(hdr.src_port));
        close(clients[i]);
    }
    g_assert_cmpuint(g_hash_table_size(ports), ==, N);
}

static void test_clients_are_refused_while_closed(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int client;

    vsk_mux_set_open(m->mux, false, false);
    client = mux_client(m, 22);
    mux_settle(m);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_NOT_READY), ==, 1);
    unix_expect_last(client, "");
    close(client);
    vsk_mux_set_open(m->mux, true, true);
    client = mux_client(m, 22);
    mux_settle(m);
    g_assert_cmpuint(mux_conns(m), ==, 1);
    close(client);
}

static void test_bad_clients_are_counted(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int client = unix_connect(m->path);

    unix_write(client, "HELLO\n");
    mux_settle(m);
    g_assert_cmpuint(mux_refused(m, VSK_REFUSED_HOST_LINE), ==, 1);
    close(client);
}

/* --- Turns --------------------------------------------------------------- */

static void test_turns_go_round(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    char buf[8];
    int fds[3];

    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = mux_open(m, listener, 1000 + i, 80);
    }
    for (int i = 0; i < 3; i++) {
        unix_write(fds[i], "0123456789abcdef");
    }
    mux_settle(m);
    for (int round = 0; round < 2; round++) {
        uint32_t seen = 0;

        for (uint32_t i = 0; i < 3; i++) {
            VskConn *conn = NULL;
            struct iovec iov = { buf, sizeof(buf) };
            size_t n = 0;
            VskHdr hdr;

            g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                            VSK_MUX_DATA);
            seen |= 1u << (conn->key.guest_port - 1000);
            vsk_conn_read(conn, &iov, 1, &n);
            g_assert_cmpuint(n, ==, 8);
            vsk_mux_end_turn(m->mux, conn, m->now_ms);
        }
        g_assert_cmpuint(seen, ==, 7);
    }
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(listener);
}

static void test_event_of_a_past_flow_leads_nowhere(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    int old = mux_open(m, listener, 1024, 80);
    int new;

    unix_write(old, "an event that epoll has not told");
    mux_says(m, VSK_OP_RST, 1024, 80);
    new = mux_open(m, listener, 1024, 80); /* in the same slot */
    mux_settle(m);
    mux_expect_nothing(m);
    close(old);
    mux_settle(m);
    unix_expect_nothing(new);
    mux_expect_nothing(m);
    close(new);
    close(listener);
}

/* --- Reset --------------------------------------------------------------- */

static void test_reset_ends_all_in_silence(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    int fd = mux_open(m, listener, 1024, 80);
    int client = mux_client(m, 22);

    mux_settle(m);
    mux_says(m, VSK_OP_RW, 4711, 80); /* an RST is owed */
    vsk_mux_reset(m->mux, m->now_ms);
    mux_expect_nothing(m);
    unix_expect_last(fd, "");
    unix_expect_last(client, "");
    g_assert_cmpuint(mux_conns(m), ==, 0);
    g_assert_cmpint(vsk_mux_next_deadline(m->mux), ==, -1);
    close(fd);
    fd = mux_open(m, listener, 1024, 80); /* listeners stay */
    close(fd);
    close(client);
    close(listener);
}

static void test_free_with_open_flows(void)
{
    MuxFixture *m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 4);
    int fd = mux_open(m, listener, 1024, 80);
    int client = mux_client(m, 22);

    mux_settle(m);
    mux_fixture_free(m);
    unix_expect_last(fd, "");
    unix_expect_last(client, "");
    close(fd);
    close(client);
    close(listener);
    vsk_mux_free(NULL);
}

static void test_no_descriptor_for_epoll(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "3.vsock");
    VskDevConfig config = { .guest_cid = 3, .uds_path = path };
    g_autoptr(GError) err = NULL;
    int spare[3];

    if (!can_limit_fds()) {
        return;
    }
    /* Enough for the host's lock, socket and epoll. */
    for (int i = 0; i < 3; i++) {
        spare[i] = dup(0);
    }
    limit_fds();
    for (int i = 0; i < 3; i++) {
        close(spare[i]);
    }
    g_assert_null(vsk_mux_new(&config, NULL, NULL, &err));
    unlimit_fds();
    g_assert_error(err, VSK_ERROR, VSK_ERROR_SYSTEM);
    g_assert_false(file_exists(path));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/mux/" path, fn)
    TEST("route/packet-of-no-flow-gets-rst",
         test_packet_of_no_flow_gets_rst);
    TEST("route/rst-is-never-answered", test_rst_is_never_answered);
    TEST("route/request-without-listener-gets-rst",
         test_request_without_listener_gets_rst);
    TEST("route/request-to-a-full-backlog-gets-rst",
         test_request_to_a_full_backlog_gets_rst);
    TEST("route/same-guest-port-is-two-flows",
         test_same_guest_port_is_two_flows);
    TEST("route/second-request-does-not-touch-the-flow",
         test_second_request_does_not_touch_the_flow);
    TEST("reuse/right-after-rst", test_ports_can_be_used_right_after_rst);
    TEST("reuse/owed-rst-does-not-hit-the-next-flow",
         test_owed_rst_does_not_hit_the_next_flow);
    TEST("reuse/waiting-rst-does-not-hit-the-next-flow",
         test_waiting_rst_does_not_hit_the_next_flow);
    TEST("refuse/wrong-address-touches-no-flow",
         test_wrong_address_touches_no_flow);
    TEST("refuse/wrong-length-resets-its-flow",
         test_wrong_length_resets_its_flow);
    TEST("refuse/wrong-length-of-rst-gets-no-rst",
         test_wrong_length_of_rst_gets_no_rst);
    TEST("client/becomes-a-flow", test_client_becomes_a_flow);
    TEST("client/many-at-once", test_many_clients_at_once);
    TEST("client/refused-while-closed",
         test_clients_are_refused_while_closed);
    TEST("client/bad-ones-are-counted", test_bad_clients_are_counted);
    TEST("turns/go-round", test_turns_go_round);
    TEST("events/of-a-past-flow-lead-nowhere",
         test_event_of_a_past_flow_leads_nowhere);
    TEST("limits/no-descriptor-for-epoll", test_no_descriptor_for_epoll);
    TEST("reset/ends-all-in-silence", test_reset_ends_all_in_silence);
    TEST("free/with-open-flows", test_free_with_open_flows);
    return g_test_run();
}
