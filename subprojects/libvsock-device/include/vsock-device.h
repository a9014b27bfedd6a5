/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * libvsock-device: the device side of a virtio socket device (virtio 1.4,
 * section 5.10), bridging a guest's AF_VSOCK flows, SOCK_STREAM and
 * SOCK_SEQPACKET, to AF_UNIX sockets of the host.
 *
 * What the library promises
 * -------------------------
 * - No guest memory content, no order of packets and no behaviour of a host
 *   client makes it abort, block, spin, or hold more memory than
 *   #VskDevConfig allows.
 * - Every chain it pops is given back, by push or by unpop, before the call
 *   that popped it returns.  Between calls it holds no reference to guest
 *   memory, so the embedder may stop, migrate or reset at any such point.
 * - Bytes of a flow are neither lost nor reordered, and are delivered before
 *   an end of file is passed on.  Messages of a seqpacket flow stay whole.
 * - It starts no thread, reads no clock, keeps no global state and writes no
 *   log.  Time comes in as @now_ms; refusals go out through
 *   #VskDevOps.refused.
 *
 * What it asks of the embedder
 * ----------------------------
 * - Calls on one #VskDev are serialised (one thread, or one lock).  Callbacks
 *   run inside those calls and must not call back into the same #VskDev.
 * - @now_ms is milliseconds of any clock that never goes back; the same clock
 *   in every call.
 * - Watch vsk_dev_get_fd() for input and call vsk_dev_dispatch() when it is
 *   readable, and when the time vsk_dev_next_deadline() tells has come.  Ask
 *   for the deadline again after each call that takes @now_ms.
 * - Call vsk_dev_kick() when the driver notifies a queue.
 *
 * Byte order: every struct below is in host byte order except #VskWireHdr.
 */

#ifndef VSOCK_DEVICE_H
#define VSOCK_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vsock-limits.h"

G_BEGIN_DECLS

/* --- The wire (virtio 1.4, 5.10.6) --------------------------------------- */

/* Well-known CIDs (5.10.4). */
#define VSK_CID_HYPERVISOR 0
#define VSK_CID_LOCAL      1
#define VSK_CID_HOST       2
#define VSK_CID_ANY        UINT32_MAX

typedef enum VskOp {
    VSK_OP_INVALID = 0,
    VSK_OP_REQUEST = 1,
    VSK_OP_RESPONSE = 2,
    VSK_OP_RST = 3,
    VSK_OP_SHUTDOWN = 4,
    VSK_OP_RW = 5,
    VSK_OP_CREDIT_UPDATE = 6,
    VSK_OP_CREDIT_REQUEST = 7,
    VSK_OP_NUM
} VskOp;

typedef enum VskType {
    VSK_TYPE_STREAM = 1,
    VSK_TYPE_SEQPACKET = 2,
} VskType;

/* Flags of VSK_OP_SHUTDOWN (5.10.6.5): hints about the packet's sender. */
#define VSK_SHUTDOWN_RECEIVE (1u << 0) /* it receives no more */
#define VSK_SHUTDOWN_SEND    (1u << 1) /* it sends no more */
#define VSK_SHUTDOWN_BOTH    (VSK_SHUTDOWN_RECEIVE | VSK_SHUTDOWN_SEND)

/*
 * Flags of VSK_OP_RW of a seqpacket flow (5.10.6.6.1): the packet ends a
 * message; the message ends a record.  AF_UNIX does not carry MSG_EOR, so the
 * library never sets the second one, and takes it without effect.
 */
#define VSK_SEQ_EOM (1u << 0)
#define VSK_SEQ_EOR (1u << 1)

/* Event queue (5.10.6.7). */
#define VSK_EVENT_TRANSPORT_RESET 0u

/* Feature bits (5.10.3). */
#define VSK_F_STREAM            0
#define VSK_F_SEQPACKET         1
#define VSK_F_NO_IMPLIED_STREAM 2

/* struct virtio_vsock_hdr as it stands in guest memory: little-endian. */
typedef struct VskWireHdr {
    uint64_t src_cid;
    uint64_t dst_cid;
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t len;       /* bytes of payload behind the header */
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buf_alloc; /* bytes the sender can hold in all */
    uint32_t fwd_cnt;   /* bytes the sender has taken out, modulo 2^32 */
} __attribute__((packed)) VskWireHdr;

