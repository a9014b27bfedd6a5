/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The virtio socket device "vhost-vsock-device", for transports that embed it.
 */

#ifndef QEMU_VHOST_VSOCK_H
#define QEMU_VHOST_VSOCK_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/vhost-vsock-common.h" /* its source gets it from here */
#include "qom/object.h"

#define TYPE_VHOST_VSOCK "vhost-vsock-device"
OBJECT_DECLARE_SIMPLE_TYPE(VHostVSock, VHOST_VSOCK)

struct IOThread;

/* Property "backend": who moves the packets. */
typedef enum VHostVSockBackend {
    VHOST_VSOCK_BACKEND_AUTO,     /* the kernel if it can be opened */
    VHOST_VSOCK_BACKEND_KERNEL,   /* the host kernel's vhost_vsock */
    VHOST_VSOCK_BACKEND_EMULATOR, /* libvsock-device, in this process */
    VHOST_VSOCK_BACKEND_NUM
} VHostVSockBackend;

/* Virtqueues, by their number (virtio 1.4, 5.10.2). */
enum {
    VHOST_VSOCK_VQ_RX,    /* to the guest */
    VHOST_VSOCK_VQ_TX,    /* from the guest */
    VHOST_VSOCK_VQ_EVENT, /* to the guest: transport reset */
    VHOST_VSOCK_VQ_NUM
};

/* Properties of the emulator's limits, as vsock-limits.h tells of them. */
typedef struct VHostVSockLimits {
    uint32_t max_conns;
    uint32_t buf_alloc;
    uint64_t max_staged;
    uint32_t request_timeout_ms;
    uint32_t close_timeout_ms;
    uint32_t line_timeout_ms;
} VHostVSockLimits;

struct VHostVSock {
    VirtIODevice parent_obj;

    /* Properties; constant once the device is realized. */
    uint64_t guest_cid;
    char *vhostfd;
    OnOffAuto seqpacket;
    VHostVSockBackend backend;
    char *uds_path;
    struct IOThread *iothread;
    VHostVSockLimits limits;

    VirtQueue *vqs[VHOST_VSOCK_VQ_NUM];

    /* The backend in use, and its own state; see vhost-vsock-internal.h. */
    const struct VHostVSockOps *ops;
    void *impl;
};

#endif /* QEMU_VHOST_VSOCK_H */
