/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What host programs stand on: sockets in memory, which are the scripted
 * streams of the unit tests.  Stands for host.c, listener.c, stream.c and
 * seqpacket.c of the library, and for epoll, so that an input makes no system
 * call.
 *
 * A socket's number is above all descriptors, so that close() knows it.  Events
 * are edges: something was done to the socket, or it was registered anew.
 */

#include "bytes.h"
#include "host.h"
#include "line.h"
#include "model.h"
#include "scripted-stream.h"
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define FIRST_NUMBER (1 << 20)
#define HOST_NUMBER (FIRST_NUMBER - 1)
#define EPOLL_NUMBER (FIRST_NUMBER - 2)

/* Bytes that a program can write before the device reads, and read at once;
 * messages. */
#define ROOM_FOR_DEVICE 200000
#define ROOM_FOR_PROGRAM 200000
#define SMALL_ROOM 2000
#define MESSAGES 250
#define FEW_MESSAGES 3

/* Both ends of a connection; the device's is the stream. */
typedef struct Socket {
    ScriptedStream *stream;
    VskType type;
    size_t max_input;    /* bytes */
    uint32_t guest_port; /* of a flow that the guest asked for */
    bool is_client;
    bool is_new;         /* a client without a line */
    bool ok_told;
    bool program_closed;
    VskLine line;
    int64_t deadline_ms; /* of @is_new; -1: not yet seen */
    /* epoll's: */
    bool watched, pending;
    unsigned int shape; /* as last reported */
    struct epoll_event event;
} Socket;

typedef struct MemoryListener {
    bool used;
    uint32_t port;
    VskType type;
    unsigned int backlog;
    GQueue waiting; /* of Socket */
} MemoryListener;

struct VskHost {
    uint32_t line_timeout_ms;
    unsigned int max_clients;
};

static GPtrArray *sockets; /* of Socket, by number */
static MemoryListener listeners[MODEL_PORTS];
static VskHost the_host;
static struct epoll_event host_event;
static bool host_pending;
static unsigned int failing_watches, failing_connects;

/* What the linker has library and tests call. */
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max,
                      int timeout);
int __wrap_close(int fd);

static Socket *socket_at(int fd)
{
    CHECK(fd >= FIRST_NUMBER && fd - FIRST_NUMBER < (int)sockets->len);
    return g_ptr_array_index(sockets, fd - FIRST_NUMBER);
}

static void socket_free(gpointer data)
{
    Socket *socket = data;

    scripted_stream_free(socket->stream);
    g_free(socket);
}

static Socket *socket_new(VskType type, unsigned int small)
{
    Socket *socket = g_new0(Socket, 1);
    bool messages = type == VSK_TYPE_SEQPACKET;

    socket->type = type;
    socket->stream = messages ? scripted_stream_new_seqpacket()
                              : scripted_stream_new();
    socket->stream->fd = FIRST_NUMBER + (int)sockets->len;
    socket->stream->room = messages ? MESSAGES : ROOM_FOR_PROGRAM;
    if (small & 2) {
        socket->stream->room = messages ? FEW_MESSAGES : SMALL_ROOM;
    }
    socket->max_input = small & 1 ? SMALL_ROOM : ROOM_FOR_DEVICE;
    socket->deadline_ms = -1;
    vsk_line_init(&socket->line);
    g_ptr_array_add(sockets, socket);
    return socket;
}

static void has_changed(Socket *socket)
{
    socket->pending = true;
    host_pending |= socket->is_new;
}

void transport_init(void)
{
    sockets = g_ptr_array_new_with_free_func(socket_free);
}

void transport_begin(VskDevConfig *config)
{
    config->uds_path = "3.vsock";
    config->shared_path = "2.vsock";
    failing_watches = failing_connects = 0;
}

void transport_end(void)
{
    for (int i = 0; i < MODEL_PORTS; i++) {
        CHECK(!listeners[i].used);
    }
    g_ptr_array_set_size(sockets, 0);
}

