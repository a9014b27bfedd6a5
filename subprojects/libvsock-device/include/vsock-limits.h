/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every limit: of the library first, then of what embeds it.
 *
 * Each says its unit, why it is there and why this large ("Why"), what happens
 * when it is reached ("Then"), the tests that reach it ("Tests"), and, where it
 * has one, its row in the table for users ("Row"), which is in
 * docs/system/devices/vhost-vsock.rst.  QEMU's tree has not all of these tests;
 * the repository that it has this file from does, and its test-limits.py holds
 * all that against sources, tests and table.
 *
 * Those that can be set have a VSK_LEAST_ and a VSK_MOST_; beyond these
 * vsk_dev_new() fails, VSK_ERROR_INVALID.
 */

#ifndef VSOCK_LIMITS_H
#define VSOCK_LIMITS_H

/* --- What can be set ------------------------------------------------------ */

/**
 * VSK_DEFAULT_MAX_CONNS: connections
 *
 * Flows at once, in whatever phase; see #VskDevConfig.
 *
 * Why: each costs a descriptor and some 500 bytes; descriptors are usually the
 *     lower limit, so embedders take half of those of the process.
 * Then: RST, or an end of file for a host client; VSK_REFUSED_LIMIT.
 * Tests: /mux/limits/max-conns
 *     /options/max-conns-is-how-many-flows-there-can-be
 *     /settings/device-keeps-to-what-was-set
 * Row: connections
 */
#define VSK_DEFAULT_MAX_CONNS 16384u

/**
 * VSK_LEAST_CONNS: connections
 * VSK_MOST_CONNS: connections
 *
 * Why: Linux lets no process open more descriptors than 2^20 unless told so.
 * Then: no device.
 * Tests: /dev/limits/settings-have-a-range
 *     /options/numbers-that-make-no-sense-are-refused
 */
#define VSK_LEAST_CONNS 1u
#define VSK_MOST_CONNS  1048576u

/**
 * VSK_DEFAULT_BUF_ALLOC: bytes
 *
 * The window of one flow: what the guest may send that the host program's
 * socket does not take.
 *
 * Why: what Linux's vhost_vsock advertises, so that guests are tuned for it.
 * Then: a guest that keeps to it waits; one that does not is reset,
 *     VSK_REFUSED_CREDIT.
 * Tests: /conn/credit/whole-window-may-be-used /conn/credit/overrun-resets
 *     /options/tx-buffer-size-is-what-a-flow-is-told
 *     /settings/device-keeps-to-what-was-set
 * Row: window of a connection
 */
#define VSK_DEFAULT_BUF_ALLOC 262144u

/**
 * VSK_MIN_BUF_ALLOC: bytes
 * VSK_MOST_BUF_ALLOC: bytes
 *
 * The range of the same.  Where net.core.wmem_max is tiny, a seqpacket flow
 * gets what it leaves.
 *
 * Why: at the least two of a Linux guest's pages, for progress; at the most
 *     what stays far from the 2^32 that the counters of credit can tell.
 * Then: no device.
 * Tests: /dev/limits/settings-have-a-range
 *     /mux/limits/window-shrinks-with-load
 *     /options/numbers-that-make-no-sense-are-refused
 */
#define VSK_MIN_BUF_ALLOC  8192u
#define VSK_MOST_BUF_ALLOC (1u << 30)

/**
 * VSK_DEFAULT_MAX_STAGED: bytes
 *
 * Sum of the windows of all flows; a seqpacket flow counts twice.
 *
 * Why: the memory that host programs which do not read can cost.
 * Then: windows get smaller, then no flow is taken, VSK_REFUSED_LIMIT.
 * Tests: /mux/limits/window-shrinks-with-load
 *     /settings/memory-for-all-connections-is-bounded
 *     /options/max-staged-is-what-all-flows-are-told
 * Row: windows of all connections
 */
#define VSK_DEFAULT_MAX_STAGED (256ull << 20)

/**
 * VSK_LEAST_STAGED: bytes
 * VSK_MOST_STAGED: bytes
 *
 * Why: at the least the smallest seqpacket window and its bookkeeping; at the
 *     most what no host has.
 * Then: no device.
 * Tests: /dev/limits/settings-have-a-range
 */
#define VSK_LEAST_STAGED 32768u
#define VSK_MOST_STAGED  (1ull << 40)

