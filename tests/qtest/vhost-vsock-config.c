/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the environment asks for, and what the QEMU under test can do.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-config.h"

#define KERNEL_NODE "/dev/vhost-vsock"

/* How long a daemon may take to listen, to let go, to end; times "slow". */
#define PATIENCE_MS 20000

/* What machines with PCI have alike; a macro, as it initializes a constant. */
#define ON_PCI                                                              \
    .device = "vhost-vsock-pci",                                            \
    .vhost_user_device = "vhost-user-vsock-pci",                            \
    .place = "addr=04.0", .has_pci = true
QEMU_BUILD_BUG_ON(VVT_PCI_SLOT != 4);

/* On a PC the firmware ends at 4 GiB, and ours has 64 KiB. */
#define PC_ROM_START ((UINT64_C(4) << 30) - 65536)

static const VvtMachineType machine_types[VVT_MACHINE_NUM] = {
    [VVT_MACHINE_PC] = {
        .kind = VVT_MACHINE_PC, .name = "pc", ON_PCI,
        .options = "", .ram_mib = 128, .rom_start = PC_ROM_START,
        .can_unplug = true, .has_msi = true,
    },
    [VVT_MACHINE_MICROVM] = {
        .kind = VVT_MACHINE_MICROVM, .name = "microvm",
        .device = "vhost-vsock-device",
        .vhost_user_device = "vhost-user-vsock-device",
        .place = "bus=virtio-mmio-bus.0",
        .options = "-global virtio-mmio.force-legacy=off",
        .ram_mib = 128, .registers_size = 512,
    },
    [VVT_MACHINE_PSERIES] = {
        .kind = VVT_MACHINE_PSERIES, .name = "pseries", ON_PCI,
        .options = "-m 256", .ram_mib = 256, .big_endian = true,
    },
};

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

static const char *device_name(const VvtConfig *config)
{
    return config->backend == VVT_BACKEND_VHOST_USER ?
           config->machine->vhost_user_device : config->machine->device;
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
    command = g_strdup_printf("exec %s -device %s,help", binary,
                              device_name(config));
    argv[2] = command;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                      &out, &err, &status, &error)) {
        cannot(config, true, "%s: %s", binary, error->message);
        return NULL;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        cannot(config, WIFEXITED(status) &&
               WEXITSTATUS(status) >= EXIT_CANNOT_RUN,
               "%s: no %s: %s", binary, device_name(config),
               g_strstrip(err));
        return NULL;
    }
    return g_steal_pointer(&out);
}

