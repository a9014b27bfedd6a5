/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The packet headers of a script's steps, field by field.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-script.h"

static bool parse_term(VvtField field, QObject *obj, VvtTerm *ret_term,
                       GString *what)
{
    const char *text = vvt_string(obj);
    bool is_cid = field == VVT_SRC_CID || field == VVT_DST_CID;
    bool is_port = field == VVT_SRC_PORT || field == VVT_DST_PORT;

    memset(ret_term, 0, sizeof(*ret_term));
    if (!text) {
        return vvt_number_parse(obj, 0, vvt_field_max(field), &ret_term->number,
                            what);
    }
    if (is_cid && strcmp(text, "MY_CID") == 0) {
        ret_term->kind = VVT_TERM_MY_CID;
    } else if (is_cid && strcmp(text, "PEER_CID") == 0) {
        ret_term->number = VVT_HOST_CID;
    } else if (is_port && g_str_has_prefix(text, "SOCK_PORT_") &&
               text[strlen("SOCK_PORT_")]) {
        ret_term->kind = VVT_TERM_SOCK_PORT;
        ret_term->sock_id = g_strdup(text + strlen("SOCK_PORT_"));
    } else if (field == VVT_FWD_CNT && strcmp(text, "TX_CNT") == 0) {
        ret_term->kind = VVT_TERM_TX_CNT;
    } else if (field == VVT_FWD_CNT && strcmp(text, "RX_CNT") == 0) {
        ret_term->kind = VVT_TERM_RX_CNT;
    } else if (!vvt_field_constant(field, text, &ret_term->number)) {
        g_string_append_printf(what, "\"%s\" is no value for it", text);
        return false;
    }
    return true;
}

static bool parse_range(VvtField field, const QDict *dict, VvtSpec *spec,
                        GString *what)
{
    const QDictEntry *entry;

    spec->kind = VVT_SPEC_RANGE;
    spec->max = vvt_field_max(field);
    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        const char *name = qdict_entry_key(entry);
        uint64_t *to = strcmp(name, "min") == 0 ? &spec->min :
                       strcmp(name, "max") == 0 ? &spec->max : NULL;

        if (!to) {
            g_string_append_printf(what, "\"%s\" in a range of \"min\" and "
                                   "\"max\"", name);
            return false;
        }
        if (!vvt_number_parse(qdict_entry_value(entry), 0, vvt_field_max(field),
                          to, what)) {
            return false;
        }
    }
    if (spec->min > spec->max) {
        g_string_append(what, "\"min\" is larger than \"max\"");
        return false;
    }
    return true;
}

typedef struct FieldState {
    VvtField field;
    VvtSpec *spec;
} FieldState;

static bool parse_term_one(QObject *obj, void *opaque, GString *what)
{
    FieldState *state = opaque;
    VvtSpec *spec = state->spec;
    VvtTerm term;

    if (!parse_term(state->field, obj, &term, what)) {
        return false;
    }
    spec->terms = g_renew(VvtTerm, spec->terms, spec->n_terms + 1);
    spec->terms[spec->n_terms++] = term;
    return true;
}

static bool parse_spec(VvtField field, QObject *obj, bool exact,
                       VvtSpec *spec, GString *what)
{
    FieldState state = { field, spec };
    QDict *dict = qobject_to(QDict, obj);
    const char *text = vvt_string(obj);
    bool any = text && strcmp(text, "any") == 0;

    if (exact && (dict || any || qobject_to(QList, obj))) {
        g_string_append(what, "what is sent needs one value");
        return false;
    }
    if (any) {
        spec->kind = VVT_SPEC_ANY;
        return true;
    }
    if (dict) {
        return parse_range(field, dict, spec, what);
    }
    spec->kind = VVT_SPEC_ONE_OF;
    return vvt_each_parse(obj, what, &state, parse_term_one);
}

/* Find the header field called @name; VVT_FIELD_NUM if there is none. */
static VvtField find_field(const char *name)
{
    VvtField f;

    for (f = 0; f < VVT_FIELD_NUM; f++) {
        if (strcmp(vvt_field_name(f), name) == 0) {
            break;
        }
    }
    return f;
}

bool vvt_hdr_parse(VvtStep *step, bool stride, QObject *obj, GString *what,
                   const char **ret_inner)
{
    QDict *dict = qobject_to(QDict, obj);
    bool exact = step->op == VVT_OP_SEND || step->op == VVT_OP_WRITE ||
                 step->op == VVT_OP_FILL_WINDOW;
    const QDictEntry *entry;

    if (!dict) {
        g_string_append(what, "an object with header fields expected");
        return false;
    }
    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        const char *name = qdict_entry_key(entry);
        VvtField field = find_field(name);
        bool ok;

        if (name[0] == '_') {
            continue;
        }
        *ret_inner = name;
        if (field == VVT_FIELD_NUM) {
            g_string_append(what, "a header has no such field");
            return false;
        }
        ok = stride ?
             vvt_number_parse(qdict_entry_value(entry), 0, UINT32_MAX,
                          &step->stride[field], what) :
             parse_spec(field, qdict_entry_value(entry), exact,
                        &step->hdr.field[field], what);
        if (!ok) {
            return false;
        }
    }
    return true;
}
