/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vsock-bench: one figure of one backend.  tests/bench/run calls it for many.
 *
 * It is the guest and, in processes of their own, the host's programs; the
 * backend is started by it.  Without one the programs talk to each other
 * directly ("raw"), which no backend of AF_UNIX sockets can do better than.
 */

#include "backend.h"
#include "bench.h"
#include "guest.h"
#include "pattern.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    char *program, *name, *figure;
    double seconds, limit_s;
    gboolean spin, apart;
} options = { .seconds = 1, .limit_s = 20 };

static const GOptionEntry entries[] = {
    { "program", 'p', 0, G_OPTION_ARG_FILENAME, &options.program,
      "the backend; without it, raw", "FILE" },
    { "name", 'n', 0, G_OPTION_ARG_STRING, &options.name,
      "what the report calls the backend", "NAME" },
    { "seconds", 's', 0, G_OPTION_ARG_DOUBLE, &options.seconds,
      "how long to measure; default 1", "S" },
    { "limit", 'l', 0, G_OPTION_ARG_DOUBLE, &options.limit_s,
      "when to give up; default 20", "S" },
    { "spin", 0, 0, G_OPTION_ARG_NONE, &options.spin,
      "the guest never sleeps", NULL },
    { "apart", 'a', 0, G_OPTION_ARG_NONE, &options.apart,
      "guest and host programs have a processor each", NULL },
    { 0 }
};

static const char summary[] =
    "Figures (block size and number of flows follow):\n"
    "  g2h-BLOCK[-FLOWS]   MiB/s, guest to host, and the backend's CPU time\n"
    "  h2g-BLOCK[-FLOWS]   host to guest\n"
    "  pingpong-FLOWS      round trips of 64 bytes, p50 and p99\n"
    "  beside-g2h-FLOWS    the same beside a bulk flow\n"
    "  beside-h2g-FLOWS\n"
    "  connect-g2h-N       connections a second, N at once\n"
    "  connect-h2g-N\n"
    "  idle-g2h-FLOWS      memory and descriptors per connection\n"
    "  idle-h2g-FLOWS\n"
    "What follows -- is given to the backend.";

static BenchDirection direction_of(const char *word)
{
    if (strcmp(word, "g2h") != 0 && strcmp(word, "h2g") != 0) {
        bench_die("no figure %s; see --help", options.figure);
    }
    return word[0] == 'g' ? BENCH_G2H : BENCH_H2G;
}

static unsigned number_of(const char *word)
{
    guint64 value;

    if (!word || !g_ascii_string_to_unsigned(word, 10, 1, 1000000, &value,
                                             NULL)) {
        bench_die("no figure %s; see --help", options.figure);
    }
    return value;
}

/* The largest block that a flow carries. */
static unsigned block_of(char **words)
{
    if (strcmp(words[0], "g2h") == 0 || strcmp(words[0], "h2g") == 0) {
        return MIN(number_of(words[1]), BENCH_MAX_BLOCK);
    }
    return strcmp(words[0], "beside") == 0 ? BENCH_MAX_BLOCK : 64;
}

static void run_figure(Bench *bench, char **words)
{
    if (strcmp(words[0], "pingpong") == 0) {
        pingpong_run(bench, number_of(words[1]));
    } else if (strcmp(words[0], "idle") == 0 && words[1]) {
        idle_run(bench, direction_of(words[1]), number_of(words[2]));
    } else if (strcmp(words[0], "beside") == 0 && words[1]) {
        beside_run(bench, number_of(words[2]), direction_of(words[1]));
    } else if (strcmp(words[0], "connect") == 0 && words[1]) {
        connect_run(bench, direction_of(words[1]), number_of(words[2]));
    } else {
        bulk_run(bench, direction_of(words[0]), block_of(words),
                 words[2] ? number_of(words[2]) : 1);
    }
}

static BenchShared *share(void)
{
    BenchShared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED) {
        bench_die_errno("mmap");
    }
    sem_init(&shared->ready, 1, 0);
    sem_init(&shared->go, 1, 0);
    return shared;
}

static void remove_dir(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        unlink(file);
    }
    g_clear_pointer(&dir, g_dir_close);
    rmdir(path);
}

static char *dir_to_remove;
static pid_t dir_owner;

static bool went_well;

/* What the backend had to say, when something went wrong. */
static void show_log(void)
{
    g_autofree char *log = g_build_filename(dir_to_remove, "log", NULL);
    g_autofree char *text = NULL;

    if (g_file_get_contents(log, &text, NULL, NULL) && *text) {
        fprintf(stderr, "The backend said:\n%s", text);
    }
}

static void at_exit(void)
{
    if (getpid() == dir_owner) {
        if (!went_well) {
            show_log();
        }
        remove_dir(dir_to_remove);
    }
}

static void make_dir(Bench *bench)
{
    bench->dir = g_dir_make_tmp("vsock-bench-XXXXXX", NULL);
    if (!bench->dir) {
        bench_die_errno("a folder for sockets");
    }
    bench->uds = g_build_filename(bench->dir, "vm", NULL);
    dir_to_remove = bench->dir;
    dir_owner = getpid();
    atexit(at_exit);
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("FIGURE");
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) words = NULL;
    Bench bench = { 0 };
    char **more;

    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        bench_die("%s", error->message);
    }
    if (argc < 2) {
        bench_die("which figure? See --help");
    }
    options.figure = argv[1];
    more = argv + (argv[2] && strcmp(argv[2], "--") == 0 ? 3 : 2);
    words = g_strsplit(options.figure, "-", 3);
    bench = (Bench) {
        .program = options.program, .figure = options.figure,
        .name = options.name ? options.name : options.program ? "backend" :
                "raw",
        .program_args = more, .n_program_args = g_strv_length(more),
        .seconds = options.seconds, .limit_s = options.limit_s,
        .spin = options.spin, .apart = options.apart, .shared = share(),
    };
    signal(SIGPIPE, SIG_IGN);
    pattern_init();
    bench_start_ticks(&bench);
    make_dir(&bench);
    if (bench.program) {
        bench.backend = backend_start(&bench);
        bench.guest = guest_new(&bench, backend_socket(bench.backend),
                                block_of(words));
    }
    if (bench.apart) {
        bench_use_processor(0);
    }
    run_figure(&bench, words);
    guest_free(bench.guest);
    backend_stop(bench.backend);
    went_well = true;
    return 0;
}
