/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A host byte channel whose other end is the test.
 */

#include "scripted-stream.h"
#include "pkt.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Count a call of @op.  True if it fails with *@ret_err, or moves at most
 * *@ret_max bytes.
 */
static bool is_faulty(ScriptedStream *s, ScriptedOp op, ssize_t *ret_err,
                      size_t *ret_max)
{
    const ScriptedFault *fault = &s->faults[op];
    unsigned int call = s->calls[op]++;

    g_assert_false(s->closed);
    if (call < fault->nth || call - fault->nth >= fault->times) {
        return false;
    }
    if (fault->result < 0) {
        *ret_err = fault->result;
        return true;
    }
    *ret_max = MIN(*ret_max, (size_t)fault->result);
    return false;
}

static ssize_t scripted_readv(VskStream *stream, const struct iovec *iov,
                              int n_iov, VskMessage *ret_msg)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    size_t max = vsk_iov_size(iov, (unsigned int)n_iov);
    size_t n;
    ssize_t err;

    g_assert_cmpuint(max, >, 0);
    g_assert_false(ret_msg->any);
    if (is_faulty(s, SCRIPTED_READV, &err, &max)) {
        return err;
    }
    n = MIN(max, s->input->len);
    if (!n) {
        return s->ended || s->shut_rd ? 0 : -EAGAIN;
    }
    n = vsk_iov_from_buf(iov, (unsigned int)n_iov, s->input->data, n);
    g_byte_array_remove_range(s->input, 0, (guint)n);
    return (ssize_t)n;
}

static ssize_t scripted_writev(VskStream *stream, const struct iovec *iov,
                               int n_iov)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    size_t len = vsk_iov_size(iov, (unsigned int)n_iov);
    guint old = s->output->len;
    ssize_t err;
    size_t n = len;

    g_assert_cmpuint(len, >, 0);
    if (is_faulty(s, SCRIPTED_WRITEV, &err, &n)) {
        return err;
    }
    if (s->deaf || s->shut_wr) {
        return -EPIPE;
    }
    n = MIN(n, s->room);
    if (!n) {
        return -EAGAIN;
    }
    g_byte_array_set_size(s->output, old + (guint)n);
    vsk_iov_to_buf(iov, (unsigned int)n_iov, s->output->data + old, n);
    s->room -= n;
    return (ssize_t)n;
}

static void scripted_shutdown(VskStream *stream, int how)
{
    ScriptedStream *s = (ScriptedStream *)stream;

    g_assert_false(s->closed);
    if (how == SHUT_RD) {
        s->shut_rd = true;
    } else {
        g_assert_cmpint(how, ==, SHUT_WR);
        s->shut_wr = true;
        s->output_at_shut_wr = s->output->len;
    }
}

static int scripted_accepted(VskStream *stream, uint32_t host_port)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    size_t max = 0;
    ssize_t err;

    s->host_port = host_port;
    if (is_faulty(s, SCRIPTED_ACCEPTED, &err, &max)) {
        return (int)err;
    }
    return s->deaf ? -EPIPE : 0;
}

static ssize_t scripted_peek(VskStream *stream, VskMessage *ret_msg)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    size_t max = 0;
    ssize_t err;

    g_assert_false(s->closed);
    g_assert_false(ret_msg->any);
    if (s->input->len) {
        return 1;
    }
    if (is_faulty(s, SCRIPTED_PEEK, &err, &max)) {
        return err;
    }
    return s->ended || s->shut_rd ? 0 : -EAGAIN;
}

static bool scripted_has_hung_up(VskStream *stream)
{
    ScriptedStream *s = (ScriptedStream *)stream;

    g_assert_false(s->closed);
    return (s->ended || s->shut_rd) && (s->deaf || s->shut_wr);
}

static int scripted_get_fd(const VskStream *stream)
{
    return ((const ScriptedStream *)stream)->fd;
}

static void scripted_close(VskStream *stream)
{
    ScriptedStream *s = (ScriptedStream *)stream;

    g_assert_false(s->closed);
    s->closed = true;
}

/* --- Messages ------------------------------------------------------------- */

static ssize_t seqpacket_readv(VskStream *stream, const struct iovec *iov,
                               int n_iov, VskMessage *ret_msg)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    GBytes *message = g_queue_peek_head(&s->waiting);
    const uint8_t *bytes;
    size_t n, len, max = 0;
    ssize_t err;

    g_assert_false(ret_msg->any);
    if (is_faulty(s, SCRIPTED_READV, &err, &max)) {
        return err;
    }
    if (!message) {
        return s->ended || s->shut_rd ? 0 : -EAGAIN;
    }
    bytes = g_bytes_get_data(message, &len);
    /* An empty message has no address. */
    n = len ? vsk_iov_from_buf(iov, (unsigned int)n_iov, bytes + s->at,
                               len - s->at) : 0;
    s->at += n;
    ret_msg->any = true;
    ret_msg->left = len - s->at;
    if (!ret_msg->left) {
        g_bytes_unref(g_queue_pop_head(&s->waiting));
        s->at = 0;
    }
    return (ssize_t)n;
}

