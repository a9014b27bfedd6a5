/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every failure of every system call, at every call of it that a scenario
 * makes, once and for a while.
 *
 * A test is named after scenario, call and failure; it fails the first call,
 * the second, and so on.  Only some are tried where there are many, unless
 * "-m slow" is given.  When it fails, the last line says which one it was.
 */

#include "fault.h"
#include "storm.h"
#include "unix-socket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOST_CALLS 5  /* that are made to fail, of one kind and scenario */
#define FOR_A_WHILE 20

typedef struct Failure {
    FaultCall call;
    const char *name;
    int err;
    bool passes; /* all flows are complete all the same */
} Failure;

static const Failure failures[] = {
    { FAULT_ACCEPT4, "eagain", EAGAIN, true },
    { FAULT_ACCEPT4, "eintr", EINTR, true },
    { FAULT_ACCEPT4, "econnaborted", ECONNABORTED, true },
    { FAULT_ACCEPT4, "emfile", EMFILE, true },
    { FAULT_ACCEPT4, "enobufs", ENOBUFS, true },
    { FAULT_BIND, "eaddrinuse", EADDRINUSE, false },
    { FAULT_CONNECT, "eagain", EAGAIN, false },
    { FAULT_CONNECT, "eintr", EINTR, true },
    { FAULT_CONNECT, "econnrefused", ECONNREFUSED, false },
    { FAULT_CONNECT, "enomem", ENOMEM, false },
    { FAULT_EPOLL_CTL, "enomem", ENOMEM, false },
    { FAULT_EPOLL_CTL, "enospc", ENOSPC, false },
    { FAULT_EPOLL_WAIT, "eintr", EINTR, true },
    { FAULT_EPOLL_WAIT, "one", FAULT_ONE, true },
    { FAULT_EPOLL_WAIT, "spurious", FAULT_SPURIOUS, true },
    { FAULT_GETPEERNAME, "enobufs", ENOBUFS, false },
    { FAULT_GETSOCKOPT, "enobufs", ENOBUFS, false },
    { FAULT_POLL, "eintr", EINTR, true },
    { FAULT_RECV, "eagain", EAGAIN, true },
    { FAULT_RECV, "eintr", EINTR, true },
    { FAULT_RECV, "one", FAULT_ONE, true },
    { FAULT_RECV, "half", FAULT_HALF, true },
    { FAULT_RECV, "econnreset", ECONNRESET, false },
    { FAULT_RECV, "enomem", ENOMEM, false },
    { FAULT_RECVMSG, "eagain", EAGAIN, true },
    { FAULT_RECVMSG, "eintr", EINTR, true },
    { FAULT_RECVMSG, "one", FAULT_ONE, true },
    { FAULT_RECVMSG, "half", FAULT_HALF, true },
    { FAULT_RECVMSG, "econnreset", ECONNRESET, false },
    { FAULT_RECVMSG, "enomem", ENOMEM, false },
    { FAULT_SENDMSG, "eagain", EAGAIN, true },
    { FAULT_SENDMSG, "eintr", EINTR, true },
    { FAULT_SENDMSG, "one", FAULT_ONE, true },
    { FAULT_SENDMSG, "half", FAULT_HALF, true },
    { FAULT_SENDMSG, "econnreset", ECONNRESET, false },
    { FAULT_SENDMSG, "epipe", EPIPE, false },
    { FAULT_SENDMSG, "enobufs", ENOBUFS, true },
    { FAULT_SENDMSG, "enomem", ENOMEM, true },
    { FAULT_SETSOCKOPT, "enomem", ENOMEM, false },
    { FAULT_SOCKET, "emfile", EMFILE, false },
    { FAULT_SOCKET, "enobufs", ENOBUFS, false },
    { FAULT_STAT, "eacces", EACCES, false },
};

/* --- Scenarios ----------------------------------------------------------- */

static void hosts_sleep_first(Storm *storm, unsigned int round)
{
    storm->hosts_sleep = round < 6;
}

static void guest_hoards_first(Storm *storm, unsigned int round)
{
    storm->guest->hoards = round < 6;
}

static void pause_a_while(Storm *storm, unsigned int round)
{
    if (round == 2 || round == 6) {
        storm_set_paused(storm, round == 2);
    }
}

static void reset_the_driver(Storm *storm, unsigned int round)
{
    if (round == 3) {
        storm_reset_driver(storm);
    }
}

static void reset_the_transport(Storm *storm, unsigned int round)
{
    if (round == 3) {
        storm_reset_transport(storm);
    }
}

