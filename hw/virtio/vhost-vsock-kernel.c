/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel backend of vhost-vsock: RX and TX belong to the host's
 * vhost_vsock, the event queue stays here.
 *
 * Everything runs with the BQL held.  Once started, packets do not pass
 * through this process.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "standard-headers/linux/virtio_vsock.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/virtio/vhost.h"
#include "monitor/monitor.h"
#include "trace.h"
#include "vhost-vsock-internal.h"

/* RX and TX, the first two virtqueues. */
#define VHOST_QUEUES 2

typedef struct VSockKernel {
    VHostVSock *vsock;
    struct vhost_dev hdev;
    struct vhost_virtqueue vqs[VHOST_QUEUES];

    /*
     * The guest has to learn that its connections are gone, as soon as the VM
     * runs and there is a buffer to say it in.
     */
    bool reset_event_due;
} VSockKernel;

/*
 * Features that need the kernel's consent.  All others are of the ring and
 * the transport, and Linux's vhost has had them from the start.
 */
static const int kernel_feature_bits[] = {
    VIRTIO_VSOCK_F_SEQPACKET,
    VIRTIO_F_RING_RESET,
    VIRTIO_F_RING_PACKED,
    VHOST_INVALID_FEATURE_BIT
};

/* --- The event queue ------------------------------------------------------ */

/*
 * Write the event into @elem.  Returns the bytes written, or 0 if the
 * driver's buffer is none for an event.
 */
static size_t fill_reset_event(const VirtQueueElement *elem)
{
    const struct virtio_vsock_event event = {
        .id = cpu_to_le32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET),
    };

    if (elem->out_num) {
        error_report("invalid vhost-vsock event virtqueue element with "
                     "out buffers");
        return 0;
    }
    if (iov_size(elem->in_sg, elem->in_num) < sizeof(event)) {
        error_report("vhost-vsock event virtqueue element is too short");
        return 0;
    }
    return iov_from_buf(elem->in_sg, elem->in_num, 0, &event, sizeof(event));
}

static void send_reset_event(VSockKernel *k)
{
    VirtQueue *vq = k->vsock->vqs[VHOST_VSOCK_VQ_EVENT];
    VirtQueueElement *elem;

    /*
     * No buffer: the next notification of the queue brings us back.  Bad ones
     * are given back; there are no more than the queue has descriptors.
     */
    for (int i = 0; k->reset_event_due && i < VHOST_VSOCK_VQ_SIZE; i++) {
        size_t len;

        elem = virtqueue_pop(vq, sizeof(*elem));
        if (!elem) {
            return;
        }
        len = fill_reset_event(elem);
        k->reset_event_due = len == 0;
        virtqueue_push(vq, elem, len);
        virtio_notify(VIRTIO_DEVICE(k->vsock), vq);
        g_free(elem);
    }
}

static void kernel_handle_output(VHostVSock *s, unsigned int queue)
{
    VSockKernel *k = s->impl;

    /* RX and TX come here only while the virtio core cleans up. */
    if (queue == VHOST_VSOCK_VQ_EVENT && vhost_dev_is_started(&k->hdev)) {
        send_reset_event(k);
    }
}

static void kernel_post_load(VHostVSock *s)
{
    VSockKernel *k = s->impl;

    k->reset_event_due = true;
}

/* --- Start and stop ------------------------------------------------------- */

static int set_running(VSockKernel *k, bool running)
{
    const VhostOps *ops = k->hdev.vhost_ops;

    return ops->vhost_vsock_set_running ?
           ops->vhost_vsock_set_running(&k->hdev, running) : -ENOSYS;
}

/*
 * Failures are reported: the guest's write to the status register cannot
 * fail, it finds a device that does nothing.
 */
static void kernel_start(VSockKernel *k)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(k->vsock);
    BusState *qbus = qdev_get_parent_bus(DEVICE(vdev));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);
    int ret;

    if (!bus->set_guest_notifiers) {
        error_report("binding does not support guest notifiers");
        return;
    }

    ret = vhost_dev_enable_notifiers(&k->hdev, vdev);
    if (ret < 0) {
        error_report("Error enabling host notifiers: %d", -ret);
        return;
    }

    ret = bus->set_guest_notifiers(qbus->parent, VHOST_QUEUES, true);
    if (ret < 0) {
        error_report("Error binding guest notifier: %d", -ret);
        goto err_host_notifiers;
    }

    k->hdev.acked_features = vdev->guest_features;
    ret = vhost_dev_start(&k->hdev, vdev, true);
    if (ret < 0) {
        error_report("Error starting vhost: %d", -ret);
        goto err_guest_notifiers;
    }

    /*
     * The transport masks by taking the irqfd away, never through vhost.  This
     * comes before the device runs: packets that waited for it go into the
     * ring at once, and their interrupt must not go to a masked notifier.
     */
    for (int i = 0; i < VHOST_QUEUES; i++) {
        vhost_virtqueue_mask(&k->hdev, vdev, i, false);
    }

    ret = set_running(k, true);
    if (ret < 0) {
        error_report("Error starting vhost vsock: %d", -ret);
        goto err_dev;
    }
    /*
     * The kernel looks at TX when it is kicked only.  The kick for what waits
     * there may have come while the VM was stopped, or to the source of a
     * migration.
     */
    event_notifier_set(virtio_queue_get_host_notifier(
                           k->vsock->vqs[VHOST_VSOCK_VQ_TX]));
    send_reset_event(k);
    return;

