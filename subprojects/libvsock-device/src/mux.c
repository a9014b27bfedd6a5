/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All flows of one device together.
 *
 * Theory of operation
 * -------------------
 * settle() is the only place that puts a flow into a list, arms a timer or
 * tells epoll of its descriptor.  It compares what the flow wants with what is
 * set, so it can be called after any touch, and no touch needs to know what
 * it changed.
 *
 * A flow in the ready list owes the guest a packet that can be sent now.  It
 * has one turn, a control packet or up to VSK_TURN_BYTES of data, and goes to
 * the end: flows share the RX ring fairly.
 *
 * Timeouts of one kind are all equally long, so a queue in order of their
 * start is in order of their end.
 */

#include "mux.h"
#include "host.h"
#include "vsock-limits.h"
#include "rsts.h"
#include "table.h"
#include "trim.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Stands for the host's descriptor where a flow's handle would be. */
#define HOST_HANDLE UINT64_MAX

struct VskMux {
    VskDevConfig config;
    VskMuxRefusedFn *refused;
    void *opaque;
    VskHost *host;
    VskTable *table;
    int epoll_fd;
    bool open;
    bool seqpacket;
    bool paused;
    int64_t paused_at_ms;
    bool host_is_due;               /* @host has news, or may have */
    GQueue ready;                   /* of VskConn, next first */
    GQueue timers[VSK_TIMER_NUM];   /* of VskConn, first to expire first */
    VskRsts rsts;
    VskTrim trim;
    uint64_t staged_at_most;        /* bytes, over all flows */
    uint64_t conns_opened;
};

static bool watch_host(VskMux *mux)
{
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = HOST_HANDLE,
    };

    mux->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return mux->epoll_fd >= 0 &&
           epoll_ctl(mux->epoll_fd, EPOLL_CTL_ADD,
                     vsk_host_get_fd(mux->host), &event) == 0;
}

VskMux *vsk_mux_new(const VskDevConfig *config, VskMuxRefusedFn *refused,
                    void *opaque, GError **errp)
{
    VskMux *mux;
    VskHost *host = vsk_host_new(config->uds_path, config->seqpacket,
                                 config->shared_path,
                                 config->line_timeout_ms, errp);

    if (!host) {
        return NULL;
    }
    mux = g_new0(VskMux, 1);
    mux->config = *config;
    mux->config.uds_path = NULL; /* the caller's memory: not ours to keep */
    mux->config.shared_path = NULL;
    mux->refused = refused;
    mux->opaque = opaque;
    mux->host = host;
    /* Clients that only wait must not take the descriptors of flows. */
    vsk_host_set_max_clients(host, config->max_conns / 4);
    mux->table = vsk_table_new(config->seed);
    vsk_trim_init(&mux->trim);
    g_queue_init(&mux->ready);
    for (int i = 0; i < VSK_TIMER_NUM; i++) {
        g_queue_init(&mux->timers[i]);
    }
    if (!watch_host(mux)) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_SYSTEM,
                    "cannot watch host sockets at '%s': %s",
                    config->uds_path, g_strerror(errno));
        vsk_mux_free(mux);
        return NULL;
    }
    return mux;
}

/* --- Settle -------------------------------------------------------------- */

/* Have told how much memory @conn takes. */
static void count_memory(VskMux *mux, VskConn *conn, int64_t now_ms)
{
    uint64_t now = sizeof(*conn) + vsk_stage_memory(&conn->stage);

    vsk_trim_count(&mux->trim, conn->counted, now, now_ms);
    conn->counted = now;
}

static void forget(VskMux *mux, VskConn *conn, int64_t now_ms)
{
    if (conn->is_ready) {
        g_queue_unlink(&mux->ready, &conn->ready_link);
    }
    if (conn->timer != VSK_TIMER_NONE) {
        g_queue_unlink(&mux->timers[conn->timer], &conn->timer_link);
    }
    mux->staged_at_most -= vsk_stage_cost(conn->key.type,
                                          conn->credit.buf_alloc);
    vsk_trim_count(&mux->trim, conn->counted, 0, now_ms);
    vsk_table_remove(mux->table, conn);
    vsk_conn_free(conn);
}