static const Scenario scenarios[] = {
    { "guest-connects", VSK_TYPE_STREAM, 1, 0, 500, 400 },
    { "host-connects", VSK_TYPE_STREAM, 0, 2, 500, 400 },
    { "shared-listener", VSK_TYPE_STREAM, 2, 0, 500, 400, .shared = true },
    { "bulk", VSK_TYPE_STREAM, 1, 0, 100000, 100000, .window = 8192 },
    { "half-close", VSK_TYPE_STREAM, 2, 2, 10000, 10000, true },
    { "many-flows", VSK_TYPE_STREAM, 12, 12, 2000, 2000, true },
    { "full-backlog", VSK_TYPE_STREAM, 8, 0, 100, 100, .fails = true,
      .backlog = 2, .one_listener = true, .weather = hosts_sleep_first },
    { "host-never-reads", VSK_TYPE_STREAM, 1, 0, 600000, 100,
      .window = 65536, .weather = hosts_sleep_first },
    { "guest-never-reads", VSK_TYPE_STREAM, 1, 1, 100, 100000,
      .buf_alloc = 8192, .weather = guest_hoards_first },
    { "stop-and-continue", VSK_TYPE_STREAM, 1, 1, 60000, 60000,
      .weather = pause_a_while },
    { "driver-reset", VSK_TYPE_STREAM, 1, 1, 100000, 100000, .fails = true,
      .window = 8192, .weather = reset_the_driver },
    { "transport-reset", VSK_TYPE_STREAM, 1, 1, 100000, 100000, .fails = true,
      .window = 8192, .weather = reset_the_transport },
    { "messages", VSK_TYPE_SEQPACKET, 1, 1, 60, 60 },
    { "messages-of-a-window", VSK_TYPE_SEQPACKET, 2, 0, 60, 60,
      .window = 8192, .buf_alloc = 3000 },
    { "messages-too-large", VSK_TYPE_SEQPACKET, 1, 1, 60, 60, .fails = true,
      .buf_alloc = 2000 },
    { "messages-never-read", VSK_TYPE_SEQPACKET, 1, 0, 1000, 60,
      .window = 8192, .weather = hosts_sleep_first },
    { "messages-driver-reset", VSK_TYPE_SEQPACKET, 1, 1, 600, 600,
      .fails = true, .weather = reset_the_driver },
};

/* --- The sweep ----------------------------------------------------------- */

typedef struct Case {
    const Scenario *scenario;
    const Failure *failure; /* NULL: none */
    unsigned int calls;     /* that the scenario makes */
} Case;

static char running[160];

/* Say what it was that failed. */
static void on_abort(int sig)
{
    ssize_t n = write(STDOUT_FILENO, running, strlen(running));

    (void)n;
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Whether all flows are to be complete in spite of it. */
static bool passes(const Case *c)
{
    const Failure *f = c->failure;

    if (f->call == FAULT_SENDMSG && f->err != EINTR && c->scenario->n_host) {
        return false; /* an "OK" line always finds room, in the kernel */
    }
    return f->passes && !c->scenario->fails;
}

static void run_one(const Case *c, unsigned int nth, unsigned int times)
{
    const Failure *f = c->failure;
    g_autoptr(Storm) storm = storm_new(c->scenario);

    snprintf(running, sizeof(running), "# %s, call %u, %u times\n",
             fault_call_name(f->call), nth, times);
    fault_reset();
    fault_at(f->call, nth, times, f->err);
    storm_run(storm);
    fault_at(f->call, 0, 0, 0);
    g_assert_cmpuint(fault_hits(), >, 0);
    if (passes(c)) {
        storm_assert_complete(storm);
    }
    storm_assert_calm(storm);
}

static void test_failure(gconstpointer data)
{
    const Case *c = data;
    unsigned int most = g_test_slow() ? c->calls
                                      : under_valgrind() ? 1 : MOST_CALLS;
    unsigned int stride = MAX((c->calls + most - 1) / most, 1);

    for (unsigned int nth = 0; nth < c->calls; nth += stride) {
        run_one(c, nth, 1);
        run_one(c, nth, FOR_A_WHILE);
    }
}

static void test_fair_weather(gconstpointer data)
{
    const Scenario *scenario = data;
    g_autoptr(Storm) storm = storm_new(scenario);

    storm_run(storm);
    if (!scenario->fails) {
        storm_assert_complete(storm);
    }
    storm_assert_calm(storm);
}

static void add_failures(const Scenario *scenario)
{
    g_autoptr(Storm) storm = storm_new(scenario);

    fault_reset();
    storm_run(storm);
    for (size_t i = 0; i < G_N_ELEMENTS(failures); i++) {
        const Failure *f = &failures[i];
        unsigned int calls = fault_calls(f->call);
        g_autofree char *name =
            g_strdup_printf("/faults/%s/%s/%s", scenario->name,
                            fault_call_name(f->call), f->name);
        Case *c = g_new(Case, 1);

        *c = (Case) { scenario, f, calls };
        if (scenario->one_listener && f->call == FAULT_BIND) {
            calls = 0; /* nameless flows could not be told apart */
        }
        if (calls) {
            g_test_add_data_func_full(name, c, test_failure, g_free);
        } else {
            g_free(c);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* Thousands of directories are made: better in memory. */
    g_setenv("TMPDIR", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             false);
    signal(SIGABRT, on_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++) {
        g_autofree char *name = g_strdup_printf("/faults/%s/none",
                                                scenarios[i].name);

        g_test_add_data_func(name, &scenarios[i], test_fair_weather);
        add_failures(&scenarios[i]);
    }
    return g_test_run();
}
