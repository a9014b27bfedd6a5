/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Scripts that are cut short.
 *
 * A script's steps lead the device through the states a connection can be in.
 * Here it runs up to one of them, and then what can happen to a device at any
 * moment happens.  QEMU must live and keep no descriptor, the host sockets be
 * there when the device is and gone when it is not, and a new connection work.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "vhost-vsock-ends.h"
#include "vhost-vsock-raw.h"
#include "vhost-vsock-rest.h"

/* Cases by default, of some two thousand. */
#define SOME_CASES 100

/* Seconds a case may take for one step of a script, or for all of them. */
#define ONE_TIMEOUT_S 60
#define ALL_TIMEOUT_S 600

typedef struct EndCase {
    VvtScript *script;
    VvtEnd end;
    unsigned first; /* steps that run before the end: from this many… */
    unsigned last;  /* …to this many */
} EndCase;

/* --- The ends ------------------------------------------------------------- */

static void command(VvtRun *run, const char *name)
{
    qobject_unref(qtest_qmp(vvt_driver_qts(run->driver), "{ 'execute': %s }",
                            name));
}

static bool pause_shortly(VvtRun *run)
{
    command(run, "stop");
    command(run, "cont");
    return true;
}

static bool bring_about(VvtRun *run, VvtEnd end)
{
    switch (end) {
    case VVT_END_UNPLUG:
        vvt_driver_unplug(run->driver);
        if (!vvt_rest_check_removed(run)) {
            return false;
        }
        vvt_driver_plug(run->driver);
        break;
    case VVT_END_RESET:
        if (!vvt_driver_is_open(run->driver)) {
            vvt_raw_set_status(run->driver, 0); /* after raw steps */
        }
        vvt_driver_close(run->driver);
        break;
    case VVT_END_SYSTEM_RESET:
        vvt_driver_system_reset(run->driver);
        break;
    case VVT_END_QUIT:
        vvt_driver_drop(run->driver);
        /* A daemon still delivers what the guest sent and closed. */
        vvt_host_free(run->host);
        run->host = vvt_host_new(run->config, run->guest_cid, run->c->dir);
        return true;
    case VVT_END_MIGRATE:
        command(run, "cont"); /* as the new one's state is waited for */
        if (!vvt_driver_migrate(run->driver, run->why)) {
            return false;
        }
        vvt_driver_close(run->driver);
        break;
    case VVT_END_PAUSES:
        vvt_driver_close(run->driver);
        break;
    default:
        g_assert_not_reached();
    }
    command(run, "cont");
    return true;
}

/* Whether all is as if the script had never run. */
static bool is_as_new(VvtRun *run, const VvtRest *rest)
{
    vvt_run_again(run);
    if (!vvt_rest_check_files(rest, run)) {
        return false;
    }
    if (!vvt_run_steps(run, 0) || !vvt_run_alive(run)) {
        return false;
    }
    vvt_driver_close(run->driver);
    vvt_run_again(run);
    return vvt_rest_check_files(rest, run);
}

static void report_end(VvtRun *run, VvtEnd end, unsigned n)
{
    g_autofree char *text = g_strdup_printf("%s: %s after %u steps: %s",
                                            run->script->path,
                                            vvt_end_name[end], n,
                                            run->why->str);

    vvt_case_fail(run->c, text);
}

/* Run the case from @first to @last steps, in one QEMU. */
static void run_ends(VvtCase *c, const EndCase *end_case, unsigned first,
                     unsigned last)
{
    VvtEnd end = end_case->end;
    VvtRest rest;
    VvtRun run = {};
    unsigned n;

    if (!vvt_run_begin(&run, c, end_case->script)) {
        return;
    }
    vvt_rest_take(&rest, &run);
    for (n = first; n <= last && vvt_run_suits(&run); n++) {
        run.after_step = end == VVT_END_PAUSES ? pause_shortly : NULL;
        if (!vvt_run_steps(&run, n)) {
            break;
        }
        run.after_step = NULL;
        if (!bring_about(&run, end) ||
            (end != VVT_END_QUIT && !is_as_new(&run, &rest))) {
            report_end(&run, end, n);
            break;
        }
    }
    vvt_run_end(&run);
    vvt_rest_clear(&rest);
    run.why = g_string_new(NULL);
    if (!vvt_rest_check_removed(&run)) {
        report_end(&run, end, last);
    }
    g_string_free(run.why, true);
}

