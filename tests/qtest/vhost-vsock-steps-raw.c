/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Steps of a script that write descriptors, ring entries and registers as no
 * driver should, and those that show that the device serves all the same.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/virtio_config.h"
#include "vhost-vsock-steps.h"

/* Ports of "alive", counted up for each connection. */
#define ALIVE_PORT 0xf0000000u

/* How long the device has for what it does at once. */
#define SETTLE_MS 20

static unsigned queue_of(const VvtStep *step)
{
    return vvt_step_num(step, VVT_KEY_QUEUE, VVT_TX);
}

/* The ring of the step's queue, for the script alone; NULL: it failed. */
static VvtRing *raw_ring(VvtRun *run, const VvtStep *step)
{
    VvtRing *ring = vvt_driver_ring(run->driver, queue_of(step));

    if (!ring) {
        vvt_run_fail(run, "the device is closed\n");
        return NULL;
    }
    vvt_ring_set_raw(ring);
    return ring;
}

static bool do_write(VvtRun *run, const VvtStep *step)
{
    g_autoptr(GBytes) payload = vvt_step_has(step, VVT_KEY_PAYLOAD) ?
        vvt_payload_bytes(&step->payload, run->window) :
        g_bytes_new(NULL, 0);
    size_t len;
    const void *data = g_bytes_get_data(payload, &len);
    VvtPlace place = step->value[VVT_KEY_AT].addr.place;
    uint64_t at;

    if ((place == VVT_PLACE_DESC || place == VVT_PLACE_AVAIL ||
         place == VVT_PLACE_USED) && !raw_ring(run, step)) {
        return false;
    }
    if (!vvt_raw_resolve(run->driver, queue_of(step),
                         &step->value[VVT_KEY_AT].addr, &at, run->why)) {
        return false;
    }
    if (vvt_step_has(step, VVT_KEY_HDR)) {
        uint8_t wire[VVT_HDR_SIZE];
        VvtHdr hdr;

        if (!vvt_run_build_hdr(run, step, 0, &hdr)) {
            return false;
        }
        if (step->hdr.field[VVT_LEN].kind == VVT_SPEC_UNSET) {
            hdr.field[VVT_LEN] = len;
        }
        vvt_hdr_encode(&hdr, wire);
        qtest_memwrite(vvt_driver_qts(run->driver), at, wire, sizeof(wire));
        at += sizeof(wire);
    }
    if (len > 0) {
        qtest_bufwrite(vvt_driver_qts(run->driver), at, data, len);
    }
    return true;
}

static bool do_descs(VvtRun *run, const VvtStep *step)
{
    static const VvtAddr table = { VVT_PLACE_DESC, 0 };
    unsigned queue = queue_of(step);
    unsigned n = step->n_descs * vvt_step_num(step, VVT_KEY_REPEAT, 1);
    uint64_t at;
    unsigned i;

    if (!vvt_step_has(step, VVT_KEY_AT) && !raw_ring(run, step)) {
        return false;
    }
    if (!vvt_raw_resolve(run->driver, queue, vvt_step_has(step, VVT_KEY_AT) ?
                         &step->value[VVT_KEY_AT].addr : &table, &at,
                         run->why)) {
        return false;
    }
    for (i = 0; i < n; i++) {
        VvtDesc desc = step->descs[i % step->n_descs];
        uint64_t addr;

        if (!vvt_raw_resolve(run->driver, queue, &desc.addr, &addr,
                             run->why)) {
            return false;
        }
        if (!desc.fixed_next) {
            desc.next = i + 1;
        }
        vvt_raw_write_desc(run->driver, at, addr, &desc);
        at += sizeof(struct vring_desc);
    }
    return true;
}

static bool do_avail(VvtRun *run, const VvtStep *step)
{
    const VvtValue *heads = &step->value[VVT_KEY_HEADS];
    unsigned n = heads->n_list * vvt_step_num(step, VVT_KEY_REPEAT, 1);
    g_autofree uint32_t *list = g_new(uint32_t, n);
    VvtRing *ring = raw_ring(run, step);
    unsigned i;

    if (!ring) {
        return false;
    }
    for (i = 0; i < n; i++) {
        list[i] = heads->list[i % heads->n_list];
    }
    vvt_ring_raw_offer(ring, list, n, vvt_step_num(step, VVT_KEY_JUMP, n));
    if (vvt_step_num(step, VVT_KEY_KICK, true)) {
        vvt_raw_kick(run->driver, queue_of(step));
    }
    return true;
}