static void set_ready(VskMux *mux, VskConn *conn, bool ready)
{
    if (ready && !conn->is_ready) {
        g_queue_push_tail_link(&mux->ready, &conn->ready_link);
    } else if (!ready && conn->is_ready) {
        g_queue_unlink(&mux->ready, &conn->ready_link);
    }
    conn->is_ready = ready;
}

static uint32_t timeout_of(const VskMux *mux, VskTimer timer)
{
    switch (timer) {
    case VSK_TIMER_REQUEST:
        return mux->config.request_timeout_ms;
    case VSK_TIMER_WRITE:
        return VSK_WRITE_RETRY_MS;
    default:
        return mux->config.close_timeout_ms;
    }
}

static void set_timer(VskMux *mux, VskConn *conn, VskTimer timer,
                      int64_t now_ms)
{
    if (conn->timer == timer) {
        return;
    }
    if (conn->timer != VSK_TIMER_NONE) {
        g_queue_unlink(&mux->timers[conn->timer], &conn->timer_link);
    }
    conn->timer = timer;
    if (timer != VSK_TIMER_NONE) {
        conn->timer_at_ms = now_ms + timeout_of(mux, timer);
        g_queue_push_tail_link(&mux->timers[timer], &conn->timer_link);
    }
}

/* False if the kernel has no room to watch one more descriptor. */
static bool set_poll(VskMux *mux, VskConn *conn, uint32_t mask)
{
    struct epoll_event event = {
        .events = mask,
        .data.u64 = conn->handle,
    };
    int op = conn->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (!vsk_conn_poll_again(conn) && conn->polled == mask) {
        return true;
    }
    conn->polled = mask;
    if (!mask) {
        return true; /* closed, and so forgotten by epoll */
    }
    /* #syscalls epoll_ctl */
    return epoll_ctl(mux->epoll_fd, op,
                     conn->stream->ops->get_fd(conn->stream), &event) == 0;
}

/* Make true what @conn wants.  It may be gone afterwards. */
static void settle(VskMux *mux, VskConn *conn, int64_t now_ms)
{
    if (!set_poll(mux, conn, vsk_conn_poll_mask(conn))) {
        vsk_conn_reset(conn);
        conn->polled = 0;
    }
    if (vsk_conn_is_dead(conn)) {
        forget(mux, conn, now_ms);
        return;
    }
    count_memory(mux, conn, now_ms);
    if (!vsk_conn_in_table(conn)) {
        vsk_table_hide(mux->table, conn);
    }
    set_ready(mux, conn, vsk_conn_owes(conn));
    set_timer(mux, conn, vsk_conn_timer(conn), now_ms);
}

void vsk_mux_free(VskMux *mux)
{
    if (!mux) {
        return;
    }
    for (unsigned int i = 0; i < vsk_table_slots(mux->table); i++) {
        VskConn *conn = vsk_table_slot(mux->table, i);

        if (conn) {
            forget(mux, conn, 0);
        }
    }
    vsk_trim_expire(&mux->trim, INT64_MAX);
    vsk_table_free(mux->table);
    vsk_host_free(mux->host);
    if (mux->epoll_fd >= 0) {
        close(mux->epoll_fd);
    }
    g_free(mux);
}

void vsk_mux_reset(VskMux *mux, int64_t now_ms)
{
    mux->rsts.n = 0;
    for (unsigned int i = 0; i < vsk_table_slots(mux->table); i++) {
        VskConn *conn = vsk_table_slot(mux->table, i);

        if (conn) {
            vsk_conn_orphan(conn);
            settle(mux, conn, now_ms);
        }
    }
}

void vsk_mux_end_flows(VskMux *mux, int64_t now_ms)
{
    for (unsigned int i = 0; i < vsk_table_slots(mux->table); i++) {
        VskConn *conn = vsk_table_slot(mux->table, i);

        if (conn) {
            vsk_conn_reset(conn);
            settle(mux, conn, now_ms);
        }
    }
}

int vsk_mux_get_fd(const VskMux *mux)
{
    return mux->epoll_fd;
}