err_dev:
    (void)vhost_dev_stop(&k->hdev, vdev, true);
err_guest_notifiers:
    bus->set_guest_notifiers(qbus->parent, VHOST_QUEUES, false);
err_host_notifiers:
    vhost_dev_disable_notifiers(&k->hdev, vdev);
}

static int kernel_stop(VSockKernel *k)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(k->vsock);
    BusState *qbus = qdev_get_parent_bus(DEVICE(vdev));
    VirtioBusClass *bus = VIRTIO_BUS_GET_CLASS(qbus);
    int stopped;
    int ret;

    ret = set_running(k, false);
    if (ret < 0) {
        error_report("vhost vsock set running failed: %d", ret);
    }

    stopped = vhost_dev_stop(&k->hdev, vdev, true);
    ret = bus->set_guest_notifiers(qbus->parent, VHOST_QUEUES, false);
    if (ret < 0) {
        error_report("vhost guest notifier cleanup failed: %d", ret);
        return ret;
    }
    vhost_dev_disable_notifiers(&k->hdev, vdev);
    return stopped;
}

static int kernel_set_status(VHostVSock *s, uint8_t status)
{
    VSockKernel *k = s->impl;
    bool start = virtio_device_should_start(VIRTIO_DEVICE(s), status);

    if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        k->reset_event_due = false;
    }
    if (start == vhost_dev_is_started(&k->hdev)) {
        return 0;
    }
    if (start) {
        kernel_start(k);
        return 0;
    }
    return kernel_stop(k);
}

static uint64_t kernel_get_features(VHostVSock *s, uint64_t features,
                                    Error **errp)
{
    VSockKernel *k = s->impl;

    return vhost_get_features(&k->hdev, kernel_feature_bits, features);
}

static struct vhost_dev *kernel_get_vhost(VHostVSock *s)
{
    VSockKernel *k = s->impl;

    return &k->hdev;
}

/* --- Life ----------------------------------------------------------------- */

static void kernel_fini(VHostVSock *s)
{
    VSockKernel *k = s->impl;

    vhost_dev_cleanup(&k->hdev); /* closes the descriptor */
    g_free(k);
    s->impl = NULL;
}

static const VHostVSockOps kernel_backend = {
    .name = "kernel",
    .fini = kernel_fini,
    .get_features = kernel_get_features,
    .set_status = kernel_set_status,
    .handle_output = kernel_handle_output,
    .post_load = kernel_post_load,
    .get_vhost = kernel_get_vhost,
};

int vhost_vsock_kernel_open(VHostVSock *s, Error **errp)
{
    ERRP_GUARD();
    int fd;

    if (!s->vhostfd) {
        fd = open(VHOST_VSOCK_DEVICE_NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
            int err = errno;

            error_setg_errno(errp, err,
                             "vhost-vsock: failed to open vhost device");
            error_append_hint(errp, "It is " VHOST_VSOCK_DEVICE_NODE " of the "
                              "host's module vhost_vsock.%s\n",
                              VHOST_VSOCK_HAS_EMULATOR ?
                              " backend=emulator works without." : "");
            return -err;
        }
        return fd;
    }

    fd = monitor_fd_param(monitor_cur(), s->vhostfd, errp);
    if (fd < 0) {
        error_prepend(errp, "vhost-vsock: unable to parse vhostfd: ");
        return -EINVAL;
    }
    if (!g_unix_set_fd_nonblocking(fd, true, NULL)) {
        int err = errno;

        /* Not a descriptor at all, so there is nothing to close. */
        error_setg_errno(errp, err,
                         "vhost-vsock: unable to set non-blocking mode");
        return -err;
    }
    return fd;
}

bool vhost_vsock_kernel_init(VHostVSock *s, int fd, Error **errp)
{
    ERRP_GUARD();
    VSockKernel *k = g_new0(VSockKernel, 1);
    const VhostOps *ops;
    int ret;

    k->vsock = s;
    k->hdev.vqs = k->vqs;
    k->hdev.nvqs = VHOST_QUEUES;
    s->impl = k;

    /* Closes @fd if it fails. */
    ret = vhost_dev_init(&k->hdev, (void *)(uintptr_t)fd,
                         VHOST_BACKEND_TYPE_KERNEL, 0, errp);
    if (ret < 0) {
        g_free(k);
        s->impl = NULL;
        return false;
    }

    ops = k->hdev.vhost_ops;
    ret = ops->vhost_vsock_set_guest_cid ?
          ops->vhost_vsock_set_guest_cid(&k->hdev, s->guest_cid) : -ENOSYS;
    if (ret < 0) {
        error_setg_errno(errp, -ret,
                         "vhost-vsock: unable to set guest cid");
        if (ret == -EADDRINUSE) {
            error_append_hint(errp, "Another guest has CID %" PRIu64
                              ": choose a guest-cid of your own.\n",
                              s->guest_cid);
        }
        kernel_fini(s);
        return false;
    }

    s->ops = &kernel_backend;
    return true;
}
