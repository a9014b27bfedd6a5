/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is said of one guest: by options, by --vm, or in a configuration file.
 */

#ifndef VHOST_USER_VSOCK_VM_OPTIONS_H
#define VHOST_USER_VSOCK_VM_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The largest virtqueue that a VM may use, if nothing is said. */
#define DEFAULT_QUEUE_SIZE 1024u
#define MAX_QUEUE_SIZE     32768u

/* The guest's CID, if nothing is said, as in vhost-device-vsock. */
#define DEFAULT_GUEST_CID 3u

/* What can be said of a guest. */
typedef enum VmKey {
    VM_KEY_GUEST_CID,
    VM_KEY_SOCKET,
    VM_KEY_FD,
    VM_KEY_UDS_PATH,
    VM_KEY_TX_BUFFER_SIZE,
    VM_KEY_QUEUE_SIZE,
    VM_KEY_GROUPS,
    VM_KEY_FORWARD_CID,
    VM_KEY_FORWARD_LISTEN,
    VM_KEY_NUM
} VmKey;

typedef struct VmOptions {
    char *origin;            /* where it is said, for errors; NULL: options */
    unsigned int given;      /* a bit for each VmKey */
    uint64_t guest_cid;
    char *socket;            /* where the VMM connects; NULL: see @fd */
    int fd;                  /* a socket, listening or connected; -1: none */
    char *uds_path;          /* where the host sockets are */
    char *shared_path;       /* those for all guests; NULL: none */
    uint32_t tx_buffer_size; /* bytes the host holds for a flow; 0: default */
    uint32_t queue_size;     /* the largest virtqueue */
} VmOptions;

VmOptions *vm_options_new(void);
void vm_options_free(VmOptions *vm);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmOptions, vm_options_free)

/*
 * Set one of them, which may be done once: "guest-cid" and the like; "_" is as
 * good as "-".
 */
bool vm_options_set(VmOptions *vm, const char *key, const char *value,
                    GError **errp);

/* "guest-cid=3,socket=…": what --vm takes. */
bool vm_options_set_list(VmOptions *vm, const char *list, GError **errp);

/* Where it was said, for an error. */
const char *vm_options_origin(const VmOptions *vm);

/* See that nothing is missing, and fill in what has a default. */
bool vm_options_complete(VmOptions *vm, GError **errp);

/* A number without sign or unit; 0x… is fine. */
bool parse_number(const char *what, const char *text, uint64_t min,
                  uint64_t max, uint64_t *ret_number, GError **errp);

#endif /* VHOST_USER_VSOCK_VM_OPTIONS_H */
