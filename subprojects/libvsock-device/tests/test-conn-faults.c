/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every failure of every stream operation, at every call of a fixed exchange.
 *
 * Whatever fails when, each side has got the front part of what the other sent,
 * and all of it where the failure was one that passes.
 */

#include "flow.h"

#include <errno.h>
#include <string.h>

typedef struct Fault {
    const char *name;
    ScriptedOp op;
    ssize_t result;
    bool passes; /* the exchange completes all the same */
    bool messages; /* of a seqpacket flow */
} Fault;

static const Fault faults[] = {
    { "readv-eagain", SCRIPTED_READV, -EAGAIN, true },
    { "readv-short", SCRIPTED_READV, 1, true },
    { "readv-econnreset", SCRIPTED_READV, -ECONNRESET, false },
    { "readv-eio", SCRIPTED_READV, -EIO, false },
    { "writev-eagain", SCRIPTED_WRITEV, -EAGAIN, true },
    { "writev-short", SCRIPTED_WRITEV, 1, true },
    { "writev-epipe", SCRIPTED_WRITEV, -EPIPE, false },
    { "writev-econnreset", SCRIPTED_WRITEV, -ECONNRESET, false },
    { "writev-enobufs", SCRIPTED_WRITEV, -ENOBUFS, true },
    { "writev-enomem", SCRIPTED_WRITEV, -ENOMEM, true },
    { "writev-eio", SCRIPTED_WRITEV, -EIO, false },
    { "accepted-epipe", SCRIPTED_ACCEPTED, -EPIPE, false },
    { "accepted-econnreset", SCRIPTED_ACCEPTED, -ECONNRESET, false },
    { "accepted-eio", SCRIPTED_ACCEPTED, -EIO, false },
    { "seqpacket-readv-eagain", SCRIPTED_READV, -EAGAIN, true, true },
    { "seqpacket-readv-econnreset", SCRIPTED_READV, -ECONNRESET, false, true },
    { "seqpacket-peek-eagain", SCRIPTED_PEEK, -EAGAIN, true, true },
    { "seqpacket-peek-econnreset", SCRIPTED_PEEK, -ECONNRESET, false, true },
    { "seqpacket-writev-eagain", SCRIPTED_WRITEV, -EAGAIN, true, true },
    { "seqpacket-writev-epipe", SCRIPTED_WRITEV, -EPIPE, false, true },
    { "seqpacket-writev-enobufs", SCRIPTED_WRITEV, -ENOBUFS, true, true },
    { "seqpacket-accepted-epipe", SCRIPTED_ACCEPTED, -EPIPE, false, true },
};

#define ROUNDS 8
#define END    '|' /* of a message, in what follows */

/* What the guest got, and whether it was told of an end. */
typedef struct Guest {
    GString *got;
    bool shut;
    bool reset;
} Guest;

/* Let the guest have all that is owed. */
static void pull(Flow *f, Guest *guest)
{
    VskHdr hdr;
    char buf[5];
    struct iovec iov = { buf, sizeof(buf) };
    int turns = 0;

    while (vsk_conn_owes(f->conn)) {
        size_t n;

        g_assert_cmpint(turns++, <, 1000); /* else it spins */
        if (vsk_conn_next_control(f->conn, &hdr)) {
            guest->reset |= hdr.op == VSK_OP_RST;
            guest->shut |= hdr.op == VSK_OP_SHUTDOWN;
            continue;
        }
        f->flags = 0;
        n = flow_reads(f, &iov, 1);
        g_string_append_len(guest->got, buf, (gssize)n);
        if (f->flags & VSK_SEQ_EOM) {
            g_string_append_c(guest->got, END);
        }
    }
}

/* What the host program got. */
static GString *output_of(const Flow *f)
{
    GString *text = g_string_new_len((char *)f->s->output->data,
                                     (gssize)f->s->output->len);

    for (GList *link = f->s->sent.head; link; link = link->next) {
        gsize len;
        const char *bytes = g_bytes_get_data(link->data, &len);

        g_string_append_len(text, bytes, (gssize)len);
        g_string_append_c(text, END);
    }
    return text;
}

