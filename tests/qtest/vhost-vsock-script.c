/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Load packet scripts, and refuse every one that is wrong.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-json.h"
#include "vhost-vsock-script.h"

#define B(KEY) (UINT64_C(1) << VVT_KEY_##KEY)
G_STATIC_ASSERT(VVT_KEY_NUM <= 64);

static const struct {
    const char *name;
    uint64_t needs; /* members that must be there */
    uint64_t takes; /* members that may */
} ops[] = {
    [VVT_OP_SEND] = { "send", B(HDR),
        B(PAYLOAD) | B(REPEAT) | B(STRIDE) | B(CHUNK) | B(SPLIT) |
        B(TRUNCATE) | B(INDIRECT) | B(FAULT) | B(CREDIT) | B(WAIT) |
        B(KICK) | B(TIMEOUT_MS) },
    [VVT_OP_RECEIVE] = { "receive", B(HDR),
        B(PAYLOAD) | B(REPEAT) | B(STRIDE) | B(SKIP) | B(ANY_ORDER) |
        B(TIMEOUT_MS) },
    [VVT_OP_RECEIVE_DATA] = { "receive-data", B(HDR) | B(PAYLOAD),
        B(SKIP) | B(CREDIT) | B(ANY_ORDER) | B(TIMEOUT_MS) },
    [VVT_OP_FILL_WINDOW] = { "fill-window", B(HDR),
        B(CHUNK) | B(SEED) | B(TIMEOUT_MS) },
    [VVT_OP_EXPECT_NONE] = { "expect-none", 0, B(SKIP) | B(TIMEOUT_MS) },
    [VVT_OP_TX_WAIT] = { "tx-wait", 0, B(EXPECT) | B(TIMEOUT_MS) },
    [VVT_OP_RX_HOLD] = { "rx-hold", 0, 0 },
    [VVT_OP_RX_OFFER] = { "rx-offer", B(SPLIT),
        B(COUNT) | B(USED) | B(INDIRECT) | B(KICK) | B(TIMEOUT_MS) },
    [VVT_OP_RX_RELEASE] = { "rx-release", 0, 0 },
    [VVT_OP_SOCK_ASYNC_CONNECT] = { "sock-async-connect", B(SOCK_ID),
        B(DST_CID) | B(DST_PORT) | B(TYPE) | B(RAW) | B(EXPECT) },
    [VVT_OP_SOCK_POLL] = { "sock-poll", B(SOCK_ID) | B(POLL_EVENTS),
        B(POLL_SO_ERROR) | B(TIMEOUT_MS) },
    [VVT_OP_SOCK_LISTEN] = { "sock-listen", B(SOCK_ID) | B(PORT),
        B(BACKLOG) | B(TYPE) },
    [VVT_OP_SOCK_ACCEPT] = { "sock-accept", B(SOCK_ID) | B(LISTENER),
        B(PEER_CID) | B(PEER_PORT) | B(TIMEOUT_MS) },
    [VVT_OP_SOCK_SEND] = { "sock-send", B(SOCK_ID) | B(PAYLOAD),
        B(EXPECT) | B(EOR) | B(BACKGROUND) | B(REPEAT) | B(TIMEOUT_MS) },
    [VVT_OP_SOCK_RECV] = { "sock-recv", B(SOCK_ID),
        B(PAYLOAD) | B(EXPECT) | B(EOR) | B(BACKGROUND) | B(REPEAT) |
        B(TIMEOUT_MS) },
    [VVT_OP_SOCK_WAIT] = { "sock-wait", B(SOCK_ID), B(TIMEOUT_MS) },
    [VVT_OP_SOCK_SHUTDOWN] = { "sock-shutdown", B(SOCK_ID) | B(HOW),
        B(EXPECT) },
    [VVT_OP_SOCK_CLOSE] = { "sock-close", B(SOCK_ID), 0 },
    [VVT_OP_SOCK_SETSOCKOPT] = { "sock-setsockopt",
        B(SOCK_ID) | B(OPTION) | B(VALUE), B(EXPECT) },
    [VVT_OP_SLEEP] = { "sleep", B(MS), 0 },
    [VVT_OP_DEVICE_CLOSE] = { "device-close", 0, 0 },
    [VVT_OP_DEVICE_OPEN] = { "device-open", 0,
        B(FEATURES) | B(OMIT) | B(EVENTS) },
    [VVT_OP_EVENT] = { "event", B(ID), B(TIMEOUT_MS) },
    [VVT_OP_CONFIG] = { "config", B(GUEST_CID), 0 },
    [VVT_OP_FEATURES] = { "features", 0, B(OFFERED) | B(NOT_OFFERED) },
    [VVT_OP_QMP] = { "qmp", B(EXECUTE), B(ARGUMENTS) | B(ERROR) },
    [VVT_OP_MIGRATE] = { "migrate", 0, 0 },
    [VVT_OP_WRITE] = { "write", B(AT),
        B(QUEUE) | B(HDR) | B(PAYLOAD) },
    [VVT_OP_DESCS] = { "descs", B(DESCS), B(QUEUE) | B(AT) | B(REPEAT) },
    [VVT_OP_AVAIL] = { "avail", B(HEADS),
        B(QUEUE) | B(JUMP) | B(KICK) | B(REPEAT) },
    [VVT_OP_USED] = { "used", 0,
        B(QUEUE) | B(COUNT) | B(ID) | B(USED) | B(EXPECT) | B(TIMEOUT_MS) },
    [VVT_OP_KICK] = { "kick", B(QUEUE), 0 },
    [VVT_OP_SET_QUEUE] = { "set-queue", B(QUEUE),
        B(SIZE) | B(DESC_AT) | B(AVAIL_AT) | B(USED_AT) | B(ENABLE) },
    [VVT_OP_SET_FEATURES] = { "set-features", B(FEATURES), 0 },
    [VVT_OP_SET_STATUS] = { "set-status", B(STATUS), 0 },
    [VVT_OP_STATUS] = { "status", 0, B(HAS) | B(LACKS) | B(TIMEOUT_MS) },
    [VVT_OP_MSI] = { "msi", 0, 0 },
    [VVT_OP_ALIVE] = { "alive", 0, 0 },
    [VVT_OP_RECOVER] = { "recover", 0, B(FEATURES) },
    [VVT_OP_FUZZ] = { "fuzz", B(MS), B(SEED) },
};
G_STATIC_ASSERT(G_N_ELEMENTS(ops) == VVT_OP_NUM);

