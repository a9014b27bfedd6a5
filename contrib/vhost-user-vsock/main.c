/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vhost-user-vsock: AF_VSOCK for guests of any VMM that speaks vhost-user.
 *
 * This thread reads the options, starts a thread for each VM, and waits for a
 * signal to end.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "guard.h"
#include "log.h"
#include "loop.h"
#include "options.h"
#include "systemd.h"
#include "vm.h"

/* Descriptors for two guests with all the flows they can have. */
#define MAX_FDS 65536

/* How long threads may take to end; a guest's last packets are in it. */
#define END_MS 2000

/* A descriptor that tells of a signal to end by. */
static int watch_signals(void)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t ends;

    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* threads inherit it */
    return signalfd(-1, &ends, SFD_CLOEXEC);
}

/*
 * A flow costs a descriptor, and the soft limit is low for programs that use
 * select(): take what may be taken.
 */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = MAX(limit.rlim_cur, MIN(limit.rlim_max, MAX_FDS));
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool make_vms(const Options *options, GPtrArray *vms)
{
    for (guint i = 0; i < options->vms->len; i++) {
        const VmOptions *each = g_ptr_array_index(options->vms, i);
        g_autoptr(GError) err = NULL;
        Vm *vm = vm_new(options, each, &err);

        if (!vm) {
            log_error(each->guest_cid, "%s", err->message);
            return false;
        }
        g_ptr_array_add(vms, vm);
    }
    return true;
}

/* Until a signal comes, or all VMs have ended by themselves. */
static void wait_for_end(int signal_fd, int done_fd, guint n_vms)
{
    struct pollfd fds[] = {
        { .fd = signal_fd, .events = POLLIN },
        { .fd = done_fd, .events = POLLIN },
    };
    eventfd_t done = 0;

    while (n_vms) {
        /* #syscalls poll ppoll read */
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0) {
            continue;
        }
        if (fds[0].revents) {
            log_info(0, "ending, by a signal");
            return;
        }
        if (eventfd_read(done_fd, &done) == 0) {
            n_vms -= MIN(done, n_vms);
        }
    }
}

/*
 * Have all threads end, side by side.  One does not if its VMM shares an
 * eventfd that blocks us: then the others' sockets are taken away, and its own
 * are left for the next process to take over.
 */
static bool end_vms(GPtrArray *vms, int done_fd)
{
    struct pollfd fd = { .fd = done_fd, .events = POLLIN };
    int64_t end_ms = loop_now_ms() + END_MS;
    bool all = false;
    eventfd_t done;

    for (guint i = 0; i < vms->len; i++) {
        vm_stop(g_ptr_array_index(vms, i));
    }
    while (!all && loop_now_ms() < end_ms) {
        all = true;
        for (guint i = 0; i < vms->len; i++) {
            all &= vm_has_ended(g_ptr_array_index(vms, i));
        }
        if (!all && poll(&fd, 1, END_MS / 10) > 0) {
            eventfd_read(done_fd, &done);
        }
    }
    for (guint i = 0; !all && i < vms->len; i++) {
        if (vm_has_ended(g_ptr_array_index(vms, i))) {
            vm_free(g_ptr_array_index(vms, i));
        } else {
            log_error(0, "a VMM blocks its guest's thread; ending without it");
        }
    }
    return all;
}

static int serve(const Options *options)
{
    g_autoptr(GPtrArray) vms =
        g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
    g_autoptr(GError) err = NULL;
    int signal_fd = watch_signals();
    int done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    log_set_level(options->log_level);
    guard_init();
    raise_descriptor_limit();
    if (signal_fd < 0 || done_fd < 0) {
        log_error(0, "no file descriptors: %s", g_strerror(errno));
        return EXIT_FAILURE;
    }
    if (!make_vms(options, vms)) {
        return EXIT_FAILURE;
    }
    if (!vms_start(vms, options->sandbox, done_fd, &err)) {
        log_error(0, "%s", err->message);
        return EXIT_FAILURE;
    }
    systemd_notify("READY=1");
    wait_for_end(signal_fd, done_fd, vms->len);
    systemd_notify("STOPPING=1");
    if (!end_vms(vms, done_fd)) {
        _exit(EXIT_FAILURE); /* a thread still runs on what would be freed */
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Options *options = NULL;
    int code = EXIT_SUCCESS;

    switch (options_parse(argc, argv, &options, &err)) {
    case OPTIONS_WRONG:
        log_error(0, "%s", err->message);
        return EXIT_FAILURE;
    case OPTIONS_DONE:
        break;
    case OPTIONS_RUN:
        code = serve(options);
    }
    options_free(options);
    return code;
}