void vsk_mux_set_open(VskMux *mux, bool open, bool seqpacket)
{
    mux->open = open;
    mux->seqpacket = seqpacket;
}

void vsk_mux_set_paused(VskMux *mux, bool paused, int64_t now_ms)
{
    if (paused && !mux->paused) {
        mux->paused_at_ms = now_ms;
    } else if (!paused && mux->paused) {
        for (int i = 0; i < VSK_TIMER_NUM; i++) {
            for (GList *link = mux->timers[i].head; link; link = link->next) {
                VskConn *conn = link->data;
                int64_t start_ms = conn->timer_at_ms -
                                   timeout_of(mux, (VskTimer)i);

                /* Some have started within the pause. */
                conn->timer_at_ms += now_ms - MAX(start_ms,
                                                  mux->paused_at_ms);
            }
        }
    }
    mux->paused = paused;
}

int64_t vsk_mux_next_deadline(const VskMux *mux)
{
    int64_t at = vsk_host_next_deadline(mux->host);

    for (int i = 0; i < VSK_TIMER_NUM; i++) {
        const VskConn *conn = g_queue_peek_head((GQueue *)&mux->timers[i]);

        if (conn && !mux->paused && (at < 0 || conn->timer_at_ms < at)) {
            at = conn->timer_at_ms;
        }
    }
    if (mux->trim.at_ms >= 0 && (at < 0 || mux->trim.at_ms < at)) {
        at = mux->trim.at_ms;
    }
    return at;
}

/* --- New flows ----------------------------------------------------------- */

/*
 * The window for one more flow, 0 if there is no room for one.  See
 * VSK_DEFAULT_MAX_STAGED.
 */
static uint32_t next_window(const VskMux *mux, uint16_t type)
{
    uint64_t max = mux->config.max_staged;
    uint64_t left = max - mux->staged_at_most;
    uint64_t each = MIN(max / 2 / mux->config.max_conns, VSK_MIN_BUF_ALLOC);
    uint32_t size = vsk_table_size(mux->table);
    uint64_t kept, share;
    uint32_t window;

    if (size >= mux->config.max_conns) {
        return 0;
    }
    kept = MIN(each * (mux->config.max_conns - size), left);
    share = each + (left - kept) / VSK_STAGED_SHARE;
    window = CLAMP(vsk_stage_window(type, share), VSK_MIN_BUF_ALLOC,
                   mux->config.buf_alloc);
    return vsk_stage_cost(type, window) <= left ? window : 0;
}

static void add(VskMux *mux, VskConn *conn, int64_t now_ms)
{
    mux->staged_at_most += vsk_stage_cost(conn->key.type,
                                          conn->credit.buf_alloc);
    vsk_table_insert(mux->table, conn);
    settle(mux, conn, now_ms);
}

/*
 * A stream for @fd, which is ours now.  *@window may get smaller.  NULL if the
 * kernel does not have what is needed.
 */
static VskStream *new_stream(int fd, uint16_t type, bool say_ok,
                             uint32_t *window)
{
    return type == VSK_TYPE_SEQPACKET
           ? vsk_stream_new_seqpacket(fd, say_ok, window)
           : vsk_stream_new_socket(fd, say_ok);
}

/* Make a flow for a host client.  Returns false if it is refused. */
static bool add_from_host(VskMux *mux, const VskHostNews *news,
                          int64_t now_ms, VskRefusal *ret_why)
{
    VskKey key = { .guest_port = news->port, .type = news->type };
    uint32_t window = next_window(mux, key.type);
    VskStream *stream;

    *ret_why = VSK_REFUSED_LIMIT;
    if (!mux->open) {
        *ret_why = VSK_REFUSED_NOT_READY;
    } else if (key.type == VSK_TYPE_SEQPACKET && !mux->seqpacket) {
        *ret_why = VSK_REFUSED_TYPE;
    } else if (window &&
               vsk_table_pick_host_port(mux->table, key.guest_port, key.type,
                                        &key.host_port)) {
        stream = new_stream(news->fd, key.type, true, &window);
        if (!stream) {
            return false;
        }
        add(mux, vsk_conn_new_from_host(&key, mux->config.guest_cid, window,
                                        stream), now_ms);
        return true;
    }
    /* #syscalls close */
    close(news->fd);
    return false;
}

