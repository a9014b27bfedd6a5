/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the emulator's host sockets are.  The device and every host program
 * must agree on it, so it is written once, and needs nothing but libc.
 *
 *     <dir>/<cid>.vsock            host clients reach guest <cid> here
 *     <dir>/<cid>.vsock_seqpacket  the same for SOCK_SEQPACKET
 *     <dir>/<cid>.vsock_<port>     a host program listening for guest <cid>
 *     <dir>/2.vsock_<port>         a host program listening for every guest
 *
 * All functions return 0 or a negative errno, and write to @ret only on
 * success.  -ENAMETOOLONG: choose a shorter directory; AF_UNIX paths end at
 * 107 bytes.
 */

#ifndef VSOCK_PATH_H
#define VSOCK_PATH_H

#include <stddef.h>
#include <stdint.h>

/* Large enough for every path below: sizeof(sockaddr_un.sun_path). */
#define VSK_SUN_PATH_SIZE 108

/*
 * The run-time directory: /run/vsock for root, else $XDG_RUNTIME_DIR/vsock,
 * else $HOME/.cache/vsock.  -ENOENT: neither variable is set.
 */
int vsk_path_default_dir(char ret[static VSK_SUN_PATH_SIZE]);

/* "<dir>/<cid>.vsock" in the run-time directory. */
int vsk_path_default(uint64_t cid, char ret[static VSK_SUN_PATH_SIZE]);

/* "<base>_<port>": where a host program listens for the guest. */
int vsk_path_for_port(const char *base, uint32_t port,
                      char ret[static VSK_SUN_PATH_SIZE]);

/* "<base>_seqpacket": where host clients connect for SOCK_SEQPACKET. */
int vsk_path_for_seqpacket(const char *base,
                           char ret[static VSK_SUN_PATH_SIZE]);

/*
 * Make @dir (and missing parents below $HOME) with mode 0700 if it is not
 * there.  -EPERM: it is there, but belongs to another user, or others may
 * write to it, or could replace it as they may write to a directory above it
 * that is not sticky: use another directory.
 */
int vsk_path_prepare_dir(const char *dir);

/*
 * The source address of a flow travels as the abstract name that the
 * emulator's socket is bound to: "\0vsock:<cid>:<port>:<unique>".  This
 * writes such a name (without the NUL in front) and reads one.  @name of
 * vsk_path_parse_source() is sun_path as accept() or getpeername() gave it,
 * @len the bytes of it; -EINVAL: the peer is not an emulator.
 */
int vsk_path_format_source(uint64_t cid, uint32_t port, uint64_t unique,
                           char ret[static VSK_SUN_PATH_SIZE]);
int vsk_path_parse_source(const char *name, size_t len, uint64_t *ret_cid,
                          uint32_t *ret_port);

#endif /* VSOCK_PATH_H */
