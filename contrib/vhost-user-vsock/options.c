/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the user wants: the command line, and the file that it names.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config-file.h"
#include "options.h"
#include "systemd.h"
#include "vsock-limits.h"

/* Longer, and the processor is never at rest. */
#define MAX_POLL_US 1000000

#define FAIL(errp, ...) \
    (g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, \
                 __VA_ARGS__), false)

enum {
    OPT_HELP = 'h',
    OPT_VERSION = 'V',
    OPT_VM_KEY = 256, /* of one guest: its name is the key */
    OPT_VM,
    OPT_CONFIG,
    OPT_SEQPACKET,
    OPT_MAX_CONNS,
    OPT_MAX_STAGED,
    OPT_REQUEST_TIMEOUT_MS,
    OPT_CLOSE_TIMEOUT_MS,
    OPT_LINE_TIMEOUT_MS,
    OPT_POLL_US,
    OPT_SANDBOX,
    OPT_LOG_LEVEL,
    OPT_CAPABILITIES,
};

static const struct option long_options[] = {
    { "guest-cid", required_argument, NULL, OPT_VM_KEY },
    { "socket", required_argument, NULL, OPT_VM_KEY },
    { "fd", required_argument, NULL, OPT_VM_KEY },
    { "uds-path", required_argument, NULL, OPT_VM_KEY },
    { "tx-buffer-size", required_argument, NULL, OPT_VM_KEY },
    { "queue-size", required_argument, NULL, OPT_VM_KEY },
    { "groups", required_argument, NULL, OPT_VM_KEY },
    { "forward-cid", required_argument, NULL, OPT_VM_KEY },
    { "forward-listen", required_argument, NULL, OPT_VM_KEY },
    { "vm", required_argument, NULL, OPT_VM },
    { "config", required_argument, NULL, OPT_CONFIG },
    { "seqpacket", required_argument, NULL, OPT_SEQPACKET },
    { "max-conns", required_argument, NULL, OPT_MAX_CONNS },
    { "max-staged", required_argument, NULL, OPT_MAX_STAGED },
    { "request-timeout-ms", required_argument, NULL, OPT_REQUEST_TIMEOUT_MS },
    { "close-timeout-ms", required_argument, NULL, OPT_CLOSE_TIMEOUT_MS },
    { "line-timeout-ms", required_argument, NULL, OPT_LINE_TIMEOUT_MS },
    { "poll-us", required_argument, NULL, OPT_POLL_US },
    { "sandbox", required_argument, NULL, OPT_SANDBOX },
    { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
    { "print-capabilities", no_argument, NULL, OPT_CAPABILITIES },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 }
};

