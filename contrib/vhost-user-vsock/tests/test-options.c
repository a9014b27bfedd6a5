/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is said of a guest: what is understood, and what is refused.
 */

#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "../config-file.h"
#include "../vm-options.h"

static void refused(const char *list, const char *about)
{
    g_autoptr(VmOptions) vm = vm_options_new();
    g_autoptr(GError) err = NULL;

    g_assert_true(!vm_options_set_list(vm, list, &err) ||
                  !vm_options_complete(vm, &err));
    g_assert_nonnull(strstr(err->message, about));
}

static void test_takes_all_keys(void)
{
    g_autoptr(VmOptions) vm = vm_options_new();
    g_autoptr(GError) err = NULL;

    g_assert_true(vm_options_set_list(
        vm, "guest-cid=0x10,socket=/a,uds_path=/b,tx-buffer-size=8192,"
        "queue_size=64,groups=default", &err));
    g_assert_true(vm_options_complete(vm, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(vm->guest_cid, ==, 16);
    g_assert_cmpstr(vm->socket, ==, "/a");
    g_assert_cmpstr(vm->uds_path, ==, "/b");
    g_assert_cmpuint(vm->tx_buffer_size, ==, 8192);
    g_assert_cmpuint(vm->queue_size, ==, 64);
}

static void test_has_defaults(void)
{
    g_autoptr(VmOptions) vm = vm_options_new();

    g_assert_true(vm_options_set_list(vm, "fd=7,uds-path=/b", NULL));
    g_assert_true(vm_options_complete(vm, NULL));
    g_assert_cmpuint(vm->guest_cid, ==, DEFAULT_GUEST_CID);
    g_assert_cmpuint(vm->queue_size, ==, DEFAULT_QUEUE_SIZE);
    g_assert_cmpint(vm->fd, ==, 7);
}

static void test_refuses_wrong_values(void)
{
    refused("guest-cid=2", "guest-cid");
    refused("guest-cid=4294967295", "guest-cid");
    refused("guest-cid=-3", "guest-cid");
    refused("guest-cid=3x", "guest-cid");
    refused("guest-cid=", "guest-cid");
    refused("guest-cid=3,guest_cid=3", "twice");
    refused("socket=", "socket");
    refused("queue-size=100", "power of 2");
    refused("queue-size=65536", "queue-size");
    refused("tx-buffer-size=1", "tx-buffer-size");
    refused("groups=a+b", "groups");
    refused("forward-cid=1", "forward-cid");
    refused("colour=red", "colour");
    refused("socket", "KEY=VALUE");
    refused("uds-path=/b", "socket");
    refused("uds-path=/b,socket=/a,fd=3", "both");
}

/* Read @text as a file; the guests, or NULL and *@errp. */
static GPtrArray *read_text(const char *text, GError **errp)
{
    g_autoptr(GPtrArray) vms =
        g_ptr_array_new_with_free_func((GDestroyNotify)vm_options_free);
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-options-XXXXXX", &path, NULL);
    bool ok;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    ok = config_file_read(path, vms, errp);
    unlink(path);
    return ok ? g_steal_pointer(&vms) : NULL;
}

static void test_file_names_guests(void)
{
    g_autoptr(GPtrArray) vms = read_text(
        "# two guests\n"
        "vms:\n"
        "  - guest_cid: 3\n"
        "    socket: /a\n"
        "    groups: [default]\n"
        "  - { guest-cid: \"4\", socket: /b, queue_size: 128 }\n", NULL);
    const VmOptions *vm;

    g_assert_nonnull(vms);
    g_assert_cmpuint(vms->len, ==, 2);
    vm = g_ptr_array_index(vms, 1);
    g_assert_cmpuint(vm->guest_cid, ==, 4);
    g_assert_cmpstr(vm->socket, ==, "/b");
    g_assert_cmpuint(vm->queue_size, ==, 128);
}

static void test_file_is_refused(void)
{
    static const char *const texts[] = {
        "", "vms:\n", "vms: 3\n", "vms: []\n", "- 3\n", "guests: []\n",
        "vms:\n  - 3\n", "vms:\n  - guest_cid: [3]\n",
        "vms:\n  - guest_cid: { a: b }\n", "vms:\n  - socket:\n",
        "vms:\n  - guest_cid: 3\n    guest_cid: 4\n",
        "vms:\n  - guest_cid: 3\nvms:\n  - guest_cid: 4\n",
        "vms:\n  - guest_cid: 3\n---\nvms: []\n", "vms: [ {\n", "\t\x01",
        "vms:\n  - socket: \"/a\\0b\"\n", "vms:\n  - \"fd\\0x\": 3\n",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(read_text(texts[i], &err));
        g_assert_nonnull(strstr(err->message, ", line "));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/options/" path, fn)
    TEST("takes-all-keys", test_takes_all_keys);
    TEST("has-defaults", test_has_defaults);
    TEST("refuses-wrong-values", test_refuses_wrong_values);
    TEST("file-names-guests", test_file_names_guests);
    TEST("file-is-refused", test_file_is_refused);
    return g_test_run();
}
