/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The step "fuzz": a driver gone mad.
 *
 * A round starts the device, perhaps makes connections, and then does what
 * chance says to descriptors, indices, registers and time.  After each round a
 * reset must bring the device back, and a new connection must work.  The
 * dice of a round are its seed's, so that any round can be had again as the
 * first one.
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/virtio_config.h"
#include "vhost-vsock-steps.h"

/* Hostile acts in a round, at most. */
#define ACTS_MAX 100

/* Descriptors written at a time, at most, and the heads that lead there. */
#define DESCS_MAX 12
#define HEADS 24

/* A listener of the host, and a port of the guest that a client asks for. */
#define LISTEN_PORT 1234
#define CLIENT_PORT 5000

#define GUEST_PORT 1025

typedef struct Fuzz {
    VvtRun *run;
    VvtDriver *driver;
    GRand *dice;
} Fuzz;

static uint32_t below(Fuzz *f, uint32_t n)
{
    return g_rand_int(f->dice) % n;
}

static bool once_in(Fuzz *f, uint32_t n)
{
    return below(f, n) == 0;
}

static bool is_packed(Fuzz *f)
{
    return vvt_driver_vdev(f->driver)->features &
           1ull << VIRTIO_F_RING_PACKED;
}

/* --- Values --------------------------------------------------------------- */

static uint64_t any_addr(Fuzz *f, unsigned queue)
{
    static const VvtPlace wrong[] = {
        VVT_PLACE_ZERO, VVT_PLACE_DESC, VVT_PLACE_AVAIL, VVT_PLACE_USED,
        VVT_PLACE_RAM_END, VVT_PLACE_ROM, VVT_PLACE_BAR, VVT_PLACE_NOWHERE,
    };
    static const uint64_t offsets[] = {
        0, 0, 1, 16, 4096, 8192, 12288, -1, -20, -44, -4096,
    };
    VvtAddr addr = { VVT_PLACE_RAM, below(f, VVT_RAW_RAM - 8192) };
    g_autoptr(GString) why = g_string_new(NULL);
    uint64_t at = 0;

    if (once_in(f, 4)) {
        addr.place = wrong[below(f, G_N_ELEMENTS(wrong))];
        addr.offset = offsets[below(f, G_N_ELEMENTS(offsets))];
    }
    vvt_raw_resolve(f->driver, queue, &addr, &at, why);
    return at;
}

static uint32_t any_len(Fuzz *f)
{
    static const uint32_t lens[] = {
        0, 1, 16, 43, 44, 45, 48, 100, 4096, 65535, 65536, 65580, 1 << 20,
        1u << 31, UINT32_MAX - 43, UINT32_MAX,
    };

    return once_in(f, 3) ? lens[below(f, G_N_ELEMENTS(lens))] :
                           16 * below(f, 16);
}

static uint16_t any_desc_flags(Fuzz *f)
{
    uint16_t flags = 0;

    flags |= once_in(f, 2) ? VRING_DESC_F_NEXT : 0;
    flags |= once_in(f, 3) ? VRING_DESC_F_WRITE : 0;
    flags |= once_in(f, 6) ? VRING_DESC_F_INDIRECT : 0;
    return once_in(f, 40) ? g_rand_int(f->dice) : flags;
}

static uint64_t any_features(Fuzz *f)
{
    uint64_t features = vvt_driver_offered(f->driver);

    if (once_in(f, 2)) {
        features &= (uint64_t)g_rand_int(f->dice) << 32 |
                    g_rand_int(f->dice);
    }
    if (once_in(f, 8)) {
        features |= 1ull << below(f, 64);
    }
    return features;
}

/* --- Acts ----------------------------------------------------------------- */

static void act_descs(Fuzz *f, unsigned queue)
{
    struct vring_desc descs[DESCS_MAX];
    unsigned n = 1 + below(f, DESCS_MAX);
    const QVirtQueue *vq = vvt_driver_queue(f->driver, queue);
    uint64_t at = once_in(f, 3) ? any_addr(f, queue) :
                  vq->desc + sizeof(descs[0]) * below(f, HEADS);
    unsigned i;

    for (i = 0; i < n; i++) {
        uint16_t flags = any_desc_flags(f);
        uint16_t next = once_in(f, 20) ? g_rand_int(f->dice) :
                                         below(f, HEADS);

        descs[i].addr = cpu_to_le64(any_addr(f, queue));
        descs[i].len = cpu_to_le32(any_len(f));
        if (is_packed(f)) { /* the id, and then the flags */
            flags |= once_in(f, 4) ? 0 : 1u << VRING_PACKED_DESC_F_AVAIL;
            flags |= once_in(f, 8) ? 1u << VRING_PACKED_DESC_F_USED : 0;
            descs[i].flags = cpu_to_le16(next);
            descs[i].next = cpu_to_le16(flags);
        } else {
            descs[i].flags = cpu_to_le16(flags);
            descs[i].next = cpu_to_le16(next);
        }
    }
    qtest_memwrite(vvt_driver_qts(f->driver), at, descs,
                   n * sizeof(descs[0]));
}

