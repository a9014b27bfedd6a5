/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The border between the vhost-vsock device and its two backends.  Included by
 * hw/virtio/vhost-vsock*.c only.
 */

#ifndef HW_VIRTIO_VHOST_VSOCK_INTERNAL_H
#define HW_VIRTIO_VHOST_VSOCK_INTERNAL_H

#include "hw/virtio/vhost-vsock.h"

/*
 * One source compiles on QEMU 7.2 to 11.1.  What changed on the way and several
 * files need is here; the rest is beside its only use.
 */
#define QEMU_AT_LEAST(major, minor)             \
    (QEMU_VERSION_MAJOR > (major) ||            \
     (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

#if QEMU_AT_LEAST(11, 0)
#include "hw/core/qdev-properties.h"
#else
#include "hw/qdev-properties.h"
#endif

#if QEMU_AT_LEAST(10, 0)
#include "system/iothread.h"
#else
#include "sysemu/iothread.h"
#endif

#ifdef DEFINE_PROP_END_OF_LIST /* gone in 10.0 */
#define VSOCK_PROPERTY Property
#define VSOCK_PROPERTY_END DEFINE_PROP_END_OF_LIST(),
#else
#define VSOCK_PROPERTY const Property
#define VSOCK_PROPERTY_END
#endif

/* Third parameter of class_init(). */
#if QEMU_AT_LEAST(10, 1)
typedef const void VSockClassData;
#else
typedef void VSockClassData;
#endif

struct vhost_dev;

/*
 * What a backend does for the device.  All are called with the BQL held, and
 * all but those marked optional are there.
 */
typedef struct VHostVSockOps {
    const char *name;

    /* Undo the backend's init function: stop, and free VHostVSock.impl. */
    void (*fini)(VHostVSock *s);

    /* Take away from @features what the backend cannot do. */
    uint64_t (*get_features)(VHostVSock *s, uint64_t features, Error **errp);

    /*
     * The driver wrote @status, or the VM started or stopped: start or stop
     * accordingly.  A backend that fails to start reports it and leaves the
     * guest with a dead device.  Returns a negative errno if stopping failed.
     */
    int (*set_status)(VHostVSock *s, uint8_t status);

    /*
     * The driver notified @queue.  Called without the BQL if the
     * backend attached the queue to an iothread.
     */
    void (*handle_output)(VHostVSock *s, unsigned int queue);

    /* Optional: the driver set up a queue, perhaps after the start. */
    void (*queue_enable)(VHostVSock *s);

    /* The VM's state was loaded; its open connections are gone. */
    void (*post_load)(VHostVSock *s);

    /* Optional: take the host notifiers from the virtio core, give them back.
     * Return value as VirtioDeviceClass.start_ioeventfd. */
    int (*start_ioeventfd)(VHostVSock *s);
    void (*stop_ioeventfd)(VHostVSock *s);

    /* Optional: for vhost's own bookkeeping. */
    struct vhost_dev *(*get_vhost)(VHostVSock *s);
} VHostVSockOps;

/* Descriptors in each virtqueue. */
#define VHOST_VSOCK_VQ_SIZE 128

#define VHOST_VSOCK_DEVICE_NODE "/dev/vhost-vsock"

#ifdef CONFIG_VHOST_KERNEL
/*
 * Get the descriptor to talk to the host kernel with: VHostVSock.vhostfd if
 * set, else the device node.  Returns it, or a negative errno and sets @errp.
 */
int vhost_vsock_kernel_open(VHostVSock *s, Error **errp);

/* Make the host kernel the backend of @s.  @fd is consumed, come what may. */
bool vhost_vsock_kernel_init(VHostVSock *s, int fd, Error **errp);
#endif

/*
 * Make the emulator the backend of @s.  @why is for the line that tells the
 * user about it.
 */
bool vhost_vsock_emulator_init(VHostVSock *s, const char *why, Error **errp);

/* What VHostVSockLimits.max_conns is unless it was set. */
uint32_t vhost_vsock_default_max_conns(void);

#endif /* HW_VIRTIO_VHOST_VSOCK_INTERNAL_H */
