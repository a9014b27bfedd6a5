/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Many connections, and what happens to a device meanwhile.
 *
 * Host programs are threads of the case.  They connect, are connected to, send,
 * read a little and leave at a moment of their own, and do not care whether
 * anything of that works.  The guest is the case itself: it obeys the
 * standard, answers each packet, and now and then does something unasked.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "libqtest.h"
#include "vhost-vsock-rest.h"
#include "vhost-vsock-storm.h"

/*
 * How long the storm lasts; longer on a machine so busy that less than
 * ENOUGH_CONNECTIONS were made.
 */
#define STORM_S 3
#define PATIENCE_S 60
#define ENOUGH_CONNECTIONS 10

/* How often something happens in it, if so many packets came meanwhile. */
#define STRIKE_MS 25
#define STRIKE_PACKETS 40
#define CLOCK_STEP_NS INT64_C(10000000000)

/*
 * Connections one after the other, and memory they may leave behind: less than
 * a flow each.  Malloc takes 2 MiB in steps, and no more for 300000 of them.
 */
#define MANY 10000
#define MANY_SLACK_KIB 3072

#define N_CLIENTS 3
#define GUEST_PORT 5000  /* where the guest listens */
#define HOST_PORT 6000   /* where host programs do */
#define CLOSED_PORT 6001
#define TX_MAX 48        /* packets on their way, at most */
#define RW_MAX 3000      /* bytes */

typedef struct Storm {
    VvtRun run;
    char *uds_path;
    char *listen_path;
    gint stop;           /* atomic */
    GThread *threads[N_CLIENTS + 1];
    GRand *rand;
    uint32_t next_port;
    unsigned n_packets;
    unsigned n_connected;
} Storm;

/* --- Host programs -------------------------------------------------------- */

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Send and read for a while, then leave, in one of three ways. */
static void use(int fd, GRand *rand)
{
    g_autofree char *buf = g_malloc0(65536);
    struct timeval patience = { .tv_usec = 1000 * g_rand_int_range(rand, 1,
                                                                   30) };
    unsigned n = g_rand_int_range(rand, 0, 4);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (n-- > 0) {
        if (send(fd, buf, g_rand_int_range(rand, 1, 65536),
                 MSG_NOSIGNAL) < 0 ||
            recv(fd, buf, g_rand_int_range(rand, 1, 65536), 0) <= 0) {
            break;
        }
    }
    if (g_rand_int_range(rand, 0, 3) == 0) {
        shutdown(fd, g_rand_int_range(rand, SHUT_RD, SHUT_RDWR + 1));
        recv(fd, buf, 1, 0);
    }
    close(fd);
}

static gpointer client(gpointer opaque)
{
    Storm *s = opaque;
    GRand *rand = g_rand_new_with_seed(g_test_rand_int());

    while (!g_atomic_int_get(&s->stop)) {
        int fd = connect_to(s->uds_path);
        g_autofree char *line =
            g_strdup_printf("CONNECT %d\n",
                            GUEST_PORT + (g_rand_int(rand) % 4 == 0));

        if (fd < 0) {
            g_usleep(1000); /* unplugged, or migrating */
            continue;
        }
        if (send(fd, line, strlen(line) - (g_rand_int(rand) % 8 == 0),
                 MSG_NOSIGNAL) > 0) {
            use(fd, rand);
        } else {
            close(fd);
        }
    }
    g_rand_free(rand);
    return NULL;
}

static gpointer server(gpointer opaque)
{
    Storm *s = opaque;
    GRand *rand = g_rand_new_with_seed(g_test_rand_int());
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd p = { .fd = listener, .events = POLLIN };

    g_strlcpy(addr.sun_path, s->listen_path, sizeof(addr.sun_path));
    if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
        listen(listener, 4) == 0) {
        while (!g_atomic_int_get(&s->stop)) {
            if (poll(&p, 1, 20) > 0) {
                int fd = accept(listener, NULL, NULL);

                if (fd >= 0) {
                    use(fd, rand);
                }
            }
        }
    }
    close(listener);
    g_rand_free(rand);
    return NULL;
}

