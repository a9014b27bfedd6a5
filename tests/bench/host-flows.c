/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bulk data over sockets: one flow by plain system calls that block, many by
 * epoll.
 */

#include "host.h"
#include "pattern.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_EVENTS 256
#define TICK_MS 100
/* Small blocks: the clock is looked at only this often. */
#define LOOK_AT_CLOCK 64

static void send_one(int fd, unsigned block, uint64_t end_ns,
                     uint64_t *ret_sent)
{
    uint64_t sent = 0;
    unsigned i;

    do {
        for (i = 0; i < LOOK_AT_CLOCK; i++) {
            host_send_all(fd, pattern_at(sent), block);
            sent += block;
        }
    } while (bench_now_ns() < end_ns);
    *ret_sent = sent;
}

typedef struct Sender {
    int epoll;
    const int *fds;
    uint64_t *sent;       /* by flow */
    unsigned *ready;      /* a ring of the flows that take more */
    unsigned first, n_ready, n;
    bool *is_ready;
} Sender;

static void push_ready(Sender *sender, unsigned flow)
{
    if (!sender->is_ready[flow]) {
        sender->is_ready[flow] = true;
        sender->ready[(sender->first + sender->n_ready++) % sender->n] = flow;
    }
}

static unsigned pop_ready(Sender *sender)
{
    unsigned flow = sender->ready[sender->first];

    sender->first = (sender->first + 1) % sender->n;
    sender->n_ready--;
    sender->is_ready[flow] = false;
    return flow;
}

static void collect_ready(Sender *sender)
{
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(sender->epoll, events, MAX_EVENTS,
                       sender->n_ready > 0 ? 0 : TICK_MS);
    int i;

    for (i = 0; i < n; i++) {
        push_ready(sender, events[i].data.u32);
    }
}

/* One block of one flow, which then goes to the end of the queue. */
static void send_turn(Sender *sender, unsigned block)
{
    unsigned flow = pop_ready(sender);
    ssize_t n = send(sender->fds[flow], pattern_at(sender->sent[flow]), block,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN) {
        bench_die_errno("send");
    }
    if (n > 0) {
        sender->sent[flow] += n;
    }
    if (n == (ssize_t)block) {
        push_ready(sender, flow);
    }
}

static void send_many(Sender *sender, unsigned block, uint64_t end_ns,
                      uint64_t *ret_sent)
{
    unsigned i;

    for (i = 0; i < sender->n; i++) {
        struct epoll_event event = { EPOLLOUT | EPOLLET, { .u32 = i } };

        epoll_ctl(sender->epoll, EPOLL_CTL_ADD, sender->fds[i], &event);
        push_ready(sender, i);
    }
    do {
        for (i = 0; i < LOOK_AT_CLOCK && sender->n_ready > 0; i++) {
            send_turn(sender, block);
        }
        collect_ready(sender);
    } while (bench_now_ns() < end_ns);
    *ret_sent = 0;
    for (i = 0; i < sender->n; i++) {
        *ret_sent += sender->sent[i];
    }
}

void host_send_flows(Bench *bench, const int *fds, unsigned n, unsigned block)
{
    g_autofree uint64_t *sent = g_new0(uint64_t, n);
    g_autofree unsigned *ready = g_new0(unsigned, n);
    g_autofree bool *is_ready = g_new0(bool, n);
    Sender sender = {
        .fds = fds, .sent = sent, .ready = ready, .is_ready = is_ready,
        .n = n,
    };
    uint64_t total;

    bench->shared->begin_ns = bench_now_ns();
    if (n == 1) {
        send_one(fds[0], block, bench_end_ns(bench), &total);
    } else {
        sender.epoll = epoll_create1(EPOLL_CLOEXEC);
        send_many(&sender, block, bench_end_ns(bench), &total);
        close(sender.epoll);
    }
    bench->shared->total = total;
}

/* Add what came to the sum; whether that is all. */
static bool is_all(BenchShared *shared, uint64_t received)
{
    shared->done = received;
    return shared->total != 0 && received >= shared->total;
}

/*
 * Read once, and check; false: there is nothing.  Flows stay open until all
 * is there, so an end is a loss.
 */
static bool receive_some(int fd, uint64_t *position, uint64_t *received)
{
    static uint8_t buffer[BENCH_MAX_BLOCK];
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n < 0) {
        bench_die_errno("recv");
    }
    if (n == 0) {
        bench_die("a flow ended after %" PRIu64 " bytes", *position);
    }
    pattern_check(*position, buffer, n);
    *position += n;
    *received += n;
    return true;
}

static void recv_one(BenchShared *shared, int fd)
{
    uint64_t received = 0, position = 0;

    host_set_patience(fd);
    do {
        if (receive_some(fd, &position, &received)) {
            shared->end_ns = bench_now_ns();
        } else {
            bench_tick();
        }
    } while (!is_all(shared, received));
}

static void recv_many(BenchShared *shared, const int *fds, unsigned n)
{
    g_autofree uint64_t *positions = g_new0(uint64_t, n);
    struct epoll_event events[MAX_EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t received = 0;
    int n_events, i;
    unsigned flow;

    for (flow = 0; flow < n; flow++) {
        struct epoll_event event = { EPOLLIN, { .u32 = flow } };

        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[flow], &event);
    }
    do {
        n_events = epoll_wait(epoll, events, MAX_EVENTS, TICK_MS);
        for (i = 0; i < n_events; i++) {
            flow = events[i].data.u32;
            receive_some(fds[flow], &positions[flow], &received);
        }
        if (n_events > 0) {
            shared->end_ns = bench_now_ns();
        } else {
            bench_tick();
        }
    } while (!is_all(shared, received));
    close(epoll);
}

void host_recv_flows(Bench *bench, const int *fds, unsigned n)
{
    if (n == 1) {
        recv_one(bench->shared, fds[0]);
    } else {
        recv_many(bench->shared, fds, n);
    }
}
