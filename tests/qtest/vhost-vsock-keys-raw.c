/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Addresses and descriptors as scripts write them.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-script.h"

const char *const vvt_place_name[] = {
    [VVT_PLACE_ZERO] = "",
    [VVT_PLACE_DESC] = "DESC",
    [VVT_PLACE_AVAIL] = "AVAIL",
    [VVT_PLACE_USED] = "USED",
    [VVT_PLACE_RAM] = "RAM",
    [VVT_PLACE_RAM_END] = "RAM_END",
    [VVT_PLACE_ROM] = "ROM",
    [VVT_PLACE_BAR] = "BAR",
    [VVT_PLACE_NOWHERE] = "NOWHERE",
};
G_STATIC_ASSERT(G_N_ELEMENTS(vvt_place_name) == VVT_PLACE_NUM);

static const struct {
    const char *name;
    uint16_t bit;
} desc_flags[] = {
    { "NEXT", VRING_DESC_F_NEXT },
    { "WRITE", VRING_DESC_F_WRITE },
    { "INDIRECT", VRING_DESC_F_INDIRECT },
    { "AVAIL", 1u << VRING_PACKED_DESC_F_AVAIL },
    { "USED", 1u << VRING_PACKED_DESC_F_USED },
};

/* "RAM", "RAM+16", "RAM_END-4"; ZERO is not written. */
static bool parse_place(const char *text, VvtAddr *ret_addr)
{
    size_t len = strcspn(text, "+-");
    VvtPlace place;
    guint64 offset = 0;

    for (place = 1; place < VVT_PLACE_NUM; place++) {
        if (strlen(vvt_place_name[place]) == len &&
            strncmp(vvt_place_name[place], text, len) == 0) {
            break;
        }
    }
    if (place == VVT_PLACE_NUM ||
        (text[len] && !g_ascii_string_to_unsigned(text + len + 1, 10, 0,
                                                  UINT64_MAX, &offset,
                                                  NULL))) {
        return false;
    }
    ret_addr->place = place;
    ret_addr->offset = text[len] == '-' ? -offset : offset;
    return true;
}

bool vvt_addr_parse(QObject *obj, VvtAddr *ret_addr, GString *what)
{
    const char *text = vvt_string(obj);
    VvtPlace place;

    if (!text) {
        ret_addr->place = VVT_PLACE_ZERO;
        return vvt_number_parse(obj, 0, UINT64_MAX, &ret_addr->offset, what);
    }
    if (!parse_place(text, ret_addr)) {
        g_string_append_printf(what, "\"%s\" is no address: a number, or one "
                               "of", text);
        for (place = 1; place < VVT_PLACE_NUM; place++) {
            g_string_append_printf(what, " %s", vvt_place_name[place]);
        }
        g_string_append(what, " with +N or -N behind it");
        return false;
    }
    return true;
}

static bool parse_flag(QObject *obj, void *opaque, GString *what)
{
    const char *text = vvt_string(obj);
    uint16_t *flags = opaque;
    size_t i;

    for (i = 0; text && i < G_N_ELEMENTS(desc_flags); i++) {
        if (strcmp(desc_flags[i].name, text) == 0) {
            *flags |= desc_flags[i].bit;
            return true;
        }
    }
    g_string_append_printf(what, "\"%s\" is no flag of a descriptor",
                           text ?: "");
    return false;
}

/* Flags are written by name, or as a number. */
static bool parse_flags(QObject *obj, uint16_t *ret_flags, GString *what)
{
    uint64_t number = 0;

    if (qobject_to(QNum, obj)) {
        if (!vvt_number_parse(obj, 0, UINT16_MAX, &number, what)) {
            return false;
        }
        *ret_flags = number;
        return true;
    }
    return vvt_each_parse(obj, what, ret_flags, parse_flag);
}

/*
 * One descriptor, the @index-th of its table.  With an "id" it is a packed
 * one, which has that where a split one has its flags, and those behind it.
 */
static bool parse_desc(const QDict *dict, unsigned index, VvtDesc *desc,
                       GString *what)
{
    const QDictEntry *entry;
    uint64_t number = 0;
    bool packed = qdict_haskey(dict, "id");

    desc->next = packed ? 0 : index + 1;
    desc->fixed_next = packed || qdict_haskey(dict, "next");
    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        const char *name = qdict_entry_key(entry);
        QObject *obj = qdict_entry_value(entry);
        bool ok;

        if (strcmp(name, "addr") == 0) {
            ok = vvt_addr_parse(obj, &desc->addr, what);
        } else if (strcmp(name, "len") == 0) {
            ok = vvt_number_parse(obj, 0, UINT32_MAX, &number, what);
            desc->len = number;
        } else if (strcmp(name, "flags") == 0) {
            ok = parse_flags(obj, packed ? &desc->next : &desc->flags, what);
        } else if (strcmp(name, packed ? "id" : "next") == 0) {
            ok = vvt_number_parse(obj, 0, UINT16_MAX, &number, what);
            *(packed ? &desc->flags : &desc->next) = number;
        } else {
            g_string_append_printf(what, "a descriptor has no \"%s\"", name);
            ok = false;
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool vvt_descs_parse(VvtStep *step, QObject *obj, GString *what)
{
    QList *list = qobject_to(QList, obj);
    const QListEntry *entry;

    if (!list || qlist_empty(list)) {
        g_string_append(what, "an array of descriptors expected");
        return false;
    }
    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));
        unsigned i = step->n_descs;

        if (!dict) {
            g_string_append(what, "an array of descriptors expected");
            return false;
        }
        step->descs = g_renew(VvtDesc, step->descs, i + 1);
        memset(&step->descs[i], 0, sizeof(VvtDesc));
        step->n_descs++;
        if (!parse_desc(dict, i, &step->descs[i], what)) {
            return false;
        }
    }
    return true;
}