/* The guest's REQUEST.  Returns false if it is refused. */
static bool add_from_guest(VskMux *mux, const VskHdr *hdr, int64_t now_ms,
                           VskRefusal *ret_why)
{
    uint32_t window = next_window(mux, hdr->type);
    VskStream *stream;
    int fd;

    *ret_why = VSK_REFUSED_LIMIT;
    if (!window) {
        return false;
    }
    fd = vsk_host_connect(mux->host, hdr->src_cid, hdr->src_port,
                          hdr->dst_port, hdr->type,
                          mux->config.seed + mux->conns_opened, ret_why);
    if (fd < 0) {
        return false;
    }
    stream = new_stream(fd, hdr->type, false, &window);
    if (!stream) {
        return false;
    }
    mux->conns_opened++;
    add(mux, vsk_conn_new_from_guest(hdr, window, stream), now_ms);
    return true;
}

/* --- Guest to host ------------------------------------------------------- */

bool vsk_mux_can_take(const VskMux *mux)
{
    return vsk_rsts_have_room(&mux->rsts);
}

static VskConn *find(const VskMux *mux, const VskHdr *hdr)
{
    VskKey key = {
        .guest_port = hdr->src_port,
        .host_port = hdr->dst_port,
        .type = hdr->type,
    };

    return vsk_table_find(mux->table, &key);
}

void vsk_mux_from_guest(VskMux *mux, const VskHdr *hdr,
                        const struct iovec *payload, unsigned int n_payload,
                        int64_t now_ms)
{
    VskConn *conn = find(mux, hdr);
    VskRefusal why = VSK_REFUSED_NO_FLOW;
    bool ok = false;

    if (conn && conn->phase == VSK_PHASE_DEAD && hdr->op == VSK_OP_REQUEST) {
        /* The ports are used again; an RST now would hit the new flow. */
        forget(mux, conn, now_ms);
        conn = NULL;
    }
    if (conn) {
        bool was_waiting = conn->phase == VSK_PHASE_REQUESTED;

        ok = vsk_conn_from_guest(conn, hdr, payload, n_payload, &why);
        if (was_waiting && conn->phase == VSK_PHASE_ESTABLISHED) {
            mux->conns_opened++;
        }
        settle(mux, conn, now_ms);
    } else {
        if (hdr->op == VSK_OP_REQUEST) {
            vsk_rsts_forget(&mux->rsts, hdr);
        }
        ok = hdr->op == VSK_OP_RST ||
             (hdr->op == VSK_OP_REQUEST &&
              add_from_guest(mux, hdr, now_ms, &why));
        if (!ok) {
            vsk_rsts_answer(&mux->rsts, hdr);
        }
    }
    if (!ok) {
        mux->refused(mux->opaque, why, hdr);
    }
}

void vsk_mux_refuse(VskMux *mux, const VskHdr *hdr, VskRefusal why,
                    int64_t now_ms)
{
    VskConn *conn;

    mux->refused(mux->opaque, why, hdr);
    switch (why) {
    case VSK_REFUSED_TYPE:
        vsk_rsts_answer(&mux->rsts, hdr); /* 5.10.6.4.2 */
        break;
    case VSK_REFUSED_TX_LEN:
        /* Its bytes cannot be told from others: the flow has a hole now. */
        conn = find(mux, hdr);
        if (conn) {
            if (hdr->op == VSK_OP_RST) {
                vsk_conn_orphan(conn);
            } else {
                vsk_conn_reset(conn);
            }
            settle(mux, conn, now_ms);
        }
        break;
    default:
        break; /* addresses that are not ours: nothing for any flow */
    }
}

/* --- Host to guest ------------------------------------------------------- */

bool vsk_mux_has_next(const VskMux *mux)
{
    return mux->rsts.n || mux->ready.head;
}

