/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A VM's thread: sleep until there is work, or look for it a while, and do it.
 */

#include <sched.h>
#include <sys/eventfd.h>

#include "guard.h"
#include "vm-internal.h"

/*
 * When polling: looks at the rings for one at the host sockets; of these, how
 * many for one at all the rest.
 */
#define POLL_LOOKS 4
#define POLL_TURNS 8

/*
 * Nanoseconds without work after which the driver hears of what it can wait
 * for: see queues_make_late_calls().
 */
#define LATE_CALL_NS 20000

/* How long a guest that is slow to take its RSTs is waited for at the end. */
#define GOODBYE_MS 100

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

/*
 * A driver may have broken its queues in whatever was done, and a front-end
 * may have taken its memory away.
 */
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
        /*
         * Who was woken by us may wait for this very processor.
         * #syscalls sched_yield
         */
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
    pthread_mutex_lock(&gate->mutex);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) {
        pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    pthread_mutex_unlock(&gate->mutex);
}

void vm_turn(Vm *vm, int timeout_ms)
{
    unsigned int calls = loop_wait(&vm->loop, timeout_ms);

    vm_run_timers(vm);
    vm_check_broken(vm);
    if (calls && vm->poll_us && vm->told_ok && !vm->told_paused) {
        vm_poll(vm);
        vm_check_broken(vm);
    }
}

gpointer vm_thread(gpointer opaque)
{
    Vm *vm = opaque;

    guard_enter(&vm->queues);
    gate_pass(vm->gate);
    if (!vm->stopping) {
        vm_accept(vm);
    }
    while (!vm->stopping) {
        vm_turn(vm, vm_timeout_ms(vm));
    }
    vm_say_goodbye(vm);
    g_atomic_int_set(&vm->ended, 1);
    eventfd_write(vm->done_fd, 1);
    return NULL;
}
