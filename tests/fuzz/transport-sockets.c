/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What host programs stand on: the kernel's sockets.
 */

#include "bytes.h"
#include "fault.h"
#include "model.h"
#include "temp-dir.h"
#include "transport.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static TempDir *dir;
static char *path, *shared_path;
static char *littered; /* the file that transport_litter() made */
static int stray = -1; /* and its socket */
static bool was_broken; /* so that removing may have failed, too */

/* --- What lies about ----------------------------------------------------- */

/* Something at @name. */
static void put_there(const char *name, unsigned int what)
{
    int fd;

    switch (what) {
    case 0: /* a socket that nobody listens on any more */
    case 1: /* a host program's */
        stray = unix_bind(name, what ? 1 : -1);
        break;
    case 2:
        CHECK(mkdir(name, 0700) == 0);
        break;
    case 3:
        CHECK(symlink("nowhere", name) == 0);
        break;
    case 4:
        CHECK(mkfifo(name, 0600) == 0);
        break;
    default:
        fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        close(fd);
    }
    if (what == 0) {
        close(stray);
        stray = -1;
    }
}

void transport_litter(unsigned int what)
{
    static const char *const ends[] = {
        "", ".lock", "_seqpacket", "_seqpacket.lock",
    };

    littered = g_strconcat(path, ends[what % G_N_ELEMENTS(ends)], NULL);
    put_there(littered, (what / G_N_ELEMENTS(ends)) % 6);
}

static void clean(void)
{
    if (stray >= 0) {
        close(stray);
        stray = -1;
    }
    if (littered) {
        remove(littered);
        g_clear_pointer(&littered, g_free);
    }
}

/* --- Before and after -------------------------------------------------- */

static void remove_dir(void)
{
    temp_dir_free(dir);
    g_free(path);
    g_free(shared_path);
}

void transport_init(void)
{
    dir = temp_dir_new();
    path = temp_dir_file(dir, "3.vsock");
    shared_path = temp_dir_file(dir, "2.vsock");
    atexit(remove_dir);
}

void transport_begin(VskDevConfig *config)
{
    config->uds_path = path;
    config->shared_path = shared_path;
    /* Abstract names must not be those of another process. */
    config->seed += (uint64_t)getpid() << 32;
    fault_reset();
}

static void path_of(uint32_t port, bool shared, char *ret_path)
{
    CHECK(vsk_path_for_port(shared ? shared_path : path, port,
                            ret_path) == 0);
}

/* Remove all that lies about; nothing of a device should. */
static void clean_dir(void)
{
    g_autofree char *left = temp_dir_list(dir);
    g_auto(GStrv) names = g_strsplit(left, " ", -1);

    for (char **name = names; *name; name++) {
        g_autofree char *file = temp_dir_file(dir, *name);

        CHECK(g_str_has_prefix(*name, "3.vsock_") || was_broken ||
              g_str_has_prefix(*name, "2.vsock_") || !**name);
        if (**name) {
            remove(file);
        }
    }
    was_broken = false;
}

void transport_end(void)
{
    fault_reset();
    clean();
    clean_dir();
}

bool transport_is_exclusive(void)
{
    return true;
}

bool transport_is_ready(const VskDev *dev)
{
    struct pollfd pfd = { .fd = vsk_dev_get_fd(dev), .events = POLLIN };

    return poll(&pfd, 1, 0) > 0;
}

unsigned int transport_count(void)
{
    return open_fds();
}

/* --- Sockets ---------------------------------------------------------- */

/* Ask for credentials, which tell an empty message from an end of file. */
static void prepare(int fd, unsigned int small)
{
    const int on = 1, send_size = 4608, receive_size = 2304;

    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
    if (small & 1) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_size, sizeof(send_size));
    }
    if (small & 2) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_size,
                   sizeof(receive_size));
    }
}

static int new_socket(VskType type, const char *name,
                      struct sockaddr_un *ret_addr)
{
    *ret_addr = (struct sockaddr_un) { .sun_family = AF_UNIX };
    g_strlcpy(ret_addr->sun_path, name, sizeof(ret_addr->sun_path));
    return socket(AF_UNIX, SOCK_NONBLOCK | SOCK_CLOEXEC |
                  (type == VSK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM),
                  0);
}

/* Have the name that the sockets of a guest's flows have. */
static void pose_as_guest(int fd)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char name[VSK_SUN_PATH_SIZE];

    CHECK(vsk_path_format_source(99, 1, (uint64_t)getpid(), name) == 0);
    memcpy(addr.sun_path + 1, name, strlen(name));
    (void)bind(fd, (struct sockaddr *)&addr,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           strlen(name)));
}

