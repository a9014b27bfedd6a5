/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a connection costs that does nothing: memory and descriptors of the
 * backend, once some were there before.
 */

#include "backend.h"
#include "guest.h"
#include "host.h"

#include <unistd.h>

#define FIRST 64 /* connections that are open before the count begins */

typedef struct Idle {
    BenchDirection direction;
    unsigned n_flows;
    unsigned n_asked, n_open; /* of the guest */
} Idle;

static void run_host(Bench *bench, void *opaque)
{
    const Idle *idle = opaque;
    g_autofree char *path = bench_host_path(bench, BENCH_PORT);
    int listener = -1;
    unsigned i;

    if (idle->direction == BENCH_G2H) {
        listener = host_listen(path);
        sem_post(&bench->shared->ready);
    }
    for (i = 0; i < FIRST + idle->n_flows; i++) {
        if (i == FIRST) {
            bench_wait(&bench->shared->go);
        }
        if (listener >= 0) {
            host_accept(listener);
        } else {
            host_connect_guest(bench, BENCH_PORT);
        }
    }
    bench->shared->stop = true;
    bench_wait(&bench->shared->go);
}

static void on_opened(Bench *bench, Flow *flow, void *opaque)
{
    Idle *idle = opaque;

    (void)bench;
    (void)flow;
    idle->n_open++;
}

static const GuestOps guest_ops = { .opened = on_opened };

static void open_flows(Bench *bench, Idle *idle, unsigned n)
{
    while (idle->n_open < n) {
        if (idle->direction == BENCH_G2H && idle->n_asked == idle->n_open) {
            guest_connect(bench->guest, BENCH_PORT);
            idle->n_asked++;
        }
        guest_turn_or_wait(bench->guest);
    }
}

void idle_run(Bench *bench, BenchDirection direction, unsigned n_flows)
{
    Idle idle = { .direction = direction, .n_flows = n_flows };
    double rss_kib;
    unsigned fds;
    pid_t child;

    if (!bench->guest) {
        bench_die("raw has no backend to look at");
    }
    child = bench_child(bench, run_host, &idle);
    guest_set_ops(bench->guest, &guest_ops, &idle);
    if (direction == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
    } else {
        guest_listen(bench->guest, BENCH_PORT);
    }
    open_flows(bench, &idle, FIRST);
    rss_kib = backend_rss_kib(bench->backend);
    fds = backend_fds(bench->backend);
    sem_post(&bench->shared->go);
    open_flows(bench, &idle, FIRST + n_flows);
    while (!bench->shared->stop) {
        guest_turn_or_wait(bench->guest);
    }
    rss_kib = backend_rss_kib(bench->backend) - rss_kib;
    fds = backend_fds(bench->backend) - fds;
    sem_post(&bench->shared->go);
    bench_child_join(child);
    bench_report(bench, "-rss", rss_kib / n_flows, "KiB");
    bench_report(bench, "-fds", (double)fds / n_flows, "fds");
}