typedef struct UsedState {
    VvtRing *ring;
    uint32_t id;
    uint32_t len;
} UsedState;

static bool take_used(VvtRun *run, void *opaque)
{
    UsedState *state = opaque;

    return vvt_ring_raw_take(state->ring, &state->id, &state->len);
}

/* One element of the used ring; false: it is not there, or wrong. */
static bool check_used(VvtRun *run, const VvtStep *step, UsedState *state)
{
    bool none = vvt_run_expects(step, VVT_KEY_EXPECT, EAGAIN);

    switch (vvt_run_wait(run, vvt_run_timeout(run, step, none ?
                                              VVT_SILENCE_MS :
                                              VVT_TIMEOUT_MS),
                         take_used, state)) {
    case VVT_WAIT_DONE:
        break;
    case VVT_WAIT_TIMEOUT:
        return none || vvt_run_fail(run, "no chain came back\n");
    default:
        return false;
    }
    if (none) {
        return vvt_run_fail(run, "head %u came back; none expected\n",
                            state->id);
    }
    if (state->id != vvt_step_num(step, VVT_KEY_ID, state->id) ||
        state->len != vvt_step_num(step, VVT_KEY_USED, state->len)) {
        return vvt_run_fail(run, "head %u came back with %u bytes; head %"
                            PRIu64 " with %" PRIu64 " expected\n", state->id,
                            state->len,
                            vvt_step_num(step, VVT_KEY_ID, state->id),
                            vvt_step_num(step, VVT_KEY_USED, state->len));
    }
    return true;
}

static bool do_used(VvtRun *run, const VvtStep *step)
{
    UsedState state = { vvt_driver_ring(run->driver, queue_of(step)) };
    unsigned count = vvt_step_num(step, VVT_KEY_COUNT, 1);
    unsigned i;

    if (!state.ring || !vvt_ring_is_raw(state.ring)) {
        return vvt_run_fail(run, "no step has written this ring\n");
    }
    for (i = 0; i < count; i++) {
        if (!check_used(run, step, &state)) {
            return false;
        }
    }
    return true;
}

static bool do_kick(VvtRun *run, const VvtStep *step)
{
    vvt_raw_kick(run->driver, queue_of(step));
    return true;
}

static bool do_set_queue(VvtRun *run, const VvtStep *step)
{
    static const struct {
        VvtKey key;
        VvtQueueReg reg;
    } regs[] = {
        { VVT_KEY_SIZE, VVT_QUEUE_SIZE },
        { VVT_KEY_DESC_AT, VVT_QUEUE_DESC },
        { VVT_KEY_AVAIL_AT, VVT_QUEUE_AVAIL },
        { VVT_KEY_USED_AT, VVT_QUEUE_USED },
        { VVT_KEY_ENABLE, VVT_QUEUE_ENABLE },
    };
    unsigned queue = queue_of(step);
    size_t i;

    if (vvt_driver_is_open(run->driver) && !raw_ring(run, step)) {
        return false;
    }
    for (i = 0; i < G_N_ELEMENTS(regs); i++) {
        const VvtValue *value = &step->value[regs[i].key];
        uint64_t number = value->num;

        if (!value->set) {
            continue;
        }
        if (regs[i].key != VVT_KEY_SIZE && regs[i].key != VVT_KEY_ENABLE &&
            !vvt_raw_resolve(run->driver, queue, &value->addr, &number,
                             run->why)) {
            return false;
        }
        vvt_raw_set_queue(run->driver, queue, regs[i].reg, number);
    }
    return true;
}

static bool do_set_features(VvtRun *run, const VvtStep *step)
{
    vvt_raw_set_features(run->driver,
                         vvt_step_num(step, VVT_KEY_FEATURES, 0));
    return true;
}

static bool do_set_status(VvtRun *run, const VvtStep *step)
{
    vvt_raw_set_status(run->driver, vvt_step_num(step, VVT_KEY_STATUS, 0));
    return true;
}

static bool do_msi(VvtRun *run, const VvtStep *step)
{
    vvt_raw_use_msi(run->driver);
    return true;
}

typedef struct StatusState {
    uint8_t has;
    uint8_t lacks;
    uint8_t came;
} StatusState;

static bool status_fits(VvtRun *run, void *opaque)
{
    StatusState *state = opaque;

    state->came = vvt_raw_status(run->driver);
    return (state->came & state->has) == state->has &&
           (state->came & state->lacks) == 0;
}

static bool never(VvtRun *run, void *opaque)
{
    return false;
}

