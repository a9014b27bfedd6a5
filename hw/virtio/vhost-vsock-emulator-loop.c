/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where and when the emulator backend of vhost-vsock calls its library.
 *
 * Theory of operation
 * -------------------
 * The library is not thread-safe and must not be re-entered, so it has one
 * home: the AioContext of the iothread, or without one that of the main
 * loop's device handlers, under the BQL.  Host sockets, kicks and the timer
 * only note what is due and call loop_run(), the one place that calls the
 * library.
 *
 * The main loop (or a vCPU in it) tells an iothread what the front wants with
 * vhost_vsock_loop_sync(), which waits until it is done: when the virtio core
 * resets or saves a queue, the library does not touch it any more.  Between
 * calls the library holds no chain, so there is nothing else to drain, and
 * nothing to migrate.
 *
 * While it waits, the main loop holds the BQL.  An iothread that needs the BQL
 * then would wait for ever, and it needs it for memory that is not RAM.  So
 * rings have to be RAM, no pop begins while the main loop waits, and the queues
 * are only looked at after vhost_vsock_loop_attach() has returned.  What is
 * left is a pop that is under way then, of a chain whose buffers a guest has
 * put outside its RAM, or that breaks the device, of which the core tells by an
 * interrupt: both are the virtio core's, and every device with an iothread has
 * this in common.  Such a guest stops itself and its QEMU, nobody else; without
 * an iothread it cannot.
 *
 * A guest can place a ring over the device's own registers after the start, so
 * that writing to it resets the device in the midst of a call of the library.
 * VSockEmulator.busy notices that and puts off what was asked until the call
 * has returned.
 *
 * Time is QEMU_CLOCK_VIRTUAL: it stands still with the VM, and tests step it.
 * As loading an old snapshot sets it back, which the library must not see,
 * loop_now() mends that.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/virtio/virtio.h"
#include "vhost-vsock-emulator.h"

/* --- In the home context -------------------------------------------------- */

/* The library's clock: milliseconds that never go back. */
static int64_t loop_now(VSockEmulator *e)
{
    int64_t now_ms = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + e->clock_ms;

    if (now_ms < e->last_ms) {
        e->clock_ms += e->last_ms - now_ms;
        now_ms = e->last_ms;
    }
    e->last_ms = now_ms;
    return now_ms;
}

static void loop_arm_timer(VSockEmulator *e)
{
    int64_t deadline_ms = vsk_dev_next_deadline(e->dev);

    if (deadline_ms < 0) {
        timer_del(e->timer);
    } else if (deadline_ms <= loop_now(e)) {
        /* At once, but after everything else that is ready to run. */
        timer_del(e->timer);
        qemu_bh_schedule(e->bh);
    } else {
        timer_mod(e->timer, deadline_ms - e->clock_ms);
    }
}

/* Take over what the front wants, while it waits. */
static void loop_take_orders(VSockEmulator *e)
{
    VSockWish missed = e->orders;

    e->orders = e->wanted;
    if (e->orders_due) {
        /* The last ones were not carried out: see VSockEmulator.busy. */
        e->orders.driver_left |= missed.driver_left;
        e->orders.transport_reset |= missed.transport_reset &&
                                     !e->wanted.driver_left;
    }
    e->wanted.driver_left = false;
    e->wanted.transport_reset = false;
    e->orders_due = true;
}

/*
 * Make what the library was told equal to the orders.  When the queues
 * become usable, look into all of them: notifications may have come while
 * nobody listened.
 */
static void loop_carry_out_orders(VSockEmulator *e)
{
    const VSockWish *orders = &e->orders;

    e->orders_due = false;
    if (!orders->running && !e->told_paused) {
        vsk_dev_set_paused(e->dev, true, loop_now(e));
        e->told_paused = true;
    }
    if (e->told_driver_ok && (orders->driver_left || !orders->driver_ok)) {
        vsk_dev_set_driver_ok(e->dev, false, 0, loop_now(e));
        e->told_driver_ok = false;
    }
    if (orders->driver_ok && !e->told_driver_ok) {
        vsk_dev_set_driver_ok(e->dev, true, orders->features, loop_now(e));
        e->told_driver_ok = true;
        e->kicks_due = MAKE_64BIT_MASK(0, VSK_QUEUE_NUM);
    }
    if (orders->driver_ok && orders->transport_reset) {
        vsk_dev_transport_reset(e->dev, loop_now(e));
    }
    if (orders->running && e->told_paused) {
        vsk_dev_set_paused(e->dev, false, loop_now(e));
        e->told_paused = false;
        e->kicks_due = MAKE_64BIT_MASK(0, VSK_QUEUE_NUM);
    }
}

/*
 * Whether the driver did to a queue what it may: nothing, or set it up late.
 * One that it moves in RAM is looked at in its new place; only virtio-pci tells
 * of these, so that other transports' are seen here first.
 */
static bool loop_check_ring(VSockEmulator *e, int queue)
{
    VSockRing *noted = &e->orders.rings[queue];
    VSockRing ring = vhost_vsock_emulator_get_ring(e, queue);

    if (!ring.desc || (ring.size == noted->size && ring.desc == noted->desc &&
                       ring.avail == noted->avail &&
                       ring.used == noted->used)) {
        return true;
    }
    if ((noted->desc && ring.size != noted->size) ||
        !vhost_vsock_emulator_ring_is_ram(e, queue)) {
        return false;
    }
    *noted = ring;
    return true;
}

