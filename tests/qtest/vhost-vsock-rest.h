/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What QEMU has when nothing is going on: descriptors and memory.
 */

#ifndef VHOST_VSOCK_REST_H
#define VHOST_VSOCK_REST_H

#include "vhost-vsock-steps.h"

typedef struct VvtRest {
    pid_t pid;
    unsigned n_files;
    GString *files;      /* a line each */
    size_t memory_kib;
} VvtRest;

/*
 * Look at the QEMU of @run, whose device is closed.  Where the kernel does not
 * let us, the case goes on, and is a skip if it finds nothing else.
 */
void vvt_rest_take(VvtRest *ret_rest, VvtRun *run);
void vvt_rest_clear(VvtRest *rest);

/*
 * Whether this QEMU has no more files open than at @rest, or soon will; always
 * so of another QEMU, as after a migration.
 */
bool vvt_rest_check_files(const VvtRest *rest, VvtRun *run);

/* Memory that QEMU has beside the guest's. */
size_t vvt_rest_memory_kib(const VvtRest *rest);

/* Whether the device's sockets are gone with it. */
bool vvt_rest_check_removed(VvtRun *run);

#endif /* VHOST_VSOCK_REST_H */
