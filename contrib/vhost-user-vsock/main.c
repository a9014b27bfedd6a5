/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vhost-user-vsock: AF_VSOCK for guests of any VMM that speaks vhost-user.
 *
 * This thread reads the options, starts a thread for each VM, and waits for a
 * signal to end.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "log.h"
#include "options.h"
#include "systemd.h"
#include "vm.h"

static void block_signals(sigset_t *ret_ends)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN };

    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(ret_ends);
    sigaddset(ret_ends, SIGTERM);
    sigaddset(ret_ends, SIGINT);
    sigaddset(ret_ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, ret_ends, NULL); /* threads inherit it */
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

static int serve(const Options *options)
{
    g_autoptr(GPtrArray) vms =
        g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
    sigset_t ends;
    int sig;

    log_set_level(options->log_level);
    block_signals(&ends);
    if (!make_vms(options, vms)) {
        return EXIT_FAILURE;
    }
    for (guint i = 0; i < vms->len; i++) {
        vm_start(g_ptr_array_index(vms, i));
    }
    systemd_notify("READY=1");
    /* #syscalls rt_sigtimedwait futex */
    sigwait(&ends, &sig);
    systemd_notify("STOPPING=1");
    log_info(0, "ending, by signal %d", sig);
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
