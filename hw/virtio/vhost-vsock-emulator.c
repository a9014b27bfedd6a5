/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The emulator backend of vhost-vsock: libvsock-device, bridging the guest's
 * sockets to AF_UNIX sockets of the host.
 *
 * This file is the backend as the front sees it: where the host sockets are,
 * and start and stop.  vhost-vsock-emulator-loop.c calls the library, and
 * vhost-vsock-emulator-queue.c is what the library calls.
 *
 * Everything runs with the BQL held, but emulator_handle_output().
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "standard-headers/linux/virtio_vsock.h"
#include "hw/virtio/virtio-bus.h"
#include "vsock-path.h"
#include "vhost-vsock-emulator.h"

/* --- Start and stop ------------------------------------------------------- */

static void note_rings(VSockEmulator *e)
{
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        e->wanted.rings[i] = vhost_vsock_emulator_get_ring(e, i);
    }
}

/*
 * The virtio core looked up where the rings are when the driver enabled each.
 * Sizes and features that were written since then would lead it beyond
 * what it has looked up, where it asserts.
 */
static void look_up_rings(VSockEmulator *e)
{
    VirtIODevice *vdev = e->vdev;

    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        if (virtio_queue_get_desc_addr(vdev, i)) {
            virtio_queue_set_rings(vdev, i,
                                   virtio_queue_get_desc_addr(vdev, i),
                                   virtio_queue_get_avail_addr(vdev, i),
                                   virtio_queue_get_used_addr(vdev, i));
        }
    }
    e->wanted.features = vdev->guest_features;
    note_rings(e);
}

/*
 * Tell the driver that the device is broken, with the BQL.  virtio_error() did,
 * but the virtio core takes over a status after the device has seen it, so that
 * the bit is lost if that was the occasion.
 */
static void tell_broken(void *opaque)
{
    VSockEmulator *e = opaque;
    VirtIODevice *vdev = e->vdev;

    if (vdev->broken && virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        vdev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        virtio_notify_config(vdev);
    }
}

static int emulator_set_status(VHostVSock *s, uint8_t status)
{
    VSockEmulator *e = s->impl;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    bool driver_ok = status & VIRTIO_CONFIG_S_DRIVER_OK;
    bool running = vdev->vm_running && (!e->iothread || e->attached);

    if (driver_ok && running && !vhost_vsock_emulator_check_rings(e)) {
        driver_ok = false;
    }
    if (driver_ok == e->wanted.driver_ok && running == e->wanted.running) {
        goto out;
    }
    if (!driver_ok) {
        e->wanted.driver_left = true;
        e->wanted.transport_reset = false;
    }
    if (driver_ok && !e->wanted.driver_ok) {
        look_up_rings(e);
    }
    e->wanted.driver_ok = driver_ok;
    e->wanted.running = running;
    vhost_vsock_loop_sync(e);
out:
    if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && vdev->broken) {
        qemu_bh_schedule(e->broken_bh);
    }
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
    if (vhost_vsock_loop_is_home(e)) {
        vhost_vsock_loop_kick(e, queue);
    }
}

static void emulator_post_load(VHostVSock *s)
{
    VSockEmulator *e = s->impl;

    /* Told when the VM starts: then the queues can be used. */
    e->wanted.transport_reset = true;
}

/* The driver may set up a queue late; only PCI tells of it. */
static void emulator_queue_enable(VHostVSock *s)
{
    VSockEmulator *e = s->impl;

    if (!e->wanted.driver_ok) {
        return;
    }
    if (e->wanted.running) {
        vhost_vsock_emulator_check_rings(e);
    }
    note_rings(e);
    vhost_vsock_loop_sync(e);
}

static uint64_t emulator_get_features(VHostVSock *s, uint64_t features,
                                      Error **errp)
{
    /* Linux's vhost_vsock does not offer it, and guests migrate both ways. */
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

    if (!vhost_vsock_emulator_check_rings(e)) {
        return -EFAULT;
    }
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
    vhost_vsock_loop_attach(e);
    return 0;
}