static const char help[] =
"Gives guests of QEMU, or of another VMM that speaks vhost-user, AF_VSOCK\n"
"sockets to this host.  On the host they are AF_UNIX sockets.\n"
"\n"
"usage: vhost-user-vsock --guest-cid=3 --socket=/tmp/vhost3.sock \\\n"
"                        --uds-path=/tmp/vm3.vsock\n"
"\n"
"Then start the guest with its memory shared:\n"
"\n"
"  qemu-system-x86_64 -m 1G … \\\n"
"    -object memory-backend-memfd,id=mem,size=1G,share=on \\\n"
"    -machine memory-backend=mem \\\n"
"    -chardev socket,id=vsock,path=/tmp/vhost3.sock \\\n"
"    -device vhost-user-vsock-pci,chardev=vsock\n"
"\n"
"A program of the host that listens on /tmp/vm3.vsock_1234 is what the guest\n"
"finds at CID 2, port 1234.  To reach port 22 of the guest, connect to\n"
"/tmp/vm3.vsock, write \"CONNECT 22\" and a newline, and read a line: \"OK\".\n"
"\n"
"One guest:\n"
"  --guest-cid=N          its address, 3 (the default) to 4294967294\n"
"  --socket=PATH          where its VMM connects\n"
"  --fd=N                 instead of --socket: a socket that is open already;\n"
"                         by systemd's socket activation neither is needed\n"
"  --uds-path=PATH        where the host sockets are; default: the run-time\n"
"                         directory's vsock/<cid>.vsock\n"
"  --tx-buffer-size=BYTES what the guest may send ahead on a connection while\n"
"                         the program of the host does not read; 262144\n"
"  --queue-size=N         the largest virtqueue that is accepted; 1024\n"
"  --groups=default       for compatibility; there is no other group yet\n"
"\n"
"Many guests in one process, each with the keys above:\n"
"  --vm=guest-cid=3,socket=PATH,uds-path=PATH     can be repeated\n"
"  --config=FILE          YAML: \"vms:\", a list of maps with these keys\n"
"\n"
"All guests:\n"
"  --seqpacket=on|off     offer SOCK_SEQPACKET, too; on\n"
"  --max-conns=N          connections of a guest at once; default: as many as\n"
"                         file descriptors allow, 16384 at the most\n"
"  --max-staged=BYTES     --tx-buffer-size of all connections of a guest\n"
"                         together; 268435456\n"
"  --request-timeout-ms=N for the guest to answer a host program; 2000\n"
"  --close-timeout-ms=N   for the guest to end what the host ended; 8000\n"
"  --line-timeout-ms=N    for a host program to write its CONNECT line; 5000\n"
"  --poll-us=N            after work go on looking for more for N µs without\n"
"                         sleeping: answers come sooner, and cost CPU time; 0\n"
"  --sandbox=seccomp|none only the system calls that are needed; seccomp\n"
"  --log-level=LEVEL      error, warning, info (the default) or debug\n"
"\n"
"  --print-capabilities   for management software (JSON)\n"
"  --help, --version\n"
"\n"
"Messages go to standard error.  SIGTERM or SIGINT ends it, and removes its\n"
"sockets.  The manual page vhost-user-vsock(1) tells more.\n";

/* docs/interop/vhost-user.json: a vsock backend has no feature of its own. */
static const char capabilities[] =
"{\n"
"  \"type\": \"vsock\",\n"
"  \"features\": []\n"
"}\n";

/* --- One option ----------------------------------------------------------- */

/* Find @value in @names, a list that ends in NULL. */
static bool parse_choice(const char *option, const char *value,
                         const char *const *names, int *ret_index,
                         GError **errp)
{
    g_autofree char *all = NULL;

    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *ret_index = i;
            return true;
        }
    }
    all = g_strjoinv(" or ", (char **)names);
    return FAIL(errp, "--%s=%s: give %s", option, value, all);
}

static bool set_choice(Options *options, int opt, const char *value,
                       GError **errp)
{
    static const char *const off_on[] = { "off", "on", NULL };
    static const char *const sandboxes[] = { "none", "seccomp", NULL };
    static const char *const levels[LOG_LEVEL_NUM + 1] = {
        [LOG_LEVEL_ERROR] = "error",
        [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_DEBUG] = "debug",
    };
    int i;

    switch (opt) {
    case OPT_SEQPACKET:
        if (!parse_choice("seqpacket", value, off_on, &i, errp)) {
            return false;
        }
        options->seqpacket = i;
        return true;
    case OPT_SANDBOX:
        if (!parse_choice("sandbox", value, sandboxes, &i, errp)) {
            return false;
        }
        options->sandbox = i;
        return true;
    default:
        if (!parse_choice("log-level", value, levels, &i, errp)) {
            return false;
        }
        options->log_level = i;
        return true;
    }
}

static bool set_number(uint32_t *number, const char *what, const char *value,
                       uint64_t min, uint64_t max, GError **errp)
{
    uint64_t n;

    if (!parse_number(what, value, min, max, &n, errp)) {
        return false;
    }
    *number = n;
    return true;
}

