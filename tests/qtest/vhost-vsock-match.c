/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Packet headers as scripts write them: matching and reporting.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vhost-vsock-match.h"

typedef struct VvtFieldInfo {
    const char *name;
    size_t offset; /* in struct virtio_vsock_hdr */
    size_t size;   /* bytes */
} VvtFieldInfo;

#define FIELD(NAME)                                             \
    {                                                           \
        .name = #NAME,                                          \
        .offset = offsetof(struct virtio_vsock_hdr, NAME),      \
        .size = sizeof(((struct virtio_vsock_hdr *)0)->NAME),   \
    }

static const VvtFieldInfo field_info[] = {
    [VVT_SRC_CID] = FIELD(src_cid),
    [VVT_DST_CID] = FIELD(dst_cid),
    [VVT_SRC_PORT] = FIELD(src_port),
    [VVT_DST_PORT] = FIELD(dst_port),
    [VVT_LEN] = FIELD(len),
    [VVT_TYPE] = FIELD(type),
    [VVT_OP] = FIELD(op),
    [VVT_FLAGS] = FIELD(flags),
    [VVT_BUF_ALLOC] = FIELD(buf_alloc),
    [VVT_FWD_CNT] = FIELD(fwd_cnt),
};
G_STATIC_ASSERT(G_N_ELEMENTS(field_info) == VVT_FIELD_NUM);

static const struct {
    VvtField field;
    uint64_t value;
    const char *prefix;
    const char *name;
} constants[] = {
    { VVT_TYPE, VIRTIO_VSOCK_TYPE_STREAM, "VIRTIO_VSOCK_TYPE_", "STREAM" },
    { VVT_TYPE, VIRTIO_VSOCK_TYPE_SEQPACKET, "VIRTIO_VSOCK_TYPE_",
      "SEQPACKET" },
    { VVT_OP, VIRTIO_VSOCK_OP_INVALID, "VIRTIO_VSOCK_OP_", "INVALID" },
    { VVT_OP, VIRTIO_VSOCK_OP_REQUEST, "VIRTIO_VSOCK_OP_", "REQUEST" },
    { VVT_OP, VIRTIO_VSOCK_OP_RESPONSE, "VIRTIO_VSOCK_OP_", "RESPONSE" },
    { VVT_OP, VIRTIO_VSOCK_OP_RST, "VIRTIO_VSOCK_OP_", "RST" },
    { VVT_OP, VIRTIO_VSOCK_OP_SHUTDOWN, "VIRTIO_VSOCK_OP_", "SHUTDOWN" },
    { VVT_OP, VIRTIO_VSOCK_OP_RW, "VIRTIO_VSOCK_OP_", "RW" },
    { VVT_OP, VIRTIO_VSOCK_OP_CREDIT_UPDATE, "VIRTIO_VSOCK_OP_",
      "CREDIT_UPDATE" },
    { VVT_OP, VIRTIO_VSOCK_OP_CREDIT_REQUEST, "VIRTIO_VSOCK_OP_",
      "CREDIT_REQUEST" },
    { VVT_FLAGS, VIRTIO_VSOCK_SHUTDOWN_RCV, "VIRTIO_VSOCK_SHUTDOWN_", "RCV" },
    { VVT_FLAGS, VIRTIO_VSOCK_SHUTDOWN_SEND, "VIRTIO_VSOCK_SHUTDOWN_",
      "SEND" },
    { VVT_FLAGS, VIRTIO_VSOCK_SEQ_EOM, "VIRTIO_VSOCK_SEQ_", "EOM" },
    { VVT_FLAGS, VIRTIO_VSOCK_SEQ_EOR, "VIRTIO_VSOCK_SEQ_", "EOR" },
};

const char *vvt_field_name(VvtField field)
{
    return field_info[field].name;
}

uint64_t vvt_field_max(VvtField field)
{
    return UINT64_MAX >> (64 - 8 * field_info[field].size);
}

static bool find_constant(VvtField field, const char *name,
                          uint64_t *ret_value)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(constants); i++) {
        size_t skip = strlen(constants[i].prefix);

        if (constants[i].field == field &&
            g_str_has_prefix(name, constants[i].prefix) &&
            strcmp(name + skip, constants[i].name) == 0) {
            *ret_value = constants[i].value;
            return true;
        }
    }
    return false;
}

bool vvt_field_constant(VvtField field, const char *name,
                        uint64_t *ret_value)
{
    g_auto(GStrv) words = g_strsplit(name, "|", -1);
    uint64_t sum = 0;
    size_t i;

    if (field != VVT_FLAGS || !words[0]) {
        return find_constant(field, name, ret_value);
    }
    for (i = 0; words[i]; i++) {
        uint64_t bit;

        if (!find_constant(field, words[i], &bit)) {
            return false;
        }
        sum |= bit;
    }
    *ret_value = sum;
    return true;
}

void vvt_hdr_encode(const VvtHdr *hdr, uint8_t wire[VVT_HDR_SIZE])
{
    VvtField f;

    for (f = 0; f < VVT_FIELD_NUM; f++) {
        uint64_t le = cpu_to_le64(hdr->field[f]);

        memcpy(wire + field_info[f].offset, &le, field_info[f].size);
    }
}

