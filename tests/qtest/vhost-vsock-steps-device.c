/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Steps of a script that are about the device, its queues, and time.
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "libqtest.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-steps.h"

/* Descriptors of an RX chain that "split" cuts into equal pieces. */
#define EQUAL_PIECES 8

#define NS_PER_MS INT64_C(1000000)

/* How long the emulator's "sleep" lasts at most, by the clock on the wall. */
#define REAL_SLEEP_MS 20

static bool nothing_pending(VvtRun *run, void *opaque)
{
    return vvt_driver_tx_pending(run->driver) == 0;
}

static bool do_tx_wait(VvtRun *run, const VvtStep *step)
{
    bool stall = vvt_run_expects(step, VVT_KEY_EXPECT, EAGAIN);
    uint64_t timeout = vvt_run_timeout(run, step, stall ? VVT_SILENCE_MS :
                                                         VVT_TIMEOUT_MS);

    switch (vvt_run_wait(run, timeout, nothing_pending, NULL)) {
    case VVT_WAIT_DONE:
        return vvt_run_expects(step, VVT_KEY_EXPECT, 0) ||
               vvt_run_fail(run, "all TX chains came back; the device was "
                            "expected to hold some\n");
    case VVT_WAIT_TIMEOUT:
        return stall || vvt_run_fail(run, "%u TX chains did not come back\n",
                                     vvt_driver_tx_pending(run->driver));
    default:
        return false;
    }
}

static bool rx_used(VvtRun *run, void *opaque)
{
    const unsigned *before = opaque;

    return vvt_driver_rx_outstanding(run->driver) < *before;
}

/* Where refusals are waived: what uses up RX buffers in a flow of its own. */
static uint16_t drain_op(VvtRun *run)
{
    if (!(run->config->waive & VVT_WAIVE_REFUSALS)) {
        return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    }
    if (run->drain_flow) {
        return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
    }
    vvt_host_listen(run->host, "(drain)", VVT_DRAIN_PORT, 1, SOCK_STREAM);
    run->drain_flow = true;
    return VIRTIO_VSOCK_OP_REQUEST;
}

/*
 * A driver cannot take back buffers it offered.  They are used up instead, by
 * packets of no flow that the device must answer with an RST each.
 */
static bool do_rx_hold(VvtRun *run, const VvtStep *step)
{
    unsigned left;

    vvt_driver_rx_hold(run->driver);
    while ((left = vvt_driver_rx_outstanding(run->driver)) > 0) {
        VvtWait wait;

        vvt_driver_rx_drain_one(run->driver, drain_op(run));
        wait = vvt_run_wait(run, VVT_TIMEOUT_MS * run->config->slow, rx_used,
                            &left);
        if (wait != VVT_WAIT_DONE) {
            return wait == VVT_WAIT_TIMEOUT &&
                   vvt_run_fail(run, "%u RX buffers are not used up by the "
                                "RSTs of packets of no flow\n", left);
        }
    }
    return true;
}

static bool do_rx_release(VvtRun *run, const VvtStep *step)
{
    vvt_driver_rx_release(run->driver);
    return true;
}

static bool rx_all_used(VvtRun *run, void *opaque)
{
    return vvt_driver_rx_outstanding(run->driver) == 0;
}

static bool do_rx_offer(VvtRun *run, const VvtStep *step)
{
    const VvtValue *split = &step->value[VVT_KEY_SPLIT];
    int64_t used = vvt_step_num(step, VVT_KEY_USED, -1);
    unsigned count = vvt_step_num(step, VVT_KEY_COUNT, 1);
    uint32_t equal[EQUAL_PIECES];
    unsigned i;

    if (!vvt_driver_is_open(run->driver)) {
        return vvt_run_fail(run, "the device is closed\n");
    }
    for (i = 0; i < EQUAL_PIECES; i++) {
        equal[i] = split->num;
    }
    for (i = 0; i < count; i++) {
        if (!vvt_driver_rx_offer(run->driver,
                                 split->n_list ? split->list : equal,
                                 split->n_list ?: EQUAL_PIECES,
                                 vvt_step_num(step, VVT_KEY_INDIRECT, false),
                                 used,
                                 vvt_step_num(step, VVT_KEY_KICK, true))) {
            return vvt_run_fail(run, "the RX ring has no descriptors left\n");
        }
    }
    if (used >= 0 &&
        vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                     rx_all_used, NULL) == VVT_WAIT_TIMEOUT) {
        return vvt_run_fail(run, "%u RX chains did not come back\n",
                            vvt_driver_rx_outstanding(run->driver));
    }
    return !vvt_driver_error(run->driver);
}

static bool never(VvtRun *run, void *opaque)
{
    return false;
}

/*
 * The emulator's timers run by QEMU's virtual clock, which under qtest only
 * moves when told to; the kernel's run by themselves.  A little real time is
 * given to both, for what happened just before to be noticed.
 */
static bool do_sleep(VvtRun *run, const VvtStep *step)
{
    uint64_t ms = vvt_step_num(step, VVT_KEY_MS, 0);

    if (run->config->backend == VVT_BACKEND_EMULATOR) {
        qtest_clock_step(vvt_driver_qts(run->driver),
                         ms * NS_PER_MS);
        ms = MIN(ms, REAL_SLEEP_MS);
    }
    return vvt_run_wait(run, ms, never, NULL) == VVT_WAIT_TIMEOUT;
}

