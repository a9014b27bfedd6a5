/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * State of the emulator backend of vhost-vsock.  Included by
 * hw/virtio/vhost-vsock-emulator*.c only.
 */

#ifndef HW_VIRTIO_VHOST_VSOCK_EMULATOR_H
#define HW_VIRTIO_VHOST_VSOCK_EMULATOR_H

#include "qemu/main-loop.h"
#include "qemu/notify.h"
#include "qemu/timer.h"
#include "vsock-device.h"
#include "vhost-vsock-internal.h"

/* One reason's share of the log: see emulator_refused(). */
typedef struct VSockRefusalLog {
    int64_t next_ms;      /* of QEMU_CLOCK_REALTIME: when to speak again */
    unsigned int unsaid;  /* refusals since the last line */
} VSockRefusalLog;

/* Where the driver says a ring is; guest-physical addresses. */
typedef struct VSockRing {
    int size;
    hwaddr desc; /* 0: the queue is not set up */
    hwaddr avail;
    hwaddr used;
} VSockRing;

/* A state the library should be in. */
typedef struct VSockWish {
    bool driver_ok;
    uint64_t features;    /* if driver_ok; and these rings */
    VSockRing rings[VHOST_VSOCK_VQ_NUM];
    bool running;         /* the VM runs, and the queues are attached */

    /* What happened on the way there; false again once the library knows. */
    bool driver_left;     /* driver_ok was false meanwhile */
    bool transport_reset;
} VSockWish;

typedef struct VSockEmulator {
    VHostVSock *vsock;
    VirtIODevice *vdev; /* the same; a cast of QOM's looks at the type */

    /*
     * Where the library runs: @ctx is the iothread's, or the main loop's
     * (@iothread is NULL).  All members from @dev on are used there only.
     */
    struct IOThread *iothread;
    AioContext *ctx;
    QEMUTimer *timer;  /* the library's deadline; fires in the main loop */
    QEMUBH *broken_bh; /* see tell_broken(); runs in the main loop */
    Notifier exit;

    VSockWish wanted;  /* what the front wants; with the BQL only */
    bool attached;     /* the host notifiers are the iothread's */

    VskDev *dev;
    QEMUBH *bh;
    bool busy;         /* inside the library */

    /* Work for the next call of the library. */
    VSockWish orders;  /* @wanted, as it was at the last sync */
    bool orders_due;
    bool dispatch_due;
    unsigned int kicks_due; /* a bit for each queue */

    /* What the library was told. */
    bool told_driver_ok;
    bool told_paused;

    unsigned int pushed[VSK_QUEUE_NUM]; /* chains, not yet flushed */

    int64_t last_ms;   /* the library's clock at its last look at it */
    int64_t clock_ms;  /* added to QEMU_CLOCK_VIRTUAL to make that clock */

    VSockRefusalLog refusals[VSK_REFUSED_NUM];
} VSockEmulator;

/* --- vhost-vsock-emulator-loop.c ------------------------------------------ */

/*
 * Begin to serve VSockEmulator.dev, which it owns from now on; end that and
 * free it.  These and the next three: with the BQL held.
 */
void vhost_vsock_loop_start(VSockEmulator *e);
void vhost_vsock_loop_stop(VSockEmulator *e);

/* Do what is wanted, and return when it is done. */
void vhost_vsock_loop_sync(VSockEmulator *e);

/*
 * The same; the iothread takes the queues' notifications, or takes them no
 * more.
 */
void vhost_vsock_loop_attach(VSockEmulator *e);
void vhost_vsock_loop_detach(VSockEmulator *e);

/* Whether the caller is where the library runs. */
bool vhost_vsock_loop_is_home(const VSockEmulator *e);

/* The driver notified @queue.  To be called at home. */
void vhost_vsock_loop_kick(VSockEmulator *e, unsigned int queue);

/* --- vhost-vsock-emulator-queue.c ----------------------------------------- */

extern const VskDevOps vhost_vsock_emulator_queue_ops;

/* Looked at before each call of the library. */
static inline VSockRing vhost_vsock_emulator_get_ring(const VSockEmulator *e,
                                                      int queue)
{
    return (VSockRing) {
        .size = virtio_queue_get_num(e->vdev, queue),
        .desc = virtio_queue_get_desc_addr(e->vdev, queue),
        .avail = virtio_queue_get_avail_addr(e->vdev, queue),
        .used = virtio_queue_get_used_addr(e->vdev, queue),
    };
}

/* Whether all of it is in RAM, and can be written where it must be. */
bool vhost_vsock_emulator_ring_is_ram(VSockEmulator *e, int queue);

/*
 * Whether all rings that the driver set up are in RAM.  If not, the device is
 * broken until the driver resets it.  With the BQL held.
 */
bool vhost_vsock_emulator_check_rings(VSockEmulator *e);

#endif /* HW_VIRTIO_VHOST_VSOCK_EMULATOR_H */
