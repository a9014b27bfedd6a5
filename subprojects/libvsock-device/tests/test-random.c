/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Random sequences of everything a guest, host programs, the driver and the
 * embedder can do, with fixed seeds.
 *
 * What holds after each step: the device comes to rest (vm_settle() fails if
 * it spins), every chain is given back, no limit is exceeded, and each side got
 * the front part of what the other sent (the models see to it).  At the end all
 * that can be delivered is, and when the host programs leave nothing is left.
 */

#include "content.h"
#include "vsock-limits.h"
#include "models.h"
#include "pkt.h"
#include "unix-socket.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNS   12
#define BUF_ALLOC   VSK_MIN_BUF_ALLOC
#define MAX_ENDS    10
#define N_LISTENERS 2
#define N_GUEST_PORTS 3

typedef struct World {
    GRand *rand;
    Vm *vm;
    Guest *guest;
    bool mixed; /* flows of both types */
    int listeners[N_LISTENERS];
    GPtrArray *ends; /* of HostEnd */
    bool paused;
} World;

static uint32_t up_to(World *w, uint32_t max)
{
    return (uint32_t)g_rand_int_range(w->rand, 0, (gint32)max + 1);
}

/* Any type that the guest may use. */
static VskType some_type(World *w)
{
    return w->mixed && up_to(w, 1) ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;
}

/* That of the host program that listens on port 80 + @i. */
static VskType type_of_listener(const World *w, uint32_t i)
{
    return w->mixed && i ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;
}

static World *world_new(uint32_t seed, bool mixed)
{
    World *w = g_new0(World, 1);

    w->rand = g_rand_new_with_seed(seed);
    w->mixed = mixed;
    w->vm = vm_new_bare(&(VskDevConfig) {
        .seqpacket = mixed,
        .max_conns = MAX_CONNS,
        .buf_alloc = BUF_ALLOC,
        .max_staged = MAX_CONNS * BUF_ALLOC * (mixed ? 2 : 1),
    });
    w->vm->buf_alloc = CONTENT_MAX_MESSAGE;
    w->guest = guest_new(w->vm, w->rand);
    for (uint32_t i = 0; i < N_LISTENERS; i++) {
        w->vm->type = type_of_listener(w, i);
        w->listeners[i] = vm_listen(w->vm, 80 + i, 2);
    }
    w->ends = g_ptr_array_new();
    return w;
}

static void world_free(World *w)
{
    for (guint i = 0; i < w->ends->len; i++) {
        host_end_close(g_ptr_array_index(w->ends, i));
    }
    for (uint32_t i = 0; i < N_LISTENERS; i++) {
        close(w->listeners[i]);
    }
    g_ptr_array_unref(w->ends);
    guest_free(w->guest);
    vm_free(w->vm);
    g_rand_free(w->rand);
    g_free(w);
}

static void check(World *w)
{
    VskStats stats = vm_stats(w->vm);

    fake_rings_assert_at_rest(w->vm->rings);
    g_assert_cmpuint(stats.conns, <=, MAX_CONNS);
    g_assert_cmpuint(stats.staged, <=, MAX_CONNS * BUF_ALLOC);
    g_assert_cmpuint(stats.packets_to_guest, ==, w->vm->rings->packets[1]);
}

/* Let the guest have what came.  Chains that came back empty were refused. */
static void pull(World *w)
{
    GQueue *used = &w->vm->rings->ring[VSK_QUEUE_RX].used;
    GList *next;

    for (GList *link = used->head; link; link = next) {
        FakeChain *chain = link->data;

        next = link->next;
        if (chain->used == 0) {
            g_queue_delete_link(used, link);
            fake_chain_free(chain);
        }
    }
    guest_pull(w->guest);
}

/* --- Steps of the guest -------------------------------------------------- */

static GuestFlow *some_flow(World *w)
{
    GPtrArray *flows = w->guest->flows;

    if (!up_to(w, 3) || !flows->len) {
        return guest_flow(w->guest, some_type(w),
                          1000 + up_to(w, N_GUEST_PORTS - 1),
                          80 + up_to(w, N_LISTENERS)); /* one has none */
    }
    return g_ptr_array_index(flows, up_to(w, flows->len - 1));
}

/*
 * Ports are used again only when the device has seen what was said before:
 * else its answers could not be told apart.
 */
static void reuse_ports(World *w, GuestFlow *flow)
{
    vm_kick(w->vm, VSK_QUEUE_TX);
    pull(w);
    if (!fake_ring_avail(w->vm->rings, VSK_QUEUE_TX) &&
        flow->phase == GUEST_CLOSED) {
        guest_request(w->guest, flow);
    }
}