#define VSK_HDR_SIZE 44 /* bytes */
G_STATIC_ASSERT(sizeof(VskWireHdr) == VSK_HDR_SIZE);

/* The same, in host byte order. */
typedef struct VskHdr {
    uint64_t src_cid;
    uint64_t dst_cid;
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t len;
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buf_alloc;
    uint32_t fwd_cnt;
} VskHdr;

/* --- Virtqueues ----------------------------------------------------------- */

/* Virtqueue numbers (5.10.2). */
typedef enum VskQueue {
    VSK_QUEUE_RX = 0,    /* device to driver */
    VSK_QUEUE_TX = 1,    /* driver to device */
    VSK_QUEUE_EVENT = 2, /* device to driver, events */
    VSK_QUEUE_NUM
} VskQueue;

/*
 * One descriptor chain.  @elem is the embedder's own handle; the library hands
 * it back untouched.  The arrays stay valid until the chain is given back.
 */
typedef struct VskChain {
    void *elem;
    const struct iovec *out; /* device-readable buffers */
    unsigned int n_out;
    const struct iovec *in;  /* device-writable buffers */
    unsigned int n_in;
} VskChain;

/*
 * Why something was refused.  Each is counted in #VskStats.refused and told
 * to #VskDevOps.refused; vsk_refusal_name() gives the text for a log.
 */
typedef enum VskRefusal {
    VSK_REFUSED_TX_CHAIN_SHORT, /* fewer readable bytes than a header */
    VSK_REFUSED_TX_LEN,         /* len beyond the chain, or beyond 64 KiB */
    VSK_REFUSED_RX_CHAIN_SHORT, /* RX chain with no room for what waits */
    VSK_REFUSED_EVENT_CHAIN_SHORT, /* event chain with no room for an event */
    VSK_REFUSED_SRC_CID,        /* not the guest's own CID */
    VSK_REFUSED_DST_CID,        /* not a CID that can be reached */
    VSK_REFUSED_TYPE,           /* unknown, or not negotiated, socket type */
    VSK_REFUSED_OP,             /* an op that means nothing in this state */
    VSK_REFUSED_NO_FLOW,        /* no such flow */
    VSK_REFUSED_NO_LISTENER,    /* no host program listens on that port */
    /* another user's, or made reachable by one, where all may write */
    VSK_REFUSED_UNSAFE_LISTENER,
    VSK_REFUSED_BACKLOG,        /* the host program's backlog is full */
    /* max_conns, or host fds, ports or memory, used up */
    VSK_REFUSED_LIMIT,
    VSK_REFUSED_CREDIT,         /* more payload than was advertised */
    VSK_REFUSED_EMPTY_MESSAGES, /* too many, for they take no credit */
    /* host program: a message larger than the guest's buffer */
    VSK_REFUSED_MESSAGE_SIZE,
    VSK_REFUSED_HOST_LINE,      /* host client: not "CONNECT <port>" */
    VSK_REFUSED_HOST_TIMEOUT,   /* host client: no line in time */
    VSK_REFUSED_HOST_LIMIT,     /* host client: too many without a line */
    VSK_REFUSED_HOST_GUEST,     /* host client: another device's guest */
    VSK_REFUSED_NOT_READY,      /* host client: the guest runs no driver */
    VSK_REFUSED_REQUEST_TIMEOUT, /* the guest did not answer a REQUEST */
    VSK_REFUSED_CLOSE_TIMEOUT,  /* the guest did not answer a SHUTDOWN */
    VSK_REFUSED_NUM
} VskRefusal;

const char *vsk_refusal_name(VskRefusal why);

/*
 * What to tell a human, who can do something about it; NULL for the other
 * reasons, which belong to the daily life of sockets.
 */
const char *vsk_refusal_warning(VskRefusal why);

/* "RW", say; "unknown" for any number that is no #VskOp. */
const char *vsk_op_name(uint16_t op);

/*
 * Op, addresses and length of a packet in words, for a log.  The caller
 * frees it.
 */
char *vsk_packet_describe(const VskHdr *hdr);

