/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a device may do, and what it must.
 */

#include "model.h"
#include "bytes.h"
#include "content.h"

#include <stdarg.h>
#include <string.h>

const uint32_t model_ports[MODEL_PORTS] = { 1, 2, 7, 40000 };

void trace(const char *format, ...)
{
    static int wanted = -1;
    va_list args;

    if (wanted < 0) {
        wanted = g_getenv("FUZZ_TRACE") != NULL;
    }
    if (wanted) {
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
    }
}

int model_port_index(uint32_t host_port)
{
    for (int i = 0; i < MODEL_PORTS; i++) {
        if (model_ports[i] == host_port) {
            return i;
        }
    }
    return -1;
}

static void flow_free(gpointer data)
{
    ModelFlow *flow = data;

    g_array_unref(flow->messages_from_guest);
    g_array_unref(flow->messages_to_guest);
    g_free(flow);
}

Model *model_new(void)
{
    Model *model = g_new0(Model, 1);

    model->flows = g_ptr_array_new_with_free_func(flow_free);
    model->by_host = g_ptr_array_new();
    return model;
}

void model_free(Model *model)
{
    g_ptr_array_unref(model->flows);
    g_ptr_array_unref(model->by_host);
    g_free(model);
}

ModelFlow *model_find(const Model *model, VskType type, uint32_t guest_port,
                      uint32_t host_port)
{
    for (guint i = model->flows->len; i; i--) {
        ModelFlow *flow = g_ptr_array_index(model->flows, i - 1);

        if (flow->guest_port == guest_port && flow->host_port == host_port &&
            flow->type == type) {
            return flow;
        }
    }
    return NULL;
}

static ModelFlow *add_flow(Model *model, VskType type, uint32_t guest_port,
                           uint32_t host_port)
{
    ModelFlow *old = model_find(model, type, guest_port, host_port);
    ModelFlow *flow = g_new0(ModelFlow, 1);

    if (old) {
        old->is_over = true;
    }
    flow->type = type;
    flow->guest_port = guest_port;
    flow->host_port = host_port;
    flow->to_guest_at_end = -1;
    flow->messages_from_guest = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    flow->messages_to_guest = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    g_ptr_array_add(model->flows, flow);
    return flow;
}

static void guest_ends(ModelFlow *flow)
{
    if (!flow->guest_ended) {
        flow->guest_ended = true;
        flow->bytes_at_end = flow->from_guest;
        flow->messages_at_end = flow->messages_from_guest->len;
    }
}

void model_end_flows(Model *model, bool told)
{
    for (guint i = 0; i < model->flows->len; i++) {
        ModelFlow *flow = g_ptr_array_index(model->flows, i);

        if (flow->is_over) {
            continue;
        }
        if (told) {
            flow->lossy = flow->owes_rst = true;
        } else {
            guest_ends(flow);
            flow->is_over = true;
        }
    }
}

ModelFlow *model_accept(Model *model, VskType type, uint32_t guest_port,
                        uint32_t host_port)
{
    int index = model_port_index(host_port);

    for (guint i = 0; i < model->flows->len; i++) {
        ModelFlow *flow = g_ptr_array_index(model->flows, i);

        if (!flow->by_host && !flow->accepted && flow->type == type &&
            flow->guest_port == guest_port && flow->host_port == host_port &&
            flow->generation == model->generations[index]) {
            flow->accepted = true;
            return flow;
        }
    }
    CHECK(model->excused); /* a connection for no flow */
    return NULL;
}

/* --- From the guest --------------------------------------------------- */

static void end_part(GArray *lengths, uint32_t *part, const VskHdr *hdr)
{
    *part += hdr->len;
    if (hdr->type == VSK_TYPE_SEQPACKET && (hdr->flags & VSK_SEQ_EOM)) {
        g_array_append_val(lengths, *part);
        *part = 0;
    }
}

static void hear_from_guest(ModelFlow *flow, const VskHdr *hdr)
{
    flow->guest_buf_alloc = hdr->buf_alloc;
    flow->guest_fwd_cnt = hdr->fwd_cnt;
    switch (hdr->op) {
    case VSK_OP_RST:
        guest_ends(flow);
        flow->is_over = true;
        break;
    case VSK_OP_SHUTDOWN:
        flow->guest_shutdown |= hdr->flags & VSK_SHUTDOWN_BOTH;
        if (hdr->flags & VSK_SHUTDOWN_SEND) {
            guest_ends(flow);
        }
        break;
    case VSK_OP_RW:
        if (!(flow->guest_shutdown & VSK_SHUTDOWN_SEND)) {
            flow->from_guest += hdr->len;
            end_part(flow->messages_from_guest, &flow->part_from_guest, hdr);
        }
        break;
    default:
        break;
    }
}

