/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's side of the guest tests: opens, uses and closes AF_VSOCK sockets
 * as a test tells it over a serial port, and reports what it saw.
 *
 * A request is a line "ID VERB ARGUMENT...".  Each runs in a thread of its
 * own, so that one that waits does not keep others waiting, and ends with a
 * line "ID ok NAME=VALUE..." or "ID error ERRNO NAME=VALUE...".  Sockets are
 * known by the number of a slot, which the test chooses.
 */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define CONTROL     "/dev/ttyS1"
#define N_SLOTS     1024
#define OUTPUT_SIZE 65536        /* of a program run for the test */
#define STACK_SIZE  (128 * 1024)
#define CONNECT_S   20

static int control;
static int slots[N_SLOTS];
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;

int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

void report(const Job *job, int err, const char *fmt, ...)
{
    static char line[2 * OUTPUT_SIZE + LINE_SIZE];
    va_list ap;
    int n;

    pthread_mutex_lock(&report_lock);
    n = err ? sprintf(line, "%s error %s ", job->id, strerrorname_np(err))
            : sprintf(line, "%s ok ", job->id);
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    write_all(control, line, (size_t)n);
    pthread_mutex_unlock(&report_lock);
}

int *slot(const Job *job, int arg)
{
    return &slots[strtoul(job->args[arg], NULL, 10) % N_SLOTS];
}

void fill_slot(const Job *job, int fd)
{
    int *at = slot(job, 0);

    if (*at >= 0) {
        close(*at);
    }
    *at = fd;
}

unsigned long long number(const Job *job, int arg)
{
    return strtoull(job->args[arg], NULL, 0);
}

int socket_type(const Job *job, int arg)
{
    return job->n_args > arg && strcmp(job->args[arg], "seqpacket") == 0
           ? SOCK_SEQPACKET : SOCK_STREAM;
}

int new_socket(int type)
{
    struct timeval patience = { .tv_sec = CONNECT_S };
    int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience,
                   sizeof(patience));
    }
    return fd;
}

/* The signal comes to the thread that wrote. */
static __thread volatile sig_atomic_t n_sigpipes;

static void on_sigpipe(int number)
{
    (void)number;
    n_sigpipes++;
}

int sigpipes(void)
{
    return n_sigpipes;
}

/* --- Verbs ---------------------------------------------------------------- */

static void run_ping(Job *job)
{
    report(job, 0, "pid=%d", getpid());
}

static void run_cid(Job *job)
{
    unsigned int cid = 0;
    int fd = open("/dev/vsock", O_RDONLY);
    int err = fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0
              ? errno : 0;

    report(job, err, "cid=%u", cid);
    if (fd >= 0) {
        close(fd);
    }
}

/* listen SLOT PORT BACKLOG [KIND] */
static void run_listen(Job *job)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = VMADDR_CID_ANY,
        .svm_port = (unsigned int)number(job, 1),
    };
    int fd = socket(AF_VSOCK, socket_type(job, 3) | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (void *)&addr, sizeof(addr)) < 0 ||
        listen(fd, (int)number(job, 2)) < 0) {
        report(job, errno, "what=listen");
        close(fd);
        return;
    }
    fill_slot(job, fd);
    report(job, 0, "port=%u", addr.svm_port);
}

/* accept SLOT LISTENER */
static void run_accept(Job *job)
{
    struct sockaddr_vm addr = { 0 };
    socklen_t len = sizeof(addr);
    int fd = accept4(*slot(job, 1), (void *)&addr, &len, SOCK_CLOEXEC);

    if (fd < 0) {
        report(job, errno, "what=accept");
        return;
    }
    fill_slot(job, fd);
    report(job, 0, "cid=%u port=%u", addr.svm_cid, addr.svm_port);
}

/* connect SLOT CID PORT [KIND] */
static void run_connect(Job *job)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK,
        .svm_cid = (unsigned int)number(job, 1),
        .svm_port = (unsigned int)number(job, 2),
    };
    socklen_t len = sizeof(addr);
    int fd = new_socket(socket_type(job, 3));
    int64_t start = now_ms();
    int err = 0;

    if (fd < 0 || connect(fd, (void *)&addr, len) < 0) {
        err = errno;
        close(fd);
        report(job, err, "ms=%" PRId64, now_ms() - start);
        return;
    }
    getsockname(fd, (void *)&addr, &len);
    fill_slot(job, fd);
    report(job, 0, "cid=%u port=%u ms=%" PRId64, addr.svm_cid, addr.svm_port,
           now_ms() - start);
}

/* shut SLOT rd|wr|rdwr */
static void run_shut(Job *job)
{
    const char *how = job->args[1];
    int err = shutdown(*slot(job, 0), strcmp(how, "rd") == 0 ? SHUT_RD :
                                      strcmp(how, "wr") == 0 ? SHUT_WR :
                                      SHUT_RDWR) < 0 ? errno : 0;

    report(job, err, "how=%s", how);
}