static void emulator_stop_iothread(VHostVSock *s)
{
    VSockEmulator *e = s->impl;
    BusState *qbus = qdev_get_parent_bus(DEVICE(s));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);

    e->attached = false;
    e->wanted.running = false;
    vhost_vsock_loop_detach(e);
    release_host_notifiers(VIRTIO_BUS(qbus), VHOST_VSOCK_VQ_NUM);
    bus->set_guest_notifiers(qbus->parent, VHOST_VSOCK_VQ_NUM, false);
}

/* --- Life ----------------------------------------------------------------- */

/* At exit() nobody unrealizes devices, but the sockets have to go. */
static void emulator_exit(Notifier *notifier, void *data)
{
    VSockEmulator *e = container_of(notifier, VSockEmulator, exit);
    bool lock = !bql_locked();

    if (e->iothread && vhost_vsock_loop_is_home(e)) {
        return;
    }
    if (lock) {
        bql_lock();
    }
    vhost_vsock_loop_stop(e);
    if (lock) {
        bql_unlock();
    }
}

static void emulator_fini(VHostVSock *s)
{
    VSockEmulator *e = s->impl;

    qemu_remove_exit_notifier(&e->exit);
    vhost_vsock_loop_stop(e);
    qemu_bh_delete(e->broken_bh);
    g_free(e);
    s->impl = NULL;
}

static const VHostVSockOps emulator_backend = {
    .name = "emulator",
    .fini = emulator_fini,
    .get_features = emulator_get_features,
    .set_status = emulator_set_status,
    .handle_output = emulator_handle_output,
    .queue_enable = emulator_queue_enable,
    .post_load = emulator_post_load,
};

static const VHostVSockOps emulator_iothread_backend = {
    .name = "emulator",
    .fini = emulator_fini,
    .get_features = emulator_get_features,
    .set_status = emulator_set_status,
    .handle_output = emulator_handle_output,
    .queue_enable = emulator_queue_enable,
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

/*
 * -daemonize changes the working directory.  A path that gets too long for a
 * socket by this is left as it is.
 */
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
    ERRP_GUARD();
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
        error_append_hint(errp, ret == -ENAMETOOLONG ?
                          "Give uds-path.\n" :
                          "Set XDG_RUNTIME_DIR, or give uds-path.\n");
        return false;
    }
    dir = g_path_get_dirname(path);
    ret = vsk_path_prepare_dir(dir);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "vhost-vsock: cannot use directory %s "
                         "for host sockets", dir);
        error_append_hint(errp, "It must be yours, with mode 0700, in no "
                          "directory where all may write. Otherwise give "
                          "uds-path.\n");
        return false;
    }
    *ret_path = g_strdup(path);
    *ret_shared = g_strdup_printf("%s/%d.vsock", dir, VSK_CID_HOST);
    return true;
}

static VskDev *open_library(VSockEmulator *e, const char *path,
                            const char *shared_path, Error **errp)
{
    const VHostVSockLimits *limits = &e->vsock->limits;
    VskDevConfig config = {
        .guest_cid = e->vsock->guest_cid,
        .uds_path = path,
        .seqpacket = e->vsock->seqpacket != ON_OFF_AUTO_OFF,
        .shared_path = shared_path,
        .max_conns = limits->max_conns,
        .buf_alloc = limits->buf_alloc,
        .max_staged = limits->max_staged,
        .request_timeout_ms = limits->request_timeout_ms,
        .close_timeout_ms = limits->close_timeout_ms,
        .line_timeout_ms = limits->line_timeout_ms,
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

    if ((s->iothread && !check_iothread(s, errp)) ||
        !choose_paths(s, &path, &shared_path, errp)) {
        return false;
    }

    e = g_new0(VSockEmulator, 1);
    e->vsock = s;
    e->vdev = VIRTIO_DEVICE(s);
    e->iothread = s->iothread;
    e->dev = open_library(e, path, shared_path, errp);
    if (!e->dev) {
        g_free(e);
        return false;
    }
    e->broken_bh = qemu_bh_new(tell_broken, e);
    vhost_vsock_loop_start(e);
    e->exit.notify = emulator_exit;
    qemu_add_exit_notifier(&e->exit);
    s->impl = e;
    s->ops = e->iothread ? &emulator_iothread_backend : &emulator_backend;

    info_report("vhost-vsock: emulator for CID %" PRIu64 ": %s, host sockets "
                "at %s", s->guest_cid, why, path);
    return true;
}
