/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The configuration file of --config.
 *
 * Read event by event, for three levels of a known form need no tree: a map
 * whose "vms" is a list of maps from key to text.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "config-file.h"
#include "vm-options.h"

typedef struct Reader {
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event; /* the one that next() found */
    GPtrArray *vms;
} Reader;

static bool wrong(const Reader *r, GError **errp, const char *what)
{
    g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s, line %zu: %s", r->path, r->event.start_mark.line + 1,
                what);
    return false;
}

static bool is_scalar(const Reader *r)
{
    return r->event.type == YAML_SCALAR_EVENT;
}

static const char *text(const Reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static bool next(Reader *r, GError **errp)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s, line %zu: not YAML: %s", r->path,
                    r->parser.problem_mark.line + 1,
                    r->parser.problem ? r->parser.problem : "unreadable");
        return false;
    }
    /* It would hide the rest of the text. */
    return !is_scalar(r) || strlen(text(r)) == r->event.data.scalar.length ||
           wrong(r, errp, "a NUL byte within a text");
}

/* YAML's ways to say nothing. */
static bool is_null(const Reader *r)
{
    static const char *const nulls[] = {
        "", "~", "null", "Null", "NULL", NULL
    };

    return r->event.data.scalar.plain_implicit &&
           g_strv_contains(nulls, text(r));
}

static bool set_value(const Reader *r, VmOptions *vm, const char *key,
                      GError **errp)
{
    if (!is_scalar(r) || is_null(r)) {
        g_autofree char *what =
            g_strdup_printf("%s: give one text or number", key);

        return wrong(r, errp, what);
    }
    if (!vm_options_set(vm, key, text(r), errp)) {
        g_prefix_error(errp, "%s, line %zu: ", r->path,
                       r->event.start_mark.line + 1);
        return false;
    }
    return true;
}

/* Only groups may be a list; it is a short one, as there is one group. */
static bool read_value(Reader *r, VmOptions *vm, const char *key,
                       GError **errp)
{
    if (strcmp(key, "groups") != 0 ||
        r->event.type != YAML_SEQUENCE_START_EVENT) {
        return set_value(r, vm, key, errp);
    }
    if (!next(r, errp)) {
        return false;
    }
    if (r->event.type == YAML_SEQUENCE_END_EVENT) {
        return true;
    }
    if (!set_value(r, vm, key, errp) || !next(r, errp)) {
        return false;
    }
    return r->event.type == YAML_SEQUENCE_END_EVENT ||
           wrong(r, errp, "groups: there is the group \"default\" only");
}

static bool read_vm(Reader *r, GError **errp)
{
    VmOptions *vm = vm_options_new();

    g_ptr_array_add(r->vms, vm);
    vm->origin = g_strdup_printf("%s, line %zu", r->path,
                                 r->event.start_mark.line + 1);
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        return wrong(r, errp, "a guest is a map, like \"guest_cid: 3\"");
    }
    while (next(r, errp)) {
        g_autofree char *key = NULL;

        if (r->event.type == YAML_MAPPING_END_EVENT) {
            return true;
        }
        if (!is_scalar(r)) {
            return wrong(r, errp, "a key is expected here");
        }
        key = g_strdup(text(r));
        if (!next(r, errp) || !read_value(r, vm, key, errp)) {
            return false;
        }
    }
    return false;
}

static bool read_vms(Reader *r, GError **errp)
{
    if (r->event.type != YAML_SEQUENCE_START_EVENT) {
        return wrong(r, errp, "\"vms\" is a list; begin each guest with \"-\"");
    }
    while (next(r, errp)) {
        if (r->event.type == YAML_SEQUENCE_END_EVENT) {
            return true;
        }
        if (!read_vm(r, errp)) {
            return false;
        }
    }
    return false;
}

/* The end of the file, and no second document. */
static bool read_end(Reader *r, GError **errp)
{
    do {
        if (!next(r, errp)) {
            return false;
        }
    } while (r->event.type == YAML_DOCUMENT_END_EVENT);
    return r->event.type == YAML_STREAM_END_EVENT ||
           wrong(r, errp, "only one document may be in the file");
}

static bool read_all(Reader *r, GError **errp)
{
    bool seen = false;

    do {
        if (!next(r, errp)) {
            return false;
        }
    } while (r->event.type == YAML_STREAM_START_EVENT ||
             r->event.type == YAML_DOCUMENT_START_EVENT);
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        return wrong(r, errp, "\"vms:\" is expected here");
    }
    for (;;) {
        guint before = r->vms->len;

        if (!next(r, errp)) {
            return false;
        }
        if (r->event.type == YAML_MAPPING_END_EVENT) {
            return seen ? read_end(r, errp)
                        : wrong(r, errp, "it names no guest; give \"vms:\"");
        }
        if (!is_scalar(r) || strcmp(text(r), "vms") != 0 || seen) {
            return wrong(r, errp, "only \"vms:\" may stand here, and once");
        }
        if (!next(r, errp) || !read_vms(r, errp)) {
            return false;
        }
        seen = r->vms->len > before;
    }
}

bool config_file_read(const char *path, GPtrArray *vms, GError **errp)
{
    Reader r = { .path = path, .vms = vms };
    FILE *file = fopen(path, "re");
    bool ok;

    if (!file) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "cannot read %s: %s", path, g_strerror(errno));
        return false;
    }
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(file);
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "no memory for %s", path);
        return false;
    }
    yaml_parser_set_input_file(&r.parser, file);
    ok = read_all(&r, errp);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    fclose(file);
    return ok;
}
