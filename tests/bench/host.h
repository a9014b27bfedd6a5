/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A program of the host: AF_UNIX sockets, and `CONNECT` to reach the guest.
 * The raw "guest" is one too, without the CONNECT.
 */

#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#include "bench.h"

int host_listen(const char *path);
int host_accept(int listener);

/* Connect, and nothing more. */
int host_connect(const char *path);

/* Connect to @port of the guest, of whatever kind it is. */
int host_connect_guest(const Bench *bench, unsigned port);

/* The two halves of that, to have many on their way at once. */
int host_begin_connect(const Bench *bench, unsigned port);
void host_end_connect(const Bench *bench, int fd);

void host_send_all(int fd, const void *data, size_t len);

/* False: there is no more. */
bool host_recv_all(int fd, void *data, size_t len);

/* From now on a read of @fd ends with EAGAIN ten times a second. */
void host_set_patience(int fd);

/*
 * Send blocks on each of the flows in turn, as long as the figure lasts, and
 * say when it began and how many bytes there were.
 */
void host_send_flows(Bench *bench, const int *fds, unsigned n,
                     unsigned block);

/* Receive and check, until all that was sent is there. */
void host_recv_flows(Bench *bench, const int *fds, unsigned n);

void host_set_nonblocking(int fd);

#endif /* BENCH_HOST_H */