void transport_litter(unsigned int what)
{
    (void)what; /* there are no files */
}

bool transport_is_exclusive(void)
{
    return false;
}

void transport_send_urgent(int fd)
{
    socket_at(fd)->pending = true;
}

unsigned int transport_count(void)
{
    unsigned int n = 0;

    for (guint i = 0; i < sockets->len; i++) {
        const Socket *socket = g_ptr_array_index(sockets, i);

        n += !socket->stream->closed + !socket->program_closed;
    }
    return n;
}

/* --- Events ----------------------------------------------------------- */

enum {
    SHAPE_ENDED = 1 << 0,
    SHAPE_DEAF = 1 << 1,
    SHAPE_BOTH = SHAPE_ENDED | SHAPE_DEAF,
};

static unsigned int shape_of(const ScriptedStream *s)
{
    return (s->ended || s->shut_rd ? SHAPE_ENDED : 0) |
           (s->deaf || s->shut_wr ? SHAPE_DEAF : 0);
}

/* What epoll would tell of a socket now. */
static uint32_t events_of(const Socket *socket)
{
    const ScriptedStream *s = socket->stream;
    unsigned int shape = shape_of(s);
    uint32_t events = 0;

    if (!socket->watched || s->closed ||
        (!socket->pending && shape == socket->shape)) {
        return 0;
    }
    if (s->input->len || s->waiting.length || (shape & SHAPE_ENDED)) {
        events |= EPOLLIN;
    }
    if (shape & SHAPE_ENDED) {
        events |= EPOLLRDHUP;
    }
    if (s->room) {
        events |= EPOLLOUT;
    }
    events &= socket->event.events;
    return shape == SHAPE_BOTH ? events | EPOLLHUP : events;
}

bool transport_is_ready(const VskDev *dev)
{
    (void)dev;
    for (guint i = 0; i < sockets->len; i++) {
        if (events_of(g_ptr_array_index(sockets, i))) {
            return true;
        }
    }
    return host_pending;
}

int __wrap_epoll_create1(int flags)
{
    (void)flags;
    return EPOLL_NUMBER;
}

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    Socket *socket;

    CHECK(epoll_fd == EPOLL_NUMBER);
    if (fd == HOST_NUMBER) {
        host_event = *event;
        return 0;
    }
    socket = socket_at(fd);
    CHECK(!socket->stream->closed);
    CHECK(socket->watched == (op == EPOLL_CTL_MOD));
    if (failing_watches) {
        failing_watches--;
        errno = ENOSPC;
        return -1;
    }
    socket->watched = socket->pending = true;
    socket->event = *event;
    return 0;
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max,
                      int timeout)
{
    int n = 0;

    CHECK(epoll_fd == EPOLL_NUMBER && timeout == 0);
    if (host_pending) {
        events[n] = host_event;
        events[n++].events = EPOLLIN;
    }
    for (guint i = 0; i < sockets->len && n < max; i++) {
        Socket *socket = g_ptr_array_index(sockets, i);
        uint32_t told = events_of(socket);

        socket->pending = false;
        socket->shape = shape_of(socket->stream);
        if (told) {
            events[n] = socket->event;
            events[n++].events = told;
        }
    }
    return n;
}

int __wrap_close(int fd)
{
    if (fd >= FIRST_NUMBER) {
        socket_at(fd)->stream->base.ops->close(&socket_at(fd)->stream->base);
    }
    return 0;
}

/* --- host.h ----------------------------------------------------------- */

VskHost *vsk_host_new(const char *path, bool seqpacket,
                      const char *shared_path, uint32_t line_timeout_ms,
                      GError **errp)
{
    (void)path;
    (void)seqpacket;
    (void)shared_path;
    (void)errp;
    the_host.line_timeout_ms = line_timeout_ms;
    host_pending = false;
    return &the_host;
}

