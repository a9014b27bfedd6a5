/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The process that is measured.
 */

#ifndef BENCH_BACKEND_H
#define BENCH_BACKEND_H

#include "bench.h"

/* Start the program of @bench; it listens on backend_socket() soon. */
Backend *backend_start(const Bench *bench);
void backend_stop(Backend *backend);

const char *backend_socket(const Backend *backend);

/* Processor time that it has had. */
uint64_t backend_cpu_ns(const Backend *backend);

/* Its memory, without the guest's. */
double backend_rss_kib(const Backend *backend);
unsigned backend_fds(const Backend *backend);

#endif /* BENCH_BACKEND_H */
