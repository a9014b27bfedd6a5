/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the library has to know of a VM's driver, worked out in one place from
 * the state that the front-end's messages left.
 *
 * vhost-user says nothing of a driver, only of rings that start and stop: a
 * stop may be the VM's, or the end of a driver.  So the device pauses, and when
 * the rings start anew where they stopped, flows go on; where they start
 * elsewhere, it is another driver, which knows nothing of the flows there were.
 */

#include "vm-internal.h"

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

void vm_settle(Vm *vm)
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