/* --- The guest ------------------------------------------------------------ */

static unsigned chance(Storm *s, unsigned n)
{
    return g_rand_int_range(s->rand, 0, n);
}

/* Send a packet of the flow between these ports, with its credit. */
static void say(Storm *s, uint16_t op, uint32_t src_port, uint32_t dst_port,
                uint32_t flags, size_t len)
{
    static const uint8_t bytes[RW_MAX];
    g_autoptr(GString) why = g_string_new(NULL);
    VvtTx tx = { .truncate = -1, .payload = bytes, .payload_len = len };

    tx.hdr.field[VVT_SRC_CID] = s->run.guest_cid;
    tx.hdr.field[VVT_DST_CID] = VVT_HOST_CID;
    tx.hdr.field[VVT_SRC_PORT] = src_port;
    tx.hdr.field[VVT_DST_PORT] = dst_port;
    tx.hdr.field[VVT_TYPE] = VIRTIO_VSOCK_TYPE_STREAM;
    tx.hdr.field[VVT_OP] = op;
    tx.hdr.field[VVT_FLAGS] = flags;
    tx.hdr.field[VVT_LEN] = len;
    tx.hdr.field[VVT_BUF_ALLOC] = VVT_GUEST_BUFFER;
    tx.hdr.field[VVT_FWD_CNT] =
        vvt_flows_of_sent(vvt_driver_flows(s->run.driver), &tx.hdr)->rx_cnt;
    vvt_driver_send(s->run.driver, &tx, why);
}

static void answer(Storm *s, const VvtHdr *hdr)
{
    uint32_t host = hdr->field[VVT_SRC_PORT];
    uint32_t guest = hdr->field[VVT_DST_PORT];
    const VvtFlow *flow =
        vvt_flows_of_received(vvt_driver_flows(s->run.driver), hdr);
    size_t room = MIN(vvt_flow_window(flow), RW_MAX);

    switch (hdr->field[VVT_OP]) {
    case VIRTIO_VSOCK_OP_REQUEST:
        say(s, guest == GUEST_PORT ? VIRTIO_VSOCK_OP_RESPONSE :
               VIRTIO_VSOCK_OP_RST, guest, host, 0, 0);
        break;
    case VIRTIO_VSOCK_OP_RESPONSE:
    case VIRTIO_VSOCK_OP_RW:
        s->n_connected += hdr->field[VVT_OP] == VIRTIO_VSOCK_OP_RESPONSE;
        if (chance(s, 20) == 0) {
            say(s, VIRTIO_VSOCK_OP_RST, guest, host, 0, 0);
        } else if (chance(s, 20) == 0) {
            say(s, VIRTIO_VSOCK_OP_SHUTDOWN, guest, host, 3, 0);
        } else if (room > 0) {
            say(s, VIRTIO_VSOCK_OP_RW, guest, host, 0,
                1 + chance(s, room));
        } else {
            say(s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, guest, host, 0, 0);
        }
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        say(s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, guest, host, 0, 0);
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        say(s, VIRTIO_VSOCK_OP_RST, guest, host, 0, 0);
        break;
    }
}

/* Let the guest work once.  False: the device broke a rule. */
static bool guest_turn(Storm *s)
{
    VvtDriver *driver = s->run.driver;
    VvtPacket *packet;

    if (!vvt_run_pump(&s->run)) {
        return false;
    }
    while (vvt_driver_tx_pending(driver) < TX_MAX &&
           (packet = g_queue_pop_head(vvt_driver_received(driver)))) {
        s->n_packets++;
        answer(s, &packet->hdr);
        vvt_packet_free(packet);
    }
    if (vvt_driver_is_open(driver) &&
        vvt_driver_tx_pending(driver) < TX_MAX && chance(s, 8) == 0) {
        say(s, VIRTIO_VSOCK_OP_REQUEST, 1024 + s->next_port++ % 60000,
            HOST_PORT + (chance(s, 4) == 0), 0, 0);
    }
    return true;
}

