/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A JSON array cut into its elements, with the line each begins on.
 *
 * QEMU's JSON parser knows no lines.  The file is therefore cut at the top
 * level first, and each element parsed by itself, so that whatever is wrong
 * with it can be said with a line.
 */

#ifndef VHOST_VSOCK_JSON_H
#define VHOST_VSOCK_JSON_H

#include "vhost-vsock-qobject.h"

/* Wrong scripts.  The text is complete: file, line, step, key. */
#define VVT_SCRIPT_ERROR (vvt_script_error_quark())
GQuark vvt_script_error_quark(void);

typedef struct VvtJsonElement {
    char *text;
    unsigned line; /* of its first character, from 1 */
} VvtJsonElement;

/* Cut @text; returns an array of VvtJsonElement, or NULL with @errp set. */
GPtrArray *vvt_json_split(const char *path, const char *text, GError **errp);

/* The object that @element is; NULL with @errp set if it is none. */
QDict *vvt_json_parse(const char *path, unsigned number,
                      const VvtJsonElement *element, GError **errp);

/* The line on which @key is in @element; the element's own if it is not. */
unsigned vvt_json_key_line(const VvtJsonElement *element, const char *key);

#endif /* VHOST_VSOCK_JSON_H */