static void guest_step(World *w)
{
    GuestFlow *flow = some_flow(w);
    uint32_t what = up_to(w, 99);

    if (flow->phase == GUEST_CLOSED) {
        if (what < 60) {
            reuse_ports(w, flow);
        } else if (what < 70) {
            guest_say(w->guest, flow, VSK_OP_RW + up_to(w, 2), 0);
        }
    } else if (flow->phase == GUEST_REQUESTED) {
        if (what < 5) {
            guest_reset(w->guest, flow);
        }
    } else if (what < 60) {
        uint32_t max = up_to(w, 3) ? 300 : BUF_ALLOC;

        guest_send(w->guest, flow, max);
        if (flow->type == VSK_TYPE_SEQPACKET) {
            /* Of small messages it takes many to fill a socket. */
            for (uint32_t n = up_to(w, 30); n; n--) {
                guest_send(w->guest, flow, max);
            }
        }
    } else if (what < 75) {
        guest_take(w->guest, flow, up_to(w, 3000));
    } else if (what < 85) {
        guest_say(w->guest, flow, VSK_OP_CREDIT_REQUEST, 0);
    } else if (what < 90) {
        guest_shutdown(w->guest, flow, up_to(w, 3));
    } else if (what < 93) {
        guest_reset(w->guest, flow);
    } else if (what < 95) {
        guest_overrun(w->guest, flow);
    } else if (what < 97) {
        guest_say(w->guest, flow, VSK_OP_RESPONSE, 0); /* means nothing */
    }
    if (what % 3) {
        vm_kick(w->vm, VSK_QUEUE_TX);
    }
}

/* A packet that no sane guest sends; it may hit a flow, which then may end. */
static void hostile_step(World *w)
{
    static const uint64_t cids[] = { VM_CID, VM_CID, VM_CID, 2, 0, 99 };
    GuestFlow *flow = some_flow(w);
    VskHdr hdr = vm_hdr(w->vm, (VskOp)up_to(w, 9), flow->guest_port,
                        flow->host_port);
    size_t sizes[] = { up_to(w, 60), up_to(w, 60) };
    size_t room = sizes[0] + sizes[1];
    g_autofree char *junk = g_malloc0(VSK_HDR_SIZE + 120);

    hdr.type = flow->type;
    if (flow->phase != GUEST_CLOSED) {
        /* What it would do to an open flow is for steps that know. */
        hdr.type = (uint16_t)(2 + w->mixed + up_to(w, 3));
    }
    hdr.src_cid = cids[up_to(w, G_N_ELEMENTS(cids) - 1)];
    hdr.dst_cid = up_to(w, 3) ? VSK_CID_HOST : up_to(w, 5);
    hdr.len = up_to(w, 2) ? up_to(w, 120) : UINT32_MAX - up_to(w, 99);
    hdr.flags = up_to(w, 100);
    hdr.buf_alloc = up_to(w, 1) ? UINT32_MAX : up_to(w, 100);
    hdr.fwd_cnt = (uint32_t)g_rand_int(w->rand);
    if (hdr.op == VSK_OP_REQUEST && hdr.type == flow->type) {
        hdr.op = VSK_OP_RST;
    }
    vm_put_pieces(w->vm, &hdr, junk,
                  room > VSK_HDR_SIZE ? room - VSK_HDR_SIZE : 0, sizes, 2);
    if (up_to(w, 1)) {
        vm_kick(w->vm, VSK_QUEUE_TX);
    }
}

/* --- Steps of the host's programs ---------------------------------------- */

static void accept_all(World *w)
{
    for (uint32_t i = 0; i < N_LISTENERS; i++) {
        HostEnd *end;

        while ((end = host_end_accept(w->listeners[i], type_of_listener(w, i),
                                      80 + i))) {
            g_ptr_array_add(w->ends, end);
        }
    }
}

static void close_end(World *w, guint i)
{
    host_end_close(g_ptr_array_remove_index_fast(w->ends, i));
}

static void host_step(World *w)
{
    uint32_t what = up_to(w, 99);
    HostEnd *end;
    guint i;

    if (what < 10) {
        accept_all(w);
    }
    if (what < 20 && w->ends->len < MAX_ENDS) {
        g_ptr_array_add(w->ends, host_end_connect(w->vm, some_type(w),
                                                  1000 + up_to(w, 2)));
        return;
    }
    if (what == 20) {
        close(unix_connect(w->vm->path)); /* asks for nothing */
        return;
    }
    if (!w->ends->len) {
        return;
    }
    i = up_to(w, w->ends->len - 1);
    end = g_ptr_array_index(w->ends, i);
    if (what < 55) {
        host_end_read(end, up_to(w, 3) ? 300 : 100000);
    } else if (what < 90) {
        host_end_write(end, up_to(w, 3) ? up_to(w, 300) : up_to(w, 20000));
    } else if (what < 93) {
        shutdown(end->fd, SHUT_WR);
        end->shut_wr = true;
    } else if (what < 95) {
        shutdown(end->fd, SHUT_RD);
        end->shut_rd = true;
    } else if (what < 97 || end->eof) {
        close_end(w, i);
    }
}