/*
 * A driver must not change the sizes of its queues, or its features, while it
 * uses them.  If it does, the rings are not touched any more.  With an iothread
 * a vCPU may do it while the library runs, and end its own QEMU.
 */
static void loop_check_driver(VSockEmulator *e)
{
    VirtIODevice *vdev = e->vdev;
    bool same;

    if (!e->told_driver_ok || vdev->broken) {
        return;
    }
    same = vdev->guest_features == e->orders.features;
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        same = same && loop_check_ring(e, i);
    }
    if (!same) {
        /*
         * Not by virtio_error(): its interrupt may want the BQL, which whoever
         * waits for us holds.
         */
        error_report("vhost-vsock: CID %" PRIu64 ": the driver changed its "
                     "queues or its features while it uses them",
                     e->vsock->guest_cid);
        vdev->broken = true;
        qemu_bh_schedule(e->broken_bh);
    }
}

/* Do what is due.  The only place that calls into a live library. */
static void loop_run(VSockEmulator *e)
{
    unsigned int kicks;

    if (!e->dev) {
        return;
    }
    if (e->busy) {
        qemu_bh_schedule(e->bh);
        return;
    }
    e->busy = true;

    loop_check_driver(e);
    if (e->orders_due) {
        loop_carry_out_orders(e);
    }
    kicks = e->kicks_due;
    e->kicks_due = 0;
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        if (kicks & (1u << i)) {
            vsk_dev_kick(e->dev, i, loop_now(e));
        }
    }
    if (e->dispatch_due) {
        e->dispatch_due = false;
        vsk_dev_dispatch(e->dev, loop_now(e));
    }

    e->busy = false;
    loop_arm_timer(e);
}

static void loop_dispatch(void *opaque)
{
    VSockEmulator *e = opaque;

    e->dispatch_due = true;
    loop_run(e);
}

static void loop_sync_home(void *opaque)
{
    VSockEmulator *e = opaque;

    loop_take_orders(e);
    loop_run(e);
}

static void loop_attach_home(void *opaque)
{
    VSockEmulator *e = opaque;

    /*
     * Without polling: with the RX ring full the library leaves TX chains
     * where they are, and polling would burn a CPU on seeing them.
     */
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        virtio_queue_aio_attach_host_notifier_no_poll(e->vsock->vqs[i],
                                                      e->ctx);
    }
    loop_take_orders(e);
    qemu_bh_schedule(e->bh); /* not now: see above */
}

static void loop_detach_home(void *opaque)
{
    VSockEmulator *e = opaque;

    loop_sync_home(e);
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        virtio_queue_aio_detach_host_notifier(e->vsock->vqs[i], e->ctx);
    }
}

static void loop_start_home(void *opaque)
{
    VSockEmulator *e = opaque;

    e->bh = aio_bh_new(e->ctx, loop_dispatch, e);
    aio_set_fd_handler(e->ctx, vsk_dev_get_fd(e->dev), loop_dispatch,
                       NULL, NULL, NULL, e);
    loop_dispatch(e);
}

static void loop_stop_home(void *opaque)
{
    VSockEmulator *e = opaque;

    if (!e->dev) {
        return;
    }
    aio_set_fd_handler(e->ctx, vsk_dev_get_fd(e->dev), NULL, NULL, NULL,
                       NULL, NULL);
    qemu_bh_delete(e->bh);
    e->bh = NULL;
    vsk_dev_free(e->dev);
    e->dev = NULL;
}

/* --- From the main loop and vCPUs, with the BQL --------------------------- */

bool vhost_vsock_loop_is_home(const VSockEmulator *e)
{
    return !e->iothread || qemu_get_current_aio_context() == e->ctx;
}

/* Run @fn in the home context and wait for it. */
static void loop_call_home(VSockEmulator *e, QEMUBHFunc *fn)
{
    if (vhost_vsock_loop_is_home(e)) {
        fn(e);
        return;
    }
    aio_context_acquire(e->ctx);
    aio_wait_bh_oneshot(e->ctx, fn, e);
    aio_context_release(e->ctx);
}

static void loop_timer(void *opaque)
{
    VSockEmulator *e = opaque;

    if (!e->iothread) {
        loop_dispatch(e);
    } else if (e->bh) {
        qemu_bh_schedule(e->bh);
    }
}

void vhost_vsock_loop_start(VSockEmulator *e)
{
    e->ctx = e->iothread ? iothread_get_aio_context(e->iothread) :
                           iohandler_get_aio_context();
    e->timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, loop_timer, e);
    loop_call_home(e, loop_start_home);
}

void vhost_vsock_loop_stop(VSockEmulator *e)
{
    if (!e->timer) {
        return;
    }
    loop_call_home(e, loop_stop_home);
    timer_free(e->timer);
    e->timer = NULL;
}

void vhost_vsock_loop_sync(VSockEmulator *e)
{
    loop_call_home(e, loop_sync_home);
}

void vhost_vsock_loop_attach(VSockEmulator *e)
{
    loop_call_home(e, loop_attach_home);
}

void vhost_vsock_loop_detach(VSockEmulator *e)
{
    loop_call_home(e, loop_detach_home);
}

void vhost_vsock_loop_kick(VSockEmulator *e, unsigned int queue)
{
    e->kicks_due |= 1u << queue;
    loop_run(e);
}
