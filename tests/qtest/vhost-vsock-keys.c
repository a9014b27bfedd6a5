/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The members a script's step may have: their names and what values fit.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "standard-headers/linux/virtio_config.h"
#include "vhost-vsock-driver.h"
#include "vhost-vsock-host.h"
#include "vhost-vsock-script.h"

typedef enum Kind {
    KIND_NUMBER,   /* @min … @max */
    KIND_BOOL,
    KIND_STRING,
    KIND_OBJECT,
    KIND_CONSTANT, /* one name of @names */
    KIND_SET,      /* one or more names of @names, as bits: or-ed values */
    KIND_CID,      /* a number, or MY_CID */
    KIND_SPLIT,    /* a number or an array of numbers, bytes */
    KIND_LIST,     /* a number or an array of numbers, @min … @max */
    KIND_ADDR,
    KIND_DESCS,
    KIND_OPS,      /* packet ops, as bits by number */
    KIND_EXPECT,   /* an errno's name, OK, EOF, a number; or several */
    KIND_HDR,
    KIND_STRIDE,
    KIND_PAYLOAD,
} Kind;

typedef struct Name {
    const char *name;
    uint64_t value;
} Name;

typedef struct KeyInfo {
    const char *name;
    Kind kind;
    uint64_t min;
    uint64_t max;
    const Name *names;
} KeyInfo;

static const Name type_names[] = {
    { "stream", SOCK_STREAM }, { "seqpacket", SOCK_SEQPACKET }, { NULL }
};

static const Name event_names[] = {
    { "POLLIN", POLLIN }, { "POLLPRI", POLLPRI }, { "POLLOUT", POLLOUT },
    { NULL }
};

static const Name how_names[] = {
    { "SHUT_RD", SHUT_RD }, { "SHUT_WR", SHUT_WR },
    { "SHUT_RDWR", SHUT_RDWR }, { NULL }
};

static const Name option_names[] = {
    { "SO_RCVBUF", VVT_SOCKOPT_RCVBUF },
    { "SO_SNDBUF", VVT_SOCKOPT_SNDBUF },
    { "SO_LINGER", VVT_SOCKOPT_LINGER },
    { "SO_VM_SOCKETS_BUFFER_SIZE", VVT_SOCKOPT_VM_BUFFER_SIZE },
    { "SO_VM_SOCKETS_CONNECT_TIMEOUT", VVT_SOCKOPT_VM_CONNECT_TIMEOUT },
    { NULL }
};

static const Name fault_names[] = {
    { "loop", VVT_FAULT_LOOP },
    { "write-only", VVT_FAULT_WRITE_ONLY },
    { "outside-ram", VVT_FAULT_OUTSIDE_RAM },
    { "bad-index", VVT_FAULT_BAD_INDEX },
    { "bad-next", VVT_FAULT_BAD_NEXT },
    { "nested-indirect", VVT_FAULT_NESTED_INDIRECT },
    { NULL }
};

static const Name feature_names[] = {
    { "VIRTIO_VSOCK_F_STREAM", 1ull << 0 },
    { "VIRTIO_VSOCK_F_SEQPACKET", 1ull << VIRTIO_VSOCK_F_SEQPACKET },
    { "VIRTIO_VSOCK_F_NO_IMPLIED_STREAM", 1ull << 2 },
    { "VIRTIO_RING_F_INDIRECT_DESC", 1ull << 28 },
    { "VIRTIO_RING_F_EVENT_IDX", 1ull << 29 },
    { "VIRTIO_F_VERSION_1", 1ull << 32 },
    { "VIRTIO_F_RING_PACKED", 1ull << 34 },
    { NULL }
};

static const Name queue_names[] = {
    { "rx", VVT_RX }, { "tx", VVT_TX }, { "event", VVT_EVENT }, { NULL }
};

