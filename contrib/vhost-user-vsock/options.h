/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the user wants: the command line, and the file that it names.
 */

#ifndef VHOST_USER_VSOCK_OPTIONS_H
#define VHOST_USER_VSOCK_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include "vm-options.h"

typedef struct Options {
    GPtrArray *vms;     /* of VmOptions, at least one */
    bool seqpacket;
    uint32_t max_conns; /* of one guest; 0: by the limit of descriptors */
    uint64_t max_staged;          /* these of one guest, too; */
    uint32_t request_timeout_ms;  /* 0: the library's default */
    uint32_t close_timeout_ms;
    uint32_t line_timeout_ms;
    uint32_t poll_us;   /* how long to poll after work; 0: not at all */
    bool sandbox;
    LogLevel log_level;
} Options;

typedef enum OptionsResult {
    OPTIONS_RUN,    /* *ret_options holds what to do */
    OPTIONS_DONE,   /* --help and the like: it is printed */
    OPTIONS_WRONG,  /* *errp says what, and what to do */
} OptionsResult;

OptionsResult options_parse(int argc, char **argv, Options **ret_options,
                            GError **errp);
void options_free(Options *options);

#endif /* VHOST_USER_VSOCK_OPTIONS_H */
