/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One guest: its device, its host sockets, its front-end, its thread.
 *
 * Theory of operation
 * -------------------
 * Every VM has a thread, so that a guest or VMM that keeps its own busy, or
 * breaks it, is nobody else's trouble.  All of a VM happens there: the
 * library is not thread-safe, and needs not be.
 *
 * The library's device is made before the first front-end comes and outlives
 * them all, so its CID is held and host programs find its sockets from the
 * start.  What it has to know of the driver is worked out in one place,
 * vm_settle(), from the state that the messages left.  vhost-user says nothing
 * of a driver, only of rings that start and stop: a stop may be the VM's, or
 * the end of a driver.  So the device pauses, and when the rings start anew
 * where they stopped, flows go on; where they start elsewhere, it is another
 * driver, which knows nothing of the flows there were.
 */

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "guard.h"
#include "listener.h"
#include "queue.h"
#include "sandbox.h"
#include "session.h"
#include "vm.h"
#include "vsock-path.h"

/* Flows at once, if the process may open twice as many descriptors. */
#define MAX_FLOWS 16384

/* Milliseconds until accept() is tried again when it ran out of something. */
#define ACCEPT_RETRY_MS 100

/* When polling: looks at the rings for one at the host sockets; of these, how
 * many for one at all the rest. */
#define POLL_LOOKS 4
#define POLL_TURNS 8

/* Nanoseconds without work after which the driver hears of what it can wait
 * for: see queue_flush(). */
#define LATE_CALL_NS 20000

/* How long a guest that is slow to take its RSTs is waited for at the end. */
#define GOODBYE_MS 100

/* Where the rings stood when they last stopped. */
typedef struct RingState {
    uint16_t base[2]; /* VSK_QUEUE_RX, VSK_QUEUE_TX */
    uint64_t features;
} RingState;

/*
 * The sandbox forbids what a thread does when it starts, and no guest is to be
 * served without it.  So all threads wait here until it is there.
 */
typedef struct Gate {
    GMutex mutex;
    GCond changed;
    unsigned int waiting;
    bool open;
} Gate;

struct Vm {
    const VmOptions *options;
    uint64_t cid;
    Loop loop;
    VskDev *dev;
    Queues queues;
    LogRefusals refusals;
    Session session;
    Listener listener;
    LoopWatch connect; /* of the listener: a front-end comes */
    LoopWatch host;    /* of the library */
    LoopWatch stop;
    uint32_t poll_us;
    int stop_fd;
    bool stopping;
    int64_t retry_ms;  /* when to accept again; 0: the listener is watched */
    GThread *thread;
    Gate *gate;        /* the thread waits there first */
    int done_fd;

    /* What the library was told. */
    bool told_ok;
    bool told_paused;
    RingState last;      /* when it was told to pause */
    bool owes_reset;     /* TRANSPORT_RESET, once there is an event queue */
};

/* --- The state of the driver ---------------------------------------------- */

static RingState ring_state(const Vm *vm)
{
    return (RingState) {
        .base = { queue_base(&vm->queues, VSK_QUEUE_RX),
                  queue_base(&vm->queues, VSK_QUEUE_TX) },
        /* Logging goes on and off while a VM migrates. */
        .features = vm->queues.features & ~(1ull << VHOST_F_LOG_ALL),
    };
}

static bool is_same_driver(const Vm *vm, const RingState *now)
{
    return now->base[0] == vm->last.base[0] &&
           now->base[1] == vm->last.base[1] &&
           now->features == vm->last.features;
}

static void vm_driver_left(Vm *vm)
{
    if (vm->told_ok) {
        vsk_dev_set_driver_ok(vm->dev, false, 0, loop_now_ms());
        vm->told_ok = false;
    }
    vm->owes_reset = false;
}

static void vm_rings_run(Vm *vm)
{
    RingState now = ring_state(vm);
    int64_t now_ms = loop_now_ms();

    if (vm->told_ok && vm->told_paused && !is_same_driver(vm, &now)) {
        vm_driver_left(vm);
    }
    if (!vm->told_ok) {
        vsk_dev_set_driver_ok(vm->dev, true, now.features, now_ms);
        vm->told_ok = true;
        /* A driver with a past believes in flows that are not ours. */
        vm->owes_reset = now.base[0] || now.base[1];
    }
    if (vm->owes_reset && queue_is_ready(&vm->queues, VSK_QUEUE_EVENT)) {
        vsk_dev_transport_reset(vm->dev, now_ms);
        vm->owes_reset = false;
    }
    if (vm->told_paused) {
        vm->told_paused = false;
        vsk_dev_set_paused(vm->dev, false, now_ms);
    }
}

