/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The host's side: the sockets a host program would use.
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include "vhost-vsock-host.h"
#include "vhost-vsock-script.h"
#include "vhost-vsock-transfer.h"

/* The longest answer: "OK 65535\n" (systemd's ssh proxy reads no more). */
#define ANSWER_MAX 9 /* bytes */
#define ANY_ANSWER_MAX 14 /* bytes: "OK 4294967295\n" */

struct VvtHost {
    const VvtConfig *config;
    uint64_t guest_cid;
    char *uds_path;
    GHashTable *socks; /* id → VvtSock */
};

static void sock_free(gpointer data)
{
    VvtSock *sock = data;

    /* A thread that still sends needs both until the process ends. */
    if (!sock->out || !vvt_transfer_is_running(sock->out)) {
        vvt_transfer_free(sock->out);
        close(sock->fd);
    }
    vvt_transfer_free(sock->in);
    g_string_free(sock->line, true);
    g_free(sock->background_error);
    g_free(sock);
}

VvtHost *vvt_host_new(const VvtConfig *config, uint64_t guest_cid,
                      const char *dir)
{
    VvtHost *host = g_new0(VvtHost, 1);

    host->config = config;
    host->guest_cid = guest_cid;
    host->uds_path = g_build_filename(dir, VVT_UDS_PATH, NULL);
    host->socks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                        sock_free);
    return host;
}

void vvt_host_free(VvtHost *host)
{
    g_hash_table_destroy(host->socks);
    g_free(host->uds_path);
    g_free(host);
}

VvtSock *vvt_host_find(VvtHost *host, const char *id)
{
    return g_hash_table_lookup(host->socks, id);
}

void vvt_host_close(VvtHost *host, const char *id)
{
    g_hash_table_remove(host->socks, id);
}

static gboolean is_raw(gpointer id, gpointer sock, gpointer opaque)
{
    return ((VvtSock *)sock)->raw;
}

void vvt_host_close_raw(VvtHost *host)
{
    g_hash_table_foreach_remove(host->socks, is_raw, NULL);
}

static bool is_vsock(const VvtHost *host)
{
    return host->config->backend == VVT_BACKEND_KERNEL;
}

/*
 * An empty message and the end of file are both 0 bytes; on AF_UNIX only the
 * message brings the sender's credentials.
 */
static bool needs_passcred(const VvtHost *host, int type)
{
    return !is_vsock(host) && type == SOCK_SEQPACKET;
}

static VvtSock *add_sock(VvtHost *host, const char *id, int fd, int type)
{
    VvtSock *sock = g_new0(VvtSock, 1);

    sock->fd = fd;
    sock->type = type;
    sock->passcred = needs_passcred(host, type);
    sock->any_ok = host->config->waive & VVT_WAIVE_OK_PORT;
    sock->line = g_string_new(NULL);
    g_hash_table_insert(host->socks, g_strdup(id), sock);
    return sock;
}

static int new_fd(const VvtHost *host, int type)
{
    int fd = socket(is_vsock(host) ? AF_VSOCK : AF_UNIX,
                    type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0) {
        return -errno;
    }
    /* What a listener has, its sockets inherit. */
    if (needs_passcred(host, type) &&
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return fd;
}

static int set_unix_path(struct sockaddr_un *addr, const char *path)
{
    memset(addr, 0, sizeof(*addr));
    addr->sun_family = AF_UNIX;
    return g_strlcpy(addr->sun_path, path, sizeof(addr->sun_path)) >=
           sizeof(addr->sun_path) ? -ENAMETOOLONG : 0;
}

static int connect_vsock(int fd, uint64_t cid, uint32_t port)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = cid,
        .svm_port = port,
    };

    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 &&
        errno != EINPROGRESS) {
        return -errno;
    }
    return 0;
}

static int connect_unix(const VvtHost *host, int fd, uint32_t port, int type,
                        bool raw)
{
    g_autofree char *path =
        g_strdup_printf("%s%s", host->uds_path,
                        type == SOCK_SEQPACKET ? "_seqpacket" : "");
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", port);
    struct sockaddr_un addr;
    int ret = set_unix_path(&addr, path);

    if (ret == 0 &&
        connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        ret = -errno;
    }
    if (ret == 0 && !raw &&
        send(fd, line, strlen(line), MSG_NOSIGNAL) != strlen(line)) {
        ret = -errno;
    }
    return ret;
}

/* The port the kernel gave a socket of AF_VSOCK. */
static void learn_vsock_port(VvtSock *sock)
{
    struct sockaddr_vm addr;
    socklen_t len = sizeof(addr);

    if (getsockname(sock->fd, (struct sockaddr *)&addr, &len) == 0) {
        sock->port = addr.svm_port;
        sock->port_known = true;
    }
}