/* --- The storm ------------------------------------------------------------ */

static void monitor(Storm *s, const char *command)
{
    qobject_unref(qtest_qmp(vvt_driver_qts(s->run.driver),
                            "{ 'execute': %s }", command));
}

static bool strike(Storm *s)
{
    VvtDriver *driver = s->run.driver;
    bool emulator = s->run.config->backend == VVT_BACKEND_EMULATOR;

    switch (chance(s, 40)) {
    case 0 ... 9:
        vvt_driver_close(driver);
        break;
    case 10 ... 13:
        vvt_driver_system_reset(driver);
        break;
    case 14 ... 19:
        if (s->run.config->machine->can_unplug) {
            vvt_driver_unplug(driver);
            vvt_driver_plug(driver);
        }
        break;
    case 20:
        return !emulator || vvt_driver_migrate(driver, s->run.why);
    case 21 ... 24:
        if (emulator) { /* others do not live by this clock */
            qtest_clock_step(vvt_driver_qts(driver), CLOCK_STEP_NS);
        }
        return true;
    default:
        monitor(s, "stop");
        if (chance(s, 4) == 0) {
            vvt_driver_close(driver); /* in a VM that is stopped */
        }
        monitor(s, "cont");
        break;
    }
    return vvt_driver_is_open(driver) || vvt_run_steps(&s->run, 0);
}

static void start_threads(Storm *s)
{
    unsigned i;

    s->uds_path = g_build_filename(s->run.c->dir, VVT_UDS_PATH, NULL);
    s->listen_path = g_strdup_printf("%s_%d", s->uds_path, HOST_PORT);
    for (i = 0; i < N_CLIENTS; i++) {
        s->threads[i] = g_thread_new("client", client, s);
    }
    s->threads[i] = g_thread_new("server", server, s);
}

/* The guest goes on meanwhile, as its peers wait for it. */
static void end_threads(Storm *s)
{
    unsigned i;

    g_atomic_int_set(&s->stop, 1);
    for (i = 0; i < G_N_ELEMENTS(s->threads); i++) {
        g_thread_join(s->threads[i]);
    }
    unlink(s->listen_path);
    g_free(s->uds_path);
    g_free(s->listen_path);
}

static bool blow(Storm *s)
{
    const char *env = g_getenv("VHOST_VSOCK_TEST_STORM");
    gint64 end = g_get_monotonic_time() +
                 (env ? atoi(env) : STORM_S) * G_USEC_PER_SEC;
    gint64 late = end + PATIENCE_S * G_USEC_PER_SEC;
    gint64 next = 0;
    unsigned enough = 0;
    gint64 now;

    while ((now = g_get_monotonic_time()) < end ||
           (s->n_connected < ENOUGH_CONNECTIONS && now < late)) {
        if (!guest_turn(s)) {
            return false;
        }
        if (now >= next && s->n_packets >= enough) {
            if (!strike(s)) {
                return false;
            }
            next = g_get_monotonic_time() + STRIKE_MS * 1000;
            enough = s->n_packets + STRIKE_PACKETS;
        }
    }
    return s->n_connected >= ENOUGH_CONNECTIONS ||
           vvt_run_fail(&s->run, "%u connections are no storm\n",
                        s->n_connected);
}

/* Whether all is as before, and a connection works. */
static bool is_calm(VvtRun *run, const VvtRest *rest)
{
    vvt_driver_close(run->driver);
    vvt_run_again(run);
    return vvt_rest_check_files(rest, run) && vvt_run_steps(run, 0) &&
           vvt_run_alive(run);
}

static bool storm(Storm *s, const VvtRest *rest)
{
    bool ok;

    start_threads(s);
    ok = blow(s);
    end_threads(s);
    return ok;
}

/* --- One after the other -------------------------------------------------- */

static bool packet_came(VvtRun *run, void *opaque)
{
    return vvt_driver_received(run->driver)->length > 0;
}

