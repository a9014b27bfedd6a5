/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The host's side of the world: clients with their CONNECT line, and host
 * programs that listen for the guest.
 *
 * A line is peeked at before it is taken, so that what a client has written
 * behind it stays in the socket for the flow, and nothing has to be passed on.
 */

#include "host.h"
#include "vsock-limits.h"
#include "line.h"
#include "listener.h"
#include "vsock-path.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Stand for a listening socket where a client's handle would be: all bits but
 * the last ones, which are its VskType.
 */
#define LISTENER_HANDLE (UINT64_MAX - 0xff)

/* A client that has not yet written its line. */
typedef struct Client {
    int fd; /* -1: slot is free */
    bool watched; /* by epoll */
    VskType type; /* of the socket */
    uint32_t generation;
    GList link; /* of VskHost.by_age */
    int64_t deadline_ms;
    VskLine line;
} Client;

struct VskHost {
    VskListener *listener;
    char *path;
    char *shared_path;
    uint32_t line_timeout_ms;
    int epoll_fd;
    bool may_accept[VSK_TYPE_SEQPACKET + 1]; /* there may be connections */
    VskType turn;           /* the listening socket that was accepted from */
    int64_t retry_at_ms;    /* when to try again after a failure; -1: no */
    struct epoll_event events[VSK_POLL_EVENTS];
    unsigned int n_events;  /* in @events, not yet looked at */
    GQueue by_age;          /* of Client, oldest first */
    unsigned int max_clients;
    Client clients[VSK_MAX_HOST_CLIENTS];
};

/* Have epoll tell of connections; nothing to do if @type is not served. */
static bool watch_listener(VskHost *host, VskType type)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLET,
        .data.u64 = LISTENER_HANDLE | type,
    };
    int fd = vsk_listener_get_fd(host->listener, type);

    /* #syscalls epoll_ctl */
    return fd < 0 || epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

VskHost *vsk_host_new(const char *path, bool seqpacket,
                      const char *shared_path, uint32_t line_timeout_ms,
                      GError **errp)
{
    VskHost *host;
    VskListener *listener = vsk_listener_new(path, seqpacket, errp);

    if (!listener) {
        return NULL;
    }
    host = g_new0(VskHost, 1);
    host->listener = listener;
    host->path = g_strdup(path);
    host->shared_path = g_strdup(shared_path);
    host->line_timeout_ms = line_timeout_ms;
    host->retry_at_ms = -1;
    host->max_clients = VSK_MAX_HOST_CLIENTS;
    g_queue_init(&host->by_age);
    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        host->clients[i].fd = -1;
        host->clients[i].link.data = &host->clients[i];
    }
    host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (host->epoll_fd < 0 || !watch_listener(host, VSK_TYPE_STREAM) ||
        !watch_listener(host, VSK_TYPE_SEQPACKET)) {
        g_set_error(errp, VSK_ERROR, VSK_ERROR_SYSTEM,
                    "cannot watch '%s': %s", path, g_strerror(errno));
        vsk_host_free(host);
        return NULL;
    }
    return host;
}

void vsk_host_set_max_clients(VskHost *host, unsigned int max)
{
    host->max_clients = CLAMP(max, 1, VSK_MAX_HOST_CLIENTS);
}

/* Free the slot of @client; returns its socket. */
static int release_client(VskHost *host, Client *client)
{
    int fd = client->fd;

    g_queue_unlink(&host->by_age, &client->link);
    client->fd = -1;
    client->generation++;
    return fd;
}

static void drop_client(VskHost *host, Client *client)
{
    /* #syscalls close */
    close(release_client(host, client));
}

void vsk_host_free(VskHost *host)
{
    if (!host) {
        return;
    }
    while (!g_queue_is_empty(&host->by_age)) {
        drop_client(host, g_queue_peek_head(&host->by_age));
    }
    vsk_listener_free(host->listener);
    if (host->epoll_fd >= 0) {
        close(host->epoll_fd);
    }
    g_free(host->path);
    g_free(host->shared_path);
    g_free(host);
}

int vsk_host_get_fd(const VskHost *host)
{
    return host->epoll_fd;
}

