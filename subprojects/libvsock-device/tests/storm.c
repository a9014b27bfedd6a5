/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device in a storm.
 */

#include "storm.h"
#include "vsock-limits.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST_PORT  1000 /* of flows that the guest opens, and up */
#define HOST_PORT   80   /* the same */
#define CLIENT_PORT 3000 /* the guest's, of flows that clients open */

#define N_BUFFERS   64
#define BUFFER_SIZE 1500
#define MEMORY_SLACK 65536 /* bytes: what the allocator and GLib keep */

/*
 * Rounds without progress: of the first ones each takes a tenth of a second,
 * so that what is tried again is; then all timeouts run out, twice.
 */
#define PATIENT_ROUNDS 100
#define IDLE_ROUNDS    108

/* Each way, after and before the storm. */
static const Scenario calm_stream = {
    .type = VSK_TYPE_STREAM,
    .n_guest = 1,
    .n_host = 1,
    .guest_sends = 300,
    .host_sends = 200,
};
static const Scenario calm_seqpacket = {
    .type = VSK_TYPE_SEQPACKET,
    .n_guest = 1,
    .n_host = 1,
    .guest_sends = 5,
    .host_sends = 4,
};

static bool has_messages(const Storm *storm)
{
    return storm->scenario->type == VSK_TYPE_SEQPACKET;
}

/* Bytes or messages that one side of the flow with @guest_port is to send. */
static uint32_t goal(const Storm *storm, uint32_t guest_port, bool of_guest)
{
    const Scenario *s = storm->scenario;
    uint32_t full = of_guest ? s->guest_sends : s->host_sends;

    return s->uneven && guest_port % 2 == of_guest ? full / 10 : full;
}

/* The guest's flow with this port; the latest, or NULL. */
static GuestFlow *flow_at(const Storm *storm, uint32_t guest_port)
{
    for (guint i = storm->guest->flows->len; i-- > 0;) {
        GuestFlow *flow = g_ptr_array_index(storm->guest->flows, i);

        if (flow->guest_port == guest_port) {
            return flow;
        }
    }
    return NULL;
}

/* --- The guest ----------------------------------------------------------- */

static void guest_works(Storm *storm, GuestFlow *flow)
{
    uint32_t end = goal(storm, flow->guest_port, true);
    bool deaf = flow->heard_shut & VSK_SHUTDOWN_RECEIVE;

    if (flow->phase != GUEST_OPEN) {
        return;
    }
    if (!has_messages(storm)) {
        guest_send(storm->guest, flow, MIN(end - flow->sent, 40000));
    }
    for (int i = 0; i < 20 && has_messages(storm) && flow->out.n < end; i++) {
        guest_send(storm->guest, flow, 65536);
    }
    if ((deaf || (has_messages(storm) ? flow->out.n : flow->sent) == end) &&
        !(flow->shut & VSK_SHUTDOWN_SEND)) {
        guest_shutdown(storm->guest, flow, VSK_SHUTDOWN_SEND);
    }
    if (!storm->guest->hoards) {
        guest_take(storm->guest, flow, UINT32_MAX);
    }
}

/* Chains that came back empty were for a message that is too large. */
static void pull(Storm *storm)
{
    GQueue *used = &storm->vm->rings->ring[VSK_QUEUE_RX].used;

    while (used->head) {
        FakeChain *chain = used->head->data;

        if (chain->used == 0) {
            fake_chain_free(fake_ring_take(storm->vm->rings, VSK_QUEUE_RX));
        } else {
            guest_pull(storm->guest);
        }
    }
    vm_take_tx(storm->vm);
}

static void driver_works(Storm *storm)
{
    FakeRings *rings = storm->vm->rings;

    for (guint i = 0; i < storm->guest->flows->len; i++) {
        guest_works(storm, g_ptr_array_index(storm->guest->flows, i));
    }
    vm_kick(storm->vm, VSK_QUEUE_TX);
    pull(storm);
    while (fake_ring_avail(rings, VSK_QUEUE_RX) < N_BUFFERS) {
        size_t size = BUFFER_SIZE;

        fake_ring_add(rings, VSK_QUEUE_RX, fake_chain_new(NULL, 0, &size, 1));
    }
    vm_kick(storm->vm, VSK_QUEUE_RX);
    pull(storm);
    vm_kick(storm->vm, VSK_QUEUE_TX);
}

