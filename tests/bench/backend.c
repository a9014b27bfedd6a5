/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Starts the process that is measured, and asks the kernel about it.
 */

#include "backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct Backend {
    pid_t pid;
    char *socket;
};

static G_GNUC_NORETURN void run_program(const Bench *bench, char *socket)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *log = g_build_filename(bench->dir, "log", NULL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    unsigned i;

    g_ptr_array_add(argv, (char *)bench->program);
    g_ptr_array_add(argv, g_strdup_printf("--guest-cid=%d",
                                          BENCH_GUEST_CID));
    g_ptr_array_add(argv, g_strdup_printf("--socket=%s", socket));
    g_ptr_array_add(argv, g_strdup_printf("--uds-path=%s", bench->uds));
    g_ptr_array_add(argv, (char *)"--queue-size=256");
    for (i = 0; i < bench->n_program_args; i++) {
        g_ptr_array_add(argv, bench->program_args[i]);
    }
    g_ptr_array_add(argv, NULL);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(bench->program, (char **)argv->pdata);
    bench_die_errno(bench->program);
}

Backend *backend_start(const Bench *bench)
{
    Backend *backend = g_new0(Backend, 1);

    backend->socket = g_build_filename(bench->dir, "vhost-user.sock", NULL);
    fflush(NULL);
    backend->pid = fork();
    if (backend->pid < 0) {
        bench_die_errno("fork");
    }
    if (backend->pid == 0) {
        run_program(bench, backend->socket);
    }
    return backend;
}

void backend_stop(Backend *backend)
{
    if (backend) {
        kill(backend->pid, SIGKILL);
        while (waitpid(backend->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        g_free(backend->socket);
        g_free(backend);
    }
}

const char *backend_socket(const Backend *backend)
{
    return backend->socket;
}

uint64_t backend_cpu_ns(const Backend *backend)
{
    struct timespec time;
    clockid_t clock;

    if (clock_getcpuclockid(backend->pid, &clock) != 0 ||
        clock_gettime(clock, &time) < 0) {
        bench_die_errno("the backend's processor time");
    }
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

double backend_rss_kib(const Backend *backend)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", backend->pid);
    g_autofree char *text = NULL;
    const char *anon, *file;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !(anon = strstr(text, "RssAnon:")) ||
        !(file = strstr(text, "RssFile:"))) {
        bench_die("%s has no RssAnon and RssFile", path);
    }
    return g_ascii_strtod(anon + strlen("RssAnon:"), NULL) +
           g_ascii_strtod(file + strlen("RssFile:"), NULL);
}

unsigned backend_fds(const Backend *backend)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", backend->pid);
    DIR *dir = opendir(path);
    unsigned n = 0;

    if (!dir) {
        bench_die_errno(path);
    }
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n - 2; /* . and .. */
}
