/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Seqpacket flows among the others: mux.h.
 */

#include "vsock-limits.h"
#include "mux-fixture.h"
#include "stage.h"
#include "unix-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A packet of RW of the guest. */
static void guest_sends(MuxFixture *m, uint32_t guest_port, const char *text,
                        uint32_t flags)
{
    struct iovec iov = { (void *)text, strlen(text) };
    VskHdr hdr = {
        .src_cid = MUX_GUEST_CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = guest_port,
        .dst_port = 80,
        .len = (uint32_t)iov.iov_len,
        .type = m->type,
        .op = VSK_OP_RW,
        .flags = flags,
        .buf_alloc = 4096,
    };

    vsk_mux_from_guest(m->mux, &hdr, &iov, 1, m->now_ms);
}

static uint64_t staged(MuxFixture *m)
{
    VskStats stats;

    vsk_mux_get_stats(m->mux, &stats);
    return stats.staged;
}

/* --- Two types ------------------------------------------------------------ */

static void test_same_ports_of_two_types_are_two_flows(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    g_autofree char *path = g_strdup_printf("%s_80", m->path);
    int listener = mux_listen(m, 80, 1);
    int stream = mux_open(m, listener, 1024, 80);
    int seqpacket;

    close(listener);
    g_assert_cmpint(unlink(path), ==, 0);
    m->type = VSK_TYPE_SEQPACKET;
    listener = mux_listen(m, 80, 1);
    seqpacket = mux_open(m, listener, 1024, 80);
    g_assert_cmpuint(m->last.type, ==, VSK_TYPE_SEQPACKET);
    g_assert_cmpuint(mux_conns(m), ==, 2);
    guest_sends(m, 1024, "message", VSK_SEQ_EOM);
    unix_expect_message(seqpacket, "message");
    unix_expect_nothing(stream);
    m->type = VSK_TYPE_STREAM;
    guest_sends(m, 1024, "bytes", VSK_SEQ_EOM); /* means nothing here */
    guest_sends(m, 1024, " more", 0);
    unix_expect(stream, "bytes more");
    mux_says(m, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(mux_conns(m), ==, 1);
    m->type = VSK_TYPE_SEQPACKET;
    guest_sends(m, 1024, "alive", VSK_SEQ_EOM);
    unix_expect_message(seqpacket, "alive");
    close(stream);
    close(seqpacket);
    close(listener);
}

/* An RST that waits is for the type it was made for. */
static void test_rst_that_waits_is_of_a_type(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener = mux_listen(m, 80, 1);

    m->type = VSK_TYPE_SEQPACKET;
    mux_says(m, VSK_OP_RW, 1024, 80);
    m->type = VSK_TYPE_STREAM;
    mux_says(m, VSK_OP_REQUEST, 1024, 80);
    mux_expect(m, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(m->last.type, ==, VSK_TYPE_SEQPACKET);
    mux_expect(m, VSK_OP_RESPONSE, 1024, 80);
    g_assert_cmpuint(m->last.type, ==, VSK_TYPE_STREAM);
    close(listener);
}

static void test_client_gets_its_flow(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    g_autofree char *ok = NULL;
    char buf[16];
    VskConn *conn;
    uint32_t port;
    int client;

    m->type = VSK_TYPE_SEQPACKET;
    client = mux_client(m, 22);
    unix_write(client, "early");
    mux_settle(m);
    g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &m->last, &conn), ==,
                    VSK_MUX_CONTROL);
    g_assert_cmpint(m->last.op, ==, VSK_OP_REQUEST);
    g_assert_cmpuint(m->last.type, ==, VSK_TYPE_SEQPACKET);
    port = m->last.src_port;
    unix_expect_nothing(client);
    mux_says(m, VSK_OP_RESPONSE, 22, port);
    ok = g_strdup_printf("OK %u\n", port);
    unix_expect_message(client, ok);
    mux_settle(m);
    g_assert_cmpuint(mux_expect_data(m, 22, buf, sizeof(buf)), ==, 5);
    g_assert_cmpmem(buf, 5, "early", 5);
    close(client);
}

static void test_client_is_refused(void)
{
    static const struct {
        bool open, seqpacket;
        VskRefusal why;
    } rows[] = {
        { false, false, VSK_REFUSED_NOT_READY },
        { true, false, VSK_REFUSED_TYPE },
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
        int client;

        vsk_mux_set_open(m->mux, rows[i].open, rows[i].seqpacket);
        m->type = VSK_TYPE_SEQPACKET;
        client = mux_client(m, 22);
        mux_settle(m);
        g_assert_cmpuint(mux_refused(m, rows[i].why), ==, 1);
        unix_expect_last(client, "");
        close(client);
        g_assert_cmpuint(mux_conns(m), ==, 0);
    }
}

static void test_stream_clients_need_no_seqpacket(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int client;

    vsk_mux_set_open(m->mux, true, false);
    client = mux_client(m, 22);
    mux_settle(m);
    g_assert_cmpuint(mux_conns(m), ==, 1);
    close(client);
}

/* --- Memory --------------------------------------------------------------- */

/*
 * Let clients, of one type or of both, ask for flows until one is refused, and
 * leave; returns how many got one.
 */