static void vm_rings_stopped(Vm *vm)
{
    if (vm->told_ok && !vm->told_paused) {
        vm->last = ring_state(vm);
        vsk_dev_set_paused(vm->dev, true, loop_now_ms());
        vm->told_paused = true;
    }
}

/* Make what the library was told equal to what is so. */
static void vm_settle(Vm *vm)
{
    Session *session = &vm->session;
    const char *why = queues_broken(&vm->queues);

    if (why && vm->told_ok) {
        session_tell_broken(session, why);
    }
    if (!session->active || session->was_reset || why) {
        vm_driver_left(vm);
        session->was_reset = false;
    }
    if (!why && queue_is_ready(&vm->queues, VSK_QUEUE_RX) &&
        queue_is_ready(&vm->queues, VSK_QUEUE_TX)) {
        vm_rings_run(vm);
    } else if (session->active) {
        vm_rings_stopped(vm);
    }
}

/* --- The front-end -------------------------------------------------------- */

static void vm_accept(Vm *vm);

static void vm_end_session(Vm *vm)
{
    session_end(&vm->session);
    vm_settle(vm);
    log_info(vm->cid, "the VMM has left");
    vm_accept(vm);
}

static void vm_begin_session(Vm *vm, int fd)
{
    if (!session_begin(&vm->session, fd)) {
        log_error(vm->cid, "no memory for a session");
        return;
    }
    loop_unwatch(&vm->loop, &vm->connect);
    log_info(vm->cid, "a VMM has connected");
}

/* Take the next front-end, or wait for it. */
static void vm_accept(Vm *vm)
{
    int fd;

    if (vm->session.active) {
        return;
    }
    vm->retry_ms = 0;
    fd = listener_accept(&vm->listener);
    if (fd >= 0) {
        vm_begin_session(vm, fd);
    } else if (fd == -EAGAIN) {
        if (vm->connect.fd < 0) {
            loop_watch(&vm->loop, &vm->connect, vm->listener.fd, EPOLLIN);
        }
    } else if (fd == -ENOTCONN) {
        log_info(vm->cid, "the one connection it was given has ended");
        vm->stopping = true;
    } else {
        log_warning(vm->cid, "cannot accept a VMM: %s", g_strerror(-fd));
        loop_unwatch(&vm->loop, &vm->connect);
        vm->retry_ms = loop_now_ms() + ACCEPT_RETRY_MS;
    }
}

/* --- What the loop calls -------------------------------------------------- */

static void on_connect(void *opaque, uint32_t events)
{
    vm_accept(opaque);
}

static void on_message(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    if (session_serve(&vm->session)) {
        vm_settle(vm);
    } else {
        vm_end_session(vm);
    }
}

static void on_host(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    vsk_dev_dispatch(vm->dev, loop_now_ms());
}

static void vm_kick(Vm *vm, VskQueue queue)
{
    vsk_dev_kick(vm->dev, queue, loop_now_ms());
}

static void on_kick_rx(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_RX);
}

static void on_kick_tx(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_TX);
}

static void on_kick_event(void *opaque, uint32_t events)
{
    vm_kick(opaque, VSK_QUEUE_EVENT);
}

static void on_stop(void *opaque, uint32_t events)
{
    Vm *vm = opaque;

    loop_unwatch(&vm->loop, &vm->stop); /* once is enough */
    vm->stopping = true;
}

/* --- The thread ----------------------------------------------------------- */

static int vm_timeout_ms(const Vm *vm)
{
    int64_t deadline_ms = vsk_dev_next_deadline(vm->dev);
    int64_t now_ms;

    if (vm->retry_ms && (deadline_ms < 0 || vm->retry_ms < deadline_ms)) {
        deadline_ms = vm->retry_ms;
    }
    if (deadline_ms < 0) {
        return -1;
    }
    now_ms = loop_now_ms();
    return deadline_ms <= now_ms ? 0 : MIN(deadline_ms - now_ms, G_MAXINT);
}

/* What is due by time, and not by a descriptor. */
static void vm_run_timers(Vm *vm)
{
    int64_t deadline_ms = vsk_dev_next_deadline(vm->dev);

    if (vm->retry_ms && vm->retry_ms <= loop_now_ms()) {
        vm_accept(vm);
    }
    if (deadline_ms >= 0 && deadline_ms <= loop_now_ms()) {
        vsk_dev_dispatch(vm->dev, loop_now_ms());
    }
}

/* A driver may have broken its queues in whatever was done, and a front-end
 * may have taken its memory away. */