void model_from_guest(Model *model, const VskHdr *hdr)
{
    ModelFlow *flow = model_find(model, hdr->type, hdr->src_port,
                                 hdr->dst_port);

    CHECK(hdr->src_cid == MODEL_CID && hdr->dst_cid == VSK_CID_HOST);
    CHECK(hdr->type == VSK_TYPE_STREAM ||
          (hdr->type == VSK_TYPE_SEQPACKET && model->seqpacket));
    if (hdr->op == VSK_OP_REQUEST) {
        model_settle_request(model);
        model->has_request = true;
        model->request = *hdr;
    }
    if (!flow || flow->is_over) {
        return;
    }
    if (flow->is_open) {
        hear_from_guest(flow, hdr);
    } else if (hdr->op == VSK_OP_RESPONSE) {
        flow->is_open = true;
        flow->guest_buf_alloc = hdr->buf_alloc;
        flow->guest_fwd_cnt = hdr->fwd_cnt;
    } else if (hdr->op == VSK_OP_RST) {
        flow->is_over = true;
    }
}

void model_settle_request(Model *model)
{
    const VskHdr *hdr = &model->request;
    ModelFlow *flow;
    int index = model_port_index(hdr->dst_port);

    if (!model->has_request) {
        return;
    }
    model->has_request = false;
    CHECK(index >= 0); /* else nobody listens there */
    flow = add_flow(model, hdr->type, hdr->src_port, hdr->dst_port);
    flow->is_open = true;
    flow->guest_buf_alloc = hdr->buf_alloc;
    flow->guest_fwd_cnt = hdr->fwd_cnt;
    flow->generation = model->generations[index];
    trace("  new flow %u -> %u\n", flow->guest_port, flow->host_port);
}

/* What follows from a refusal for the flow of the packet. */
static void refuse_flow(ModelFlow *flow, VskRefusal why, const VskHdr *hdr)
{
    bool resets = why == VSK_REFUSED_CREDIT || why == VSK_REFUSED_TX_LEN ||
                  why == VSK_REFUSED_EMPTY_MESSAGES ||
                  (why == VSK_REFUSED_OP && hdr->op == VSK_OP_RW);

    if (flow->is_over) {
        return;
    }
    if (why == VSK_REFUSED_TX_LEN && hdr->op == VSK_OP_RST) {
        guest_ends(flow);
        flow->lossy = flow->is_over = true;
    } else if (resets || (why == VSK_REFUSED_OP && flow->by_host &&
                          !flow->is_open && hdr->op != VSK_OP_INVALID)) {
        flow->lossy = flow->owes_rst = true;
    }
}

static bool is_same_request(const VskHdr *a, const VskHdr *b)
{
    return a->op == VSK_OP_REQUEST && b->op == VSK_OP_REQUEST &&
           a->src_port == b->src_port && a->dst_port == b->dst_port &&
           a->type == b->type;
}

void model_refused(Model *model, VskRefusal why, const VskHdr *hdr)
{
    ModelFlow *flow;

    trace("  refused: %s\n", vsk_refusal_name(why));
    if (why == VSK_REFUSED_REQUEST_TIMEOUT ||
        why == VSK_REFUSED_CLOSE_TIMEOUT || why == VSK_REFUSED_MESSAGE_SIZE) {
        model->excused = true;
    }
    if (!hdr) {
        return;
    }
    if (model->has_request && is_same_request(hdr, &model->request)) {
        model->has_request = false;
    }
    if (hdr->src_cid == MODEL_CID && hdr->dst_cid == VSK_CID_HOST) {
        flow = model_find(model, hdr->type, hdr->src_port, hdr->dst_port);
        if (flow && hdr->type <= VSK_TYPE_SEQPACKET) {
            refuse_flow(flow, why, hdr);
        }
    }
}

uint32_t model_room(const ModelFlow *flow)
{
    uint64_t held = flow->from_guest - flow->fwd_cnt;

    return held < flow->buf_alloc ? flow->buf_alloc - (uint32_t)held : 0;
}

/* --- To the guest ----------------------------------------------------- */

static void check_rst(ModelFlow *flow)
{
    if (flow && !flow->is_over && (flow->is_open || flow->by_host)) {
        flow->is_over = true;
        flow->lossy |= !flow->responded && !flow->by_host;
    }
}