void vsk_host_set_max_clients(VskHost *host, unsigned int max)
{
    host->max_clients = MAX(max, 1);
}

static void drop_client(Socket *socket)
{
    socket->is_new = false;
    __wrap_close(socket->stream->fd);
}

void vsk_host_free(VskHost *host)
{
    (void)host;
    for (guint i = 0; i < sockets->len; i++) {
        Socket *socket = g_ptr_array_index(sockets, i);

        if (socket->is_new) {
            drop_client(socket);
        }
    }
}

int vsk_host_get_fd(const VskHost *host)
{
    (void)host;
    return HOST_NUMBER;
}

int64_t vsk_host_next_deadline(const VskHost *host)
{
    (void)host;
    for (guint i = 0; i < sockets->len; i++) {
        const Socket *socket = g_ptr_array_index(sockets, i);

        if (socket->is_new) {
            return socket->deadline_ms; /* the oldest */
        }
    }
    return -1;
}

/* Whether the line of a client is complete; *@ret_gone: it cannot be. */
static bool read_line(Socket *socket, bool *ret_gone)
{
    ScriptedStream *s = socket->stream;
    size_t room, n = 0;
    char *at = vsk_line_room(&socket->line, &room);
    bool whole = false;

    if (socket->type == VSK_TYPE_SEQPACKET) {
        GBytes *message = g_queue_pop_head(&s->waiting);

        n = message ? g_bytes_get_size(message) : 0;
        *ret_gone = message ? !n || n > room : s->ended;
        if (n && n <= room) {
            memcpy(at, g_bytes_get_data(message, NULL), n);
            vsk_line_add(&socket->line, n);
            whole = true;
        }
        g_clear_pointer(&message, g_bytes_unref);
        return whole;
    }
    n = MIN(room, s->input->len);
    if (n) {
        memcpy(at, s->input->data, n);
        n = vsk_line_part(&socket->line, n);
        g_byte_array_remove_range(s->input, 0, (guint)n);
        whole = vsk_line_add(&socket->line, n);
    }
    vsk_line_room(&socket->line, &room);
    *ret_gone = !room || s->ended;
    return whole;
}

static VskHostResult serve_client(Socket *socket, VskHostNews *ret_news)
{
    bool gone = false;
    bool whole = read_line(socket, &gone);

    if (whole && vsk_line_parse(&socket->line, &ret_news->port)) {
        socket->is_new = false;
        ret_news->fd = socket->stream->fd;
        ret_news->type = socket->type;
        return VSK_HOST_CLIENT;
    }
    if (whole || gone) {
        drop_client(socket);
        ret_news->why = VSK_REFUSED_HOST_LINE;
        return VSK_HOST_REFUSED;
    }
    return VSK_HOST_NOTHING;
}

VskHostResult vsk_host_next(VskHost *host, int64_t now_ms,
                            VskHostNews *ret_news)
{
    for (guint i = 0; i < sockets->len; i++) {
        Socket *socket = g_ptr_array_index(sockets, i);
        VskHostResult result;

        if (!socket->is_new) {
            continue;
        }
        if (socket->deadline_ms < 0) {
            socket->deadline_ms = now_ms + host->line_timeout_ms;
        } else if (socket->deadline_ms <= now_ms) {
            drop_client(socket);
            ret_news->why = VSK_REFUSED_HOST_TIMEOUT;
            return VSK_HOST_REFUSED;
        }
        result = serve_client(socket, ret_news);
        if (result != VSK_HOST_NOTHING) {
            return result;
        }
    }
    host_pending = false;
    return VSK_HOST_NOTHING;
}

