/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the environment asks for, and what the QEMU under test can do.
 */

#ifndef VHOST_VSOCK_CONFIG_H
#define VHOST_VSOCK_CONFIG_H

#include "vhost-vsock-script.h"

typedef struct VvtConfig {
    VvtBackend backend;
    bool has_backend_property; /* the device knows backend= */
    char *cannot;              /* why no script can run; NULL: they can */
    bool is_mistake;           /* ...which is an error of whoever asked */
    unsigned slow;             /* factor for all times to wait */
} VvtConfig;

/*
 * Look at the environment and at the QEMU binary; the result is kept, and
 * the same on every call.
 */
const VvtConfig *vvt_config_get(void);

/*
 * Set QTEST_QEMU_BINARY if it is not set and a QEMU is found beside the
 * executable or in PATH.
 */
void vvt_config_find_qemu(const char *argv0);

/*
 * Whether scripts can run; if not, the current test is skipped with the
 * reason, or has failed with it.
 */
bool vvt_config_usable(const VvtConfig *config);

/* A guest CID that suits the backend. */
uint64_t vvt_config_guest_cid(const VvtConfig *config);

/*
 * The options that make QEMU have the device: its address is 00:04.0, its id
 * vsock0.  @uds_path is where the host sockets shall be.
 */
char *vvt_config_qemu_args(const VvtConfig *config, uint64_t guest_cid,
                           const char *uds_path);

#endif /* VHOST_VSOCK_CONFIG_H */
