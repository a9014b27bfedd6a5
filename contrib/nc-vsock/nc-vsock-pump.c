/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Carry bytes between stdin, stdout and connected sockets.
 *
 * Theory of operation
 * -------------------
 * Bytes of stdin go to a queue per client, bytes of all clients to one queue
 * for stdout.  A source is read only while its queues have room, so a slow
 * reader stops its writer and nothing else, and no call waits for one fd while
 * another could move:
 *
 * - sockets are used with MSG_DONTWAIT;
 * - stdin is read once for each time that poll() reports it;
 * - stdout may be shared with other programs, so it is not made non-blocking.
 *   After POLLOUT a pipe takes PIPE_BUF bytes without blocking.
 *
 * The directions end apart.  The end of stdin is passed on when its queue is
 * empty (shutdown), a client's end of file, when it is the only client, by
 * closing stdout.  A client is finished when both have ended.
 */

#include "nc-vsock-internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CLIENTS 256 /* at once; more wait in the backlog */

/*
 * How often to ask whether a client that sends no more still receives.  Only
 * AF_VSOCK is asked, whose poll() does not tell.
 */
#define PROBE_MS 1000

/* Places in the poll set; clients follow. */
enum { POLL_STDIN, POLL_STDOUT, POLL_LISTENER, POLL_CLIENTS };

typedef struct Pump {
    const NcOptions *opts;
    int listen_fd;       /* -1: a single client */
    bool listen_paused;  /* out of fds; until a client leaves */
    NcClient *clients[MAX_CLIENTS];
    size_t n_clients;
    size_t turn;         /* the client that is read first */
    NcRing to_stdout;
    size_t stdout_chunk; /* bytes that never block after POLLOUT */
    bool stdin_done;
    bool stdout_closed;
    bool done;
    NcExit code;
    struct pollfd pfds[POLL_CLIENTS + MAX_CLIENTS];
} Pump;

/* --- stdin and stdout ----------------------------------------------------- */

static void local_failure(Pump *pump, const char *what)
{
    nc_error("%s: %s", what, strerror(errno));
    pump->code = NC_EXIT_LOCAL;
    pump->done = true;
}

static size_t find_stdout_chunk(void)
{
    struct stat st;

    return fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) ? NC_QUEUE_SIZE
                                                                 : PIPE_BUF;
}

/* Bytes of stdin that every client has room for; 0 if nobody takes any. */
static size_t stdin_room(const Pump *pump)
{
    size_t room = 0;
    bool any = false;

    for (size_t i = 0; i < pump->n_clients; i++) {
        const NcClient *client = pump->clients[i];

        if (!client->send_done) {
            size_t r = nc_ring_room(&client->to_client);

            room = any && room < r ? room : r;
            any = true;
        }
    }
    return pump->stdin_done ? 0 : room;
}

static void read_stdin(Pump *pump)
{
    static uint8_t buf[NC_QUEUE_SIZE];
    size_t room = stdin_room(pump);
    ssize_t n;

    if (room == 0) {
        return;
    }
    n = read(STDIN_FILENO, buf, room);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            local_failure(pump, "stdin");
        }
        return;
    }
    pump->stdin_done = n == 0;
    for (size_t i = 0; i < pump->n_clients; i++) {
        if (!pump->clients[i]->send_done) {
            nc_ring_append(&pump->clients[i]->to_client, buf, (size_t)n);
        }
    }
}

/* Whether stdin holds bytes that nobody will get. */
static bool stdin_has_more(const Pump *pump)
{
    struct pollfd pfd = { STDIN_FILENO, POLLIN, 0 };
    char byte;

    return !pump->stdin_done && poll(&pfd, 1, 0) > 0 &&
           read(STDIN_FILENO, &byte, 1) > 0;
}

static void write_stdout(Pump *pump)
{
    struct iovec iov[2];
    int n_iov = nc_ring_used(&pump->to_stdout, pump->stdout_chunk, iov);
    ssize_t n = writev(STDOUT_FILENO, iov, n_iov);

    if (n >= 0) {
        nc_ring_taken(&pump->to_stdout, (size_t)n);
    } else if (errno != EAGAIN && errno != EINTR) {
        local_failure(pump, "stdout");
    }
}