static bool do_status(VvtRun *run, const VvtStep *step)
{
    StatusState state = {
        .has = vvt_step_num(step, VVT_KEY_HAS, 0),
        .lacks = vvt_step_num(step, VVT_KEY_LACKS, 0),
    };
    VvtWait wait;

    /* What is not to come is given the time to. */
    if (state.lacks &&
        vvt_run_wait(run, SETTLE_MS, never, NULL) == VVT_WAIT_FAILED) {
        return false;
    }
    wait = vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                        status_fits, &state);
    if (wait == VVT_WAIT_TIMEOUT) {
        vvt_run_fail(run, "the status is 0x%02x; 0x%02x expected in it, and "
                     "0x%02x not\n", state.came, state.has, state.lacks);
    }
    if (wait != VVT_WAIT_DONE) {
        return false;
    }
    return !(state.has & VIRTIO_CONFIG_S_NEEDS_RESET) ||
           !(state.came & VIRTIO_CONFIG_S_DRIVER_OK) ||
           vvt_raw_config_interrupt(run->driver) ||
           vvt_run_fail(run, "the device needs a reset, but its "
                        "configuration interrupt did not tell of it\n");
}

/* --- Proof of service ----------------------------------------------------- */

static const char alive_script[] =
    "[ {},"
    "{ 'op': 'sock-listen', 'sock_id': '(alive)', 'port': %u },"
    "{ 'op': 'send', 'hdr': { 'src_port': %u, 'dst_port': %u,"
    "  'op': 'VIRTIO_VSOCK_OP_REQUEST' } },"
    "{ 'op': 'receive', 'hdr': { 'src_port': %u, 'dst_port': %u,"
    "  'op': 'VIRTIO_VSOCK_OP_RESPONSE' }, 'any_order': true },"
    "{ 'op': 'sock-accept', 'sock_id': '(alive conn)',"
    "  'listener': '(alive)', 'peer_port': %u },"
    "{ 'op': 'send', 'hdr': { 'src_port': %u, 'dst_port': %u,"
    "  'op': 'VIRTIO_VSOCK_OP_RW' }, 'payload': 'ping' },"
    "{ 'op': 'sock-recv', 'sock_id': '(alive conn)', 'payload': 'ping' },"
    "{ 'op': 'sock-send', 'sock_id': '(alive conn)', 'payload': 'pong' },"
    "{ 'op': 'receive', 'hdr': { 'src_port': %u, 'dst_port': %u,"
    "  'op': 'VIRTIO_VSOCK_OP_RW' }, 'payload': 'pong',"
    "  'any_order': true } ]";

bool vvt_run_alive(VvtRun *run)
{
    unsigned port = ALIVE_PORT + run->n_alive++;
    g_autofree char *text =
        g_strdup_printf(alive_script, port, port, port, port, port, port,
                        port, port, port, port);
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_parse("alive", text, &error);
    unsigned i;

    g_assert_no_error(error);
    for (i = 0; i < script->steps->len; i++) {
        const VvtStep *step = script->steps->pdata[i];

        if (!vvt_any_step(step->op)(run, step)) {
            return vvt_run_fail(run, "  so a new connection does not work: "
                                "%s (%u of %u)\n", vvt_op_name(step->op),
                                i + 1, script->steps->len);
        }
    }
    return true;
}

static bool do_alive(VvtRun *run, const VvtStep *step)
{
    return vvt_run_alive(run);
}

static bool do_recover(VvtRun *run, const VvtStep *step)
{
    vvt_driver_close(run->driver);
    vvt_driver_rx_release(run->driver);
    run->drain_flow = false;
    return vvt_run_open(run, step) && vvt_run_alive(run);
}

VvtStepFunc vvt_raw_step(VvtOp op)
{
    switch (op) {
    case VVT_OP_WRITE:
        return do_write;
    case VVT_OP_DESCS:
        return do_descs;
    case VVT_OP_AVAIL:
        return do_avail;
    case VVT_OP_USED:
        return do_used;
    case VVT_OP_KICK:
        return do_kick;
    case VVT_OP_SET_QUEUE:
        return do_set_queue;
    case VVT_OP_SET_FEATURES:
        return do_set_features;
    case VVT_OP_SET_STATUS:
        return do_set_status;
    case VVT_OP_STATUS:
        return do_status;
    case VVT_OP_MSI:
        return do_msi;
    case VVT_OP_ALIVE:
        return do_alive;
    case VVT_OP_RECOVER:
        return do_recover;
    case VVT_OP_FUZZ:
        return vvt_fuzz_step;
    default:
        return NULL;
    }
}
