/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lines on standard error, and a limit to how many a guest can cause.
 */

#ifndef VHOST_USER_VSOCK_LOG_H
#define VHOST_USER_VSOCK_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "vsock-device.h"

/* From what level on lines are written. */
typedef enum LogLevel {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_NUM
} LogLevel;

/* Set before the first thread starts. */
void log_set_level(LogLevel level);

/* @cid 0: no VM's matter.  Any thread may call these. */
void log_line(LogLevel level, uint64_t cid, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

#define log_error(cid, ...)   log_line(LOG_LEVEL_ERROR, cid, __VA_ARGS__)
#define log_warning(cid, ...) log_line(LOG_LEVEL_WARNING, cid, __VA_ARGS__)
#define log_info(cid, ...)    log_line(LOG_LEVEL_INFO, cid, __VA_ARGS__)
#define log_debug(cid, ...)   log_line(LOG_LEVEL_DEBUG, cid, __VA_ARGS__)

/* One reason's share of the log. */
typedef struct LogShare {
    int64_t next_ms;     /* when to speak again */
    unsigned int unsaid; /* since the last line */
} LogShare;

typedef struct LogRefusals {
    uint64_t cid;
    LogShare shares[VSK_REFUSED_NUM];
} LogRefusals;

/* What VskDevOps.refused() tells; at most one line of a kind in 10 s. */
void log_refused(LogRefusals *refusals, VskRefusal why, const VskHdr *hdr);

/* What a front-end can have written, by coming again and again. */
typedef struct LogBudget {
    int64_t since_ms;
    unsigned int said, unsaid;
} LogBudget;

/* Whether there is room for one more line; says when there was none. */
bool log_has_budget(LogBudget *budget, uint64_t cid);

/* The same limit for other lines: whether to speak now. */
bool log_may_speak(LogShare *share, unsigned int *ret_unsaid);

#endif /* VHOST_USER_VSOCK_LOG_H */
