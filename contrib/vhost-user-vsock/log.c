/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lines on standard error, and a limit to how many a guest can cause.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"

/* Between two lines of one kind: a hostile guest or front-end fills no disk. */
#define INTERVAL_MS 10000

/* Lines of one kind within that time, of what a VMM may do often. */
#define BUDGET_LINES 100

/* Bytes of a line, which holds two paths at the most; the rest is cut off. */
#define LINE_SIZE 1024

static LogLevel log_level = LOG_LEVEL_INFO;

void log_set_level(LogLevel level)
{
    log_level = level;
}

void log_line(LogLevel level, uint64_t cid, const char *format, ...)
{
    static const char *const names[LOG_LEVEL_NUM] = {
        [LOG_LEVEL_ERROR] = "error: ",
        [LOG_LEVEL_WARNING] = "warning: ",
        [LOG_LEVEL_INFO] = "",
        [LOG_LEVEL_DEBUG] = "debug: ",
    };
    char line[LINE_SIZE];
    size_t n;
    va_list args;

    if (level > log_level) {
        return;
    }
    g_snprintf(line, sizeof(line), "vhost-user-vsock: %s", names[level]);
    n = strlen(line);
    if (cid) {
        g_snprintf(line + n, sizeof(line) - n, "CID %" PRIu64 ": ", cid);
        n = strlen(line);
    }
    va_start(args, format);
    g_vsnprintf(line + n, sizeof(line) - n - 1, format, args);
    va_end(args);
    n = strlen(line);
    line[n++] = '\n';

    /* One call, so that threads do not write into each other's lines.
     * #syscalls write */
    if (write(STDERR_FILENO, line, n) < 0) {
        return; /* nobody left to tell */
    }
}

bool log_may_speak(LogShare *share, unsigned int *ret_unsaid)
{
    int64_t now_ms = loop_now_ms();

    if (now_ms < share->next_ms) {
        share->unsaid++;
        return false;
    }
    *ret_unsaid = share->unsaid;
    share->next_ms = now_ms + INTERVAL_MS;
    share->unsaid = 0;
    return true;
}

bool log_has_budget(LogBudget *budget, uint64_t cid)
{
    int64_t now_ms = loop_now_ms();

    if (now_ms - budget->since_ms >= INTERVAL_MS) {
        if (budget->unsaid) {
            log_warning(cid, "%u lines about its VMM left out",
                        budget->unsaid);
        }
        *budget = (LogBudget) { .since_ms = now_ms };
    }
    if (budget->said < BUDGET_LINES || log_level >= LOG_LEVEL_DEBUG) {
        budget->said++;
        return true;
    }
    budget->unsaid++;
    return false;
}

static const char *op_name(uint16_t op)
{
    static const char *const names[VSK_OP_NUM] = {
        [VSK_OP_INVALID] = "INVALID",
        [VSK_OP_REQUEST] = "REQUEST",
        [VSK_OP_RESPONSE] = "RESPONSE",
        [VSK_OP_RST] = "RST",
        [VSK_OP_SHUTDOWN] = "SHUTDOWN",
        [VSK_OP_RW] = "RW",
        [VSK_OP_CREDIT_UPDATE] = "CREDIT_UPDATE",
        [VSK_OP_CREDIT_REQUEST] = "CREDIT_REQUEST",
    };

    return op < VSK_OP_NUM ? names[op] : "unknown";
}

/*
 * What to tell a human, who can do something about it.  The other reasons
 * belong to the daily life of sockets.
 */
static const char *const warnings[VSK_REFUSED_NUM] = {
    [VSK_REFUSED_TX_CHAIN_SHORT] =
        "the guest's driver sent a buffer smaller than a packet header",
    [VSK_REFUSED_TX_LEN] =
        "the guest's driver sent a packet longer than its buffer or 64 KiB",
    [VSK_REFUSED_RX_CHAIN_SHORT] =
        "the guest's driver offered an RX buffer too small for a packet",
    [VSK_REFUSED_EVENT_CHAIN_SHORT] =
        "the guest's driver offered an event buffer too small for an event",
    [VSK_REFUSED_SRC_CID] =
        "the guest sent from a CID that is not its own; does the VMM give "
        "it another one?",
    [VSK_REFUSED_CREDIT] =
        "the guest sent more than the window it was told; connection reset",
    [VSK_REFUSED_BACKLOG] =
        "a host program does not accept its connections fast enough",
    [VSK_REFUSED_LIMIT] =
        "too many connections, or no file descriptors left (ulimit -n)",
    [VSK_REFUSED_HOST_LINE] =
        "a host client did not begin with \"CONNECT <port>\"",
    [VSK_REFUSED_HOST_TIMEOUT] =
        "a host client did not send its \"CONNECT <port>\" line in time",
    [VSK_REFUSED_HOST_LIMIT] =
        "too many host clients that have not sent \"CONNECT <port>\"",
};

void log_refused(LogRefusals *refusals, VskRefusal why, const VskHdr *hdr)
{
    g_autofree char *packet = NULL;
    g_autofree char *more = NULL;
    unsigned int unsaid;

    if (!warnings[why] && log_level < LOG_LEVEL_DEBUG) {
        return;
    }
    if (!log_may_speak(&refusals->shares[why], &unsaid)) {
        return;
    }
    if (hdr) {
        packet = g_strdup_printf(" (%s from %" PRIu64 ":%" PRIu32 " to %"
                                 PRIu64 ":%" PRIu32 ", %" PRIu32 " bytes)",
                                 op_name(hdr->op), hdr->src_cid,
                                 hdr->src_port, hdr->dst_cid, hdr->dst_port,
                                 hdr->len);
    }
    if (unsaid) {
        more = g_strdup_printf("; %u more since the last such line", unsaid);
    }
    log_line(warnings[why] ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
             refusals->cid, "%s%s%s",
             warnings[why] ? warnings[why] : vsk_refusal_name(why),
             packet ? packet : "", more ? more : "");
}