static void vm_check_broken(Vm *vm)
{
    if (vm->queues.memory_lost) {
        session_fail(&vm->session, "the VMM cut a file that it shares");
        vm_end_session(vm);
    } else if (vm->told_ok && queues_broken(&vm->queues)) {
        vm_settle(vm);
    }
}

static void vm_kick_mask(Vm *vm, unsigned int mask)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        if (mask & (1u << i)) {
            vm_kick(vm, i);
        }
    }
}

static void vm_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" : : : "memory");
#endif
}

/* One look at everything; whether anything was there. */
static bool vm_look(Vm *vm, unsigned int turn)
{
    uint64_t before = vm->queues.work;
    unsigned int mask = 0;
    unsigned int calls = 0;

    for (int i = 0; !mask && i < POLL_LOOKS; i++) {
        vm_relax();
        mask = queues_poll(&vm->queues);
    }
    vm_kick_mask(vm, mask);
    vsk_dev_dispatch(vm->dev, loop_now_ms());
    if (turn % POLL_TURNS == 0) {
        calls = loop_wait(&vm->loop, 0);
    }
    vm_check_broken(vm);
    return mask || calls || vm->queues.work != before;
}

/*
 * Adaptive polling: after work, look for more until none came for poll_us.
 * The driver need not notify meanwhile, which saves it an exit to its VMM, and
 * this thread a wake-up.  Rings are looked at most, for that is one read; host
 * sockets by one system call; the front-end now and then.
 */
static void vm_poll(Vm *vm)
{
    int64_t now_ns = loop_now_ns();
    int64_t idle_since_ns = now_ns;

    queues_begin_polling(&vm->queues);
    for (unsigned int turn = 1;
         !vm->stopping && now_ns - idle_since_ns < vm->poll_us * 1000ll;
         turn++) {
        bool worked = vm_look(vm, turn);

        if (worked) {
            idle_since_ns = loop_now_ns();
        } else if (now_ns - idle_since_ns > LATE_CALL_NS) {
            queues_make_late_calls(&vm->queues);
        }
        /* Who was woken by us may wait for this very processor.
         * #syscalls sched_yield */
        sched_yield();
        now_ns = loop_now_ns();
    }
    vm_kick_mask(vm, queues_end_polling(&vm->queues));
}

/*
 * The guest lives on, and its VMM may not tell it that its device is gone: end
 * its connections, as far as it has buffers for that.
 */
static void vm_say_goodbye(Vm *vm)
{
    int64_t end_ms = loop_now_ms() + GOODBYE_MS;
    VskStats stats;

    if (!vm->told_ok || vm->told_paused) {
        return;
    }
    vsk_dev_end_flows(vm->dev, loop_now_ms());
    vsk_dev_get_stats(vm->dev, &stats);
    while (stats.conns && vm->told_ok && loop_now_ms() < end_ms) {
        loop_wait(&vm->loop, vm_timeout_ms(vm) ? GOODBYE_MS / 10 : 0);
        vm_run_timers(vm);
        vm_check_broken(vm);
        vsk_dev_get_stats(vm->dev, &stats);
    }
}

static void gate_pass(Gate *gate)
{
    g_mutex_lock(&gate->mutex);
    gate->waiting++;
    g_cond_broadcast(&gate->changed);
    while (!gate->open) {
        g_cond_wait(&gate->changed, &gate->mutex);
    }
    g_mutex_unlock(&gate->mutex);
}

static gpointer vm_thread(gpointer opaque)
{
    Vm *vm = opaque;

    guard_enter(&vm->queues);
    gate_pass(vm->gate);
    vm_accept(vm);
    while (!vm->stopping) {
        unsigned int calls = loop_wait(&vm->loop, vm_timeout_ms(vm));

        vm_run_timers(vm);
        vm_check_broken(vm);
        if (calls && vm->poll_us && vm->told_ok && !vm->told_paused) {
            vm_poll(vm);
        }
    }
    vm_say_goodbye(vm);
    eventfd_write(vm->done_fd, 1);
    return NULL;
}

/* --- Life ----------------------------------------------------------------- */

static void vm_init_watches(Vm *vm)
{
    static LoopReady *const on_kick[VSK_QUEUE_NUM] = {
        [VSK_QUEUE_RX] = on_kick_rx,
        [VSK_QUEUE_TX] = on_kick_tx,
        [VSK_QUEUE_EVENT] = on_kick_event,
    };

    vm->connect = (LoopWatch) { -1, on_connect, vm };
    vm->host = (LoopWatch) { -1, on_host, vm };
    vm->stop = (LoopWatch) { -1, on_stop, vm };
    vm->session.socket = (LoopWatch) { -1, on_message, vm };
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        vm->session.kicks[i] = (LoopWatch) { -1, on_kick[i], vm };
    }
}

