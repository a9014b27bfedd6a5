/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One guest: its device, its host sockets, its front-end, its thread.
 *
 * Theory of operation
 * -------------------
 * Every VM has a thread, so that a guest or VMM that keeps its own busy, or
 * breaks it, is nobody else's trouble.  All of a VM happens there: the
 * library is not thread-safe, and needs not be.
 *
 * The library's device is made before the first front-end comes and outlives
 * them all, so its CID is held and host programs find its sockets from the
 * start.
 *
 * This file makes and ends a VM; vm-thread.c runs it, vm-front-end.c has what
 * happens, and vm-driver.c tells the library.
 */

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sandbox.h"
#include "vm-internal.h"

/* A flow costs a descriptor.  Keep half of them for all the rest. */
static uint32_t flows_by_descriptors(const Options *all)
{
    struct rlimit limit;
    rlim_t share;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return VSK_DEFAULT_MAX_CONNS;
    }
    share = limit.rlim_cur / 2 / all->vms->len;
    return CLAMP(share, 1, VSK_DEFAULT_MAX_CONNS);
}

static VskDev *vm_open_device(Vm *vm, const Options *all, GError **errp)
{
    const VmOptions *options = vm->options;
    VskDevConfig config = {
        .guest_cid = options->guest_cid,
        .uds_path = options->uds_path,
        .shared_path = options->shared_path,
        .seqpacket = all->seqpacket,
        .max_conns = all->max_conns ? all->max_conns
                                    : flows_by_descriptors(all),
        .buf_alloc = options->tx_buffer_size,
        .max_staged = all->max_staged,
        .request_timeout_ms = all->request_timeout_ms,
        .close_timeout_ms = all->close_timeout_ms,
        .line_timeout_ms = all->line_timeout_ms,
        .seed = (uint64_t)g_random_int() << 32 | g_random_int(),
    };

    return vsk_dev_new(&config, &queue_ops, &vm->queues, errp);
}

static bool vm_open(Vm *vm, const Options *all, GError **errp)
{
    Session *session = &vm->session;

    vm->dev = vm_open_device(vm, all, errp);
    if (!vm->dev || !listener_open(&vm->listener, vm->options, errp) ||
        !loop_init(&vm->loop, errp)) {
        return false;
    }
    session->cid = vm->cid;
    session->loop = &vm->loop;
    session->queues = &vm->queues;
    session->max_queue_size = vm->options->queue_size;
    session->features = protocol_features();
    if (all->seqpacket) {
        session->features |= 1ull << VSK_F_SEQPACKET;
    }
    vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->stop_fd < 0 ||
        !loop_watch(&vm->loop, &vm->stop, vm->stop_fd, EPOLLIN) ||
        !loop_watch(&vm->loop, &vm->host, vsk_dev_get_fd(vm->dev), EPOLLIN)) {
        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no event loop: %s", g_strerror(errno));
        return false;
    }
    return true;
}

Vm *vm_new(const Options *all, const VmOptions *options, GError **errp)
{
    Vm *vm = g_new0(Vm, 1);

    vm->options = options;
    vm->cid = options->guest_cid;
    vm->poll_us = all->poll_us;
    vm->refusals.cid = vm->cid;
    queues_init(&vm->queues, &vm->refusals);
    vm->loop.epoll_fd = -1;
    vm->stop_fd = -1;
    listener_init(&vm->listener);
    vm_init_watches(vm);
    if (!vm_open(vm, all, errp)) {
        vm_free(vm);
        return NULL;
    }
    return vm;
}

static bool vm_start(Vm *vm, Gate *gate, int done_fd, GError **errp)
{
    g_autofree char *name = g_strdup_printf("vsock-%" G_GUINT64_FORMAT,
                                            vm->cid);

    vm->gate = gate;
    vm->done_fd = done_fd;
    vm->thread = g_thread_try_new(name, vm_thread, vm, errp);
    if (!vm->thread) {
        g_prefix_error(errp, "CID %" G_GUINT64_FORMAT ": ", vm->cid);
    }
    return vm->thread != NULL;
}

bool vms_start(GPtrArray *vms, bool sandbox, int done_fd, GError **errp)
{
    /* Threads look at it after this has returned. */
    static Gate gate = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    guint started = 0;
    bool ok;

    while (started < vms->len &&
           vm_start(g_ptr_array_index(vms, started), &gate, done_fd, errp)) {
        started++;
    }
    pthread_mutex_lock(&gate.mutex);
    while (gate.waiting < started) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    ok = started == vms->len && (!sandbox || sandbox_enter(errp));
    for (guint i = 0; ok && i < vms->len; i++) {
        const Vm *vm = g_ptr_array_index(vms, i);
        const VmOptions *options = vm->options;

        log_info(vm->cid, "listening on %s; host sockets at %s",
                 options->socket ? options->socket : "the given descriptor",
                 options->uds_path);
    }
    for (guint i = 0; !ok && i < vms->len; i++) {
        Vm *vm = g_ptr_array_index(vms, i);

        vm->stopping = true; /* not one guest without the sandbox */
    }
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
    return ok;
}

void vm_stop(Vm *vm)
{
    eventfd_write(vm->stop_fd, 1);
}

bool vm_has_ended(const Vm *vm)
{
    return g_atomic_int_get(&vm->ended);
}

void vm_free(Vm *vm)
{
    if (!vm) {
        return;
    }
    if (vm->thread) {
        vm_stop(vm);
        g_thread_join(vm->thread);
    }
    session_end(&vm->session);
    vsk_dev_free(vm->dev);
    listener_close(&vm->listener);
    if (vm->stop_fd >= 0) {
        close(vm->stop_fd);
    }
    loop_fini(&vm->loop);
    g_free(vm);
}
