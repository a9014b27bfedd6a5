/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One guest: its device, its host sockets, its front-end, its thread.
 */

#ifndef VHOST_USER_VSOCK_VM_H
#define VHOST_USER_VSOCK_VM_H

#include <glib.h>
#include <stdbool.h>

#include "options.h"

typedef struct Vm Vm;

/*
 * Take the CID and make all sockets of @options, which outlive the VM.  Nothing
 * is served before vms_start().
 */
Vm *vm_new(const Options *all, const VmOptions *options, GError **errp);

/*
 * Start the threads of all of @vms (of Vm), shut the process in its sandbox
 * unless @sandbox is false, and only then serve.  @done_fd, an eventfd, is
 * told of each VM that ends by itself: see --fd.
 */
bool vms_start(GPtrArray *vms, bool sandbox, int done_fd, GError **errp);

/* Have the thread end, and do not wait for it. */
void vm_stop(Vm *vm);

/* Whether the thread is over: vm_free() does not wait then. */
bool vm_has_ended(const Vm *vm);

/* End the thread, the connections, and take the sockets away.  NULL is fine. */
void vm_free(Vm *vm);

#endif /* VHOST_USER_VSOCK_VM_H */