int vvt_host_connect(VvtHost *host, const char *id, uint64_t cid,
                     uint32_t port, int type, bool raw)
{
    int fd = new_fd(host, type);
    VvtSock *sock;
    int ret;

    if (fd < 0) {
        return fd;
    }
    if (cid == VVT_CID_GUEST) {
        cid = host->guest_cid;
    }
    ret = is_vsock(host) ? connect_vsock(fd, cid, port) :
                           connect_unix(host, fd, port, type, raw);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    sock = add_sock(host, id, fd, type);
    sock->raw = raw;
    if (is_vsock(host)) {
        learn_vsock_port(sock);
    } else {
        sock->answer = VVT_ANSWER_AWAITED;
    }
    return 0;
}

static int bind_vsock(int fd, uint32_t port)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = VMADDR_CID_HOST,
        .svm_port = port,
    };

    return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

static int bind_unix(const VvtHost *host, int fd, uint32_t port)
{
    g_autofree char *path = g_strdup_printf("%s_%u", host->uds_path, port);
    struct sockaddr_un addr;
    int ret = set_unix_path(&addr, path);

    if (ret < 0) {
        return ret;
    }
    /* A socket that was closed leaves its name. */
    unlink(path);
    return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

int vvt_host_listen(VvtHost *host, const char *id, uint32_t port,
                    int backlog, int type)
{
    int fd = new_fd(host, type);
    VvtSock *sock;
    int ret;

    if (fd < 0) {
        return fd;
    }
    ret = is_vsock(host) ? bind_vsock(fd, port) : bind_unix(host, fd, port);
    if (ret == 0 && listen(fd, backlog) < 0) {
        ret = -errno;
    }
    if (ret < 0) {
        close(fd);
        return ret;
    }
    sock = add_sock(host, id, fd, type);
    sock->port = port;
    sock->port_known = true;
    return 0;
}

/*
 * The emulator binds its socket to the abstract name
 * "vsock:<cid>:<port>:<unique>", so that a program knows who connected.
 */
static int parse_source(const struct sockaddr_un *addr, socklen_t len,
                        uint64_t *ret_cid, uint32_t *ret_port)
{
    size_t skip = offsetof(struct sockaddr_un, sun_path) + 1;
    g_autofree char *name = NULL;
    g_auto(GStrv) words = NULL;
    guint64 port;

    if (len <= skip || addr->sun_path[0] != 0) {
        return -EINVAL;
    }
    name = g_strndup(addr->sun_path + 1, len - skip);
    words = g_strsplit(name, ":", -1);
    if (g_strv_length(words) != 4 || strcmp(words[0], "vsock") != 0 ||
        !g_ascii_string_to_unsigned(words[1], 10, 0, UINT64_MAX, ret_cid,
                                    NULL) ||
        !g_ascii_string_to_unsigned(words[2], 10, 0, UINT32_MAX, &port,
                                    NULL)) {
        return -EINVAL;
    }
    *ret_port = port;
    return 0;
}

int vvt_host_accept(VvtHost *host, const char *id, const VvtSock *listener,
                    uint64_t *ret_peer_cid, uint32_t *ret_peer_port)
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } addr;
    socklen_t len = sizeof(addr);
    int fd = accept4(listener->fd, &addr.any, &len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    add_sock(host, id, fd, listener->type);
    if (is_vsock(host)) {
        *ret_peer_cid = addr.vm.svm_cid;
        *ret_peer_port = addr.vm.svm_port;
        return 0;
    }
    if ((host->config->waive & VVT_WAIVE_NAMES) &&
        len <= offsetof(struct sockaddr_un, sun_path)) {
        *ret_peer_cid = VVT_CID_GUEST;
        return 0;
    }
    return parse_source(&addr.un, len, ret_peer_cid, ret_peer_port);
}

int vvt_sock_setsockopt(VvtSock *sock, VvtSockopt option, int value)
{
    struct linger linger = { .l_onoff = 1, .l_linger = value };
    struct timeval tv = { value / 1000, value % 1000 * 1000 };
    uint64_t size = value;
    int ret = -1;

    switch (option) {
    case VVT_SOCKOPT_RCVBUF:
        ret = setsockopt(sock->fd, SOL_SOCKET, SO_RCVBUF, &value,
                         sizeof(value));
        break;
    case VVT_SOCKOPT_SNDBUF:
        ret = setsockopt(sock->fd, SOL_SOCKET, SO_SNDBUF, &value,
                         sizeof(value));
        break;
    case VVT_SOCKOPT_LINGER:
        ret = setsockopt(sock->fd, SOL_SOCKET, SO_LINGER, &linger,
                         sizeof(linger));
        break;
    case VVT_SOCKOPT_VM_BUFFER_SIZE:
        ret = setsockopt(sock->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE,
                         &size, sizeof(size));
        break;
    case VVT_SOCKOPT_VM_CONNECT_TIMEOUT:
        ret = setsockopt(sock->fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT,
                         &tv, sizeof(tv));
        break;
    }
    return ret < 0 ? -errno : 0;
}