/**
 * VSK_STAGED_SHARE: parts
 *
 * What one more flow gets of that sum is the smallest window and a part of what
 * is left, once half is kept so that as many as are allowed find the smallest.
 *
 * Why: some 460 flows get a full window of the default sum.
 * Then: windows shrink with load.
 * Tests: /mux/limits/window-shrinks-with-load
 *     /mux/limits/as-many-as-allowed-find-room
 */
#define VSK_STAGED_SHARE 64u

/**
 * VSK_DEFAULT_REQUEST_TIMEOUT_MS: milliseconds
 *
 * For the guest to answer a REQUEST.
 *
 * Why: what Linux gives a connect() by default.
 * Then: an end of file for the host client, VSK_REFUSED_REQUEST_TIMEOUT.
 * Tests: /mux/time/requests-time-out /mux/time/stands-still-while-paused
 *     /options/timeouts-are-kept
 * Row: the guest accepts
 */
#define VSK_DEFAULT_REQUEST_TIMEOUT_MS 2000u

/**
 * VSK_DEFAULT_CLOSE_TIMEOUT_MS: milliseconds
 *
 * For the guest to answer a SHUTDOWN of both ways, while it takes no bytes.
 *
 * Why: what Linux gives.
 * Then: the guest is asked for its credit; without progress RST,
 *     VSK_REFUSED_CLOSE_TIMEOUT.
 * Tests: /mux/time/closes-time-out
 * Row: the guest closes
 */
#define VSK_DEFAULT_CLOSE_TIMEOUT_MS 8000u

/**
 * VSK_DEFAULT_LINE_TIMEOUT_MS: milliseconds
 *
 * For a host client to write its CONNECT line.
 *
 * Why: a program writes it at once, a human at a terminal takes seconds.
 * Then: the client is dropped, VSK_REFUSED_HOST_TIMEOUT.
 * Tests: /host/client/silent-is-dropped-in-time
 *     /host/client/slow-line-gets-no-more-time
 * Row: a client sends its CONNECT line
 */
#define VSK_DEFAULT_LINE_TIMEOUT_MS 5000u

/**
 * VSK_LEAST_TIMEOUT_MS: milliseconds
 * VSK_MOST_TIMEOUT_MS: milliseconds
 *
 * Why: an hour; who waits longer wants a host client that tries again.
 * Then: no device.
 * Tests: /dev/limits/settings-have-a-range
 */
#define VSK_LEAST_TIMEOUT_MS 1u
#define VSK_MOST_TIMEOUT_MS  3600000u

/**
 * VSK_PATH_MAX: bytes
 *
 * Of the path of the host sockets.
 *
 * Why: "_4294967295" has to fit behind it, and sun_path has 107 bytes.
 * Then: no device.
 * Tests: /listener/path/longest-fits /listener/seqpacket/longest-path
 *     /options/path-too-long-for-a-port-behind-it-is-refused
 *     /path/port/longest-fits
 * Row: path of the host sockets
 */
#define VSK_PATH_MAX 96

/* --- The guest's packets -------------------------------------------------- */

/**
 * VSK_MAX_PKT_PAYLOAD: bytes
 *
 * Payload of one packet from the guest.
 *
 * Why: Linux sends no more (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
 * Then: the packet is refused and its flow, if any, reset; VSK_REFUSED_TX_LEN.
 * Tests: /dev/tx/len-beyond-64k-is-refused /dev/tx/64k-are-taken
 * Row: payload of a packet from the guest
 */
#define VSK_MAX_PKT_PAYLOAD 65536u

/**
 * VSK_MAX_CHAIN_IOV: pieces of memory
 *
 * In one direction of a chain; QEMU and the library's own rings see to it.
 *
 * Why: VIRTQUEUE_MAX_SIZE of QEMU; what a driver may put into one chain.
 * Then: a TX packet in more is refused as one of a bad length, an RX chain of
 *     more is given back empty.
 * Tests: /dev/tx/most-pieces-there-can-be /dev/tx/more-pieces-are-refused
 *     /dev/rx/chain-of-too-many-pieces-takes-no-data
 */
#define VSK_MAX_CHAIN_IOV 1024u

/**
 * VSK_MAX_EMPTY_MESSAGES: messages
 *
 * Without bytes, that wait for one host program.
 *
 * Why: they take no credit; far more than a socket holds.
 * Then: RST, VSK_REFUSED_EMPTY_MESSAGES.
 * Tests: /stage/empty-messages-are-bounded
 * Row: empty messages that wait
 */
#define VSK_MAX_EMPTY_MESSAGES 4096u

