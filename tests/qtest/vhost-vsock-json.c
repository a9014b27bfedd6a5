/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A JSON array cut into its elements, with the line each begins on.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vhost-vsock-json.h"

typedef struct Cursor {
    const char *p;
    unsigned line;
} Cursor;

G_DEFINE_QUARK(vvt-script-error-quark, vvt_script_error)

static void element_free(gpointer data)
{
    VvtJsonElement *element = data;

    g_free(element->text);
    g_free(element);
}

static void advance(Cursor *c)
{
    if (*c->p == '\n') {
        c->line++;
    }
    c->p++;
}

static void skip_space(Cursor *c)
{
    while (g_ascii_isspace(*c->p)) {
        advance(c);
    }
}

/* Move behind the string that begins here; it may be unterminated. */
static void skip_string(Cursor *c)
{
    char quote = *c->p;

    advance(c);
    while (*c->p && *c->p != quote) {
        if (*c->p == '\\' && c->p[1]) {
            advance(c);
        }
        advance(c);
    }
    if (*c->p) {
        advance(c);
    }
}

/* Move to the ',' or ']' that ends the element, or to the end of the text. */
static void skip_element(Cursor *c)
{
    int depth = 0;

    while (*c->p) {
        switch (*c->p) {
        case '"':
        case '\'':
            skip_string(c);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0) {
                return;
            }
            depth--;
            break;
        case ',':
            if (depth == 0) {
                return;
            }
            break;
        }
        advance(c);
    }
}

static void set_error(GError **errp, const char *path, unsigned line,
                      const char *what)
{
    g_set_error(errp, VVT_SCRIPT_ERROR, 0, "%s:%u: %s", path, line, what);
}

GPtrArray *vvt_json_split(const char *path, const char *text, GError **errp)
{
    g_autoptr(GPtrArray) elements =
        g_ptr_array_new_with_free_func(element_free);
    Cursor c = { .p = text, .line = 1 };

    skip_space(&c);
    if (*c.p != '[') {
        set_error(errp, path, c.line, "a script is an array: '[' expected");
        return NULL;
    }
    do {
        VvtJsonElement *element;
        Cursor start;

        advance(&c);
        skip_space(&c);
        start = c;
        skip_element(&c);
        if (c.p == start.p) {
            set_error(errp, path, c.line, "an element is missing here");
            return NULL;
        }
        element = g_new0(VvtJsonElement, 1);
        element->text = g_strndup(start.p, c.p - start.p);
        element->line = start.line;
        g_ptr_array_add(elements, element);
    } while (*c.p == ',');

    if (*c.p != ']') {
        set_error(errp, path, c.line, "the array is not closed: ']' expected");
        return NULL;
    }
    advance(&c);
    skip_space(&c);
    if (*c.p) {
        set_error(errp, path, c.line, "something follows the array");
        return NULL;
    }
    return g_steal_pointer(&elements);
}

QDict *vvt_json_parse(const char *path, unsigned number,
                      const VvtJsonElement *element, GError **errp)
{
    Error *err = NULL;
    QObject *object = qobject_from_json(element->text, &err);

    if (!object) {
        const char *why = error_get_pretty(err);

        /* From 11.1 on line and column within the element come first. */
        why += strspn(why, "0123456789: ");
        g_set_error(errp, VVT_SCRIPT_ERROR, 0, "%s:%u: step %u: %s", path,
                    element->line, number, why);
        error_free(err);
        return NULL;
    }
    if (!qobject_to(QDict, object)) {
        g_set_error(errp, VVT_SCRIPT_ERROR, 0,
                    "%s:%u: step %u: an object expected: '{'", path,
                    element->line, number);
        qobject_unref(object);
        return NULL;
    }
    return qobject_to(QDict, object);
}

unsigned vvt_json_key_line(const VvtJsonElement *element, const char *key)
{
    Cursor c = { .p = element->text, .line = element->line };
    size_t n = strlen(key);

    while (*c.p) {
        Cursor start = c;

        if (*c.p != '"' && *c.p != '\'') {
            advance(&c);
            continue;
        }
        skip_string(&c);
        if (c.p - start.p == n + 2 && memcmp(start.p + 1, key, n) == 0) {
            skip_space(&c);
            if (*c.p == ':') {
                return start.line;
            }
        }
    }
    return element->line;
}
