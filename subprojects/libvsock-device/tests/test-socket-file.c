/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A socket file that is taken over, or left alone, whatever others do to it:
 * vsock-socket-file.h.
 */

#include "temp-dir.h"
#include "unix-socket.h"
#include "vsock-device.h"
#include "vsock-path.h"
#include "vsock-socket-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static VskSocketFile *listen_at(const char *path, int sock_type)
{
    g_autoptr(GError) err = NULL;
    VskSocketFile *file = vsk_socket_file_new(path, sock_type, 8, &err);

    g_assert_no_error(err);
    g_assert_nonnull(file);
    return file;
}

/* No socket there, for @code, with @text in what the user is told. */
static void assert_refused(const char *path, VskError code, const char *text)
{
    static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
    unsigned int before = open_fds();

    for (unsigned int i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(vsk_socket_file_new(path, types[i], 8, &err));
        g_assert_error(err, VSK_ERROR, (int)code);
        g_assert_nonnull(strstr(err->message, text));
        g_assert_nonnull(strstr(err->message, path));
        g_assert_cmpuint(open_fds(), ==, before);
    }
}

static void assert_works(const Place *place)
{
    VskSocketFile *file = listen_at(place->path, SOCK_STREAM);

    close(unix_connect(place->path));
    vsk_socket_file_free(file);
    place_expect(place, "");
}

