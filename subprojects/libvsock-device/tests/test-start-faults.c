/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every failure of every system call with which a device begins and ends.
 *
 * It is there or there is an error that a user can read; what it made is gone
 * if that could be removed; and the next device takes over what is left.
 */

#include "fake-ring.h"
#include "fault.h"
#include "temp-dir.h"
#include "unix-socket.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct Failure {
    FaultCall call;
    const char *name;
    int err;
    bool leaves; /* files, which nobody then knows to be the device's */
} Failure;

static const Failure failures[] = {
    { FAULT_BIND, "eacces", EACCES, false },
    { FAULT_BIND, "eaddrinuse", EADDRINUSE, false },
    { FAULT_BIND, "enospc", ENOSPC, false },
    { FAULT_CONNECT, "eagain", EAGAIN, true },
    { FAULT_CONNECT, "eperm", EPERM, true },
    { FAULT_EPOLL_CREATE1, "emfile", EMFILE, false },
    { FAULT_EPOLL_CTL, "enomem", ENOMEM, false },
    { FAULT_EPOLL_CTL, "enospc", ENOSPC, false },
    { FAULT_FCHMOD, "eperm", EPERM, false },
    { FAULT_FLOCK, "enolck", ENOLCK, true },
    { FAULT_FLOCK, "ewouldblock", EWOULDBLOCK, true },
    { FAULT_FSTAT, "eio", EIO, true },
    { FAULT_LISTEN, "eaddrinuse", EADDRINUSE, false },
    { FAULT_LSTAT, "eacces", EACCES, true },
    { FAULT_OPEN, "eacces", EACCES, false },
    { FAULT_OPEN, "emfile", EMFILE, false },
    { FAULT_OPEN, "enospc", ENOSPC, false },
    { FAULT_SOCKET, "emfile", EMFILE, true },
    { FAULT_SOCKET, "enobufs", ENOBUFS, true },
    { FAULT_STAT, "eacces", EACCES, false },
    { FAULT_UNLINK, "eacces", EACCES, true },
};

static VskDev *device_at(const char *path, FakeRings *rings, GError **errp)
{
    VskDevConfig config = {
        .guest_cid = 3,
        .uds_path = path,
        .seqpacket = true,
        .seed = 1,
    };

    return vsk_dev_new(&config, &fake_ring_ops, rings, errp);
}

static void leave_dead_sockets(const char *path)
{
    g_autofree char *seqpacket = g_strconcat(path, "_seqpacket", NULL);

    close(unix_bind(path, 0));
    close(unix_bind_seqpacket(seqpacket, 0));
}

/* Make a device, and end it; true if @f has come to pass. */
static bool run(const Failure *f, unsigned int nth, unsigned int times,
                bool dead)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "3.vsock");
    g_autofree char *list = NULL;
    unsigned int fds = open_fds();
    FakeRings *rings = fake_rings_new();
    g_autoptr(GError) err = NULL;
    VskDev *dev;
    bool hit;

    if (dead) {
        leave_dead_sockets(path);
    }
    fault_reset();
    fault_at(f->call, nth, times, f->err);
    dev = device_at(path, rings, &err);
    g_assert_true(!dev == !!err);
    if (err) {
        g_assert_cmpuint(err->domain, ==, VSK_ERROR);
        g_assert_nonnull(strstr(err->message, path));
    }
    vsk_dev_free(dev);
    hit = fault_hits();
    fault_reset();
    g_assert_cmpuint(open_fds(), ==, fds);
    list = temp_dir_list(dir);
    if (!f->leaves && !dead) {
        g_assert_cmpstr(list, ==, "");
    }
    g_clear_error(&err);
    dev = device_at(path, rings, &err);
    g_assert_no_error(err);
    vsk_dev_free(dev);
    g_clear_pointer(&list, g_free);
    list = temp_dir_list(dir);
    g_assert_cmpstr(list, ==, "");
    g_assert_cmpuint(open_fds(), ==, fds);
    fake_rings_free(rings);
    return hit;
}

static void test_failure(gconstpointer data)
{
    const Failure *f = data;

    for (int dead = 0; dead < 2; dead++) {
        for (int once = 0; once < 2; once++) {
            unsigned int nth = 0;

            while (run(f, nth, once ? 1 : 1000, dead)) {
                nth++;
            }
            g_assert_true(nth || f->call == FAULT_CONNECT ||
                          f->call == FAULT_STAT);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(failures); i++) {
        g_autofree char *name =
            g_strdup_printf("/faults/start-and-end/%s/%s",
                            fault_call_name(failures[i].call),
                            failures[i].name);

        g_test_add_data_func(name, &failures[i], test_failure);
    }
    return g_test_run();
}
