/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The whole device: a hostile guest, careless host programs, an embedder with
 * its clock, and a driver that comes and goes, in the order that the input
 * says.  Built twice: on real sockets (target "device"), and on sockets in
 * memory (target "mux").
 *
 * After each call the device is at rest and holds no chain; when it says that
 * it has nothing to do it has, or time would not pass.  At the end everybody
 * does what is due, and then all that can be delivered was; when all have left,
 * nothing is left of anything.
 */

#include "guest.h"
#include "vsock-limits.h"
#include "programs.h"
#include "transport.h"

#include <inttypes.h>
#include <string.h>

#define FIRST_GUEST_PORT 1000
#define REPEAT_BYTES 300000 /* a flow's window, and more */
#define CALLS_AT_MOST 800 /* until a device has nothing left to do */

typedef struct World {
    FuzzBytes in;
    VskDevConfig config;
    VskDev *dev;
    Model *model;
    Guest *guest;
    Programs *programs;
    int64_t now_ms;
    bool driver_ok, paused;
    bool wants_seqpacket; /* the driver, next time */
    bool broken;          /* calls fail */
    unsigned int idle;    /* descriptors of a device alone */
} World;

/* --- Calls of the device ---------------------------------------------- */

static void enter(World *w)
{
    w->guest->now_ms = w->now_ms;
    guest_enter(w->guest);
}

static void leave(World *w)
{
    VskStats stats;

    guest_leave(w->guest);
    vsk_dev_get_stats(w->dev, &stats);
    CHECK(stats.conns <= (w->config.max_conns ?: VSK_DEFAULT_MAX_CONNS));
    CHECK(stats.staged <= (w->config.max_staged ?: VSK_DEFAULT_MAX_STAGED));
    CHECK(stats.packets_to_guest == w->guest->n_to_guest);
}

static void dispatch(World *w)
{
    enter(w);
    vsk_dev_dispatch(w->dev, w->now_ms);
    leave(w);
}

static void kick(World *w, VskQueue queue)
{
    enter(w);
    vsk_dev_kick(w->dev, queue, w->now_ms);
    leave(w);
}

/* Until there is nothing to do: it comes, or the device spins. */
static void settle(World *w)
{
    for (int i = 0; i < CALLS_AT_MOST; i++) {
        int64_t at = vsk_dev_next_deadline(w->dev);

        if (!transport_is_ready(w->dev) && (at < 0 || at > w->now_ms)) {
            programs_check_taken(w->programs);
            return;
        }
        dispatch(w);
    }
    CHECK(w->broken); /* then epoll may tell of what is not */
}

static void pass(World *w, int64_t ms)
{
    w->now_ms += ms;
    trace("at %" PRId64 " ms\n", w->now_ms);
}

/* --- Driver and embedder ---------------------------------------------- */

static void set_driver_ok(World *w, bool ok)
{
    uint64_t features = 1ull << VSK_F_NO_IMPLIED_STREAM;

    trace("driver %s\n", ok ? "ok" : "off");
    if (w->wants_seqpacket) {
        features |= 1ull << VSK_F_SEQPACKET;
    }
    enter(w);
    if (!ok || !w->driver_ok) {
        model_end_flows(w->model, false);
        guest_clear_event(w->guest);
        w->model->seqpacket = w->config.seqpacket && w->wants_seqpacket;
    }
    guest_forbid(w->guest, w->paused);
    vsk_dev_set_driver_ok(w->dev, ok, ok ? features : 0, w->now_ms);
    w->driver_ok = ok;
    leave(w);
    guest_forbid(w->guest, !ok || w->paused);
    if (!ok) {
        guest_forget(w->guest);
    }
}

static void set_paused(World *w, bool paused)
{
    trace("paused %d\n", paused);
    enter(w);
    guest_forbid(w->guest, !w->driver_ok || (w->paused && paused));
    vsk_dev_set_paused(w->dev, paused, w->now_ms);
    w->paused = paused;
    leave(w);
    guest_forbid(w->guest, !w->driver_ok || paused);
}

