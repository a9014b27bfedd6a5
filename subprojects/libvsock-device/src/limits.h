/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every limit of the library: its unit, why this value, what happens when it
 * is reached, and the test that reaches it.
 */

#ifndef VSK_LIMITS_H
#define VSK_LIMITS_H

/*
 * Bytes of payload in one packet from the guest.  Linux sends no more
 * (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).  Beyond: the packet is refused and
 * its flow, if any, reset.  Test: /dev/tx/len-beyond-64k-is-refused
 */
#define VSK_MAX_PKT_PAYLOAD 65536u

/*
 * Bytes advertised for one flow.  What Linux's vhost_vsock advertises, so that
 * guests are tuned for it.  Beyond: RST, VSK_REFUSED_CREDIT.
 * Test: /conn/credit/overrun-resets
 */
#define VSK_DEFAULT_BUF_ALLOC 262144u

/*
 * The same, at the least: two of a Linux guest's pages, for progress.  Where
 * net.core.wmem_max is tiny, a seqpacket flow gets what it leaves.
 */
#define VSK_MIN_BUF_ALLOC 8192u

/*
 * Bytes advertised over all flows: the memory that host programs which do not
 * read can cost; a seqpacket flow counts twice.  Half of it is kept for the
 * flows that may come yet, so that max_conns of them get VSK_MIN_BUF_ALLOC; of
 * the rest each flow gets 1/VSK_STAGED_SHARE on top, so that windows shrink
 * with load: some 460 flows get a full one.  When less than the
 * smallest is left, further ones are refused.
 * Test: /mux/limits/window-shrinks-with-load
 */
#define VSK_DEFAULT_MAX_STAGED (256ull << 20)
#define VSK_STAGED_SHARE 64u

/*
 * Messages without bytes that wait for one host program: they take no credit.
 * Far more than a socket holds.  Beyond: RST, VSK_REFUSED_EMPTY_MESSAGES.
 * Test: /stage/empty-messages-are-bounded
 */
#define VSK_MAX_EMPTY_MESSAGES 4096u

/*
 * Flows at once.  Each costs a descriptor, which is usually the lower limit.
 * Beyond: RST, VSK_REFUSED_LIMIT.  Test: /mux/limits/max-conns
 */
#define VSK_DEFAULT_MAX_CONNS 16384u

/*
 * RSTs that wait for an RX buffer and belong to no flow.  Twice the
 * queue size of QEMU's device; when all are used TX is not
 * processed until RX drains (5.10.6.1).
 * Test: /dev/tx/stops-when-replies-wait
 */
#define VSK_MAX_ORPHAN_RSTS 256u

/*
 * Host clients that have not yet written their CONNECT line.  As many as a
 * listener's usual backlog, and no more than a quarter of the flows.  Beyond:
 * the oldest of them is dropped, VSK_REFUSED_HOST_LIMIT.
 * Test: /host/limits/clients-without-a-line
 */
#define VSK_MAX_HOST_CLIENTS 128u

/* Backlog of the listening socket: connections the kernel holds for us.
 * Beyond: the host client's connect() waits or gets EAGAIN. */
#define VSK_HOST_BACKLOG 1024

/*
 * Longest "CONNECT <port>" line with its newline: verb 8, port 10, spaces and
 * CR to spare.  Beyond: the client is dropped, VSK_REFUSED_HOST_LINE.
 * Test: /host/line/without-end
 */
#define VSK_MAX_LINE 32u

/*
 * Host ports that the device chooses for host clients.  At most 65535, so
 * that "OK 65535\n" has the 9 bytes that all known clients can read; from
 * where Linux's ephemeral ports start.  A port is unique per guest port only,
 * so the range is no limit on flows as such.
 */
#define VSK_FIRST_HOST_PORT 32768u
#define VSK_LAST_HOST_PORT  65535u

/* Milliseconds; see #VskDevConfig.  The first two are Linux's. */
#define VSK_DEFAULT_REQUEST_TIMEOUT_MS 2000u
#define VSK_DEFAULT_CLOSE_TIMEOUT_MS   8000u
#define VSK_DEFAULT_LINE_TIMEOUT_MS    5000u

/* Milliseconds to wait for the guest to take a TRANSPORT_RESET event before
 * RX goes on without.  Test: /dev/event/rx-goes-on-without-event-buffers */
#define VSK_EVENT_TIMEOUT_MS 2000u

/* Milliseconds until the listener is tried again after accept() ran out of
 * descriptors or memory.  Test: /host/faults/emfile-is-retried */
#define VSK_ACCEPT_RETRY_MS 100u

/*
 * One turn of one flow towards the guest, and one write to a host socket:
 * bytes, RX chains, and pieces of memory.  Fairness is by turns.
 */
#define VSK_TURN_BYTES  65536u
#define VSK_TURN_CHAINS 32u
#define VSK_TURN_IOV    VSK_MAX_CHAIN_IOV

/*
 * Packets of one flow that go to its host socket in one write.  A write wakes
 * the host program, which costs as much as a hundred small packets.
 */
#define VSK_BATCH_CHAINS 128u

/*
 * Bytes of SO_SNDBUF of a host stream socket that was full once: a flow's
 * window.  Linux doubles it, and takes no more than net.core.wmem_max.
 * Test: /stream/write/full-gets-a-larger-buffer
 */
#define VSK_HOST_SNDBUF 262144

/* Staged messages written to one host socket in one turn. */
#define VSK_TURN_MESSAGES 32u

/*
 * Work of one call, each way, so that other flows and the embedder's loop get
 * their turn.  The packets are Linux's weight of vhost_vsock; its bytes are
 * four times these, which made ping-pong beside a bulk flow slower (p99 380
 * instead of 530 us) and the bulk flow no faster.
 * Test: /dev/rx/bytes-of-one-call-are-bounded
 */
#define VSK_CALL_PACKETS 256u
#define VSK_CALL_BYTES   131072u

/*
 * Bytes of memory that flows have freed and malloc may keep.  Beyond: some time
 * later it is asked to give them back, which takes it a millisecond and more;
 * so not for less, and not at each turn of a load.
 * Test: /trim/memory-of-many-flows-goes-back
 */
#define VSK_TRIM_BYTES    (4u << 20)
#define VSK_TRIM_DELAY_MS 2000u

/* Events taken from epoll at once. */
#define VSK_POLL_EVENTS 64

#endif /* VSK_LIMITS_H */
