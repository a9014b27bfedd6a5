/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Steps of a script that send packets as the guest, or await them.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-steps.h"

/* The guest tells of received bytes when this many came since it last did. */
#define CREDIT_STEP 65536 /* bytes */

/* Packets of fill-window carry this much, unless the step says other. */
#define FILL_CHUNK 4096 /* bytes */
/* On a busy machine credit takes its time, and then the window is not full. */
#define FILL_SILENCE_MS 300

bool vvt_run_build_hdr(VvtRun *run, const VvtStep *step, unsigned repetition,
                       VvtHdr *ret_hdr)
{
    VvtHdr hdr = { .field = {
        [VVT_SRC_CID] = run->guest_cid,
        [VVT_DST_CID] = VVT_HOST_CID,
        [VVT_TYPE] = VIRTIO_VSOCK_TYPE_STREAM,
        [VVT_BUF_ALLOC] = VVT_GUEST_BUFFER,
    } };
    VvtField f;

    run->sending = true;
    for (f = 0; f < VVT_FIELD_NUM; f++) {
        const VvtSpec *spec = &step->hdr.field[f];

        if (spec->kind != VVT_SPEC_UNSET &&
            !vvt_run_resolve(run, &spec->terms[0], &hdr, &hdr.field[f])) {
            return vvt_run_fail(run, "SOCK_PORT_%s is not known yet\n",
                                spec->terms[0].sock_id);
        }
        hdr.field[f] += step->stride[f] * repetition;
        hdr.field[f] &= vvt_field_max(f);
    }
    *ret_hdr = hdr;
    return true;
}

static VvtFlow *flow_of_sent(VvtRun *run, const VvtHdr *hdr)
{
    return vvt_flows_of_sent(vvt_driver_flows(run->driver), hdr);
}

static VvtFlow *flow_of_received(VvtRun *run, const VvtHdr *hdr)
{
    return vvt_flows_of_received(vvt_driver_flows(run->driver), hdr);
}

/* Take CREDIT_UPDATEs of the flow of @hdr out of what was received. */
static void take_credit_updates(VvtRun *run, const VvtHdr *hdr)
{
    GQueue *received = vvt_driver_received(run->driver);
    VvtFlow *flow = flow_of_sent(run, hdr);
    GList *l = received->head;

    while (l) {
        GList *next = l->next;
        VvtPacket *packet = l->data;

        if (packet->hdr.field[VVT_OP] == VIRTIO_VSOCK_OP_CREDIT_UPDATE &&
            flow_of_received(run, &packet->hdr) == flow) {
            vvt_packet_free(packet);
            g_queue_delete_link(received, l);
        }
        l = next;
    }
}

typedef struct CreditState {
    const VvtHdr *hdr;
    size_t want; /* bytes */
} CreditState;

static bool has_credit(VvtRun *run, void *opaque)
{
    CreditState *state = opaque;

    take_credit_updates(run, state->hdr);
    return vvt_flow_window(flow_of_sent(run, state->hdr)) >= state->want;
}

static bool await_credit(VvtRun *run, const VvtStep *step, const VvtHdr *hdr,
                         size_t want)
{
    CreditState state = { hdr, want };

    switch (vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                         has_credit, &state)) {
    case VVT_WAIT_DONE:
        return true;
    case VVT_WAIT_TIMEOUT:
        return vvt_run_fail(run, "no credit for %zu more bytes came: %u are "
                            "left of what was told\n", want,
                            vvt_flow_window(flow_of_sent(run, hdr)));
    default:
        return false;
    }
}

static bool send_one(VvtRun *run, VvtTx *tx)
{
    g_autoptr(GString) why = g_string_new(NULL);

    if (!vvt_driver_send(run->driver, tx, why)) {
        return vvt_run_fail(run, "%s\n", why->str);
    }
    return true;
}

/*
 * One repetition: the payload, in as many packets as it takes.  The flags are
 * those of the last one: they end a message.
 */