static void reset_transport(World *w)
{
    trace("transport reset\n");
    enter(w);
    model_end_flows(w->model, false);
    guest_clear_event(w->guest);
    w->guest->held_until_ms = w->now_ms + VSK_EVENT_TIMEOUT_MS;
    vsk_dev_transport_reset(w->dev, w->now_ms);
    leave(w);
}

static void end_flows(World *w)
{
    trace("all flows end\n");
    enter(w);
    model_end_flows(w->model, true);
    vsk_dev_end_flows(w->dev, w->now_ms);
    leave(w);
}

static void change_driver(World *w)
{
    uint8_t how = fuzz_u8(&w->in);

    if (!w->driver_ok) {
        w->wants_seqpacket = !(how & 128);
        set_driver_ok(w, true);
    } else if ((how & 127) < 60) {
        set_driver_ok(w, how & 1); /* again, or off */
    }
}

static void break_calls(World *w)
{
    uint8_t call = fuzz_u8(&w->in), nth = fuzz_u8(&w->in);
    uint8_t how = fuzz_u8(&w->in);

    w->broken = true;
    w->model->excused |= transport_break(call, nth >> 3, 1u + (nth & 7) * 3,
                                         how);
}

static void heal_calls(World *w)
{
    transport_heal();
    w->broken = false;
}

/* --- Steps of the guest ----------------------------------------------- */

/* The same packet, many times. */
static void repeat_packet(World *w)
{
    uint8_t how = fuzz_u8(&w->in);
    const uint8_t *at = w->in.at;
    unsigned int times = how & 4 ? 5000 : how & 127;
    size_t bytes = 0;

    for (unsigned int i = 0; i < times && bytes < REPEAT_BYTES; i++) {
        w->in.at = at;
        bytes += how & 1 ? guest_put_honest(w->guest, &w->in)
                         : guest_put_wrong(w->guest, &w->in);
        bytes += VSK_HDR_SIZE;
    }
    if (how & 2) {
        kick(w, VSK_QUEUE_TX);
    }
}

static void give_buffers(World *w)
{
    uint8_t how = fuzz_u8(&w->in), shape = fuzz_u8(&w->in);

    for (unsigned int i = 0; i <= (how & 31); i++) {
        guest_give_rx(w->guest, shape);
    }
    if (how & 128) {
        kick(w, VSK_QUEUE_RX);
    }
}

static void give_usual_buffers(World *w, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        guest_give_rx(w->guest, 0);
    }
    kick(w, VSK_QUEUE_RX);
}

/* Returns false if the step is none of the guest's. */
static bool guest_step(World *w, unsigned int step)
{
    switch (step) {
    case 0 ... 11:
        guest_put_honest(w->guest, &w->in);
        if (step & 1) {
            kick(w, VSK_QUEUE_TX);
        }
        break;
    case 12 ... 17:
        guest_put_wrong(w->guest, &w->in);
        if (step & 1) {
            kick(w, VSK_QUEUE_TX);
        }
        break;
    case 18:
        guest_put_raw(w->guest, &w->in);
        break;
    case 19:
        repeat_packet(w);
        break;
    case 20:
        give_buffers(w);
        break;
    case 21:
        give_usual_buffers(w, 8);
        break;
    case 22:
        guest_give_event(w->guest, fuzz_u8(&w->in) & 7);
        break;
    case 23:
        guest_be_late(w->guest, fuzz_u8(&w->in));
        break;
    case 24 ... 26:
        kick(w, (VskQueue)(step - 24));
        break;
    default:
        return false;
    }
    return true;
}

/* --- Steps of the embedder -------------------------------------------- */