/* --- Steps of the driver and the embedder -------------------------------- */

static void ring_step(World *w)
{
    uint32_t what = up_to(w, 9);

    if (what < 6 && fake_ring_avail(w->vm->rings, VSK_QUEUE_RX) < 50) {
        guest_give(w->guest, up_to(w, 10), up_to(w, 3) ? 4096 : 20);
    } else if (what == 6) {
        size_t size = up_to(w, VSK_HDR_SIZE);

        fake_ring_add(w->vm->rings, VSK_QUEUE_RX,
                      fake_chain_new(NULL, 0, &size, 1));
    } else if (what == 7) {
        size_t size = up_to(w, 8);

        fake_ring_add(w->vm->rings, VSK_QUEUE_EVENT,
                      fake_chain_new(NULL, 0, &size, 1));
    }
    if (up_to(w, 4)) {
        vm_kick(w->vm, (VskQueue)up_to(w, VSK_QUEUE_NUM - 1));
    }
}

static void set_paused(World *w, bool paused)
{
    w->vm->rings->forbidden = false;
    vsk_dev_set_paused(w->vm->dev, paused, w->vm->now_ms);
    vm_settle(w->vm);
    w->paused = paused;
    w->vm->rings->forbidden = paused;
}

static void reset_driver(World *w)
{
    vsk_dev_set_driver_ok(w->vm->dev, false, 0, w->vm->now_ms);
    fake_rings_clear(w->vm->rings);
    guest_forget(w->guest);
    vm_settle(w->vm);
    vsk_dev_set_driver_ok(w->vm->dev, true, w->vm->features, w->vm->now_ms);
}

/*
 * The driver ends its flows when it sees the event: here at once.  It says RST,
 * for what it had put into TX before may have opened some since.
 */
static void reset_transport(World *w)
{
    size_t size = 4;
    FakeChain *chain;

    pull(w);
    fake_ring_add(w->vm->rings, VSK_QUEUE_EVENT,
                  fake_chain_new(NULL, 0, &size, 1));
    vsk_dev_transport_reset(w->vm->dev, w->vm->now_ms);
    vm_settle(w->vm);
    pull(w);
    for (guint i = 0; i < w->guest->flows->len; i++) {
        guest_reset(w->guest, g_ptr_array_index(w->guest->flows, i));
    }
    while ((chain = fake_ring_take(w->vm->rings, VSK_QUEUE_EVENT))) {
        fake_chain_free(chain);
    }
    vm_kick(w->vm, VSK_QUEUE_EVENT);
}

static void embedder_step(World *w)
{
    uint32_t what = up_to(w, 99);

    if (what < 30) {
        set_paused(w, !w->paused);
    } else if (w->paused) {
        return;
    } else if (what < 32) {
        reset_driver(w);
    } else if (what < 34) {
        reset_transport(w);
    } else if (what < 60) {
        vm_passes(w->vm, up_to(w, 3000));
    } else {
        w->guest->refuses = what < 65;
        w->guest->hoards = what % 2;
    }
}

/* --- Runs ---------------------------------------------------------------- */

static void step(World *w)
{
    uint32_t what = up_to(w, 99);

    if (what < 40) {
        guest_step(w);
    } else if (what < 43) {
        hostile_step(w);
    } else if (what < 75) {
        host_step(w);
        vm_settle(w->vm);
    } else if (what < 95) {
        ring_step(w);
    } else {
        embedder_step(w);
    }
    pull(w);
    check(w);
}

/* Let go of all that holds somebody back. */
static void calm_down(World *w)
{
    if (w->paused) {
        set_paused(w, false);
    }
    w->guest->refuses = false;
    w->guest->hoards = false;
    vm_passes(w->vm, VSK_EVENT_TIMEOUT_MS);
    pull(w);
}