int vsk_host_connect(const VskHost *host, uint64_t guest_cid,
                     uint32_t guest_port, uint32_t port, VskType type,
                     uint64_t unique, VskRefusal *ret_why)
{
    (void)host;
    (void)unique;
    CHECK(guest_cid == MODEL_CID);
    *ret_why = VSK_REFUSED_NO_LISTENER;
    if (failing_connects) {
        failing_connects--;
        *ret_why = VSK_REFUSED_LIMIT;
        return -1;
    }
    for (int i = 0; i < MODEL_PORTS; i++) {
        MemoryListener *listener = &listeners[i];
        Socket *socket;

        if (!listener->used || listener->port != port ||
            listener->type != type) {
            continue;
        }
        if (listener->waiting.length > listener->backlog) {
            *ret_why = VSK_REFUSED_BACKLOG;
            return -1;
        }
        socket = socket_new(type, 0);
        socket->guest_port = guest_port;
        g_queue_push_tail(&listener->waiting, socket);
        return socket->stream->fd;
    }
    return -1;
}

VskStream *vsk_stream_new_socket(int fd, bool say_ok)
{
    Socket *socket = socket_at(fd);

    CHECK(socket->type == VSK_TYPE_STREAM && socket->is_client == say_ok);
    return &socket->stream->base;
}

VskStream *vsk_stream_new_seqpacket(int fd, bool say_ok, uint32_t *window)
{
    Socket *socket = socket_at(fd);

    CHECK(socket->type == VSK_TYPE_SEQPACKET && *window);
    CHECK(socket->is_client == say_ok);
    return &socket->stream->base;
}

void vsk_stream_close(VskStream *stream)
{
    if (stream) {
        stream->ops->close(stream);
    }
}

/* --- Programs --------------------------------------------------------- */

int transport_connect(VskType type, unsigned int small)
{
    Socket *socket = socket_new(type, small);

    socket->is_client = socket->is_new = true;
    has_changed(socket);
    return socket->stream->fd;
}

int transport_listen(uint32_t port, bool shared, VskType type, int backlog)
{
    int index = model_port_index(port);

    (void)shared;
    CHECK(!listeners[index].used);
    listeners[index] = (MemoryListener) {
        .used = true,
        .port = port,
        .type = type,
        .backlog = (unsigned int)backlog,
    };
    return index;
}

void transport_unlisten(int index, uint32_t port, bool shared, bool remove)
{
    Socket *socket;

    (void)port;
    (void)shared;
    (void)remove;
    while ((socket = g_queue_pop_head(&listeners[index].waiting))) {
        transport_close(socket->stream->fd);
    }
    listeners[index].used = false;
}

int transport_accept(int index, unsigned int small, uint32_t *ret_guest_port)
{
    Socket *socket = g_queue_pop_head(&listeners[index].waiting);

    if (!socket) {
        return -EAGAIN;
    }
    if (small & 1) {
        socket->max_input = SMALL_ROOM;
    }
    *ret_guest_port = socket->guest_port;
    return socket->stream->fd;
}

ssize_t transport_send(int fd, const void *bytes, size_t len, bool odd)
{
    Socket *socket = socket_at(fd);
    ScriptedStream *s = socket->stream;

    (void)odd;
    if (s->closed || s->ended || s->shut_rd) {
        return -EPIPE;
    }
    if (socket->type == VSK_TYPE_SEQPACKET) {
        if (len > ROOM_FOR_DEVICE) {
            return -EMSGSIZE;
        }
        if (s->waiting.length >= MESSAGES) {
            return -EAGAIN;
        }
        scripted_stream_add_message(s, bytes, len);
    } else {
        len = MIN(len, socket->max_input - MIN(socket->max_input,
                                               s->input->len));
        if (!len) {
            return -EAGAIN;
        }
        scripted_stream_add_input(s, bytes, len);
    }
    has_changed(socket);
    return (ssize_t)len;
}