static bool embedder_step(World *w, unsigned int step)
{
    switch (step) {
    case 28:
        dispatch(w);
        break;
    case 29:
    case 30:
        settle(w);
        break;
    case 31:
        pass(w, fuzz_u8(&w->in));
        break;
    case 32:
        pass(w, fuzz_u8(&w->in) * 50);
        dispatch(w);
        break;
    case 33:
        change_driver(w);
        break;
    case 34:
        if (w->paused || fuzz_u8(&w->in) < 80) {
            set_paused(w, !w->paused);
        }
        break;
    case 35:
        if (fuzz_u8(&w->in) < 40) {
            reset_transport(w);
        }
        break;
    case 36:
        if (fuzz_u8(&w->in) < 20) {
            end_flows(w);
        }
        break;
    case 37:
        break_calls(w);
        break;
    case 38:
        heal_calls(w);
        break;
    default:
        return false;
    }
    return true;
}

/* --- Steps of host programs ------------------------------------------- */

static void connect_program(World *w, bool well)
{
    uint8_t how = fuzz_u8(&w->in), port = fuzz_u8(&w->in);
    VskType type = how & 128 ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;
    FirstWords words = (FirstWords)(how & (FIRST_NUM - 1));
    Program *program;

    if (well) {
        words = how & 1 ? FIRST_LINE_ODDLY : FIRST_LINE;
    }
    program = programs_connect(w->programs, type,
                               FIRST_GUEST_PORT + (port & 3), words,
                               (port >> 4) & 7);
    if (program && (how & 8)) {
        program_write(program, port * 4, false);
    }
    if (program && (how & 16)) {
        program_close(program);
    }
}

/* Clients that come and go. */
static void connect_many(World *w)
{
    uint8_t n = fuzz_u8(&w->in);

    for (unsigned int i = 0; i < n; i++) {
        Program *program = programs_connect(w->programs, VSK_TYPE_STREAM,
                                            FIRST_GUEST_PORT,
                                            i & 1 ? FIRST_LINE : FIRST_NOTHING,
                                            0);

        if (program) {
            program_close(program);
        }
    }
}

static void write_program(World *w, Program *program, unsigned int step)
{
    uint8_t a = fuzz_u8(&w->in);
    size_t len = a;

    switch (step) {
    case 43:
        len = a & 3;
        break;
    case 44:
        len = (size_t)(a << 8 | fuzz_u8(&w->in)) * 4;
        break;
    case 45: /* small ones, many times */
        for (unsigned int i = 0; i < a; i++) {
            program_write(program, i & 1, false);
        }
        break;
    default:
        break;
    }
    program_write(program, len, step == 46);
}

/* A step with one program, which there is. */
static void program_step(World *w, unsigned int step, Program *program)
{
    switch (step) {
    case 42 ... 46:
        write_program(w, program, step);
        break;
    case 47:
        program_read(w->programs, program, fuzz_u8(&w->in), 3);
        break;
    case 48:
    case 49:
        program_read(w->programs, program, 1 << 20, 3000);
        break;
    case 50:
        program_shutdown(program, fuzz_u8(&w->in) % 3);
        break;
    case 51:
        program_close(program);
        break;
    default:
        program_finish_line(program);
    }
}

static void host_step(World *w, unsigned int step)
{
    Program *program;
    uint8_t byte;

    switch (step) {
    case 39 ... 41:
        connect_program(w, step < 41);
        break;
    case 42 ... 52:
        program = programs_pick(w->programs, fuzz_u8(&w->in));
        if (program) {
            program_step(w, step, program);
        }
        break;
    case 53:
        byte = fuzz_u8(&w->in);
        programs_listen(w->programs, byte & 3,
                        byte & 32 && w->config.seqpacket ? VSK_TYPE_SEQPACKET
                                                         : VSK_TYPE_STREAM,
                        (byte >> 2) & 7);
        break;
    case 54:
        byte = fuzz_u8(&w->in);
        if (byte & 128) {
            programs_unlisten(w->programs, byte & 3, byte & 64);
        }
        break;
    case 55 ... 57:
        byte = fuzz_u8(&w->in);
        programs_accept(w->programs, byte & 3, (byte >> 2) & 3);
        break;
    case 58:
        connect_many(w);
        break;
    case 59:
        program = programs_pick(w->programs, fuzz_u8(&w->in));
        if (program) {
            program_write_urgent(program);
        }
        break;
    default:
        settle(w);
    }
}