/* Everybody does what is due; true if anything was. */
static bool work(World *w)
{
    VskStats before = vm_stats(w->vm);
    bool read = false;
    VskStats after;

    accept_all(w);
    while (fake_ring_avail(w->vm->rings, VSK_QUEUE_RX) < 50) {
        guest_give(w->guest, 10, 4096);
    }
    vm_kick(w->vm, VSK_QUEUE_RX);
    pull(w);
    for (guint i = 0; i < w->guest->flows->len; i++) {
        GuestFlow *flow = g_ptr_array_index(w->guest->flows, i);

        if (flow->phase == GUEST_OPEN) {
            guest_take(w->guest, flow, UINT32_MAX);
        }
    }
    vm_kick(w->vm, VSK_QUEUE_TX);
    for (guint i = 0; i < w->ends->len; i++) {
        read |= host_end_read(g_ptr_array_index(w->ends, i), 65536);
    }
    vm_settle(w->vm);
    pull(w);
    check(w);
    after = vm_stats(w->vm);
    return read || before.packets_from_guest != after.packets_from_guest ||
           before.packets_to_guest != after.packets_to_guest;
}

/* No byte may wait any more for anything but its own reader's good will. */
static void check_delivered(World *w)
{
    g_assert_cmpuint(fake_ring_avail(w->vm->rings, VSK_QUEUE_TX), ==, 0);
    for (guint i = 0; i < w->guest->flows->len; i++) {
        const GuestFlow *flow = g_ptr_array_index(w->guest->flows, i);

        g_assert_cmpint(flow->phase, !=, GUEST_REQUESTED);
    }
    for (guint i = 0; i < w->ends->len; i++) {
        const HostEnd *end = g_ptr_array_index(w->ends, i);
        const GuestFlow *flow = guest_flow(w->guest, end->type,
                                           end->guest_port, end->host_port);

        if (!end->host_port || end->eof || end->shut_rd ||
            flow->phase != GUEST_OPEN || flow->broken) {
            continue;
        }
        g_assert_cmpuint(end->received, ==, flow->sent - flow->out.at);
        g_assert_cmpuint(end->in.n, ==, flow->out.n);
        if (!(flow->shut & VSK_SHUTDOWN_RECEIVE)) {
            g_assert_cmpuint(flow->received, ==, end->sent);
            g_assert_cmpuint(flow->in.n, ==,
                             end->type == VSK_TYPE_SEQPACKET ? end->out.n : 0);
            g_assert_cmpint(end->shut_wr, ==,
                            (flow->heard_shut & VSK_SHUTDOWN_SEND) != 0);
        }
        g_assert_cmpint(flow->shut & VSK_SHUTDOWN_SEND, ==, 0);
    }
}

/* All host programs leave: in the end there is nothing left of anything. */
static void check_nothing_is_left(World *w, unsigned int fds)
{
    while (w->ends->len) {
        close_end(w, 0);
    }
    for (int i = 0; i < 8; i++) {
        while (work(w)) {
        }
        while (w->ends->len) {
            close_end(w, 0); /* had waited to be accepted */
        }
        vm_passes(w->vm, VSK_DEFAULT_CLOSE_TIMEOUT_MS);
        pull(w);
    }
    g_assert_cmpuint(vm_stats(w->vm).conns, ==, 0);
    g_assert_cmpuint(vm_stats(w->vm).staged, ==, 0);
    g_assert_cmpint(vsk_dev_next_deadline(w->vm->dev), ==, -1);
    g_assert_cmpuint(open_fds(), ==, fds);
}

static void run(uint32_t seed, bool mixed, int steps)
{
    World *w = world_new(seed, mixed);
    unsigned int fds = open_fds();

    for (int i = 0; i < steps; i++) {
        step(w);
        if (i % 200 == 199) {
            calm_down(w);
            while (work(w)) {
            }
            check_delivered(w);
        }
    }
    calm_down(w);
    check_nothing_is_left(w, fds);
    world_free(w);
}

#define N_SEEDS 60

/* Those from N_SEEDS on are of flows of both types. */
static void test_seeds(gconstpointer data)
{
    uint32_t first = GPOINTER_TO_UINT(data);

    for (uint32_t seed = first; seed < first + 10; seed++) {
        g_test_message("seed %u", seed);
        run(seed, seed >= N_SEEDS, 2000);
    }
}

/* With an argument that is a number: that seed alone, for a closer look. */
int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (argc > 1) {
        uint32_t seed = (uint32_t)g_ascii_strtoull(argv[1], NULL, 10);

        run(seed, seed >= N_SEEDS, 2000);
        return 0;
    }
    for (uint32_t first = 0; first < 2 * N_SEEDS; first += 10) {
        g_autofree char *path = g_strdup_printf(
            "/dev/random/%s/seeds-%u-to-%u",
            first < N_SEEDS ? "stream" : "mixed", first, first + 9);

        g_test_add_data_func(path, GUINT_TO_POINTER(first), test_seeds);
    }
    return g_test_run();
}
