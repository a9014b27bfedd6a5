/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Throughput: blocks of one size over one or many flows, one way.
 *
 * From the sender's first byte to the receiver's last one, all of them
 * checked, and the processor time of the backend meanwhile.
 */

#include "backend.h"
#include "guest.h"
#include "host.h"
#include "pattern.h"

#include <unistd.h>

#define MIB 1048576.0
#define GIB (1024 * MIB)
/* Handshakes of the guest's at once while the flows are set up. */
#define CONNECTING 16

typedef struct Bulk {
    BenchDirection direction;
    unsigned block;
    unsigned n_flows;
    /* Of the guest: */
    unsigned n_asked, n_open;
    FlowQueue ready;
    uint64_t bytes;
} Bulk;

/* The host's program: one end of all flows. */
static void run_host(Bench *bench, void *opaque)
{
    Bulk *bulk = opaque;
    g_autofree int *fds = g_new(int, bulk->n_flows);
    g_autofree char *path = bench_host_path(bench, BENCH_PORT);
    int listener = -1;
    unsigned i;

    if (bulk->direction == BENCH_G2H) {
        listener = host_listen(path);
        sem_post(&bench->shared->ready);
    }
    for (i = 0; i < bulk->n_flows; i++) {
        fds[i] = listener >= 0 ? host_accept(listener) :
                 host_connect_guest(bench, BENCH_PORT);
    }
    if (bulk->direction == BENCH_G2H) {
        host_recv_flows(bench, fds, bulk->n_flows);
    } else {
        bench_wait(&bench->shared->go);
        host_send_flows(bench, fds, bulk->n_flows, bulk->block);
        bench_wait(&bench->shared->go);
    }
}

/* The raw "guest": the other end, by sockets too. */
static void run_raw(Bench *bench, Bulk *bulk)
{
    g_autofree int *fds = g_new(int, bulk->n_flows);
    g_autofree char *to = bench_host_path(bench, BENCH_PORT);
    g_autofree char *at = bench_raw_path(bench, BENCH_PORT);
    int listener = host_listen(at);
    pid_t child = bench_child(bench, run_host, bulk);
    unsigned i;

    if (bulk->direction == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
    }
    for (i = 0; i < bulk->n_flows; i++) {
        fds[i] = bulk->direction == BENCH_G2H ? host_connect(to) :
                 host_accept(listener);
    }
    if (bulk->direction == BENCH_G2H) {
        host_send_flows(bench, fds, bulk->n_flows, bulk->block);
    } else {
        sem_post(&bench->shared->go);
        host_recv_flows(bench, fds, bulk->n_flows);
        sem_post(&bench->shared->go);
    }
    bench_child_join(child);
    unlink(at);
}

static void on_opened(Bench *bench, Flow *flow, void *opaque)
{
    Bulk *bulk = opaque;

    (void)bench;
    bulk->n_open++;
    flow_queue_push(&bulk->ready, flow);
}

static void on_credit(Bench *bench, Flow *flow, void *opaque)
{
    Bulk *bulk = opaque;

    (void)bench;
    if (guest_credit(flow) > 0) {
        flow_queue_push(&bulk->ready, flow);
    }
}

static void on_data(Bench *bench, Flow *flow, const uint8_t *data,
                    uint32_t len, void *opaque)
{
    Bulk *bulk = opaque;
    BenchShared *shared = bench->shared;

    pattern_check(flow->received - len, data, len);
    bulk->bytes += len;
    shared->done = bulk->bytes;
}

static void on_closed(Bench *bench, Flow *flow, void *opaque)
{
    (void)opaque;
    if (bench->shared->total == 0 ||
        bench->shared->done < bench->shared->total) {
        bench_die("a flow ended after %" PRIu64 " bytes sent, %" PRIu64
                  " received", flow->sent, flow->received);
    }
}

static const GuestOps guest_ops = {
    .opened = on_opened,
    .credit = on_credit,
    .data = on_data,
    .closed = on_closed,
};

static void open_flows(Bench *bench, Bulk *bulk)
{
    while (bulk->n_open < bulk->n_flows) {
        while (bulk->direction == BENCH_G2H &&
               bulk->n_asked < bulk->n_flows &&
               bulk->n_asked < bulk->n_open + CONNECTING) {
            guest_connect(bench->guest, BENCH_PORT);
            bulk->n_asked++;
        }
        guest_turn_or_wait(bench->guest);
    }
}

/* One block of one flow, or what its window has room for. */
static bool send_turn(Bench *bench, Bulk *bulk)
{
    Flow *flow = bulk->ready.first;
    uint32_t n;

    if (!flow) {
        return false;
    }
    if (guest_credit(flow) == 0) {
        flow_queue_pop(&bulk->ready);
        return true;
    }
    n = guest_send(bench->guest, flow, pattern_at(flow->sent), bulk->block);
    bulk->bytes += n;
    if (n > 0) {
        flow_queue_push(&bulk->ready, flow_queue_pop(&bulk->ready));
    }
    return n > 0;
}

static void send_flows(Bench *bench, Bulk *bulk)
{
    BenchShared *shared = bench->shared;
    uint64_t end_ns = bench_end_ns(bench);
    unsigned n = 0;

    shared->begin_ns = bench_now_ns();
    while (++n % 64 != 0 || bench_now_ns() < end_ns) {
        if (!send_turn(bench, bulk)) {
            guest_turn_or_wait(bench->guest);
        }
    }
    shared->total = bulk->bytes;
    while (shared->done < shared->total) {
        guest_turn_or_wait(bench->guest);
    }
}

static void receive_flows(Bench *bench)
{
    BenchShared *shared = bench->shared;
    uint64_t done = 0;

    sem_post(&shared->go);
    while (shared->total == 0 || shared->done < shared->total) {
        guest_turn_or_wait(bench->guest);
        if (shared->done != done) {
            done = shared->done;
            shared->end_ns = bench_now_ns();
        }
    }
    sem_post(&shared->go);
}

static void run_guest(Bench *bench, Bulk *bulk, uint64_t *ret_cpu_ns)
{
    pid_t child = bench_child(bench, run_host, bulk);

    if (bulk->direction == BENCH_G2H) {
        bench_wait(&bench->shared->ready);
    } else {
        guest_listen(bench->guest, BENCH_PORT);
    }
    guest_set_ops(bench->guest, &guest_ops, bulk);
    open_flows(bench, bulk);
    *ret_cpu_ns = backend_cpu_ns(bench->backend);
    if (bulk->direction == BENCH_G2H) {
        send_flows(bench, bulk);
    } else {
        receive_flows(bench);
    }
    *ret_cpu_ns = backend_cpu_ns(bench->backend) - *ret_cpu_ns;
    bench_child_join(child);
}

void bulk_run(Bench *bench, BenchDirection direction, unsigned block,
              unsigned n_flows)
{
    Bulk bulk = {
        .direction = direction, .block = block, .n_flows = n_flows,
    };
    BenchShared *shared = bench->shared;
    uint64_t cpu_ns = 0;
    double seconds;

    if (bench->guest) {
        run_guest(bench, &bulk, &cpu_ns);
    } else {
        run_raw(bench, &bulk);
    }
    seconds = (shared->end_ns - shared->begin_ns) / 1e9;
    bench_report(bench, "", shared->total / seconds / MIB, "MiB/s");
    if (bench->guest) {
        bench_report(bench, "-cpu", cpu_ns / 1e9 / (shared->total / GIB),
                     "s/GiB");
    }
}