static ssize_t receive_message(Socket *socket, void *buf, size_t max,
                               bool *ret_any)
{
    g_autoptr(GBytes) message = g_queue_pop_head(&socket->stream->sent);
    size_t len;
    const void *bytes;

    if (!message) {
        return -EAGAIN;
    }
    bytes = g_bytes_get_data(message, &len);
    CHECK(len <= max);
    if (len) {
        memcpy(buf, bytes, len);
    }
    *ret_any = true;
    socket->stream->room++;
    has_changed(socket);
    return (ssize_t)len;
}

static ssize_t receive_bytes(Socket *socket, void *buf, size_t max)
{
    GByteArray *output = socket->stream->output;
    size_t len = MIN(max, output->len);

    if (!len) {
        return -EAGAIN;
    }
    memcpy(buf, output->data, len);
    g_byte_array_remove_range(output, 0, (guint)len);
    socket->stream->room += len;
    has_changed(socket);
    return (ssize_t)len;
}

ssize_t transport_receive(int fd, void *buf, size_t max, bool *ret_any)
{
    Socket *socket = socket_at(fd);
    ScriptedStream *s = socket->stream;
    ssize_t n;

    if (socket->is_client && !socket->ok_told && s->host_port) {
        char line[16];
        int len = snprintf(line, sizeof(line), "OK %u\n", s->host_port);

        if (max >= (size_t)len) {
            socket->ok_told = *ret_any = true;
            memcpy(buf, line, (size_t)len);
            return len;
        }
        return -EAGAIN;
    }
    n = socket->type == VSK_TYPE_SEQPACKET
        ? receive_message(socket, buf, max, ret_any)
        : receive_bytes(socket, buf, max);
    return n == -EAGAIN && (s->closed || s->shut_wr || s->deaf) ? 0 : n;
}

uint64_t transport_unread(int fd)
{
    const ScriptedStream *s = socket_at(fd)->stream;
    uint64_t n = s->output->len;

    for (const GList *link = s->sent.head; link; link = link->next) {
        n += g_bytes_get_size(link->data);
    }
    return n;
}

void transport_shutdown(int fd, int how)
{
    Socket *socket = socket_at(fd);

    socket->stream->ended |= how != SHUT_RD;
    socket->stream->deaf |= how != SHUT_WR;
    has_changed(socket);
}

void transport_close(int fd)
{
    transport_shutdown(fd, SHUT_RDWR);
    socket_at(fd)->program_closed = true;
}

/* --- Faults ----------------------------------------------------------- */

bool transport_break(unsigned int call, unsigned int nth, unsigned int times,
                     unsigned int how)
{
    static const ssize_t results[] = {
        1, -EAGAIN, -EPIPE, -ECONNRESET, -ENOMEM, -EIO,
    };
    ssize_t result = results[how % G_N_ELEMENTS(results)];
    unsigned int op = call % (SCRIPTED_OP_NUM + 2);

    if (op == SCRIPTED_OP_NUM) {
        failing_watches = times;
        return true;
    }
    if (op > SCRIPTED_OP_NUM) {
        failing_connects = times;
        return false;
    }
    for (guint i = 0; i < sockets->len; i++) {
        Socket *socket = g_ptr_array_index(sockets, i);
        ScriptedStream *s = socket->stream;
        bool partial = op <= SCRIPTED_WRITEV &&
                       socket->type == VSK_TYPE_STREAM;

        s->faults[op] = (ScriptedFault) {
            .nth = s->calls[op] + nth,
            .times = times,
            .result = result > 0 && !partial ? -EAGAIN : result,
        };
    }
    return op == SCRIPTED_ACCEPTED || (result < 0 && result != -EAGAIN);
}

/* Where a call failed for lack of room or bytes, epoll tells when there are. */
void transport_heal(void)
{
    failing_watches = failing_connects = 0;
    for (guint i = 0; i < sockets->len; i++) {
        Socket *socket = g_ptr_array_index(sockets, i);

        memset(socket->stream->faults, 0, sizeof(socket->stream->faults));
        has_changed(socket);
    }
}