/* A number of all guests; what is none is a choice. */
static bool set_limit(Options *options, int opt, const char *name,
                      const char *value, GError **errp)
{
    g_autofree char *what = g_strconcat("--", name, NULL);
    uint32_t *timeout_ms;

    switch (opt) {
    case OPT_MAX_CONNS:
        return set_number(&options->max_conns, what, value, VSK_LEAST_CONNS,
                          VSK_MOST_CONNS, errp);
    case OPT_MAX_STAGED:
        return parse_number(what, value, VSK_LEAST_STAGED, VSK_MOST_STAGED,
                            &options->max_staged, errp);
    case OPT_REQUEST_TIMEOUT_MS:
        timeout_ms = &options->request_timeout_ms;
        break;
    case OPT_CLOSE_TIMEOUT_MS:
        timeout_ms = &options->close_timeout_ms;
        break;
    case OPT_LINE_TIMEOUT_MS:
        timeout_ms = &options->line_timeout_ms;
        break;
    case OPT_POLL_US:
        return set_number(&options->poll_us, what, value, 0, MAX_POLL_US,
                          errp);
    default:
        return set_choice(options, opt, value, errp);
    }
    return set_number(timeout_ms, what, value, VSK_LEAST_TIMEOUT_MS,
                      VSK_MOST_TIMEOUT_MS, errp);
}

static bool add_vm(Options *options, const char *list, GError **errp)
{
    VmOptions *vm = vm_options_new();

    g_ptr_array_add(options->vms, vm);
    return vm_options_set_list(vm, list, errp);
}

/* --- The whole line ------------------------------------------------------- */

/* @single: the guest of --guest-cid and the like, made by the first of them. */
static bool take_option(Options *options, VmOptions **single, int opt,
                        const char *name, const char *value, GError **errp)
{
    switch (opt) {
    case OPT_VM_KEY:
        if (!*single) {
            *single = vm_options_new();
        }
        if (!vm_options_set(*single, name, value, errp)) {
            g_prefix_error(errp, "--");
            return false;
        }
        return true;
    case OPT_VM:
        return add_vm(options, value, errp);
    case OPT_CONFIG:
        return config_file_read(value, options->vms, errp);
    default:
        return set_limit(options, opt, name, value, errp);
    }
}

static bool parse_line(Options *options, VmOptions **single, int argc,
                       char **argv, bool *ret_done, GError **errp)
{
    int opt, at, index = 0;

    opterr = 0;
    *ret_done = false;
    for (;;) {
        at = MAX(optind, 1); /* the word that is looked at next */
        opt = getopt_long(argc, argv, "+:hV", long_options, &index);
        if (opt < 0) {
            break;
        }
        switch (opt) {
        case OPT_HELP:
            fputs(help, stdout);
            *ret_done = true;
            return true;
        case OPT_VERSION:
            puts("vhost-user-vsock " VHOST_USER_VSOCK_VERSION);
            *ret_done = true;
            return true;
        case OPT_CAPABILITIES:
            fputs(capabilities, stdout);
            *ret_done = true;
            return true;
        case ':':
            return FAIL(errp, "%s needs a value; see --help", argv[at]);
        case '?':
            return FAIL(errp, "there is no option %s, or it takes no value; "
                        "see --help", argv[at]);
        default:
            if (!take_option(options, single, opt, long_options[index].name,
                             optarg, errp)) {
                return false;
            }
        }
    }
    if (optind < argc) {
        return FAIL(errp, "what to do with '%s'? There are options only; see "
                    "--help", argv[optind]);
    }
    return true;
}

/* What systemd hands over goes to the guests that have no socket. */
static bool use_activation(Options *options, GError **errp)
{
    int first, n = systemd_listen_fds(&first);

    for (guint i = 0; n > 0 && i < options->vms->len; i++) {
        VmOptions *vm = g_ptr_array_index(options->vms, i);

        if (!vm->socket && vm->fd < 0) {
            vm->fd = first++;
            n--;
        }
    }
    if (n > 0) {
        return FAIL(errp, "systemd handed %d sockets over that no guest has "
                    "use for; leave socket= and fd= away", n);
    }
    return true;
}