static bool send_payload(VvtRun *run, const VvtStep *step, VvtTx *tx,
                         GBytes *payload)
{
    size_t left;
    const uint8_t *data = g_bytes_get_data(payload, &left);
    size_t chunk = vvt_step_num(step, VVT_KEY_CHUNK, MAX(left, 1));
    bool len_lies = step->hdr.field[VVT_LEN].kind != VVT_SPEC_UNSET;
    uint64_t flags = tx->hdr.field[VVT_FLAGS];

    do {
        size_t n = MIN(left, chunk);

        tx->hdr.field[VVT_FLAGS] = n == left ? flags : 0;
        if (!len_lies) {
            tx->hdr.field[VVT_LEN] = n;
        }
        tx->payload = data;
        tx->payload_len = n;
        if (vvt_step_num(step, VVT_KEY_CREDIT, false) &&
            !await_credit(run, step, &tx->hdr, n)) {
            return false;
        }
        if (!send_one(run, tx)) {
            return false;
        }
        data += n;
        left -= n;
    } while (left > 0);
    return true;
}

static bool nothing_awaited(VvtRun *run, void *opaque)
{
    return vvt_driver_tx_awaited(run->driver) == 0;
}

static bool need_open(VvtRun *run)
{
    return vvt_driver_is_open(run->driver) ||
           vvt_run_fail(run, "the device is closed\n");
}

static bool do_send(VvtRun *run, const VvtStep *step)
{
    const VvtValue *split = &step->value[VVT_KEY_SPLIT];
    g_autoptr(GBytes) payload = vvt_step_has(step, VVT_KEY_PAYLOAD) ?
        vvt_payload_bytes(&step->payload, run->window) :
        g_bytes_new(NULL, 0);
    VvtTx tx = {
        .split = split->list,
        .n_split = split->n_list,
        .each = split->num,
        .truncate = vvt_step_num(step, VVT_KEY_TRUNCATE, -1),
        .indirect = vvt_step_num(step, VVT_KEY_INDIRECT, false),
        .fault = vvt_step_num(step, VVT_KEY_FAULT, VVT_FAULT_NONE),
    };
    unsigned repeat = vvt_step_num(step, VVT_KEY_REPEAT, 1);
    unsigned i;

    tx.quiet = !vvt_step_num(step, VVT_KEY_KICK, true);
    tx.wait = !tx.quiet && vvt_step_num(step, VVT_KEY_WAIT,
                                        tx.fault == VVT_FAULT_NONE);
    tx.indirect = tx.indirect || tx.fault == VVT_FAULT_NESTED_INDIRECT;
    if (!need_open(run)) {
        return false;
    }
    for (i = 0; i < repeat; i++) {
        if (!vvt_run_build_hdr(run, step, i, &tx.hdr) ||
            !send_payload(run, step, &tx, payload)) {
            return false;
        }
    }
    if (tx.wait &&
        vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                     nothing_awaited, NULL) == VVT_WAIT_TIMEOUT) {
        return vvt_run_fail(run, "the device did not return %u TX chains\n",
                            vvt_driver_tx_awaited(run->driver));
    }
    return !vvt_driver_error(run->driver);
}

/* --- Receive -------------------------------------------------------------- */

static bool is_skipped(const VvtStep *step, const VvtHdr *hdr)
{
    uint64_t op = hdr->field[VVT_OP];

    return op < 64 && (vvt_step_num(step, VVT_KEY_SKIP, 0) >> op & 1);
}

/* The fields a step leaves out, but whose value is not left open. */
static bool cids_fit(VvtRun *run, const VvtStep *step, const VvtHdr *hdr)
{
    const VvtSpec *src = &step->hdr.field[VVT_SRC_CID];
    const VvtSpec *dst = &step->hdr.field[VVT_DST_CID];

    return (src->kind != VVT_SPEC_UNSET ||
            hdr->field[VVT_SRC_CID] == VVT_HOST_CID) &&
           (dst->kind != VVT_SPEC_UNSET ||
            hdr->field[VVT_DST_CID] == run->guest_cid);
}

typedef struct ReceiveState {
    const VvtStep *step;
    unsigned repetition;
    VvtPacket *packet; /* found, and taken out */
} ReceiveState;