VskMuxNext vsk_mux_next(VskMux *mux, int64_t now_ms, VskHdr *ret_hdr,
                        VskConn **ret_conn)
{
    VskConn *conn;

    if (vsk_rsts_next(&mux->rsts, ret_hdr)) {
        return VSK_MUX_CONTROL;
    }
    conn = g_queue_peek_head(&mux->ready);
    if (!conn) {
        return VSK_MUX_NOTHING;
    }
    if (vsk_conn_next_control(conn, ret_hdr)) {
        vsk_mux_end_turn(mux, conn, now_ms);
        return VSK_MUX_CONTROL;
    }
    *ret_conn = conn;
    return VSK_MUX_DATA;
}

void vsk_mux_end_turn(VskMux *mux, VskConn *conn, int64_t now_ms)
{
    set_ready(mux, conn, false); /* to the end, if it is to stay */
    settle(mux, conn, now_ms);
}

/* --- Events and time ----------------------------------------------------- */

static void serve_host(VskMux *mux, int64_t now_ms)
{
    for (int i = 0; i < VSK_DISPATCH_CLIENTS; i++) {
        VskHostNews news;
        VskRefusal why;

        switch (vsk_host_next(mux->host, now_ms, &news)) {
        case VSK_HOST_NOTHING:
            mux->host_is_due = false;
            return;
        case VSK_HOST_CLIENT:
            if (!add_from_host(mux, &news, now_ms, &why)) {
                mux->refused(mux->opaque, why, NULL);
            }
            break;
        case VSK_HOST_REFUSED:
            mux->refused(mux->opaque, news.why, NULL);
            break;
        case VSK_HOST_SILENT:
            break;
        }
    }
}

/* Returns true if there may be more. */
static bool serve_events(VskMux *mux, int64_t now_ms)
{
    struct epoll_event events[VSK_POLL_EVENTS];
    int n = epoll_wait(mux->epoll_fd, events, VSK_POLL_EVENTS, 0);

    /* #syscalls epoll_wait epoll_pwait */
    for (int i = 0; i < n; i++) {
        VskConn *conn;

        if (events[i].data.u64 == HOST_HANDLE) {
            mux->host_is_due = true;
            continue;
        }
        conn = vsk_table_at(mux->table, events[i].data.u64);
        if (conn) {
            vsk_conn_host_event(conn, events[i].events);
            settle(mux, conn, now_ms);
        }
    }
    return n == VSK_POLL_EVENTS;
}

static void expire(VskMux *mux, int64_t now_ms)
{
    for (int i = 0; i < VSK_TIMER_NUM; i++) {
        VskConn *conn;

        while ((conn = g_queue_peek_head(&mux->timers[i])) &&
               conn->timer_at_ms <= now_ms) {
            VskRefusal why;

            set_timer(mux, conn, VSK_TIMER_NONE, now_ms);
            if (vsk_conn_expire(conn, &why)) {
                mux->refused(mux->opaque, why, NULL);
            }
            settle(mux, conn, now_ms);
        }
    }
}

bool vsk_mux_dispatch(VskMux *mux, int64_t now_ms)
{
    int64_t host_at = vsk_host_next_deadline(mux->host);
    bool more = true;

    for (int i = 0; i < VSK_DISPATCH_BATCHES && more; i++) {
        more = serve_events(mux, now_ms);
    }
    if (host_at >= 0 && host_at <= now_ms) {
        mux->host_is_due = true;
    }
    if (mux->host_is_due) {
        serve_host(mux, now_ms);
    }
    if (!mux->paused) {
        expire(mux, now_ms);
    }
    vsk_trim_expire(&mux->trim, now_ms);
    return more || mux->host_is_due;
}

void vsk_mux_get_stats(const VskMux *mux, VskStats *stats)
{
    stats->conns = vsk_table_size(mux->table);
    stats->conns_opened = mux->conns_opened;
    stats->staged = 0;
    for (unsigned int i = 0; i < vsk_table_slots(mux->table); i++) {
        const VskConn *conn = vsk_table_slot(mux->table, i);

        if (conn) {
            stats->staged += vsk_stage_used(&conn->stage);
        }
    }
}
