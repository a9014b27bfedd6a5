/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The emulator backend of vhost-vsock: libvsock-device on QEMU's virtqueues and
 * event loops.
 *
 * Theory of operation
 * -------------------
 * The library is not thread-safe and must not be re-entered, so it has one
 * home: the AioContext of the iothread, or without one that of the main
 * loop's device handlers, under the BQL.  Host sockets, kicks and the timer
 * only note what is due and call emulator_run(), the one place that calls the
 * library.
 *
 * The main loop (or a vCPU in it) tells an iothread what the front wants with
 * emulator_sync(), which waits until it is done: when the virtio core resets
 * or saves a queue, the library does not touch it any more.  Between calls
 * the library holds no chain, so there is nothing else to drain, and nothing
 * to migrate.
 *
 * A guest can place a ring over the device's own registers, so that writing to
 * it resets the device in the midst of a call of the library.
 * VSockEmulator.busy notices that and puts off what was asked until the call
 * has returned.
 *
 * Time is QEMU_CLOCK_VIRTUAL: it stands still with the VM, and tests step it.
 * As loading an old snapshot sets it back, which the library must not see,
 * emulator_now() mends that.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "standard-headers/linux/virtio_vsock.h"
#include "block/aio-wait.h"
#include "hw/virtio/virtio-bus.h"
#include "trace.h"
#include "vsock-path.h"
#include "vhost-vsock-emulator.h"
#include <sys/resource.h>

#if QEMU_AT_LEAST(10, 0)
#include "system/system.h"
#else
#include "sysemu/sysemu.h"
#endif

#if !QEMU_AT_LEAST(9, 0)
#define bql_locked qemu_mutex_iothread_locked
#define bql_lock qemu_mutex_lock_iothread
#define bql_unlock qemu_mutex_unlock_iothread
#endif

#if !QEMU_AT_LEAST(8, 1)
#define aio_set_fd_handler(ctx, fd, ...) \
    (aio_set_fd_handler)(ctx, fd, false, __VA_ARGS__)
#endif

/* Flows at once, if the process may open twice as many descriptors. */
#define MAX_FLOWS 16384

/* --- In the home context -------------------------------------------------- */

/* The library's clock: milliseconds that never go back. */
static int64_t emulator_now(VSockEmulator *e)
{
    int64_t now_ms = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + e->clock_ms;

    if (now_ms < e->last_ms) {
        e->clock_ms += e->last_ms - now_ms;
        now_ms = e->last_ms;
    }
    e->last_ms = now_ms;
    return now_ms;
}

static void emulator_arm_timer(VSockEmulator *e)
{
    int64_t deadline_ms = vsk_dev_next_deadline(e->dev);

    if (deadline_ms < 0) {
        timer_del(e->timer);
    } else if (deadline_ms <= emulator_now(e)) {
        /* At once, but after everything else that is ready to run. */
        timer_del(e->timer);
        qemu_bh_schedule(e->bh);
    } else {
        timer_mod(e->timer, deadline_ms - e->clock_ms);
    }
}

/*
 * Make what the library was told equal to what is wanted.  When the queues
 * become usable, look into all of them: notifications may have come while
 * nobody listened.
 */
static void emulator_tell_state(VSockEmulator *e)
{
    if (!e->wanted.running && !e->told_paused) {
        vsk_dev_set_paused(e->dev, true, emulator_now(e));
        e->told_paused = true;
    }
    if (e->told_driver_ok && (e->wanted.driver_left || !e->wanted.driver_ok)) {
        vsk_dev_set_driver_ok(e->dev, false, 0, emulator_now(e));
        e->told_driver_ok = false;
    }
    e->wanted.driver_left = false;
    if (e->wanted.driver_ok && !e->told_driver_ok) {
        vsk_dev_set_driver_ok(e->dev, true, e->wanted.features,
                              emulator_now(e));
        e->told_driver_ok = true;
        e->kicks_due = MAKE_64BIT_MASK(0, VSK_QUEUE_NUM);
    }
    if (e->wanted.transport_reset && e->told_driver_ok) {
        vsk_dev_transport_reset(e->dev, emulator_now(e));
        e->wanted.transport_reset = false;
    }
    if (e->wanted.running && e->told_paused) {
        vsk_dev_set_paused(e->dev, false, emulator_now(e));
        e->told_paused = false;
        e->kicks_due = MAKE_64BIT_MASK(0, VSK_QUEUE_NUM);
    }
}

