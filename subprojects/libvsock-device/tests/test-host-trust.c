/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whom a guest's connections may reach, and whose are taken: host.h.
 */

#include "host-fixture.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

static int try_connect(HostFixture *h, uint32_t port, VskType type,
                       VskRefusal *ret_why)
{
    *ret_why = VSK_REFUSED_NUM;
    return vsk_host_connect(h->host, 3, 1024, port, type, h->unique++,
                            ret_why);
}

/* --- Listeners of other users -------------------------------------------- */

/*
 * The mode and owner of the directory, and whether the guest reaches a program
 * of @uid there.
 */
typedef struct Row {
    mode_t mode;
    uid_t owner;
    uid_t uid;
    bool reaches;
} Row;

static const Row rows[] = {
    /* Where everybody may write: us, root, the directory's owner. */
    { 01777, 0, NOBODY, false },
    { 0777, 0, NOBODY, false },
    { 0702, 0, NOBODY, false },
    { 01777, 0, 0, true },
    { 0777, 1, 1, true },
    { 0777, 1, 2, false },
    { 0777, NOBODY, NOBODY, false }, /* which may be any two users */
    /* Else whoever was let in. */
    { 0700, 0, NOBODY, true },
    { 02770, 0, NOBODY, true },
    { 0755, NOBODY, NOBODY, true },
};

/* QEMU's -runas: root no more, but it still reaches what it may. */
static void test_user_that_has_changed(void)
{
    g_autoptr(HostFixture) h = NULL;
    char path[VSK_SUN_PATH_SIZE];
    VskRefusal why;
    int own, foreign, fd;

    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    h = host_fixture_new();
    g_assert_cmpint(chmod(h->dir->path, 0777), ==, 0);
    g_assert_cmpint(seteuid(1), ==, 0);
    own = host_listens(h, 80, 8);
    g_assert_cmpint(seteuid(0), ==, 0);
    g_assert_cmpint(seteuid(2), ==, 0);
    foreign = host_listens(h, 81, 8);
    g_assert_cmpint(seteuid(0), ==, 0);
    g_assert_cmpint(vsk_path_for_port(h->path, 81, path), ==, 0);
    g_assert_cmpint(chmod(path, 0777), ==, 0);
    g_assert_cmpint(seteuid(1), ==, 0);
    fd = try_connect(h, 80, VSK_TYPE_STREAM, &why);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(try_connect(h, 81, VSK_TYPE_STREAM, &why), ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_UNSAFE_LISTENER);
    g_assert_cmpint(seteuid(0), ==, 0);
    close(fd);
    close(own);
    close(foreign);
}

/* A listener of @uid, as connect() sees it: that of the one who listened. */
static int listen_as(HostFixture *h, uid_t uid, VskType type, bool for_all)
{
    const char *base = for_all ? h->shared : h->path;
    char path[VSK_SUN_PATH_SIZE];
    int fd;

    g_assert_cmpint(vsk_path_for_port(base, 80, path), ==, 0);
    g_unlink(path);
    g_assert_cmpint(chmod(h->dir->path, 0777), ==, 0);
    g_assert_cmpint(seteuid(uid), ==, 0);
    fd = type == VSK_TYPE_SEQPACKET ? unix_bind_seqpacket(path, 8)
                                    : unix_bind(path, 8);
    g_assert_cmpint(seteuid(0), ==, 0);
    return fd;
}

static void check_row(const Row *row, VskType type, bool for_all)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = listen_as(h, row->uid, type, for_all);
    unsigned int before = open_fds();
    VskRefusal why;
    int fd;

    g_assert_cmpint(chown(h->dir->path, row->owner, row->owner), ==, 0);
    g_assert_cmpint(chmod(h->dir->path, row->mode), ==, 0);
    fd = try_connect(h, 80, type, &why);
    g_assert_cmpint(fd >= 0, ==, row->reaches);
    if (fd >= 0) {
        close(fd);
    } else {
        g_assert_cmpint(why, ==, VSK_REFUSED_UNSAFE_LISTENER);
    }
    g_assert_cmpuint(open_fds(), ==, before);
    close(listener);
}