/* A flow costs a descriptor.  Keep half of them for all the rest. */
static uint32_t flows_by_descriptors(const Options *all)
{
    struct rlimit limit;
    rlim_t share;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return MAX_FLOWS;
    }
    share = limit.rlim_cur / 2 / all->vms->len;
    return CLAMP(share, 1, MAX_FLOWS);
}

static VskDev *vm_open_device(Vm *vm, const Options *all, GError **errp)
{
    const VmOptions *options = vm->options;
    VskDevConfig config = {
        .guest_cid = options->guest_cid,
        .uds_path = options->uds_path,
        .shared_path = options->shared_path,
        .seqpacket = all->seqpacket,
        .max_conns = all->max_conns ? all->max_conns
                                    : flows_by_descriptors(all),
        .buf_alloc = options->tx_buffer_size,
        .seed = (uint64_t)g_random_int() << 32 | g_random_int(),
    };

    return vsk_dev_new(&config, &queue_ops, &vm->queues, errp);
}

static bool vm_open(Vm *vm, const Options *all, GError **errp)
{
    Session *session = &vm->session;

    vm->dev = vm_open_device(vm, all, errp);
    if (!vm->dev || !listener_open(&vm->listener, vm->options, errp) ||
        !loop_init(&vm->loop, errp)) {
        return false;
    }
    session->cid = vm->cid;
    session->loop = &vm->loop;
    session->queues = &vm->queues;
    session->max_queue_size = vm->options->queue_size;
    session->features = protocol_features();
    if (all->seqpacket) {
        session->features |= 1ull << VSK_F_SEQPACKET;
    }
    vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->stop_fd < 0 ||
        !loop_watch(&vm->loop, &vm->stop, vm->stop_fd, EPOLLIN) ||
        !loop_watch(&vm->loop, &vm->host, vsk_dev_get_fd(vm->dev), EPOLLIN)) {
        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no event loop: %s", g_strerror(errno));
        return false;
    }
    return true;
}

Vm *vm_new(const Options *all, const VmOptions *options, GError **errp)
{
    Vm *vm = g_new0(Vm, 1);

    vm->options = options;
    vm->cid = options->guest_cid;
    vm->poll_us = all->poll_us;
    vm->refusals.cid = vm->cid;
    queues_init(&vm->queues, &vm->refusals);
    vm->loop.epoll_fd = -1;
    vm->stop_fd = -1;
    listener_init(&vm->listener);
    vm_init_watches(vm);
    if (!vm_open(vm, all, errp)) {
        vm_free(vm);
        return NULL;
    }
    return vm;
}

static void vm_start(Vm *vm, Gate *gate, int done_fd)
{
    g_autofree char *name = g_strdup_printf("vsock-%" G_GUINT64_FORMAT,
                                            vm->cid);

    vm->gate = gate;
    vm->done_fd = done_fd;
    vm->thread = g_thread_new(name, vm_thread, vm);
}

bool vms_start(GPtrArray *vms, bool sandbox, int done_fd, GError **errp)
{
    static Gate gate; /* threads look at it after this has returned */
    bool ok;

    for (guint i = 0; i < vms->len; i++) {
        vm_start(g_ptr_array_index(vms, i), &gate, done_fd);
    }
    g_mutex_lock(&gate.mutex);
    while (gate.waiting < vms->len) {
        g_cond_wait(&gate.changed, &gate.mutex);
    }
    ok = !sandbox || sandbox_enter(errp);
    for (guint i = 0; ok && i < vms->len; i++) {
        const Vm *vm = g_ptr_array_index(vms, i);
        const VmOptions *options = vm->options;

        log_info(vm->cid, "listening on %s; host sockets at %s",
                 options->socket ? options->socket : "the given descriptor",
                 options->uds_path);
    }
    gate.open = true;
    g_cond_broadcast(&gate.changed);
    g_mutex_unlock(&gate.mutex);
    return ok;
}

void vm_free(Vm *vm)
{
    if (!vm) {
        return;
    }
    if (vm->thread) {
        eventfd_write(vm->stop_fd, 1);
        g_thread_join(vm->thread);
    }
    session_end(&vm->session);
    vsk_dev_free(vm->dev);
    listener_close(&vm->listener);
    if (vm->stop_fd >= 0) {
        close(vm->stop_fd);
    }
    loop_fini(&vm->loop);
    g_free(vm);
}