/**
 * VSK_MAX_ORPHAN_RSTS: packets
 *
 * RSTs that wait for an RX buffer and belong to no flow.
 *
 * Why: twice the queue size of QEMU's device.
 * Then: TX is not processed until RX drains (5.10.6.1).
 * Tests: /mux/limits/rsts-that-wait /dev/tx/stops-when-replies-wait
 */
#define VSK_MAX_ORPHAN_RSTS 256u

/**
 * VSK_EVENT_TIMEOUT_MS: milliseconds
 *
 * For the guest to take a TRANSPORT_RESET event.
 *
 * Why: a driver that is alive takes it at once, and one without event buffers
 *     must not wait for ever.
 * Then: RX goes on without.
 * Tests: /dev/event/rx-goes-on-without-event-buffers
 *     /dev/event/rx-goes-on-if-it-is-not-taken
 */
#define VSK_EVENT_TIMEOUT_MS 2000u

/* --- Host programs -------------------------------------------------------- */

/**
 * VSK_MAX_HOST_CLIENTS: connections
 *
 * Host clients that have not yet written their CONNECT line.
 *
 * Why: as many as a listener's usual backlog, but at most a quarter of the
 *     flows, for each has a descriptor.
 * Then: the oldest of them is dropped, VSK_REFUSED_HOST_LIMIT.
 * Tests: /host/limits/clients-without-a-line
 *     /mux/limits/silent-clients-leave-room-for-flows
 *     /abuse/300-host-programs-hang-in-mid-line
 * Row: clients without a CONNECT line
 */
#define VSK_MAX_HOST_CLIENTS 128u

/**
 * VSK_HOST_BACKLOG: connections
 *
 * Host clients that the kernel holds until they are accepted.
 *
 * Why: a burst of them while the device does other work.
 * Then: the client's connect() waits, or fails with EAGAIN.
 * Tests: /host/limits/backlog
 * Row: clients not yet accepted
 */
#define VSK_HOST_BACKLOG 1024

/**
 * VSK_MAX_LINE: bytes
 *
 * Of the CONNECT line, with its newline.
 *
 * Why: verb 8, port 10, spaces and CR to spare.
 * Then: the client is dropped, VSK_REFUSED_HOST_LINE.
 * Tests: /host/line/of-the-longest-length /host/line/without-end
 * Row: length of a CONNECT line
 */
#define VSK_MAX_LINE 32u

/**
 * VSK_FIRST_HOST_PORT: port
 * VSK_LAST_HOST_PORT: port
 *
 * That the device chooses for host clients; unique for each guest port.
 *
 * Why: from where Linux's ephemeral ports start, to what "OK 65535\n", the 9
 *     bytes that all known clients can read, has room for.
 * Then: when a guest port has used all up, VSK_REFUSED_LIMIT.
 * Tests: /table/host-port/runs-out
 */
#define VSK_FIRST_HOST_PORT 32768u
#define VSK_LAST_HOST_PORT  65535u

/**
 * VSK_ACCEPT_RETRY_MS: milliseconds
 *
 * Until a listener is tried again when accept() ran out of descriptors or
 * memory.
 *
 * Why: no event tells when there are some, and asking always costs the CPU.
 * Then: the client waits in the backlog.
 * Tests: /host/faults/emfile-is-retried
 *     /mux/limits/clients-wait-for-descriptors
 */
#define VSK_ACCEPT_RETRY_MS 100u

/**
 * VSK_WRITE_RETRY_MS: milliseconds
 * VSK_WRITE_RETRIES: writes
 *
 * Until a write to a host program is tried again when the kernel had no memory
 * for it, and how often in a row.
 *
 * Why: no event tells when there is some; a message of a whole window needs
 *     it in one piece, which may take a fragmented host some time to find.
 * Then: RST, VSK_REFUSED_LIMIT.
 * Tests: /socket/faults/write-without-memory-is-tried-again
 *     /socket/faults/write-without-memory-for-long-resets
 */
#define VSK_WRITE_RETRY_MS 100u
#define VSK_WRITE_RETRIES  50u

/**
 * VSK_CLOSE_MESSAGES: messages
 *
 * Of a host program that are taken, and dropped, when its flow is closed.
 *
 * Why: far more than a program's socket holds unless it may exceed
 *     net.core.wmem_max; and each takes half a microsecond.
 * Then: the host program gets ECONNRESET before the messages that it has not
 *     read.
 * Tests: /socket/faults/close-drops-so-many-messages
 */
#define VSK_CLOSE_MESSAGES 8192u

