/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The virtio socket device: properties, configuration space, migration, and
 * the choice of who moves the packets.
 *
 * Theory of operation
 * -------------------
 * The guest sees one device.  Behind it is one of two backends, chosen when
 * the device is realized and kept for its life:
 *
 * - the kernel backend gives the RX and TX queues to the host's vhost_vsock,
 *   and host programs reach the guest through AF_VSOCK;
 * - the emulator moves the packets itself, and host programs reach the guest
 *   through AF_UNIX sockets.
 *
 * backend=auto falls back from the first to the second only where the first
 * cannot be had at all: no device node, no module behind it, no permission.
 * A CID that another guest holds is an error in both, because a guest that
 * silently got sockets in another place would be no use to anybody.
 *
 * By default both backends offer the same features as upstream's device with
 * Linux's vhost_vsock, and the migration stream is the same in all cases.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "standard-headers/linux/virtio_ids.h"
#include "standard-headers/linux/virtio_vsock.h"
#include "migration/vmstate.h"
#include "trace.h"
#include "vhost-vsock-internal.h"
#ifdef CONFIG_VSOCK_EMULATOR
#include "vsock-limits.h"
#endif

/* Of the migration stream. */
#define SAVEVM_VERSION 0

/* --- Property "backend" --------------------------------------------------- */

static const char *const backend_names[VHOST_VSOCK_BACKEND_NUM] = {
    [VHOST_VSOCK_BACKEND_AUTO] = "auto",
    [VHOST_VSOCK_BACKEND_KERNEL] = "kernel",
    [VHOST_VSOCK_BACKEND_EMULATOR] = "emulator",
};

static const QEnumLookup backend_lookup = {
    .array = backend_names,
    .size = VHOST_VSOCK_BACKEND_NUM,
};

static void get_backend(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    int *value = object_field_prop_ptr(obj, opaque);

    visit_type_enum(v, name, value, &backend_lookup, errp);
}

static void set_backend(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    int *value = object_field_prop_ptr(obj, opaque);

    visit_type_enum(v, name, value, &backend_lookup, errp);
}

static void set_default_backend(ObjectProperty *op, const Property *prop)
{
    object_property_set_default_str(op, backend_names[prop->defval.i]);
}

static const PropertyInfo prop_backend = {
    VSOCK_PROPERTY_TYPE = "VHostVSockBackend",
    .description = VHOST_VSOCK_BACKENDS,
    .enum_table = &backend_lookup,
    .get = get_backend,
    .set = set_backend,
    .set_default_value = set_default_backend,
};

QEMU_BUILD_BUG_ON(sizeof(VHostVSockBackend) != sizeof(int));