int64_t vsk_host_next_deadline(const VskHost *host)
{
    const Client *oldest = g_queue_peek_head((GQueue *)&host->by_age);
    int64_t at = oldest ? oldest->deadline_ms : -1;

    if (host->retry_at_ms >= 0 && (at < 0 || host->retry_at_ms < at)) {
        at = host->retry_at_ms;
    }
    return at;
}

/* --- Lines --------------------------------------------------------------- */

/*
 * Take what is there of the line, and nothing behind it.
 *
 * Returns: 1 if the line is complete; 0 if there is more to come; a negative
 * errno if there is not, -EPROTO if it is too long.
 */
static int read_line(Client *client)
{
    for (;;) {
        size_t room;
        char *at = vsk_line_room(&client->line, &room);
        ssize_t n;

        if (!room) {
            return -EPROTO;
        }
        /* #syscalls recvfrom */
        n = recv(client->fd, at, room, MSG_PEEK);
        if (n > 0) {
            n = recv(client->fd, at, vsk_line_part(&client->line, (size_t)n),
                     0);
        }
        if (n == 0) {
            return -ECONNRESET;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == EAGAIN ? 0 : -errno;
        }
        if (vsk_line_add(&client->line, (size_t)n)) {
            return 1;
        }
    }
}

/*
 * A message is the whole line; its newline may be left out.  Returns as
 * read_line().
 */
static int read_line_message(Client *client)
{
    size_t room;
    char *at = vsk_line_room(&client->line, &room);
    ssize_t n;

    do {
        n = recv(client->fd, at, room, MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    if (n == 0) {
        return -ECONNRESET; /* or it sent an empty message, and so left */
    }
    if ((size_t)n > room) {
        return -EPROTO;
    }
    vsk_line_add(&client->line, (size_t)n);
    return 1;
}

/* See how far the line of @client has come. */
static VskHostResult serve_client(VskHost *host, Client *client,
                                  VskHostNews *ret_news)
{
    uint32_t port;
    int result = client->type == VSK_TYPE_SEQPACKET
                 ? read_line_message(client) : read_line(client);

    if (result == 0) {
        return VSK_HOST_NOTHING;
    }
    if (result == 1 && vsk_line_parse(&client->line, &port)) {
        ret_news->fd = release_client(host, client);
        ret_news->port = port;
        ret_news->type = client->type;
        if (client->watched) {
            epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, ret_news->fd, NULL);
        }
        return VSK_HOST_CLIENT;
    }
    drop_client(host, client);
    if (result < 0 && result != -EPROTO && client->line.len == 0) {
        return VSK_HOST_NOTHING; /* came and went: nothing was asked */
    }
    ret_news->why = VSK_REFUSED_HOST_LINE;
    return VSK_HOST_REFUSED;
}

/* --- Clients ------------------------------------------------------------- */

static Client *free_client(VskHost *host)
{
    for (unsigned int i = 0; i < VSK_MAX_HOST_CLIENTS; i++) {
        if (host->clients[i].fd < 0) {
            return &host->clients[i];
        }
    }
    return NULL;
}

/* Have epoll tell when @client writes more. */
static void watch_client(VskHost *host, Client *client)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)client->generation << 32 |
                    (uint64_t)(client - host->clients),
    };

    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0) {
        drop_client(host, client);
        return;
    }
    client->watched = true;
}

static VskHostResult drop_oldest(VskHost *host, VskRefusal why,
                                 VskHostNews *ret_news)
{
    drop_client(host, g_queue_peek_head(&host->by_age));
    ret_news->why = why;
    return VSK_HOST_REFUSED;
}

/* Whether there may be connections; sets @turn, which goes round. */
static bool next_turn(VskHost *host)
{
    for (int i = 0; i < 2; i++) {
        host->turn = host->turn == VSK_TYPE_STREAM ? VSK_TYPE_SEQPACKET
                                                   : VSK_TYPE_STREAM;
        if (host->may_accept[host->turn]) {
            return true;
        }
    }
    return false;
}

/*
 * Accept one client, which has often written its line already.  If there are
 * too many without, the oldest has to go.
 */
