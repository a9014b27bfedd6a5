/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A split virtqueue (virtio 1.4, section 2.7) as its device sees it, for
 * embedders that have the guest's memory mapped and no ring code of their own.
 *
 * What it promises
 * ----------------
 * - Every field in guest memory is read once and checked before it is used, so
 *   nothing that a driver writes, at any time, makes it read or write outside
 *   of what #VskVringOps.map returned, abort, or loop for long.
 * - A ring that breaks the standard's rules is broken for good: no chain is
 *   found, and nothing written, until a new one is made; see
 *   vsk_vring_broken().
 * - No memory is allocated for a chain of up to 16 pieces.
 *
 * What it asks of the embedder
 * ----------------------------
 * - Calls on one ring are serialised.  Callbacks must not call back into it.
 * - What was mapped stays so while chains are out, and the three areas of
 *   #VskVringConfig as long as the ring lives.
 *
 * Its operations are those of #VskDevOps, one queue each.  Byte order: guest
 * memory is little-endian, everything below in host byte order.
 */

#ifndef VSOCK_VRING_H
#define VSOCK_VRING_H

#include "vsock-device.h"

G_BEGIN_DECLS

typedef struct VskVring VskVring;

typedef struct VskVringOps {
    /*
     * Where the guest's physical address @gpa is.  *@len: the bytes wanted, at
     * least one; set to how many of them lie there in one piece, at least one
     * and no more than wanted.  NULL: there is no memory.
     */
    void *(*map)(void *opaque, uint64_t gpa, uint64_t *len);

    /* @len bytes at @gpa were written; NULL where no one wants to know. */
    void (*dirty)(void *opaque, uint64_t gpa, uint64_t len);
} VskVringOps;

/*
 * Chains that are out, in memory that outlives this process: the layout of
 * vhost-user's inflight buffer for a split virtqueue.
 */
typedef struct VskVringInflightDesc {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;    /* of the last batch */
    uint64_t counter; /* in the order of the pops */
} VskVringInflightDesc;

typedef struct VskVringInflight {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
    VskVringInflightDesc desc[]; /* @desc_num, at least the ring's size */
} VskVringInflight;

typedef struct VskVringConfig {
    unsigned int num;  /* descriptors; a power of 2, 32768 at the most */

    /*
     * The areas, mapped in one piece each; their alignment is the standard's:
     * 16, 2 and 4.
     */
    void *desc;
    void *avail;
    void *used;
    uint64_t used_gpa; /* of @used, for #VskVringOps.dirty */

    uint16_t base;     /* the first chain is at this index of @avail */
    bool event_idx;    /* VIRTIO_F_EVENT_IDX was negotiated */
    bool indirect;     /* VIRTIO_F_INDIRECT_DESC was negotiated */

    /*
     * NULL, or where to note chains that are out.  Such of a process that
     * died are popped first, in the order in which it had them, and @base is
     * ignored.
     */
    VskVringInflight *inflight;
} VskVringConfig;

/* Bytes of the areas of a ring of @num descriptors. */
#define VSK_VRING_DESC_SIZE(num)  (16u * (num))
#define VSK_VRING_AVAIL_SIZE(num) (6u + 2u * (num))
#define VSK_VRING_USED_SIZE(num)  (6u + 8u * (num))

/**
 * vsk_vring_new:
 * @config: copied
 * @ops: must outlive the ring
 * @errp: VSK_ERROR_INVALID, with a text that names what is wrong
 *
 * Returns: a ring, owned by the caller, or NULL.
 */
VskVring *vsk_vring_new(const VskVringConfig *config, const VskVringOps *ops,
                        void *opaque, GError **errp);

/* Chains that are out are forgotten.  NULL is fine. */
void vsk_vring_free(VskVring *vring);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VskVring, vsk_vring_free)

/* See #VskDevOps.pop, unpop, push. */
bool vsk_vring_pop(VskVring *vring, VskChain *ret_chain);
void vsk_vring_unpop(VskVring *vring, VskChain *chain);
void vsk_vring_push(VskVring *vring, VskChain *chain, uint32_t len);

/**
 * vsk_vring_publish:
 *
 * Let the driver see what was pushed.
 *
 * Returns: whether there was anything; then ask vsk_vring_wants_interrupt(),
 * once, and as late as can be: a driver that was woken in between for another
 * queue may have seen it already.
 */
bool vsk_vring_publish(VskVring *vring);

/*
 * Whether the driver wants to be interrupted for what was published since the
 * last call (2.7.7).
 */
bool vsk_vring_wants_interrupt(VskVring *vring);

/* See #VskDevOps.set_notification. */
bool vsk_vring_set_notification(VskVring *vring, bool enable);

/* Whether a chain is there, one read of memory: for those who poll. */
bool vsk_vring_has_avail(const VskVring *vring);

/*
 * The index in the available ring of the next chain: @base of the ring that
 * goes on with this one.
 */
uint16_t vsk_vring_base(const VskVring *vring);

/* NULL, or what the driver did wrong, for a log. */
const char *vsk_vring_broken(const VskVring *vring);

G_END_DECLS

#endif /* VSOCK_VRING_H */
