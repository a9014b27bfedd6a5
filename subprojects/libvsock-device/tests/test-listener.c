/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The listening socket and its lock: listener.h.
 */

#include "listener.h"
#include "temp-dir.h"
#include "unix-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static VskListener *listen_at(const char *path)
{
    g_autoptr(GError) err = NULL;
    VskListener *listener = vsk_listener_new(path, false, &err);

    g_assert_no_error(err);
    g_assert_nonnull(listener);
    return listener;
}

/* No listener there, for @code, with @text in what the user is told. */
static void assert_refused(const char *path, VskError code, const char *text)
{
    g_autoptr(GError) err = NULL;
    unsigned int before = open_fds();

    g_assert_null(vsk_listener_new(path, false, &err));
    g_assert_error(err, VSK_ERROR, (int)code);
    g_assert_nonnull(strstr(err->message, text));
    g_assert_cmpuint(open_fds(), ==, before);
}

static void assert_works(const Place *place)
{
    VskListener *listener = listen_at(place->path);
    int fd = unix_connect(place->path);

    place_expect(place, "3.vsock 3.vsock.lock");
    close(fd);
    vsk_listener_free(listener);
    place_expect(place, "");
}

/* --- Listening ----------------------------------------------------------- */

static void test_files_come_and_go(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    unsigned int before = open_fds();

    assert_works(place);
    assert_works(place);
    g_assert_cmpuint(open_fds(), ==, before);
}

static void test_files_are_the_users_alone(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    mode_t old = umask(0);
    VskListener *listener = listen_at(place->path);

    umask(old);
    g_assert_cmpint(file_mode(place->path), ==, 0600);
    g_assert_cmpint(file_mode(place->lock), ==, 0600);
    vsk_listener_free(listener);
}

static void test_accept_does_not_wait(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *listener = listen_at(place->path);
    int client, fd;

    g_assert_cmpint(vsk_listener_accept(listener, VSK_TYPE_STREAM), ==,
                    -EAGAIN);
    client = unix_connect(place->path);
    fd = vsk_listener_accept(listener, VSK_TYPE_STREAM);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    unix_write(client, "hello");
    unix_expect(fd, "hello");
    close(fd);
    close(client);
    vsk_listener_free(listener);
}

static void test_descriptors_are_not_inherited(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *listener = listen_at(place->path);

    for (int fd = 3; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);
        char name[64];
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, name, sizeof(name) - 1);

        if (flags >= 0 && n > 0) {
            name[n] = '\0';
            g_assert_true((flags & FD_CLOEXEC) || !strstr(name, "socket"));
            g_assert_true((flags & FD_CLOEXEC) || !strstr(name, ".lock"));
        }
    }
    vsk_listener_free(listener);
}

static void test_longest_path(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    size_t left = VSK_PATH_MAX - strlen(place->dir->path) - 1;
    g_autofree char *name = g_strnfill(left, 'n');
    g_autofree char *path = temp_dir_file(place->dir, name);
    g_autofree char *longer = g_strconcat(path, "n", NULL);

    g_assert_cmpuint(strlen(path), ==, VSK_PATH_MAX);
    vsk_listener_free(listen_at(path));
    assert_refused(longer, VSK_ERROR_INVALID, "96");
    place_expect(place, "");
}

static void test_no_directory(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    g_autofree char *path = temp_dir_file(place->dir, "none/3.vsock");

    assert_refused(path, VSK_ERROR_SYSTEM, "none/3.vsock");
}

static void test_freeing_nothing_is_fine(void)
{
    vsk_listener_free(NULL);
}

/* --- What others left ---------------------------------------------------- */

static void test_taken_is_refused(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *first = listen_at(place->path);
    int client;

    assert_refused(place->path, VSK_ERROR_CID_TAKEN, place->lock);
    client = unix_connect(place->path); /* the first is as it was */
    g_assert_cmpint(client, >=, 0);
    close(client);
    place_expect(place, "3.vsock 3.vsock.lock");
    vsk_listener_free(first);
    assert_works(place);
}

static void test_stale_socket_is_taken_over(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    close(unix_bind(place->path, 1));
    g_assert_true(file_exists(place->path));
    assert_works(place);
}

static void test_stale_lock_is_taken_over(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    g_assert_true(g_file_set_contents(place->lock, "", 0, NULL));
    close(unix_bind(place->path, 1));
    assert_works(place);
}

static void test_lock_of_another_process_counts(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    int fd = open(place->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(flock(fd, LOCK_EX | LOCK_NB), ==, 0);
    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "in use");
    g_assert_true(file_exists(place->lock));
    close(fd);
    assert_works(place);
}

static void test_file_in_the_way_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    g_assert_true(g_file_set_contents(place->path, "precious", -1, NULL));
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->path);
    place_expect(place, "3.vsock");
    g_assert_cmpint(g_unlink(place->path), ==, 0);
    g_assert_cmpint(g_mkdir(place->path, 0700), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->path);
    place_expect(place, "3.vsock");
}

static void test_link_in_the_way_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    g_autofree char *target = temp_dir_file(place->dir, "target");

    close(unix_bind(target, 1));
    g_assert_cmpint(symlink(target, place->path), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->path);
    place_expect(place, "3.vsock target");
}

