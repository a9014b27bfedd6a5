/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages of a front-end: in pieces, malformed, with descriptors.
 */

#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../message.h"

typedef struct Pair {
    int ours;
    int theirs;
    MessageReader reader;
} Pair;

static void pair_init(Pair *pair)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    pair->ours = fds[0];
    pair->theirs = fds[1];
    message_init(&pair->reader);
}

static void pair_fini(Pair *pair)
{
    message_fini(&pair->reader);
    close(pair->ours);
    close(pair->theirs);
}

static VhostUserMsg make(unsigned int request, uint32_t size)
{
    VhostUserMsg msg;

    memset(&msg, 0, sizeof(msg));
    msg.request = (int)request;
    msg.flags = 1;
    msg.size = size;
    return msg;
}

/* Send bytes of @msg, and @n_fds descriptors along. */
static void say(Pair *pair, const VhostUserMsg *msg, size_t from, size_t to,
                unsigned int n_fds)
{
    char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec iov = { (char *)msg + from, to - from };
    struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
    int fds[16];

    for (unsigned int i = 0; i < n_fds; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
    }
    if (n_fds) {
        struct cmsghdr *c;

        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    g_assert_cmpint(sendmsg(pair->theirs, &header, 0), ==, to - from);
    for (unsigned int i = 0; i < n_fds; i++) {
        close(fds[i]);
    }
}

static void assert_state(Pair *pair, MessageState wanted)
{
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(message_read(&pair->reader, pair->ours, &err), ==, wanted);
    g_assert_true((wanted == MESSAGE_BAD) == (err != NULL));
}

static void test_comes_in_pieces(void)
{
    VhostUserMsg msg = make(VHOST_USER_SET_FEATURES, 8);
    VhostUserMsg got;
    Pair pair;

    pair_init(&pair);
    msg.payload.u64 = 0x1234;
    for (size_t i = 0; i < VHOST_USER_HDR_SIZE + 8; i++) {
        assert_state(&pair, MESSAGE_WAIT);
        say(&pair, &msg, i, i + 1, 0);
    }
    assert_state(&pair, MESSAGE_WHOLE);
    message_take(&pair.reader, &got);
    g_assert_cmpuint(got.payload.u64, ==, 0x1234);
    assert_state(&pair, MESSAGE_WAIT);
    pair_fini(&pair);
}

static void test_two_at_once(void)
{
    VhostUserMsg msg = make(VHOST_USER_GET_FEATURES, 0);
    VhostUserMsg got;
    Pair pair;

    pair_init(&pair);
    say(&pair, &msg, 0, VHOST_USER_HDR_SIZE, 0);
    msg.request = VHOST_USER_SET_OWNER;
    say(&pair, &msg, 0, VHOST_USER_HDR_SIZE, 0);
    assert_state(&pair, MESSAGE_WHOLE);
    message_take(&pair.reader, &got);
    g_assert_cmpint(got.request, ==, VHOST_USER_GET_FEATURES);
    assert_state(&pair, MESSAGE_WHOLE);
    message_take(&pair.reader, &got);
    g_assert_cmpint(got.request, ==, VHOST_USER_SET_OWNER);
    close(pair.theirs);
    pair.theirs = -1;
    assert_state(&pair, MESSAGE_END);
    pair_fini(&pair);
}

static void expect(unsigned int request, uint32_t flags, uint32_t size,
                   unsigned int n_fds, MessageState wanted)
{
    VhostUserMsg msg = make(request, size);
    Pair pair;

    pair_init(&pair);
    msg.flags = flags;
    if (request == VHOST_USER_SET_MEM_TABLE) {
        msg.payload.memory.nregions = 2;
    }
    say(&pair, &msg, 0, VHOST_USER_HDR_SIZE + MIN(size, 300), n_fds);
    assert_state(&pair, wanted);
    pair_fini(&pair);
}

static void test_malformed_is_refused(void)
{
    expect(VHOST_USER_NONE, 1, 0, 0, MESSAGE_BAD);
    expect(VHOST_USER_POSTCOPY_ADVISE, 1, 0, 0, MESSAGE_BAD);
    expect(77, 1, 0, 0, MESSAGE_BAD);
    expect(UINT32_MAX, 1, 0, 0, MESSAGE_BAD);
    expect(VHOST_USER_GET_FEATURES, 0, 0, 0, MESSAGE_BAD);  /* version */
    expect(VHOST_USER_GET_FEATURES, 5, 0, 0, MESSAGE_BAD);  /* a reply */
    expect(VHOST_USER_SET_FEATURES, 1, 7, 0, MESSAGE_BAD);
    expect(VHOST_USER_SET_FEATURES, 1, 9, 0, MESSAGE_BAD);
    expect(VHOST_USER_SET_FEATURES, 1, UINT32_MAX, 0, MESSAGE_BAD);
    expect(VHOST_USER_SET_FEATURES, 1, 8, 1, MESSAGE_BAD);
    expect(VHOST_USER_SET_VRING_KICK, 1, 8, 2, MESSAGE_BAD);
    expect(VHOST_USER_SET_MEM_TABLE, 1, 72, 1, MESSAGE_BAD);
    expect(VHOST_USER_SET_MEM_TABLE, 1, 40, 2, MESSAGE_BAD);
    expect(VHOST_USER_SET_MEM_TABLE, 1, 72, 12, MESSAGE_BAD);
    expect(VHOST_USER_SET_MEM_TABLE, 1, 72, 2, MESSAGE_WHOLE);
    expect(MESSAGE_RESET_DEVICE, 1 | 8, 0, 0, MESSAGE_WHOLE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/message/" path, fn)
    TEST("comes-in-pieces", test_comes_in_pieces);
    TEST("two-at-once", test_two_at_once);
    TEST("malformed-is-refused", test_malformed_is_refused);
    return g_test_run();
}