static const Name status_names[] = {
    { "RESET", 0 },
    { "ACKNOWLEDGE", VIRTIO_CONFIG_S_ACKNOWLEDGE },
    { "DRIVER", VIRTIO_CONFIG_S_DRIVER },
    { "FEATURES_OK", VIRTIO_CONFIG_S_FEATURES_OK },
    { "DRIVER_OK", VIRTIO_CONFIG_S_DRIVER_OK },
    { "NEEDS_RESET", VIRTIO_CONFIG_S_NEEDS_RESET },
    { "FAILED", VIRTIO_CONFIG_S_FAILED },
    { NULL }
};

static const Name omit_names[] = {
    { "VERSION_1", VVT_OMIT_VERSION_1 },
    { "FEATURES_OK", VVT_OMIT_FEATURES_OK },
    { "DRIVER_OK", VVT_OMIT_DRIVER_OK },
    { NULL }
};

static const Name backend_names[] = {
    { "emulator", 1u << VVT_BACKEND_EMULATOR },
    { "kernel", 1u << VVT_BACKEND_KERNEL },
    { "vhost-user", 1u << VVT_BACKEND_VHOST_USER },
    { NULL }
};

#define WAIT_MAX_MS 600000

static const KeyInfo keys[] = {
    [VVT_KEY_HDR] = { "hdr", KIND_HDR },
    [VVT_KEY_PAYLOAD] = { "payload", KIND_PAYLOAD },
    [VVT_KEY_REPEAT] = { "repeat", KIND_NUMBER, 1, 1000000 },
    [VVT_KEY_STRIDE] = { "stride", KIND_STRIDE },
    [VVT_KEY_CHUNK] = { "chunk", KIND_NUMBER, 1, 1 << 20 },
    [VVT_KEY_SPLIT] = { "split", KIND_SPLIT, 0, 1 << 20 },
    [VVT_KEY_TRUNCATE] = { "truncate", KIND_NUMBER, 0, 1 << 20 },
    [VVT_KEY_INDIRECT] = { "indirect", KIND_BOOL },
    [VVT_KEY_FAULT] = { "fault", KIND_CONSTANT, .names = fault_names },
    [VVT_KEY_CREDIT] = { "credit", KIND_BOOL },
    [VVT_KEY_WAIT] = { "wait", KIND_BOOL },
    [VVT_KEY_KICK] = { "kick", KIND_BOOL },
    [VVT_KEY_SKIP] = { "skip", KIND_OPS },
    [VVT_KEY_ANY_ORDER] = { "any_order", KIND_BOOL },
    [VVT_KEY_TIMEOUT_MS] = { "timeout_ms", KIND_NUMBER, 0, WAIT_MAX_MS },
    [VVT_KEY_SEED] = { "seed", KIND_NUMBER, 0, UINT32_MAX },
    [VVT_KEY_COUNT] = { "count", KIND_NUMBER, 1, VVT_RING_MAX },
    [VVT_KEY_USED] = { "used", KIND_NUMBER, 0, 1 << 20 },
    [VVT_KEY_SOCK_ID] = { "sock_id", KIND_STRING },
    [VVT_KEY_LISTENER] = { "listener", KIND_STRING },
    [VVT_KEY_DST_CID] = { "dst_cid", KIND_CID },
    [VVT_KEY_DST_PORT] = { "dst_port", KIND_NUMBER, 0, UINT32_MAX },
    [VVT_KEY_RAW] = { "raw", KIND_BOOL },
    [VVT_KEY_PORT] = { "port", KIND_NUMBER, 0, UINT32_MAX },
    [VVT_KEY_BACKLOG] = { "backlog", KIND_NUMBER, 0, 4096 },
    [VVT_KEY_TYPE] = { "type", KIND_CONSTANT, .names = type_names },
    [VVT_KEY_PEER_CID] = { "peer_cid", KIND_CID },
    [VVT_KEY_PEER_PORT] = { "peer_port", KIND_NUMBER, 0, UINT32_MAX },
    [VVT_KEY_POLL_EVENTS] = { "poll_events", KIND_SET,
                              .names = event_names },
    [VVT_KEY_POLL_SO_ERROR] = { "poll_so_error", KIND_EXPECT },
    [VVT_KEY_EXPECT] = { "expect", KIND_EXPECT },
    [VVT_KEY_EOR] = { "eor", KIND_BOOL },
    [VVT_KEY_BACKGROUND] = { "background", KIND_BOOL },
    [VVT_KEY_HOW] = { "how", KIND_CONSTANT, .names = how_names },
    [VVT_KEY_OPTION] = { "option", KIND_CONSTANT, .names = option_names },
    [VVT_KEY_VALUE] = { "value", KIND_NUMBER, 0, INT32_MAX },
    [VVT_KEY_MS] = { "ms", KIND_NUMBER, 0, WAIT_MAX_MS },
    [VVT_KEY_ID] = { "id", KIND_NUMBER, 0, UINT32_MAX },
    [VVT_KEY_GUEST_CID] = { "guest_cid", KIND_CID },
    [VVT_KEY_FEATURES] = { "features", KIND_SET, .names = feature_names },
    [VVT_KEY_OFFERED] = { "offered", KIND_SET, .names = feature_names },
    [VVT_KEY_NOT_OFFERED] = { "not_offered", KIND_SET,
                              .names = feature_names },
    [VVT_KEY_EXECUTE] = { "execute", KIND_STRING },
    [VVT_KEY_ARGUMENTS] = { "arguments", KIND_OBJECT },
    [VVT_KEY_ERROR] = { "error", KIND_STRING },
    [VVT_KEY_QUEUE] = { "queue", KIND_CONSTANT, .names = queue_names },
    [VVT_KEY_AT] = { "at", KIND_ADDR },
    [VVT_KEY_DESCS] = { "descs", KIND_DESCS },
    [VVT_KEY_HEADS] = { "heads", KIND_LIST, 0, UINT16_MAX },
    [VVT_KEY_JUMP] = { "jump", KIND_NUMBER, 0, UINT16_MAX },
    [VVT_KEY_SIZE] = { "size", KIND_NUMBER, 0, UINT16_MAX },
    [VVT_KEY_DESC_AT] = { "desc_at", KIND_ADDR },
    [VVT_KEY_AVAIL_AT] = { "avail_at", KIND_ADDR },
    [VVT_KEY_USED_AT] = { "used_at", KIND_ADDR },
    [VVT_KEY_ENABLE] = { "enable", KIND_NUMBER, 0, UINT16_MAX },
    [VVT_KEY_STATUS] = { "status", KIND_SET, .names = status_names },
    [VVT_KEY_HAS] = { "has", KIND_SET, .names = status_names },
    [VVT_KEY_LACKS] = { "lacks", KIND_SET, .names = status_names },
    [VVT_KEY_OMIT] = { "omit", KIND_SET, .names = omit_names },
    [VVT_KEY_EVENTS] = { "events", KIND_NUMBER, 0, VVT_EVENT_CHAINS },
    [VVT_KEY_ONLY] = { "only", KIND_SET, .names = backend_names },
};
G_STATIC_ASSERT(G_N_ELEMENTS(keys) == VVT_KEY_NUM);