static void test_listener_of_another_user(void)
{
    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("row %u", i);
        check_row(&rows[i], VSK_TYPE_STREAM, false);
        check_row(&rows[i], VSK_TYPE_STREAM, true);
        check_row(&rows[i], VSK_TYPE_SEQPACKET, false);
    }
}

/* Where it hides ours that listens for all guests, too. */
static void test_no_way_around_a_foreign_listener(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int for_all, foreign;
    VskRefusal why;

    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    for_all = host_listens_for_all(h, 80, 8);
    foreign = listen_as(h, NOBODY, VSK_TYPE_STREAM, false);
    g_assert_cmpint(try_connect(h, 80, VSK_TYPE_STREAM, &why), ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_UNSAFE_LISTENER);
    g_assert_false(unix_has_client(for_all));
    close(foreign);
    close(for_all);
}

/*
 * Another user makes a link to a socket of ours, an agent's, say, where the
 * guest looks: it must not get there.
 */
static void test_link_in_a_shared_directory(void)
{
    static int (*const make_link[])(const char *, const char *) = {
        symlink, link, rename,
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(make_link); i++) {
        g_autoptr(HostFixture) h = host_fixture_new();
        g_autofree char *agent = temp_dir_file(h->dir, "agent");
        int listener = unix_bind(agent, 8);
        char path[VSK_SUN_PATH_SIZE];
        VskRefusal why;
        int fd;

        g_assert_cmpint(vsk_path_for_port(h->path, 80, path), ==, 0);
        g_assert_cmpint(make_link[i](agent, path), ==, 0);
        g_assert_cmpint(chmod(h->dir->path, 0777), ==, 0);
        g_assert_cmpint(try_connect(h, 80, VSK_TYPE_STREAM, &why), ==, -1);
        g_assert_cmpint(why, ==, VSK_REFUSED_UNSAFE_LISTENER);
        /* In a directory of ours it is our own wish. */
        g_assert_cmpint(chmod(h->dir->path, 0700), ==, 0);
        fd = try_connect(h, 80, VSK_TYPE_STREAM, &why);
        g_assert_cmpint(fd, >=, 0);
        close(fd);
        close(listener);
    }
}

/* The right name, but in another directory. */
static void test_link_to_the_same_name_elsewhere(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autoptr(HostFixture) other = host_fixture_new();
    int listener = host_listens(other, 80, 8);
    char path[VSK_SUN_PATH_SIZE], target[VSK_SUN_PATH_SIZE];
    VskRefusal why;

    g_assert_cmpint(vsk_path_for_port(h->path, 80, path), ==, 0);
    g_assert_cmpint(vsk_path_for_port(other->path, 80, target), ==, 0);
    g_assert_cmpint(symlink(target, path), ==, 0);
    g_assert_cmpint(chmod(h->dir->path, 0777), ==, 0);
    g_assert_cmpint(try_connect(h, 80, VSK_TYPE_STREAM, &why), ==, -1);
    g_assert_cmpint(why, ==, VSK_REFUSED_UNSAFE_LISTENER);
    close(listener);
}

/* By whatever path a program has bound its socket. */
static void test_listener_by_another_path(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autofree char *cwd = g_get_current_dir();
    g_autofree char *dotted = g_strdup_printf("%s/./3.vsock_81",
                                              h->dir->path);
    int relative, absolute, fd;
    VskRefusal why;

    g_assert_cmpint(chdir(h->dir->path), ==, 0);
    relative = unix_bind("3.vsock_80", 8);
    g_assert_cmpint(chdir(cwd), ==, 0);
    absolute = unix_bind(dotted, 8);
    g_assert_cmpint(chmod(h->dir->path, 0777), ==, 0);
    fd = try_connect(h, 80, VSK_TYPE_STREAM, &why);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    fd = try_connect(h, 81, VSK_TYPE_STREAM, &why);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    close(relative);
    close(absolute);
}

