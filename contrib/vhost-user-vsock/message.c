/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages of a vhost-user front-end, read without blocking and checked at
 * the door.
 *
 * libvhost-user's own reader waits for the rest of a message that came in
 * part, and its handlers believe sizes, and that descriptors came along.  So
 * they get nothing to see that is not listed here.  What depends on the state
 * of the session is protocol.c's to check.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "message.h"

/* The payload as the protocol has it; libvhost-user's struct ends in padding */
#define INFLIGHT_SIZE (offsetof(VhostUserInflight, queue_size) + 2)

typedef struct MessageRule {
    bool offered;
    uint16_t min_size; /* bytes of payload */
    uint16_t max_size;
    uint8_t min_fds;
    uint8_t max_fds;
} MessageRule;

#define RULE(name) [VHOST_USER_ ## name]

static const MessageRule rules[] = {
    /* Some front-ends send a u64 along with a question. */
    RULE(GET_FEATURES)          = { true, 0, 8, 0, 0 },
    RULE(SET_FEATURES)          = { true, 8, 8, 0, 0 },
    RULE(GET_PROTOCOL_FEATURES) = { true, 0, 8, 0, 0 },
    RULE(SET_PROTOCOL_FEATURES) = { true, 8, 8, 0, 0 },
    RULE(SET_OWNER)             = { true, 0, 8, 0, 0 },
    RULE(RESET_OWNER)           = { true, 0, 8, 0, 0 },
    RULE(GET_QUEUE_NUM)         = { true, 0, 8, 0, 0 },
    RULE(GET_MAX_MEM_SLOTS)     = { true, 0, 8, 0, 0 },
    RULE(SET_MEM_TABLE)         = { true, 8, sizeof(VhostUserMemory), 0,
                                    VHOST_MEMORY_BASELINE_NREGIONS },
    RULE(ADD_MEM_REG)           = { true, sizeof(VhostUserMemRegMsg),
                                    sizeof(VhostUserMemRegMsg), 1, 1 },
    RULE(REM_MEM_REG)           = { true, sizeof(VhostUserMemRegMsg),
                                    sizeof(VhostUserMemRegMsg), 0, 1 },
    RULE(SET_LOG_BASE)          = { true, sizeof(VhostUserLog),
                                    sizeof(VhostUserLog), 1, 1 },
    RULE(SET_LOG_FD)            = { true, 0, 8, 1, 1 },
    RULE(SET_VRING_NUM)         = { true, 8, 8, 0, 0 },
    RULE(SET_VRING_ADDR)        = { true, sizeof(struct vhost_vring_addr),
                                    sizeof(struct vhost_vring_addr), 0, 0 },
    RULE(SET_VRING_BASE)        = { true, 8, 8, 0, 0 },
    RULE(GET_VRING_BASE)        = { true, 8, 8, 0, 0 },
    RULE(SET_VRING_KICK)        = { true, 8, 8, 0, 1 },
    RULE(SET_VRING_CALL)        = { true, 8, 8, 0, 1 },
    RULE(SET_VRING_ERR)         = { true, 8, 8, 0, 1 },
    RULE(SET_VRING_ENABLE)      = { true, 8, 8, 0, 0 },
    RULE(GET_CONFIG)            = { true, VHOST_USER_CONFIG_HDR_SIZE,
                                    sizeof(VhostUserConfig), 0, 0 },
    RULE(SET_CONFIG)            = { true, VHOST_USER_CONFIG_HDR_SIZE,
                                    sizeof(VhostUserConfig), 0, 0 },
    RULE(GET_INFLIGHT_FD)       = { true, INFLIGHT_SIZE,
                                    sizeof(VhostUserInflight), 0, 0 },
    RULE(SET_INFLIGHT_FD)       = { true, INFLIGHT_SIZE,
                                    sizeof(VhostUserInflight), 1, 1 },
    [MESSAGE_RESET_DEVICE]      = { true, 0, 8, 0, 0 },
};

void message_init(MessageReader *reader)
{
    memset(reader, 0, sizeof(*reader));
}

void message_fini(MessageReader *reader)
{
    for (int i = 0; i < reader->msg.fd_num; i++) {
        close(reader->msg.fds[i]);
    }
    message_init(reader);
}

void message_take(MessageReader *reader, VhostUserMsg *ret_msg)
{
    *ret_msg = reader->msg;
    message_init(reader);
}