static bool parse_backend(const char *name, VvtBackend *ret_backend)
{
    unsigned b = vvt_find_name(vvt_backend_name, VVT_BACKEND_NUM, name);

    if (b == VVT_BACKEND_NUM) {
        return false;
    }
    *ret_backend = b;
    return true;
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

/* What the emulator, or the kernel, still needs of QEMU and of this machine. */
static void check_backend(VvtConfig *config, bool asked)
{
    g_autofree char *node = check_kernel_node();

    if (!asked) {
        config->backend = config->has_backend_property ?
                          VVT_BACKEND_EMULATOR : VVT_BACKEND_KERNEL;
    }
    if (config->backend == VVT_BACKEND_EMULATOR &&
        !config->has_backend_property) {
        cannot(config, false, "this QEMU's %s has no emulator (no property "
               "\"backend\")", device_name(config));
    } else if (config->backend == VVT_BACKEND_KERNEL && node) {
        cannot(config, false, "%s%s", config->has_backend_property ? "" :
               "this QEMU's device has no emulator (no property "
               "\"backend\"), and the kernel's is not there: ", node);
    }
}

static bool read_waive(VvtConfig *config)
{
    static const struct {
        const char *name;
        VvtWaive bit;
    } names[] = {
        { "names", VVT_WAIVE_NAMES },
        { "ok-port", VVT_WAIVE_OK_PORT },
        { "end", VVT_WAIVE_END },
        { "refusals", VVT_WAIVE_REFUSALS },
    };
    g_autofree char *text = env_or_null("VHOST_VSOCK_TEST_WAIVE");
    g_auto(GStrv) words = g_strsplit(text ?: "", ",", -1);
    unsigned i, j;

    for (i = 0; words[i]; i++) {
        for (j = 0; j < G_N_ELEMENTS(names); j++) {
            if (strcmp(words[i], names[j].name) == 0) {
                config->waive |= names[j].bit;
                break;
            }
        }
        if (j == G_N_ELEMENTS(names)) {
            cannot(config, true, "VHOST_VSOCK_TEST_WAIVE=%s: names, ok-port, "
                   "end, refusals expected, with ',' between", text);
            return false;
        }
    }
    return true;
}

/* The daemon's command line; whether its program can be run is seen later. */
static bool read_daemon(VvtConfig *config)
{
    g_autofree char *text = env_or_null("VHOST_VSOCK_TEST_DAEMON");
    g_autoptr(GError) error = NULL;

    if (!text) {
        cannot(config, true, "VHOST_VSOCK_TEST_DAEMON is not set, and no "
               "vhost-user-vsock was found beside the executable or in PATH");
        return false;
    }
    if (!g_shell_parse_argv(text, NULL, &config->daemon, &error)) {
        cannot(config, true, "VHOST_VSOCK_TEST_DAEMON=%s: %s", text,
               error->message);
        return false;
    }
    return true;
}

static bool read_machine(VvtConfig *config)
{
    g_autofree char *text = env_or_null("VHOST_VSOCK_TEST_MACHINE");
    unsigned i;

    for (i = 0; i < VVT_MACHINE_NUM; i++) {
        if (!text || strcmp(text, machine_types[i].name) == 0) {
            config->machine = &machine_types[i];
            return true;
        }
    }
    cannot(config, true, "VHOST_VSOCK_TEST_MACHINE=%s: pc, microvm or pseries "
           "expected", text);
    return false;
}

static bool read_seed(VvtConfig *config)
{
    g_autofree char *text = env_or_null("VHOST_VSOCK_TEST_SEED");
    guint64 seed = 0;

    if (text && !g_ascii_string_to_unsigned(text, 10, 0, UINT32_MAX, &seed,
                                            NULL)) {
        cannot(config, true, "VHOST_VSOCK_TEST_SEED=%s: a number of 32 bits "
               "expected", text);
        return false;
    }
    config->has_seed = text != NULL;
    config->seed = seed;
    return true;
}

/* False: a variable is wrong, which @config then says. */
static bool read_environment(VvtConfig *config, bool *ret_asked)
{
    g_autofree char *backend = env_or_null("VHOST_VSOCK_TEST_BACKEND");
    g_autofree char *slow = env_or_null("VHOST_VSOCK_TEST_SLOW");
    g_autofree char *iothread = env_or_null("VHOST_VSOCK_TEST_IOTHREAD");
    guint64 factor = 1;

    if (slow &&
        !g_ascii_string_to_unsigned(slow, 10, 1, 100, &factor, NULL)) {
        cannot(config, true, "VHOST_VSOCK_TEST_SLOW=%s: a factor from 1 to "
               "100 expected", slow);
        return false;
    }
    if (iothread && strcmp(iothread, "0") != 0 &&
        strcmp(iothread, "1") != 0) {
        cannot(config, true, "VHOST_VSOCK_TEST_IOTHREAD=%s: 0 or 1 expected",
               iothread);
        return false;
    }
    config->iothread = iothread && iothread[0] == '1';
    if (!read_seed(config) || !read_machine(config)) {
        return false;
    }
    config->slow = factor;
    config->patience_ms = PATIENCE_MS * factor;
    if (backend && !parse_backend(backend, &config->backend)) {
        cannot(config, true, "VHOST_VSOCK_TEST_BACKEND=%s: emulator, kernel "
               "or vhost-user expected", backend);
        return false;
    }
    *ret_asked = backend != NULL;
    return config->backend != VVT_BACKEND_VHOST_USER ||
           (read_waive(config) && read_daemon(config));
}

const VvtConfig *vvt_config_get(void)
{
    static VvtConfig config;
    static bool done;
    g_autofree char *properties = NULL;
    bool asked = false;

    if (done) {
        return &config;
    }
    done = true;
    if (!read_environment(&config, &asked)) {
        return &config;
    }
    properties = query_properties(&config);
    if (properties && config.backend != VVT_BACKEND_VHOST_USER) {
        config.has_backend_property = strstr(properties, " backend=") != NULL;
        check_backend(&config, asked);
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

static bool try_program(const char *variable, bool quote, const char *dir,
                        const char *below)
{
    g_autofree char *path = g_build_filename(dir, below, NULL);
    g_autofree char *quoted = g_shell_quote(path);

    if (!g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
        return false;
    }
    g_setenv(variable, quote ? quoted : path, true);
    return true;
}

/* @in_tree: where it is in QEMU's build tree, seen from this executable. */
static void find_program(const char *argv0, const char *variable, bool quote,
                         const char *name, const char *in_tree)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = g_path_get_dirname(self ?: argv0);
    g_autofree char *argv0_dir = g_path_get_dirname(argv0);
    g_autofree char *in_path = NULL;

    if (g_getenv(variable)) {
        return;
    }
    /* As installed side by side, then as in QEMU's build tree. */
    if (try_program(variable, quote, argv0_dir, name) ||
        try_program(variable, quote, dir, name) ||
        try_program(variable, quote, dir, in_tree)) {
        return;
    }
    in_path = g_find_program_in_path(name);
    if (in_path) {
        try_program(variable, quote, "/", in_path);
    }
}

void vvt_config_find_programs(const char *argv0)
{
    find_program(argv0, "QTEST_QEMU_BINARY", false, "qemu-system-x86_64",
                 "../../qemu-system-x86_64");
    find_program(argv0, "VHOST_VSOCK_TEST_DAEMON", true, "vhost-user-vsock",
                 "../../contrib/vhost-user-vsock/vhost-user-vsock");
}

uint64_t vvt_config_guest_cid(const VvtConfig *config)
{
    /* The kernel has one world of CIDs for the whole machine. */
    return config->backend == VVT_BACKEND_KERNEL ? 0x10000000 + getpid() : 3;
}

char *vvt_config_lacks(const VvtConfig *config, const VvtScript *script)
{
    if (script->backends && !(script->backends & (1u << config->backend))) {
        return g_strdup_printf("is not for the backend \"%s\"",
                               vvt_backend_name[config->backend]);
    }
    if (script->requires_pci && !config->machine->has_pci) {
        return g_strdup("needs a PCI bus");
    }
    if (script->requires_little_endian && config->machine->big_endian) {
        return g_strdup("needs rings that are little-endian without "
                        "VERSION_1, too");
    }
    if (vvt_script_uses(script, VVT_OP_MSI) && !config->machine->has_msi) {
        return g_strdup("needs interrupts by messages, of -machine pc");
    }
    return NULL;
}

char *vvt_config_device(const VvtConfig *config, uint64_t guest_cid,
                        const char *dir)
{
    g_autoptr(GString) text = g_string_new(device_name(config));

    g_string_append_printf(text, ",id=vsock0,%s", config->machine->place);
    if (config->backend == VVT_BACKEND_VHOST_USER) {
        g_string_append(text, ",chardev=daemon0");
        return g_string_free(g_steal_pointer(&text), false);
    }
    if (config->options) {
        g_string_append_printf(text, ",%s", config->options);
    }
    g_string_append_printf(text, ",guest-cid=%" PRIu64, guest_cid);
    if (config->has_backend_property) {
        g_string_append_printf(text, ",backend=%s",
                               vvt_backend_name[config->backend]);
    }
    if (config->backend == VVT_BACKEND_EMULATOR) {
        g_string_append_printf(text, ",uds-path=%s/%s%s", dir, VVT_UDS_PATH,
                               config->iothread ? ",iothread=io0" : "");
    }
    return g_string_free(g_steal_pointer(&text), false);
}

/*
 * A daemon maps the guest's memory, and has the guest's CID from elsewhere.
 *
 * Debian's QEMU has no qtest accelerator, and then takes the next.  The clock
 * and the CPU are of no account here: our firmware halts it.
 */
char *vvt_config_qemu_args(const VvtConfig *config, uint64_t guest_cid,
                           const char *dir)
{
    g_autofree char *device = vvt_config_device(config, guest_cid, dir);

    const VvtMachineType *type = config->machine;

    if (config->backend == VVT_BACKEND_VHOST_USER) {
        return g_strdup_printf("-accel qtest -accel tcg"
                               " -machine %s,memory-backend=ram0 -nodefaults"
                               " %s -m %u -object memory-backend-memfd,"
                               "id=ram0,size=%uM,share=on"
                               " -chardev socket,id=daemon0,path=%s/%s"
                               " -device %s", type->name, type->options,
                               type->ram_mib, type->ram_mib, dir,
                               VVT_VHOST_SOCKET, device);
    }
    return g_strdup_printf("-machine %s -nodefaults %s%s -device %s",
                           type->name, type->options,
                           config->iothread ? " -object iothread,id=io0" : "",
                           device);
}