static void guest_connects(Storm *storm)
{
    for (uint32_t i = 0; i < storm->scenario->n_guest; i++) {
        uint32_t port = HOST_PORT + storm->base +
                        (storm->scenario->one_listener ? 0 : i);

        guest_request(storm->guest,
                      guest_flow(storm->guest, storm->scenario->type,
                                 GUEST_PORT + storm->base + i, port));
    }
}

/* --- Host programs ------------------------------------------------------- */

static char *listener_path(const Storm *storm, uint32_t i)
{
    char path[VSK_SUN_PATH_SIZE];
    const Vm *vm = storm->vm;
    int err = vsk_path_for_port(storm->scenario->shared ? vm->shared
                                                        : vm->path,
                                HOST_PORT + storm->base + i, path);

    g_assert_cmpint(err, ==, 0);
    return g_strdup(path);
}

static void hosts_listen(Storm *storm)
{
    const Scenario *s = storm->scenario;
    uint32_t n = s->one_listener ? 1 : s->n_guest;
    int backlog = s->backlog ? (int)s->backlog : 64;

    for (uint32_t i = 0; i < n; i++) {
        g_autofree char *path = listener_path(storm, i);
        int fd = has_messages(storm) ? unix_bind_seqpacket(path, backlog)
                                     : unix_bind(path, backlog);

        g_array_append_val(storm->listeners, fd);
    }
}

static void clients_connect(Storm *storm)
{
    for (uint32_t i = 0; i < storm->scenario->n_host; i++) {
        HostEnd *end = host_end_connect(storm->vm, storm->scenario->type,
                                        CLIENT_PORT + storm->base + i);

        end->may_tear = true;
        g_ptr_array_add(storm->ends, end);
    }
}

/* With one listener the guest's ports are in no order: the name tells. */
static void hosts_accept(Storm *storm)
{
    for (uint32_t i = 0; i < storm->listeners->len; i++) {
        int listener = g_array_index(storm->listeners, int, i);

        while (unix_has_client(listener)) {
            HostEnd *end = host_end_new(unix_accept(listener),
                                        storm->scenario->type);
            uint64_t cid;

            end->host_port = HOST_PORT + storm->base + i;
            end->guest_port = GUEST_PORT + storm->base + i;
            if (storm->scenario->one_listener) {
                unix_get_source(end->fd, &cid, &end->guest_port);
            }
            g_ptr_array_add(storm->ends, end);
        }
    }
}

static bool has_hung_up(int fd)
{
    struct pollfd pfd = { .fd = fd };

    return poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLERR));
}

/* Half of the clients write before they are answered. */
static void host_writes(Storm *storm, HostEnd *end)
{
    uint32_t total = goal(storm, end->guest_port, false);

    if (end->shut_wr || (!end->host_port && end->guest_port % 2)) {
        return;
    }
    if (has_messages(storm)) {
        while (end->out.n < total && host_end_write(end, 1)) {
        }
        end->shut_wr = end->out.n == total;
    } else {
        host_end_write(end, MIN(total - end->sent, 30000));
        end->shut_wr = end->sent == total;
    }
    if (end->shut_wr) {
        shutdown(end->fd, SHUT_WR);
    }
}

static void host_works(Storm *storm, HostEnd *end)
{
    if (end->fd < 0) {
        return;
    }
    while (host_end_read(end, 65536)) {
    }
    host_writes(storm, end);
    if (end->eof &&
        (end->shut_wr || !end->host_port || has_hung_up(end->fd))) {
        close(end->fd);
        end->fd = -1;
    }
}

static void hosts_work(Storm *storm)
{
    hosts_accept(storm);
    if (storm->hosts_deaf) {
        return;
    }
    for (guint i = 0; i < storm->ends->len; i++) {
        host_works(storm, g_ptr_array_index(storm->ends, i));
    }
}

