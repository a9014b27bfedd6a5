/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the environment asks for, and what the QEMU under test can do.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-config.h"

#define KERNEL_NODE "/dev/vhost-vsock"

static char *env_or_null(const char *name)
{
    const char *value = g_getenv(name);

    return value && value[0] ? g_strdup(value) : NULL;
}

/* What a shell exits with when it cannot run a program. */
#define EXIT_CANNOT_RUN 126

static void G_GNUC_PRINTF(3, 4) cannot(VvtConfig *config, bool is_mistake,
                                       const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    config->cannot = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    config->is_mistake = is_mistake;
}

/*
 * The properties of the device, as text; NULL if this binary cannot be run or
 * has no such device, which @config then says.
 */
static char *query_properties(VvtConfig *config)
{
    g_autofree char *binary = env_or_null("QTEST_QEMU_BINARY");
    g_autofree char *command = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_autoptr(GError) error = NULL;
    const char *argv[] = { "/bin/sh", "-c", NULL, NULL };
    int status = 0;

    if (!binary) {
        cannot(config, true, "QTEST_QEMU_BINARY is not set, and no QEMU was "
               "found beside the executable or in PATH");
        return NULL;
    }
    /* By a shell, because libqtest starts it so: it may hold arguments. */
    command = g_strdup_printf("exec %s -device vhost-vsock-pci,help", binary);
    argv[2] = command;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                      &out, &err, &status, &error)) {
        cannot(config, true, "%s: %s", binary, error->message);
        return NULL;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        cannot(config, WIFEXITED(status) &&
               WEXITSTATUS(status) >= EXIT_CANNOT_RUN,
               "%s: no vhost-vsock-pci: %s", binary, g_strstrip(err));
        return NULL;
    }
    return g_steal_pointer(&out);
}

static bool parse_backend(const char *name, VvtBackend *ret_backend)
{
    VvtBackend b;

    /* vhost-user would need a daemon, which nothing here starts. */
    for (b = 0; b < VVT_BACKEND_VHOST_USER; b++) {
        if (strcmp(name, vvt_backend_name[b]) == 0) {
            *ret_backend = b;
            return true;
        }
    }
    return false;
}

static char *check_kernel_node(void)
{
    int fd = open(KERNEL_NODE, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return g_strdup_printf("%s: %s", KERNEL_NODE, strerror(errno));
    }
    close(fd);
    return NULL;
}

static void choose_backend(VvtConfig *config, const char *asked)
{
    g_autofree char *node = check_kernel_node();

    if (asked && !parse_backend(asked, &config->backend)) {
        cannot(config, true, "VHOST_VSOCK_TEST_BACKEND=%s: emulator or "
               "kernel expected", asked);
        return;
    }
    if (!asked) {
        config->backend = config->has_backend_property ?
                          VVT_BACKEND_EMULATOR : VVT_BACKEND_KERNEL;
    }
    if (config->backend == VVT_BACKEND_EMULATOR &&
        !config->has_backend_property) {
        cannot(config, false, "this QEMU's vhost-vsock-pci has no emulator "
               "(no property \"backend\")");
    } else if (config->backend == VVT_BACKEND_KERNEL && node) {
        cannot(config, false, "%s%s", config->has_backend_property ? "" :
               "this QEMU's vhost-vsock-pci has no emulator (no property "
               "\"backend\"), and the kernel's is not there: ", node);
    }
}

const VvtConfig *vvt_config_get(void)
{
    static VvtConfig config;
    static bool done;
    g_autofree char *asked = env_or_null("VHOST_VSOCK_TEST_BACKEND");
    g_autofree char *slow = env_or_null("VHOST_VSOCK_TEST_SLOW");
    g_autofree char *properties = NULL;
    guint64 factor = 1;

    if (done) {
        return &config;
    }
    done = true;
    if (slow &&
        !g_ascii_string_to_unsigned(slow, 10, 1, 100, &factor, NULL)) {
        cannot(&config, true, "VHOST_VSOCK_TEST_SLOW=%s: a factor from 1 to "
               "100 expected", slow);
        return &config;
    }
    config.slow = factor;
    properties = query_properties(&config);
    if (properties) {
        config.has_backend_property = strstr(properties, " backend=") != NULL;
        choose_backend(&config, asked);
    }
    return &config;
}

bool vvt_config_usable(const VvtConfig *config)
{
    if (config->cannot && config->is_mistake) {
        g_test_message("%s", config->cannot);
        g_test_fail();
    } else if (config->cannot) {
        g_test_skip(config->cannot);
    }
    return !config->cannot;
}

static bool try_binary(const char *dir, const char *below)
{
    g_autofree char *path = g_build_filename(dir, below, NULL);

    if (!g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
        return false;
    }
    g_setenv("QTEST_QEMU_BINARY", path, true);
    return true;
}

void vvt_config_find_qemu(const char *argv0)
{
    const char *name = "qemu-system-x86_64";
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = g_path_get_dirname(self ?: argv0);
    g_autofree char *argv0_dir = g_path_get_dirname(argv0);
    g_autofree char *in_path = NULL;

    if (g_getenv("QTEST_QEMU_BINARY")) {
        return;
    }
    /* As installed side by side, then as in QEMU's build tree. */
    if (try_binary(argv0_dir, name) || try_binary(dir, name) ||
        try_binary(dir, "../../qemu-system-x86_64")) {
        return;
    }
    in_path = g_find_program_in_path(name);
    if (in_path) {
        g_setenv("QTEST_QEMU_BINARY", in_path, true);
    }
}

uint64_t vvt_config_guest_cid(const VvtConfig *config)
{
    /* The kernel has one world of CIDs for the whole machine. */
    return config->backend == VVT_BACKEND_KERNEL ? 0x10000000 + getpid() : 3;
}

char *vvt_config_qemu_args(const VvtConfig *config, uint64_t guest_cid,
                           const char *uds_path)
{
    g_autoptr(GString) args = g_string_new("-machine pc -nodefaults");

    g_string_append_printf(args, " -device vhost-vsock-pci,id=vsock0,"
                           "addr=04.0,guest-cid=%" PRIu64, guest_cid);
    if (config->has_backend_property) {
        g_string_append_printf(args, ",backend=%s",
                               vvt_backend_name[config->backend]);
    }
    if (config->backend == VVT_BACKEND_EMULATOR) {
        g_string_append_printf(args, ",uds-path=%s", uds_path);
    }
    return g_string_free(g_steal_pointer(&args), false);
}