const char *const vvt_backend_name[] = {
    [VVT_BACKEND_EMULATOR] = "emulator",
    [VVT_BACKEND_KERNEL] = "kernel",
    [VVT_BACKEND_VHOST_USER] = "vhost-user",
};
G_STATIC_ASSERT(G_N_ELEMENTS(vvt_backend_name) == VVT_BACKEND_NUM);

const char *const vvt_end_name[] = {
    [VVT_END_UNPLUG] = "unplug",
    [VVT_END_RESET] = "reset",
    [VVT_END_SYSTEM_RESET] = "system-reset",
    [VVT_END_QUIT] = "quit",
    [VVT_END_MIGRATE] = "migrate",
    [VVT_END_PAUSES] = "pauses",
};
G_STATIC_ASSERT(G_N_ELEMENTS(vvt_end_name) == VVT_END_NUM);

unsigned vvt_find_name(const char *const *names, unsigned n,
                       const char *name)
{
    unsigned i = 0;

    while (i < n && strcmp(names[i], name) != 0) {
        i++;
    }
    return i;
}

const char *vvt_op_name(VvtOp op)
{
    return ops[op].name;
}

/* Where the error messages of one element come from. */
typedef struct Place {
    const char *path;
    const VvtJsonElement *element;
    unsigned number;
    const char *op; /* NULL: not known yet */
} Place;