/* Do what is due.  The only place that calls into a live library. */
static void emulator_run(VSockEmulator *e)
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

    if (e->state_due) {
        e->state_due = false;
        emulator_tell_state(e);
    }
    kicks = e->kicks_due;
    e->kicks_due = 0;
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        if (kicks & (1u << i)) {
            vsk_dev_kick(e->dev, i, emulator_now(e));
        }
    }
    if (e->dispatch_due) {
        e->dispatch_due = false;
        vsk_dev_dispatch(e->dev, emulator_now(e));
    }

    e->busy = false;
    emulator_arm_timer(e);
}

static void emulator_dispatch(void *opaque)
{
    VSockEmulator *e = opaque;

    e->dispatch_due = true;
    emulator_run(e);
}

static void emulator_sync_home(void *opaque)
{
    VSockEmulator *e = opaque;

    e->state_due = true;
    emulator_run(e);
}

static void emulator_attach_home(void *opaque)
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
    emulator_sync_home(e);
}

static void emulator_detach_home(void *opaque)
{
    VSockEmulator *e = opaque;

    emulator_sync_home(e);
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        virtio_queue_aio_detach_host_notifier(e->vsock->vqs[i], e->ctx);
    }
}

static void emulator_open_home(void *opaque)
{
    VSockEmulator *e = opaque;

    e->bh = aio_bh_new(e->ctx, emulator_dispatch, e);
    aio_set_fd_handler(e->ctx, vsk_dev_get_fd(e->dev), emulator_dispatch,
                       NULL, NULL, NULL, e);
    emulator_dispatch(e);
}

static void emulator_close_home(void *opaque)
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

/* Run @fn in the home context and wait for it. */
static void emulator_call_home(VSockEmulator *e, QEMUBHFunc *fn)
{
    if (!e->iothread || qemu_get_current_aio_context() == e->ctx) {
        fn(e);
        return;
    }
#if !QEMU_AT_LEAST(9, 0)
    aio_context_acquire(e->ctx);
#endif
    aio_wait_bh_oneshot(e->ctx, fn, e);
#if !QEMU_AT_LEAST(9, 0)
    aio_context_release(e->ctx);
#endif
}

static void emulator_timer(void *opaque)
{
    VSockEmulator *e = opaque;

    if (!e->iothread) {
        emulator_dispatch(e);
    } else if (e->bh) {
        qemu_bh_schedule(e->bh);
    }
}

static int emulator_set_status(VHostVSock *s, uint8_t status)
{
    VSockEmulator *e = s->impl;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    bool driver_ok = status & VIRTIO_CONFIG_S_DRIVER_OK;
    bool running = vdev->vm_running && (!e->iothread || e->attached);

    if (driver_ok == e->wanted.driver_ok && running == e->wanted.running) {
        return 0;
    }
    if (!driver_ok) {
        e->wanted.driver_left = true;
        e->wanted.transport_reset = false;
    }
    e->wanted.driver_ok = driver_ok;
    e->wanted.running = running;
    e->wanted.features = vdev->guest_features;
    emulator_call_home(e, emulator_sync_home);
    return 0;
}

static void emulator_handle_output(VHostVSock *s, unsigned int queue)
{
    VSockEmulator *e = s->impl;

    /*
     * With an iothread the virtio core may still come from elsewhere: before
     * the queues are attached, and when it cleans up after they were
     * detached.  Attaching them looks into all queues.
     */
    if (e->iothread && qemu_get_current_aio_context() != e->ctx) {
        return;
    }
    e->kicks_due |= 1u << queue;
    emulator_run(e);
}

static void emulator_post_load(VHostVSock *s)
{
    VSockEmulator *e = s->impl;

    /* Told when the VM starts: then the queues can be used. */
    e->wanted.transport_reset = true;
}

static uint64_t emulator_get_features(VHostVSock *s, uint64_t features,
                                      Error **errp)
{
    virtio_clear_feature(&features, VIRTIO_VSOCK_F_SEQPACKET);
    /* Nor does Linux's vhost_vsock offer it, and guests migrate both ways. */
    virtio_clear_feature(&features, VIRTIO_F_RING_RESET);
    return features;
}