/**
 * VSK_HOST_SNDBUF: bytes
 *
 * SO_SNDBUF of a host stream socket that was full once.
 *
 * Why: a flow's window, so that a fast reader has work while the guest is told
 *     of room.  Linux doubles it, and takes no more than net.core.wmem_max.
 * Then: what does not fit is staged, within the window.
 * Tests: /stream/write/full-gets-a-larger-buffer
 */
#define VSK_HOST_SNDBUF 262144

/* --- Work of one call: fairness ------------------------------------------- */

/**
 * VSK_TURN_BYTES: bytes
 * VSK_TURN_CHAINS: chains
 * VSK_TURN_IOV: pieces of memory
 *
 * One turn of one flow towards the guest, and one write to a host socket.
 *
 * Why: what one packet may carry; enough for a system call to be worth it.
 * Then: the next flow has its turn.
 * Tests: /dev/rx/one-turn-of-a-greedy-flow-is-bounded
 *     /dev/rx/flows-share-the-ring
 *     /conn/to-guest/one-turn-is-bounded
 *     /conn/to-guest/burst-follows-the-host
 *     /dev/tx/most-pieces-there-can-be
 */
#define VSK_TURN_BYTES  65536u
#define VSK_TURN_CHAINS 32u
#define VSK_TURN_IOV    VSK_MAX_CHAIN_IOV

/**
 * VSK_BATCH_CHAINS: packets
 *
 * Of one flow, that go to its host socket in one write.
 *
 * Why: a write wakes the host program, which costs as much as a hundred small
 *     packets.
 * Then: another write.
 * Tests: /dev/tx/more-than-one-batch
 */
#define VSK_BATCH_CHAINS 128u

/**
 * VSK_TURN_MESSAGES: messages
 *
 * Staged ones, written to one host socket in one turn.
 *
 * Why: each is a system call.
 * Then: the rest goes in a next turn.
 * Tests: /stage/one-call-has-a-budget
 */
#define VSK_TURN_MESSAGES 32u

/**
 * VSK_CALL_PACKETS: packets
 * VSK_CALL_BYTES: bytes
 *
 * Work of one call, each way.
 *
 * Why: other flows and the embedder's loop get their turn.  The packets are
 *     Linux's weight of vhost_vsock; its bytes are four times these, which made
 *     ping-pong beside a bulk flow slower (p99 380 instead of 530 us) and
 *     the bulk flow no faster.
 * Then: vsk_dev_next_deadline() asks for another call.
 * Tests: /dev/rx/one-call-is-bounded /dev/tx/one-call-is-bounded
 *     /dev/rx/bytes-of-one-call-are-bounded
 *     /dev/tx/bytes-of-one-call-are-bounded
 */
#define VSK_CALL_PACKETS 256u
#define VSK_CALL_BYTES   131072u

/**
 * VSK_POLL_EVENTS: events
 * VSK_DISPATCH_BATCHES: batches of events
 * VSK_DISPATCH_CLIENTS: host clients
 *
 * That one call takes from epoll at once, how often, and of its own listeners.
 *
 * Why: as above; the first is an array on the stack.
 * Then: vsk_dev_next_deadline() asks for another call.
 * Tests: /mux/limits/events-of-one-call /mux/limits/clients-of-one-call
 */
#define VSK_POLL_EVENTS 64
#define VSK_DISPATCH_BATCHES 4
#define VSK_DISPATCH_CLIENTS 64

/**
 * VSK_TRIM_BYTES: bytes
 * VSK_TRIM_DELAY_MS: milliseconds
 *
 * Memory that flows have freed and malloc may keep, and for how long.
 *
 * Why: to give it back takes a millisecond and more, so it is not done for
 *     less, and not at each turn of a load.
 * Then: some time later malloc is asked to give it back.
 * Tests: /trim/memory-of-many-flows-goes-back
 */
#define VSK_TRIM_BYTES    (4u << 20)
#define VSK_TRIM_DELAY_MS 2000u

/* --- Embedders: QEMU's device and the daemon ------------------------------ */

/**
 * VSK_LOG_INTERVAL_MS: milliseconds
 *
 * Between two lines of one reason in the log.
 *
 * Why: a hostile guest fills no disk: VSK_REFUSED_NUM lines at the most.
 * Then: the next line tells how many were left out.
 * Tests: /settings/log-lines-of-one-reason-are-bounded
 *     /hostile-vmm/log-is-not-filled-by-a-thousand-bad-sessions
 * Row: log lines of one reason
 */
#define VSK_LOG_INTERVAL_MS 10000

