/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Connections a second: connect, the handshake, close, and both sides have
 * seen the close.  One side opens at most so many at once, the other takes
 * what comes.
 */

#include "guest.h"
#include "host.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_AT_ONCE 64

typedef struct Connect {
    BenchDirection direction;
    unsigned at_once;
    /* Of the guest: */
    unsigned in_flight;
    uint64_t n_opened, n_closed, end_ns;
} Connect;

/* Open and close, the oldest first, @at_once of them on their way. */
static void open_sockets(Bench *bench, const Connect *job,
                         int (*begin)(const Bench *bench, unsigned port))
{
    BenchShared *shared = bench->shared;
    uint64_t end_ns = bench_end_ns(bench), n = 0, n_closed = 0;
    int fds[MAX_AT_ONCE];

    shared->begin_ns = bench_now_ns();
    while (n < job->at_once) {
        fds[n++] = begin(bench, BENCH_PORT);
    }
    while (n_closed < n) {
        int *fd = &fds[n_closed++ % job->at_once];

        if (job->direction == BENCH_H2G) {
            host_end_connect(bench, *fd);
        }
        close(*fd);
        if (bench_now_ns() < end_ns) {
            *fd = begin(bench, BENCH_PORT);
            n++;
        }
    }
    shared->total = n;
}

/* Accept, and read until the other side has closed. */
static void accept_sockets(Bench *bench, int listener)
{
    BenchShared *shared = bench->shared;
    char byte;
    int fd;

    host_set_patience(listener);
    while (shared->total == 0 || shared->done < shared->total) {
        fd = host_accept(listener);
        if (fd < 0) {
            bench_tick();
            continue;
        }
        while (recv(fd, &byte, 1, 0) != 0) {
            if (errno != EINTR) {
                bench_die_errno("a connection did not just end");
            }
        }
        close(fd);
        shared->done++;
        shared->end_ns = bench_now_ns();
    }
}

static void run_host(Bench *bench, void *opaque)
{
    const Connect *job = opaque;
    g_autofree char *path = bench_host_path(bench, BENCH_PORT);

    if (job->direction == BENCH_G2H) {
        int listener = host_listen(path);

        sem_post(&bench->shared->ready);
        accept_sockets(bench, listener);
    } else {
        bench_wait(&bench->shared->go);
        open_sockets(bench, job, host_begin_connect);
    }
}

static int connect_host(const Bench *bench, unsigned port)
{
    g_autofree char *path = bench_host_path(bench, port);

    return host_connect(path);
}

static void run_raw(Bench *bench, Connect *job)
{
    g_autofree char *at = bench_raw_path(bench, BENCH_PORT);
    int listener = host_listen(at);
    pid_t child = bench_child(bench, run_host, job);

    if (job->direction == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
        open_sockets(bench, job, connect_host);
    } else {
        sem_post(&bench->shared->go);
        accept_sockets(bench, listener);
    }
    bench_child_join(child);
}

static void on_opened(Bench *bench, Flow *flow, void *opaque)
{
    Connect *job = opaque;

    if (flow->by_guest) {
        job->in_flight--;
        guest_close(bench->guest, flow);
    }
    job->n_opened++;
}

/* More were opened than the host's program accepts: it is tried again. */
static void on_refused(Bench *bench, void *opaque)
{
    Connect *job = opaque;

    (void)bench;
    job->in_flight--;
}

static void on_closed(Bench *bench, Flow *flow, void *opaque)
{
    Connect *job = opaque;

    if (flow->ended_by_host == flow->by_guest) {
        bench_die("a connection was ended by the wrong side");
    }
    job->n_closed++;
    if (flow->ended_by_host) {
        bench->shared->done = job->n_closed;
    }
}

static const GuestOps guest_ops = {
    .opened = on_opened, .refused = on_refused, .closed = on_closed,
};

static void open_flows(Bench *bench, Connect *job)
{
    BenchShared *shared = bench->shared;
    uint64_t end_ns = bench_end_ns(bench);

    shared->begin_ns = bench_now_ns();
    while (bench_now_ns() < end_ns || job->in_flight > 0) {
        while (job->in_flight < job->at_once && bench_now_ns() < end_ns) {
            guest_connect(bench->guest, BENCH_PORT);
            job->in_flight++;
        }
        guest_turn_or_wait(bench->guest);
    }
    shared->total = job->n_opened;
    while (shared->done < shared->total || job->n_closed < job->n_opened) {
        guest_turn_or_wait(bench->guest);
    }
}

static void take_flows(Bench *bench)
{
    BenchShared *shared = bench->shared;

    sem_post(&shared->go);
    while (shared->total == 0 || shared->done < shared->total) {
        guest_turn_or_wait(bench->guest);
    }
    shared->end_ns = bench_now_ns();
}

static void run_guest(Bench *bench, Connect *job)
{
    pid_t child = bench_child(bench, run_host, job);

    guest_set_ops(bench->guest, &guest_ops, job);
    if (job->direction == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
        open_flows(bench, job);
    } else {
        guest_listen(bench->guest, BENCH_PORT);
        take_flows(bench);
    }
    bench_child_join(child);
}

void connect_run(Bench *bench, BenchDirection direction, unsigned at_once)
{
    Connect job = { .direction = direction, .at_once = at_once };
    BenchShared *shared = bench->shared;

    g_assert(at_once <= MAX_AT_ONCE);
    if (bench->guest) {
        run_guest(bench, &job);
    } else {
        run_raw(bench, &job);
    }
    bench_report(bench, "", shared->total /
                 ((shared->end_ns - shared->begin_ns) / 1e9), "1/s");
}
