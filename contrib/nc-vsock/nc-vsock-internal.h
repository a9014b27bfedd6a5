/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files of nc-vsock share; nobody else includes it.
 */

#ifndef NC_VSOCK_INTERNAL_H
#define NC_VSOCK_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vsock-path.h"

#define NC_CID_HOST 2u
#define NC_CID_ANY  UINT32_MAX
#define NC_PORT_ANY UINT32_MAX

/* Exit codes; nc-vsock --help documents them. */
typedef enum NcExit {
    NC_EXIT_OK = 0,     /* all was sent, and all that came was written */
    NC_EXIT_CONN = 1,   /* no connection, or it broke before that */
    NC_EXIT_USAGE = 2,  /* bad arguments, or no single meaning of them */
    NC_EXIT_LOCAL = 3,  /* this side: address in use, stdin, stdout, ... */
} NcExit;

/* The two kinds of socket that reach a guest, or its host. */
typedef enum NcWorld {
    NC_WORLD_AUTO,      /* not chosen yet */
    NC_WORLD_VSOCK,     /* the kernel's AF_VSOCK */
    NC_WORLD_UNIX,      /* the emulator's AF_UNIX sockets */
    NC_WORLD_NUM
} NcWorld;

/* The command line. */
typedef struct NcOptions {
    NcWorld world;
    bool listen;
    bool keep;              /* -k: many clients, until a signal */
    bool half_close;        /* tell the peer when stdin ends */
    bool verbose;
    bool explain;           /* tell the choice of world, and end */
    bool has_cid;
    uint32_t cid;
    uint32_t port;
    int timeout_ms;         /* -1: none */
    const char *uds_path;   /* NULL: by CID in @dir */
    const char *dir;        /* NULL: the run-time directory */
    const char *vsock_node; /* whose presence makes AF_VSOCK possible */
} NcOptions;

/* What the command line means on this machine. */
typedef struct NcPlace {
    NcWorld world;          /* never NC_WORLD_AUTO */
    uint32_t cid;           /* meaningful to connect by AF_VSOCK */
    uint32_t port;
    char dir[VSK_SUN_PATH_SIZE];  /* to be made by a listener, or empty */
    char path[VSK_SUN_PATH_SIZE]; /* AF_UNIX: to connect to, or to bind */
} NcPlace;

/* Text of a peer's address, for -v. */
#define NC_PEER_SIZE 64

/* --- nc-vsock.c ----------------------------------------------------------- */

/* One line on stderr, with the program's name before it. */
void nc_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Milliseconds of a clock that never goes back. */
int64_t nc_now_ms(void);

/* --- nc-vsock-options.c -------------------------------------------------- */

/*
 * Read the command line.  False: it is wrong, and that was told.  Ends the
 * program for --help and --version.
 */
bool nc_options_parse(NcOptions *opts, int argc, char **argv);

/* --- nc-vsock-world.c ----------------------------------------------------- */

/*
 * Decide which world @opts mean, without opening a socket.  Says on stderr
 * why there is no answer: NC_EXIT_USAGE.
 */
NcExit nc_world_choose(const NcOptions *opts, NcPlace *ret_place);

/* --- nc-vsock-socket.c ---------------------------------------------------- */

/*
 * Connect to @place, the emulator's CONNECT/OK lines included.  What the peer
 * sent behind the OK line is still in the socket.
 */
NcExit nc_socket_connect(const NcPlace *place, int timeout_ms, int *ret_fd);

/*
 * Listen at @place, with room for @backlog clients that were not accepted
 * yet.  The socket does not block.
 */
NcExit nc_socket_listen(const NcPlace *place, int backlog, int *ret_fd);

/*
 * Take one client of @fd.  -EAGAIN: none there.  Other negative errno
 * values are accept()'s.  @ret_peer: "cid:port", or "unknown".
 */
int nc_socket_accept(int fd, char ret_peer[static NC_PEER_SIZE]);

/* --- nc-vsock-listener.c -------------------------------------------------- */

/*
 * Bind an AF_UNIX listener at @path with mode 0600, taking over the socket of
 * a program that has died.  It is removed by nc_listener_remove(), at exit
 * and on the signals that end a program.
 */
NcExit nc_listener_open(const char *path, int backlog, int *ret_fd);

/* Remove the socket that nc_listener_open() made, if it is still there. */
void nc_listener_remove(void);

/* --- nc-vsock-ring.c ------------------------------------------------------ */

/* Bytes on their way: a queue of fixed size. */
typedef struct NcRing {
    uint8_t *data;
    size_t size;
    size_t start;
    size_t len;
} NcRing;

bool nc_ring_init(NcRing *ring, size_t size);
void nc_ring_fini(NcRing *ring);
size_t nc_ring_room(const NcRing *ring);
/* The first @max queued bytes, and the free space, as up to two pieces. */
int nc_ring_used(const NcRing *ring, size_t max, struct iovec ret[static 2]);
int nc_ring_free(const NcRing *ring, struct iovec ret[static 2]);
void nc_ring_added(NcRing *ring, size_t n);
void nc_ring_taken(NcRing *ring, size_t n);
/* Queue @n bytes, for which there is room. */
void nc_ring_append(NcRing *ring, const void *data, size_t n);

/* --- nc-vsock-client.c ---------------------------------------------------- */

#define NC_QUEUE_SIZE (128 * 1024) /* bytes; each queue */

/* A peer.  Its two directions end apart. */
typedef struct NcClient {
    int fd;
    NcRing to_client;
    bool recv_done;      /* its end of file was read */
    bool send_done;      /* shut down by us, or it takes no more */
    bool lost;           /* it took no more while bytes waited for it */
    bool failed;         /* the connection broke, and that was told */
    bool ask_gone;       /* poll() does not tell when it receives no more */
    int64_t active_ms;   /* when bytes last moved */
    char peer[NC_PEER_SIZE];
} NcClient;

/* Takes @fd over, unless there is no memory: NULL. */
NcClient *nc_client_new(int fd, const char *peer);
void nc_client_free(NcClient *client);
bool nc_client_is_finished(const NcClient *client);

/* It takes no more.  What waits cannot be delivered. */
void nc_client_stop_sending(NcClient *client);
/* The connection is over both ways, and not as it should be. */
void nc_client_fail(NcClient *client, int err);
/* Find out whether it still receives. */
void nc_client_probe(NcClient *client);

/* Move what can be moved without waiting. */
void nc_client_read(NcClient *client, NcRing *to_stdout);
void nc_client_write(NcClient *client);

/* --- nc-vsock-pump.c ------------------------------------------------------ */

/*
 * Carry bytes between stdin, stdout and one connected socket @fd, which is
 * closed at the end, until both directions have ended.
 */
NcExit nc_pump_one(const NcOptions *opts, int fd, const char *peer);

/* The same for every client of @listen_fd; returns only on an error. */
NcExit nc_pump_many(const NcOptions *opts, int listen_fd);

#endif /* NC_VSOCK_INTERNAL_H */