static void close_stdout(Pump *pump)
{
    pump->stdout_closed = true;
    if (close(STDOUT_FILENO) < 0) {
        local_failure(pump, "stdout");
    }
}

/* --- The set of clients --------------------------------------------------- */

static bool add_client(Pump *pump, int fd, const char *peer)
{
    NcClient *client = nc_client_new(fd, peer);

    if (!client) {
        nc_error("out of memory");
        close(fd);
        return false;
    }
    pump->clients[pump->n_clients++] = client;
    return true;
}

static void remove_client(Pump *pump, size_t i)
{
    NcClient *client = pump->clients[i];

    if (pump->listen_fd < 0) {
        if (!client->failed && (client->lost || stdin_has_more(pump))) {
            nc_error("%s ended the connection before all was sent",
                     client->peer);
            client->failed = true;
        }
        if (client->failed && pump->code == NC_EXIT_OK) {
            pump->code = NC_EXIT_CONN;
        }
    } else if (pump->opts->verbose) {
        nc_error("%s has left", client->peer);
    }
    nc_client_free(client);
    pump->clients[i] = pump->clients[--pump->n_clients];
    pump->listen_paused = false;
}

static void accept_client(Pump *pump)
{
    char peer[NC_PEER_SIZE];
    int fd = nc_socket_accept(pump->listen_fd, peer);

    if (fd >= 0) {
        if (pump->opts->verbose) {
            nc_error("connection from %s", peer);
        }
        add_client(pump, fd, peer);
        return;
    }
    switch (-fd) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case ETIMEDOUT:
        /* There is none, or it has left already. */
        break;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        nc_error("cannot accept: %s", strerror(-fd));
        if (pump->n_clients > 0) {
            pump->listen_paused = true;
            break;
        }
        /* fall through */
    default:
        errno = -fd;
        local_failure(pump, "accept");
    }
}

/* Pass on what has ended, drop who is finished. */
static void settle_clients(Pump *pump)
{
    int64_t now = nc_now_ms();

    for (size_t i = 0; i < pump->n_clients; ) {
        NcClient *client = pump->clients[i];

        if (pump->stdin_done && !client->send_done &&
            client->to_client.len == 0 &&
            (pump->opts->half_close || client->recv_done)) {
            shutdown(client->fd, SHUT_WR);
            client->send_done = true;
        }
        if (pump->opts->timeout_ms >= 0 && !nc_client_is_finished(client) &&
            now - client->active_ms >= pump->opts->timeout_ms) {
            nc_client_fail(client, ETIMEDOUT);
        }
        if (nc_client_is_finished(client)) {
            remove_client(pump, i);
        } else {
            i++;
        }
    }
}

/* With a single client, its end is the end of stdout and of the program. */
static void settle_end(Pump *pump)
{
    bool more = pump->n_clients > 0 && !pump->clients[0]->recv_done;

    if (pump->listen_fd >= 0 || more || pump->to_stdout.len > 0) {
        return;
    }
    if (!pump->stdout_closed) {
        close_stdout(pump);
    }
    pump->done = pump->done || pump->n_clients == 0;
}

/* --- The loop ------------------------------------------------------------- */

static struct pollfd want(int fd, short events)
{
    /* An fd without events would still report a hang-up, again and again. */
    return (struct pollfd) { events ? fd : -1, events, 0 };
}

static void fill_poll_set(Pump *pump)
{
    bool accepts = !pump->listen_paused && pump->n_clients < MAX_CLIENTS;
    bool room = nc_ring_room(&pump->to_stdout) > 0;

    pump->pfds[POLL_STDIN] = want(STDIN_FILENO,
                                  stdin_room(pump) ? POLLIN : 0);
    pump->pfds[POLL_STDOUT] = want(STDOUT_FILENO,
                                   pump->to_stdout.len ? POLLOUT : 0);
    pump->pfds[POLL_LISTENER] = want(pump->listen_fd, accepts ? POLLIN : 0);
    for (size_t i = 0; i < pump->n_clients; i++) {
        const NcClient *client = pump->clients[i];
        short events = (room && !client->recv_done ? POLLIN : 0) |
                       (client->to_client.len ? POLLOUT : 0);

        pump->pfds[POLL_CLIENTS + i] = want(client->fd, events);
        if (client->recv_done) {
            /* A hang-up is wanted here: it is the end of sending too. */
            pump->pfds[POLL_CLIENTS + i].fd = client->fd;
        }
    }
}