static bool refuse(const VhostUserMsg *msg, GError **errp, const char *why)
{
    g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "message %u of %u bytes with %d descriptors: %s",
                (unsigned int)msg->request, msg->size, msg->fd_num, why);
    return false;
}

static bool check_header(const VhostUserMsg *msg, GError **errp)
{
    unsigned int request = msg->request;

    if ((msg->flags & VHOST_USER_VERSION_MASK) != 1) {
        return refuse(msg, errp, "not of version 1 of the protocol");
    }
    if (msg->flags & VHOST_USER_REPLY_MASK) {
        return refuse(msg, errp, "a reply to nothing");
    }
    if (request >= G_N_ELEMENTS(rules) || !rules[request].offered) {
        return refuse(msg, errp, "not offered by this program");
    }
    if (msg->size < rules[request].min_size) {
        return refuse(msg, errp, "too short");
    }
    if (msg->size > rules[request].max_size) {
        return refuse(msg, errp, "too long");
    }
    return true;
}

static bool check_whole(VhostUserMsg *msg, GError **errp)
{
    const MessageRule *rule = &rules[msg->request];

    if (msg->fd_num < rule->min_fds || msg->fd_num > rule->max_fds) {
        return refuse(msg, errp, "too many or too few descriptors");
    }
    if (msg->request == VHOST_USER_SET_MEM_TABLE) {
        uint32_t n = msg->payload.memory.nregions;

        if (n > VHOST_MEMORY_BASELINE_NREGIONS || msg->fd_num != (int)n ||
            msg->size < 8 + n * sizeof(VhostUserMemoryRegion)) {
            return refuse(msg, errp, "does not hold the regions it names");
        }
    }
    if (msg->request == VHOST_USER_GET_INFLIGHT_FD ||
        msg->request == VHOST_USER_SET_INFLIGHT_FD) {
        msg->size = sizeof(VhostUserInflight);
    }
    return true;
}

/* Keep the descriptors of one recvmsg(); false if there are too many. */
static bool keep_fds(VhostUserMsg *msg, struct msghdr *header)
{
    bool all = !(header->msg_flags & MSG_CTRUNC);

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c;
         c = CMSG_NXTHDR(header, c)) {
        int fds[VHOST_MEMORY_BASELINE_NREGIONS];
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        g_assert(n <= G_N_ELEMENTS(fds)); /* the control buffer's size */
        memcpy(fds, CMSG_DATA(c), n * sizeof(int));
        for (size_t i = 0; i < n; i++) {
            if (msg->fd_num < VHOST_MEMORY_BASELINE_NREGIONS) {
                msg->fds[msg->fd_num++] = fds[i];
            } else {
                close(fds[i]);
                all = false;
            }
        }
    }
    return all;
}

/* Returns the bytes read, 0 at the end, or a negative errno. */
static ssize_t read_some(MessageReader *reader, int fd, size_t wanted)
{
    char control[CMSG_SPACE(VHOST_MEMORY_BASELINE_NREGIONS * sizeof(int))];
    struct iovec iov = {
        .iov_base = (char *)&reader->msg + reader->have,
        .iov_len = wanted - reader->have,
    };
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    /* #syscalls recvmsg close */
    do {
        n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    if (!keep_fds(&reader->msg, &header)) {
        return -EMFILE;
    }
    reader->have += n;
    return n;
}

MessageState message_read(MessageReader *reader, int fd, GError **errp)
{
    VhostUserMsg *msg = &reader->msg;

    for (;;) {
        size_t wanted = VHOST_USER_HDR_SIZE;
        ssize_t n;

        if (reader->have >= VHOST_USER_HDR_SIZE) {
            if (!check_header(msg, errp)) {
                return MESSAGE_BAD;
            }
            wanted += msg->size;
            if (reader->have == wanted) {
                return check_whole(msg, errp) ? MESSAGE_WHOLE : MESSAGE_BAD;
            }
        }
        n = read_some(reader, fd, wanted);
        if (n == -EAGAIN) {
            return MESSAGE_WAIT;
        }
        if (n == 0 || n == -ECONNRESET) {
            return MESSAGE_END;
        }
        if (n < 0) {
            g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(-n),
                        n == -EMFILE ? "too many descriptors came along: %s"
                                     : "reading failed: %s",
                        g_strerror(-n));
            return MESSAGE_BAD;
        }
    }
}