/*
 * What the embedder does for the library.  All callbacks are required but
 * @refused and @packet, which may be NULL.
 */
typedef struct VskDevOps {
    /*
     * Take the next available chain of @queue.  False: none there, or the
     * queue is not ready or broken; *@ret_chain is then untouched.
     */
    bool (*pop)(void *opaque, VskQueue queue, VskChain *ret_chain);

    /*
     * Undo a pop.  Called in reverse order of the pops, on chains that were
     * not pushed, so the next pop returns @chain again.
     */
    void (*unpop)(void *opaque, VskQueue queue, VskChain *chain);

    /*
     * Put @chain into the used ring with @len bytes written.  It need not
     * be visible to the driver before @flush.
     */
    void (*push)(void *opaque, VskQueue queue, VskChain *chain, uint32_t len);

    /*
     * Publish all pushed chains, of all queues; then interrupt the driver for
     * each queue where it asks for that.  First all of the one, then the other:
     * a driver that wakes up for one queue finds the chains of the others,
     * and with event indices needs no further interrupt for them.
     */
    void (*flush)(void *opaque);

    /*
     * Ask the driver to notify, or not to notify, of new chains in @queue.
     * When switching on, returns true if chains are there already (they came
     * before the driver could know), else false.
     */
    bool (*set_notification)(void *opaque, VskQueue queue, bool enable);

    /* A refusal happened.  @hdr: the packet, or NULL where there is none. */
    void (*refused)(void *opaque, VskRefusal why, const VskHdr *hdr);

    /*
     * Every packet that crosses the rings, after it was checked (from the
     * guest) or completed (to the guest).  @payload holds @hdr->len bytes or
     * more; it must not be kept.
     */
    void (*packet)(void *opaque, bool to_guest, const VskHdr *hdr,
                   const struct iovec *payload, unsigned int n_payload);
} VskDevOps;

/* --- The device ----------------------------------------------------------- */

typedef struct VskDev VskDev;

/*
 * Zero in a numeric member below, but @guest_cid, means "the default"; for
 * that, and for the range of each, see vsock-limits.h.
 */
typedef struct VskDevConfig {
    uint64_t guest_cid;        /* 3 … 2^32-2 */

    /*
     * Path of the listening AF_UNIX socket for host clients; with "_<port>"
     * appended, the socket a host program listens on for the guest.  At most
     * VSK_PATH_MAX bytes.  "<path>.lock" beside it is the lock that owns
     * the CID.  See vsock-socket-file.h.
     */
    const char *uds_path;

    /*
     * Whether there are SOCK_SEQPACKET flows, too: offer VSK_F_SEQPACKET to
     * the driver.  Host clients connect to "<path>_seqpacket" for one.
     */
    bool seqpacket;

    /*
     * Where to look for a host program's socket when there is none at
     * @uds_path: the same "_<port>" is appended.  NULL: nowhere.
     */
    const char *shared_path;

    uint32_t max_conns;        /* flows at once */
    uint32_t buf_alloc;        /* bytes advertised for a flow */
    uint64_t max_staged;       /* bytes advertised over all flows */
    uint32_t request_timeout_ms; /* guest answers a REQUEST */
    uint32_t close_timeout_ms;   /* guest answers a SHUTDOWN */
    uint32_t line_timeout_ms;    /* host client writes its line */

    /*
     * Any 64 random bits.  They place the first host port, so that ports
     * differ after a restart or migration, and key the flow table.
     */
    uint64_t seed;
} VskDevConfig;

typedef struct VskStats {
    uint64_t refused[VSK_REFUSED_NUM];
    uint64_t conns_opened;         /* flows that were established, ever */
    uint32_t conns;                /* flows now, in whatever phase */
    uint64_t bytes_from_guest;     /* payload */
    uint64_t bytes_to_guest;       /* payload */
    uint64_t packets_from_guest;
    uint64_t packets_to_guest;
    uint64_t staged;               /* bytes host programs have yet to take */
} VskStats;

#define VSK_ERROR (vsk_error_quark())
GQuark vsk_error_quark(void);

