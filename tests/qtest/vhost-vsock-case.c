/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One test case in a process of its own.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "vhost-vsock-case.h"

/* What a line to the parent is about: its first byte. */
#define LINE_NOTE '#'
#define LINE_NOW '@'
#define LINE_SKIP '-'
#define LINE_FAIL '!'
#define LINE_END '~' /* QEMU, or the daemon, ended */

/* Lines of a log shown on failure, at most. */
#define LOG_LINES 40

#define QEMU_LOG "log"

/* How long an abort waits for the news that QEMU has ended, at most. */
#define ABORT_WAIT_S 10

static int case_fd = -1;

static pid_t daemon_pid; /* 0: none was started */

/* --- The child ------------------------------------------------------------ */

/* Send each line of @text; a line of this protocol holds no newline. */
static void tell(int fd, char kind, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned i;

    for (i = 0; lines[i]; i++) {
        g_autofree char *line = g_strdup_printf("%c%s\n", kind, lines[i]);
        size_t len = strlen(line);

        if (lines[i][0] || !lines[i + 1]) {
            /* A short write means the parent is gone: nobody to tell. */
            if (len > 2 && write(fd, line, len) != len) {
                _exit(EXIT_FAILURE);
            }
        }
    }
}

void vvt_case_note(VvtCase *c, const char *text)
{
    tell(c->fd, LINE_NOTE, text);
}

void vvt_case_now(VvtCase *c, const char *text)
{
    tell(c->fd, LINE_NOW, text);
}

void vvt_case_skip(VvtCase *c, const char *why)
{
    tell(c->fd, LINE_SKIP, why);
}

void vvt_case_fail(VvtCase *c, const char *text)
{
    tell(c->fd, LINE_FAIL, text);
}

/* Append @number to @buf; safe in a signal handler. */
static size_t put_number(char *buf, unsigned number)
{
    char digits[12];
    size_t n = 0;
    size_t i;

    do {
        digits[n++] = '0' + number % 10;
        number /= 10;
    } while (number);
    for (i = 0; i < n; i++) {
        buf[i] = digits[n - 1 - i];
    }
    return n;
}

/* Only functions that are safe in a signal handler from here on. */
static void on_child(int signo, siginfo_t *info, void *context)
{
    const char *who = info->si_pid == daemon_pid ? "~the daemon" : "~QEMU";
    const char *how = info->si_code == CLD_EXITED ?
                      " ended by itself, exit status " : " ended by signal ";
    char line[80];
    size_t n = strlen(who);

    if (info->si_code != CLD_EXITED && info->si_code != CLD_KILLED &&
        info->si_code != CLD_DUMPED) {
        return;
    }
    memcpy(line, who, n);
    memcpy(line + n, how, strlen(how));
    n += strlen(how);
    n += put_number(line + n, info->si_status);
    line[n++] = '\n';
    if (write(case_fd, line, n) < 0) {
        _exit(EXIT_FAILURE);
    }
    _exit(EXIT_SUCCESS);
}

void vvt_case_qemu_may_exit(bool may)
{
    struct sigaction action = { .sa_flags = SA_SIGINFO | SA_NOCLDSTOP };

    if (may) {
        action.sa_flags = 0;
        action.sa_handler = SIG_DFL;
    } else {
        action.sa_sigaction = on_child;
    }
    sigaction(SIGCHLD, &action, NULL);
}

void vvt_case_daemon_runs(pid_t pid)
{
    daemon_pid = pid;
}

/*
 * libqtest aborts when QEMU has closed its socket, which is a moment before
 * on_child() can know that it ended.
 */
static void on_abort(int signo)
{
    struct timespec moment = { .tv_sec = ABORT_WAIT_S };

    nanosleep(&moment, NULL);
}

void vvt_case_qemu_runs(void)
{
    struct sigaction action = { .sa_handler = on_abort };

    sigaction(SIGABRT, &action, NULL);
}

static void G_GNUC_NORETURN child(VvtCaseBody body, const void *opaque,
                                  int fd, const char *dir, const char *log,
                                  bool verbose)
{
    VvtCase c = { .fd = fd, .verbose = verbose };
    int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* Only this process speaks TAP no more; nor does QEMU. */
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    case_fd = fd;
    c.dir = g_strdup(dir);
    vvt_case_qemu_may_exit(false);
    body(&c, opaque);
    _exit(EXIT_SUCCESS);
}

/* --- The parent ----------------------------------------------------------- */

typedef struct Watch {
    VvtVerdict verdict;
    bool verbose;
    bool ended;  /* QEMU, or the daemon */
    char *now;
    GString *text;
    GString *line; /* what came of the next one */
} Watch;

/* It has failed: why it would have been a skip does not matter any more. */
static void fail(Watch *w)
{
    if (w->verdict == VVT_SKIP) {
        g_string_truncate(w->text, 0);
    }
    w->verdict = VVT_FAIL;
}