static bool fits(VvtRun *run, const ReceiveState *state, const VvtHdr *hdr,
                 GString *ret_report)
{
    VvtHdr shifted = *hdr;
    VvtHdrSpec spec = state->step->hdr;
    bool ok = cids_fit(run, state->step, hdr);
    VvtField f;

    if (!ok && ret_report) {
        g_string_append(ret_report, "    a packet from CID 2 to the guest's "
                        "expected\n");
    }
    for (f = 0; f < VVT_FIELD_NUM; f++) {
        shifted.field[f] -= state->step->stride[f] * state->repetition;
        shifted.field[f] &= vvt_field_max(f);
    }
    if (state->step->op == VVT_OP_RECEIVE_DATA) {
        spec.field[VVT_FLAGS].kind = VVT_SPEC_UNSET; /* see check_flags() */
    }
    run->sending = false;
    return vvt_hdr_match(&spec, &shifted, vvt_run_resolve, run,
                         ret_report) && ok;
}

static bool take_packet(VvtRun *run, void *opaque)
{
    ReceiveState *state = opaque;
    GQueue *received = vvt_driver_received(run->driver);
    bool any_order = vvt_step_num(state->step, VVT_KEY_ANY_ORDER, false);
    GList *l = received->head;

    while (l) {
        GList *next = l->next;
        VvtPacket *packet = l->data;

        if (any_order ? fits(run, state, &packet->hdr, NULL) :
                        !is_skipped(state->step, &packet->hdr)) {
            state->packet = packet;
            g_queue_delete_link(received, l);
            return true;
        }
        if (!any_order) {
            vvt_packet_free(packet);
            g_queue_delete_link(received, l);
        }
        l = next;
    }
    return false;
}

/* A REQUEST tells the port of the host socket that it comes from. */
static bool learn_ports(VvtRun *run, const VvtStep *step, const VvtHdr *hdr)
{
    const VvtSpec *spec = &step->hdr.field[VVT_SRC_PORT];
    uint64_t port = hdr->field[VVT_SRC_PORT];
    uint64_t known;
    const char *id;
    VvtSock *sock;

    if (spec->kind != VVT_SPEC_ONE_OF ||
        spec->terms[0].kind != VVT_TERM_SOCK_PORT ||
        vvt_run_resolve(run, &spec->terms[0], hdr, &known)) {
        return true;
    }
    id = spec->terms[0].sock_id;
    sock = vvt_host_find(run->host, id);
    if (!sock || hdr->field[VVT_OP] != VIRTIO_VSOCK_OP_REQUEST) {
        return vvt_run_fail(run, "SOCK_PORT_%s is not known yet\n", id);
    }
    g_hash_table_insert(run->ports, g_strdup(id), GUINT_TO_POINTER(port));
    sock->port = port;
    sock->port_known = true;
    return true;
}

/* Await one packet that the step is about; NULL: the step failed. */
static VvtPacket *await_packet(VvtRun *run, const VvtStep *step,
                               unsigned repetition)
{
    ReceiveState state = { step, repetition, NULL };
    g_autoptr(GString) table = g_string_new(NULL);

    switch (vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                         take_packet, &state)) {
    case VVT_WAIT_DONE:
        break;
    case VVT_WAIT_TIMEOUT:
        vvt_run_fail(run, "no packet came%s\n",
                     vvt_step_num(step, VVT_KEY_ANY_ORDER, false) ?
                     " that fits" : "");
        return NULL;
    default:
        return NULL;
    }
    if (!fits(run, &state, &state.packet->hdr, table)) {
        vvt_run_fail(run, "the packet is not the one expected");
        if (repetition > 0) {
            vvt_run_fail(run, " (repetition %u)", repetition + 1);
        }
        vvt_run_fail(run, "\n%s", table->str);
        vvt_packet_free(state.packet);
        return NULL;
    }
    if (!learn_ports(run, step, &state.packet->hdr)) {
        vvt_packet_free(state.packet);
        return NULL;
    }
    return state.packet;
}

