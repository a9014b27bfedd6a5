/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The emulator's limits as properties of the device: defaults and ranges.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vhost-vsock-internal.h"
#include "vsock-limits.h"
#include <sys/resource.h>

/* A flow costs a descriptor.  Leave half of them to the rest of QEMU. */
static uint32_t default_max_conns(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_cur / 2 >= VSK_DEFAULT_MAX_CONNS) {
        return VSK_DEFAULT_MAX_CONNS;
    }
    return MAX(limit.rlim_cur / 2, 1);
}

typedef struct Limit {
    const char *name;
    uint64_t value;
    uint64_t usual;
    uint64_t least;
    uint64_t most;
} Limit;

#define N_LIMITS 6

/* All of them, and iothread. */
QEMU_BUILD_BUG_ON(VHOST_VSOCK_UNUSED_MAX != N_LIMITS + 1);

static void list_limits(const VHostVSock *s, Limit *ret_limits)
{
    const VHostVSockLimits *l = &s->limits;
    const Limit limits[N_LIMITS] = {
        { "max-conns", l->max_conns, default_max_conns(),
          VSK_LEAST_CONNS, VSK_MOST_CONNS },
        { "buf-alloc", l->buf_alloc, VSK_DEFAULT_BUF_ALLOC,
          VSK_MIN_BUF_ALLOC, VSK_MOST_BUF_ALLOC },
        { "max-staged", l->max_staged, VSK_DEFAULT_MAX_STAGED,
          VSK_LEAST_STAGED, VSK_MOST_STAGED },
        { "request-timeout-ms", l->request_timeout_ms,
          VSK_DEFAULT_REQUEST_TIMEOUT_MS,
          VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS },
        { "close-timeout-ms", l->close_timeout_ms,
          VSK_DEFAULT_CLOSE_TIMEOUT_MS,
          VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS },
        { "line-timeout-ms", l->line_timeout_ms, VSK_DEFAULT_LINE_TIMEOUT_MS,
          VSK_LEAST_TIMEOUT_MS, VSK_MOST_TIMEOUT_MS },
    };

    memcpy(ret_limits, limits, sizeof(limits));
}

void vhost_vsock_init_limits(VHostVSock *s)
{
    s->limits.max_conns = default_max_conns();
}

bool vhost_vsock_check_limits(const VHostVSock *s, Error **errp)
{
    Limit limits[N_LIMITS];

    list_limits(s, limits);
    for (int i = 0; i < N_LIMITS; i++) {
        const Limit *l = &limits[i];

        if (l->value < l->least || l->value > l->most) {
            error_setg(errp, "%s=%" PRIu64 " is not in the range %" PRIu64
                       " to %" PRIu64, l->name, l->value, l->least, l->most);
            return false;
        }
    }
    return true;
}

void vhost_vsock_list_unused(const VHostVSock *s, const char **ret_names)
{
    Limit limits[N_LIMITS];

    list_limits(s, limits);
    if (s->iothread) {
        *ret_names++ = "iothread";
    }
    for (int i = 0; i < N_LIMITS; i++) {
        if (limits[i].value != limits[i].usual) {
            *ret_names++ = limits[i].name;
        }
    }
    *ret_names = NULL;
}
