/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What a packet costs in instructions, counted by callgrind: see cost.py.
 *
 * usage: valgrind --tool=callgrind --collect-atstart=no cost DIRECTORY
 *
 * Callgrind collects within the library's calls only, and not within their
 * callbacks: the rings here are the embedder's.  Each case is a dump whose
 * name is "<case> <how many>".
 */

#include "vsock-device.h"
#include "pkt.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#define CID 3
#define GUEST_PORT 1000
#define HOST_PORT 2000
#define GUEST_BUF (1u << 30) /* bytes; never the reason to wait */
#define CHAINS 64
#define CHAIN_SIZE (VSK_HDR_SIZE + 65536) /* bytes */
#define RX_SIZE 4096 /* bytes of one RX buffer, as Linux gives them */

typedef struct Queue {
    VskChain chains[CHAINS];
    struct iovec iov[CHAINS];
    unsigned int there, taken;
} Queue;

typedef struct Cost {
    Queue queues[VSK_QUEUE_NUM];
    VskDev *dev;
    uint8_t *memory;
    VskHdr last;      /* packet to the guest */
    uint32_t fwd_cnt; /* of the guest's flow */
    char *path;
    int listener;
} Cost;

/* --- The embedder: not counted ------------------------------------------- */

static bool pop(void *opaque, VskQueue number, VskChain *ret_chain)
{
    Queue *queue = &((Cost *)opaque)->queues[number];
    bool any = queue->taken < queue->there;

    CALLGRIND_TOGGLE_COLLECT;
    if (any) {
        *ret_chain = queue->chains[queue->taken++];
    }
    CALLGRIND_TOGGLE_COLLECT;
    return any;
}

static void unpop(void *opaque, VskQueue number, VskChain *chain)
{
    (void)chain;
    ((Cost *)opaque)->queues[number].taken--;
}

static void push(void *opaque, VskQueue number, VskChain *chain, uint32_t len)
{
    Cost *cost = opaque;

    CALLGRIND_TOGGLE_COLLECT;
    if (number == VSK_QUEUE_RX && len) {
        vsk_hdr_decode(chain->in, chain->n_in, &cost->last);
        cost->fwd_cnt += cost->last.len;
    }
    CALLGRIND_TOGGLE_COLLECT;
}

static void flush(void *opaque)
{
    (void)opaque;
}

static bool set_notification(void *opaque, VskQueue number, bool enable)
{
    (void)opaque;
    (void)number;
    (void)enable;
    return false;
}

static const VskDevOps ops = {
    .pop = pop,
    .unpop = unpop,
    .push = push,
    .flush = flush,
    .set_notification = set_notification,
};

/* --- The library's calls: counted ---------------------------------------- */

static void kick(Cost *cost, VskQueue queue)
{
    CALLGRIND_TOGGLE_COLLECT;
    vsk_dev_kick(cost->dev, queue, 0);
    CALLGRIND_TOGGLE_COLLECT;
}

/* As an event loop does, while there is something to do. */
static void dispatch(Cost *cost)
{
    struct pollfd pfd = { .fd = vsk_dev_get_fd(cost->dev), .events = POLLIN };

    while (poll(&pfd, 1, 0) > 0 || vsk_dev_next_deadline(cost->dev) == 0) {
        CALLGRIND_TOGGLE_COLLECT;
        vsk_dev_dispatch(cost->dev, 0);
        CALLGRIND_TOGGLE_COLLECT;
    }
}

/* --- The guest ----------------------------------------------------------- */

/* The next chain of @number, of @size bytes. */
static struct iovec *add_chain(Cost *cost, VskQueue number, size_t size)
{
    Queue *queue = &cost->queues[number];
    unsigned int i = queue->there++;
    struct iovec *iov = &queue->iov[i];

    g_assert(i < CHAINS);
    iov->iov_base = cost->memory + ((size_t)number * CHAINS + i) * CHAIN_SIZE;
    iov->iov_len = size;
    return iov;
}

/* Forget what was used. */
static void clear(Cost *cost, VskQueue number)
{
    cost->queues[number].there = 0;
    cost->queues[number].taken = 0;
}

/* Header and payload in one piece, as Linux sends them. */
static void put(Cost *cost, VskOp op, uint32_t host_port, uint32_t len)
{
    unsigned int i = cost->queues[VSK_QUEUE_TX].there;
    struct iovec *iov = add_chain(cost, VSK_QUEUE_TX, VSK_HDR_SIZE + len);
    VskHdr hdr = {
        .src_cid = CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = GUEST_PORT,
        .dst_port = host_port,
        .len = len,
        .type = VSK_TYPE_STREAM,
        .op = (uint16_t)op,
        .flags = op == VSK_OP_SHUTDOWN ? VSK_SHUTDOWN_BOTH : 0,
        .buf_alloc = GUEST_BUF,
        .fwd_cnt = cost->fwd_cnt,
    };

    vsk_hdr_encode(&hdr, iov, 1);
    cost->queues[VSK_QUEUE_TX].chains[i] = (VskChain) { .out = iov,
                                                        .n_out = 1 };
}

/* One packet, and all that follows from it. */
static void say(Cost *cost, VskOp op, uint32_t host_port)
{
    clear(cost, VSK_QUEUE_TX);
    put(cost, op, host_port, 0);
    kick(cost, VSK_QUEUE_TX);
    dispatch(cost);
}

static void give_buffers(Cost *cost)
{
    Queue *queue = &cost->queues[VSK_QUEUE_RX];

    clear(cost, VSK_QUEUE_RX);
    for (unsigned int i = 0; i < CHAINS; i++) {
        queue->chains[i] = (VskChain) {
            .in = add_chain(cost, VSK_QUEUE_RX, RX_SIZE), .n_in = 1 };
    }
    kick(cost, VSK_QUEUE_RX);
}

