/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the host sockets are: vsock-path.h.
 */

#include "temp-dir.h"
#include "vsock-path.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

/* Be a user, as whom the rest of @body runs, also where tests run as root. */
static uid_t become_user(void)
{
    uid_t old = geteuid();

    if (old == 0) {
        g_assert_cmpint(seteuid(NOBODY), ==, 0);
    }
    return old;
}

static void become(uid_t uid)
{
    if (geteuid() != uid) {
        g_assert_cmpint(seteuid(uid), ==, 0);
    }
}

static void set_env(const char *xdg, const char *home)
{
    g_unsetenv("XDG_RUNTIME_DIR");
    g_unsetenv("HOME");
    if (xdg) {
        g_setenv("XDG_RUNTIME_DIR", xdg, TRUE);
    }
    if (home) {
        g_setenv("HOME", home, TRUE);
    }
}

/* vsk_path_default_dir() of a user with these variables; NULL: @err. */
static void assert_user_dir(const char *xdg, const char *home,
                            const char *expected, int err)
{
    char dir[VSK_SUN_PATH_SIZE] = "untouched";
    uid_t old = become_user();

    set_env(xdg, home);
    g_assert_cmpint(vsk_path_default_dir(dir), ==, err);
    g_assert_cmpstr(dir, ==, expected ? expected : "untouched");
    become(old);
}

static void test_root_uses_run(void)
{
    char dir[VSK_SUN_PATH_SIZE];

    if (geteuid() != 0) {
        g_test_skip("only root sees it");
        return;
    }
    set_env("/run/user/0", "/home/me");
    g_assert_cmpint(vsk_path_default_dir(dir), ==, 0);
    g_assert_cmpstr(dir, ==, "/run/vsock");
}

static void test_user_uses_xdg(void)
{
    assert_user_dir("/run/user/7", "/home/me", "/run/user/7/vsock", 0);
}

static void test_user_without_xdg_uses_home(void)
{
    assert_user_dir(NULL, "/home/me", "/home/me/.cache/vsock", 0);
}

static void test_relative_variables_are_ignored(void)
{
    assert_user_dir("run", "/home/me", "/home/me/.cache/vsock", 0);
    assert_user_dir("run", "me", NULL, -ENOENT);
    assert_user_dir("", "", NULL, -ENOENT);
}

static void test_no_variables(void)
{
    assert_user_dir(NULL, NULL, NULL, -ENOENT);
}

static void test_long_variable_is_refused(void)
{
    g_autofree char *dir = g_strnfill(200, 'd');

    dir[0] = '/';
    assert_user_dir(dir, NULL, NULL, -ENAMETOOLONG);
    assert_user_dir(NULL, dir, NULL, -ENAMETOOLONG);
}

static void test_cid_is_in_the_name(void)
{
    char path[VSK_SUN_PATH_SIZE];
    uid_t old = become_user();

    set_env("/x", NULL);
    g_assert_cmpint(vsk_path_default(3, path), ==, 0);
    g_assert_cmpstr(path, ==, "/x/vsock/3.vsock");
    g_assert_cmpint(vsk_path_default(4294967294u, path), ==, 0);
    g_assert_cmpstr(path, ==, "/x/vsock/4294967294.vsock");
    set_env(NULL, NULL);
    g_assert_cmpint(vsk_path_default(3, path), ==, -ENOENT);
    become(old);
}

static void test_longest_port_path_fits(void)
{
    g_autofree char *base = g_strnfill(96, 'b');
    g_autofree char *expected = g_strdup_printf("%s_4294967295", base);
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_port(base, UINT32_MAX, path), ==, 0);
    g_assert_cmpstr(path, ==, expected);
    g_assert_cmpuint(strlen(path), ==, VSK_SUN_PATH_SIZE - 1);
}

static void test_longer_port_path_is_refused(void)
{
    g_autofree char *base = g_strnfill(97, 'b');
    char path[VSK_SUN_PATH_SIZE] = "untouched";

    g_assert_cmpint(vsk_path_for_port(base, UINT32_MAX, path), ==,
                    -ENAMETOOLONG);
    g_assert_cmpstr(path, ==, "untouched");
    g_assert_cmpint(vsk_path_for_port(base, 5, path), ==, 0);
}

static void test_seqpacket_path(void)
{
    g_autofree char *base = g_strnfill(97, 'b');
    g_autofree char *longest = g_strdup_printf("%s_seqpacket", base);
    g_autofree char *longer = g_strnfill(98, 'b');
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_seqpacket("/x/3.vsock", path), ==, 0);
    g_assert_cmpstr(path, ==, "/x/3.vsock_seqpacket");
    g_assert_cmpint(vsk_path_for_seqpacket(base, path), ==, 0);
    g_assert_cmpstr(path, ==, longest);
    g_assert_cmpuint(strlen(path), ==, VSK_SUN_PATH_SIZE - 1);
    g_assert_cmpint(vsk_path_for_seqpacket(longer, path), ==, -ENAMETOOLONG);
    g_assert_cmpstr(path, ==, longest); /* untouched */
}

