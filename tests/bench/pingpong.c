/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Round trips: a program of the host sends 64 bytes, the guest sends them
 * back.  Alone, several at once, and beside a flow of bulk data.
 */

#include "guest.h"
#include "host.h"
#include "pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PING 64                 /* bytes */
#define MAX_SAMPLES 4000000u
#define MAX_FLOWS 64
#define MIB 1048576.0
#define US 1000.0               /* ns */

typedef struct PingPong {
    unsigned n_flows;
    bool has_bulk;
    BenchDirection bulk;
    /* Of the host's program: */
    uint64_t *samples;          /* ns */
    unsigned n_samples;
    uint64_t sent_ns[MAX_FLOWS], position[MAX_FLOWS];
    /* Of the guest: */
    unsigned n_open;
    FlowQueue owing;            /* pongs */
    Flow *bulk_flow;
    uint64_t bulk_bytes, bulk_begin_ns;
} PingPong;

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void tell_samples(BenchShared *shared, PingPong *pp)
{
    if (pp->n_samples == 0) {
        bench_die("no round trip was made");
    }
    qsort(pp->samples, pp->n_samples, sizeof(*pp->samples), compare_u64);
    shared->p50_ns = pp->samples[pp->n_samples / 2];
    shared->p99_ns = pp->samples[(uint64_t)pp->n_samples * 99 / 100];
}

static void ping(PingPong *pp, int fd, unsigned flow)
{
    pp->sent_ns[flow] = bench_now_ns();
    host_send_all(fd, pattern_at(pp->position[flow]), PING);
}

static void take_pong(PingPong *pp, int fd, unsigned flow)
{
    uint8_t pong[PING];

    if (!host_recv_all(fd, pong, sizeof(pong))) {
        bench_die("the guest hung up");
    }
    pattern_check(pp->position[flow], pong, sizeof(pong));
    pp->position[flow] += PING;
    if (pp->n_samples < MAX_SAMPLES) {
        pp->samples[pp->n_samples++] = bench_now_ns() - pp->sent_ns[flow];
    }
}

/* A busy machine may need all the time for the first round trip. */
static bool goes_on(const PingPong *pp, uint64_t end_ns)
{
    return bench_now_ns() < end_ns || pp->n_samples == 0;
}

static void play_many(PingPong *pp, const int *fds, uint64_t end_ns)
{
    struct epoll_event events[MAX_FLOWS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    unsigned flow;
    int n, i;

    for (flow = 0; flow < pp->n_flows; flow++) {
        struct epoll_event event = { EPOLLIN, { .u32 = flow } };

        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[flow], &event);
        ping(pp, fds[flow], flow);
    }
    while (goes_on(pp, end_ns)) {
        n = epoll_wait(epoll, events, MAX_FLOWS, -1);
        for (i = 0; i < n; i++) {
            flow = events[i].data.u32;
            take_pong(pp, fds[flow], flow);
            ping(pp, fds[flow], flow);
        }
    }
}

/* The host's program that measures. */
static void run_pings(Bench *bench, void *opaque)
{
    PingPong *pp = opaque;
    int fds[MAX_FLOWS];
    uint64_t end_ns;
    unsigned i;

    pp->samples = g_new(uint64_t, MAX_SAMPLES);
    for (i = 0; i < pp->n_flows; i++) {
        fds[i] = host_connect_guest(bench, BENCH_PORT);
    }
    bench_wait(&bench->shared->go);
    end_ns = bench_end_ns(bench);
    if (pp->n_flows == 1) {
        while (goes_on(pp, end_ns)) {
            ping(pp, fds[0], 0);
            take_pong(pp, fds[0], 0);
        }
    } else {
        play_many(pp, fds, end_ns);
    }
    tell_samples(bench->shared, pp);
    bench->shared->end_ns = bench_now_ns();
    bench->shared->stop = true;
    bench_wait(&bench->shared->go);
}