static VskHostResult accept_client(VskHost *host, VskType type,
                                   int64_t now_ms, VskHostNews *ret_news)
{
    VskHostResult result = VSK_HOST_NOTHING;
    int fd = vsk_listener_accept(host->listener, type);
    Client *client;

    if (fd == -EXDEV) {
        ret_news->why = VSK_REFUSED_HOST_GUEST;
        return VSK_HOST_REFUSED;
    }
    if (fd < 0) {
        host->may_accept[type] = false;
        if (fd != -EAGAIN) {
            /* No descriptors or memory: no event would tell when there are. */
            host->retry_at_ms = now_ms + VSK_ACCEPT_RETRY_MS;
        }
        return VSK_HOST_NOTHING;
    }
    if (host->by_age.length >= host->max_clients) {
        result = drop_oldest(host, VSK_REFUSED_HOST_LIMIT, ret_news);
    }
    client = free_client(host);
    client->fd = fd;
    client->watched = false;
    client->type = type;
    vsk_line_init(&client->line);
    client->deadline_ms = now_ms + host->line_timeout_ms;
    g_queue_push_tail_link(&host->by_age, &client->link);
    if (result == VSK_HOST_NOTHING) {
        result = serve_client(host, client, ret_news);
    }
    if (client->fd >= 0) {
        watch_client(host, client); /* tells of what is there already, too */
    }
    /* One turn ends here: there may be no end of such clients. */
    return result == VSK_HOST_NOTHING ? VSK_HOST_SILENT : result;
}

/* The client that @handle was given to, or NULL if it has gone. */
static Client *client_at(VskHost *host, uint64_t handle)
{
    Client *client = &host->clients[(uint32_t)handle % VSK_MAX_HOST_CLIENTS];

    return client->fd >= 0 && client->generation == handle >> 32 ? client
                                                                  : NULL;
}

static VskHostResult next_event(VskHost *host, VskHostNews *ret_news)
{
    uint64_t handle = host->events[--host->n_events].data.u64;
    Client *client;

    if (handle >= LISTENER_HANDLE) {
        host->may_accept[handle - LISTENER_HANDLE] = true;
        return VSK_HOST_NOTHING;
    }
    client = client_at(host, handle);
    return client ? serve_client(host, client, ret_news) : VSK_HOST_NOTHING;
}

VskHostResult vsk_host_next(VskHost *host, int64_t now_ms,
                            VskHostNews *ret_news)
{
    const Client *oldest = g_queue_peek_head(&host->by_age);

    if (oldest && oldest->deadline_ms <= now_ms) {
        return drop_oldest(host, VSK_REFUSED_HOST_TIMEOUT, ret_news);
    }
    if (host->retry_at_ms >= 0 && host->retry_at_ms <= now_ms) {
        host->retry_at_ms = -1;
        host->may_accept[VSK_TYPE_STREAM] = true;
        host->may_accept[VSK_TYPE_SEQPACKET] =
            vsk_listener_get_fd(host->listener, VSK_TYPE_SEQPACKET) >= 0;
    }
    for (;;) {
        VskHostResult result = VSK_HOST_NOTHING;
        int n;

        if (host->n_events) {
            result = next_event(host, ret_news);
        } else if (next_turn(host)) {
            result = accept_client(host, host->turn, now_ms, ret_news);
        } else {
            /* #syscalls epoll_wait epoll_pwait */
            n = epoll_wait(host->epoll_fd, host->events, VSK_POLL_EVENTS, 0);
            if (n <= 0) {
                return VSK_HOST_NOTHING;
            }
            host->n_events = (unsigned int)n;
        }
        if (result != VSK_HOST_NOTHING) {
            return result;
        }
    }
}

/* --- Host programs that listen ------------------------------------------- */

/* Connect @fd to "<base>_<port>"; 0 or a negative errno. */
static int connect_to(int fd, const char *base, uint32_t port)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int err = vsk_path_for_port(base, port, addr.sun_path);

    if (err) {
        return err;
    }
    do {
        /* #syscalls connect */
        err = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno
                                                                      : 0;
    } while (err == -EINTR);
    return err;
}

/*
 * All users that a user namespace has no number for are this one, in Linux's
 * default: kernel.overflowuid.
 */