/* --- Host notifiers of an iothread ---------------------------------------- */

/* Give the first @n queues' host notifiers back. */
static void release_host_notifiers(VirtioBusState *bus, int n)
{
    memory_region_transaction_begin();
    for (int i = 0; i < n; i++) {
        virtio_bus_set_host_notifier(bus, i, false);
    }
    /* The transaction needs the descriptors open when it commits. */
    memory_region_transaction_commit();
    for (int i = 0; i < n; i++) {
        virtio_bus_cleanup_host_notifier(bus, i);
    }
}

static int take_host_notifiers(VirtioBusState *bus)
{
    int ret = 0;
    int n;

    memory_region_transaction_begin();
    for (n = 0; n < VHOST_VSOCK_VQ_NUM; n++) {
        ret = virtio_bus_set_host_notifier(bus, n, true);
        if (ret < 0) {
            break;
        }
    }
    memory_region_transaction_commit();
    if (ret < 0) {
        release_host_notifiers(bus, n);
    }
    return ret;
}

static int emulator_start_iothread(VHostVSock *s)
{
    VSockEmulator *e = s->impl;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    BusState *qbus = qdev_get_parent_bus(DEVICE(vdev));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);
    int ret;

    ret = bus->set_guest_notifiers(qbus->parent, VHOST_VSOCK_VQ_NUM, true);
    if (ret < 0) {
        virtio_error(vdev, "vhost-vsock: cannot set guest notifiers for the "
                     "iothread: %s", strerror(-ret));
        return ret;
    }
    ret = take_host_notifiers(VIRTIO_BUS(qbus));
    if (ret < 0) {
        bus->set_guest_notifiers(qbus->parent, VHOST_VSOCK_VQ_NUM, false);
        virtio_error(vdev, "vhost-vsock: cannot set host notifiers for the "
                     "iothread: %s", strerror(-ret));
        return ret;
    }
    e->attached = true;
    e->wanted.running = vdev->vm_running;
    emulator_call_home(e, emulator_attach_home);
    return 0;
}

static void emulator_stop_iothread(VHostVSock *s)
{
    VSockEmulator *e = s->impl;
    BusState *qbus = qdev_get_parent_bus(DEVICE(s));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);

    e->attached = false;
    e->wanted.running = false;
    emulator_call_home(e, emulator_detach_home);
    release_host_notifiers(VIRTIO_BUS(qbus), VHOST_VSOCK_VQ_NUM);
    bus->set_guest_notifiers(qbus->parent, VHOST_VSOCK_VQ_NUM, false);
}

/* --- Life ----------------------------------------------------------------- */

/* At exit() nobody unrealizes devices, but the sockets have to go. */
static void emulator_exit(Notifier *notifier, void *data)
{
    VSockEmulator *e = container_of(notifier, VSockEmulator, exit);
    bool lock = !bql_locked();

    if (e->iothread && qemu_get_current_aio_context() == e->ctx) {
        return;
    }
    if (lock) {
        bql_lock();
    }
    timer_del(e->timer);
    emulator_call_home(e, emulator_close_home);
    if (lock) {
        bql_unlock();
    }
}

static void emulator_fini(VHostVSock *s)
{
    VSockEmulator *e = s->impl;

    qemu_remove_exit_notifier(&e->exit);
    emulator_call_home(e, emulator_close_home);
    timer_free(e->timer);
    g_free(e);
    s->impl = NULL;
}

static const VHostVSockOps emulator_backend = {
    .name = "emulator",
    .fini = emulator_fini,
    .get_features = emulator_get_features,
    .set_status = emulator_set_status,
    .handle_output = emulator_handle_output,
    .post_load = emulator_post_load,
};

static const VHostVSockOps emulator_iothread_backend = {
    .name = "emulator",
    .fini = emulator_fini,
    .get_features = emulator_get_features,
    .set_status = emulator_set_status,
    .handle_output = emulator_handle_output,
    .post_load = emulator_post_load,
    .start_ioeventfd = emulator_start_iothread,
    .stop_ioeventfd = emulator_stop_iothread,
};

