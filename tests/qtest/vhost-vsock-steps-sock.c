/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Steps of a script that are about the host's sockets.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include "vhost-vsock-steps.h"
#include "vhost-vsock-transfer.h"

static const char *sock_id(const VvtStep *step)
{
    return vvt_step_str(step, VVT_KEY_SOCK_ID);
}

static VvtSock *need_sock(VvtRun *run, const char *id)
{
    VvtSock *sock = vvt_host_find(run->host, id);

    if (!sock) {
        vvt_run_fail(run, "there is no socket \"%s\"\n", id);
    }
    return sock;
}

/* Compare what came of a call with the step's "expect". */
static bool check_result(VvtRun *run, const VvtStep *step, const char *call,
                         uint32_t code)
{
    g_autofree char *wanted = NULL;

    if (vvt_run_expects(step, VVT_KEY_EXPECT, code)) {
        return true;
    }
    wanted = vvt_run_expected(step, VVT_KEY_EXPECT);
    return vvt_run_fail(run, "%s: %s expected, %s came\n", call, wanted,
                        vvt_expect_name(code));
}

static bool do_connect(VvtRun *run, const VvtStep *step)
{
    int ret = vvt_host_connect(run->host, sock_id(step),
                               vvt_step_num(step, VVT_KEY_DST_CID,
                                            VVT_CID_GUEST),
                               vvt_step_num(step, VVT_KEY_DST_PORT, 0),
                               vvt_step_num(step, VVT_KEY_TYPE, SOCK_STREAM),
                               vvt_step_num(step, VVT_KEY_RAW, false));

    g_hash_table_remove(run->ports, sock_id(step));
    return check_result(run, step, "connect", -ret);
}

static bool do_listen(VvtRun *run, const VvtStep *step)
{
    int ret = vvt_host_listen(run->host, sock_id(step),
                              vvt_step_num(step, VVT_KEY_PORT, 0),
                              vvt_step_num(step, VVT_KEY_BACKLOG, 128),
                              vvt_step_num(step, VVT_KEY_TYPE, SOCK_STREAM));

    return ret == 0 ||
           vvt_run_fail(run, "listen: %s\n", vvt_expect_name(-ret));
}

typedef struct AcceptState {
    const char *id;
    const VvtSock *listener;
    uint64_t peer_cid;
    uint32_t peer_port;
    int ret;
} AcceptState;

static bool accepted(VvtRun *run, void *opaque)
{
    AcceptState *state = opaque;

    state->ret = vvt_host_accept(run->host, state->id, state->listener,
                                 &state->peer_cid, &state->peer_port);
    return state->ret != -EAGAIN;
}

static bool do_accept(VvtRun *run, const VvtStep *step)
{
    AcceptState state = { .id = sock_id(step) };
    uint64_t cid = vvt_step_num(step, VVT_KEY_PEER_CID, VVT_CID_GUEST);
    uint64_t port;

    state.listener = need_sock(run, vvt_step_str(step, VVT_KEY_LISTENER));
    if (!state.listener) {
        return false;
    }
    switch (vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                         accepted, &state)) {
    case VVT_WAIT_DONE:
        break;
    case VVT_WAIT_TIMEOUT:
        return vvt_run_fail(run, "nobody came to be accepted\n");
    default:
        return false;
    }
    if (state.ret == -EINVAL) {
        return vvt_run_fail(run, "the address of who was accepted says no "
                            "CID and port\n");
    }
    if (state.ret < 0) {
        return vvt_run_fail(run, "accept: %s\n",
                            vvt_expect_name(-state.ret));
    }
    if (state.peer_cid == VVT_CID_GUEST) {
        return true;
    }
    cid = cid == VVT_CID_GUEST ? run->guest_cid : cid;
    port = vvt_step_num(step, VVT_KEY_PEER_PORT, state.peer_port);
    return (state.peer_cid == cid && state.peer_port == port) ||
           vvt_run_fail(run, "accept: peer %" PRIu64 ":%" PRIu64
                        " expected, %" PRIu64 ":%u came\n", cid, port,
                        state.peer_cid, state.peer_port);
}

typedef struct PollState {
    VvtSock *sock;
    short events;
    uint32_t so_error;
} PollState;

static bool polled(VvtRun *run, void *opaque)
{
    PollState *state = opaque;
    VvtSock *sock = state->sock;
    struct pollfd p = { .fd = sock->fd, .events = state->events };
    socklen_t len = sizeof(state->so_error);

    switch (vvt_sock_read_answer(sock)) {
    case VVT_ANSWER_AWAITED:
        return false;
    case VVT_ANSWER_REFUSED:
        /* What connect() of AF_VSOCK says of an RST. */
        state->so_error = ECONNRESET;
        return true;
    case VVT_ANSWER_WRONG:
        state->so_error = EPROTO;
        return true;
    case VVT_ANSWER_NONE_NEEDED:
        break;
    }
    if (poll(&p, 1, 0) <= 0) {
        return false;
    }
    if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &state->so_error,
                   &len) < 0) {
        state->so_error = errno;
    }
    return true;
}

