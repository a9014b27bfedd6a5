/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A mux under test.
 */

#include "mux-fixture.h"
#include "vsock-limits.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <poll.h>

static void count_refusal(void *opaque, VskRefusal why, const VskHdr *hdr)
{
    MuxFixture *m = opaque;

    g_assert_cmpint(why, <, VSK_REFUSED_NUM);
    g_assert_true(!hdr || hdr->op != VSK_OP_RST || why != VSK_REFUSED_NO_FLOW);
    m->refused[why]++;
}

MuxFixture *mux_fixture_new(const VskDevConfig *config)
{
    VskDevConfig full = {
        .guest_cid = MUX_GUEST_CID,
        .seqpacket = true,
        .max_conns = 100,
        .buf_alloc = 65536,
        .max_staged = 16 << 20,
        .request_timeout_ms = 2000,
        .close_timeout_ms = 8000,
        .line_timeout_ms = 5000,
        .seed = unique_seed(),
    };
    MuxFixture *m = g_new0(MuxFixture, 1);
    g_autoptr(GError) err = NULL;

    m->dir = temp_dir_new();
    m->path = temp_dir_file(m->dir, "3.vsock");
    m->now_ms = 1000;
    m->type = VSK_TYPE_STREAM;
    if (config) {
        full.max_conns = config->max_conns ?: full.max_conns;
        full.buf_alloc = config->buf_alloc ?: full.buf_alloc;
        full.max_staged = config->max_staged ?: full.max_staged;
    }
    full.uds_path = m->path;
    m->mux = vsk_mux_new(&full, count_refusal, m, &err);
    g_assert_no_error(err);
    vsk_mux_set_open(m->mux, true, true);
    return m;
}

void mux_fixture_free(MuxFixture *m)
{
    if (m) {
        vsk_mux_free(m->mux);
        temp_dir_free(m->dir);
        g_free(m->path);
        g_free(m);
    }
}

void mux_says(MuxFixture *m, VskOp op, uint32_t guest_port,
              uint32_t host_port)
{
    VskHdr hdr = {
        .src_cid = MUX_GUEST_CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = guest_port,
        .dst_port = host_port,
        .type = m->type,
        .op = op,
        .buf_alloc = 4096,
    };

    vsk_mux_from_guest(m->mux, &hdr, NULL, 0, m->now_ms);
}

void mux_settle(MuxFixture *m)
{
    struct pollfd pfd = { .fd = vsk_mux_get_fd(m->mux), .events = POLLIN };

    for (int i = 0; i < 1000; i++) {
        bool more = vsk_mux_dispatch(m->mux, m->now_ms);
        int64_t at = vsk_mux_next_deadline(m->mux);

        if (!more && poll(&pfd, 1, 0) == 0 && (at < 0 || at > m->now_ms)) {
            return;
        }
    }
    g_assert_not_reached(); /* it spins */
}

void mux_passes(MuxFixture *m, int64_t ms)
{
    m->now_ms += ms;
    mux_settle(m);
}

void mux_expect(MuxFixture *m, VskOp op, uint32_t guest_port,
                uint32_t host_port)
{
    VskConn *conn;

    g_assert_true(vsk_mux_has_next(m->mux));
    g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &m->last, &conn), ==,
                    VSK_MUX_CONTROL);
    g_assert_cmpint(m->last.op, ==, op);
    g_assert_cmpuint(m->last.dst_port, ==, guest_port);
    g_assert_cmpuint(m->last.src_port, ==, host_port);
    g_assert_cmpuint(m->last.dst_cid, ==, MUX_GUEST_CID);
    g_assert_cmpuint(m->last.src_cid, ==, VSK_CID_HOST);
    mux_settle(m);
}

void mux_expect_nothing(MuxFixture *m)
{
    VskHdr hdr;
    VskConn *conn;

    g_assert_false(vsk_mux_has_next(m->mux));
    g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                    VSK_MUX_NOTHING);
}

size_t mux_expect_data(MuxFixture *m, uint32_t guest_port, char *buf,
                       size_t max)
{
    struct iovec iov = { buf, max };
    VskConn *conn = NULL;
    VskHdr hdr;
    size_t n = 0;

    g_assert_cmpint(vsk_mux_next(m->mux, m->now_ms, &hdr, &conn), ==,
                    VSK_MUX_DATA);
    g_assert_cmpuint(conn->key.guest_port, ==, guest_port);
    if (vsk_conn_read(conn, &iov, 1, &n) == VSK_READ_DATA) {
        vsk_conn_make_rw(conn, (uint32_t)n, true, &hdr);
    }
    vsk_mux_end_turn(m->mux, conn, m->now_ms);
    return n;
}

unsigned int mux_refused(MuxFixture *m, VskRefusal why)
{
    unsigned int n = m->refused[why];

    m->refused[why] = 0;
    return n;
}

int mux_listen(MuxFixture *m, uint32_t port, int backlog)
{
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_port(m->path, port, path), ==, 0);
    return m->type == VSK_TYPE_SEQPACKET ? unix_bind_seqpacket(path, backlog)
                                         : unix_bind(path, backlog);
}

int mux_client(MuxFixture *m, uint32_t port)
{
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", port);
    char path[VSK_SUN_PATH_SIZE];
    int fd;

    if (m->type == VSK_TYPE_SEQPACKET) {
        g_assert_cmpint(vsk_path_for_seqpacket(m->path, path), ==, 0);
        fd = unix_connect_seqpacket(path);
    } else {
        fd = unix_connect(m->path);
    }
    unix_write(fd, line);
    return fd;
}

int mux_open(MuxFixture *m, int listener, uint32_t guest_port,
             uint32_t host_port)
{
    mux_says(m, VSK_OP_REQUEST, guest_port, host_port);
    mux_expect(m, VSK_OP_RESPONSE, guest_port, host_port);
    return unix_accept(listener);
}

unsigned int mux_conns(MuxFixture *m)
{
    VskStats stats;

    vsk_mux_get_stats(m->mux, &stats);
    return stats.conns;
}