/* buffer SLOT BYTES: how much the guest holds for the program */
static void run_buffer(Job *job)
{
    uint64_t size = number(job, 1);
    int err = setsockopt(*slot(job, 0), AF_VSOCK,
                         SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof(size)) < 0
              ? errno : 0;

    report(job, err, "size=%" PRIu64, size);
}

/* close SLOT [LAST]: one, or a range */
static void run_close(Job *job)
{
    int64_t start = now_ms();
    int *first = slot(job, 0);
    int *last = job->n_args > 1 ? slot(job, 1) : first;
    int n = 0;

    for (int *fd = first; fd <= last; fd++) {
        if (*fd >= 0) {
            close(*fd);
            *fd = -1;
            n++;
        }
    }
    report(job, 0, "closed=%d ms=%" PRId64, n, now_ms() - start);
}

/* run COMMAND: by the shell; tells its output in hexadecimal */
static void run_run(Job *job)
{
    static const char digits[] = "0123456789abcdef";
    char *out = malloc(OUTPUT_SIZE), *hex = malloc(2 * OUTPUT_SIZE + 1);
    FILE *pipe = popen(job->rest, "r");
    size_t n;
    int status;

    if (!pipe) {
        report(job, errno, "what=popen");
        return;
    }
    n = fread(out, 1, OUTPUT_SIZE, pipe);
    status = pclose(pipe);
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = digits[(uint8_t)out[i] >> 4];
        hex[2 * i + 1] = digits[(uint8_t)out[i] & 15];
    }
    hex[2 * n] = '\0';
    report(job, 0, "status=%d output=%s",
           WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
           hex);
    free(out);
    free(hex);
}

static void run_reboot(Job *job)
{
    report(job, 0, "pid=%d", getpid());
    tcdrain(control);
    reboot(RB_AUTOBOOT);
}

static const Verb verbs[] = {
    { "ping", 0, run_ping },
    { "cid", 0, run_cid },
    { "listen", 3, run_listen },
    { "accept", 2, run_accept },
    { "connect", 3, run_connect },
    { "shut", 2, run_shut },
    { "buffer", 2, run_buffer },
    { "close", 1, run_close },
    { "run", 0, run_run },
    { "reboot", 0, run_reboot },
    { NULL, 0, NULL },
};

static const Verb *find_verb(const char *name, int n_args)
{
    const Verb *tables[] = { verbs, transfer_verbs, call_verbs,
                             siege_verbs };

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const Verb *verb = tables[i]; verb->name; verb++) {
            if (strcmp(name, verb->name) == 0 && n_args >= verb->n_args) {
                return verb;
            }
        }
    }
    return NULL;
}

/* --- Requests ------------------------------------------------------------- */

static void *job_main(void *opaque)
{
    Job *job = opaque;
    char *save, *word, *name;
    const Verb *verb;
    char *words;

    job->id = strtok_r(job->line, " ", &save);
    name = strtok_r(NULL, " ", &save);
    if (!job->id || !name) {
        free(job);
        return NULL;
    }
    job->rest = save;
    words = strdup(save);
    for (word = strtok_r(words, " ", &save); word && job->n_args < MAX_ARGS;
         word = strtok_r(NULL, " ", &save)) {
        job->args[job->n_args++] = word;
    }
    verb = find_verb(name, job->n_args);
    if (verb) {
        verb->run(job);
    } else {
        report(job, EINVAL, "verb=%s", name);
    }
    free(words);
    free(job);
    return NULL;
}

static void start_job(const char *line)
{
    Job *job = calloc(1, sizeof(*job));
    pthread_attr_t attr;
    pthread_t thread;

    snprintf(job->line, sizeof(job->line), "%s", line);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, job_main, job) != 0) {
        job_main(job);
    }
    pthread_attr_destroy(&attr);
}

static bool open_control(void)
{
    struct termios tio;

    control = open(CONTROL, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (control < 0 || tcgetattr(control, &tio) < 0) {
        perror("agent: " CONTROL);
        return false;
    }
    cfmakeraw(&tio);
    tio.c_cflag |= CLOCAL | CREAD;
    return tcsetattr(control, TCSANOW, &tio) == 0;
}

int main(void)
{
    struct sigaction action = { .sa_handler = on_sigpipe };
    char line[LINE_SIZE];
    size_t len = 0;
    ssize_t n;

    sigaction(SIGPIPE, &action, NULL);
    for (int i = 0; i < N_SLOTS; i++) {
        slots[i] = -1;
    }
    if (!open_control()) {
        pause();
    }
    puts("agent: ready");
    write_all(control, "ready\n", 6);
    for (;;) {
        n = read(control, line + len, 1);
        if (n <= 0) {
            continue;
        }
        if (line[len] == '\n') {
            line[len] = '\0';
            len = 0;
            start_job(line);
        } else if (len < sizeof(line) - 1) {
            len++;
        }
    }
}