#define NO_USER 65534u

/*
 * Whether @name, as a program bound its socket to it, is @base with @port
 * behind it, and no other socket that somebody made a link to or renamed.
 */
static bool is_bound_there(const char *name, const char *base, uint32_t port,
                           const struct stat *dir)
{
    char path[VSK_SUN_PATH_SIZE];
    g_autofree char *there = g_path_get_dirname(name);
    g_autofree char *found = g_path_get_basename(name);
    g_autofree char *wanted = NULL;
    struct stat st;

    if (vsk_path_for_port(base, port, path) < 0) {
        return false;
    }
    wanted = g_path_get_basename(path);
    /* A relative one is of a directory that only that program knows. */
    return strcmp(found, wanted) == 0 &&
           (!g_path_is_absolute(name) ||
            (stat(there, &st) == 0 && st.st_dev == dir->st_dev &&
             st.st_ino == dir->st_ino));
}

/*
 * Whether the guest may reach the program at the other end of @fd, found at
 * @port of @base.  Who may make files there is the choice of whoever made the
 * directory, but where everybody may, as in /tmp, it has to be a program of
 * the user who runs us, of root, or of the directory's owner, and one that
 * listens right there.  If not, *@ret_why is why.
 */
static bool is_trusted(int fd, const char *base, uint32_t port,
                       VskRefusal *ret_why)
{
    g_autofree char *dir = g_path_get_dirname(base);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    socklen_t addr_len = sizeof(addr) - 1; /* a NUL stays */
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct stat st;

    /* #syscalls stat newfstatat getsockopt getpeername geteuid geteuid32 */
    if (stat(dir, &st) < 0) {
        *ret_why = VSK_REFUSED_NO_LISTENER; /* as if it had gone before */
        return false;
    }
    if (!(st.st_mode & S_IWOTH) ||
        (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
         (peer.uid == geteuid() || peer.uid == 0 ||
          (peer.uid == st.st_uid && peer.uid != NO_USER)) &&
         getpeername(fd, (struct sockaddr *)&addr, &addr_len) == 0 &&
         is_bound_there(addr.sun_path, base, port, &st))) {
        return true;
    }
    *ret_why = VSK_REFUSED_UNSAFE_LISTENER;
    return false;
}

/* Name @fd, so that the host program knows who calls. */
static void bind_source(int fd, uint64_t guest_cid, uint32_t guest_port,
                        uint64_t unique)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char name[VSK_SUN_PATH_SIZE];

    if (vsk_path_format_source(guest_cid, guest_port, unique, name) == 0) {
        size_t len = strlen(name);

        memcpy(addr.sun_path + 1, name, len); /* abstract: NUL in front */
        /* Without a name the flow works all the same. */
        /* #syscalls bind */
        (void)bind(fd, (struct sockaddr *)&addr,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                               len));
    }
}

static VskRefusal refusal_of(int err)
{
    switch (err) {
    case -EAGAIN:
        return VSK_REFUSED_BACKLOG; /* AF_UNIX: never "in progress" */
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOBUFS:
        return VSK_REFUSED_LIMIT;
    default:
        return VSK_REFUSED_NO_LISTENER;
    }
}

int vsk_host_connect(const VskHost *host, uint64_t guest_cid,
                     uint32_t guest_port, uint32_t port, VskType type,
                     uint64_t unique, VskRefusal *ret_why)
{
    int sock_type = type == VSK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
    int fd = socket(AF_UNIX, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const char *base = host->path;
    int err;

    /* #syscalls socket close */
    if (fd < 0) {
        *ret_why = refusal_of(-errno);
        return -1;
    }
    vsk_refuse_descriptors(fd);
    bind_source(fd, guest_cid, guest_port, unique);
    err = connect_to(fd, base, port);
    if ((err == -ENOENT || err == -ECONNREFUSED || err == -EPROTOTYPE) &&
        host->shared_path) {
        base = host->shared_path;
        err = connect_to(fd, base, port);
    }
    if (err) {
        *ret_why = refusal_of(err);
    } else if (is_trusted(fd, base, port, ret_why)) {
        return fd;
    }
    close(fd);
    return -1;
}