static bool do_poll(VvtRun *run, const VvtStep *step)
{
    PollState state = { .sock = need_sock(run, sock_id(step)) };
    g_autofree char *wanted = vvt_run_expected(step, VVT_KEY_POLL_SO_ERROR);

    if (!state.sock) {
        return false;
    }
    state.events = vvt_step_num(step, VVT_KEY_POLL_EVENTS, 0);
    switch (vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                         polled, &state)) {
    case VVT_WAIT_DONE:
        break;
    case VVT_WAIT_TIMEOUT:
        return vvt_run_fail(run, "the socket did not become ready%s\n",
                            state.sock->answer == VVT_ANSWER_AWAITED ?
                            ": no answer to its CONNECT line" : "");
    default:
        return false;
    }
    if (state.sock->answer == VVT_ANSWER_WRONG) {
        return vvt_run_fail(run, "the answer to the CONNECT line is wrong, "
                            "or names another port than the packets: %s\n",
                            state.sock->line->str);
    }
    return vvt_run_expects(step, VVT_KEY_POLL_SO_ERROR, state.so_error) ||
           vvt_run_fail(run, "SO_ERROR: %s expected, %s (%u) came\n", wanted,
                        vvt_expect_name(state.so_error), state.so_error);
}

/* How long a call may take; one that is to get EAGAIN need not take long. */
static uint64_t call_timeout(const VvtRun *run, const VvtStep *step)
{
    bool blocks = vvt_run_expects(step, VVT_KEY_EXPECT, EAGAIN);

    return vvt_run_timeout(run, step, blocks ? VVT_SILENCE_MS :
                                               VVT_TIMEOUT_MS);
}

static VvtTransfer *new_transfer(VvtRun *run, const VvtStep *step,
                                 const VvtSock *sock)
{
    g_autoptr(GBytes) payload = vvt_payload_bytes(&step->payload, run->window);
    VvtTransfer *transfer =
        vvt_transfer_new(payload, vvt_step_num(step, VVT_KEY_REPEAT, 1),
                         sock->type);

    transfer->eor = vvt_step_num(step, VVT_KEY_EOR, false);
    transfer->check_eor = vvt_step_has(step, VVT_KEY_EOR);
    return transfer;
}

/* --- Send ----------------------------------------------------------------- */

typedef struct SendState {
    VvtSock *sock;
    VvtTransfer *transfer;
    uint32_t code;
} SendState;

static bool sent(VvtRun *run, void *opaque)
{
    SendState *state = opaque;

    state->code = vvt_transfer_send(state->transfer, state->sock);
    return state->code != EAGAIN;
}

static bool sent_in_background(VvtRun *run, void *opaque)
{
    VvtSock *sock = opaque;

    return !sock->out;
}

/*
 * A message cannot be taken back once a part of it is on its way, so one
 * that does not go at once goes on in the background.
 */
static bool send_messages(VvtRun *run, const VvtStep *step, VvtSock *sock,
                          uint64_t timeout)
{
    uint32_t code;

    switch (vvt_run_wait(run, timeout, sent_in_background, sock)) {
    case VVT_WAIT_DONE:
        code = sock->out_code;
        g_clear_pointer(&sock->background_error, g_free);
        break;
    case VVT_WAIT_TIMEOUT:
        code = EAGAIN;
        break;
    default:
        return false;
    }
    return check_result(run, step, "send", code);
}

static bool do_sock_send(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));
    g_autoptr(VvtTransfer) transfer = NULL;
    uint64_t timeout = call_timeout(run, step);
    bool background = vvt_step_num(step, VVT_KEY_BACKGROUND, false);
    SendState state = { .sock = sock };

    if (!sock) {
        return false;
    }
    transfer = new_transfer(run, step, sock);
    if (background || transfer->messages) {
        if (sock->out) {
            return vvt_run_fail(run, "it is sending already\n");
        }
        vvt_sock_send(sock, g_steal_pointer(&transfer));
        return background ? vvt_run_pump(run) :
                            send_messages(run, step, sock, timeout);
    }
    state.transfer = transfer;
    if (vvt_run_wait(run, timeout, sent, &state) == VVT_WAIT_FAILED) {
        return false;
    }
    return check_result(run, step, "send", state.code);
}

/* --- Receive -------------------------------------------------------------- */

typedef struct RecvState {
    VvtSock *sock;
    VvtTransfer *wanted; /* NULL: nothing but the end */
    uint32_t code;
    bool wrong;          /* what came differs */
} RecvState;

/* Without a payload nothing may come but an end. */
static uint32_t receive_end(VvtRun *run, const VvtSock *sock)
{
    char byte;
    int flags;
    ssize_t n = vvt_sock_recv(sock, &byte, 1, &flags);

    if (n >= 0) {
        vvt_run_fail(run, n ? "recv: a byte came\n" :
                              "recv: an empty message came\n");
        return 0;
    }
    return n == -ENODATA ? VVT_EXPECT_EOF : -n;
}

