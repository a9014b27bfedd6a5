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
#include "vsock-limits.h"

/* Lines of one kind within VSK_LOG_INTERVAL_MS, of what a VMM may do often. */
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

    /*
     * One call, so that threads do not write into each other's lines.
     * #syscalls write
     */
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
    share->next_ms = now_ms + VSK_LOG_INTERVAL_MS;
    share->unsaid = 0;
    return true;
}

bool log_has_budget(LogBudget *budget, uint64_t cid)
{
    int64_t now_ms = loop_now_ms();

    if (now_ms - budget->since_ms >= VSK_LOG_INTERVAL_MS) {
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

void log_refused(LogRefusals *refusals, VskRefusal why, const VskHdr *hdr)
{
    const char *warning = vsk_refusal_warning(why);
    g_autofree char *packet = NULL;
    g_autofree char *more = NULL;
    unsigned int unsaid;

    if (!warning && log_level < LOG_LEVEL_DEBUG) {
        return;
    }
    if (!log_may_speak(&refusals->shares[why], &unsaid)) {
        return;
    }
    packet = hdr ? vsk_packet_describe(hdr) : NULL;
    if (unsaid) {
        more = g_strdup_printf("; %u more since the last such line", unsaid);
    }
    log_line(warning ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
             refusals->cid, "%s%s%s%s%s",
             warning ? warning : vsk_refusal_name(why),
             /* Here the guest's CID is set in two places. */
             why == VSK_REFUSED_SRC_CID
                 ? "; does the VMM give it another one?" : "",
             packet ? " " : "", packet ? packet : "", more ? more : "");
}
