/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The daemon's configuration file, --vm and command line: any bytes become
 * guests that fit together, or an error with a sentence for a human.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "config-file.h"
#include "options.h"
#include "vsock-device.h"
#include "vsock-path.h"

#define MAX_ARGS 16
#define NO_OPTION "there is no option "

static int file_fd = -1;
static char file_path[64];

/* No directory is made: linked in stead of the library's. */
int __wrap_vsk_path_prepare_dir(const char *dir);
static int prepare_dir_error;

int __wrap_vsk_path_prepare_dir(const char *dir)
{
    CHECK(dir[0] == '/');
    return prepare_dir_error;
}

static GPtrArray *vms_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)vm_options_free);
}

static void write_file(const void *bytes, size_t len)
{
    CHECK(ftruncate(file_fd, 0) == 0);
    CHECK(pwrite(file_fd, bytes, len, 0) == (ssize_t)len);
}

/* --- What holds of any guest --------------------------------------------- */

static void check_path(const char *path, size_t max)
{
    CHECK(!path || (path[0] && strlen(path) <= max));
}

static bool given(const VmOptions *vm, VmKey key)
{
    return vm->given >> key & 1;
}

static void check_vm(const VmOptions *vm)
{
    CHECK(vm->given < 1u << VM_KEY_NUM);
    CHECK(!given(vm, VM_KEY_FORWARD_CID) && !given(vm, VM_KEY_FORWARD_LISTEN));
    CHECK(!vm->guest_cid || (vm->guest_cid >= 3 && vm->guest_cid < UINT32_MAX));
    CHECK(!given(vm, VM_KEY_GUEST_CID) || vm->guest_cid);
    CHECK(given(vm, VM_KEY_SOCKET) == !!vm->socket);
    CHECK(vm->fd == -1 || vm->fd >= 3);
    CHECK(given(vm, VM_KEY_FD) == (vm->fd != -1));
    CHECK(!(vm->queue_size & (vm->queue_size - 1)));
    CHECK(vm->queue_size != 1 && vm->queue_size <= MAX_QUEUE_SIZE);
    CHECK(!vm->tx_buffer_size || (vm->tx_buffer_size >= 8192 &&
                                  vm->tx_buffer_size <= 1u << 30));
    check_path(vm->socket, VSK_SUN_PATH_SIZE - 1);
    check_path(vm->uds_path, VSK_PATH_MAX);
}

static void check_complete(const VmOptions *vm)
{
    check_vm(vm);
    CHECK(vm->guest_cid && vm->queue_size && vm->uds_path);
    CHECK(!vm->socket == (vm->fd >= 0));
    CHECK(given(vm, VM_KEY_UDS_PATH) == !vm->shared_path);
}

static void check_pair(const VmOptions *a, const VmOptions *b)
{
    CHECK(a->guest_cid != b->guest_cid);
    CHECK(a->fd < 0 || a->fd != b->fd);
    CHECK(strcmp(a->uds_path, b->uds_path) != 0);
    CHECK(!a->socket || strcmp(a->socket, b->uds_path) != 0);
    CHECK(!b->socket || strcmp(a->uds_path, b->socket) != 0);
    CHECK(!a->socket || !b->socket || strcmp(a->socket, b->socket) != 0);
}

/* A sentence, on one line if what it quotes is. */
static void check_error(bool ok, const GError *err)
{
    CHECK(ok == !err);
    if (err) {
        CHECK(err->domain == G_OPTION_ERROR);
        CHECK(strlen(err->message) > 10);
    }
}

/* --- The three ways in --------------------------------------------------- */

static bool read_file(GPtrArray *vms, GError **errp)
{
    bool ok = config_file_read(file_path, vms, errp);

    for (guint i = 0; ok && i < vms->len; i++) {
        check_vm(g_ptr_array_index(vms, i));
    }
    CHECK(!ok || vms->len);
    return ok;
}

static void try_file(FuzzBytes *in)
{
    g_autoptr(GPtrArray) vms = vms_new();
    g_autoptr(GError) err = NULL;

    write_file(in->at, fuzz_left(in));
    check_error(read_file(vms, &err), err);
    if (err) {
        CHECK(g_str_has_prefix(err->message, file_path));
        CHECK(g_str_has_prefix(err->message + strlen(file_path), ", line "));
    }
}

