/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which chains are with the device, written where they outlive it.
 */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inflight.h"

/* What the protocol asks each queue's part to be aligned to. */
#define ALIGNMENT 64u

static size_t size_of_queue(unsigned int queue_size)
{
    size_t size = sizeof(VskVringInflight) +
                  queue_size * sizeof(VskVringInflightDesc);

    return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

size_t inflight_size(unsigned int n_queues, unsigned int queue_size)
{
    return n_queues * size_of_queue(queue_size);
}

static int inflight_map(Inflight *inflight, unsigned int n_queues,
                        unsigned int queue_size, size_t size, uint64_t offset,
                        int fd)
{
    FileMap map;
    int ret = file_map(&map, fd, offset, size, 0);

    if (ret == 0) {
        inflight_close(inflight);
        *inflight = (Inflight) { map, n_queues, queue_size };
    }
    return ret;
}

int inflight_create(Inflight *inflight, unsigned int n_queues,
                    unsigned int queue_size)
{
    size_t size = inflight_size(n_queues, queue_size);
    int fd, ret = 0;

    /* #syscalls memfd_create ftruncate close */
    fd = memfd_create("vhost-user-vsock-inflight", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)size) < 0) {
        ret = -errno;
    } else {
        ret = inflight_map(inflight, n_queues, queue_size, size, 0, fd);
    }
    if (ret < 0) {
        close(fd);
        return ret;
    }
    return fd;
}

int inflight_open(Inflight *inflight, unsigned int n_queues,
                  unsigned int queue_size, uint64_t size, uint64_t offset,
                  int fd)
{
    size_t needed = inflight_size(n_queues, queue_size);

    if (size < needed) {
        return -EINVAL;
    }
    return inflight_map(inflight, n_queues, queue_size, needed, offset, fd);
}

void inflight_close(Inflight *inflight)
{
    file_unmap(&inflight->map);
}

VskVringInflight *inflight_queue(const Inflight *inflight, unsigned int index,
                                 unsigned int num)
{
    VskVringInflight *queue;

    if (!inflight->map.at || index >= inflight->n_queues ||
        num > inflight->queue_size) {
        return NULL;
    }
    queue = (VskVringInflight *)(inflight->map.at +
                                 index * size_of_queue(inflight->queue_size));
    if (!queue->version) {
        memset(queue, 0, size_of_queue(inflight->queue_size));
        queue->version = 1;
    }
    queue->desc_num = inflight->queue_size;
    return queue;
}
