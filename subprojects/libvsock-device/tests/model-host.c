/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Models of host programs.
 */

#include "models.h"
#include "content.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t id_of(const HostEnd *end)
{
    return content_id(end->type, end->guest_port);
}

HostEnd *host_end_new(int fd, VskType type)
{
    HostEnd *end = g_new0(HostEnd, 1);
    int on = 1;

    end->fd = fd;
    end->type = type;
    /* An empty message then has a sender, an end of file has none. */
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)),
                    ==, 0);
    return end;
}

HostEnd *host_end_connect(Vm *vm, VskType type, uint32_t guest_port)
{
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", guest_port);
    char path[VSK_SUN_PATH_SIZE];
    HostEnd *end;

    if (type == VSK_TYPE_SEQPACKET) {
        g_assert_cmpint(vsk_path_for_seqpacket(vm->path, path), ==, 0);
        end = host_end_new(unix_connect_seqpacket(path), type);
    } else {
        end = host_end_new(unix_connect(vm->path), type);
    }
    end->guest_port = guest_port;
    unix_write(end->fd, line);
    return end;
}

HostEnd *host_end_accept(int listener, VskType type, uint32_t host_port)
{
    HostEnd *end;
    uint64_t cid;

    if (!unix_has_client(listener)) {
        return NULL;
    }
    end = host_end_new(unix_accept(listener), type);
    end->host_port = host_port;
    unix_get_source(end->fd, &cid, &end->guest_port);
    g_assert_cmpuint(cid, ==, VM_CID);
    return end;
}

void host_end_close(HostEnd *end)
{
    close(end->fd);
    g_free(end);
}

/* True if there is nothing to read, for now or for ever. */
static bool no_bytes(HostEnd *end, ssize_t n)
{
    end->eof |= n == 0 || n == -ECONNRESET;
    g_assert_true(n >= 0 || n == -EAGAIN || n == -ECONNRESET);
    return n <= 0;
}

/* The OK line of a client; true once it is there. */
static bool read_ok_line(HostEnd *end)
{
    while (!end->host_port) {
        char *at = end->line + end->line_len;

        g_assert_cmpuint(end->line_len, <, 9);
        if (no_bytes(end, unix_read(end->fd, at, 1))) {
            g_assert_true(!end->eof || end->line_len == 0 || end->may_tear);
            return false;
        }
        end->line_len++;
        if (*at == '\n') {
            g_assert_cmpint(sscanf(end->line, "OK %u\n", &end->host_port),
                            ==, 1);
        }
    }
    return true;
}

/* One message; a negative errno; or 0, with *@ret_any false: the end. */
static ssize_t receive(HostEnd *end, uint8_t *bytes, size_t max, bool *ret_any)
{
    char control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = { bytes, max };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(end->fd, &msg, MSG_DONTWAIT);

    *ret_any = n >= 0 && msg.msg_controllen;
    return n < 0 ? -errno : n;
}

static bool read_message(HostEnd *end)
{
    uint32_t id = id_of(end);
    uint8_t bytes[65536];
    bool any;
    ssize_t n = receive(end, bytes, sizeof(bytes), &any);

    if (!any) {
        no_bytes(end, n);
        return false;
    }
    if (!end->host_port) {
        g_assert_cmpint(n, <, sizeof(end->line));
        memcpy(end->line, bytes, (size_t)n);
        g_assert_cmpint(sscanf(end->line, "OK %u\n", &end->host_port), ==, 1);
        return true;
    }
    g_assert_cmpint(n, ==, content_message_len(id, FROM_GUEST, end->in.n));
    content_check(id, FROM_GUEST, end->received, bytes, (uint32_t)n);
    end->received += (uint32_t)n;
    end->in.n++;
    return true;
}

static bool read_bytes(HostEnd *end, uint32_t max)
{
    uint8_t bytes[65536];
    ssize_t n;

    if (!read_ok_line(end)) {
        return false;
    }
    n = unix_read(end->fd, bytes, MIN(max, sizeof(bytes)));
    if (no_bytes(end, n)) {
        return false;
    }
    content_check(id_of(end), FROM_GUEST, end->received, bytes, (uint32_t)n);
    end->received += (uint32_t)n;
    return true;
}

bool host_end_read(HostEnd *end, uint32_t max)
{
    if (end->eof || end->shut_rd || !max) {
        return false;
    }
    return end->type == VSK_TYPE_SEQPACKET ? read_message(end)
                                           : read_bytes(end, max);
}

bool host_end_write(HostEnd *end, uint32_t max)
{
    uint32_t id = id_of(end);
    g_autofree uint8_t *bytes = NULL;
    ssize_t n;

    if (end->shut_wr || !max) {
        return false;
    }
    if (end->type == VSK_TYPE_SEQPACKET) {
        max = content_message_len(id, FROM_HOST, end->out.n);
    }
    bytes = content_make(id, FROM_HOST, end->sent, max);
    n = send(end->fd, bytes, max, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        g_assert_true(errno == EAGAIN || errno == EPIPE ||
                      errno == ECONNRESET);
        return false;
    }
    end->sent += (uint32_t)n;
    end->out.n++;
    return true;
}