static int poll_timeout(const Pump *pump)
{
    int64_t now = nc_now_ms();
    int64_t timeout = -1;

    for (size_t i = 0; i < pump->n_clients; i++) {
        const NcClient *client = pump->clients[i];
        int64_t left = -1;

        if (pump->opts->timeout_ms >= 0) {
            left = client->active_ms + pump->opts->timeout_ms - now;
            left = left < 0 ? 0 : left;
        }
        if (client->recv_done && client->ask_gone &&
            (left < 0 || left > PROBE_MS)) {
            left = PROBE_MS;
        }
        if (left >= 0 && (timeout < 0 || left < timeout)) {
            timeout = left;
        }
    }
    return (int)timeout;
}

static void serve_client(Pump *pump, NcClient *client, short revents)
{
    if (client->recv_done && (revents & (POLLHUP | POLLERR))) {
        nc_client_stop_sending(client);
        return;
    }
    if (client->recv_done && client->ask_gone) {
        nc_client_probe(client);
    }
    if ((revents & (POLLOUT | POLLERR | POLLHUP)) &&
        client->to_client.len > 0) {
        nc_client_write(client);
    }
    if ((revents & (POLLIN | POLLERR | POLLHUP)) && !client->recv_done) {
        nc_client_read(client, &pump->to_stdout);
    }
}

static void run(Pump *pump)
{
    while (!pump->done) {
        size_t n = pump->n_clients;

        fill_poll_set(pump);
        if (poll(pump->pfds, POLL_CLIENTS + n, poll_timeout(pump)) < 0) {
            if (errno == EINTR) {
                continue;
            }
            local_failure(pump, "poll");
            break;
        }
        if (pump->pfds[POLL_STDIN].revents) {
            read_stdin(pump);
        }
        /* Each time another client is the first to fill stdout's queue. */
        for (size_t i = 0; i < n; i++) {
            size_t at = (pump->turn + i) % n;

            serve_client(pump, pump->clients[at],
                         pump->pfds[POLL_CLIENTS + at].revents);
        }
        pump->turn = n ? (pump->turn + 1) % n : 0;
        if (pump->pfds[POLL_STDOUT].revents) {
            write_stdout(pump);
        }
        if (pump->pfds[POLL_LISTENER].revents) {
            accept_client(pump);
        }
        if (!pump->done) {
            settle_clients(pump);
            settle_end(pump);
        }
    }
}

static NcExit pump_run(const NcOptions *opts, int listen_fd, int fd,
                       const char *peer)
{
    static Pump pump;

    pump = (Pump) {
        .opts = opts,
        .listen_fd = listen_fd,
        .stdout_chunk = find_stdout_chunk(),
    };
    signal(SIGPIPE, SIG_IGN);
    if (!nc_ring_init(&pump.to_stdout, NC_QUEUE_SIZE)) {
        nc_error("out of memory");
        return NC_EXIT_LOCAL;
    }
    if (fd >= 0 && !add_client(&pump, fd, peer)) {
        pump.code = NC_EXIT_LOCAL;
        pump.done = true;
    }
    run(&pump);
    while (pump.n_clients > 0) {
        nc_client_free(pump.clients[--pump.n_clients]);
    }
    nc_ring_fini(&pump.to_stdout);
    return pump.code;
}

NcExit nc_pump_one(const NcOptions *opts, int fd, const char *peer)
{
    return pump_run(opts, -1, fd, peer);
}

NcExit nc_pump_many(const NcOptions *opts, int listen_fd)
{
    return pump_run(opts, listen_fd, -1, NULL);
}