static bool received(VvtRun *run, void *opaque)
{
    RecvState *state = opaque;

    if (vvt_sock_read_answer(state->sock) == VVT_ANSWER_AWAITED) {
        state->code = EAGAIN;
        return false;
    }
    state->code = state->wanted ?
                  vvt_transfer_recv(state->wanted, state->sock, run->why) :
                  receive_end(run, state->sock);
    state->wrong = run->why->len > 0;
    return state->wrong || state->code != EAGAIN;
}

static bool check_received(VvtRun *run, const VvtStep *step,
                           const RecvState *state)
{
    const VvtTransfer *wanted = state->wanted;

    if (state->wrong) {
        return false;
    }
    if (wanted && wanted->left > 0 && state->code &&
        vvt_run_expects(step, VVT_KEY_EXPECT, 0)) {
        return vvt_run_fail(run, "recv: %s came after %zu bytes, when %u %s "
                            "of %zu bytes had not come whole\n",
                            vvt_expect_name(state->code), wanted->total,
                            wanted->left,
                            wanted->messages ? "messages" : "payload",
                            g_bytes_get_size(wanted->unit));
    }
    return check_result(run, step, "recv", state->code);
}

static bool do_sock_recv(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));
    g_autoptr(VvtTransfer) wanted = NULL;
    RecvState state = { .sock = sock };
    uint64_t timeout = call_timeout(run, step);

    if (!sock) {
        return false;
    }
    if (vvt_step_has(step, VVT_KEY_PAYLOAD)) {
        wanted = new_transfer(run, step, sock);
    }
    if (vvt_step_num(step, VVT_KEY_BACKGROUND, false)) {
        if (sock->in || !wanted) {
            return vvt_run_fail(run, "it is receiving already, or there is "
                                "no payload\n");
        }
        sock->in = g_steal_pointer(&wanted);
        return vvt_run_pump(run);
    }
    state.wanted = wanted;
    if (vvt_run_wait(run, timeout, received, &state) == VVT_WAIT_FAILED) {
        return false;
    }
    return check_received(run, step, &state);
}

static bool background_done(VvtRun *run, void *opaque)
{
    VvtSock *sock = opaque;

    return sock->background_error || (!sock->in && !sock->out);
}

static bool do_sock_wait(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));
    VvtWait wait;

    if (!sock) {
        return false;
    }
    wait = vvt_run_wait(run, vvt_run_timeout(run, step, VVT_TIMEOUT_MS),
                        background_done, sock);
    if (wait == VVT_WAIT_TIMEOUT) {
        return vvt_run_fail(run, "it is not done: %zu bytes sent, %zu "
                            "received\n", sock->out ? sock->out->total : 0,
                            sock->in ? sock->in->total : 0);
    }
    if (wait == VVT_WAIT_DONE && sock->background_error) {
        return vvt_run_fail(run, "%s\n", sock->background_error);
    }
    return wait == VVT_WAIT_DONE;
}

/* --- The rest ------------------------------------------------------------- */

static bool do_shutdown(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));

    if (!sock) {
        return false;
    }
    return check_result(run, step, "shutdown",
                        shutdown(sock->fd,
                                 vvt_step_num(step, VVT_KEY_HOW, 0)) < 0 ?
                        errno : 0);
}

static bool do_close(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));

    if (!sock) {
        return false;
    }
    if (sock->out && vvt_transfer_is_running(sock->out)) {
        return vvt_run_fail(run, "it is still sending a message\n");
    }
    vvt_host_close(run->host, sock_id(step));
    return true;
}

static bool do_setsockopt(VvtRun *run, const VvtStep *step)
{
    VvtSock *sock = need_sock(run, sock_id(step));

    if (!sock) {
        return false;
    }
    return check_result(run, step, "setsockopt",
                        -vvt_sock_setsockopt(sock,
                            vvt_step_num(step, VVT_KEY_OPTION, 0),
                            vvt_step_num(step, VVT_KEY_VALUE, 0)));
}

VvtStepFunc vvt_sock_step(VvtOp op)
{
    switch (op) {
    case VVT_OP_SOCK_ASYNC_CONNECT:
        return do_connect;
    case VVT_OP_SOCK_POLL:
        return do_poll;
    case VVT_OP_SOCK_LISTEN:
        return do_listen;
    case VVT_OP_SOCK_ACCEPT:
        return do_accept;
    case VVT_OP_SOCK_SEND:
        return do_sock_send;
    case VVT_OP_SOCK_RECV:
        return do_sock_recv;
    case VVT_OP_SOCK_WAIT:
        return do_sock_wait;
    case VVT_OP_SOCK_SHUTDOWN:
        return do_shutdown;
    case VVT_OP_SOCK_CLOSE:
        return do_close;
    case VVT_OP_SOCK_SETSOCKOPT:
        return do_setsockopt;
    default:
        return NULL;
    }
}