void vvt_hdr_decode(const uint8_t wire[VVT_HDR_SIZE], VvtHdr *ret_hdr)
{
    VvtField f;

    for (f = 0; f < VVT_FIELD_NUM; f++) {
        uint64_t le = 0;

        memcpy(&le, wire + field_info[f].offset, field_info[f].size);
        ret_hdr->field[f] = le64_to_cpu(le);
    }
}

static const char *constant_name(VvtField field, uint64_t value)
{
    size_t i;

    /* What a flag means depends on the op. */
    for (i = 0; field != VVT_FLAGS && i < G_N_ELEMENTS(constants); i++) {
        if (constants[i].field == field && constants[i].value == value) {
            return constants[i].name;
        }
    }
    return NULL;
}

char *vvt_field_format(VvtField field, uint64_t value)
{
    const char *name = constant_name(field, value);

    if (name) {
        return g_strdup_printf("%s (%" PRIu64 ")", name, value);
    }
    return g_strdup_printf("%" PRIu64, value);
}

static char *name_or_number(VvtField field, uint64_t value)
{
    const char *name = constant_name(field, value);

    return name ? g_strdup(name) : vvt_field_format(field, value);
}

char *vvt_hdr_format(const VvtHdr *hdr)
{
    g_autofree char *type = name_or_number(VVT_TYPE, hdr->field[VVT_TYPE]);
    g_autofree char *op = name_or_number(VVT_OP, hdr->field[VVT_OP]);

    return g_strdup_printf("%" PRIu64 ":%" PRIu64 " -> %" PRIu64 ":%" PRIu64
                           " %s %s len %" PRIu64 " flags %" PRIu64
                           " buf_alloc %" PRIu64 " fwd_cnt %" PRIu64,
                           hdr->field[VVT_SRC_CID], hdr->field[VVT_SRC_PORT],
                           hdr->field[VVT_DST_CID], hdr->field[VVT_DST_PORT],
                           type, op, hdr->field[VVT_LEN],
                           hdr->field[VVT_FLAGS], hdr->field[VVT_BUF_ALLOC],
                           hdr->field[VVT_FWD_CNT]);
}

void vvt_hdr_spec_clear(VvtHdrSpec *spec)
{
    VvtField f;
    unsigned i;

    for (f = 0; f < VVT_FIELD_NUM; f++) {
        for (i = 0; i < spec->field[f].n_terms; i++) {
            g_free(spec->field[f].terms[i].sock_id);
        }
        g_free(spec->field[f].terms);
    }
    memset(spec, 0, sizeof(*spec));
}

static void format_term(GString *out, VvtField field, const VvtTerm *term,
                        bool known, uint64_t value)
{
    g_autofree char *number = vvt_field_format(field, value);

    switch (term->kind) {
    case VVT_TERM_NUMBER:
        g_string_append(out, number);
        return;
    case VVT_TERM_MY_CID:
        g_string_append(out, "MY_CID");
        break;
    case VVT_TERM_SOCK_PORT:
        g_string_append_printf(out, "SOCK_PORT_%s", term->sock_id);
        break;
    case VVT_TERM_TX_CNT:
        g_string_append(out, "TX_CNT");
        break;
    case VVT_TERM_RX_CNT:
        g_string_append(out, "RX_CNT");
        break;
    }
    if (known) {
        g_string_append_printf(out, " (%s)", number);
    } else {
        g_string_append(out, " (not known yet)");
    }
}

/* Append what the script wants of @field; return whether @hdr has it. */
static bool match_field(const VvtSpec *spec, VvtField field,
                        const VvtHdr *hdr, VvtResolve resolve, void *opaque,
                        GString *ret_wanted)
{
    uint64_t came = hdr->field[field];
    bool fits = false;
    unsigned i;

    switch (spec->kind) {
    case VVT_SPEC_UNSET:
        return true;
    case VVT_SPEC_ANY:
        g_string_append(ret_wanted, "any");
        return true;
    case VVT_SPEC_RANGE:
        g_string_append_printf(ret_wanted, "%" PRIu64 " to %" PRIu64,
                               spec->min, spec->max);
        return came >= spec->min && came <= spec->max;
    case VVT_SPEC_ONE_OF:
        break;
    }

    for (i = 0; i < spec->n_terms; i++) {
        uint64_t value = 0;
        bool known = resolve(opaque, &spec->terms[i], hdr, &value);

        if (!known || value == came) {
            fits = true;
        }
        if (i > 0) {
            g_string_append(ret_wanted, " or ");
        }
        format_term(ret_wanted, field, &spec->terms[i], known, value);
    }
    return fits;
}

bool vvt_hdr_match(const VvtHdrSpec *spec, const VvtHdr *hdr,
                   VvtResolve resolve, void *opaque, GString *ret_report)
{
    g_autoptr(GString) table = g_string_new(NULL);
    bool all = true;
    VvtField f;

    g_string_append_printf(table, "    %-10s %-34s %s\n", "field",
                           "expected", "came");
    for (f = 0; f < VVT_FIELD_NUM; f++) {
        g_autoptr(GString) wanted = g_string_new(NULL);
        g_autofree char *came = vvt_field_format(f, hdr->field[f]);
        bool fits = match_field(&spec->field[f], f, hdr, resolve, opaque,
                                wanted);

        all = all && fits;
        g_string_append_printf(table, "  %s %-10s %-34s %s\n",
                               fits ? " " : "*", vvt_field_name(f),
                               wanted->len ? wanted->str : "-", came);
    }
    if (!all && ret_report) {
        g_string_append(ret_report, table->str);
    }
    return all;
}