int transport_connect(VskType type, unsigned int small)
{
    char name[VSK_SUN_PATH_SIZE];
    struct sockaddr_un addr;
    int fd;

    g_strlcpy(name, path, sizeof(name));
    if (type == VSK_TYPE_SEQPACKET) {
        CHECK(vsk_path_for_seqpacket(path, name) == 0);
    }
    fd = new_socket(type, name, &addr);
    if (small & 4) {
        pose_as_guest(fd);
    }
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return -EAGAIN; /* too many wait */
    }
    prepare(fd, small);
    return fd;
}

int transport_listen(uint32_t port, bool shared, VskType type, int backlog)
{
    char name[VSK_SUN_PATH_SIZE];
    struct sockaddr_un addr;
    int fd;

    path_of(port, shared, name);
    unlink(name);
    fd = new_socket(type, name, &addr);
    prepare(fd, 0);
    CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    CHECK(listen(fd, backlog) == 0);
    return fd;
}

void transport_unlisten(int listener, uint32_t port, bool shared, bool remove)
{
    char name[VSK_SUN_PATH_SIZE];

    close(listener);
    if (remove) {
        path_of(port, shared, name);
        unlink(name);
    }
}

int transport_accept(int listener, unsigned int small,
                     uint32_t *ret_guest_port)
{
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);
    uint64_t cid;
    int fd = accept4(listener, (struct sockaddr *)&addr, &len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (len <= offsetof(struct sockaddr_un, sun_path)) {
        close(fd); /* it had no name: binding failed */
        return -EAGAIN;
    }
    CHECK(vsk_path_parse_source(addr.sun_path,
                                len - offsetof(struct sockaddr_un, sun_path),
                                &cid, ret_guest_port) == 0);
    CHECK(cid == MODEL_CID);
    prepare(fd, small);
    return fd;
}

/* With a descriptor, which nobody takes. */
static ssize_t send_descriptor(int fd, const void *bytes, size_t len)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr hdr;
    } control = { 0 };
    struct iovec iov = { (void *)bytes, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };

    control.hdr.cmsg_level = SOL_SOCKET;
    control.hdr.cmsg_type = SCM_RIGHTS;
    control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t transport_send(int fd, const void *bytes, size_t len, bool odd)
{
    ssize_t n = odd ? send_descriptor(fd, bytes, len)
                    : send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 ? -errno : n;
}

void transport_send_urgent(int fd)
{
    (void)send(fd, "!", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t transport_receive(int fd, void *buf, size_t max, bool *ret_any)
{
    char control[CMSG_SPACE(sizeof(struct ucred)) + 64];
    struct iovec iov = { buf, max };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

    if (n < 0) {
        return -errno;
    }
    CHECK(!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    *ret_any = n > 0 || msg.msg_controllen;
    return n;
}

uint64_t transport_unread(int fd)
{
    int type, n;
    socklen_t len = sizeof(type);

    CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0);
    if (type != SOCK_STREAM) {
        return UINT64_MAX; /* the kernel tells of the next message only */
    }
    CHECK(ioctl(fd, FIONREAD, &n) == 0);
    return (uint64_t)n;
}

void transport_shutdown(int fd, int how)
{
    shutdown(fd, how);
}

void transport_close(int fd)
{
    close(fd);
}

/* --- Faults ----------------------------------------------------------- */

bool transport_break(unsigned int call, unsigned int nth, unsigned int times,
                     unsigned int how)
{
    static const int errors[] = {
        FAULT_ONE, FAULT_HALF, FAULT_SPURIOUS, EINTR, EAGAIN, ENOMEM, EMFILE,
        EPIPE, ECONNRESET, ENOBUFS, EIO, EACCES, ENFILE, ECONNABORTED,
        ECONNREFUSED, ENOTCONN, EPERM, ENOENT,
    };
    FaultCall which = (FaultCall)(call % FAULT_CALL_NUM);
    int err = errors[how % G_N_ELEMENTS(errors)];

    trace("%s, call %u and %u more, fails: %d\n", fault_call_name(which), nth,
          times, err);
    was_broken = true;
    fault_at(which, fault_calls(which) + nth, times, err);
    return err > 0;
}

void transport_heal(void)
{
    for (int call = 0; call < FAULT_CALL_NUM; call++) {
        fault_at((FaultCall)call, 0, 0, 0);
    }
}
