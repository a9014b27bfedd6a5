/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The second listening socket, for seqpacket: listener.h.
 */

#include "listener.h"
#include "temp-dir.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL_FILES "3.vsock 3.vsock.lock 3.vsock_seqpacket " \
                  "3.vsock_seqpacket.lock"

static VskListener *listen_at(const Place *place, bool seqpacket)
{
    g_autoptr(GError) err = NULL;
    VskListener *listener = vsk_listener_new(place->path, seqpacket, &err);

    g_assert_no_error(err);
    return listener;
}

/* Refused for @code, with the path of the second socket in the text. */
static void assert_refused(const Place *place, VskError code)
{
    g_autoptr(GError) err = NULL;
    unsigned int before = open_fds();

    g_assert_null(vsk_listener_new(place->path, true, &err));
    g_assert_error(err, VSK_ERROR, (int)code);
    g_assert_nonnull(strstr(err->message, place->seqpacket));
    g_assert_cmpuint(open_fds(), ==, before);
}

static void assert_works(const Place *place)
{
    VskListener *listener = listen_at(place, true);
    int fd = unix_connect_seqpacket(place->seqpacket);

    place_expect(place, ALL_FILES);
    close(fd);
    vsk_listener_free(listener);
    place_expect(place, "");
}

static void test_files_come_and_go(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    unsigned int before = open_fds();

    assert_works(place);
    assert_works(place);
    g_assert_cmpuint(open_fds(), ==, before);
}

static void test_none_unless_asked_for(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *listener = listen_at(place, false);

    place_expect(place, "3.vsock 3.vsock.lock");
    g_assert_cmpint(vsk_listener_get_fd(listener, VSK_TYPE_SEQPACKET), ==, -1);
    g_assert_cmpint(vsk_listener_get_fd(listener, VSK_TYPE_STREAM), >=, 0);
    vsk_listener_free(listener);
}

static void test_file_is_the_users_alone(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    mode_t old = umask(0);
    VskListener *listener = listen_at(place, true);

    umask(old);
    g_assert_cmpint(file_mode(place->seqpacket), ==, 0600);
    vsk_listener_free(listener);
}

/* Each socket gives its own connections, and knows nothing of the other's. */
static void test_accept_by_type(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *listener = listen_at(place, true);
    int client = unix_connect_seqpacket(place->seqpacket);
    int fd;

    g_assert_cmpint(vsk_listener_accept(listener, VSK_TYPE_STREAM), ==,
                    -EAGAIN);
    fd = vsk_listener_accept(listener, VSK_TYPE_SEQPACKET);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    g_assert_cmpint(vsk_listener_accept(listener, VSK_TYPE_SEQPACKET), ==,
                    -EAGAIN);
    unix_write(client, "one");
    unix_write(client, "two");
    unix_expect(fd, "one");
    unix_expect(fd, "two");
    close(fd);
    close(client);
    vsk_listener_free(listener);
}

static void test_socket_of_the_other_type_is_not_served(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *listener = listen_at(place, true);

    g_assert_cmpint(unix_try_connect(place->seqpacket), ==, -EPROTOTYPE);
    vsk_listener_free(listener);
}

/* The lock of the first is for both. */
static void test_taken_is_refused(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    VskListener *first = listen_at(place, false);
    g_autoptr(GError) err = NULL;

    g_assert_null(vsk_listener_new(place->path, true, &err));
    g_assert_error(err, VSK_ERROR, VSK_ERROR_CID_TAKEN);
    place_expect(place, "3.vsock 3.vsock.lock");
    vsk_listener_free(first);
    first = listen_at(place, true);
    g_clear_error(&err);
    g_assert_null(vsk_listener_new(place->path, false, &err));
    g_assert_error(err, VSK_ERROR, VSK_ERROR_CID_TAKEN);
    place_expect(place, ALL_FILES);
    close(unix_connect_seqpacket(place->seqpacket)); /* as it was */
    vsk_listener_free(first);
}

static void test_stale_socket_is_taken_over(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    close(unix_bind_seqpacket(place->seqpacket, 1));
    assert_works(place);
    close(unix_bind(place->seqpacket, 1)); /* of whatever type */
    close(unix_bind(place->path, 1));
    assert_works(place);
}