static void G_GNUC_PRINTF(4, 5) fail(const Place *at, const char *key,
                                     GError **errp, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(errp, VVT_SCRIPT_ERROR, 0, "%s:%u: step %u%s%s%s%s%s%s: %s",
                at->path,
                key ? vvt_json_key_line(at->element, key) : at->element->line,
                at->number, at->op ? " (" : "", at->op ?: "",
                at->op ? ")" : "", key ? ", key \"" : "", key ?: "",
                key ? "\"" : "", what);
}

static void step_free(gpointer data)
{
    VvtStep *step = data;
    VvtKey key;

    for (key = 0; key < VVT_KEY_NUM; key++) {
        g_free(step->value[key].str);
        g_free(step->value[key].list);
        qobject_unref(step->value[key].obj);
    }
    vvt_hdr_spec_clear(&step->hdr);
    vvt_payload_clear(&step->payload);
    g_free(step->descs);
    g_free(step);
}

static bool parse_op(Place *at, const QDict *dict, VvtOp *ret_op,
                     GError **errp)
{
    QString *str = qobject_to(QString, qdict_get(dict, "op"));
    VvtOp op;

    if (!qdict_haskey(dict, "op")) {
        fail(at, NULL, errp, "key \"op\" is missing");
        return false;
    }
    if (!str) {
        fail(at, "op", errp, "a string expected");
        return false;
    }
    for (op = 0; op < VVT_OP_NUM; op++) {
        if (strcmp(ops[op].name, qstring_get_str(str)) == 0) {
            at->op = ops[op].name;
            *ret_op = op;
            return true;
        }
    }
    fail(at, "op", errp, "there is no op \"%s\"", qstring_get_str(str));
    return false;
}

/* One member of a step: known, welcome here, and of a value that fits. */
static bool parse_member(const Place *at, VvtStep *step, const char *name,
                         QObject *obj, GError **errp)
{
    g_autoptr(GString) what = g_string_new(NULL);
    const char *inner = NULL;
    VvtKey key;

    if (name[0] == '_' || strcmp(name, "op") == 0) {
        return true;
    }
    if (!vvt_key_find(name, &key)) {
        fail(at, name, errp, "unknown key");
        return false;
    }
    if (!((ops[step->op].needs | ops[step->op].takes | B(ONLY)) &
          (UINT64_C(1) << key))) {
        fail(at, name, errp, "\"%s\" takes no such key", at->op);
        return false;
    }
    if (!vvt_key_parse(step, key, obj, what, &inner)) {
        fail(at, inner ?: name, errp, "%s", what->str);
        return false;
    }
    return true;
}

/* What no single member shows. */
static bool check_step(const Place *at, const VvtStep *step, GError **errp)
{
    VvtKey key;

    for (key = 0; key < VVT_KEY_NUM; key++) {
        if ((ops[step->op].needs & (UINT64_C(1) << key)) &&
            !vvt_step_has(step, key)) {
            fail(at, NULL, errp, "key \"%s\" is missing", vvt_key_name(key));
            return false;
        }
    }
    if (step->op == VVT_OP_SOCK_ASYNC_CONNECT &&
        !vvt_step_has(step, VVT_KEY_RAW) &&
        (!vvt_step_has(step, VVT_KEY_DST_PORT))) {
        fail(at, NULL, errp, "key \"dst_port\" is missing");
        return false;
    }
    if (step->op == VVT_OP_SOCK_RECV &&
        !vvt_step_has(step, VVT_KEY_PAYLOAD) &&
        !vvt_step_has(step, VVT_KEY_EXPECT)) {
        fail(at, NULL, errp, "one of \"payload\", \"expect\" is missing");
        return false;
    }
    if (vvt_step_has(step, VVT_KEY_STRIDE) &&
        !vvt_step_has(step, VVT_KEY_REPEAT)) {
        fail(at, "stride", errp, "of no use without \"repeat\"");
        return false;
    }
    return true;
}