/* --- The end ---------------------------------------------------------- */

/* What moved so far; it is the same once nothing moves any more. */
static uint64_t progress(const World *w)
{
    uint64_t sum = w->guest->n_to_guest;
    VskStats stats;

    vsk_dev_get_stats(w->dev, &stats);
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        const Program *program = &w->programs->programs[i];

        sum += program->received + program->messages_received + program->eof;
    }
    return sum + stats.bytes_from_guest + stats.conns_opened;
}

/* Everybody does what is due. */
static void work(World *w)
{
    while (fake_ring_avail(w->guest->rings, VSK_QUEUE_RX) < 40) {
        guest_give_rx(w->guest, 0);
    }
    guest_put_credit(w->guest);
    kick(w, VSK_QUEUE_RX);
    kick(w, VSK_QUEUE_TX);
    settle(w);
    for (unsigned int i = 0; i < MODEL_PORTS; i++) {
        programs_accept(w->programs, i, 0);
    }
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        Program *program = &w->programs->programs[i];

        if (program->fd >= 0) {
            program_read(w->programs, program, 1 << 20, 3000);
        }
    }
    settle(w);
}

/* Nobody is held back any more. */
static void calm_down(World *w)
{
    guest_be_late(w->guest, 0);
    heal_calls(w);
    if (w->paused) {
        set_paused(w, false);
    }
    if (!w->driver_ok) {
        set_driver_ok(w, true);
    }
    guest_give_event(w->guest, 8);
    kick(w, VSK_QUEUE_EVENT);
    settle(w);
    pass(w, VSK_ACCEPT_RETRY_MS + 1);
    settle(w);
}

static void finish(World *w)
{
    uint64_t before, now = 0;
    int quiet = 0;

    trace("--- the end\n");
    calm_down(w);
    guest_give_event(w->guest, 8);
    kick(w, VSK_QUEUE_EVENT);
    for (int i = 0; i < 3000 && quiet < 4; i++) {
        before = now;
        work(w);
        now = progress(w);
        quiet = now == before ? quiet + 1 : 0;
    }
    CHECK(!guest_is_held(w->guest));
    CHECK(fake_ring_avail(w->guest->rings, VSK_QUEUE_TX) == 0);
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        if (w->programs->programs[i].fd >= 0) {
            program_check_delivered(w->programs, &w->programs->programs[i]);
        }
    }
}

static void leave_all(World *w)
{
    VskStats stats;

    set_driver_ok(w, false);
    programs_close(w->programs);
    settle(w);
    pass(w, 60000);
    settle(w);
    vsk_dev_get_stats(w->dev, &stats);
    CHECK(stats.conns == 0 && stats.staged == 0);
    CHECK(vsk_dev_next_deadline(w->dev) < 0);
    CHECK(transport_count() == w->idle);
}

/* --- One input ------------------------------------------------------------ */

static void read_config(World *w, uint8_t a, uint8_t b)
{
    static const uint32_t windows[4] = { 0, 8192, 16384, 65536 };

    w->config = (VskDevConfig) {
        .guest_cid = MODEL_CID,
        .seqpacket = (b & 0xc0) != 0xc0,
        .max_conns = (a & 6) == 6 ? 2 : a & 2 ? 6 : 0,
        .buf_alloc = windows[(a >> 3) & 3],
        .max_staged = a & 32 ? 40000 : 0,
        .request_timeout_ms = b & 1 ? 50 : 0,
        .close_timeout_ms = b & 2 ? 70 : 0,
        .line_timeout_ms = b & 4 ? 30 : 0,
        .seed = b >> 3,
    };
}

