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

/* The device's slot, where there is a PCI bus. */
#define VVT_PCI_SLOT 4

/* Machines that can be driven: what VvtMachineType.kind says. */
typedef enum VvtMachineKind {
    VVT_MACHINE_PC,
    VVT_MACHINE_MICROVM, /* virtio-mmio, not legacy */
    VVT_MACHINE_PSERIES, /* big-endian, PCI */
    VVT_MACHINE_NUM
} VvtMachineKind;

typedef struct VvtMachineType {
    VvtMachineKind kind;
    const char *name;          /* for -machine */
    const char *device;
    const char *vhost_user_device;
    const char *place;         /* properties that say where the device is */
    const char *options;       /* more options of QEMU */
    unsigned ram_mib;          /* the machine's default, or set by options */
    uint64_t rom_start;        /* as far as our firmware; 0: no ROM */
    uint32_t registers_size;   /* bytes that are the device's; 0: many */
    bool big_endian;
    bool has_pci;
    bool can_unplug;
    bool has_msi;
} VvtMachineType;

typedef struct VvtConfig {
    const VvtMachineType *machine;
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

/*
 * Why a script cannot run with this backend, on this machine; NULL: it can,
 * as far as is known before the device is there.
 */
char *vvt_config_lacks(const VvtConfig *config, const VvtScript *script);

/* What follows -device. */
char *vvt_config_device(const VvtConfig *config, uint64_t guest_cid,
                        const char *dir);

/*
 * The options that make QEMU have the device, at the place that the machine's
 * type says; its id is vsock0.  @dir is where its sockets shall be, or the
 * daemon's are.
 */
char *vvt_config_qemu_args(const VvtConfig *config, uint64_t guest_cid,
                           const char *dir);

#endif /* VHOST_VSOCK_CONFIG_H */
