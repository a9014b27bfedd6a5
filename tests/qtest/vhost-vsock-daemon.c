/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The daemon behind vhost-user-vsock-pci: a process of the case's own.
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include <sys/wait.h>
#include "vhost-vsock-case.h"
#include "vhost-vsock-daemon.h"

#define NAP_US 1000

/* __SO_ACCEPTCON of /proc/net/unix. */
#define FLAG_LISTENS 0x10000

struct VvtDaemon {
    const VvtConfig *config;
    pid_t pid;
    char *socket;        /* where QEMU connects */
    char *uds_path;
    GHashTable *at_rest; /* its sockets and memory before QEMU came */
};

static gint64 deadline(const VvtConfig *config)
{
    return g_get_monotonic_time() + (gint64)config->patience_ms * 1000;
}

/*
 * Call @one with each socket of AF_UNIX that this machine has, until it
 * returns true.
 */
static bool each_unix_socket(bool (*one)(unsigned flags, unsigned long inode,
                                         const char *path, void *opaque),
                             void *opaque)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned i;

    if (!g_file_get_contents("/proc/net/unix", &text, NULL, NULL)) {
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (i = 1; lines[0] && lines[i]; i++) {
        unsigned flags;
        unsigned long inode;
        int path = 0;

        /* Address, references, protocol, flags, type, state, inode, path. */
        if (sscanf(lines[i], "%*s %*s %*s %x %*s %*s %lu %n", &flags, &inode,
                   &path) == 2 &&
            one(flags, inode, lines[i] + path, opaque)) {
            return true;
        }
    }
    return false;
}

static bool is_listener_at(unsigned flags, unsigned long inode,
                           const char *path, void *opaque)
{
    return (flags & FLAG_LISTENS) && strcmp(path, opaque) == 0;
}

/* Daemons accept one QEMU, so that nobody else may connect to find out. */
static bool listens(const char *path)
{
    return each_unix_socket(is_listener_at, (void *)path);
}

static bool is_listener(unsigned flags, unsigned long inode,
                        const char *path, void *opaque)
{
    return (flags & FLAG_LISTENS) && inode == *(unsigned long *)opaque;
}

/* Whether an open file belongs to a guest: a connection, or its memory. */
static bool is_of_guest(const char *link)
{
    unsigned long inode;

    if (sscanf(link, "socket:[%lu]", &inode) == 1) {
        return !each_unix_socket(is_listener, &inode);
    }
    return g_str_has_prefix(link, "/memfd:");
}

/* The files the daemon has open: as /proc names them. */
static GHashTable *open_files(const VvtDaemon *daemon)
{
    GHashTable *files = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              NULL);
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", daemon->pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *fd = g_build_filename(path, name, NULL);
        char *link = g_file_read_link(fd, NULL);

        if (link) {
            g_hash_table_add(files, link);
        }
    }
    return files;
}

/* What it has of a guest that it did not have before; NULL: nothing. */
static char *kept_files(const VvtDaemon *daemon)
{
    g_autoptr(GHashTable) files = open_files(daemon);
    g_autoptr(GString) text = g_string_new(NULL);
    GHashTableIter iter;
    gpointer link;

    g_hash_table_iter_init(&iter, files);
    while (g_hash_table_iter_next(&iter, &link, NULL)) {
        if (!g_hash_table_contains(daemon->at_rest, link) &&
            is_of_guest(link)) {
            g_string_append_printf(text, " %s", (char *)link);
        }
    }
    return text->len > 0 ? g_strdup(text->str) : NULL;
}

static void G_GNUC_NORETURN become(char **argv, const char *log)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    /* It has no business with the runner's pipes and sockets. */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    execvp(argv[0], argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* The daemon's command line: the options of every such daemon. */
static GPtrArray *command(const VvtDaemon *daemon, uint64_t guest_cid)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    unsigned i;

    for (i = 0; daemon->config->daemon[i]; i++) {
        g_ptr_array_add(argv, g_strdup(daemon->config->daemon[i]));
    }
    g_ptr_array_add(argv, g_strdup_printf("--guest-cid=%" PRIu64, guest_cid));
    g_ptr_array_add(argv, g_strdup_printf("--socket=%s", daemon->socket));
    g_ptr_array_add(argv, g_strdup_printf("--uds-path=%s", daemon->uds_path));
    g_ptr_array_add(argv, NULL);
    return argv;
}

