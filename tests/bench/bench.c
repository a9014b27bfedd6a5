/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Time, children and failures of a run.
 */

#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_US 100000

static uint64_t give_up_ns;

uint64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

uint64_t bench_end_ns(const Bench *bench)
{
    return bench_now_ns() + (uint64_t)(bench->seconds * 1e9);
}

void bench_die(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "vsock-bench: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

void bench_die_errno(const char *what)
{
    bench_die("%s: %s", what, strerror(errno));
}

void bench_report(const Bench *bench, const char *part, double value,
                  const char *unit)
{
    printf("%s%s %s %.6g %s\n", bench->figure, part, bench->name, value,
           unit);
    fflush(stdout);
}

char *bench_host_path(const Bench *bench, unsigned port)
{
    return g_strdup_printf("%s_%u", bench->uds, port);
}

char *bench_raw_path(const Bench *bench, unsigned port)
{
    return g_strdup_printf("%s.raw.%u", bench->uds, port);
}

pid_t bench_child(Bench *bench, void (*body)(Bench *bench, void *opaque),
                  void *opaque)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        bench_die_errno("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (bench->apart) {
            bench_use_processor(1);
        }
        body(bench, opaque);
        fflush(NULL);
        _exit(0);
    }
    return pid;
}

static void check_status(int status)
{
    if (WIFSIGNALED(status)) {
        bench_die("a process was killed by signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        bench_die("a process ended with exit code %d", WEXITSTATUS(status));
    }
}

void bench_child_join(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            bench_die_errno("waitpid");
        }
        if (bench_now_ns() > give_up_ns) {
            bench_die("the time limit has passed");
        }
    }
    check_status(status);
}

void bench_child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

void bench_start_ticks(Bench *bench)
{
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval timer = {
        .it_interval.tv_usec = TICK_US,
        .it_value.tv_usec = TICK_US,
    };

    give_up_ns = bench_now_ns() + (uint64_t)(bench->limit_s * 1e9);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

void bench_tick(void)
{
    siginfo_t info = { 0 };

    if (bench_now_ns() > give_up_ns) {
        bench_die("the time limit has passed");
    }
    /* Look only: who started the child will want to join it. */
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid != 0 &&
        (info.si_code != CLD_EXITED || info.si_status != 0)) {
        bench_die("a process ended, %s %d",
                  info.si_code == CLD_EXITED ? "exit code" : "signal",
                  info.si_status);
    }
}

void bench_wait(sem_t *sem)
{
    while (sem_wait(sem) < 0) {
        if (errno != EINTR) {
            bench_die_errno("sem_wait");
        }
        bench_tick();
    }
}

void bench_use_processor(int number)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(number, &set);
    sched_setaffinity(0, sizeof(set), &set);
}