/* A packet that may well be right, in one descriptor. */
static void act_packet(Fuzz *f, unsigned queue)
{
    VvtRun *run = f->run;
    VvtHdr hdr = { .field = {
        [VVT_SRC_CID] = run->guest_cid,
        [VVT_DST_CID] = VVT_HOST_CID,
        [VVT_SRC_PORT] = GUEST_PORT + below(f, 4),
        [VVT_DST_PORT] = once_in(f, 3) ? CLIENT_PORT : LISTEN_PORT,
        [VVT_LEN] = once_in(f, 2) ? any_len(f) : 0,
        [VVT_TYPE] = 1 + once_in(f, 5),
        [VVT_OP] = below(f, 9),
        [VVT_FLAGS] = below(f, 4),
        [VVT_BUF_ALLOC] = once_in(f, 4) ? any_len(f) : VVT_GUEST_BUFFER,
        [VVT_FWD_CNT] = once_in(f, 4) ? any_len(f) : 0,
    } };
    VvtAddr ram = { VVT_PLACE_RAM, 16 * below(f, 4096) };
    VvtDesc desc = { .len = VVT_HDR_SIZE + hdr.field[VVT_LEN] };
    VvtRing *ring = vvt_driver_ring(f->driver, queue);
    uint32_t head = below(f, HEADS);
    g_autoptr(GString) why = g_string_new(NULL);
    uint8_t wire[VVT_HDR_SIZE];
    uint64_t at = 0;

    vvt_raw_resolve(f->driver, queue, &ram, &at, why);
    vvt_hdr_encode(&hdr, wire);
    qtest_memwrite(vvt_driver_qts(f->driver), at, wire, sizeof(wire));
    vvt_raw_write_desc(f->driver, vvt_ring_queue(ring)->desc +
                       head * sizeof(struct vring_desc), at, &desc);
    vvt_ring_raw_offer(ring, &head, 1, 1);
    vvt_raw_kick(f->driver, queue);
}

static void act_avail(Fuzz *f, unsigned queue)
{
    uint32_t heads[4];
    unsigned n = 1 + below(f, G_N_ELEMENTS(heads));
    unsigned i;

    for (i = 0; i < n; i++) {
        heads[i] = once_in(f, 100) ? g_rand_int(f->dice) & UINT16_MAX :
                                     below(f, HEADS);
    }
    vvt_ring_raw_offer(vvt_driver_ring(f->driver, queue), heads, n,
                       once_in(f, 50) ? g_rand_int(f->dice) : n);
    if (!once_in(f, 4)) {
        vvt_raw_kick(f->driver, queue);
    }
}

/* Whatever is in the rings' memory, of both sides. */
static void act_scribble(Fuzz *f, unsigned queue)
{
    const QVirtQueue *vq = vvt_driver_queue(f->driver, queue);
    uint64_t at = (once_in(f, 2) ? vq->avail : vq->used) +
                  2 * below(f, once_in(f, 2) ? 3 : vq->size * 4);

    qtest_writew(vvt_driver_qts(f->driver), at, g_rand_int(f->dice));
}

static void act_queue(Fuzz *f, unsigned queue)
{
    static const uint16_t sizes[] = { 0, 1, 2, 3, 127, 128, 129, 256, 1024,
                                      1025, 32768, 65535 };
    VvtQueueReg reg = below(f, VVT_QUEUE_REGS);
    uint64_t value = any_addr(f, queue);

    if (reg == VVT_QUEUE_SIZE) {
        value = sizes[below(f, G_N_ELEMENTS(sizes))];
    } else if (reg == VVT_QUEUE_ENABLE) {
        value = !once_in(f, 8);
    }
    vvt_raw_set_queue(f->driver, once_in(f, 10) ? below(f, UINT16_MAX) :
                      queue, reg, value);
}

static void act_status(Fuzz *f, unsigned queue)
{
    uint8_t status = vvt_raw_status(f->driver);

    vvt_raw_set_status(f->driver, once_in(f, 2) ? g_rand_int(f->dice) :
                       status ^ (1u << below(f, 8)));
}

static void act_features(Fuzz *f, unsigned queue)
{
    vvt_raw_set_features(f->driver, any_features(f));
}

/* Any register of the device; they are below one another. */
static void act_register(Fuzz *f, unsigned queue)
{
    VvtMachine *machine = vvt_driver_machine(f->driver);
    uint64_t at = below(f, 5) * 4096 + below(f, once_in(f, 2) ? 64 : 4096);
    unsigned size = 1u << below(f, 4);

    if (f->run->config->machine->registers_size) {
        at %= f->run->config->machine->registers_size;
    }
    if (size > 4) {
        vvt_machine_peek(machine, at & ~3ull);
    } else {
        vvt_machine_poke(machine, at & ~(size - 1ull), size,
                         g_rand_int(f->dice));
    }
}

static void act_time(Fuzz *f, unsigned queue)
{
    if (f->run->config->backend != VVT_BACKEND_EMULATOR) {
        g_usleep(1000); /* time is real there */
        return;
    }
    qtest_clock_step(vvt_driver_qts(f->driver),
                     (int64_t)below(f, 10000) * 1000000);
}

