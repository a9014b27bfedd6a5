/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the program can still do once it serves guests.
 *
 * The list of system calls is not kept by hand: list-syscalls.py makes it of
 * tags in comments beside the calls, here, in the library, and below for what
 * libc does on its own account.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <seccomp.h>

#include "sandbox.h"
#include "sandbox-syscalls.h"

/*
 * libc and GLib: memory, locks, the end of threads and of the process, signals,
 * abort(), time where there is no vDSO, and how many processors there are.
 * #syscalls mmap munmap mremap mprotect madvise brk futex sched_yield
 * #syscalls exit exit_group rt_sigreturn rt_sigprocmask rt_sigaction
 * #syscalls restart_syscall gettid getpid tgkill clock_gettime gettimeofday
 * #syscalls sched_getaffinity sysinfo getrandom
 *
 * What libc makes of calls tagged here and elsewhere where words have 32 bits,
 * or where send() and recv() are calls of their own.
 * #syscalls mmap2 ftruncate64 fstat64 lstat64 fstatat64 statx fstatfs64 fcntl64
 * #syscalls futex_time64 clock_gettime64 ppoll_time64 send recv sigreturn
 */

/*
 * What libc can do without: to find out how it may use memory, it looks into
 * /proc and /sys when it likes.  No file is opened, and nobody ends for it.
 */
static const char *const denied[] = { "open", "openat" };

/* Only what is safe in a signal handler. */
static void append(char *text, size_t size, const char *more)
{
    size_t at = strlen(text);

    while (*more && at + 1 < size) {
        text[at++] = *more++;
    }
    text[at] = 0;
}

/* A call that is not in the list: say which, and end. */
static void on_sigsys(int sig, siginfo_t *info, void *context)
{
    char text[160] = "vhost-user-vsock: error: system call ";
    char digits[12];
    char *digit = digits + sizeof(digits) - 1;
    unsigned int number = info->si_syscall;

    *digit = 0;
    do {
        *--digit = '0' + number % 10;
        number /= 10;
    } while (number);
    append(text, sizeof(text), digit);
    append(text, sizeof(text), " is not one that the sandbox allows; ending. "
           "--sandbox=none goes without\n");
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* nobody left to tell */
    }
    _exit(128 + SIGSYS);
}

/*
 * Of some calls not every use is allowed: host sockets are AF_UNIX, so no
 * network is reached; no memory becomes code.  s390x keeps the arguments of
 * mmap() in memory, where no filter sees them.
 */
static const struct {
    const char *name;
    struct scmp_arg_cmp condition;
} limits[] = {
    { "socket", { 0, SCMP_CMP_EQ, AF_UNIX, 0 } },
#ifndef __s390__
    { "mmap", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
#endif
    { "mmap2", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
    { "mprotect", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
};

/* The mmap() that hides its arguments, where libc has mmap2 for all uses. */
static bool is_left_out(const char *name)
{
#if defined(__i386__) || defined(__m68k__)
    return strcmp(name, "mmap") == 0;
#else
    return false;
#endif
}

static int add_rule(scmp_filter_ctx filter, uint32_t action, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    struct scmp_arg_cmp condition;
    unsigned int n = 0;
    int ret;

    if (number == __NR_SCMP_ERROR || is_left_out(name)) {
        return 0; /* this libseccomp does not know it */
    }
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (strcmp(name, limits[i].name) == 0) {
            n = 1;
            condition = limits[i].condition;
        }
    }
    ret = seccomp_rule_add_array(filter, action, number, n, &condition);
    return ret == -EDOM ? 0 : ret; /* not on this machine */
}

static int add_rules(scmp_filter_ctx filter, uint32_t action,
                     const char *const *names, size_t n)
{
    int ret = 0;

    for (size_t i = 0; i < n && ret == 0; i++) {
        ret = add_rule(filter, action, names[i]);
    }
    return ret;
}

bool sandbox_enter(GError **errp)
{
    struct sigaction action = {
        .sa_sigaction = on_sigsys,
        .sa_flags = SA_SIGINFO,
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    int ret = -ENOMEM;

    sigaction(SIGSYS, &action, NULL);
    if (filter) {
        ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1);
    }
    if (ret == 0) {
        ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (ret == 0) {
        ret = add_rules(filter, SCMP_ACT_ALLOW, sandbox_syscalls,
                        G_N_ELEMENTS(sandbox_syscalls));
    }
    if (ret == 0) {
        ret = add_rules(filter, SCMP_ACT_ERRNO(EACCES), denied,
                        G_N_ELEMENTS(denied));
    }
    if (ret == 0) {
        ret = seccomp_load(filter);
    }
    seccomp_release(filter);
    if (ret < 0) {
        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(-ret),
                    "no sandbox: %s; if this kernel has no seccomp, "
                    "--sandbox=none goes without", g_strerror(-ret));
        return false;
    }
    return true;
}