static VvtStep *parse_step(Place *at, const QDict *dict, GError **errp)
{
    const QDictEntry *entry;
    VvtStep *step = g_new0(VvtStep, 1);

    step->number = at->number;
    step->line = at->element->line;
    if (!parse_op(at, dict, &step->op, errp)) {
        goto fail;
    }
    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        if (!parse_member(at, step, qdict_entry_key(entry),
                          qdict_entry_value(entry), errp)) {
            goto fail;
        }
    }
    if (!check_step(at, step, errp)) {
        goto fail;
    }
    return step;

fail:
    step_free(step);
    return NULL;
}

/* The strings of an array, or the one string that stands for it. */
static GPtrArray *parse_strings(const Place *at, const QDict *dict,
                                const char *key, GError **errp)
{
    g_autoptr(GPtrArray) strings = g_ptr_array_new_with_free_func(g_free);
    QObject *obj = qdict_get(dict, key);
    QList *list = qobject_to(QList, obj);
    QString *single = qobject_to(QString, obj);
    const QListEntry *entry;

    if (single) {
        g_ptr_array_add(strings, g_strdup(qstring_get_str(single)));
    } else if (list) {
        QLIST_FOREACH_ENTRY(list, entry) {
            QString *str = qobject_to(QString, qlist_entry_obj(entry));

            if (!str) {
                fail(at, key, errp, "strings expected");
                return NULL;
            }
            g_ptr_array_add(strings, g_strdup(qstring_get_str(str)));
        }
    } else if (obj) {
        fail(at, key, errp, "a string or an array of strings expected");
        return NULL;
    }
    return g_steal_pointer(&strings);
}

static bool parse_requires(const Place *at, const QDict *dict,
                           VvtScript *script, GError **errp)
{
    g_autoptr(GPtrArray) names = parse_strings(at, dict, "_requires", errp);
    unsigned i, b;

    if (!names) {
        return false;
    }
    for (i = 0; i < names->len; i++) {
        const char *name = names->pdata[i];

        if (strcmp(name, "seqpacket") == 0) {
            script->requires_seqpacket = true;
            continue;
        }
        if (strcmp(name, "pci") == 0) {
            script->requires_pci = true;
            continue;
        }
        if (strcmp(name, "little-endian") == 0) {
            script->requires_little_endian = true;
            continue;
        }
        b = vvt_find_name(vvt_backend_name, VVT_BACKEND_NUM, name);
        if (b == VVT_BACKEND_NUM) {
            fail(at, "_requires", errp, "\"%s\" is nothing that can be "
                 "required", name);
            return false;
        }
        script->backends |= 1u << b;
    }
    return true;
}

/* An object of ends, each with the reason. */
static bool parse_no_ends(const Place *at, const QDict *dict, const char *key,
                          uint32_t *ret_ends, GError **errp)
{
    const QDict *reasons = qobject_to(QDict, qdict_get(dict, key));
    const QDictEntry *entry;

    if (!reasons) {
        if (qdict_haskey(dict, key)) {
            fail(at, key, errp, "an object expected: an end, and why not");
            return false;
        }
        return true;
    }
    for (entry = qdict_first(reasons); entry;
         entry = qdict_next(reasons, entry)) {
        const char *name = qdict_entry_key(entry);
        g_autoptr(GPtrArray) reason = parse_strings(at, reasons, name, errp);
        unsigned end = vvt_find_name(vvt_end_name, VVT_END_NUM, name);

        if (!reason) {
            return false;
        }
        if (end == VVT_END_NUM) {
            fail(at, name, errp, "there is no such end");
            return false;
        }
        *ret_ends |= 1u << end;
    }
    return true;
}