/* A process that is to be killed; it ends with this one, too. */
static pid_t start_process(void)
{
    pid_t pid = fork();

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

/* A process that has done @listen at @path, until it is killed. */
static pid_t start_listening(void (*listen)(const char *path),
                             const char *path)
{
    int ready[2];
    char byte;
    pid_t pid;

    g_assert_cmpint(pipe(ready), ==, 0);
    pid = start_process();
    if (pid == 0) {
        listen(path);
        g_assert_cmpint(write(ready[1], "", 1), ==, 1);
        pause();
    }
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void kill_process(pid_t pid)
{
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* --- Live sockets -------------------------------------------------------- */

/* A program that knows of no lock, as an ssh-agent: @type, by @bind_it. */
static void assert_live_is_kept(int (*bind_it)(const char *, int),
                                int backlog)
{
    g_autoptr(Place) place = place_new("it");
    int fd = bind_it(place->path, backlog);
    struct stat before, after;

    g_assert_cmpint(lstat(place->path, &before), ==, 0);
    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    place_expect(place, "it"); /* no lock stays, either */
    g_assert_cmpint(lstat(place->path, &after), ==, 0);
    g_assert_cmpuint(before.st_ino, ==, after.st_ino);
    g_assert_false(unix_has_client(fd)); /* it did not even notice */
    close(fd);
    assert_works(place);
}

static int bind_datagram(const char *path, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(backlog, <, 0); /* it has none */
    strcpy(addr.sun_path, path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    return fd;
}

static void test_live_stream_is_kept(void)
{
    assert_live_is_kept(unix_bind, 1);
}

static void test_live_seqpacket_is_kept(void)
{
    assert_live_is_kept(unix_bind_seqpacket, 1);
}

static void test_live_datagram_is_kept(void)
{
    assert_live_is_kept(bind_datagram, -1);
}

/* One with a peer takes no other, but is there. */
static void test_live_datagram_with_a_peer_is_kept(void)
{
    g_autoptr(Place) place = place_new("it");
    g_autofree char *peer_path = temp_dir_file(place->dir, "peer");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = bind_datagram(place->path, -1);
    int peer = bind_datagram(peer_path, -1);

    strcpy(addr.sun_path, peer_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    place_expect(place, "it peer");
    close(peer);
    close(fd);
}

static void test_bound_but_not_listening_is_kept(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd = unix_bind(place->path, -1);

    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    g_assert_cmpint(listen(fd, 1), ==, 0);
    close(unix_connect(place->path));
    close(fd);
}

static void test_full_backlog_is_live(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd = unix_bind(place->path, 0);
    int client = unix_connect(place->path);

    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    close(client);
    close(fd);
}

static void bind_once(const char *path)
{
    unix_bind(path, 1);
}

static void test_live_in_another_process_is_kept(void)
{
    g_autoptr(Place) place = place_new("it");
    pid_t pid = start_listening(bind_once, place->path);

    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    close(unix_connect(place->path));
    kill_process(pid);
    assert_works(place);
}

/* With a connection of it still open somewhere, a listener is dead. */
static void test_dead_with_connections_is_taken_over(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd = unix_bind(place->path, 1);
    int client = unix_connect(place->path);
    int peer = unix_accept(fd);

    close(fd);
    assert_works(place);
    unix_write(client, "still");
    unix_expect(peer, "still");
    close(peer);
    close(client);
}

/* What is at the path when it ends is not always what it made. */
static void test_replaced_socket_is_kept_at_the_end(void)
{
    g_autoptr(Place) place = place_new("it");
    VskSocketFile *file = listen_at(place->path, SOCK_STREAM);
    int fd;

    g_assert_cmpint(g_unlink(place->path), ==, 0);
    fd = unix_bind(place->path, 1);
    vsk_socket_file_free(file);
    place_expect(place, "it");
    close(fd);
}

/* --- Two of us ----------------------------------------------------------- */

static void listen_for_messages(const char *path)
{
    listen_at(path, SOCK_SEQPACKET);
}

static void test_same_path_in_another_process(void)
{
    g_autoptr(Place) place = place_new("it");
    pid_t pid = start_listening(listen_for_messages, place->path);

    assert_refused(place->path, VSK_ERROR_CID_TAKEN, place->lock);
    close(unix_connect_seqpacket(place->path));
    kill_process(pid);
    place_expect(place, "it it.lock"); /* what a killed one leaves */
    assert_works(place);
}

/* Without its lock file, which somebody removed, it is still alive. */
static void test_lock_file_removed_under_it(void)
{
    g_autoptr(Place) place = place_new("it");
    VskSocketFile *file = listen_at(place->path, SOCK_STREAM);

    g_assert_cmpint(g_unlink(place->lock), ==, 0);
    assert_refused(place->path, VSK_ERROR_CID_TAKEN, "another program");
    close(unix_connect(place->path));
    vsk_socket_file_free(file);
    assert_works(place);
}

/* Take the path, be reached there, leave: again and again. */
static void take_turns(const char *path)
{
    for (int turns = 0; turns < 200;) {
        g_autoptr(GError) err = NULL;
        VskSocketFile *file = vsk_socket_file_new(path, SOCK_STREAM, 8, &err);
        int client, fd;

        if (!file) {
            g_assert_error(err, VSK_ERROR, VSK_ERROR_CID_TAKEN);
            continue;
        }
        /* Whoever has it is the one that clients reach. */
        client = unix_connect(path);
        fd = accept4(vsk_socket_file_get_fd(file), NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        close(fd);
        close(client);
        if (turns++ % 2) {
            unlink(path);
            close(unix_bind(path, 1)); /* as if it was killed: a dead one */
        }
        vsk_socket_file_free(file);
    }
}

static void test_processes_take_turns(void)
{
    g_autoptr(Place) place = place_new("it");
    pid_t pids[3];
    int status;

    for (unsigned int i = 0; i < G_N_ELEMENTS(pids); i++) {
        pids[i] = start_process();
        if (pids[i] == 0) {
            take_turns(place->path);
            _exit(0);
        }
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(pids); i++) {
        g_assert_cmpint(waitpid(pids[i], &status, 0), ==, pids[i]);
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_works(place);
}

/* --- Other users --------------------------------------------------------- */

/* In a directory as /tmp is, where the body of @attack runs as nobody. */
static bool in_sticky_dir(const Place *place)
{
    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return false;
    }
    g_assert_cmpint(chmod(place->dir->path, 01777), ==, 0);
    return true;
}

static void become(uid_t uid)
{
    g_assert_cmpint(seteuid(uid), ==, 0);
}

static void test_lock_held_by_another_user(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd;

    if (!in_sticky_dir(place)) {
        return;
    }
    become(NOBODY);
    fd = open(place->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    become(0);
    g_assert_cmpint(flock(fd, LOCK_EX | LOCK_NB), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, "remove it");
    place_expect(place, "it.lock");
    close(fd);
    assert_refused(place->path, VSK_ERROR_UNSAFE, "remove it");
    g_assert_cmpint(g_unlink(place->lock), ==, 0);
    assert_works(place);
}

static void test_fifo_as_lock(void)
{
    g_autoptr(Place) place = place_new("it");

    g_assert_cmpint(mkfifo(place->lock, 0600), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    place_expect(place, "it.lock");
}

static void test_socket_as_lock(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd = unix_bind(place->lock, 1);

    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    close(unix_connect(place->lock));
    close(fd);
}

static void test_device_as_lock(void)
{
    g_autoptr(Place) place = place_new("it");

    if (mknod(place->lock, S_IFCHR | 0600, 0) < 0) {
        g_test_skip("needs the right to make device nodes");
        return;
    }
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    place_expect(place, "it.lock");
}

/* By a second name a lock could be taken on any program's file. */
static void test_hard_link_as_lock(void)
{
    g_autoptr(Place) place = place_new("it");
    g_autofree char *precious = temp_dir_file(place->dir, "precious");
    g_autofree char *text = NULL;

    g_assert_true(g_file_set_contents(precious, "data", -1, NULL));
    g_assert_cmpint(link(precious, place->lock), ==, 0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, place->lock);
    place_expect(place, "it.lock precious");
    g_assert_true(g_file_get_contents(precious, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "data");
}

static void test_socket_of_another_user(void)
{
    g_autoptr(Place) place = place_new("it");
    int fd;

    if (!in_sticky_dir(place)) {
        return;
    }
    become(NOBODY);
    fd = unix_bind(place->path, 1);
    become(0);
    assert_refused(place->path, VSK_ERROR_UNSAFE, "not a socket of this user");
    close(fd);
    assert_refused(place->path, VSK_ERROR_UNSAFE, "not a socket of this user");
    place_expect(place, "it");
}

/* Swap a file between what it should be and a link, as fast as it goes. */
static void swap_for_ever(const Place *place, const char *path,
                          const char *target)
{
    g_autofree char *spare = temp_dir_file(place->dir, "spare");

    for (;;) {
        if (symlink(target, spare) == 0) {
            rename(spare, path);
        }
        unlink(path);
    }
}

/* Nothing at the end of a link is ever made, opened or removed. */
static void race_with_a_link(const char *which, const char *name)
{
    g_autoptr(Place) place = place_new("it");
    g_autoptr(Place) victims = place_new("it");
    g_autofree char *path = temp_dir_file(place->dir, which);
    g_autofree char *target = temp_dir_file(victims->dir, name);
    pid_t pid = start_process();

    if (pid == 0) {
        swap_for_ever(place, path, target);
    }
    for (int i = 0; i < 3000; i++) {
        VskSocketFile *file = vsk_socket_file_new(place->path, SOCK_STREAM, 8,
                                                  NULL);

        place_expect(victims, "");
        vsk_socket_file_free(file);
    }
    kill_process(pid);
    place_expect(victims, "");
}

static void test_race_with_a_link_for_the_lock(void)
{
    race_with_a_link("it.lock", "victim");
}

static void test_race_with_a_link_for_the_socket(void)
{
    race_with_a_link("it", "victim");
}

/* A directory that is swapped for a link to a live socket's. */
static void test_race_with_a_link_to_a_live_socket(void)
{
    g_autoptr(Place) place = place_new("it");
    g_autoptr(Place) victims = place_new("it");
    int live = unix_bind(victims->path, 1);
    pid_t pid = start_process();

    if (pid == 0) {
        swap_for_ever(place, place->path, victims->path);
    }
    for (int i = 0; i < 3000; i++) {
        vsk_socket_file_free(vsk_socket_file_new(place->path, SOCK_STREAM, 8,
                                                 NULL));
        g_assert_true(file_exists(victims->path));
    }
    kill_process(pid);
    g_assert_false(unix_has_client(live));
    close(unix_connect(victims->path));
    close(live);
}

/* --- Paths and modes ----------------------------------------------------- */

static void test_longest_path(void)
{
    g_autoptr(Place) place = place_new("it");
    size_t left = VSK_SUN_PATH_SIZE - 2 - strlen(place->dir->path);
    g_autofree char *name = g_strnfill(left, 'n');
    g_autofree char *path = temp_dir_file(place->dir, name);
    g_autofree char *longer = g_strconcat(path, "n", NULL);

    g_assert_cmpuint(strlen(path), ==, 107);
    vsk_socket_file_free(listen_at(path, SOCK_STREAM));
    assert_refused(longer, VSK_ERROR_INVALID, "108 bytes; at most 107");
    place_expect(place, "");
}

static void test_mode_whatever_the_umask(void)
{
    static const mode_t masks[] = { 0, 0022, 0077, 0177 };
    g_autoptr(Place) place = place_new("it");

    for (unsigned int i = 0; i < G_N_ELEMENTS(masks); i++) {
        mode_t old = umask(masks[i]);
        VskSocketFile *file = listen_at(place->path, SOCK_STREAM);

        umask(old);
        g_assert_cmpint(file_mode(place->path), ==, 0600);
        g_assert_cmpint(file_mode(place->lock), ==, 0600);
        vsk_socket_file_free(file);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/socket-file/" path, fn)
    TEST("live/stream-is-kept", test_live_stream_is_kept);
    TEST("live/seqpacket-is-kept", test_live_seqpacket_is_kept);
    TEST("live/datagram-is-kept", test_live_datagram_is_kept);
    TEST("live/datagram-with-a-peer-is-kept",
         test_live_datagram_with_a_peer_is_kept);
    TEST("live/bound-but-not-listening-is-kept",
         test_bound_but_not_listening_is_kept);
    TEST("live/full-backlog-is-live", test_full_backlog_is_live);
    TEST("live/in-another-process-is-kept",
         test_live_in_another_process_is_kept);
    TEST("live/replaced-is-kept-at-the-end",
         test_replaced_socket_is_kept_at_the_end);
    TEST("dead/with-connections-is-taken-over",
         test_dead_with_connections_is_taken_over);
    TEST("two/same-path-in-another-process",
         test_same_path_in_another_process);
    TEST("two/lock-file-removed-under-it", test_lock_file_removed_under_it);
    TEST("two/processes-take-turns", test_processes_take_turns);
    TEST("attack/lock-held-by-another-user", test_lock_held_by_another_user);
    TEST("attack/fifo-as-lock", test_fifo_as_lock);
    TEST("attack/socket-as-lock", test_socket_as_lock);
    TEST("attack/device-as-lock", test_device_as_lock);
    TEST("attack/hard-link-as-lock", test_hard_link_as_lock);
    TEST("attack/socket-of-another-user", test_socket_of_another_user);
    TEST("attack/race-with-a-link-for-the-lock",
         test_race_with_a_link_for_the_lock);
    TEST("attack/race-with-a-link-for-the-socket",
         test_race_with_a_link_for_the_socket);
    TEST("attack/race-with-a-link-to-a-live-socket",
         test_race_with_a_link_to_a_live_socket);
    TEST("path/longest-fits", test_longest_path);
    TEST("mode/whatever-the-umask", test_mode_whatever_the_umask);
    return g_test_run();
}