static void act_stop(Fuzz *f, unsigned queue)
{
    QTestState *qts = vvt_driver_qts(f->driver);

    qobject_unref(qtest_qmp(qts, "{ 'execute': 'stop' }"));
    vvt_raw_kick(f->driver, queue);
    qobject_unref(qtest_qmp(qts, "{ 'execute': 'cont' }"));
}

/* The host's side goes on meanwhile. */
static void act_pump(Fuzz *f, unsigned queue)
{
    vvt_host_pump(f->run->host);
}

static const struct {
    void (*act)(Fuzz *f, unsigned queue);
    unsigned weight;
} acts[] = {
    { act_descs, 30 }, { act_packet, 20 }, { act_avail, 30 },
    { act_scribble, 4 }, { act_queue, 4 }, { act_status, 1 },
    { act_features, 1 }, { act_register, 4 }, { act_time, 2 },
    { act_stop, 1 }, { act_pump, 3 },
};

static void act(Fuzz *f)
{
    unsigned queue = below(f, 10);
    unsigned sum = 0;
    unsigned at;
    size_t i;

    queue = queue < 5 ? VVT_TX : queue < 9 ? VVT_RX : VVT_EVENT;
    for (i = 0; i < G_N_ELEMENTS(acts); i++) {
        sum += acts[i].weight;
    }
    at = below(f, sum);
    for (i = 0; at >= acts[i].weight; i++) {
        at -= acts[i].weight;
    }
    acts[i].act(f, queue);
}

/* --- Rounds --------------------------------------------------------------- */

static const char prelude_script[] =
    "[ {},"
    "{ 'op': 'sock-listen', 'sock_id': '(fuzz)', 'port': 1234 },"
    "{ 'op': 'send', 'hdr': { 'src_port': 1025, 'dst_port': 1234,"
    "  'op': 'VIRTIO_VSOCK_OP_REQUEST' } },"
    "{ 'op': 'sock-accept', 'sock_id': '(fuzz conn)',"
    "  'listener': '(fuzz)' },"
    "{ 'op': 'sock-send', 'sock_id': '(fuzz conn)',"
    "  'payload': 'pattern:200000:1', 'background': true },"
    "{ 'op': 'sock-async-connect', 'sock_id': '(fuzz client)',"
    "  'dst_port': 5000 } ]";

/* Give the device something to do: a flow with data, and one to come. */
static bool prelude(VvtRun *run)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_parse("fuzz", prelude_script,
                                                   &error);
    unsigned i;

    g_assert_no_error(error);
    for (i = 0; i < script->steps->len; i++) {
        const VvtStep *step = script->steps->pdata[i];

        if (!vvt_any_step(step->op)(run, step)) {
            return false;
        }
    }
    return true;
}

static bool play_round(Fuzz *f)
{
    uint32_t omit = once_in(f, 10) ? 1u << below(f, 3) : 0;
    unsigned n = 1 + below(f, ACTS_MAX);
    unsigned i;

    vvt_driver_close(f->driver);
    vvt_driver_open(f->driver, any_features(f), omit,
                    below(f, VVT_EVENT_CHAINS + 1));
    if (omit == 0 && !is_packed(f) && !once_in(f, 3) && !prelude(f->run)) {
        return false;
    }
    for (i = 0; i < VVT_QUEUES; i++) {
        vvt_ring_set_raw(vvt_driver_ring(f->driver, i));
    }
    for (i = 0; i < n; i++) {
        act(f);
    }
    vvt_driver_close(f->driver);
    vvt_driver_open(f->driver, 1ull << VIRTIO_RING_F_INDIRECT_DESC, 0,
                    VVT_EVENT_CHAINS);
    return vvt_run_alive(f->run);
}

bool vvt_fuzz_step(VvtRun *run, const VvtStep *step)
{
    gint64 end = g_get_monotonic_time() +
                 vvt_step_num(step, VVT_KEY_MS, 0) * 1000;
    uint32_t seed = run->config->has_seed ? run->config->seed :
                    vvt_step_num(step, VVT_KEY_SEED, 0);
    unsigned rounds = 0;

    if (run->config->iothread) {
        vvt_case_skip(run->c, "a guest with buffers outside its RAM can hang "
                      "itself and QEMU if there is an iothread");
        return true;
    }
    do {
        g_autofree char *now = g_strdup_printf("fuzz, seed %u", seed);
        Fuzz f = { run, run->driver, g_rand_new_with_seed(seed) };
        bool ok;

        vvt_case_now(run->c, now);
        ok = play_round(&f);
        g_rand_free(f.dice);
        if (!ok) {
            return vvt_run_fail(run, "  in the round that begins with "
                                "VHOST_VSOCK_TEST_SEED=%u\n", seed);
        }
        seed++;
        rounds++;
    } while (g_get_monotonic_time() < end);
    if (run->c->verbose) {
        g_autofree char *note = g_strdup_printf("%u rounds", rounds);

        vvt_case_note(run->c, note);
    }
    return true;
}