/**
 * hw/virtio/vhost-vsock-internal.h VHOST_VSOCK_VQ_SIZE: descriptors
 *
 * Of each virtqueue of QEMU's device.
 *
 * Why: what upstream's device has; the guest sees it, so it stays.
 * Then: the driver waits for used ones.
 * Tests: /vhost-vsock/replay/tx-ring-wraps-often
 *     /vhost-vsock/replay/rx-ring-wraps-often
 */

/**
 * contrib/vhost-user-vsock/vm-options.h MAX_QUEUE_SIZE: descriptors
 *
 * Of each virtqueue that the daemon takes, by --queue-size.
 *
 * Why: the standard allows no more (2.7).
 * Then: the message is refused and the VMM disconnected.
 * Tests: /options/queue-size-is-the-largest-ring-that-is-taken
 *     /hostile-vmm/rings-of-absurd-sizes-and-numbers
 */

/**
 * contrib/vhost-user-vsock/memory.h MEMORY_MAX_REGIONS: regions
 *
 * Of guest memory, for a VMM of the daemon.
 *
 * Why: more than memory slots of a VMM's guests with hot-plug.
 * Then: the message is refused and the VMM disconnected.
 * Tests: /protocol/as-many-memory-slots-as-it-says
 *     /hostile-vmm/memory-tables-that-do-not-add-up
 */

/**
 * contrib/vhost-user-vsock/listener.c BACKLOG: connections
 *
 * VMMs that wait while the daemon serves another one for the same guest.
 *
 * Why: one is to be expected.
 * Then: connect() waits, or fails with EAGAIN.
 * Tests: /hostile-vmm/a-crowd-of-front-ends-waits-and-leaves
 */

/**
 * contrib/vhost-user-vsock/vm-front-end.c TURN_MESSAGES: messages
 *
 * Of a VMM, handled in one turn of the daemon's loop.
 *
 * Why: rings get theirs.
 * Then: the rest is handled in the next turn.
 * Tests: /hostile-vmm/a-thousand-messages-in-one-write-are-answered
 */

/**
 * contrib/vhost-user-vsock/vm-front-end.c ACCEPT_RETRY_MS: milliseconds
 *
 * Until the daemon tries again to accept a VMM when it ran out of descriptors
 * or memory.
 *
 * Why: as VSK_ACCEPT_RETRY_MS.
 * Then: the VMM waits.
 * Tests: /abuse/front-end-waits-for-a-descriptor
 */

/**
 * contrib/vhost-user-vsock/loop.c EVENTS: events
 *
 * That the daemon's loop takes from epoll at once.
 *
 * Why: more than a VM has descriptors there.
 * Then: the rest comes in the next turn.
 * Tests: /hostile-vmm/a-crowd-of-front-ends-waits-and-leaves
 */

/**
 * contrib/vhost-user-vsock/log.c BUDGET_LINES: lines
 *
 * In VSK_LOG_INTERVAL_MS, of what a VMM may do often: come and go.
 *
 * Why: a VMM fills no disk, either.
 * Then: the next line tells how many were left out.
 * Tests: /hostile-vmm/coming-again-and-again-fills-no-log
 */

/**
 * contrib/vhost-user-vsock/log.c LINE_SIZE: bytes
 *
 * Of a line in the daemon's log.
 *
 * Why: it holds two paths.
 * Then: the rest of it is left out.
 * Tests: /options/mistake-of-any-length-is-a-line
 */

/**
 * contrib/vhost-user-vsock/main.c MAX_FDS: descriptors
 *
 * That the daemon raises its soft limit to, as far as the hard one allows.
 *
 * Why: two guests with all the flows that they can have.
 * Then: VSK_DEFAULT_MAX_CONNS is less; each guest has its part of one half.
 * Tests: /abuse/more-host-programs-than-descriptors
 */

/**
 * contrib/vhost-user-vsock/main.c END_MS: milliseconds
 *
 * For the daemon's threads to end.
 *
 * Why: a VMM can block its own, and a service manager gets impatient.
 * Then: it ends without that one.
 * Tests: /hostile-vmm/eventfd-that-blocks-stops-its-own-guest-only
 */

/**
 * contrib/vhost-user-vsock/vm-thread.c GOODBYE_MS: milliseconds
 *
 * For a guest of the daemon to take the RSTs of its flows at the end.
 *
 * Why: what a guest that runs needs, many times over.
 * Then: its flows are left open in the guest, and end with its driver.
 * Tests: /life/ends-cleanly-under-load
 */

#endif /* VSOCK_LIMITS_H */
