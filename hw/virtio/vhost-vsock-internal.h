/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The border between the vhost-vsock device and its two backends.  Included by
 * hw/virtio/vhost-vsock*.c only.
 */

#ifndef HW_VIRTIO_VHOST_VSOCK_INTERNAL_H
#define HW_VIRTIO_VHOST_VSOCK_INTERNAL_H

#include "qapi/error.h"
#include "hw/virtio/vhost-vsock.h"
#include "vhost-vsock-compat.h"

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

    /*
     * Optional: take the host notifiers from the virtio core, give them back.
     * Return value as VirtioDeviceClass.start_ioeventfd.
     */
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

/* At most so many properties are of no use to the kernel backend. */
#define VHOST_VSOCK_UNUSED_MAX 7

#ifdef CONFIG_VSOCK_EMULATOR
#define VHOST_VSOCK_HAS_EMULATOR true
#define VHOST_VSOCK_BACKENDS "auto/kernel/emulator"

/*
 * Make the emulator the backend of @s.  @why is for the line that tells the
 * user about it.
 */
bool vhost_vsock_emulator_init(VHostVSock *s, const char *why, Error **errp);

/* Set the defaults that are not constants. */
void vhost_vsock_init_limits(VHostVSock *s);

/* Whether all limits are within their ranges. */
bool vhost_vsock_check_limits(const VHostVSock *s, Error **errp);

/*
 * Names of what was set that the kernel backend has no use for, besides
 * uds-path; NULL at the end.
 */
void vhost_vsock_list_unused(const VHostVSock *s, const char **ret_names);
#else
/* Those who build QEMU chose to have the kernel backend only. */
#define VHOST_VSOCK_HAS_EMULATOR false
#define VHOST_VSOCK_BACKENDS "auto/kernel"

static inline bool vhost_vsock_emulator_init(VHostVSock *s, const char *why,
                                             Error **errp)
{
    error_setg(errp, "vhost-vsock: this QEMU was built without the emulator "
               "(--disable-vsock-emulator)");
    return false;
}

static inline void vhost_vsock_init_limits(VHostVSock *s)
{
}

static inline bool vhost_vsock_check_limits(const VHostVSock *s, Error **errp)
{
    return true;
}

static inline void vhost_vsock_list_unused(const VHostVSock *s,
                                           const char **ret_names)
{
    *ret_names = NULL;
}
#endif

#endif /* HW_VIRTIO_VHOST_VSOCK_INTERNAL_H */