static const struct {
    const char *name;
    uint32_t code;
} expects[] = {
#define E(NAME) { #NAME, NAME }
    { "OK", 0 }, { "EOF", VVT_EXPECT_EOF },
    E(EAGAIN), E(EPIPE), E(ECONNRESET), E(ECONNREFUSED), E(ECONNABORTED),
    E(ETIMEDOUT), E(ENOTCONN), E(EINPROGRESS), E(EADDRINUSE), E(EINVAL),
    E(ENODEV), E(EHOSTUNREACH), E(ENETUNREACH), E(EMSGSIZE), E(ENOBUFS),
    E(EACCES), E(EPERM), E(ENOENT), E(EPROTO), E(ESOCKTNOSUPPORT),
    E(ENOMEM),
#undef E
};

bool vvt_key_find(const char *name, VvtKey *ret_key)
{
    VvtKey key;

    for (key = 0; key < VVT_KEY_NUM; key++) {
        if (strcmp(keys[key].name, name) == 0) {
            *ret_key = key;
            return true;
        }
    }
    return false;
}

const char *vvt_key_name(VvtKey key)
{
    return keys[key].name;
}

bool vvt_expect_parse(const char *name, uint32_t *ret_code)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(expects); i++) {
        if (strcmp(expects[i].name, name) == 0) {
            *ret_code = expects[i].code;
            return true;
        }
    }
    return false;
}

