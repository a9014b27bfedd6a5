/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A script being run, and the report if it fails.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-steps.h"

/* Packets shown before the one that was wrong. */
#define TRACE_MAX 24

/* The longest a waiting loop sleeps between two looks. */
#define NAP_MAX_US 500

bool vvt_run_fail(VvtRun *run, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(run->why, fmt, ap);
    va_end(ap);
    return false;
}

bool vvt_run_pump(VvtRun *run)
{
    if (!vvt_driver_pump(run->driver)) {
        return vvt_run_fail(run, "%s\n", vvt_driver_error(run->driver));
    }
    vvt_host_pump(run->host);
    return true;
}

VvtWait vvt_run_wait(VvtRun *run, uint64_t timeout_ms, VvtDone done,
                     void *opaque)
{
    gint64 end = g_get_monotonic_time() + timeout_ms * 1000;
    unsigned nap_us = 0;

    for (;;) {
        /* Look at the clock first, so that the last look comes after it. */
        bool late = g_get_monotonic_time() >= end;

        if (!vvt_run_pump(run)) {
            return VVT_WAIT_FAILED;
        }
        if (done(run, opaque)) {
            return VVT_WAIT_DONE;
        }
        if (late) {
            return VVT_WAIT_TIMEOUT;
        }
        if (nap_us > 0) {
            g_usleep(nap_us);
        }
        nap_us = MIN(nap_us + 20, NAP_MAX_US);
    }
}

uint64_t vvt_run_timeout(const VvtRun *run, const VvtStep *step,
                         uint64_t fallback)
{
    return vvt_step_num(step, VVT_KEY_TIMEOUT_MS, fallback) *
           run->config->slow;
}

bool vvt_run_resolve(void *opaque, const VvtTerm *term, const VvtHdr *hdr,
                     uint64_t *ret_value)
{
    VvtRun *run = opaque;
    const VvtFlow *flow;
    VvtSock *sock;
    gpointer port;

    switch (term->kind) {
    case VVT_TERM_NUMBER:
        *ret_value = term->number;
        return true;
    case VVT_TERM_MY_CID:
        *ret_value = run->guest_cid;
        return true;
    case VVT_TERM_SOCK_PORT:
        if (g_hash_table_lookup_extended(run->ports, term->sock_id, NULL,
                                         &port)) {
            *ret_value = GPOINTER_TO_UINT(port);
            return true;
        }
        sock = vvt_host_find(run->host, term->sock_id);
        if (!sock || !sock->port_known) {
            return false;
        }
        /* Kept, because the script may close the socket. */
        g_hash_table_insert(run->ports, g_strdup(term->sock_id),
                            GUINT_TO_POINTER(sock->port));
        *ret_value = sock->port;
        return true;
    case VVT_TERM_TX_CNT:
    case VVT_TERM_RX_CNT:
        flow = run->sending ?
               vvt_flows_of_sent(vvt_driver_flows(run->driver), hdr) :
               vvt_flows_of_received(vvt_driver_flows(run->driver), hdr);
        *ret_value = term->kind == VVT_TERM_TX_CNT ? flow->tx_cnt :
                                                     flow->rx_cnt;
        return true;
    }
    g_assert_not_reached();
}

bool vvt_run_expects(const VvtStep *step, VvtKey key, uint32_t code)
{
    const VvtValue *value = &step->value[key];
    unsigned i;

    if (!value->set) {
        return code == 0;
    }
    for (i = 0; i < value->n_list; i++) {
        if (value->list[i] == code) {
            return true;
        }
    }
    return false;
}

char *vvt_run_expected(const VvtStep *step, VvtKey key)
{
    const VvtValue *value = &step->value[key];
    g_autoptr(GString) text = g_string_new(value->set ? NULL : "OK");
    unsigned i;

    for (i = 0; i < value->n_list; i++) {
        g_string_append_printf(text, "%s%s", i ? " or " : "",
                               vvt_expect_name(value->list[i]));
    }
    return g_string_free(g_steal_pointer(&text), false);
}

static void trace_packet(void *opaque, bool to_guest, const VvtHdr *hdr,
                         const char *note)
{
    VvtRun *run = opaque;
    g_autofree char *header = vvt_hdr_format(hdr);
    char *line = g_strdup_printf("%4u %s %s%s%s%s", ++run->n_packets,
                                 to_guest ? "to guest  " : "from guest",
                                 header, note ? " (" : "", note ?: "",
                                 note ? ")" : "");

    if (run->c->verbose) {
        vvt_case_note(run->c, line);
    }
    g_queue_push_tail(&run->trace, line);
    if (run->trace.length > TRACE_MAX) {
        g_free(g_queue_pop_head(&run->trace));
    }
}

static char *step_name(const VvtRun *run)
{
    return g_strdup_printf("%s:%u: step %u (%s)", run->script->path,
                           run->step->line, run->step->number,
                           vvt_op_name(run->step->op));
}