/* And what had been made for the other type goes, for there is no device. */
static void test_file_in_the_way_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    g_assert_true(g_file_set_contents(place->seqpacket, "precious", -1, NULL));
    assert_refused(place, VSK_ERROR_UNSAFE);
    place_expect(place, "3.vsock_seqpacket");
    g_assert_cmpint(g_unlink(place->seqpacket), ==, 0);
    g_assert_cmpint(g_mkdir(place->seqpacket, 0700), ==, 0);
    assert_refused(place, VSK_ERROR_UNSAFE);
    place_expect(place, "3.vsock_seqpacket");
}

static void test_link_in_the_way_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    g_autofree char *target = temp_dir_file(place->dir, "target");

    close(unix_bind_seqpacket(target, 1));
    g_assert_cmpint(symlink(target, place->seqpacket), ==, 0);
    assert_refused(place, VSK_ERROR_UNSAFE);
    place_expect(place, "3.vsock_seqpacket target");
}

static void test_socket_of_another_user_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    if (geteuid() != 0) {
        g_test_skip("only root can give a file away");
        return;
    }
    close(unix_bind_seqpacket(place->seqpacket, 1));
    g_assert_cmpint(chown(place->seqpacket, 65534, 65534), ==, 0);
    assert_refused(place, VSK_ERROR_UNSAFE);
    place_expect(place, "3.vsock_seqpacket");
}

/* What is not asked for is not looked at, whoever has it. */
static void test_file_of_a_type_not_asked_for_is_kept(void)
{
    g_autoptr(Place) place = place_new("3.vsock");

    g_assert_true(g_file_set_contents(place->seqpacket, "precious", -1, NULL));
    vsk_listener_free(listen_at(place, false));
    place_expect(place, "3.vsock_seqpacket");
}

static void test_longest_path(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    size_t left = VSK_PATH_MAX - strlen(place->dir->path) - 1;
    g_autofree char *name = g_strnfill(left, 'n');
    char path[VSK_SUN_PATH_SIZE];

    g_free(place->path);
    place->path = temp_dir_file(place->dir, name);
    g_assert_cmpint(vsk_path_for_seqpacket(place->path, path), ==, 0);
    g_assert_cmpuint(strlen(path), ==, VSK_PATH_MAX + strlen("_seqpacket"));
    vsk_listener_free(listen_at(place, true));
    place_expect(place, "");
}

static void test_no_descriptor(void)
{
    g_autoptr(Place) place = place_new("3.vsock");
    int spare[2];

    if (!can_limit_fds()) {
        return;
    }
    spare[0] = dup(0); /* for the lock, and for the first socket */
    spare[1] = dup(0);
    limit_fds();
    close(spare[0]);
    close(spare[1]);
    {
        g_autoptr(GError) err = NULL;

        g_assert_null(vsk_listener_new(place->path, true, &err));
        unlimit_fds();
        g_assert_error(err, VSK_ERROR, VSK_ERROR_SYSTEM);
    }
    place_expect(place, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/listener/seqpacket/" path, fn)
    TEST("files-come-and-go", test_files_come_and_go);
    TEST("none-unless-asked-for", test_none_unless_asked_for);
    TEST("file-is-the-users-alone", test_file_is_the_users_alone);
    TEST("accept-by-type", test_accept_by_type);
    TEST("socket-of-the-other-type-is-not-served",
         test_socket_of_the_other_type_is_not_served);
    TEST("taken-is-refused", test_taken_is_refused);
    TEST("stale-socket-is-taken-over", test_stale_socket_is_taken_over);
    TEST("file-in-the-way-is-kept", test_file_in_the_way_is_kept);
    TEST("link-in-the-way-is-kept", test_link_in_the_way_is_kept);
    TEST("socket-of-another-user-is-kept",
         test_socket_of_another_user_is_kept);
    TEST("file-of-a-type-not-asked-for-is-kept",
         test_file_of_a_type_not_asked_for_is_kept);
    TEST("longest-path", test_longest_path);
    TEST("no-descriptor", test_no_descriptor);
    return g_test_run();
}