/* The host's program with the bulk flow; it is killed when all is over. */
static void run_bulk(Bench *bench, void *opaque)
{
    static uint8_t buffer[BENCH_MAX_BLOCK];
    PingPong *pp = opaque;
    g_autofree char *path = bench_host_path(bench, BENCH_BULK_PORT);
    uint64_t position = 0;
    ssize_t n = 0;
    int fd;

    if (pp->bulk == BENCH_G2H) {
        int listener = host_listen(path);

        sem_post(&bench->shared->ready);
        fd = host_accept(listener);
        while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
            pattern_check(position, buffer, n);
            position += n;
        }
    } else {
        fd = host_connect_guest(bench, BENCH_BULK_PORT);
        for (;;) {
            host_send_all(fd, pattern_at(position), BENCH_MAX_BLOCK);
            position += BENCH_MAX_BLOCK;
        }
    }
    if (!bench->shared->stop) {
        bench_die("the bulk flow ended too early");
    }
}

/* --- The raw "guest" ------------------------------------------------------ */

static void raw_echo(int fd)
{
    uint8_t buffer[PING];
    ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

    if (n > 0) {
        host_send_all(fd, buffer, n);
    }
}

static void raw_bulk(PingPong *pp, int fd)
{
    static uint8_t buffer[BENCH_MAX_BLOCK];
    ssize_t n;

    if (pp->bulk == BENCH_G2H) {
        n = send(fd, pattern_at(pp->bulk_bytes), BENCH_MAX_BLOCK,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0) {
            pattern_check(pp->bulk_bytes, buffer, n);
        }
    }
    if (n > 0) {
        pp->bulk_bytes += n;
    }
}

static void raw_serve(Bench *bench, PingPong *pp, const int *fds, int bulk_fd)
{
    struct epoll_event events[MAX_FLOWS + 1];
    int epoll = epoll_create1(EPOLL_CLOEXEC), n, i;
    unsigned flow;

    for (flow = 0; flow < pp->n_flows; flow++) {
        struct epoll_event event = { EPOLLIN, { .fd = fds[flow] } };

        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[flow], &event);
    }
    if (pp->has_bulk) {
        struct epoll_event event = { EPOLLIN, { .fd = bulk_fd } };

        event.events = pp->bulk == BENCH_G2H ? EPOLLOUT : EPOLLIN;
        epoll_ctl(epoll, EPOLL_CTL_ADD, bulk_fd, &event);
    }
    while (!bench->shared->stop) {
        n = epoll_wait(epoll, events, MAX_FLOWS + 1, -1);
        for (i = 0; i < n; i++) {
            if (events[i].data.fd == bulk_fd) {
                raw_bulk(pp, bulk_fd);
            } else {
                raw_echo(events[i].data.fd);
            }
        }
        if (n < 0) {
            bench_tick();
        }
    }
    close(epoll);
}

/* One flow: as plain as the host's program. */
static void raw_serve_one(Bench *bench, int fd)
{
    uint8_t buffer[PING];
    ssize_t n;

    while (!bench->shared->stop) {
        n = recv(fd, buffer, sizeof(buffer), 0);
        if (n > 0) {
            host_send_all(fd, buffer, n);
        } else {
            bench_tick();
        }
    }
}

static pid_t raw_open_bulk(Bench *bench, PingPong *pp, int *ret_fd)
{
    g_autofree char *at = bench_raw_path(bench, BENCH_BULK_PORT);
    g_autofree char *to = bench_host_path(bench, BENCH_BULK_PORT);
    int listener = host_listen(at);
    pid_t child = bench_child(bench, run_bulk, pp);

    if (pp->bulk == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
        *ret_fd = host_connect(to);
    } else {
        *ret_fd = host_accept(listener);
    }
    unlink(at);
    return child;
}

static pid_t run_raw(Bench *bench, PingPong *pp)
{
    g_autofree char *at = bench_raw_path(bench, BENCH_PORT);
    int listener = host_listen(at), fds[MAX_FLOWS], bulk_fd = -1;
    pid_t child = bench_child(bench, run_pings, pp), bulk = -1;
    unsigned i;

    for (i = 0; i < pp->n_flows; i++) {
        fds[i] = host_accept(listener);
    }
    if (pp->has_bulk) {
        bulk = raw_open_bulk(bench, pp, &bulk_fd);
    }
    bench->shared->begin_ns = bench_now_ns();
    sem_post(&bench->shared->go);
    if (pp->n_flows == 1 && !pp->has_bulk) {
        raw_serve_one(bench, fds[0]);
    } else {
        raw_serve(bench, pp, fds, bulk_fd);
    }
    sem_post(&bench->shared->go);
    bench_child_join(child);
    unlink(at);
    return bulk;
}

