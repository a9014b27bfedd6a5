/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * nc-vsock: connect stdin and stdout to a vsock port, of a guest or of its
 * host.  See nc-vsock-options.c for the command line, nc-vsock-world.c for
 * the choice between AF_VSOCK and the emulator's sockets, and nc-vsock-pump.c
 * for the bytes.
 *
 * It needs nothing but libc, so that a static build runs in an initramfs.
 */

#include "nc-vsock-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEEP_BACKLOG  128  /* clients of -k that wait to be accepted */
#define ONE_BACKLOG   1

void nc_error(const char *fmt, ...)
{
    va_list ap;

    fputs("nc-vsock: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int64_t nc_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void explain(const NcOptions *opts, const NcPlace *place)
{
    printf("%s ", opts->listen ? "listen" : "connect");
    if (place->world == NC_WORLD_UNIX) {
        printf("unix %s port %" PRIu32 "\n", place->path, place->port);
    } else if (opts->listen) {
        printf("vsock port %" PRIu32 "\n", place->port);
    } else {
        printf("vsock cid %" PRIu32 " port %" PRIu32 "\n", place->cid,
               place->port);
    }
}

static NcExit run_connect(const NcOptions *opts, const NcPlace *place)
{
    char peer[NC_PEER_SIZE];
    NcExit code;
    int fd;

    code = nc_socket_connect(place, opts->timeout_ms, &fd);
    if (code != NC_EXIT_OK) {
        return code;
    }
    if (opts->uds_path) {
        snprintf(peer, sizeof(peer), "port %" PRIu32, place->port);
    } else {
        snprintf(peer, sizeof(peer), "%" PRIu32 ":%" PRIu32, place->cid,
                 place->port);
    }
    if (opts->verbose) {
        nc_error("connected to %s", peer);
    }
    return nc_pump_one(opts, fd, peer);
}

/* Wait for a client, with the limit of -w; fd or a negative errno. */
static int accept_one(const NcOptions *opts, int listen_fd,
                      char ret_peer[static NC_PEER_SIZE])
{
    int64_t end = nc_now_ms() + opts->timeout_ms;
    struct pollfd pfd = { listen_fd, POLLIN, 0 };

    for (;;) {
        int64_t left = opts->timeout_ms < 0 ? -1 : end - nc_now_ms();
        int n = 0;

        if (opts->timeout_ms < 0 || left > 0) {
            n = poll(&pfd, 1, (int)left);
        }
        if (n == 0) {
            return -ETIMEDOUT;
        }
        n = n > 0 ? nc_socket_accept(listen_fd, ret_peer) : -errno;
        if (n != -EAGAIN && n != -EINTR && n != -ECONNABORTED) {
            return n;
        }
    }
}

static NcExit run_listen(const NcOptions *opts, const NcPlace *place)
{
    char peer[NC_PEER_SIZE];
    int listen_fd, fd;
    NcExit code;

    code = nc_socket_listen(place, opts->keep ? KEEP_BACKLOG : ONE_BACKLOG,
                            &listen_fd);
    if (code != NC_EXIT_OK) {
        return code;
    }
    if (opts->verbose && place->world == NC_WORLD_UNIX) {
        nc_error("listening at %s", place->path);
    } else if (opts->verbose) {
        nc_error("listening on AF_VSOCK port %" PRIu32, place->port);
    }
    if (opts->keep) {
        code = nc_pump_many(opts, listen_fd);
        nc_listener_remove();
        close(listen_fd);
        return code;
    }
    fd = accept_one(opts, listen_fd, peer);
    /* The path goes while it is alive: nobody takes it over in between. */
    nc_listener_remove();
    close(listen_fd);
    if (fd == -ETIMEDOUT) {
        nc_error("nobody connected in time");
        return NC_EXIT_CONN;
    }
    if (fd < 0) {
        nc_error("accept: %s", strerror(-fd));
        return NC_EXIT_LOCAL;
    }
    if (opts->verbose) {
        nc_error("connection from %s", peer);
    }
    return nc_pump_one(opts, fd, peer);
}

/* A socket must not come to stand where stdin, stdout or stderr belong. */
static bool fill_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

int main(int argc, char **argv)
{
    NcOptions opts;
    NcPlace place;
    NcExit code;

    if (!fill_standard_fds()) {
        return NC_EXIT_LOCAL;
    }
    if (!nc_options_parse(&opts, argc, argv)) {
        fputs("Try 'nc-vsock --help'.\n", stderr);
        return NC_EXIT_USAGE;
    }
    code = nc_world_choose(&opts, &place);
    if (code != NC_EXIT_OK) {
        return code;
    }
    if (opts.explain) {
        explain(&opts, &place);
        return fflush(stdout) == 0 ? NC_EXIT_OK : NC_EXIT_LOCAL;
    }
    if (opts.listen) {
        return run_listen(&opts, &place);
    }
    return run_connect(&opts, &place);
}
