/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the environment asks for, and what the QEMU under test can do.
 */

#ifndef VHOST_VSOCK_CONFIG_H
#define VHOST_VSOCK_CONFIG_H

#include "vhost-vsock-script.h"

/* In a case's directory: the host's sockets, and where QEMU meets a daemon. */
#define VVT_UDS_PATH "guest.vsock"
#define VVT_VHOST_SOCKET "vhost.sock"

/*
 * What a daemon may do otherwise than the built-in emulator, so that the rest
 * of a script can be judged all the same: the bits of VvtConfig.waive.
 */
typedef enum VvtWaive {
    VVT_WAIVE_NAMES = 1 << 0,   /* who called has no name */
    VVT_WAIVE_OK_PORT = 1 << 1, /* the OK line does not say the own port */
    VVT_WAIVE_END = 1 << 2,     /* how it ends, and what it then leaves */
    VVT_WAIVE_REFUSALS = 1 << 3, /* packets of no flow get no RST */
} VvtWaive;

typedef struct VvtConfig {
    VvtBackend backend;
    char **daemon;             /* its command line, for vhost-user only */
    uint32_t waive;
    bool has_backend_property; /* the device knows backend= */
    bool iothread;             /* the emulator shall have one */
    const char *options;       /* more properties; NULL: none */
    char *cannot;              /* why no script can run; NULL: they can */
    bool is_mistake;           /* ...which is an error of whoever asked */
    bool has_seed;
    uint32_t seed;             /* for "fuzz", instead of the script's */
    unsigned slow;             /* factor for all times to wait */
    unsigned patience_ms;      /* for a daemon to listen, let go, end */
} VvtConfig;

/*
 * Look at the environment and at the QEMU binary; the result is kept, and
 * the same on every call.
 */
const VvtConfig *vvt_config_get(void);

/*
 * Set QTEST_QEMU_BINARY if it is not set and a QEMU is found beside the
 * executable or in PATH, and VHOST_VSOCK_TEST_DAEMON likewise.
 */
void vvt_config_find_programs(const char *argv0);

/*
 * Whether scripts can run; if not, the current test is skipped with the
 * reason, or has failed with it.
 */
bool vvt_config_usable(const VvtConfig *config);

/* A guest CID that suits the backend. */
uint64_t vvt_config_guest_cid(const VvtConfig *config);

/* What follows -device. */
char *vvt_config_device(const VvtConfig *config, uint64_t guest_cid,
                        const char *dir);

/*
 * The options that make QEMU have the device: its address is 00:04.0, its id
 * vsock0.  @dir is where its sockets shall be, or the daemon's are.
 */
char *vvt_config_qemu_args(const VvtConfig *config, uint64_t guest_cid,
                           const char *dir);

#endif /* VHOST_VSOCK_CONFIG_H */