VvtDaemon *vvt_daemon_start(const VvtConfig *config, uint64_t guest_cid,
                            const char *dir, GString *ret_why)
{
    VvtDaemon *daemon = g_new0(VvtDaemon, 1);
    g_autofree char *log = g_build_filename(dir, VVT_CASE_DAEMON_LOG, NULL);
    g_autoptr(GPtrArray) argv = NULL;
    gint64 end = deadline(config);
    sigset_t child;

    daemon->config = config;
    daemon->socket = g_build_filename(dir, VVT_VHOST_SOCKET, NULL);
    daemon->uds_path = g_build_filename(dir, VVT_UDS_PATH, NULL);
    argv = command(daemon, guest_cid);

    /* The end of this child is to be known as the daemon's from the start. */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    daemon->pid = fork();
    if (daemon->pid == 0) {
        sigprocmask(SIG_UNBLOCK, &child, NULL);
        become((char **)argv->pdata, log);
    }
    vvt_case_daemon_runs(daemon->pid);
    sigprocmask(SIG_UNBLOCK, &child, NULL);

    while (!listens(daemon->socket)) {
        if (g_get_monotonic_time() >= end) {
            g_string_append_printf(ret_why, "the daemon does not listen "
                                   "within %u ms\n",
                                   config->patience_ms);
            return NULL;
        }
        g_usleep(NAP_US);
    }
    daemon->at_rest = open_files(daemon);
    return daemon;
}

/* Whether it ended, which @ret_status then tells about. */
static bool has_ended(const VvtDaemon *daemon, int *ret_status)
{
    return waitpid(daemon->pid, ret_status, WNOHANG) == daemon->pid;
}

static void judge_status(const VvtDaemon *daemon, const char *when,
                         int status, GString *ret_why)
{
    if (WIFSIGNALED(status)) {
        g_string_append_printf(ret_why, "the daemon ended %s by signal %d "
                               "(%s)\n", when, WTERMSIG(status),
                               strsignal(WTERMSIG(status)));
    } else {
        g_string_append_printf(ret_why, "the daemon ended %s, exit status "
                               "%d\n", when, WEXITSTATUS(status));
    }
}

static void let_go(const VvtDaemon *daemon, GString *ret_why)
{
    gint64 end = deadline(daemon->config);
    g_autofree char *kept = NULL;

    while ((kept = kept_files(daemon)) && g_get_monotonic_time() < end) {
        g_clear_pointer(&kept, g_free);
        g_usleep(NAP_US);
    }
    if (kept) {
        g_string_append_printf(ret_why, "the guest is gone, but the daemon "
                               "keeps%s\n", kept);
    }
}

/* End it, and say in @ret_status how it ended; false: only by SIGKILL. */
static bool terminate(const VvtDaemon *daemon, int *ret_status)
{
    gint64 end = deadline(daemon->config);

    kill(daemon->pid, SIGTERM);
    while (!has_ended(daemon, ret_status)) {
        if (g_get_monotonic_time() >= end) {
            kill(daemon->pid, SIGKILL);
            waitpid(daemon->pid, ret_status, 0);
            return false;
        }
        g_usleep(NAP_US);
    }
    return true;
}

static void check_removed(const char *path, GString *ret_why)
{
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_string_append_printf(ret_why, "the daemon ended and left %s\n",
                               path);
    }
}

void vvt_daemon_end(VvtDaemon *daemon, GString *ret_why)
{
    bool strict = !(daemon->config->waive & VVT_WAIVE_END);
    int status;

    if (has_ended(daemon, &status)) {
        judge_status(daemon, "by itself", status, ret_why);
    } else {
        if (strict) {
            let_go(daemon, ret_why);
        }
        if (!terminate(daemon, &status)) {
            g_string_append_printf(ret_why, "the daemon does not end within "
                                   "%u ms of SIGTERM\n",
                                   daemon->config->patience_ms);
        } else if (strict && status != 0) {
            judge_status(daemon, "at SIGTERM", status, ret_why);
        }
        if (strict) {
            check_removed(daemon->socket, ret_why);
            check_removed(daemon->uds_path, ret_why);
        }
    }
    g_hash_table_destroy(daemon->at_rest);
    g_free(daemon->socket);
    g_free(daemon->uds_path);
    g_free(daemon);
}
