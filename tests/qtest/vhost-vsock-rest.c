/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What QEMU has when nothing is going on.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-rest.h"

#define NAP_US 2000

/* QEMU is the last child this process made; 0: not known. */
static pid_t qemu_pid(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children",
                                            getpid());
    g_autofree char *text = NULL;
    const char *last;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    last = strrchr(g_strchomp(text), ' ');
    return atoi(last ? last + 1 : text);
}

static unsigned open_files(pid_t pid, GString *ret_list)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", pid);
    g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
    const char *name;
    unsigned n = 0;

    while (entries && (name = g_dir_read_name(entries))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        n++;
        g_string_append_printf(ret_list, "  %s %s\n", name, target ?: "?");
    }
    return n;
}

void vvt_rest_take(VvtRest *ret_rest, VvtRun *run)
{
    *ret_rest = (VvtRest) {
        .pid = qemu_pid(),
        .files = g_string_new(NULL),
    };
    ret_rest->n_files = open_files(ret_rest->pid, ret_rest->files);
    ret_rest->memory_kib = vvt_rest_memory_kib(ret_rest);
    if (ret_rest->n_files == 0 || ret_rest->memory_kib == 0) {
        vvt_case_skip(run->c, "no fault found; but whether QEMU keeps files or "
                      "memory cannot be seen: the kernel has no "
                      "/proc/self/task/*/children (CONFIG_PROC_CHILDREN), "
                      "/proc/*/fd or RssAnon");
    }
}

void vvt_rest_clear(VvtRest *rest)
{
    g_string_free(rest->files, true);
}

bool vvt_rest_check_files(const VvtRest *rest, VvtRun *run)
{
    gint64 end = g_get_monotonic_time() + run->config->patience_ms * 1000;
    g_autoptr(GString) now = g_string_new(NULL);

    if (rest->pid == 0 || rest->pid != qemu_pid()) {
        return true;
    }
    while (open_files(rest->pid, now) > rest->n_files) {
        if (g_get_monotonic_time() >= end) {
            return vvt_run_fail(run, "QEMU had open\n%sbefore, and now has\n"
                                "%s", rest->files->str, now->str);
        }
        g_string_truncate(now, 0);
        g_usleep(NAP_US);
    }
    return true;
}

size_t vvt_rest_memory_kib(const VvtRest *rest)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", rest->pid);
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !(line = strstr(text, "\nRssAnon:"))) {
        return 0;
    }
    return strtoul(line + strlen("\nRssAnon:"), NULL, 10);
}

bool vvt_rest_check_removed(VvtRun *run)
{
    g_autoptr(GDir) entries = g_dir_open(run->c->dir, 0, NULL);
    const char *name;

    while (run->config->backend == VVT_BACKEND_EMULATOR &&
           (name = g_dir_read_name(entries))) {
        const char *rest = name + strlen(VVT_UDS_PATH);

        /* Those with a port are the host programs', that is ours. */
        if (g_str_has_prefix(name, VVT_UDS_PATH) &&
            !(rest[0] == '_' && g_ascii_isdigit(rest[1]))) {
            return vvt_run_fail(run, "QEMU left %s behind\n", name);
        }
    }
    return true;
}