static void report(VvtRun *run)
{
    g_autofree char *name = step_name(run);
    g_autoptr(GString) text = g_string_new(NULL);
    GList *l;

    g_string_append_printf(text, "%s: %s", name, run->why->str);
    if (text->str[text->len - 1] != '\n') {
        g_string_append_c(text, '\n');
    }
    g_string_append(text, run->trace.length ? "  packets until then:\n" :
                    "  no packet had been seen\n");
    for (l = run->trace.head; l; l = l->next) {
        g_string_append_printf(text, "  %s\n", (char *)l->data);
    }
    vvt_case_fail(run->c, text->str);
}

VvtStepFunc vvt_any_step(VvtOp op)
{
    return vvt_packet_step(op) ?: vvt_device_step(op) ?: vvt_raw_step(op) ?:
           vvt_sock_step(op);
}

static bool run_step(VvtRun *run, const VvtStep *step)
{
    VvtStepFunc func = vvt_any_step(step->op);
    g_autofree char *name = NULL;

    run->step = step;
    name = step_name(run);
    if (vvt_step_has(step, VVT_KEY_ONLY) &&
        !(vvt_step_num(step, VVT_KEY_ONLY, 0) &
          (1u << run->config->backend))) {
        return true;
    }
    vvt_case_now(run->c, name);
    if (run->c->verbose) {
        vvt_case_note(run->c, name);
    }
    return func(run, step);
}

/* Start what the backend needs beside QEMU; NULL, and no error: nothing. */
static VvtDaemon *start_daemon(VvtRun *run)
{
    VvtDaemon *daemon;

    if (run->config->backend != VVT_BACKEND_VHOST_USER) {
        return NULL;
    }
    vvt_case_now(run->c, "the start of the daemon");
    daemon = vvt_daemon_start(run->config, run->guest_cid, run->c->dir,
                              run->why);
    if (!daemon) {
        vvt_case_fail(run->c, run->why->str);
    }
    return daemon;
}

static void end_daemon(VvtRun *run, VvtDaemon *daemon)
{
    g_autoptr(GString) why = g_string_new(NULL);

    vvt_case_now(run->c, "the end of the daemon");
    vvt_daemon_end(daemon, why);
    if (why->len > 0) {
        vvt_case_fail(run->c, why->str);
    }
}

bool vvt_run_steps(VvtRun *run, unsigned n)
{
    uint64_t features = 1ull << VIRTIO_F_VERSION_1 |
                        1ull << VIRTIO_RING_F_INDIRECT_DESC;
    unsigned i;

    if (run->script->requires_seqpacket) {
        features |= 1ull << VIRTIO_VSOCK_F_SEQPACKET;
    }
    vvt_driver_open(run->driver, features, 0, VVT_EVENT_CHAINS);
    for (i = 0; i < n && i < run->script->steps->len; i++) {
        if (!run_step(run, run->script->steps->pdata[i]) ||
            (run->after_step && !run->after_step(run))) {
            report(run);
            return false;
        }
    }
    return true;
}

bool vvt_run_begin(VvtRun *run, VvtCase *c, const VvtScript *script)
{
    run->c = c;
    run->script = script;
    run->own_config = *vvt_config_get();
    run->own_config.options = script->options;
    run->config = &run->own_config;
    run->guest_cid = script->guest_cid ?: vvt_config_guest_cid(run->config);
    run->why = g_string_new(NULL);
    run->ports = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_queue_init(&run->trace);
    run->daemon = start_daemon(run);
    if (run->why->len > 0) {
        return false;
    }
    vvt_case_now(c, "the start of QEMU");
    run->host = vvt_host_new(run->config, run->guest_cid, c->dir);
    run->driver = vvt_driver_new(run->config, run->guest_cid, c->dir,
                                 trace_packet, run);
    return true;
}

bool vvt_run_suits(VvtRun *run)
{
    uint64_t seqpacket = 1ull << VIRTIO_VSOCK_F_SEQPACKET;

    if (run->script->requires_seqpacket &&
        !(vvt_driver_offered(run->driver) & seqpacket)) {
        vvt_case_skip(run->c, "needs VIRTIO_VSOCK_F_SEQPACKET, which this "
                      "device does not offer");
        return false;
    }
    return true;
}

static void forget_trace(VvtRun *run)
{
    while (run->trace.length > 0) {
        g_free(g_queue_pop_head(&run->trace));
    }
}

void vvt_run_again(VvtRun *run)
{
    vvt_host_free(run->host);
    run->host = vvt_host_new(run->config, run->guest_cid, run->c->dir);
    vvt_driver_rx_release(run->driver);
    g_hash_table_remove_all(run->ports);
    forget_trace(run);
    run->window = 0;
    run->drain_flow = false;
    run->n_packets = 0;
}

void vvt_run_end(VvtRun *run)
{
    vvt_case_now(run->c, "the end of QEMU");
    vvt_driver_free(run->driver);
    if (run->daemon) {
        vvt_host_close_raw(run->host);
        end_daemon(run, run->daemon);
    }
    vvt_host_free(run->host);
    g_hash_table_destroy(run->ports);
    forget_trace(run);
    g_string_free(run->why, true);
}

void vvt_run_script(VvtCase *c, const void *script)
{
    VvtRun run = {};

    if (!vvt_run_begin(&run, c, script)) {
        return;
    }
    if (vvt_run_suits(&run)) {
        vvt_run_steps(&run, UINT_MAX);
    }
    vvt_run_end(&run);
}