static bool expect(Storm *s, uint16_t op)
{
    g_autofree char *came = NULL;
    VvtPacket *packet;
    bool ok;

    if (vvt_run_wait(&s->run, VVT_TIMEOUT_MS * s->run.config->slow,
                     packet_came, NULL) != VVT_WAIT_DONE) {
        return vvt_run_fail(&s->run, "connection %u: no packet came\n",
                            s->n_connected);
    }
    packet = g_queue_pop_head(vvt_driver_received(s->run.driver));
    ok = packet->hdr.field[VVT_OP] == op;
    came = vvt_hdr_format(&packet->hdr);
    vvt_packet_free(packet);
    return ok || vvt_run_fail(&s->run, "connection %u: op %u expected, and %s "
                              "came\n", s->n_connected, op, came);
}

/* A connection that the host program closes. */
static bool connect_once(Storm *s, const VvtSock *listener)
{
    uint32_t port = 1024 + s->n_connected % 60000;
    int fd;

    say(s, VIRTIO_VSOCK_OP_REQUEST, port, HOST_PORT, 0, 0);
    if (!expect(s, VIRTIO_VSOCK_OP_RESPONSE)) {
        return false;
    }
    fd = accept(listener->fd, NULL, NULL);
    if (fd < 0) {
        return vvt_run_fail(&s->run, "accept: %s\n", strerror(errno));
    }
    close(fd);
    if (!expect(s, VIRTIO_VSOCK_OP_SHUTDOWN)) {
        return false;
    }
    say(s, VIRTIO_VSOCK_OP_RST, port, HOST_PORT, 0, 0);
    s->n_connected++;
    return true;
}

static bool connect_many(Storm *s, const VvtRest *rest, unsigned n)
{
    const VvtSock *listener;
    size_t before = 0;
    size_t after;

    vvt_host_listen(s->run.host, "listener", HOST_PORT, 4, SOCK_STREAM);
    listener = vvt_host_find(s->run.host, "listener");
    while (s->n_connected < n) {
        if (s->n_connected == n / 10) {
            before = vvt_rest_memory_kib(rest);
        }
        if (!connect_once(s, listener)) {
            return false;
        }
    }
    after = vvt_rest_memory_kib(rest);
    return s->run.config->backend != VVT_BACKEND_EMULATOR ||
           after <= before + MANY_SLACK_KIB ||
           vvt_run_fail(&s->run, "QEMU has grown from %zu to %zu KiB\n",
                        before, after);
}

static bool many(Storm *s, const VvtRest *rest)
{
    const char *env = g_getenv("VHOST_VSOCK_TEST_MANY");

    return connect_many(s, rest, env ? atoi(env) : MANY);
}

/* --- The cases ------------------------------------------------------------ */

typedef bool (*StormBody)(Storm *s, const VvtRest *rest);

static void run_case(VvtCase *c, const void *opaque)
{
    StormBody body = (StormBody)opaque;
    g_autoptr(VvtScript) script = vvt_script_parse("storm", "[ {} ]", NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(g_test_rand_int());
    Storm s = { .rand = rand };
    VvtRest rest;

    if (!vvt_run_begin(&s.run, c, script)) {
        return;
    }
    vvt_rest_take(&rest, &s.run);
    if (!vvt_run_steps(&s.run, 0) || !body(&s, &rest) ||
        !is_calm(&s.run, &rest)) {
        vvt_case_fail(s.run.c, s.run.why->str);
    }
    vvt_run_end(&s.run);
    vvt_rest_clear(&rest);
}

static void run_body(gconstpointer body)
{
    const VvtConfig *config = vvt_config_get();

    if (!vvt_config_usable(config)) {
        return;
    }
    if (config->backend == VVT_BACKEND_KERNEL) {
        g_test_skip("is for host sockets of AF_UNIX");
        return;
    }
    vvt_case_test(run_case, body, 600 * config->slow);
}

void vvt_storm_add(void)
{
    g_test_add_data_func("/vhost-vsock/storm/all-at-once", storm, run_body);
    g_test_add_data_func("/vhost-vsock/storm/one-after-the-other", many,
                         run_body);
}