static void check_request(Model *model, const VskHdr *hdr)
{
    ModelFlow *flow = model_find(model, hdr->type, hdr->dst_port,
                                 hdr->src_port);

    CHECK(!flow || flow->is_over);
    CHECK(hdr->src_port >= 32768 && hdr->src_port <= 65535);
    flow = add_flow(model, hdr->type, hdr->dst_port, hdr->src_port);
    flow->by_host = true;
    flow->responded = true;
    flow->buf_alloc = hdr->buf_alloc;
    g_ptr_array_add(model->by_host, flow);
}

static void check_credit(ModelFlow *flow, const VskHdr *hdr)
{
    if (!flow->buf_alloc) {
        flow->buf_alloc = hdr->buf_alloc;
    }
    CHECK(hdr->buf_alloc && hdr->buf_alloc == flow->buf_alloc);
    CHECK(hdr->fwd_cnt <= flow->from_guest); /* ahead */
    CHECK(hdr->fwd_cnt >= flow->fwd_cnt);    /* back */
    if (!flow->guest_ended) {
        CHECK(flow->from_guest - hdr->fwd_cnt <= flow->buf_alloc);
    }
    flow->fwd_cnt = hdr->fwd_cnt;
}

static void check_rw(ModelFlow *flow, const VskHdr *hdr,
                     const uint8_t *payload)
{
    uint32_t in_flight = (uint32_t)flow->to_guest - flow->guest_fwd_cnt;

    CHECK(hdr->len <= 65536);
    if (flow->type == VSK_TYPE_STREAM) {
        CHECK(hdr->len && !hdr->flags);
    } else {
        CHECK(!(hdr->flags & ~VSK_SEQ_EOM));
        CHECK(hdr->len || (hdr->flags == VSK_SEQ_EOM &&
                           !flow->part_to_guest));
    }
    CHECK(!(flow->told_shutdown & VSK_SHUTDOWN_SEND));
    CHECK(!(flow->guest_shutdown & VSK_SHUTDOWN_RECEIVE));
    CHECK((uint64_t)in_flight + hdr->len <= flow->guest_buf_alloc);
    content_check(content_id(flow->type, flow->guest_port), FROM_HOST,
                  (uint32_t)flow->to_guest, payload, hdr->len);
    flow->to_guest += hdr->len;
    end_part(flow->messages_to_guest, &flow->part_to_guest, hdr);
}

static void check_shutdown(ModelFlow *flow, const VskHdr *hdr)
{
    CHECK(hdr->flags && !(hdr->flags & ~VSK_SHUTDOWN_BOTH));
    CHECK((hdr->flags & flow->told_shutdown) == flow->told_shutdown);
    CHECK(hdr->flags != flow->told_shutdown);
    if ((hdr->flags & VSK_SHUTDOWN_SEND & ~flow->told_shutdown) &&
        !(flow->guest_shutdown & VSK_SHUTDOWN_RECEIVE)) {
        flow->to_guest_at_end = (int64_t)flow->to_guest;
    }
    flow->told_shutdown = hdr->flags;
}

void model_to_guest(Model *model, const VskHdr *hdr, const uint8_t *payload)
{
    ModelFlow *flow = model_find(model, hdr->type, hdr->dst_port,
                                 hdr->src_port);

    trace("  to guest: op %u %u <- %u len %u flags %u credit %u %u\n", hdr->op,
          hdr->dst_port, hdr->src_port, hdr->len, hdr->flags, hdr->buf_alloc,
          hdr->fwd_cnt);
    CHECK(hdr->src_cid == VSK_CID_HOST && hdr->dst_cid == MODEL_CID);
    CHECK(hdr->op == VSK_OP_RW || !hdr->len);
    CHECK(hdr->op == VSK_OP_RW || hdr->op == VSK_OP_SHUTDOWN || !hdr->flags);
    if (hdr->op == VSK_OP_RST) {
        check_rst(flow); /* of any type, for it may answer one */
        return;
    }
    CHECK(hdr->type == VSK_TYPE_STREAM ||
          (hdr->type == VSK_TYPE_SEQPACKET && model->seqpacket));
    if (hdr->op == VSK_OP_REQUEST) {
        check_request(model, hdr);
        return;
    }
    CHECK(flow && flow->is_open && !flow->is_over && !flow->owes_rst);
    check_credit(flow, hdr);
    CHECK(flow->responded != (hdr->op == VSK_OP_RESPONSE));
    switch (hdr->op) {
    case VSK_OP_RESPONSE:
        flow->responded = true;
        break;
    case VSK_OP_RW:
        check_rw(flow, hdr, payload);
        break;
    case VSK_OP_SHUTDOWN:
        check_shutdown(flow, hdr);
        break;
    default:
        CHECK(hdr->op == VSK_OP_CREDIT_UPDATE ||
              hdr->op == VSK_OP_CREDIT_REQUEST);
    }
}