/* --- Cases --------------------------------------------------------------- */

static void begin(Cost *cost)
{
    give_buffers(cost);
    cost->fwd_cnt = 0;
    CALLGRIND_ZERO_STATS;
}

static void end(const char *name, unsigned int times)
{
    g_autofree char *text = g_strdup_printf("%s %u", name, times);

    CALLGRIND_DUMP_STATS_AT(text);
}

/* The guest connects; the host program's socket. */
static int open_flow(Cost *cost)
{
    cost->fwd_cnt = 0;
    say(cost, VSK_OP_REQUEST, HOST_PORT);
    g_assert_cmpuint(cost->last.op, ==, VSK_OP_RESPONSE);
    return unix_accept(cost->listener);
}

/* The guest closes; nothing stays. */
static void close_flow(Cost *cost, int fd)
{
    VskStats stats;

    say(cost, VSK_OP_SHUTDOWN, HOST_PORT);
    g_assert_cmpuint(cost->last.op, ==, VSK_OP_RST);
    close(fd);
    dispatch(cost);
    vsk_dev_get_stats(cost->dev, &stats);
    g_assert_cmpuint(stats.conns, ==, 0);
}

static void read_exactly(int fd, size_t len)
{
    static char buf[1 << 17];

    while (len) {
        ssize_t n = unix_read(fd, buf, MIN(len, sizeof(buf)));

        g_assert_cmpint(n, >, 0);
        len -= (size_t)n;
    }
}

/* @batch packets of @len bytes at one kick, which its socket holds. */
static void guest_to_host(Cost *cost, const char *name, uint32_t len,
                          unsigned int batch)
{
    enum { ROUNDS = 32 };
    int fd = open_flow(cost);

    begin(cost);
    for (int i = 0; i < ROUNDS; i++) {
        clear(cost, VSK_QUEUE_TX);
        for (unsigned int j = 0; j < batch; j++) {
            put(cost, VSK_OP_RW, HOST_PORT, len);
        }
        kick(cost, VSK_QUEUE_TX);
        read_exactly(fd, (size_t)batch * len);
        dispatch(cost);
        give_buffers(cost); /* credit updates took some */
    }
    end(name, ROUNDS * batch);
    close_flow(cost, fd);
}

/* The host program writes @len bytes, which are @packets to the guest. */
static void host_to_guest(Cost *cost, const char *name, size_t len,
                          unsigned int packets)
{
    enum { ROUNDS = 64 };
    int fd = open_flow(cost);
    g_autofree char *bytes = g_malloc0(len);

    begin(cost);
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t got = cost->fwd_cnt;

        unix_write_bytes(fd, bytes, len);
        dispatch(cost);
        g_assert_cmpuint(cost->fwd_cnt - got, ==, len);
        give_buffers(cost);
    }
    end(name, ROUNDS * packets);
    close_flow(cost, fd);
}

static void connections_of_guest(Cost *cost)
{
    enum { ROUNDS = 64 };

    begin(cost);
    for (int i = 0; i < ROUNDS; i++) {
        close_flow(cost, open_flow(cost));
        give_buffers(cost);
    }
    end("connection-of-guest", ROUNDS);
}

static void connections_of_host(Cost *cost)
{
    enum { ROUNDS = 64 };

    begin(cost);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = unix_connect(cost->path);

        unix_write(fd, "CONNECT 1000\n");
        dispatch(cost);
        g_assert_cmpuint(cost->last.op, ==, VSK_OP_REQUEST);
        say(cost, VSK_OP_RESPONSE, cost->last.src_port);
        read_exactly(fd, strlen("OK 65535\n"));
        close(fd);
        dispatch(cost);
        g_assert_cmpuint(cost->last.op, ==, VSK_OP_SHUTDOWN);
        say(cost, VSK_OP_RST, cost->last.src_port);
        give_buffers(cost);
    }
    end("connection-of-host", ROUNDS);
}

/* --- All of it ----------------------------------------------------------- */

static void start(Cost *cost, const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "3.vsock", NULL);
    char listener[VSK_SUN_PATH_SIZE];
    g_autoptr(GError) err = NULL;
    VskDevConfig config = {
        .guest_cid = CID,
        .uds_path = path,
        .buf_alloc = 1 << 20,
        .seed = 1,
    };

    cost->dev = vsk_dev_new(&config, &ops, cost, &err);
    g_assert_no_error(err);
    g_assert_cmpint(vsk_path_for_port(path, HOST_PORT, listener), ==, 0);
    cost->listener = unix_bind(listener, 64);
    cost->path = g_steal_pointer(&path);
    cost->memory = g_malloc0((size_t)VSK_QUEUE_NUM * CHAINS * CHAIN_SIZE);
    vsk_dev_set_driver_ok(cost->dev, true, 0, 0);
    give_buffers(cost);
    dispatch(cost);
}

int main(int argc, char **argv)
{
    static Cost cost;

    if (argc != 2) {
        fprintf(stderr, "usage: cost DIRECTORY\n");
        return EXIT_FAILURE;
    }
    start(&cost, argv[1]);
    guest_to_host(&cost, "guest-to-host-64", 64, 64);
    guest_to_host(&cost, "guest-to-host-4096", 4096, 32);
    guest_to_host(&cost, "guest-to-host-65536", 65536, 2);
    host_to_guest(&cost, "host-to-guest-64", 64, 1);
    host_to_guest(&cost, "host-to-guest-65536", 65536, 17);
    connections_of_guest(&cost);
    connections_of_host(&cost);
    vsk_dev_free(cost.dev);
    close(cost.listener);
    g_free(cost.path);
    g_free(cost.memory);
    return EXIT_SUCCESS;
}