static void take_line(Watch *w, const char *line)
{
    switch (line[0]) {
    case LINE_NOTE:
        if (w->verbose) {
            g_test_message("%s", line + 1);
        }
        break;
    case LINE_NOW:
        g_free(w->now);
        w->now = g_strdup(line + 1);
        break;
    case LINE_SKIP:
        if (w->verdict == VVT_PASS) { /* one reason is enough */
            w->verdict = VVT_SKIP;
            g_string_append(w->text, line + 1);
        }
        break;
    case LINE_END:
        w->ended = true;
        /* fall through */
    case LINE_FAIL:
        fail(w);
        g_string_append_printf(w->text, "%s\n", line + 1);
        break;
    }
}

/* Read until the child closed its end; false: it took too long. */
static bool watch_child(Watch *w, int fd, unsigned timeout_s)
{
    gint64 end = g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC;

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        char buf[4096];
        ssize_t n;
        char *newline;

        if (left <= 0 || poll(&p, 1, left) == 0) {
            return false;
        }
        n = read(fd, buf, sizeof(buf));
        if (n == 0) {
            return true;
        }
        if (n > 0) {
            g_string_append_len(w->line, buf, n);
        }
        while ((newline = strchr(w->line->str, '\n'))) {
            *newline = 0;
            take_line(w, w->line->str);
            g_string_erase(w->line, 0, newline + 1 - w->line->str);
        }
    }
}

static void append_log(GString *text, const char *title, const char *dir,
                       const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *log = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n;
    unsigned i;

    if (!g_file_get_contents(path, &log, NULL, NULL) || !log[0]) {
        return;
    }
    lines = g_strsplit(g_strchomp(log), "\n", -1);
    n = g_strv_length(lines);
    g_string_append_printf(text, "  %s said:\n", title);
    for (i = n > LOG_LINES ? n - LOG_LINES : 0; i < n; i++) {
        g_string_append_printf(text, "    %s\n", lines[i]);
    }
}

static void judge(Watch *w, int status, bool in_time, unsigned timeout_s)
{
    if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
        !w->ended) {
        return;
    }
    fail(w);
    if (!in_time) {
        g_string_append_printf(w->text, "nothing more happened within %u "
                               "seconds\n", timeout_s);
    } else if (WIFSIGNALED(status)) {
        g_string_append_printf(w->text, "the case ended by signal %d (%s)\n",
                               WTERMSIG(status),
                               strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        g_string_append_printf(w->text, "the case ended with exit status "
                               "%d\n", WEXITSTATUS(status));
    }
    if (w->now) {
        g_string_append_printf(w->text, "  that was during %s\n", w->now);
    }
}

static void remove_dir(const char *dir)
{
    g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
    const char *name;

    while (entries && (name = g_dir_read_name(entries))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_unlink(path);
    }
    g_rmdir(dir);
}

/* Short enough that AF_UNIX paths fit below it. */
static char *make_dir(void)
{
    const char *tmp = g_get_tmp_dir();
    g_autofree char *dir = g_strdup_printf("%s/vvt-XXXXXX",
                                           strlen(tmp) > 50 ? "/tmp" : tmp);

    return g_mkdtemp(dir) ? g_steal_pointer(&dir) : NULL;
}

VvtVerdict vvt_case_run(VvtCaseBody body, const void *opaque,
                        unsigned timeout_s, bool verbose, GString *ret_text)
{
    g_autofree char *dir = make_dir();
    g_autofree char *log = NULL;
    Watch w = { .verbose = verbose, .text = ret_text };
    int fds[2];
    int status = 0;
    bool in_time;
    pid_t pid;

    if (!dir || !g_unix_open_pipe(fds, FD_CLOEXEC, NULL)) {
        g_string_append_printf(ret_text, "no directory or pipe for the case: "
                               "%s\n", strerror(errno));
        return VVT_FAIL;
    }
    log = g_build_filename(dir, QEMU_LOG, NULL);
    fflush(stdout);
    fflush(stderr);
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child(body, opaque, fds[1], dir, log, verbose);
    }
    close(fds[1]);
    if (pid < 0) {
        g_string_append_printf(ret_text, "fork: %s\n", strerror(errno));
        close(fds[0]);
        remove_dir(dir);
        return VVT_FAIL;
    }

    w.line = g_string_new(NULL);
    in_time = watch_child(&w, fds[0], timeout_s);
    if (!in_time) {
        kill(pid, SIGKILL);
    }
    waitpid(pid, &status, 0);
    close(fds[0]);
    judge(&w, status, in_time, timeout_s);
    if (w.verdict == VVT_FAIL) {
        append_log(ret_text, "QEMU, and the libraries this test uses,", dir,
                   QEMU_LOG);
        append_log(ret_text, "The daemon", dir, VVT_CASE_DAEMON_LOG);
    }
    remove_dir(dir);
    g_string_free(w.line, true);
    g_free(w.now);
    return w.verdict;
}

void vvt_case_test(VvtCaseBody body, const void *opaque, unsigned timeout_s)
{
    g_autoptr(GString) text = g_string_new(NULL);

    switch (vvt_case_run(body, opaque, timeout_s, g_test_verbose(), text)) {
    case VVT_PASS:
        break;
    case VVT_SKIP:
        g_test_skip(text->str);
        break;
    case VVT_FAIL:
        g_test_message("%s", g_strchomp(text->str));
        g_test_fail();
        break;
    }
}