/* --- The directory ------------------------------------------------------- */

static void test_dir_is_made_with_parents(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *cache = temp_dir_file(tmp, "cache");
    g_autofree char *dir = temp_dir_file(tmp, "cache/vsock");

    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, 0);
    g_assert_cmpint(file_mode(dir), ==, 0700);
    g_assert_cmpint(file_mode(cache), ==, 0700);
}

static void test_dir_that_is_there_is_fine(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();

    g_assert_cmpint(chmod(tmp->path, 0755), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(tmp->path), ==, 0);
    g_assert_cmpint(file_mode(tmp->path), ==, 0755);
}

static void test_dir_writable_by_others_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();

    g_assert_cmpint(chmod(tmp->path, 0770), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(tmp->path), ==, -EPERM);
    g_assert_cmpint(chmod(tmp->path, 0702), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(tmp->path), ==, -EPERM);
}

/* Who may write above it could put another in its place. */
static void test_dir_below_one_of_all_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *open_dir = temp_dir_file(tmp, "open");
    g_autofree char *dir = temp_dir_file(tmp, "open/cache/vsock");
    g_autofree char *link = temp_dir_file(tmp, "link");
    g_autofree char *by_link = temp_dir_file(tmp, "link/vsock");

    g_assert_cmpint(g_mkdir(open_dir, 0700), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, 0);
    g_assert_cmpint(symlink("open/cache", link), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(by_link), ==, 0);
    g_assert_cmpint(chmod(open_dir, 0777), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, -EPERM);
    g_assert_cmpint(vsk_path_prepare_dir(by_link), ==, -EPERM);
    g_assert_cmpint(chmod(open_dir, 01777), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, 0);
}

/* Whatever the umask, nobody else may look into what is made. */
static void test_dir_is_private_whatever_the_umask(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *dir = temp_dir_file(tmp, "a/b");
    g_autofree char *above = temp_dir_file(tmp, "a");
    mode_t old = umask(0);

    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, 0);
    umask(old);
    g_assert_cmpint(file_mode(dir), ==, 0700);
    g_assert_cmpint(file_mode(above), ==, 0700);
}

static void test_dir_of_another_user_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();

    if (geteuid() != 0) {
        g_test_skip("only root can give a directory away");
        return;
    }
    g_assert_cmpint(chown(tmp->path, NOBODY, NOBODY), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(tmp->path), ==, -EPERM);
}

static void test_dir_that_is_a_link_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *real = temp_dir_file(tmp, "real");
    g_autofree char *dir = temp_dir_file(tmp, "link");

    g_assert_cmpint(g_mkdir(real, 0700), ==, 0);
    g_assert_cmpint(symlink(real, dir), ==, 0);
    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, -ENOTDIR);
}

static void test_dir_that_is_a_file_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *file = temp_dir_file(tmp, "file");
    g_autofree char *below = temp_dir_file(tmp, "file/below/it");

    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    g_assert_cmpint(vsk_path_prepare_dir(file), ==, -ENOTDIR);
    g_assert_cmpint(vsk_path_prepare_dir(below), ==, -ENOTDIR);
}

static void test_dir_in_a_closed_one_is_refused(void)
{
    g_autoptr(TempDir) tmp = temp_dir_new();
    g_autofree char *below = temp_dir_file(tmp, "cache");
    g_autofree char *dir = temp_dir_file(tmp, "cache/vsock");
    uid_t old;

    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    old = become_user();
    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, -EACCES);
    g_assert_cmpint(vsk_path_prepare_dir(below), ==, -EACCES);
    become(old);
}

static void test_dir_too_long_is_refused(void)
{
    g_autofree char *dir = g_strnfill(5000, 'd');

    g_assert_cmpint(vsk_path_prepare_dir(dir), ==, -ENAMETOOLONG);
}

/* --- Source names -------------------------------------------------------- */

static void test_source_round_trip(void)
{
    static const struct {
        uint64_t cid;
        uint32_t port;
        uint64_t unique;
    } rows[] = {
        { 3, 1024, 0 },
        { 4294967294u, UINT32_MAX, UINT64_MAX },
        { UINT64_MAX, 0, 1 },
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        char name[1 + VSK_SUN_PATH_SIZE] = "";
        uint64_t cid;
        uint32_t port;

        g_assert_cmpint(vsk_path_format_source(rows[i].cid, rows[i].port,
                                               rows[i].unique, name + 1),
                        ==, 0);
        g_assert_cmpint(vsk_path_parse_source(name, 1 + strlen(name + 1),
                                              &cid, &port), ==, 0);
        g_assert_cmpuint(cid, ==, rows[i].cid);
        g_assert_cmpuint(port, ==, rows[i].port);
    }
}

