/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What all parts of the bench share: one run's settings, the page that its
 * processes share, time, and how a run ends that cannot go on.
 */

#ifndef BENCH_H
#define BENCH_H

#include <glib.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

/* Port of the host that the guest connects to, and the other way round. */
#define BENCH_PORT 5000
/* The bulk flow beside ping-pongs has its own, in both directions. */
#define BENCH_BULK_PORT 5001

#define BENCH_GUEST_CID 3

/* Largest block a figure may ask for: Linux sends no longer packet. */
#define BENCH_MAX_BLOCK 65536 /* bytes */

typedef enum BenchDirection {
    BENCH_G2H, /* guest to host */
    BENCH_H2G, /* host to guest */
} BenchDirection;

/* Written by one process, read by another: all 0 at the start of a figure. */
typedef struct BenchShared {
    sem_t ready;               /* the child listens, or has connected */
    sem_t go;                  /* the child may begin */
    _Atomic uint64_t begin_ns; /* the sender's first byte, or connect() */
    _Atomic uint64_t end_ns;   /* the receiver's last byte, or close */
    _Atomic uint64_t total;    /* bytes or connections there were; 0: not
                                  known yet */
    _Atomic uint64_t done;     /* bytes or connections that arrived */
    _Atomic uint64_t p50_ns, p99_ns;
    _Atomic bool stop;
} BenchShared;

typedef struct Backend Backend;
typedef struct Guest Guest;

typedef struct Bench {
    const char *name;      /* of the backend, for the report */
    const char *figure;    /* as it was asked for */
    const char *program;   /* NULL: raw */
    char **program_args;   /* more options for it, NULL-terminated */
    unsigned n_program_args;
    double seconds;        /* how long a figure is measured */
    double limit_s;        /* after which a run is given up */
    bool spin;             /* the guest never sleeps */
    bool apart;            /* children have another processor */
    char *dir;             /* for sockets; removed at the end */
    char *uds;             /* of the backend, or of the raw "guest" */
    Backend *backend;      /* NULL: raw */
    Guest *guest;          /* NULL: raw */
    BenchShared *shared;
} Bench;

/* One line of the report; @part is added to the figure's name. */
void bench_report(const Bench *bench, const char *part, double value,
                  const char *unit);

uint64_t bench_now_ns(void);
uint64_t bench_end_ns(const Bench *bench); /* of what begins now */

/* End this process: the figure cannot be had. */
void bench_die(const char *format, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
void bench_die_errno(const char *what) G_GNUC_NORETURN;

/* The paths that host programs listen on and connect to. */
char *bench_host_path(const Bench *bench, unsigned port);
char *bench_raw_path(const Bench *bench, unsigned port);

/*
 * Run @body in a process of its own, which ends with this one.  A child that
 * fails ends the figure.
 */
pid_t bench_child(Bench *bench, void (*body)(Bench *bench, void *opaque),
                  void *opaque);
void bench_child_join(pid_t pid);
void bench_child_kill(pid_t pid);

/*
 * From now on slow system calls of this process end with EINTR ten times a
 * second; each caller then calls bench_tick(), which ends the process when a
 * child or the time has run out.
 */
void bench_start_ticks(Bench *bench);
void bench_tick(void);

void bench_wait(sem_t *sem);

/* Run this process on that one alone, if there is such a one. */
void bench_use_processor(int number);

/* Figures; each prints its lines. */
void bulk_run(Bench *bench, BenchDirection direction, unsigned block,
              unsigned n_flows);
void pingpong_run(Bench *bench, unsigned n_flows);
void beside_run(Bench *bench, unsigned n_flows, BenchDirection bulk);
void connect_run(Bench *bench, BenchDirection direction, unsigned at_once);
void idle_run(Bench *bench, BenchDirection direction, unsigned n_flows);

#endif /* BENCH_H */
