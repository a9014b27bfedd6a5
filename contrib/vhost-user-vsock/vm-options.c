/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is said of one guest: by options, by --vm, or in a configuration file.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vm-options.h"
#include "vsock-device.h"
#include "vsock-path.h"

#define FAIL(errp, ...) \
    (g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, \
                 __VA_ARGS__), false)

VmOptions *vm_options_new(void)
{
    VmOptions *vm = g_new0(VmOptions, 1);

    vm->fd = -1;
    return vm;
}

void vm_options_free(VmOptions *vm)
{
    if (vm) {
        g_free(vm->origin);
        g_free(vm->socket);
        g_free(vm->uds_path);
        g_free(vm->shared_path);
        g_free(vm);
    }
}

const char *vm_options_origin(const VmOptions *vm)
{
    return vm->origin ? vm->origin : "options";
}

bool parse_number(const char *what, const char *text, uint64_t min,
                  uint64_t max, uint64_t *ret_number, GError **errp)
{
    char *end;
    uint64_t number;

    errno = 0;
    number = g_ascii_strtoull(text, &end, 0);
    if (!g_ascii_isdigit(text[0]) || *end || errno || number < min ||
        number > max) {
        return FAIL(errp, "%s=%s: give a number from %" PRIu64 " to %" PRIu64,
                    what, text, min, max);
    }
    *ret_number = number;
    return true;
}

static bool set_path(char **path, const char *what, const char *value,
                     size_t max, GError **errp)
{
    if (!value[0]) {
        return FAIL(errp, "%s: a path is missing", what);
    }
    if (strlen(value) > max) {
        return FAIL(errp, "%s=%s: the path has more than %zu bytes; choose a "
                    "shorter one", what, value, max);
    }
    g_free(*path);
    *path = g_strdup(value);
    return true;
}

static bool set_queue_size(VmOptions *vm, const char *value, GError **errp)
{
    uint64_t n;

    if (!parse_number("queue-size", value, 2, MAX_QUEUE_SIZE, &n, errp)) {
        return false;
    }
    if (n & (n - 1)) {
        return FAIL(errp, "queue-size=%s: give a power of 2", value);
    }
    vm->queue_size = n;
    return true;
}

static bool set_groups(const char *value, GError **errp)
{
    if (strcmp(value, "default") == 0) {
        return true;
    }
    return FAIL(errp, "groups=%s: guests cannot reach each other yet, so there "
                "is the group \"default\" only; leave the option away", value);
}

static bool set_u32(uint32_t *number, const char *what, const char *value,
                    uint64_t min, uint64_t max, GError **errp)
{
    uint64_t n;

    if (!parse_number(what, value, min, max, &n, errp)) {
        return false;
    }
    *number = n;
    return true;
}

static bool set_fd(VmOptions *vm, const char *value, GError **errp)
{
    uint32_t n;

    if (!set_u32(&n, "fd", value, 3, G_MAXINT, errp)) {
        return false;
    }
    vm->fd = n;
    return true;
}

static const char *const key_names[VM_KEY_NUM] = {
    [VM_KEY_GUEST_CID] = "guest-cid",
    [VM_KEY_SOCKET] = "socket",
    [VM_KEY_FD] = "fd",
    [VM_KEY_UDS_PATH] = "uds-path",
    [VM_KEY_TX_BUFFER_SIZE] = "tx-buffer-size",
    [VM_KEY_QUEUE_SIZE] = "queue-size",
    [VM_KEY_GROUPS] = "groups",
    [VM_KEY_FORWARD_CID] = "forward-cid",
    [VM_KEY_FORWARD_LISTEN] = "forward-listen",
};

static VmKey find_key(const char *name)
{
    VmKey key = 0;

    while (key < VM_KEY_NUM && strcmp(name, key_names[key]) != 0) {
        key++;
    }
    return key;
}