static void run_case(VvtCase *c, const void *opaque)
{
    const EndCase *end_case = opaque;
    unsigned n;

    switch (end_case->end) {
    case VVT_END_QUIT:
    case VVT_END_MIGRATE:
        for (n = end_case->first; n <= end_case->last; n++) {
            run_ends(c, end_case, n, n);
        }
        break;
    case VVT_END_PAUSES:
        run_ends(c, end_case, end_case->last, end_case->last);
        break;
    default:
        run_ends(c, end_case, end_case->first, end_case->last);
        break;
    }
}

/* --- The cases ------------------------------------------------------------ */

static bool can(const VvtScript *script, VvtEnd end)
{
    const VvtConfig *config = vvt_config_get();
    bool vhost_user = config->backend == VVT_BACKEND_VHOST_USER;
    g_autofree char *lacks = vvt_config_lacks(config, script);
    uint32_t none = script->no_ends |
                    (vhost_user ? script->vhost_user_no_ends : 0);

    if (lacks || (none & (1u << end)) ||
        (end == VVT_END_UNPLUG && !config->machine->can_unplug)) {
        return false;
    }
    if (end == VVT_END_PAUSES) {
        return !vvt_script_uses(script, VVT_OP_QMP) &&
               !vvt_script_uses(script, VVT_OP_MIGRATE);
    }
    return end != VVT_END_MIGRATE || !vhost_user;
}

static void run_test(gconstpointer data)
{
    const EndCase *end_case = data;
    const VvtConfig *config = vvt_config_get();
    bool one = end_case->first == end_case->last;

    if (one) {
        g_test_message("after step %u of %u", end_case->last,
                       end_case->script->steps->len);
    }
    vvt_case_test(run_case, end_case,
                  (one ? ONE_TIMEOUT_S : ALL_TIMEOUT_S) * config->slow);
}

static GPtrArray *all_cases(const GPtrArray *paths)
{
    GPtrArray *cases = g_ptr_array_new();
    unsigned i;
    VvtEnd end;

    for (i = 0; i < paths->len; i++) {
        VvtScript *script = vvt_script_load(paths->pdata[i], NULL);

        for (end = 0; script && end < VVT_END_NUM; end++) {
            EndCase *end_case;

            if (!can(script, end)) {
                continue;
            }
            end_case = g_new0(EndCase, 1);
            end_case->script = script;
            end_case->end = end;
            end_case->last = script->steps->len;
            g_ptr_array_add(cases, end_case);
        }
    }
    return cases;
}

/* Leave @n of the cases, each with one place to end it. */
static void choose(GPtrArray *cases, unsigned n)
{
    while (cases->len > n) {
        g_ptr_array_remove_index_fast(cases,
                                      g_test_rand_int_range(0, cases->len));
    }
    for (n = 0; n < cases->len; n++) {
        EndCase *end_case = cases->pdata[n];

        if (end_case->end != VVT_END_PAUSES) {
            end_case->last = g_test_rand_int_range(0, end_case->last + 1);
        }
        end_case->first = end_case->last;
    }
}

void vvt_ends_add(const GPtrArray *paths, bool some)
{
    const char *env = g_getenv("VHOST_VSOCK_TEST_ENDS");
    g_autoptr(GHashTable) names =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) cases = NULL;
    const VvtConfig *config;
    unsigned i;

    if (!(env && env[0]) && !some) {
        return;
    }
    config = vvt_config_get();
    if (config->cannot || config->backend == VVT_BACKEND_KERNEL) {
        return; /* what the kernel keeps open nobody can see here */
    }
    cases = all_cases(paths);
    if (!env || strcmp(env, "all") != 0) {
        choose(cases, env && env[0] ? atoi(env) : SOME_CASES);
    }
    for (i = 0; i < cases->len; i++) {
        const EndCase *end_case = cases->pdata[i];
        g_autofree char *base = g_path_get_basename(end_case->script->path);
        char *name = g_strdup_printf("/vhost-vsock/ends/%s/%s",
                                     vvt_end_name[end_case->end], base);

        if (g_hash_table_add(names, name)) {
            g_test_add_data_func(name, end_case, run_test);
        }
    }
}