typedef enum VskError {
    /* A bad value in the configuration: mend it. */
    VSK_ERROR_INVALID,
    /*
     * A live device holds the lock, or a live program the path: choose another
     * CID or path, or end the other one.
     */
    VSK_ERROR_CID_TAKEN,
    /*
     * A file in the way that is not ours to remove, or a directory others can
     * write to: see the text.
     */
    VSK_ERROR_UNSAFE,
    /* A system call failed: see the text. */
    VSK_ERROR_SYSTEM,
} VskError;

/**
 * vsk_dev_new:
 * @config: what to build; copied
 * @ops: callbacks; must outlive the device
 * @opaque: handed to every callback
 * @errp: a #VskError of domain VSK_ERROR, text complete for a user
 *
 * Make a device, take the CID's lock and listen at @config->uds_path.  A
 * socket that a dead process left there is taken over.  The directory is
 * not created: see vsk_path_prepare_dir().  The device starts without a
 * driver: see vsk_dev_set_driver_ok().
 *
 * Returns: the device, owned by the caller, or NULL.
 */
VskDev *vsk_dev_new(const VskDevConfig *config, const VskDevOps *ops,
                    void *opaque, GError **errp);

/**
 * vsk_dev_free:
 * @dev: a device, or NULL
 *
 * Close all flows and sockets, remove the listening socket, give the CID's
 * lock back.  Calls no callback.
 */
void vsk_dev_free(VskDev *dev);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VskDev, vsk_dev_free)

/**
 * vsk_dev_get_fd:
 *
 * Returns: a descriptor that is readable when vsk_dev_dispatch() has work; it
 * stays the same, and the library's own, as long as @dev lives.
 */
int vsk_dev_get_fd(const VskDev *dev);

/**
 * vsk_dev_dispatch:
 *
 * Serve host sockets, expire timers, then move packets both ways as far as
 * rings, credit and one turn's budget allow.
 */
void vsk_dev_dispatch(VskDev *dev, int64_t now_ms);

/**
 * vsk_dev_next_deadline:
 *
 * Returns: when to call vsk_dev_dispatch() at the latest, in the clock of
 * @now_ms; a time that has passed already means "as soon as others had their
 * turn"; -1 means no time.
 */
int64_t vsk_dev_next_deadline(const VskDev *dev);

/**
 * vsk_dev_kick:
 *
 * The driver made chains available in @queue: TX, packets to take; RX,
 * buffers to fill; EVENT, buffers for events.
 */
void vsk_dev_kick(VskDev *dev, VskQueue queue, int64_t now_ms);

/**
 * vsk_dev_set_driver_ok:
 * @ok: whether the driver is set up (DRIVER_OK) and the queues may be used
 * @features: what was negotiated; ignored if @ok is false
 *
 * With false: all flows end (host programs still get what the guest had
 * sent, then end of file), listeners stay, and host clients are refused until
 * the driver is back.  Call it with false for a device reset.
 */
void vsk_dev_set_driver_ok(VskDev *dev, bool ok, uint64_t features,
                           int64_t now_ms);

/**
 * vsk_dev_set_paused:
 *
 * While paused (the VM is stopped) no queue is touched and no time of a flow
 * runs; flows, and what host programs wrote to them, are kept.
 */
void vsk_dev_set_paused(VskDev *dev, bool paused, int64_t now_ms);

/**
 * vsk_dev_transport_reset:
 *
 * End all flows and tell the driver by a TRANSPORT_RESET event (5.10.6.7), as
 * a device must whose guest was restored or migrated.  Nothing else goes to
 * the guest until it took the event.
 */
void vsk_dev_transport_reset(VskDev *dev, int64_t now_ms);

/**
 * vsk_dev_end_flows:
 *
 * Before the end, while the driver lives on: reset all flows, so that nobody
 * waits for a device that is gone.  The guest gets an RST for each, as far as
 * it has buffers; while vsk_dev_next_deadline() is in the past there is more
 * to hand out by vsk_dev_dispatch().  What host programs have yet to take is
 * lost.
 */
void vsk_dev_end_flows(VskDev *dev, int64_t now_ms);

void vsk_dev_get_stats(const VskDev *dev, VskStats *ret_stats);

G_END_DECLS

#endif /* VSOCK_DEVICE_H */