/* Both sides write; a message of the guest is two packets. */
static void exchange(Flow *f, const char *to_host, const char *to_guest,
                     GString *sent, GString *written)
{
    bool messages = f->type == VSK_TYPE_SEQPACKET;

    guest_sends(f, to_host);
    if (messages) {
        guest_sends_message(f, "");
        g_string_append_printf(sent, "%s%c", to_host, END);
    } else {
        g_string_append(sent, to_host);
    }
    if (f->s->closed) {
        return;
    }
    if (messages) {
        host_writes_message(f, to_guest);
        g_string_append_printf(written, "%s%c", to_guest, END);
    } else {
        host_writes(f, to_guest);
        g_string_append(written, to_guest);
    }
}

/* Poll says again what is true: as the kernel does when a fault has passed. */
static void stir(Flow *f)
{
    if (!f->s->closed) {
        host_has_room(f, SIZE_MAX);
    }
}

static bool is_over(const Flow *f)
{
    return f->conn->phase == VSK_PHASE_DEAD;
}

/* The exchange, with @fault at call @nth for @times calls. */
static void run(const Fault *fault, unsigned int nth, unsigned int times)
{
    g_autoptr(Flow) f = fault->messages ? flow_seqpacket_requested_by_host()
                                        : flow_requested_by_host();
    g_autoptr(GString) sent = g_string_new(NULL);
    g_autoptr(GString) written = g_string_new(NULL);
    g_autoptr(GString) output = NULL;
    Guest guest = { .got = g_string_new(NULL) };

    f->s->faults[fault->op] = (ScriptedFault) { nth, times, fault->result };
    pull(f, &guest);
    guest_says(f, VSK_OP_RESPONSE);
    for (int i = 0; i < ROUNDS && !is_over(f); i++) {
        g_autofree char *a = g_strdup_printf("to-host-%d ", i);
        g_autofree char *b = g_strdup_printf("to-guest-%d ", i);

        exchange(f, a, b, sent, written);
        pull(f, &guest);
        stir(f);
    }
    for (unsigned int i = 0; i < times; i++) {
        stir(f);
        pull(f, &guest);
    }
    output = output_of(f);
    g_assert_cmpuint(output->len, <=, sent->len);
    g_assert_cmpmem(output->str, output->len, sent->str, output->len);
    g_assert_cmpuint(guest.got->len, <=, written->len);
    g_assert_cmpmem(guest.got->str, guest.got->len, written->str,
                    guest.got->len);
    if (fault->passes || f->s->calls[fault->op] <= nth) {
        g_assert_cmpuint(output->len, ==, sent->len);
        g_assert_cmpuint(guest.got->len, ==, written->len);
        g_assert_false(guest.shut || guest.reset);
    } else {
        g_assert_true(guest.shut || guest.reset);
    }
    g_string_free(guest.got, TRUE);
}

static void test_fault(gconstpointer data)
{
    const Fault *fault = data;

    for (unsigned int nth = 0; nth < 3 * ROUNDS; nth++) {
        for (unsigned int times = 1; times <= 4; times++) {
            run(fault, nth, times);
        }
    }
}

/* The same guarantee when the host program goes away at any point. */
static void test_host_leaves_at_any_point(void)
{
    for (int leave = 0; leave < ROUNDS; leave++) {
        g_autoptr(Flow) f = flow_from_host();
        g_autoptr(GString) written = g_string_new(NULL);
        Guest guest = { .got = g_string_new(NULL) };

        for (int i = 0; i <= leave; i++) {
            guest_sends(f, "to-host ");
            host_writes(f, "to-guest ");
            g_string_append(written, "to-guest ");
        }
        host_closes(f);
        pull(f, &guest);
        g_assert_cmpstr(guest.got->str, ==, written->str);
        g_assert_true(guest.shut || guest.reset);
        g_string_free(guest.got, TRUE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned int i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autofree char *path = g_strdup_printf("/conn/faults/%s",
                                                faults[i].name);

        g_test_add_data_func(path, &faults[i], test_fault);
    }
    g_test_add_func("/conn/faults/host-leaves-at-any-point",
                    test_host_leaves_at_any_point);
    return g_test_run();
}