static void test_own_listener_in_a_shared_directory(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    int listener = host_listens(h, 80, 1);
    VskRefusal why;
    int fd;

    g_assert_cmpint(chmod(h->dir->path, 01777), ==, 0);
    fd = try_connect(h, 80, VSK_TYPE_STREAM, &why);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    close(listener);
}

/* --- Other guests -------------------------------------------------------- */

/* A device whose path is where the guest of @h finds a host program. */
static void expect_no_guest(HostFixture *h, const char *base, VskType type)
{
    g_autoptr(GError) err = NULL;
    char path[VSK_SUN_PATH_SIZE];
    HostFixture other = { .now_ms = 1000 };
    VskRefusal why;
    int fd, client;

    g_assert_cmpint(vsk_path_for_port(base, 5, path), ==, 0);
    other.host = vsk_host_new(path, true, NULL, HOST_LINE_TIMEOUT_MS, &err);
    g_assert_no_error(err);
    fd = try_connect(h, 5, type, &why);
    g_assert_cmpint(fd, >=, 0);
    unix_write(fd, "CONNECT 22\n");
    expect_drop(&other, VSK_REFUSED_HOST_GUEST);
    client = unix_connect(path); /* the next is served */
    unix_write(client, "CONNECT 22\n");
    close(expect_client(&other, 22));
    expect_quiet(&other);
    close(client);
    close(fd);
    vsk_host_free(other.host);
}

static void test_guest_of_another_device(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();

    expect_no_guest(h, h->path, VSK_TYPE_STREAM);
    expect_no_guest(h, h->shared, VSK_TYPE_STREAM);
}

/* By a link that somebody made on purpose it is no better. */
static void test_guest_by_a_link(void)
{
    g_autoptr(HostFixture) h = host_fixture_new();
    g_autoptr(HostFixture) other = host_fixture_new();
    char link[VSK_SUN_PATH_SIZE], seqpacket[VSK_SUN_PATH_SIZE];
    VskRefusal why;
    int fd;

    g_assert_cmpint(vsk_path_for_port(h->path, 5, link), ==, 0);
    g_assert_cmpint(symlink(other->path, link), ==, 0);
    fd = try_connect(h, 5, VSK_TYPE_STREAM, &why);
    g_assert_cmpint(fd, >=, 0);
    expect_drop(other, VSK_REFUSED_HOST_GUEST);
    unix_expect_last(fd, "");
    close(fd);
    g_assert_cmpint(g_unlink(link), ==, 0);
    g_assert_cmpint(vsk_path_for_seqpacket(other->path, seqpacket), ==, 0);
    g_assert_cmpint(symlink(seqpacket, link), ==, 0);
    fd = try_connect(h, 5, VSK_TYPE_SEQPACKET, &why);
    g_assert_cmpint(fd, >=, 0);
    expect_drop(other, VSK_REFUSED_HOST_GUEST);
    expect_quiet(other);
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/host/trust/" path, fn)
    TEST("listener-of-another-user", test_listener_of_another_user);
    TEST("user-that-has-changed", test_user_that_has_changed);
    TEST("no-way-around-a-foreign-listener",
         test_no_way_around_a_foreign_listener);
    TEST("own-listener-in-a-shared-directory",
         test_own_listener_in_a_shared_directory);
    TEST("link-in-a-shared-directory", test_link_in_a_shared_directory);
    TEST("link-to-the-same-name-elsewhere",
         test_link_to_the_same_name_elsewhere);
    TEST("listener-by-another-path", test_listener_by_another_path);
    TEST("guest-of-another-device", test_guest_of_another_device);
    TEST("guest-by-a-link", test_guest_by_a_link);
    return g_test_run();
}