static void test_source_names_differ(void)
{
    char a[VSK_SUN_PATH_SIZE], b[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_format_source(3, 1, 1, a), ==, 0);
    g_assert_cmpint(vsk_path_format_source(3, 1, 2, b), ==, 0);
    g_assert_cmpstr(a, !=, b);
}

static void test_other_names_are_no_source(void)
{
    static const struct {
        const char *name;
        size_t len;
    } rows[] = {
#define NAME(text) { text, sizeof(text) - 1 }
        NAME(""),
        NAME("\0"),
        NAME("/run/vsock/3.vsock"),
        NAME("\0vsock"),
        NAME("\0vsock:"),
        NAME("\0vsock:3"),
        NAME("\0vsock:3:"),
        NAME("\0vsock:3:4"),
        NAME("\0vsock:x:4:0"),
        NAME("\0vsock::4:0"),
        NAME("\0other:3:4:0"),
        NAME("vsock:3:4:0"),
#undef NAME
    };
    uint64_t cid = 77;
    uint32_t port = 78;

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        /* Not terminated, exactly as long: a read beyond is seen. */
        g_autofree char *name = g_malloc(rows[i].len);

        if (rows[i].len) {
            memcpy(name, rows[i].name, rows[i].len);
        }
        g_assert_cmpint(vsk_path_parse_source(name, rows[i].len, &cid, &port),
                        ==, -EINVAL);
    }
    g_assert_cmpuint(cid, ==, 77);
    g_assert_cmpuint(port, ==, 78);
}

static void test_source_of_any_length_is_read_within_it(void)
{
    g_autofree char *big = g_strnfill(VSK_SUN_PATH_SIZE + 1, '7');
    const char *full = "vsock:123:456:0000000000000001";
    uint64_t cid;
    uint32_t port;

    for (size_t len = 0; len <= 1 + strlen(full); len++) {
        g_autofree char *name = g_malloc(MAX(len, 1));
        bool complete = len >= 1 + strlen("vsock:123:456:");

        name[0] = '\0';
        memcpy(name + 1, full, len ? len - 1 : 0);
        g_assert_cmpint(vsk_path_parse_source(name, len, &cid, &port), ==,
                        complete ? 0 : -EINVAL);
    }
    big[0] = '\0';
    g_assert_cmpint(vsk_path_parse_source(big, VSK_SUN_PATH_SIZE + 1, &cid,
                                          &port), ==, -EINVAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/path/default/root-uses-run", test_root_uses_run);
    g_test_add_func("/path/default/user-uses-xdg-runtime-dir",
                    test_user_uses_xdg);
    g_test_add_func("/path/default/user-without-xdg-uses-home-cache",
                    test_user_without_xdg_uses_home);
    g_test_add_func("/path/default/relative-variables-are-ignored",
                    test_relative_variables_are_ignored);
    g_test_add_func("/path/default/no-variables-is-enoent",
                    test_no_variables);
    g_test_add_func("/path/default/long-variable-is-refused",
                    test_long_variable_is_refused);
    g_test_add_func("/path/default/cid-is-in-the-name",
                    test_cid_is_in_the_name);
    g_test_add_func("/path/port/longest-fits", test_longest_port_path_fits);
    g_test_add_func("/path/port/longer-is-refused",
                    test_longer_port_path_is_refused);
    g_test_add_func("/path/seqpacket/fits-or-is-refused", test_seqpacket_path);
    g_test_add_func("/path/dir/is-made-with-parents",
                    test_dir_is_made_with_parents);
    g_test_add_func("/path/dir/that-is-there-is-fine",
                    test_dir_that_is_there_is_fine);
    g_test_add_func("/path/dir/writable-by-others-is-refused",
                    test_dir_writable_by_others_is_refused);
    g_test_add_func("/path/dir/below-one-of-all-is-refused",
                    test_dir_below_one_of_all_is_refused);
    g_test_add_func("/path/dir/is-private-whatever-the-umask",
                    test_dir_is_private_whatever_the_umask);
    g_test_add_func("/path/dir/of-another-user-is-refused",
                    test_dir_of_another_user_is_refused);
    g_test_add_func("/path/dir/link-is-refused",
                    test_dir_that_is_a_link_is_refused);
    g_test_add_func("/path/dir/file-is-refused",
                    test_dir_that_is_a_file_is_refused);
    g_test_add_func("/path/dir/in-a-closed-one-is-refused",
                    test_dir_in_a_closed_one_is_refused);
    g_test_add_func("/path/dir/too-long-is-refused",
                    test_dir_too_long_is_refused);
    g_test_add_func("/path/source/round-trip", test_source_round_trip);
    g_test_add_func("/path/source/unique-makes-names-differ",
                    test_source_names_differ);
    g_test_add_func("/path/source/other-names-are-refused",
                    test_other_names_are_no_source);
    g_test_add_func("/path/source/read-within-its-length",
                    test_source_of_any_length_is_read_within_it);
    return g_test_run();
}
