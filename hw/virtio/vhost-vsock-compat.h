/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One source compiles on QEMU 7.2 to 11.1: what changed its name, place or form
 * on the way.  Include it after QEMU's own headers.
 */

#ifndef HW_VIRTIO_VHOST_VSOCK_COMPAT_H
#define HW_VIRTIO_VHOST_VSOCK_COMPAT_H

#define QEMU_AT_LEAST(major, minor)             \
    (QEMU_VERSION_MAJOR > (major) ||            \
     (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

#if QEMU_AT_LEAST(11, 0)
#include "hw/core/qdev-properties.h"
#include "qemu/aio-wait.h"
#else
#include "hw/qdev-properties.h"
#include "block/aio-wait.h"
#endif

#if QEMU_AT_LEAST(10, 0)
#include "system/dma.h"
#include "system/iothread.h"
#include "system/system.h"
#else
#include "sysemu/dma.h"
#include "sysemu/iothread.h"
#include "sysemu/sysemu.h"
#endif

/* Arrays of properties ended with an empty one, and were not const. */
#if QEMU_AT_LEAST(10, 0)
#define VSOCK_PROPERTY const Property
#define VSOCK_PROPERTY_END
#define VSOCK_PROPERTY_TYPE .type
#else
#define VSOCK_PROPERTY Property
#define VSOCK_PROPERTY_END DEFINE_PROP_END_OF_LIST(),
#define VSOCK_PROPERTY_TYPE .name
#endif

/* Third parameter of class_init(). */
#if QEMU_AT_LEAST(10, 1)
typedef const void VSockClassData;
#else
typedef void VSockClassData;
#endif

/* An iothread needed another function to interrupt the guest. */
#if QEMU_AT_LEAST(10, 2)
#define virtio_notify_irqfd virtio_notify
#endif

/* It could not fail. */
#if !QEMU_AT_LEAST(10, 1)
#define vhost_dev_stop(...) ((vhost_dev_stop)(__VA_ARGS__), 0)
#endif

/* An iothread's context had a lock, and the BQL another name. */
#if QEMU_AT_LEAST(9, 0)
#define aio_context_acquire(ctx) ((void)(ctx))
#define aio_context_release(ctx) ((void)(ctx))
#else
#define bql_locked qemu_mutex_iothread_locked
#define bql_lock qemu_mutex_lock_iothread
#define bql_unlock qemu_mutex_unlock_iothread
#endif

/* Handlers could be those of external clients, to be held back. */
#if !QEMU_AT_LEAST(8, 1)
#define aio_set_fd_handler(ctx, fd, ...) \
    (aio_set_fd_handler)(ctx, fd, false, __VA_ARGS__)
#endif

#endif /* HW_VIRTIO_VHOST_VSOCK_COMPAT_H */