/* --- The guest ------------------------------------------------------------ */

static void on_opened(Bench *bench, Flow *flow, void *opaque)
{
    PingPong *pp = opaque;

    (void)bench;
    if (flow->host_port == BENCH_BULK_PORT ||
        flow->guest_port == BENCH_BULK_PORT) {
        pp->bulk_flow = flow;
    } else {
        pp->n_open++;
    }
}

static void on_data(Bench *bench, Flow *flow, const uint8_t *data,
                    uint32_t len, void *opaque)
{
    PingPong *pp = opaque;

    (void)bench;
    pattern_check(flow->received - len, data, len);
    if (flow == pp->bulk_flow) {
        pp->bulk_bytes += len;
    } else {
        flow_queue_push(&pp->owing, flow);
    }
}

/* Send back what came; the TX ring may be full of bulk data. */
static void send_pongs(Bench *bench, PingPong *pp)
{
    Flow *flow;

    while ((flow = pp->owing.first)) {
        guest_send(bench->guest, flow, pattern_at(flow->sent),
                   flow->received - flow->sent);
        if (flow->sent < flow->received) {
            return;
        }
        flow_queue_pop(&pp->owing);
    }
}

static const GuestOps guest_ops = { .opened = on_opened, .data = on_data };

static pid_t open_bulk(Bench *bench, PingPong *pp)
{
    pid_t child = bench_child(bench, run_bulk, pp);

    if (pp->bulk == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
        guest_connect(bench->guest, BENCH_BULK_PORT);
    }
    while (!pp->bulk_flow) {
        guest_turn_or_wait(bench->guest);
    }
    return child;
}

/* A block of bulk data, if there is to be any. */
static bool send_bulk(Bench *bench, PingPong *pp)
{
    uint32_t n;

    if (!pp->has_bulk || pp->bulk != BENCH_G2H) {
        return false;
    }
    n = guest_send(bench->guest, pp->bulk_flow,
                   pattern_at(pp->bulk_flow->sent), BENCH_MAX_BLOCK);
    pp->bulk_bytes += n;
    return n > 0;
}

static pid_t run_guest(Bench *bench, PingPong *pp)
{
    pid_t child = bench_child(bench, run_pings, pp), bulk = -1;

    guest_set_ops(bench->guest, &guest_ops, pp);
    guest_listen(bench->guest, BENCH_PORT);
    guest_listen(bench->guest, BENCH_BULK_PORT);
    while (pp->n_open < pp->n_flows) {
        guest_turn_or_wait(bench->guest);
    }
    if (pp->has_bulk) {
        bulk = open_bulk(bench, pp);
    }
    bench->shared->begin_ns = bench_now_ns();
    sem_post(&bench->shared->go);
    while (!bench->shared->stop) {
        send_pongs(bench, pp);
        if (send_bulk(bench, pp)) {
            guest_turn(bench->guest);
        } else {
            guest_turn_or_wait(bench->guest);
        }
    }
    sem_post(&bench->shared->go);
    bench_child_join(child);
    return bulk;
}

static void run(Bench *bench, PingPong *pp)
{
    BenchShared *shared = bench->shared;
    pid_t bulk = bench->guest ? run_guest(bench, pp) : run_raw(bench, pp);
    double seconds = (shared->end_ns - shared->begin_ns) / 1e9;

    if (bulk > 0) {
        bench_child_kill(bulk);
    }
    bench_report(bench, "-p50", shared->p50_ns / US, "us");
    bench_report(bench, "-p99", shared->p99_ns / US, "us");
    if (pp->has_bulk) {
        bench_report(bench, "-bulk", pp->bulk_bytes / seconds / MIB, "MiB/s");
    }
}

void pingpong_run(Bench *bench, unsigned n_flows)
{
    PingPong pp = { .n_flows = n_flows };

    g_assert(n_flows <= MAX_FLOWS);
    run(bench, &pp);
}

void beside_run(Bench *bench, unsigned n_flows, BenchDirection bulk)
{
    PingPong pp = { .n_flows = n_flows, .has_bulk = true, .bulk = bulk };

    g_assert(n_flows <= MAX_FLOWS);
    run(bench, &pp);
}