static size_t answer_max(const VvtSock *sock)
{
    return sock->any_ok ? ANY_ANSWER_MAX : ANSWER_MAX;
}

/* Take the answer apart, now that its end is there. */
static VvtAnswer parse_answer(VvtSock *sock)
{
    g_autofree char *number = NULL;
    guint64 port;

    if (!g_str_has_prefix(sock->line->str, "OK ") ||
        sock->line->len > answer_max(sock)) {
        return VVT_ANSWER_WRONG;
    }
    number = g_strndup(sock->line->str + 3, sock->line->len - 4);
    if (!g_ascii_string_to_unsigned(number, 10, 0, UINT32_MAX, &port, NULL) ||
        (sock->port_known && sock->port != port && !sock->any_ok)) {
        return VVT_ANSWER_WRONG;
    }
    if (sock->any_ok) {
        return VVT_ANSWER_NONE_NEEDED;
    }
    sock->port = port;
    sock->port_known = true;
    return VVT_ANSWER_NONE_NEEDED;
}

/* One message; @ANSWER_MAX and a byte more show what is too long. */
static void read_answer_message(VvtSock *sock)
{
    char buf[ANSWER_MAX + 1];
    int flags;
    ssize_t n = vvt_sock_recv(sock, buf, sizeof(buf), &flags);

    if (n == -EAGAIN) {
        return;
    }
    if (n < 0) {
        sock->answer = VVT_ANSWER_REFUSED;
        return;
    }
    g_string_append_len(sock->line, buf, n);
    sock->answer = n > 0 && buf[n - 1] == '\n' ? parse_answer(sock) :
                                                 VVT_ANSWER_WRONG;
}

VvtAnswer vvt_sock_read_answer(VvtSock *sock)
{
    if (sock->answer == VVT_ANSWER_AWAITED && sock->type == SOCK_SEQPACKET) {
        read_answer_message(sock);
    }
    while (sock->answer == VVT_ANSWER_AWAITED && sock->type == SOCK_STREAM) {
        char c;
        /* Byte by byte: what follows the line belongs to the stream. */
        ssize_t n = recv(sock->fd, &c, 1, 0);

        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n <= 0) {
            sock->answer = VVT_ANSWER_REFUSED;
            break;
        }
        g_string_append_c(sock->line, c);
        if (c == '\n') {
            sock->answer = parse_answer(sock);
        } else if (sock->line->len > answer_max(sock)) {
            sock->answer = VVT_ANSWER_WRONG;
        }
    }
    return sock->answer;
}

void vvt_sock_send(VvtSock *sock, VvtTransfer *transfer)
{
    sock->out = transfer;
    if (transfer->messages && !sock->passcred) {
        vvt_transfer_start(transfer, sock);
    }
}

static void pump_out(VvtSock *sock)
{
    sock->out_code = vvt_transfer_send(sock->out, sock);
    if (sock->out_code == EAGAIN) {
        return;
    }
    if (sock->out_code && !sock->background_error) {
        sock->background_error = g_strdup_printf("send: %s",
                                                 strerror(sock->out_code));
    }
    g_clear_pointer(&sock->out, vvt_transfer_free);
}

static void pump_in(VvtSock *sock)
{
    g_autoptr(GString) wrong = g_string_new(NULL);
    uint32_t code = vvt_transfer_recv(sock->in, sock, wrong);

    if (code == EAGAIN) {
        return;
    }
    if (wrong->len > 0) {
        sock->background_error = g_strdup(wrong->str);
    } else if (code) {
        sock->background_error =
            g_strdup_printf("recv: %s after %zu bytes",
                            code == VVT_EXPECT_EOF ? "end of file" :
                            strerror(code), sock->in->total);
    }
    g_clear_pointer(&sock->in, vvt_transfer_free);
}

void vvt_host_pump(VvtHost *host)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, host->socks);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvtSock *sock = value;

        if (sock->out) {
            pump_out(sock);
        }
        if (sock->in && vvt_sock_read_answer(sock) == VVT_ANSWER_NONE_NEEDED) {
            pump_in(sock);
        }
    }
}