static bool is_same_path(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/*
 * Whether @path is, or may come to be, one of the sockets beside @uds_path:
 * that of a port, or of seqpacket clients.
 */
static bool is_beside(const char *path, const char *uds_path)
{
    size_t len = uds_path ? strlen(uds_path) : 0;
    const char *rest;

    if (!path || !len || strncmp(path, uds_path, len) || path[len] != '_') {
        return false;
    }
    rest = path + len + 1;
    return strcmp(rest, "seqpacket") == 0 ||
           (*rest && strspn(rest, "0123456789") == strlen(rest));
}

/* A guest could reach the other's sockets as if they were a host program's. */
static bool check_beside(const VmOptions *a, const VmOptions *b, GError **errp)
{
    if (is_beside(a->uds_path, b->uds_path) ||
        is_beside(a->socket, b->uds_path)) {
        return FAIL(errp, "%s: a path of guest %" PRIu64 " is where guest %"
                    PRIu64 " looks for host programs, %s_<port>; choose "
                    "another", vm_options_origin(a), a->guest_cid,
                    b->guest_cid, b->uds_path);
    }
    return true;
}

/* What no two guests can share, nor one use twice. */
static bool check_distinct(const Options *options, GError **errp)
{
    for (guint i = 0; i < options->vms->len; i++) {
        const VmOptions *a = g_ptr_array_index(options->vms, i);

        for (guint j = i; j < options->vms->len; j++) {
            const VmOptions *b = g_ptr_array_index(options->vms, j);

            if (!check_beside(a, b, errp) || !check_beside(b, a, errp)) {
                return false;
            }
            if (i != j && a->guest_cid == b->guest_cid) {
                return FAIL(errp, "%s: another guest has the CID %" PRIu64
                            ", too; give each its own",
                            vm_options_origin(b), a->guest_cid);
            }
            if (is_same_path(a->socket, b->uds_path) ||
                is_same_path(a->uds_path, b->socket) ||
                (i != j && (is_same_path(a->socket, b->socket) ||
                            is_same_path(a->uds_path, b->uds_path) ||
                            (a->fd >= 0 && a->fd == b->fd)))) {
                return FAIL(errp, "%s: guest %" PRIu64 " and guest %" PRIu64
                            " name one socket twice; give each its own",
                            vm_options_origin(b), a->guest_cid,
                            b->guest_cid);
            }
        }
    }
    return true;
}

static bool complete(Options *options, VmOptions *single, GError **errp)
{
    if (single && options->vms->len) {
        vm_options_free(single);
        return FAIL(errp, "guests are given by --vm or --config already; name "
                    "this one by --vm, too");
    }
    if (!single && !options->vms->len) {
        single = vm_options_new();
    }
    if (single) {
        g_ptr_array_add(options->vms, single);
    }
    if (!use_activation(options, errp)) {
        return false;
    }
    for (guint i = 0; i < options->vms->len; i++) {
        if (!vm_options_complete(g_ptr_array_index(options->vms, i), errp)) {
            return false;
        }
    }
    return check_distinct(options, errp);
}

OptionsResult options_parse(int argc, char **argv, Options **ret_options,
                            GError **errp)
{
    Options *options = g_new0(Options, 1);
    VmOptions *single = NULL;
    bool done;

    options->vms =
        g_ptr_array_new_with_free_func((GDestroyNotify)vm_options_free);
    options->seqpacket = true;
    options->sandbox = true;
    options->log_level = LOG_LEVEL_INFO;
    if (!parse_line(options, &single, argc, argv, &done, errp)) {
        vm_options_free(single);
        options_free(options);
        return OPTIONS_WRONG;
    }
    if (done) {
        vm_options_free(single);
        options_free(options);
        return OPTIONS_DONE;
    }
    if (!complete(options, single, errp)) {
        options_free(options);
        return OPTIONS_WRONG;
    }
    *ret_options = options;
    return OPTIONS_RUN;
}

void options_free(Options *options)
{
    if (options) {
        g_ptr_array_unref(options->vms);
        g_free(options);
    }
}