/* The same guest, as it would stand in a file; NULL: it would look otherwise */
static char *as_yaml(const char *list)
{
    g_auto(GStrv) pairs = g_strsplit(list, ",", -1);
    GString *yaml = g_string_new("vms:\n- {");

    for (int i = 0; pairs[i]; i++) {
        char *value = strchr(pairs[i], '=');

        *value++ = 0;
        if (strspn(value, "0123456789abcdefghijklmnopqrstuvwxyz/._-") !=
            strlen(value)) {
            return g_string_free(yaml, TRUE);
        }
        g_string_append_printf(yaml, "%s: \"%s\", ", pairs[i], value);
    }
    g_string_append(yaml, "}\n");
    return g_string_free(yaml, FALSE);
}

static void check_same(const VmOptions *a, const VmOptions *b)
{
    CHECK(a->given == b->given && a->guest_cid == b->guest_cid);
    CHECK(a->fd == b->fd && a->queue_size == b->queue_size);
    CHECK(a->tx_buffer_size == b->tx_buffer_size);
    CHECK(g_strcmp0(a->socket, b->socket) == 0);
    CHECK(g_strcmp0(a->uds_path, b->uds_path) == 0);
}

static void try_list(FuzzBytes *in)
{
    g_autofree char *list = g_strndup((const char *)in->at, fuzz_left(in));
    g_autoptr(VmOptions) vm = vm_options_new();
    g_autoptr(GPtrArray) vms = vms_new();
    g_autofree char *yaml = NULL;
    g_autoptr(GError) err = NULL;
    bool ok = vm_options_set_list(vm, list, &err);

    check_error(ok, err);
    if (!ok) {
        return;
    }
    check_vm(vm);
    yaml = list[0] ? as_yaml(list) : NULL;
    if (yaml) {
        write_file(yaml, strlen(yaml));
        CHECK(read_file(vms, NULL) && vms->len == 1);
        check_same(vm, g_ptr_array_index(vms, 0));
    }
    ok = vm_options_complete(vm, &err);
    check_error(ok, err);
    if (ok) {
        check_complete(vm);
    }
}

/* Arguments of one line each; "F" stands for the file, which is the rest. */
static void try_arguments(FuzzBytes *in)
{
    g_autofree char *all = g_strndup((const char *)in->at, fuzz_left(in));
    g_autofree char *config = g_strconcat("--config=", file_path, NULL);
    g_auto(GStrv) words = g_strsplit(all, "\n", MAX_ARGS - 1);
    char *argv[MAX_ARGS + 1] = { (char *)"vhost-user-vsock" };
    g_autoptr(GError) err = NULL;
    Options *options = NULL;
    OptionsResult result;
    int argc = 1;

    for (int i = 0; words[i]; i++) {
        argv[argc++] = strcmp(words[i], "F") == 0 ? config : words[i];
    }
    write_file(words[0] ? words[argc - 2] : "",
               words[0] ? strlen(words[argc - 2]) : 0);
    optind = 0; /* begin anew */
    result = options_parse(argc, argv, &options, &err);
    check_error(result != OPTIONS_WRONG, err);
    if (err && g_str_has_prefix(err->message, NO_OPTION)) {
        CHECK(err->message[strlen(NO_OPTION)] == '-');
    }
    CHECK(!options == (result != OPTIONS_RUN));
    if (!options) {
        return;
    }
    CHECK(options->vms->len && options->log_level < LOG_LEVEL_NUM);
    CHECK(options->max_conns <= 1 << 20 && options->poll_us <= 1000000);
    for (guint i = 0; i < options->vms->len; i++) {
        check_complete(g_ptr_array_index(options->vms, i));
        for (guint k = 0; k < i; k++) {
            check_pair(g_ptr_array_index(options->vms, k),
                       g_ptr_array_index(options->vms, i));
        }
    }
    options_free(options);
}

static void begin(void)
{
    CHECK(freopen("/dev/null", "w", stdout)); /* --help and the like */
    file_fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(file_fd >= 0);
    snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    uint8_t how = fuzz_u8(&in);

    if (file_fd < 0) {
        begin();
    }
    prepare_dir_error = how & 0x80 ? -EPERM : 0;
    switch (how % 3) {
    case 0:
        try_file(&in);
        break;
    case 1:
        try_list(&in);
        break;
    default:
        try_arguments(&in);
    }
    return 0;
}