static void test_lock_that_is_a_link_is_refused(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    g_autofree char *target = temp_dir_file(place->dir, "target");

    g_assert_cmpint(symlink(target, place->lock), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    place_expect(place, "3.vsock.lock"); /* and nothing was made at its end */
}

static void test_lock_that_is_a_directory_is_refused(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    g_assert_cmpint(g_mkdir(place->lock, 0700), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    place_expect(place, "3.vsock.lock");
}

static void test_socket_of_another_user_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    if (geteuid() != 0) {
        g_test_skip("only root can give a file away");
        return;
    }
    close(unix_bind(place->path, 1));
    g_assert_cmpint(chown(place->path, 65534, 65534), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->path);
    place_expect(place, "3.vsock");
}

/*
 * Another user's view: a lock that it may open, in a directory that it may
 * not write to.
 */
static void test_directory_of_another_user(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    g_assert_true(g_file_set_contents(place->lock, "", 0, NULL));
    g_assert_cmpint(chown(place->lock, 65534, 65534), ==, 0);
    g_assert_cmpint(chmod(place->dir->path, 0755), ==, 0);
    g_assert_cmpint(seteuid(65534), ==, 0);
    assert_refused(place->path, VSK_ERROR_SYSTEM, "cannot bind");
    g_assert_cmpint(seteuid(0), ==, 0);
    close(unix_bind(place->path, 1));
    g_assert_cmpint(chown(place->path, 65534, 65534), ==, 0);
    g_assert_cmpint(seteuid(65534), ==, 0);
    assert_refused(place->path, VSK_ERROR_SYSTEM, "cannot remove");
    g_assert_cmpint(seteuid(0), ==, 0);
    place_expect(place, "3.vsock 3.vsock.lock");
}

/* A device that does nothing but take the lock and leave again. */
static void come_and_go(const char *lock)
{
    for (;;) {
        int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct stat own, there;

        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &own) == 0 &&
            lstat(lock, &there) == 0 && own.st_ino == there.st_ino) {
            unlink(lock);
        }
        close(fd);
    }
}

/* Whoever gets a lock on a file that is gone has not got the place. */
static void test_two_race_for_the_lock(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    pid_t pid = fork();

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
        come_and_go(place->lock);
    }
    for (int turns = 0; turns < 1000;) {
        g_autoptr(GError) err = NULL;
        VskListener *listener = vsk_listener_new(place->path, false, &err);
        int fd;

        if (!listener) {
            g_assert_error(err, VSK_ERROR, VSK_ERROR_CID_TAKEN);
            continue;
        }
        fd = open(place->lock, O_RDWR | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(flock(fd, LOCK_EX | LOCK_NB), ==, -1);
        close(fd);
        vsk_listener_free(listener);
        turns++;
    }
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    assert_works(place);
}

/* With @n descriptors to be had, which are too few. */
static void refuse_with_fds(int n)
{
    g_autoptr(Place) place = place_new("3.vsock");
    g_autoptr(GError) err = NULL;
    int spare[2];

    for (int i = 0; i < n; i++) {
        spare[i] = dup(0);
    }
    limit_fds();
    for (int i = 0; i < n; i++) {
        close(spare[i]);
    }
    g_assert_null(vsk_listener_new(place->path, false, &err));
    unlimit_fds();
    g_assert_error(err, VSK_ERROR, VSK_ERROR_SYSTEM);
    place_expect(place, "");
}

static void test_no_descriptors(void)
{
    if (!can_limit_fds()) {
        return;
    }
    refuse_with_fds(0); /* for the lock */
    refuse_with_fds(1); /* for the socket */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/listener/" path, fn)
    TEST("files/come-and-go", test_files_come_and_go);
    TEST("files/are-the-users-alone", test_files_are_the_users_alone);
    TEST("accept/does-not-wait", test_accept_does_not_wait);
    TEST("descriptors/are-not-inherited",
         test_descriptors_are_not_inherited);
    TEST("descriptors/none-left-is-an-error", test_no_descriptors);
    TEST("path/longest-fits", test_longest_path);
    TEST("path/no-directory-is-an-error", test_no_directory);
    TEST("free/nothing-is-fine", test_freeing_nothing_is_fine);
    TEST("taken/is-refused", test_taken_is_refused);
    TEST("taken/by-lock-of-another", test_lock_of_another_process_counts);
    TEST("taken/two-race-for-the-lock", test_two_race_for_the_lock);
    TEST("stale/socket-is-taken-over", test_stale_socket_is_taken_over);
    TEST("stale/lock-is-taken-over", test_stale_lock_is_taken_over);
    TEST("unsafe/file-in-the-way-is-kept", test_file_in_the_way_is_kept);
    TEST("unsafe/link-in-the-way-is-kept", test_link_in_the_way_is_kept);
    TEST("unsafe/lock-that-is-a-link", test_lock_that_is_a_link_is_refused);
    TEST("unsafe/lock-that-is-a-directory",
         test_lock_that_is_a_directory_is_refused);
    TEST("unsafe/directory-of-another-user",
         test_directory_of_another_user);
    TEST("unsafe/socket-of-another-user-is-kept",
         test_socket_of_another_user_is_kept);
    return g_test_run();
}