/* Whether the transport can do what an iothread needs. */
static bool check_iothread(VHostVSock *s, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    BusState *qbus = qdev_get_parent_bus(DEVICE(vdev));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);

    if (!bus->set_guest_notifiers || !bus->ioeventfd_assign) {
        error_setg(errp, "device is incompatible with iothread (transport "
                   "does not support notifiers)");
        return false;
    }
    if (!virtio_device_ioeventfd_enabled(vdev)) {
        error_setg(errp, "ioeventfd is required for iothread");
        return false;
    }
    return true;
}

/* -daemonize changes the working directory.  A path that gets too long for a
 * socket by this is left as it is. */
static char *absolute_path(const char *path)
{
    g_autofree char *cwd = g_get_current_dir();
    g_autofree char *full = g_build_filename(cwd, path, NULL);

    if (g_path_is_absolute(path) || strlen(full) > VSK_PATH_MAX) {
        return g_strdup(path);
    }
    return g_steal_pointer(&full);
}

/*
 * Where the host sockets are: @ret_path, and @ret_shared or NULL for those
 * that serve all guests.
 */
static bool choose_paths(VHostVSock *s, char **ret_path, char **ret_shared,
                         Error **errp)
{
    char path[VSK_SUN_PATH_SIZE];
    g_autofree char *dir = NULL;
    int ret;

    *ret_shared = NULL;
    if (s->uds_path) {
        *ret_path = absolute_path(s->uds_path);
        return true;
    }

    ret = vsk_path_default(s->guest_cid, path);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "vhost-vsock: no run-time directory for "
                         "host sockets");
        error_append_hint(errp, "Set XDG_RUNTIME_DIR, or give uds-path.\n");
        return false;
    }
    dir = g_path_get_dirname(path);
    ret = vsk_path_prepare_dir(dir);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "vhost-vsock: cannot use directory %s "
                         "for host sockets", dir);
        error_append_hint(errp, "It must be yours, with mode 0700. "
                          "Otherwise give uds-path.\n");
        return false;
    }
    *ret_path = g_strdup(path);
    *ret_shared = g_strdup_printf("%s/%d.vsock", dir, VSK_CID_HOST);
    return true;
}

/* A flow costs a descriptor.  Leave half of them to the rest of QEMU. */
static uint32_t flows_by_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_cur / 2 >= MAX_FLOWS) {
        return MAX_FLOWS;
    }
    return MAX(limit.rlim_cur / 2, 1);
}

static VskDev *open_library(VSockEmulator *e, const char *path,
                            const char *shared_path, Error **errp)
{
    VskDevConfig config = {
        .guest_cid = e->vsock->guest_cid,
        .uds_path = path,
        .shared_path = shared_path,
        .max_conns = flows_by_descriptors(),
    };
    g_autoptr(GError) err = NULL;
    VskDev *dev;

    qemu_guest_getrandom_nofail(&config.seed, sizeof(config.seed));
    dev = vsk_dev_new(&config, &vhost_vsock_emulator_queue_ops, e, &err);
    if (!dev) {
        error_setg(errp, "vhost-vsock: %s", err->message);
    }
    return dev;
}

bool vhost_vsock_emulator_init(VHostVSock *s, const char *why, Error **errp)
{
    g_autofree char *path = NULL;
    g_autofree char *shared_path = NULL;
    VSockEmulator *e;

    if (s->seqpacket == ON_OFF_AUTO_ON) {
        error_setg(errp, "vhost-vsock backend doesn't support seqpacket: the "
                   "emulator has stream sockets only (%s)", why);
        return false;
    }
    if ((s->iothread && !check_iothread(s, errp)) ||
        !choose_paths(s, &path, &shared_path, errp)) {
        return false;
    }

    e = g_new0(VSockEmulator, 1);
    e->vsock = s;
    e->iothread = s->iothread;
    e->dev = open_library(e, path, shared_path, errp);
    if (!e->dev) {
        g_free(e);
        return false;
    }
    e->ctx = e->iothread ? iothread_get_aio_context(e->iothread) :
                           iohandler_get_aio_context();
    e->timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, emulator_timer, e);
    e->exit.notify = emulator_exit;
    qemu_add_exit_notifier(&e->exit);
    s->impl = e;
    s->ops = e->iothread ? &emulator_iothread_backend : &emulator_backend;

    e->wanted.running = false;
    emulator_call_home(e, emulator_open_home);
    info_report("vhost-vsock: emulator for CID %" PRIu64 ": %s, host sockets "
                "at %s", s->guest_cid, why, path);
    return true;
}
