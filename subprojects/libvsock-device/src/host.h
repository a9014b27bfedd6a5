/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The host's side of the world: AF_UNIX sockets by path.
 *
 * Host clients connect to one socket, or for seqpacket to another, and write
 * "CONNECT <port>\n"; host programs that listen for the guest have a socket
 * "<path>_<port>" of either type.  Nothing in here blocks.
 */

#ifndef VSK_HOST_H
#define VSK_HOST_H

#include "vsock-device.h"

typedef struct VskHost VskHost;

/**
 * vsk_host_new:
 *
 * Take the lock at "@path.lock", take over what a dead process left at @path,
 * and listen there, and with @seqpacket at "<path>_seqpacket".  @shared_path
 * may be NULL.
 *
 * Returns: NULL with @errp set, see #VskError.
 */
VskHost *vsk_host_new(const char *path, bool seqpacket,
                      const char *shared_path, uint32_t line_timeout_ms,
                      GError **errp);

/*
 * How many clients without a line are kept: VSK_MAX_HOST_CLIENTS or fewer, and
 * at least one.  Each holds a descriptor.
 */
void vsk_host_set_max_clients(VskHost *host, unsigned int max);

/* Drop all clients, remove the socket and the lock. */
void vsk_host_free(VskHost *host);

/* Readable when vsk_host_next() has something. */
int vsk_host_get_fd(const VskHost *host);

/* When to call vsk_host_next() at the latest; -1: no time. */
int64_t vsk_host_next_deadline(const VskHost *host);

typedef enum VskHostResult {
    VSK_HOST_NOTHING,
    VSK_HOST_CLIENT,  /* a client wants a port of the guest */
    VSK_HOST_REFUSED, /* a client was dropped */
    VSK_HOST_SILENT,  /* a client came, and said nothing yet, or left */
} VskHostResult;

typedef struct VskHostNews {
    /*
     * CLIENT: its socket, now the caller's; the next byte read is the first
     * behind its line.
     */
    int fd;
    uint32_t port;  /* CLIENT: of the guest */
    VskType type;   /* CLIENT: of its socket */
    VskRefusal why; /* REFUSED */
} VskHostNews;

/* The next thing that happened; call until VSK_HOST_NOTHING. */
VskHostResult vsk_host_next(VskHost *host, int64_t now_ms,
                            VskHostNews *ret_news);

/**
 * vsk_host_connect:
 * @guest_cid, @guest_port: the source, which the host program can read from the
 *   peer's name
 * @unique: makes that name unlike any other
 * @ret_why: why not; written if and only if -1 is returned
 *
 * Connect to the host program that listens on @port, with a socket of @type.
 *
 * Returns: a connected non-blocking socket, the caller's; or -1.
 */
int vsk_host_connect(const VskHost *host, uint64_t guest_cid,
                     uint32_t guest_port, uint32_t port, VskType type,
                     uint64_t unique, VskRefusal *ret_why);

#endif /* VSK_HOST_H */