static void hosts_leave(Storm *storm)
{
    for (guint i = 0; i < storm->ends->len; i++) {
        host_end_close(g_ptr_array_index(storm->ends, i));
    }
    g_ptr_array_set_size(storm->ends, 0);
    for (guint i = 0; i < storm->listeners->len; i++) {
        g_autofree char *path = listener_path(storm, i);

        close(g_array_index(storm->listeners, int, i));
        unlink(path);
    }
    g_array_set_size(storm->listeners, 0);
}

/* --- Runs ---------------------------------------------------------------- */

static bool is_over(const Storm *storm)
{
    for (guint i = 0; i < storm->guest->flows->len; i++) {
        const GuestFlow *flow = g_ptr_array_index(storm->guest->flows, i);

        if (flow->phase != GUEST_CLOSED) {
            return false;
        }
    }
    for (guint i = 0; i < storm->ends->len; i++) {
        const HostEnd *end = g_ptr_array_index(storm->ends, i);

        if (end->fd >= 0) {
            return false;
        }
    }
    return !storm->paused && !storm->hosts_sleep && !storm->hosts_deaf;
}

/* A number that grows when anybody gets anything. */
static uint64_t progress(const Storm *storm)
{
    VskStats stats = vm_stats(storm->vm);
    uint64_t sum = stats.packets_from_guest + stats.packets_to_guest;

    for (guint i = 0; i < storm->ends->len; i++) {
        const HostEnd *end = g_ptr_array_index(storm->ends, i);

        sum += end->sent + end->received + end->out.n + end->in.n +
               (end->host_port != 0) + (end->fd < 0);
    }
    return sum;
}

/* What holds of each flow, complete or not. */
static void check_ends(const Storm *storm)
{
    for (guint i = 0; i < storm->ends->len; i++) {
        const HostEnd *end = g_ptr_array_index(storm->ends, i);
        const GuestFlow *flow = flow_at(storm, end->guest_port);
        const GuestEnd *last;

        if (!flow) {
            g_assert_cmpuint(end->received, ==, 0);
            continue;
        }
        last = &flow->last;
        g_assert_cmpuint(end->received, <=, last->sent);
        g_assert_cmpuint(last->received, <=, end->sent);
        if (last->heard_shut & VSK_SHUTDOWN_SEND) {
            /* The host program's end was clean: nothing may be missing. */
            g_assert_cmpuint(last->received, ==, end->sent);
            g_assert_cmpuint(last->in.n, ==,
                             has_messages(storm) ? end->out.n : 0);
        }
    }
}

static void run(Storm *storm, const Scenario *scenario, uint32_t base)
{
    unsigned int idle = 0;

    hosts_leave(storm);
    storm->scenario = scenario;
    storm->base = base;
    hosts_listen(storm);
    clients_connect(storm);
    guest_connects(storm);
    for (unsigned int i = 0; i == 0 || !is_over(storm); i++) {
        uint64_t before = progress(storm);

        g_assert_cmpuint(i, <, 5000);
        if (scenario->weather) {
            scenario->weather(storm, i);
        }
        if (!storm->hosts_sleep) {
            hosts_work(storm);
        }
        if (!storm->paused) {
            driver_works(storm);
        }
        vm_settle(storm->vm);
        if (progress(storm) == before) {
            g_assert_cmpuint(idle, <, IDLE_ROUNDS); /* somebody hangs */
            vm_passes(storm->vm, idle++ < PATIENT_ROUNDS ? 100 : 10000);
        } else {
            idle = 0;
        }
    }
    pull(storm);
    g_assert_cmpuint(fake_ring_avail(storm->vm->rings, VSK_QUEUE_TX), ==, 0);
    check_ends(storm);
}

void storm_run(Storm *storm)
{
    run(storm, storm->scenario, 0);
}