/* The members of the first object that say something about the script. */
static bool parse_head(const Place *at, const QDict *dict, VvtScript *script,
                       GError **errp)
{
    g_autoptr(GPtrArray) lines = parse_strings(at, dict, "_description",
                                               errp);

    if (!lines) {
        return false;
    }
    g_ptr_array_add(lines, NULL);
    script->description = g_strjoinv(" ", (char **)lines->pdata);
    g_clear_pointer(&script->rows, g_ptr_array_unref);
    script->rows = parse_strings(at, dict, "_rows", errp);
    if (!script->rows || !parse_requires(at, dict, script, errp) ||
        !parse_no_ends(at, dict, "_no_ends", &script->no_ends, errp) ||
        !parse_no_ends(at, dict, "_vhost_user_no_ends",
                       &script->vhost_user_no_ends, errp)) {
        return false;
    }
    if (qdict_haskey(dict, "_guest_cid")) {
        QNum *num = qobject_to(QNum, qdict_get(dict, "_guest_cid"));
        uint64_t cid;

        if (!num || !qnum_get_try_uint(num, &cid) || cid == 0) {
            fail(at, "_guest_cid", errp, "a CID expected");
            return false;
        }
        script->guest_cid = cid;
    }
    if (qdict_haskey(dict, "_options")) {
        const char *text = vvt_string(qdict_get(dict, "_options"));

        if (!text) {
            fail(at, "_options", errp, "a string expected");
            return false;
        }
        script->options = g_strdup(text);
    }
    return true;
}

/* Whether all members are comments, so that the object is no step. */
static bool is_comment(const QDict *dict)
{
    const QDictEntry *entry;

    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        if (qdict_entry_key(entry)[0] != '_') {
            return false;
        }
    }
    return true;
}

VvtScript *vvt_script_parse(const char *path, const char *text,
                            GError **errp)
{
    g_autoptr(VvtScript) script = g_new0(VvtScript, 1);
    g_autoptr(GPtrArray) elements = vvt_json_split(path, text, errp);
    unsigned i;

    script->path = g_strdup(path);
    script->rows = g_ptr_array_new_with_free_func(g_free);
    script->steps = g_ptr_array_new_with_free_func(step_free);
    if (!elements) {
        return NULL;
    }
    for (i = 0; i < elements->len; i++) {
        Place at = { path, elements->pdata[i], i + 1, NULL };
        g_autoptr(QDict) dict = vvt_json_parse(path, i + 1, at.element, errp);
        VvtStep *step;

        if (!dict || (i == 0 && !parse_head(&at, dict, script, errp))) {
            return NULL;
        }
        if (is_comment(dict)) {
            continue;
        }
        step = parse_step(&at, dict, errp);
        if (!step) {
            return NULL;
        }
        g_ptr_array_add(script->steps, step);
    }
    return g_steal_pointer(&script);
}

VvtScript *vvt_script_load(const char *path, GError **errp)
{
    g_autofree char *text = NULL;
    gsize len;

    if (!g_file_get_contents(path, &text, &len, errp)) {
        return NULL;
    }
    if (strlen(text) != len) {
        g_set_error(errp, VVT_SCRIPT_ERROR, 0, "%s: a NUL byte in it", path);
        return NULL;
    }
    return vvt_script_parse(path, text, errp);
}

bool vvt_script_uses(const VvtScript *script, VvtOp op)
{
    unsigned i;

    for (i = 0; i < script->steps->len; i++) {
        if (((VvtStep *)script->steps->pdata[i])->op == op) {
            return true;
        }
    }
    return false;
}

void vvt_script_free(VvtScript *script)
{
    if (!script) {
        return;
    }
    g_free(script->path);
    g_free(script->description);
    g_free(script->options);
    g_clear_pointer(&script->rows, g_ptr_array_unref);
    g_clear_pointer(&script->steps, g_ptr_array_unref);
    g_free(script);
}