static bool set_key(VmOptions *vm, VmKey key, const char *value,
                    GError **errp)
{
    const char *name = key_names[key];

    switch (key) {
    case VM_KEY_GUEST_CID:
        return parse_number(name, value, VSK_CID_HOST + 1, VSK_CID_ANY - 1,
                            &vm->guest_cid, errp);
    case VM_KEY_SOCKET:
        return set_path(&vm->socket, name, value, VSK_SUN_PATH_SIZE - 1, errp);
    case VM_KEY_FD:
        return set_fd(vm, value, errp);
    case VM_KEY_UDS_PATH:
        return set_path(&vm->uds_path, name, value, VSK_PATH_MAX, errp);
    case VM_KEY_TX_BUFFER_SIZE:
        return set_u32(&vm->tx_buffer_size, name, value, VSK_MIN_BUF_ALLOC,
                       VSK_MOST_BUF_ALLOC, errp);
    case VM_KEY_QUEUE_SIZE:
        return set_queue_size(vm, value, errp);
    case VM_KEY_GROUPS:
        return set_groups(value, errp);
    default:
        return FAIL(errp, "%s: forwarding to the host's own AF_VSOCK is not "
                    "offered; give uds-path, and connect the two by socat",
                    name);
    }
}

bool vm_options_set(VmOptions *vm, const char *key, const char *value,
                    GError **errp)
{
    g_autofree char *name = g_strdelimit(g_strdup(key), "_", '-');
    VmKey found = find_key(name);

    if (found == VM_KEY_NUM) {
        return FAIL(errp, "%s: there is no such key; there are guest-cid, "
                    "socket, fd, uds-path, tx-buffer-size, queue-size and "
                    "groups", key);
    }
    if (vm->given & (1u << found)) {
        return FAIL(errp, "%s is given twice for one guest; give it once",
                    key_names[found]);
    }
    vm->given |= 1u << found;
    return set_key(vm, found, value, errp);
}

bool vm_options_set_list(VmOptions *vm, const char *list, GError **errp)
{
    g_auto(GStrv) pairs = g_strsplit(list, ",", -1);

    vm->origin = g_strdup_printf("--vm %s", list);
    for (int i = 0; pairs[i]; i++) {
        char *value = strchr(pairs[i], '=');

        if (!value) {
            return FAIL(errp, "--vm %s: '%s' is not KEY=VALUE", list,
                        pairs[i]);
        }
        *value++ = 0;
        if (!vm_options_set(vm, pairs[i], value, errp)) {
            g_prefix_error(errp, "--vm %s: ", list);
            return false;
        }
    }
    return true;
}

/* The directory where tools look for a guest's sockets by its CID. */
static bool use_default_path(VmOptions *vm, GError **errp)
{
    char path[VSK_SUN_PATH_SIZE];
    g_autofree char *dir = NULL;
    int ret = vsk_path_default(vm->guest_cid, path);

    if (ret < 0) {
        return FAIL(errp, "no run-time directory for the host sockets: %s; "
                    "set XDG_RUNTIME_DIR, or give uds-path",
                    g_strerror(-ret));
    }
    dir = g_path_get_dirname(path);
    ret = vsk_path_prepare_dir(dir);
    if (ret < 0) {
        return FAIL(errp, "cannot use directory %s for the host sockets: %s; "
                    "it must be yours, with mode 0700, in no directory where "
                    "all may write; or give uds-path",
                    dir, g_strerror(-ret));
    }
    vm->uds_path = g_strdup(path);
    vm->shared_path = g_strdup_printf("%s/%u.vsock", dir, VSK_CID_HOST);
    return true;
}

static bool check_sockets(const VmOptions *vm, GError **errp)
{
    bool by_option = !vm->origin;

    if (!vm->socket && vm->fd < 0) {
        return FAIL(errp, "guest %" PRIu64 " has no socket for its VMM; give "
                    "%ssocket=PATH%s", vm->guest_cid, by_option ? "--" : "",
                    by_option ? "" : " (in a file: socket: PATH)");
    }
    if (vm->socket && vm->fd >= 0) {
        return FAIL(errp, "guest %" PRIu64 " has both socket and fd for its "
                    "VMM; give one of them", vm->guest_cid);
    }
    return true;
}

bool vm_options_complete(VmOptions *vm, GError **errp)
{
    if (!vm->guest_cid) {
        vm->guest_cid = DEFAULT_GUEST_CID;
    }
    if (!vm->queue_size) {
        vm->queue_size = DEFAULT_QUEUE_SIZE;
    }
    if (!check_sockets(vm, errp) ||
        (!vm->uds_path && !use_default_path(vm, errp))) {
        if (vm->origin) {
            g_prefix_error(errp, "%s: ", vm->origin);
        }
        return false;
    }
    return true;
}