/* A value that no device may have, or one that it may just have. */
static void spoil_config(VskDevConfig *config, unsigned int how)
{
    static char too_long[VSK_PATH_MAX + 2];

    memset(too_long, 'x', sizeof(too_long) - 1);
    switch (how % 12) {
    case 0:
        config->guest_cid = VSK_CID_HOST;
        break;
    case 1:
        config->guest_cid = VSK_CID_ANY;
        break;
    case 2:
        config->uds_path = NULL;
        break;
    case 3:
        config->uds_path = "";
        break;
    case 4:
        config->uds_path = too_long;
        break;
    case 5:
        config->shared_path = too_long;
        break;
    case 6:
        config->shared_path = NULL;
        break;
    case 7:
        config->max_conns = VSK_MOST_CONNS + 1;
        break;
    case 8:
        config->buf_alloc = VSK_MIN_BUF_ALLOC - 1;
        break;
    case 9:
        config->max_staged = VSK_MOST_STAGED + 1;
        break;
    case 10:
        config->close_timeout_ms = VSK_MOST_TIMEOUT_MS + 1;
        break;
    default:
        config->max_conns = 1;
    }
}

/*
 * Make a device, or try in vain: with a bad configuration, with calls that
 * fail, with something at its paths, beside one that is there already.
 */
static void make_device(World *w, bool oddly)
{
    uint8_t how = oddly ? fuzz_u8(&w->in) : 0;
    VskDevConfig config = w->config;
    g_autoptr(GError) err = NULL;
    VskDev *other;

    if (oddly && !(how & 3)) {
        spoil_config(&config, how >> 2);
    } else if (oddly && (how & 3) == 1) {
        break_calls(w);
    } else if (oddly && (how & 3) == 2) {
        transport_litter(how >> 2);
    }
    w->dev = vsk_dev_new(&config, &guest_ops, w->guest, &err);
    CHECK(!w->dev == (err != NULL));
    CHECK(w->dev || oddly);
    heal_calls(w);
    if (oddly && w->dev) {
        other = vsk_dev_new(&config, &guest_ops, w->guest, NULL);
        CHECK(!other || !transport_is_exclusive());
        vsk_dev_free(other);
    }
}

static void prepare(World *w, bool bare)
{
    set_driver_ok(w, true);
    if (!bare) {
        programs_listen(w->programs, 0, VSK_TYPE_STREAM, 3);
        programs_listen(w->programs, 1, VSK_TYPE_SEQPACKET, 3);
        programs_listen(w->programs, 2, VSK_TYPE_SEQPACKET, 7);
        give_usual_buffers(w, 16);
    }
    settle(w);
}

static void run(World *w, uint8_t first)
{
    prepare(w, first & 64);
    while (fuzz_left(&w->in)) {
        unsigned int step = fuzz_u8(&w->in) % 64;

        if (!guest_step(w, step) && !embedder_step(w, step)) {
            host_step(w, step);
        }
    }
    settle(w);
    finish(w);
    if (!(first & 128)) {
        leave_all(w);
    } /* else it is unplugged in the middle */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    World w = { .in = { data, data + size }, .now_ms = 1000 };
    uint8_t a = fuzz_u8(&w.in), b = fuzz_u8(&w.in);
    unsigned int before;

    if (!ready) {
        transport_init();
        ready = true;
    }
    before = transport_count();
    read_config(&w, a, b);
    transport_begin(&w.config);
    w.model = model_new();
    w.guest = guest_new(w.model);
    w.programs = programs_new(w.model, w.config.seqpacket);
    w.wants_seqpacket = true;
    guest_forbid(w.guest, true);
    make_device(&w, ((b >> 3) & 7) == 7);
    w.idle = transport_count();
    if (w.dev) {
        run(&w, a);
    }
    vsk_dev_free(w.dev);
    programs_free(w.programs);
    guest_forbid(w.guest, false);
    guest_free(w.guest);
    model_free(w.model);
    transport_end();
    CHECK(transport_count() == before);
    return 0;
}