static bool check_payload(VvtRun *run, const VvtStep *step, GBytes *came)
{
    g_autoptr(GBytes) wanted = vvt_payload_bytes(&step->payload, run->window);
    size_t len;
    const uint8_t *data = g_bytes_get_data(came, &len);

    if (!vvt_payload_compare(wanted, 0, data, len, run->why)) {
        return false;
    }
    if (len != g_bytes_get_size(wanted)) {
        return vvt_run_fail(run, "  payload: %zu bytes expected, %zu came\n",
                            g_bytes_get_size(wanted), len);
    }
    return true;
}

static bool do_receive(VvtRun *run, const VvtStep *step)
{
    unsigned repeat = vvt_step_num(step, VVT_KEY_REPEAT, 1);
    unsigned i;

    for (i = 0; i < repeat; i++) {
        VvtPacket *packet;
        bool ok;

        if (!need_open(run)) {
            return false;
        }
        packet = await_packet(run, step, i);
        if (!packet) {
            return false;
        }
        ok = !vvt_step_has(step, VVT_KEY_PAYLOAD) ||
             check_payload(run, step, packet->payload);
        vvt_packet_free(packet);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* Tell the device that the guest took @fwd_cnt bytes of this flow. */
static bool tell_credit(VvtRun *run, const VvtHdr *received,
                        const VvtFlow *flow, uint32_t fwd_cnt)
{
    VvtTx tx = { .truncate = -1, .wait = true };

    tx.hdr.field[VVT_SRC_CID] = run->guest_cid;
    tx.hdr.field[VVT_DST_CID] = VVT_HOST_CID;
    tx.hdr.field[VVT_SRC_PORT] = received->field[VVT_DST_PORT];
    tx.hdr.field[VVT_DST_PORT] = received->field[VVT_SRC_PORT];
    tx.hdr.field[VVT_TYPE] = received->field[VVT_TYPE];
    tx.hdr.field[VVT_OP] = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    tx.hdr.field[VVT_BUF_ALLOC] = flow->buf_alloc;
    tx.hdr.field[VVT_FWD_CNT] = fwd_cnt;
    return send_one(run, &tx);
}

/* Of the packets that a payload came in only the last has flags. */
static bool check_flags(VvtRun *run, const VvtStep *step, const VvtHdr *hdr,
                        bool last)
{
    g_autoptr(GString) table = g_string_new(NULL);

    if (step->hdr.field[VVT_FLAGS].kind == VVT_SPEC_UNSET ||
        (!last && hdr->field[VVT_FLAGS] == 0)) {
        return true;
    }
    if (!last) {
        return vvt_run_fail(run, "flags %" PRIu64 " came before the last "
                            "packet\n", hdr->field[VVT_FLAGS]);
    }
    run->sending = false;
    return vvt_hdr_match(&step->hdr, hdr, vvt_run_resolve, run, table) ||
           vvt_run_fail(run, "the last packet is not the one expected\n%s",
                        table->str);
}

static bool take_data(VvtRun *run, const VvtStep *step, VvtPacket *packet,
                      GBytes *wanted, size_t *at)
{
    size_t len;
    const uint8_t *data = g_bytes_get_data(packet->payload, &len);

    if (packet->hdr.field[VVT_OP] != VIRTIO_VSOCK_OP_RW) {
        g_autofree char *op = vvt_field_format(VVT_OP,
                                               packet->hdr.field[VVT_OP]);

        return vvt_run_fail(run, "%s came instead of data, after %zu of %zu "
                            "bytes\n", op, *at, g_bytes_get_size(wanted));
    }
    if (!vvt_payload_compare(wanted, *at, data, len, run->why)) {
        return false;
    }
    *at += len;
    return check_flags(run, step, &packet->hdr,
                       *at == g_bytes_get_size(wanted));
}

/* Bytes of the flow of @hdr that came, and that no step has taken yet. */
static size_t untaken(VvtRun *run, const VvtHdr *hdr)
{
    size_t sum = 0;
    GList *l;

    for (l = vvt_driver_received(run->driver)->head; l; l = l->next) {
        const VvtPacket *packet = l->data;

        if (packet->hdr.field[VVT_OP] == VIRTIO_VSOCK_OP_RW &&
            vvt_hdr_same_flow(&packet->hdr, hdr)) {
            sum += g_bytes_get_size(packet->payload);
        }
    }
    return sum;
}

static bool do_receive_data(VvtRun *run, const VvtStep *step)
{
    g_autoptr(GBytes) wanted = vvt_payload_bytes(&step->payload, run->window);
    bool credit = vvt_step_num(step, VVT_KEY_CREDIT, false);
    size_t told = 0;
    size_t at = 0;

    while (at < g_bytes_get_size(wanted)) {
        VvtPacket *packet = need_open(run) ? await_packet(run, step, 0) :
                                             NULL;
        bool ok;

        if (!packet) {
            return vvt_run_fail(run, "  %zu of %zu bytes of data had come\n",
                                at, g_bytes_get_size(wanted));
        }
        ok = take_data(run, step, packet, wanted, &at);
        if (ok && credit && (at - told >= CREDIT_STEP ||
                             at == g_bytes_get_size(wanted))) {
            VvtFlow *flow = flow_of_received(run, &packet->hdr);

            ok = tell_credit(run, &packet->hdr, flow, flow->rx_cnt -
                             untaken(run, &packet->hdr));
            told = at;
        }
        vvt_packet_free(packet);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool do_fill_window(VvtRun *run, const VvtStep *step)
{
    size_t chunk = vvt_step_num(step, VVT_KEY_CHUNK, FILL_CHUNK);
    uint32_t seed = vvt_step_num(step, VVT_KEY_SEED, 0);
    g_autofree uint8_t *buf = g_malloc(chunk);
    VvtTx tx = { .payload = buf, .truncate = -1, .wait = true };
    CreditState state = { &tx.hdr, 1 };
    uint64_t quiet_ms = vvt_run_timeout(run, step, FILL_SILENCE_MS);

    if (!need_open(run) || !vvt_run_build_hdr(run, step, 0, &tx.hdr)) {
        return false;
    }
    tx.hdr.field[VVT_OP] = VIRTIO_VSOCK_OP_RW;
    run->window = 0;
    for (;;) {
        VvtWait wait = vvt_run_wait(run, quiet_ms, has_credit, &state);

        if (wait != VVT_WAIT_DONE) {
            return wait == VVT_WAIT_TIMEOUT;
        }
        tx.payload_len = MIN(chunk,
                             vvt_flow_window(flow_of_sent(run, &tx.hdr)));
        tx.hdr.field[VVT_LEN] = tx.payload_len;
        vvt_pattern_fill(buf, tx.payload_len, run->window, seed);
        if (!send_one(run, &tx)) {
            return false;
        }
        run->window += tx.payload_len;
    }
}

static bool something_came(VvtRun *run, void *opaque)
{
    const VvtStep *step = opaque;
    GQueue *received = vvt_driver_received(run->driver);
    VvtPacket *packet;

    while ((packet = g_queue_peek_head(received)) &&
           is_skipped(step, &packet->hdr)) {
        vvt_packet_free(g_queue_pop_head(received));
    }
    return packet || vvt_driver_events(run->driver)->len > 0;
}

static bool do_expect_none(VvtRun *run, const VvtStep *step)
{
    uint64_t quiet_ms = vvt_run_timeout(run, step, VVT_SILENCE_MS);
    VvtPacket *packet;
    g_autofree char *header = NULL;

    switch (vvt_run_wait(run, quiet_ms, something_came, (void *)step)) {
    case VVT_WAIT_TIMEOUT:
        return true;
    case VVT_WAIT_FAILED:
        return false;
    case VVT_WAIT_DONE:
        break;
    }
    packet = g_queue_peek_head(vvt_driver_received(run->driver));
    header = packet ? vvt_hdr_format(&packet->hdr) : g_strdup("an event");
    return vvt_run_fail(run, "silence expected, but this came: %s\n", header);
}

VvtStepFunc vvt_packet_step(VvtOp op)
{
    switch (op) {
    case VVT_OP_SEND:
        return do_send;
    case VVT_OP_RECEIVE:
        return do_receive;
    case VVT_OP_RECEIVE_DATA:
        return do_receive_data;
    case VVT_OP_FILL_WINDOW:
        return do_fill_window;
    case VVT_OP_EXPECT_NONE:
        return do_expect_none;
    default:
        return NULL;
    }
}