static bool do_device_close(VvtRun *run, const VvtStep *step)
{
    vvt_driver_close(run->driver);
    run->drain_flow = false;
    return true;
}

bool vvt_run_open(VvtRun *run, const VvtStep *step)
{
    uint64_t features =
        vvt_step_num(step, VVT_KEY_FEATURES,
                     1ull << VIRTIO_RING_F_INDIRECT_DESC |
                     (run->script->requires_seqpacket ?
                      1ull << VIRTIO_VSOCK_F_SEQPACKET : 0));

    if (vvt_driver_is_open(run->driver)) {
        return vvt_run_fail(run, "the device is open already\n");
    }
    vvt_driver_open(run->driver, features,
                    vvt_step_num(step, VVT_KEY_OMIT, 0),
                    vvt_step_num(step, VVT_KEY_EVENTS, VVT_EVENT_CHAINS));
    return true;
}

static bool event_came(VvtRun *run, void *opaque)
{
    return vvt_driver_events(run->driver)->len > 0;
}

static bool do_event(VvtRun *run, const VvtStep *step)
{
    GArray *events = vvt_driver_events(run->driver);
    uint32_t wanted = vvt_step_num(step, VVT_KEY_ID, 0);
    uint32_t id;

    switch (vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                         event_came, NULL)) {
    case VVT_WAIT_DONE:
        break;
    case VVT_WAIT_TIMEOUT:
        return vvt_run_fail(run, "no event came\n");
    default:
        return false;
    }
    id = g_array_index(events, uint32_t, 0);
    g_array_remove_index(events, 0);
    return id == wanted ||
           vvt_run_fail(run, "event: id %u expected, %u came\n", wanted, id);
}

static bool do_config(VvtRun *run, const VvtStep *step)
{
    uint64_t wanted = vvt_step_num(step, VVT_KEY_GUEST_CID, VVT_CID_GUEST);
    uint64_t cid = vvt_driver_config_cid(run->driver);

    if (wanted == VVT_CID_GUEST) {
        wanted = run->guest_cid;
    }
    return cid == wanted ||
           vvt_run_fail(run, "guest_cid: %" PRIu64 " expected, %" PRIu64
                        " came\n", wanted, cid);
}

static bool do_features(VvtRun *run, const VvtStep *step)
{
    uint64_t offered = vvt_driver_offered(run->driver);
    uint64_t want = vvt_step_num(step, VVT_KEY_OFFERED, 0);
    uint64_t unwant = vvt_step_num(step, VVT_KEY_NOT_OFFERED, 0);

    if ((offered & want) != want || (offered & unwant) != 0) {
        return vvt_run_fail(run, "the device offers 0x%" PRIx64 "; of these, "
                            "0x%" PRIx64 " are missing, and 0x%" PRIx64
                            " too many\n", offered, want & ~offered,
                            offered & unwant);
    }
    return true;
}

static bool do_qmp(VvtRun *run, const VvtStep *step)
{
    const char *wanted = vvt_step_str(step, VVT_KEY_ERROR);
    const char *execute = vvt_step_str(step, VVT_KEY_EXECUTE);
    QObject *arguments = step->value[VVT_KEY_ARGUMENTS].obj;
    g_autoptr(QDict) answer = NULL;
    QDict *error;
    const char *desc;

    if (arguments) {
        answer = qtest_qmp(vvt_driver_qts(run->driver),
                           "{ 'execute': %s, 'arguments': %p }", execute,
                           qobject_ref(arguments));
    } else {
        answer = qtest_qmp(vvt_driver_qts(run->driver), "{ 'execute': %s }",
                           execute);
    }
    error = qdict_haskey(answer, "error") ?
            qdict_get_qdict(answer, "error") : NULL;
    desc = error ? qdict_get_str(error, "desc") : NULL;
    if (!wanted) {
        return !desc || vvt_run_fail(run, "QEMU says: %s\n", desc);
    }
    if (!desc) {
        return vvt_run_fail(run, "an error with \"%s\" in it expected, but "
                            "the command succeeded\n", wanted);
    }
    return strstr(desc, wanted) ||
           vvt_run_fail(run, "an error with \"%s\" in it expected, but QEMU "
                        "says: %s\n", wanted, desc);
}

static bool do_migrate(VvtRun *run, const VvtStep *step)
{
    return vvt_run_pump(run) && vvt_driver_migrate(run->driver, run->why);
}

VvtStepFunc vvt_device_step(VvtOp op)
{
    switch (op) {
    case VVT_OP_TX_WAIT:
        return do_tx_wait;
    case VVT_OP_RX_HOLD:
        return do_rx_hold;
    case VVT_OP_RX_OFFER:
        return do_rx_offer;
    case VVT_OP_RX_RELEASE:
        return do_rx_release;
    case VVT_OP_SLEEP:
        return do_sleep;
    case VVT_OP_DEVICE_CLOSE:
        return do_device_close;
    case VVT_OP_DEVICE_OPEN:
        return vvt_run_open;
    case VVT_OP_EVENT:
        return do_event;
    case VVT_OP_CONFIG:
        return do_config;
    case VVT_OP_FEATURES:
        return do_features;
    case VVT_OP_QMP:
        return do_qmp;
    case VVT_OP_MIGRATE:
        return do_migrate;
    default:
        return NULL;
    }
}
