/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The front-end's side of the vhost-user protocol.  Written from QEMU's
 * docs/interop/vhost-user.rst.
 */

#include "front-end.h"
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define VERSION 1u
#define FLAG_REPLY (1u << 2)
#define F_PROTOCOL_FEATURES 30
/* MQ, REPLY_ACK, CONFIG: what every back-end of this kind has. */
#define PROTOCOL_WANTED ((1u << 0) | (1u << 3) | (1u << 9))

#define CONNECT_TRIES 1000
#define CONNECT_PAUSE_NS 5000000

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
};

typedef struct __attribute__((packed)) Message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, padding;
            uint64_t guest_address, size, user_address, offset;
        } memory;
    };
} Message;

#define HEADER_SIZE offsetof(Message, u64)

struct FrontEnd {
    int fd;
    uint64_t offered;
};

/* Send a message, with a descriptor if @fd is not -1. */
static void send_message(FrontEnd *front_end, Message *message, uint32_t size,
                         int fd)
{
    struct iovec iov = { message, HEADER_SIZE + size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;

    message->flags = VERSION;
    message->size = size;
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int));
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    if (sendmsg(front_end->fd, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len) {
        bench_die("the backend closed the vhost-user socket (request %u)",
                  message->request);
    }
}

static void receive(FrontEnd *front_end, void *data, size_t len)
{
    ssize_t n;

    while (len > 0) {
        n = recv(front_end->fd, data, len, MSG_WAITALL);
        if (n < 0 && errno == EINTR) {
            bench_tick();
            continue;
        }
        if (n <= 0) {
            bench_die("the backend gave no answer over vhost-user");
        }
        data = (char *)data + n;
        len -= n;
    }
}

static uint64_t get_u64(FrontEnd *front_end, uint32_t request)
{
    Message message = { .request = request };

    send_message(front_end, &message, 0, -1);
    receive(front_end, &message, HEADER_SIZE);
    if (message.request != request || !(message.flags & FLAG_REPLY) ||
        message.size != sizeof(uint64_t)) {
        bench_die("the backend's answer to request %u is not one", request);
    }
    receive(front_end, &message.u64, sizeof(uint64_t));
    return message.u64;
}

static void set_u64(FrontEnd *front_end, uint32_t request, uint64_t value,
                    int fd)
{
    Message message = { .request = request, .u64 = value };

    send_message(front_end, &message, sizeof(uint64_t), fd);
}

static void set_state(FrontEnd *front_end, uint32_t request, unsigned index,
                      unsigned num)
{
    Message message = { .request = request, .state = { index, num } };

    send_message(front_end, &message, sizeof(message.state), -1);
}

FrontEnd *front_end_new(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    FrontEnd *front_end = g_new0(FrontEnd, 1);
    struct timespec pause = { .tv_nsec = CONNECT_PAUSE_NS };
    int tries;

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    front_end->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (tries = 0; connect(front_end->fd, (struct sockaddr *)&addr,
                            sizeof(addr)) < 0; tries++) {
        if (tries == CONNECT_TRIES) {
            bench_die("the backend does not listen on its vhost-user socket");
        }
        bench_tick();
        nanosleep(&pause, NULL);
    }
    return front_end;
}

void front_end_free(FrontEnd *front_end)
{
    if (front_end) {
        close(front_end->fd);
        g_free(front_end);
    }
}

uint64_t front_end_features(FrontEnd *front_end, uint64_t wanted)
{
    front_end->offered = get_u64(front_end, GET_FEATURES);
    return front_end->offered & wanted;
}

static void set_memory(FrontEnd *front_end, const FrontEndMemory *memory)
{
    Message message = {
        .request = SET_MEM_TABLE,
        .memory = {
            .n = 1,
            .guest_address = memory->guest_address,
            .size = memory->size,
            .user_address = (uintptr_t)memory->base,
        },
    };

    send_message(front_end, &message, sizeof(message.memory), memory->fd);
}

static void set_ring(FrontEnd *front_end, unsigned index,
                     const FrontEndRing *ring)
{
    Message message = {
        .request = SET_VRING_ADDR,
        .addr = {
            .index = index,
            .desc = (uintptr_t)ring->desc,
            .used = (uintptr_t)ring->used,
            .avail = (uintptr_t)ring->avail,
        },
    };

    set_state(front_end, SET_VRING_NUM, index, ring->size);
    set_state(front_end, SET_VRING_BASE, index, 0);
    send_message(front_end, &message, sizeof(message.addr), -1);
    set_u64(front_end, SET_VRING_CALL, index, ring->call);
    set_u64(front_end, SET_VRING_KICK, index, ring->kick);
}

void front_end_start(FrontEnd *front_end, uint64_t features,
                     const FrontEndMemory *memory, const FrontEndRing *rings,
                     unsigned n_rings)
{
    uint64_t protocol = UINT64_C(1) << F_PROTOCOL_FEATURES;
    Message owner = { .request = SET_OWNER };
    unsigned i;

    send_message(front_end, &owner, 0, -1);
    if (front_end->offered & protocol) {
        features |= protocol;
        set_u64(front_end, SET_PROTOCOL_FEATURES,
                get_u64(front_end, GET_PROTOCOL_FEATURES) & PROTOCOL_WANTED,
                -1);
    }
    set_u64(front_end, SET_FEATURES, features, -1);
    set_memory(front_end, memory);
    for (i = 0; i < n_rings; i++) {
        set_ring(front_end, i, &rings[i]);
    }
    for (i = 0; (features & protocol) && i < n_rings; i++) {
        set_state(front_end, SET_VRING_ENABLE, i, 1);
    }
    /* The answer says that all before it was done. */
    get_u64(front_end, GET_FEATURES);
}