const char *vvt_expect_name(uint32_t code)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(expects); i++) {
        if (expects[i].code == code) {
            return expects[i].name;
        }
    }
    return strerror(code);
}

const char *vvt_string(QObject *obj)
{
    QString *str = qobject_to(QString, obj);

    return str ? qstring_get_str(str) : NULL;
}

bool vvt_number_parse(QObject *obj, uint64_t min, uint64_t max,
                         uint64_t *ret, GString *what)
{
    QNum *num = qobject_to(QNum, obj);
    uint64_t value;

    if (!num) {
        g_string_append(what, "a number expected");
        return false;
    }
    if (!qnum_get_try_uint(num, &value) || value < min || value > max) {
        g_autofree char *text = qnum_to_string(num);

        g_string_append_printf(what, "%s is out of range, %" PRIu64 " to %"
                               PRIu64, text, min, max);
        return false;
    }
    *ret = value;
    return true;
}

/* Call @one for the value, or for each element if it is an array. */
bool vvt_each_parse(QObject *obj, GString *what, void *opaque,
                    bool (*one)(QObject *obj, void *opaque, GString *what))
{
    QList *list = qobject_to(QList, obj);
    const QListEntry *entry;

    if (!list) {
        return one(obj, opaque, what);
    }
    if (qlist_empty(list)) {
        g_string_append(what, "an empty array");
        return false;
    }
    QLIST_FOREACH_ENTRY(list, entry) {
        if (!one(qlist_entry_obj(entry), opaque, what)) {
            return false;
        }
    }
    return true;
}

static bool parse_name(QObject *obj, const Name *names, uint64_t *ret,
                       GString *what)
{
    const char *text = vvt_string(obj);
    const Name *n;

    for (n = names; text && n->name; n++) {
        if (strcmp(n->name, text) == 0) {
            *ret = n->value;
            return true;
        }
    }
    g_string_append_printf(what, "%s%s%sone of", text ? "\"" : "",
                           text ?: "", text ? "\" is not " : "");
    for (n = names; n->name; n++) {
        g_string_append_printf(what, " %s", n->name);
    }
    if (!text) {
        g_string_append(what, " expected");
    }
    return false;
}

typedef struct SetState {
    const Name *names;
    uint64_t bits;
} SetState;

static bool parse_set_one(QObject *obj, void *opaque, GString *what)
{
    SetState *state = opaque;
    uint64_t bit;

    if (!parse_name(obj, state->names, &bit, what)) {
        return false;
    }
    state->bits |= bit;
    return true;
}

static bool parse_ops_one(QObject *obj, void *opaque, GString *what)
{
    uint64_t *bits = opaque;
    const char *text = vvt_string(obj);
    uint64_t op;

    if (text) {
        if (!vvt_field_constant(VVT_OP, text, &op)) {
            g_string_append_printf(what, "there is no packet op \"%s\"",
                                   text);
            return false;
        }
    } else if (!vvt_number_parse(obj, 0, 63, &op, what)) {
        return false;
    }
    *bits |= UINT64_C(1) << op;
    return true;
}

static void append_to_list(VvtValue *value, uint32_t number)
{
    value->list = g_renew(uint32_t, value->list, value->n_list + 1);
    value->list[value->n_list++] = number;
}

static bool parse_expect_one(QObject *obj, void *opaque, GString *what)
{
    const char *text = vvt_string(obj);
    uint64_t number;
    uint32_t code;

    if (!text) {
        if (!vvt_number_parse(obj, 0, 4095, &number, what)) {
            return false;
        }
        code = number;
    } else if (!vvt_expect_parse(text, &code)) {
        g_string_append_printf(what, "\"%s\" is no errno's name, OK or EOF",
                               text);
        return false;
    }
    append_to_list(opaque, code);
    return true;
}