static VSOCK_PROPERTY vhost_vsock_properties[] = {
    DEFINE_PROP_UINT64("guest-cid", VHostVSock, guest_cid, 0),
    DEFINE_PROP_STRING("vhostfd", VHostVSock, vhostfd),
    DEFINE_PROP_ON_OFF_AUTO("seqpacket", VHostVSock, seqpacket,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_SIGNED("backend", VHostVSock, backend,
                       VHOST_VSOCK_BACKEND_AUTO, prop_backend,
                       VHostVSockBackend),
#ifdef CONFIG_VSOCK_EMULATOR
    DEFINE_PROP_STRING("uds-path", VHostVSock, uds_path),
    DEFINE_PROP_LINK("iothread", VHostVSock, iothread, TYPE_IOTHREAD,
                     IOThread *),
    /* Its default is of vhost_vsock_init_limits(). */
    DEFINE_PROP_UNSIGNED_NODEFAULT("max-conns", VHostVSock, limits.max_conns,
                                   qdev_prop_uint32, uint32_t),
    DEFINE_PROP_SIZE32("buf-alloc", VHostVSock, limits.buf_alloc,
                       VSK_DEFAULT_BUF_ALLOC),
    DEFINE_PROP_SIZE("max-staged", VHostVSock, limits.max_staged,
                     VSK_DEFAULT_MAX_STAGED),
    DEFINE_PROP_UINT32("request-timeout-ms", VHostVSock,
                       limits.request_timeout_ms,
                       VSK_DEFAULT_REQUEST_TIMEOUT_MS),
    DEFINE_PROP_UINT32("close-timeout-ms", VHostVSock,
                       limits.close_timeout_ms, VSK_DEFAULT_CLOSE_TIMEOUT_MS),
    DEFINE_PROP_UINT32("line-timeout-ms", VHostVSock,
                       limits.line_timeout_ms, VSK_DEFAULT_LINE_TIMEOUT_MS),
#endif
    VSOCK_PROPERTY_END
};

/* --- Realize -------------------------------------------------------------- */

/* Refuse property values that no backend can work with (5.10.4). */
static bool check_guest_cid(const VHostVSock *s, Error **errp)
{
    if (s->guest_cid <= 2) {
        error_setg(errp, "guest-cid property must be greater than 2");
        return false;
    }
    if (s->guest_cid > UINT32_MAX) {
        error_setg(errp, "guest-cid property must be a 32-bit number");
        return false;
    }
    if (s->guest_cid == UINT32_MAX) {
        error_setg(errp, "guest-cid property must be less than %" PRIu32
                   ", which means any CID", UINT32_MAX);
        return false;
    }
    return true;
}

/* Refuse properties that contradict each other. */
static bool check_combination(const VHostVSock *s, Error **errp)
{
    const char *unused[VHOST_VSOCK_UNUSED_MAX + 1];
    const char *only_emulator;

    vhost_vsock_list_unused(s, unused);
    only_emulator = s->uds_path ? "uds-path" : unused[0];
    if (s->uds_path && !*s->uds_path) {
        error_setg(errp, "uds-path must not be empty");
        return false;
    }
    if (s->backend == VHOST_VSOCK_BACKEND_EMULATOR && s->vhostfd) {
        error_setg(errp, "vhostfd is for the kernel backend and cannot be "
                   "used with backend=emulator");
        return false;
    }
    if (s->backend == VHOST_VSOCK_BACKEND_KERNEL && only_emulator) {
        error_setg(errp, "%s is for the emulator and cannot be used with "
                   "backend=kernel", only_emulator);
        return false;
    }
    if (s->vhostfd && only_emulator) {
        error_setg(errp, "%s is for the emulator and vhostfd for the kernel "
                   "backend: give only one of them", only_emulator);
        return false;
    }
    return true;
}

#ifdef CONFIG_VHOST_KERNEL
/*
 * Whether an open() that failed so says that there is no vhost_vsock here for
 * us, rather than that something went wrong.
 */
static bool kernel_is_out_of_reach(int err)
{
    return err == -ENOENT || err == -ENODEV || err == -ENXIO ||
           err == -EACCES || err == -EPERM;
}

/* Nobody asked for the kernel backend, so it is no error. */
static void tell_unused(const VHostVSock *s)
{
    const char *unused[VHOST_VSOCK_UNUSED_MAX + 1];
    g_autofree char *names = NULL;

    vhost_vsock_list_unused(s, unused);
    if (unused[0]) {
        names = g_strjoinv(", ", (char **)unused);
        warn_report("vhost-vsock: the host kernel moves the packets and "
                    "ignores what only backend=emulator has: %s", names);
    }
}
#endif

static bool init_backend(VHostVSock *s, Error **errp)
{
    if (s->backend == VHOST_VSOCK_BACKEND_EMULATOR) {
        return vhost_vsock_emulator_init(s, "backend=emulator was given",
                                         errp);
    }
    if (s->uds_path) {
        return vhost_vsock_emulator_init(s, "uds-path was given", errp);
    }

#ifdef CONFIG_VHOST_KERNEL
    g_autofree char *why = NULL;
    Error *local_err = NULL;
    int fd = vhost_vsock_kernel_open(s, &local_err);

    if (fd >= 0) {
        tell_unused(s);
        return vhost_vsock_kernel_init(s, fd, errp);
    }
    if (s->backend == VHOST_VSOCK_BACKEND_KERNEL || s->vhostfd ||
        !kernel_is_out_of_reach(fd) || !VHOST_VSOCK_HAS_EMULATOR) {
        error_propagate(errp, local_err);
        return false;
    }
    error_free(local_err);
    why = g_strdup_printf("cannot open " VHOST_VSOCK_DEVICE_NODE " (%s)",
                          strerror(-fd));
    return vhost_vsock_emulator_init(s, why, errp);
#else
    if (s->backend == VHOST_VSOCK_BACKEND_KERNEL || s->vhostfd) {
        error_setg(errp, "vhost-vsock: this QEMU was built without the "
                   "kernel backend (--enable-vhost-kernel)");
        return false;
    }
    return vhost_vsock_emulator_init(s, "this QEMU has no kernel backend",
                                     errp);
#endif
}

static void vhost_vsock_handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    s->ops->handle_output(s, virtio_get_queue_index(vq));
}

static void release_queues(VHostVSock *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        virtio_delete_queue(s->vqs[i]);
    }
    virtio_cleanup(vdev);
}

static void vhost_vsock_device_realize(DeviceState *dev, Error **errp)
{
    VHostVSock *s = VHOST_VSOCK(dev);
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);

    if (!check_guest_cid(s, errp) || !vhost_vsock_check_limits(s, errp) ||
        !check_combination(s, errp)) {
        return;
    }

    virtio_init(vdev, VIRTIO_ID_VSOCK, sizeof(struct virtio_vsock_config));
    for (int i = 0; i < VHOST_VSOCK_VQ_NUM; i++) {
        s->vqs[i] = virtio_add_queue(vdev, VHOST_VSOCK_VQ_SIZE,
                                     vhost_vsock_handle_output);
    }

    if (!init_backend(s, errp)) {
        release_queues(s);
        return;
    }
    trace_vhost_vsock_realize(s->guest_cid, s->ops->name);
}