static ssize_t seqpacket_writev(VskStream *stream, const struct iovec *iov,
                                int n_iov)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    size_t len = vsk_iov_size(iov, (unsigned int)n_iov);
    size_t max = 0;
    ssize_t err;
    void *bytes;

    if (is_faulty(s, SCRIPTED_WRITEV, &err, &max)) {
        return err;
    }
    if (s->deaf || s->shut_wr) {
        return -EPIPE;
    }
    if (!s->room) {
        return -EAGAIN;
    }
    s->room--;
    bytes = g_malloc(len);
    vsk_iov_to_buf(iov, (unsigned int)n_iov, bytes, len);
    g_queue_push_tail(&s->sent, g_bytes_new_take(bytes, len));
    return (ssize_t)len;
}

static ssize_t seqpacket_peek(VskStream *stream, VskMessage *ret_msg)
{
    ScriptedStream *s = (ScriptedStream *)stream;
    GBytes *message = g_queue_peek_head(&s->waiting);
    size_t max = 0;
    ssize_t err;

    if (!message) {
        return scripted_peek(stream, ret_msg);
    }
    if (is_faulty(s, SCRIPTED_PEEK, &err, &max)) {
        return err;
    }
    ret_msg->any = true;
    ret_msg->left = g_bytes_get_size(message) - s->at;
    return 1;
}

static const VskStreamOps seqpacket_ops = {
    .readv = seqpacket_readv,
    .writev = seqpacket_writev,
    .shutdown = scripted_shutdown,
    .accepted = scripted_accepted,
    .peek = seqpacket_peek,
    .has_hung_up = scripted_has_hung_up,
    .get_fd = scripted_get_fd,
    .close = scripted_close,
};

/* --- Streams -------------------------------------------------------------- */

static const VskStreamOps scripted_ops = {
    .readv = scripted_readv,
    .writev = scripted_writev,
    .shutdown = scripted_shutdown,
    .accepted = scripted_accepted,
    .peek = scripted_peek,
    .has_hung_up = scripted_has_hung_up,
    .get_fd = scripted_get_fd,
    .close = scripted_close,
};

ScriptedStream *scripted_stream_new(void)
{
    ScriptedStream *s = g_new0(ScriptedStream, 1);

    s->base.ops = &scripted_ops;
    s->input = g_byte_array_new();
    s->output = g_byte_array_new();
    s->room = SIZE_MAX;
    s->fd = -1;
    return s;
}

static void drop_all(GQueue *messages)
{
    while (!g_queue_is_empty(messages)) {
        g_bytes_unref(g_queue_pop_head(messages));
    }
}

void scripted_stream_free(ScriptedStream *s)
{
    if (s) {
        g_byte_array_unref(s->input);
        g_byte_array_unref(s->output);
        drop_all(&s->sent);
        drop_all(&s->waiting);
        g_free(s);
    }
}

void scripted_stream_add_input(ScriptedStream *s, const void *bytes,
                               size_t len)
{
    g_assert_false(s->ended);
    g_byte_array_append(s->input, bytes, (guint)len);
}

void scripted_stream_expect_output(ScriptedStream *s, const char *text)
{
    g_assert_cmpmem(s->output->data, s->output->len, text, strlen(text));
    g_byte_array_set_size(s->output, 0);
}

ScriptedStream *scripted_stream_new_seqpacket(void)
{
    ScriptedStream *s = scripted_stream_new();

    s->base.ops = &seqpacket_ops;
    return s;
}

void scripted_stream_add_message(ScriptedStream *s, const void *bytes,
                                 size_t len)
{
    g_assert_false(s->ended);
    g_queue_push_tail(&s->waiting, g_bytes_new(bytes, len));
}

void scripted_stream_expect_message_bytes(ScriptedStream *s,
                                          const void *bytes, size_t len)
{
    g_autoptr(GBytes) message = g_queue_pop_head(&s->sent);

    g_assert_nonnull(message);
    g_assert_cmpmem(g_bytes_get_data(message, NULL), g_bytes_get_size(message),
                    bytes, len);
}

void scripted_stream_expect_message(ScriptedStream *s, const char *text)
{
    scripted_stream_expect_message_bytes(s, text, strlen(text));
}