typedef struct ListState {
    const KeyInfo *info;
    VvtValue *value;
} ListState;

static bool parse_list_one(QObject *obj, void *opaque, GString *what)
{
    ListState *state = opaque;
    uint64_t number;

    if (!vvt_number_parse(obj, state->info->min, state->info->max, &number,
                          what)) {
        return false;
    }
    append_to_list(state->value, number);
    return true;
}

static bool parse_split_one(QObject *obj, void *opaque, GString *what)
{
    uint64_t number;

    if (!vvt_number_parse(obj, 0, 1 << 20, &number, what)) {
        return false;
    }
    append_to_list(opaque, number);
    return true;
}

/* A number alone is the size of every descriptor; an array lists them. */
static bool parse_split(QObject *obj, VvtValue *value, GString *what)
{
    if (!qobject_to(QList, obj)) {
        return vvt_number_parse(obj, 1, 1 << 20, &value->num, what);
    }
    return vvt_each_parse(obj, what, value, parse_split_one);
}

static bool parse_payload(VvtStep *step, QObject *obj, GString *what)
{
    const char *text = vvt_string(obj);
    const char *wrong = text ? vvt_payload_parse(text, &step->payload) :
                               "a string expected";

    if (wrong) {
        g_string_append(what, wrong);
    }
    return !wrong;
}

static bool parse_plain(const KeyInfo *info, VvtValue *value, QObject *obj,
                        GString *what)
{
    QBool *flag = qobject_to(QBool, obj);
    const char *text = vvt_string(obj);

    switch (info->kind) {
    case KIND_CID:
        if (text && strcmp(text, "MY_CID") == 0) {
            value->num = VVT_CID_GUEST;
            return true;
        }
        return vvt_number_parse(obj, 1, UINT64_MAX, &value->num, what);
    case KIND_BOOL:
        if (!flag) {
            g_string_append(what, "true or false expected");
            return false;
        }
        value->num = qbool_get_bool(flag);
        return true;
    case KIND_STRING:
        if (!text || !text[0]) {
            g_string_append(what, "a string expected");
            return false;
        }
        value->str = g_strdup(text);
        return true;
    case KIND_OBJECT:
        if (!qobject_to(QDict, obj)) {
            g_string_append(what, "an object expected");
            return false;
        }
        value->obj = qobject_ref(obj);
        return true;
    default:
        return vvt_number_parse(obj, info->min, info->max, &value->num, what);
    }
}

bool vvt_key_parse(VvtStep *step, VvtKey key, QObject *obj,
                   GString *ret_what, const char **ret_inner)
{
    const KeyInfo *info = &keys[key];
    VvtValue *value = &step->value[key];
    SetState set = { info->names, 0 };
    ListState list = { info, value };

    value->set = true;
    switch (info->kind) {
    case KIND_HDR:
    case KIND_STRIDE:
        return vvt_hdr_parse(step, info->kind == KIND_STRIDE, obj, ret_what,
                             ret_inner);
    case KIND_PAYLOAD:
        return parse_payload(step, obj, ret_what);
    case KIND_CONSTANT:
        return parse_name(obj, info->names, &value->num, ret_what);
    case KIND_SET:
        if (!vvt_each_parse(obj, ret_what, &set, parse_set_one)) {
            return false;
        }
        value->num = set.bits;
        return true;
    case KIND_OPS:
        return vvt_each_parse(obj, ret_what, &value->num, parse_ops_one);
    case KIND_EXPECT:
        return vvt_each_parse(obj, ret_what, value, parse_expect_one);
    case KIND_SPLIT:
        return parse_split(obj, value, ret_what);
    case KIND_LIST:
        return vvt_each_parse(obj, ret_what, &list, parse_list_one);
    case KIND_ADDR:
        return vvt_addr_parse(obj, &value->addr, ret_what);
    case KIND_DESCS:
        return vvt_descs_parse(step, obj, ret_what);
    default:
        return parse_plain(info, value, obj, ret_what);
    }
}