static void vhost_vsock_device_unrealize(DeviceState *dev)
{
    VHostVSock *s = VHOST_VSOCK(dev);

    s->ops->set_status(s, 0);
    s->ops->fini(s);
    s->ops = NULL;
    release_queues(s);
}

/* --- Virtio --------------------------------------------------------------- */

static void vhost_vsock_get_config(VirtIODevice *vdev, uint8_t *config)
{
    /* The upper 32 bits are reserved and zero (5.10.4). */
    stq_le_p(config + offsetof(struct virtio_vsock_config, guest_cid),
             VHOST_VSOCK(vdev)->guest_cid);
}

static uint64_t vhost_vsock_get_features(VirtIODevice *vdev,
                                         uint64_t features, Error **errp)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    if (s->seqpacket != ON_OFF_AUTO_OFF) {
        virtio_add_feature(&features, VIRTIO_VSOCK_F_SEQPACKET);
    }
    features = s->ops->get_features(s, features, errp);
    if (s->seqpacket == ON_OFF_AUTO_ON &&
        !virtio_has_feature(features, VIRTIO_VSOCK_F_SEQPACKET)) {
        error_setg(errp, "vhost-vsock backend doesn't support seqpacket: "
                   "backend=%s cannot do seqpacket=on", s->ops->name);
    }
    return features;
}

#if QEMU_AT_LEAST(10, 1)
static int vhost_vsock_set_status(VirtIODevice *vdev, uint8_t status)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    trace_vhost_vsock_set_status(s->guest_cid, status, vdev->vm_running);
    return s->ops->set_status(s, status);
}
#else
static void vhost_vsock_set_status(VirtIODevice *vdev, uint8_t status)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    trace_vhost_vsock_set_status(s->guest_cid, status, vdev->vm_running);
    s->ops->set_status(s, status);
}
#endif

/* What the virtio core does where a backend has no wish of its own. */
static VirtioDeviceClass *virtio_core(void)
{
    return VIRTIO_DEVICE_CLASS(object_class_by_name(TYPE_VIRTIO_DEVICE));
}

static int vhost_vsock_start_ioeventfd(VirtIODevice *vdev)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    return s->ops->start_ioeventfd ? s->ops->start_ioeventfd(s) :
                                     virtio_core()->start_ioeventfd(vdev);
}

static void vhost_vsock_stop_ioeventfd(VirtIODevice *vdev)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    if (s->ops->stop_ioeventfd) {
        s->ops->stop_ioeventfd(s);
    } else {
        virtio_core()->stop_ioeventfd(vdev);
    }
}

static void vhost_vsock_queue_enable(VirtIODevice *vdev, uint32_t queue)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    if (s->ops->queue_enable) {
        s->ops->queue_enable(s);
    }
}

static struct vhost_dev *vhost_vsock_get_vhost(VirtIODevice *vdev)
{
    VHostVSock *s = VHOST_VSOCK(vdev);

    return s->ops->get_vhost ? s->ops->get_vhost(s) : NULL;
}

/* --- Migration ------------------------------------------------------------ */

static int vhost_vsock_post_load(void *opaque, int version_id)
{
    VHostVSock *s = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    /* No driver, no connections, nobody to tell. */
    if ((vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
        virtio_queue_get_addr(vdev, VHOST_VSOCK_VQ_EVENT)) {
        trace_vhost_vsock_transport_reset(s->guest_cid);
        s->ops->post_load(s);
    }
    return 0;
}

/* The CID is not in it: the destination's property counts. */
static const VMStateDescription vmstate_virtio_vhost_vsock = {
    .name = "virtio-vhost_vsock",
    .minimum_version_id = SAVEVM_VERSION,
    .version_id = SAVEVM_VERSION,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
    .post_load = vhost_vsock_post_load,
};

/* --- Type ----------------------------------------------------------------- */

static void vhost_vsock_instance_init(Object *obj)
{
    vhost_vsock_init_limits(VHOST_VSOCK(obj));
}

static void vhost_vsock_class_init(ObjectClass *klass, VSockClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    device_class_set_props(dc, vhost_vsock_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->vmsd = &vmstate_virtio_vhost_vsock;
    vdc->realize = vhost_vsock_device_realize;
    vdc->unrealize = vhost_vsock_device_unrealize;
    vdc->get_features = vhost_vsock_get_features;
    vdc->get_config = vhost_vsock_get_config;
    vdc->set_status = vhost_vsock_set_status;
    vdc->queue_enable = vhost_vsock_queue_enable;
    vdc->start_ioeventfd = vhost_vsock_start_ioeventfd;
    vdc->stop_ioeventfd = vhost_vsock_stop_ioeventfd;
    vdc->get_vhost = vhost_vsock_get_vhost;
}

static const TypeInfo vhost_vsock_info = {
    .name = TYPE_VHOST_VSOCK,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VHostVSock),
    .instance_init = vhost_vsock_instance_init,
    .class_init = vhost_vsock_class_init,
};

static void vhost_vsock_register_types(void)
{
    type_register_static(&vhost_vsock_info);
}

type_init(vhost_vsock_register_types)