void storm_assert_complete(const Storm *storm)
{
    const Scenario *s = storm->scenario;

    g_assert_cmpuint(storm->ends->len, ==, s->n_guest + s->n_host);
    for (guint i = 0; i < storm->ends->len; i++) {
        const HostEnd *end = g_ptr_array_index(storm->ends, i);
        const GuestFlow *flow = flow_at(storm, end->guest_port);
        uint32_t of_guest = goal(storm, end->guest_port, true);
        uint32_t of_host = goal(storm, end->guest_port, false);

        g_assert_nonnull(flow);
        g_assert_false(flow->last.was_reset);
        if (has_messages(storm)) {
            g_assert_cmpuint(end->in.n, ==, of_guest);
            g_assert_cmpuint(flow->last.in.n, ==, of_host);
        } else {
            g_assert_cmpuint(end->received, ==, of_guest);
            g_assert_cmpuint(flow->last.received, ==, of_host);
        }
    }
}

static void run_calm(Storm *storm, uint32_t base)
{
    const Scenario *scenario = storm->scenario;

    run(storm, scenario->type == VSK_TYPE_SEQPACKET ? &calm_seqpacket
                                                    : &calm_stream, base);
    storm_assert_complete(storm);
    hosts_leave(storm);
    storm->scenario = scenario;
}

void storm_assert_calm(Storm *storm)
{
    VskStats stats;
    size_t now;

    run_calm(storm, 300);
    vm_passes(storm->vm, 10000); /* what is to be tried again, or tidied up */
    stats = vm_stats(storm->vm);
    g_assert_cmpuint(stats.conns, ==, 0);
    g_assert_cmpuint(stats.staged, ==, 0);
    g_assert_cmpint(vsk_dev_next_deadline(storm->vm->dev), ==, -1);
    g_assert_cmpuint(open_fds(), ==, storm->fds);
    g_assert_cmpuint(fake_ring_avail(storm->vm->rings, VSK_QUEUE_RX), <=,
                     N_BUFFERS);
    now = memory_in_use();
    g_assert_cmpuint(now, <=, storm->memory + MEMORY_SLACK +
                     2 * sizeof(GuestFlow) * storm->guest->flows->len);
}

Storm *storm_new(const Scenario *scenario)
{
    Storm *storm = g_new0(Storm, 1);
    uint32_t size = MAX(scenario->window, VSK_MIN_BUF_ALLOC);

    storm->scenario = scenario;
    storm->rand = g_rand_new_with_seed(1);
    storm->vm = vm_new_bare(&(VskDevConfig) {
        .seqpacket = scenario->type == VSK_TYPE_SEQPACKET,
        .buf_alloc = scenario->window ? size : 0,
    });
    if (scenario->buf_alloc) {
        storm->vm->buf_alloc = scenario->buf_alloc;
    }
    storm->guest = guest_new(storm->vm, storm->rand);
    storm->listeners = g_array_new(false, false, sizeof(int));
    storm->ends = g_ptr_array_new();
    run_calm(storm, 200);
    storm->fds = open_fds();
    storm->memory = memory_in_use();
    return storm;
}

void storm_free(Storm *storm)
{
    if (storm) {
        hosts_leave(storm);
        guest_free(storm->guest);
        vm_free(storm->vm);
        g_array_unref(storm->listeners);
        g_ptr_array_unref(storm->ends);
        g_rand_free(storm->rand);
        g_free(storm);
    }
}

/* --- Weather ------------------------------------------------------------- */

void storm_set_paused(Storm *storm, bool paused)
{
    vm_set_paused(storm->vm, paused);
    storm->paused = paused;
}

void storm_reset_driver(Storm *storm)
{
    vm_stop_driver(storm->vm);
    guest_forget(storm->guest);
    vm_start_driver(storm->vm);
}

static void give_event_buffer(Storm *storm)
{
    size_t size = sizeof(uint32_t);

    fake_ring_add(storm->vm->rings, VSK_QUEUE_EVENT,
                  fake_chain_new(NULL, 0, &size, 1));
    vm_kick(storm->vm, VSK_QUEUE_EVENT);
}

void storm_reset_transport(Storm *storm)
{
    pull(storm);
    give_event_buffer(storm);
    vsk_dev_transport_reset(storm->vm->dev, storm->vm->now_ms);
    vm_settle(storm->vm);
    pull(storm);
    guest_forget(storm->guest);
    fake_chain_free(fake_ring_take(storm->vm->rings, VSK_QUEUE_EVENT));
    give_event_buffer(storm);
}