static uint32_t fill(MuxFixture *m, bool mixed, uint64_t max)
{
    uint64_t cost = 0;
    uint32_t n = 0;
    int clients[100];

    for (;;) {
        VskConn *conn;
        VskHdr hdr;

        m->type = mixed && n % 2 ? VSK_TYPE_STREAM : VSK_TYPE_SEQPACKET;
        g_assert_cmpuint(n, <, G_N_ELEMENTS(clients));
        clients[n] = mux_client(m, n);
        mux_settle(m);
        if (mux_refused(m, VSK_REFUSED_LIMIT)) {
            break;
        }
        n++;
        g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                        VSK_MUX_CONTROL);
        g_assert_cmpint(hdr.op, ==, VSK_OP_REQUEST);
        g_assert_cmpuint(hdr.type, ==, m->type);
        g_assert_cmpuint(hdr.buf_alloc, >=, VSK_MIN_BUF_ALLOC);
        cost += vsk_stage_cost(m->type, hdr.buf_alloc);
        g_assert_cmpuint(cost, <=, max);
    }
    for (uint32_t i = 0; i <= n; i++) {
        close(clients[i]);
    }
    vsk_mux_reset(m->mux, m->now_ms);
    g_assert_cmpuint(mux_conns(m), ==, 0);
    return n;
}

/* What a flow may come to cost counts, not its window alone. */
static void test_memory_stays_within_the_limit(void)
{
    enum { SMALLEST = 2 * VSK_MIN_BUF_ALLOC + VSK_MAX_EMPTY_MESSAGES };

    for (uint64_t max = 8192; max < 200000; max += 3333) {
        for (int mixed = 0; mixed < 2; mixed++) {
            g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
                .max_conns = 1000,
                .max_staged = max,
                .buf_alloc = 20000,
            });
            uint32_t n = fill(m, mixed, max);

            if (!mixed) {
                g_assert_cmpuint(n, ==, max / SMALLEST); /* all is used */
            }
            g_assert_cmpuint(fill(m, mixed, max), ==, n); /* and came back */
        }
    }
}

static void test_half_message_is_no_longer_staged(void)
{
    g_autoptr(MuxFixture) m = mux_fixture_new(NULL);
    int listener, fd;

    m->type = VSK_TYPE_SEQPACKET;
    listener = mux_listen(m, 80, 1);
    fd = mux_open(m, listener, 1024, 80);
    guest_sends(m, 1024, "half", 0);
    g_assert_cmpuint(staged(m), ==, 4);
    guest_sends(m, 1024, "", VSK_SEQ_EOM);
    g_assert_cmpuint(staged(m), ==, 0);
    unix_expect_message(fd, "half");
    guest_sends(m, 1024, "again", 0);
    mux_says(m, VSK_OP_RST, 1024, 80);
    g_assert_cmpuint(staged(m), ==, 0);
    g_assert_cmpuint(mux_conns(m), ==, 0);
    close(fd);
    close(listener);
}

/* --- Events --------------------------------------------------------------- */

/* Read messages of @len bytes until there is none; returns how many. */
static unsigned int drain(int fd, size_t len)
{
    unsigned int n = 0;
    char buf[16];
    ssize_t got;

    while ((got = unix_read(fd, buf, sizeof(buf))) >= 0) {
        g_assert_cmpint(got, ==, (ssize_t)len);
        n++;
    }
    g_assert_cmpint(got, ==, -EAGAIN);
    return n;
}

/*
 * More messages than one event writes: the kernel's edge comes once, and the
 * rest must not wait for another, while a quarter of a large socket is free.
 * mux_settle() fails if it spins.
 */
static void messages_of_many_turns(const char *text)
{
    enum { N = 4000, WINDOW = 1 << 20 };
    g_autoptr(MuxFixture) m = mux_fixture_new(&(VskDevConfig) {
        .buf_alloc = WINDOW,
        .max_staged = (uint64_t)VSK_STAGED_SHARE * WINDOW,
    });
    unsigned int got = 0;
    int listener, fd;
    bool large;

    m->type = VSK_TYPE_SEQPACKET;
    listener = mux_listen(m, 80, 1);
    fd = mux_open(m, listener, 1024, 80);
    large = m->last.buf_alloc == WINDOW; /* if net.core.wmem_max lets it */
    for (unsigned int i = 0; i < N; i++) {
        guest_sends(m, 1024, text, VSK_SEQ_EOM);
    }
    guest_sends(m, 1024, "rest", 0);
    while (got < N) {
        unsigned int n;

        mux_settle(m);
        n = drain(fd, strlen(text));
        g_assert_cmpuint(n, >, large ? MIN(N - got - 1, VSK_CALL_PACKETS) : 0);
        got += n;
    }
    g_assert_cmpuint(got, ==, N);
    mux_settle(m);
    g_assert_cmpuint(staged(m), ==, 4);
    guest_sends(m, 1024, " of it", VSK_SEQ_EOM);
    unix_expect_message(fd, "rest of it");
    close(fd);
    close(listener);
}

static void test_messages_of_many_turns(void)
{
    messages_of_many_turns("x");
    messages_of_many_turns("");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/mux/seqpacket/" path, fn)
    TEST("same-ports-of-two-types",
         test_same_ports_of_two_types_are_two_flows);
    TEST("rst-that-waits-is-of-a-type", test_rst_that_waits_is_of_a_type);
    TEST("client-gets-its-flow", test_client_gets_its_flow);
    TEST("client-is-refused", test_client_is_refused);
    TEST("stream-clients-need-no-seqpacket",
         test_stream_clients_need_no_seqpacket);
    TEST("memory-stays-within-the-limit", test_memory_stays_within_the_limit);
    TEST("half-message-is-no-longer-staged",
         test_half_message_is_no_longer_staged);
    TEST("messages-of-many-turns", test_messages_of_many_turns);
    return g_test_run();
}
