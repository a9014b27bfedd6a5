/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vhost-vsock-test: replay packet scripts against a virtio socket device.
 *
 *     vhost-vsock-test [options of GLib's tests] [script or directory]...
 *
 * Each script is one test case, run by a fresh QEMU.  What the scripts can
 * say is written down in vhost-vsock-test-data/README.rst.
 *
 * Environment:
 *   QTEST_QEMU_BINARY         the QEMU to test; by default one beside this
 *                             executable, or in PATH
 *   VHOST_VSOCK_TEST_DATA     scripts and directories, with ':' between
 *   VHOST_VSOCK_TEST_BACKEND  emulator, kernel or vhost-user; by default
 *                             the emulator where QEMU has it
 *   VHOST_VSOCK_TEST_MACHINE  pc, microvm (virtio-mmio) or pseries (of
 *                             qemu-system-ppc64, big-endian); default: pc
 *   VHOST_VSOCK_TEST_DAEMON   command line of the daemon for vhost-user; by
 *                             default one beside this executable, or in PATH
 *   VHOST_VSOCK_TEST_WAIVE    names, ok-port, end, refusals, with ','
 *                             between: what a daemon may do otherwise
 *   VHOST_VSOCK_TEST_SEED     seed of "fuzz" steps, instead of their own
 *   VHOST_VSOCK_TEST_SLOW     factor for all times to wait
 *   VHOST_VSOCK_TEST_ENDS     how many scripts to cut short, or "all"
 *   VHOST_VSOCK_TEST_STORM    seconds of the storm, and connections of the
 *   VHOST_VSOCK_TEST_MANY     case that makes one after the other
 *   VHOST_VSOCK_TEST_IOTHREAD 1: the emulator runs in a thread of its own
 */

#include "qemu/osdep.h"
#include "vhost-vsock-ends.h"
#include "vhost-vsock-selftest.h"
#include "vhost-vsock-steps.h"
#include "vhost-vsock-storm.h"

#define USAGE                                                                \
    "Replays packet scripts against QEMU's vhost-vsock, TAP on stdout.\n" \
    "  vhost-vsock-test [OPTION...] [SCRIPT OR DIRECTORY...]\n"              \
    "Environment: QTEST_QEMU_BINARY, VHOST_VSOCK_TEST_DATA,\n"               \
    "VHOST_VSOCK_TEST_BACKEND (emulator, kernel, vhost-user),\n"             \
    "VHOST_VSOCK_TEST_MACHINE (pc, microvm, pseries),\n"                     \
    "VHOST_VSOCK_TEST_DAEMON, VHOST_VSOCK_TEST_WAIVE (names, ok-port, end,\n" \
    "refusals), VHOST_VSOCK_TEST_SEED, VHOST_VSOCK_TEST_SLOW,\n"             \
    "VHOST_VSOCK_TEST_ENDS, VHOST_VSOCK_TEST_STORM, VHOST_VSOCK_TEST_MANY,\n" \
    "VHOST_VSOCK_TEST_IOTHREAD (0, 1); vhost-vsock-test(1) tells of each.\n" \
    "Options are those of GLib's tests:\n\n"

/* A case that takes longer is stuck. */
#define CASE_TIMEOUT_S 60

static void run_case(gconstpointer data)
{
    const char *path = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_load(path, &error);
    g_autofree char *lacks = NULL;
    const VvtConfig *config;

    if (!script) {
        g_test_message("%s", error->message);
        g_test_fail();
        return;
    }
    if (script->description[0]) {
        g_test_message("%s", script->description);
    }
    config = vvt_config_get();
    if (!vvt_config_usable(config)) {
        return;
    }
    lacks = vvt_config_lacks(config, script);
    if (lacks) {
        g_test_skip(lacks);
        return;
    }
    vvt_case_test(vvt_run_script, script, CASE_TIMEOUT_S * config->slow);
}

static gint compare_paths(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Add all scripts of a directory, sorted; false: it cannot be read. */
static bool collect_dir(const char *dir, GPtrArray *paths)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) entries = g_dir_open(dir, 0, &error);
    const char *name;
    unsigned i;

    if (!entries) {
        fprintf(stderr, "vhost-vsock-test: %s\n", error->message);
        return false;
    }
    while ((name = g_dir_read_name(entries))) {
        if (g_str_has_suffix(name, ".json")) {
            g_ptr_array_add(found, g_build_filename(dir, name, NULL));
        }
    }
    if (found->len == 0) {
        fprintf(stderr, "vhost-vsock-test: %s: no *.json in it\n", dir);
        return false;
    }
    g_ptr_array_sort(found, compare_paths);
    for (i = 0; i < found->len; i++) {
        g_ptr_array_add(paths, found->pdata[i]);
    }
    return true;
}

static bool collect(const char *path, GPtrArray *paths)
{
    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return collect_dir(path, paths);
    }
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        fprintf(stderr, "vhost-vsock-test: %s: %s\n", path, strerror(ENOENT));
        return false;
    }
    g_ptr_array_add(paths, g_strdup(path));
    return true;
}

/* Where the project's own scripts are: beside the executable, or built in. */
static char *default_dir(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : g_strdup(".");
    char *data = g_build_filename(dir, "vhost-vsock-test-data", NULL);

#ifdef VHOST_VSOCK_TEST_DATA_DIR
    if (!g_file_test(data, G_FILE_TEST_IS_DIR)) {
        g_free(data);
        data = g_strdup(VHOST_VSOCK_TEST_DATA_DIR);
    }
#endif
    return data;
}

/* All scripts to run: arguments, else the environment's, else our own. */
static bool collect_all(int argc, char **argv, GPtrArray *paths)
{
    const char *env = g_getenv("VHOST_VSOCK_TEST_DATA");
    g_auto(GStrv) words = NULL;
    g_autofree char *dir = NULL;
    bool ok = true;
    int i;

    for (i = 1; i < argc; i++) {
        ok = collect(argv[i], paths) && ok;
    }
    if (argc > 1) {
        return ok;
    }
    if (env && env[0]) {
        words = g_strsplit(env, ":", -1);
        for (i = 0; words[i]; i++) {
            ok = (!words[i][0] || collect(words[i], paths)) && ok;
        }
        return ok;
    }
    dir = default_dir();
    return collect(dir, paths);
}

/* GLib refuses two cases of one name. */
static void add_case(const char *path, GHashTable *names)
{
    g_autofree char *base = g_path_get_basename(path);
    char *name = g_strdup_printf("/vhost-vsock/replay/%s", base);
    unsigned n = 1;

    while (g_hash_table_contains(names, name)) {
        g_free(name);
        name = g_strdup_printf("/vhost-vsock/replay/%s~%u", base, ++n);
    }
    g_hash_table_add(names, name);
    g_test_add_data_func(name, path, run_case);
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GHashTable) names =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0) {
            printf(USAGE);
        } else if (strcmp(argv[i], "-V") == 0) {
            argv[i] = (char *)"--verbose";
        }
    }
    g_test_init(&argc, &argv, NULL);
    vvt_config_find_programs(argv[0]);
    if (!collect_all(argc, argv, paths)) {
        return EXIT_FAILURE;
    }
    if (argc == 1) {
        vvt_selftest_add();
        vvt_storm_add();
    }
    for (i = 0; i < paths->len; i++) {
        add_case(paths->pdata[i], names);
    }
    vvt_ends_add(paths, argc == 1);
    return g_test_run();
}
