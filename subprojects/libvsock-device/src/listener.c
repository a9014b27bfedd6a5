/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The two sockets that host clients connect to, by type.
 */

#include "listener.h"
#include "vsock-limits.h"
#include "vsock-path.h"
#include "vsock-socket-file.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct VskListener {
    VskSocketFile *files[VSK_TYPE_SEQPACKET + 1]; /* by VskType; NULL: none */
};

void vsk_refuse_descriptors(int fd)
{
#ifdef SO_PASSRIGHTS
    int no = 0;

    /* #syscalls setsockopt */
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
#else
    (void)fd;
#endif
}

static bool listen_for(VskListener *listener, VskType type, const char *path,
                       GError **errp)
{
    int sock_type = type == VSK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;

    listener->files[type] = vsk_socket_file_new(path, sock_type,
                                                VSK_HOST_BACKLOG, errp);
    if (listener->files[type]) {
        /* What is accepted has it from here. */
        vsk_refuse_descriptors(vsk_listener_get_fd(listener, type));
    }
    return listener->files[type] != NULL;
}

VskListener *vsk_listener_new(const char *path, bool seqpacket,
                              GError **errp)
{
    char seqpacket_path[VSK_SUN_PATH_SIZE];
    VskListener *listener;

    /* Room for the longest port, lest a guest find out that there is none. */
    if (strlen(path) > VSK_PATH_MAX ||
        vsk_path_for_seqpacket(path, seqpacket_path) < 0) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_INVALID,
                    "socket path '%s' has %zu bytes; at most %d are possible",
                    path, strlen(path), VSK_PATH_MAX);
        return NULL;
    }
    listener = g_new0(VskListener, 1);
    if (!listen_for(listener, VSK_TYPE_STREAM, path, errp) ||
        (seqpacket && !listen_for(listener, VSK_TYPE_SEQPACKET,
                                  seqpacket_path, errp))) {
        vsk_listener_free(listener);
        return NULL;
    }
    return listener;
}

void vsk_listener_free(VskListener *listener)
{
    if (!listener) {
        return;
    }
    for (VskType type = 0; type < G_N_ELEMENTS(listener->files); type++) {
        vsk_socket_file_free(listener->files[type]);
    }
    g_free(listener);
}

int vsk_listener_get_fd(const VskListener *listener, VskType type)
{
    const VskSocketFile *file = listener->files[type];

    return file ? vsk_socket_file_get_fd(file) : -1;
}

/*
 * Whether a guest's flow came from an emulator, which took us for a host
 * program: our path is what another device's becomes with a port behind it.
 */
static bool is_guest(const struct sockaddr_un *addr, socklen_t len)
{
    uint64_t cid;
    uint32_t port;

    return len > offsetof(struct sockaddr_un, sun_path) &&
           vsk_path_parse_source(addr->sun_path,
                                 len - offsetof(struct sockaddr_un, sun_path),
                                 &cid, &port) == 0;
}

int vsk_listener_accept(VskListener *listener, VskType type)
{
    struct sockaddr_un addr;
    socklen_t len;
    int fd;

    do {
        len = sizeof(addr);
        /* #syscalls accept4 */
        fd = accept4(vsk_listener_get_fd(listener, type),
                     (struct sockaddr *)&addr, &len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) {
        return -errno;
    }
    if (is_guest(&addr, len)) {
        close(fd);
        return -EXDEV;
    }
    return fd;
}
