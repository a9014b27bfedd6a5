/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Packet scripts (tests/qtest/vhost-vsock-script.c): any bytes become a script
 * that a runner can trust, or an error that names file, line and reason.
 */

#include "qemu/osdep.h"
#include "bytes.h"
#include "vhost-vsock-json.h"
#include "vhost-vsock-script.h"

#define PATH "dir/a.json"
#define MAX_PATTERN 4096 /* bytes; longer ones are not made */

/* Only there with a sanitizer. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* --- Errors -------------------------------------------------------------- */

/* "dir/a.json:LINE: what", with a line of the text; returns what. */
static const char *check_error(const GError *error, const char *text,
                               unsigned *ret_line)
{
    const char *p = error->message;
    unsigned lines = 1;
    char *end;

    CHECK(error->domain == VVT_SCRIPT_ERROR);
    CHECK(g_str_has_prefix(p, PATH ":"));
    p += strlen(PATH ":");
    CHECK(g_ascii_isdigit(*p));
    *ret_line = strtoul(p, &end, 10);
    CHECK(end[0] == ':' && end[1] == ' ' && end[2]);
    for (; *text; text++) {
        lines += *text == '\n';
    }
    CHECK(*ret_line >= 1 && *ret_line <= lines);
    return end;
}

/* --- Scripts ------------------------------------------------------------- */

static bool is_exact(const VvtStep *step)
{
    return step->op == VVT_OP_SEND || step->op == VVT_OP_WRITE ||
           step->op == VVT_OP_FILL_WINDOW;
}

static void check_spec(const VvtStep *step, VvtField f)
{
    const VvtSpec *spec = &step->hdr.field[f];
    unsigned i;

    switch (spec->kind) {
    case VVT_SPEC_UNSET:
    case VVT_SPEC_ANY:
        CHECK(!spec->n_terms);
        CHECK(spec->kind == VVT_SPEC_UNSET || !is_exact(step));
        break;
    case VVT_SPEC_RANGE:
        CHECK(!is_exact(step) && !spec->n_terms);
        CHECK(spec->min <= spec->max && spec->max <= vvt_field_max(f));
        break;
    case VVT_SPEC_ONE_OF:
        CHECK(spec->n_terms && (spec->n_terms == 1 || !is_exact(step)));
        break;
    default:
        CHECK(!"a kind of its own");
    }
    for (i = 0; i < spec->n_terms; i++) {
        const VvtTerm *term = &spec->terms[i];

        CHECK(term->number <= vvt_field_max(f));
        CHECK((term->kind == VVT_TERM_SOCK_PORT) ==
              (term->sock_id && term->sock_id[0]));
    }
}

/* What a term stands for, where the fuzzer is the device. */
static bool resolve(void *opaque, const VvtTerm *term, const VvtHdr *hdr,
                    uint64_t *ret_value)
{
    *ret_value = term->number;
    return term->kind == VVT_TERM_NUMBER;
}

/* A packet that is as the script wants it matches, over the wire too. */
static void check_match(const VvtStep *step)
{
    g_autoptr(GString) report = g_string_new(NULL);
    uint8_t wire[VVT_HDR_SIZE];
    VvtHdr hdr = { 0 }, back;
    VvtField f;

    for (f = 0; f < VVT_FIELD_NUM; f++) {
        const VvtSpec *spec = &step->hdr.field[f];

        hdr.field[f] = spec->n_terms ? spec->terms[0].number : spec->max;
    }
    vvt_hdr_encode(&hdr, wire);
    vvt_hdr_decode(wire, &back);
    CHECK(memcmp(&hdr, &back, sizeof(hdr)) == 0);
    CHECK(vvt_hdr_match(&step->hdr, &hdr, resolve, NULL, report));
    CHECK(!report->len);
    for (f = 0; f < VVT_FIELD_NUM; f++) {
        const VvtSpec *spec = &step->hdr.field[f];

        if (spec->kind == VVT_SPEC_RANGE && spec->max < UINT64_MAX) {
            hdr.field[f] = spec->max + 1;
            CHECK(!vvt_hdr_match(&step->hdr, &hdr, resolve, NULL, report));
            CHECK(report->len);
            return;
        }
    }
}

static void check_payload(const VvtPayload *payload)
{
    CHECK(payload->len <= VVT_PAYLOAD_MAX);
    if (!payload->is_window && payload->len <= MAX_PATTERN) {
        g_autoptr(GBytes) bytes = vvt_payload_bytes(payload, 0);
        g_autoptr(GString) report = g_string_new(NULL);
        gsize len;
        const uint8_t *data = g_bytes_get_data(bytes, &len);

        CHECK(payload->fixed || len == payload->len);
        CHECK(!len || vvt_payload_compare(bytes, len / 3, data + len / 3,
                                          len - len / 3, report));
        CHECK(!vvt_payload_compare(bytes, 0, data, len + 1, report));
    }
}

static void check_step(const VvtStep *step)
{
    VvtField f;
    VvtKey key;

    CHECK(step->op < VVT_OP_NUM && vvt_op_name(step->op));
    for (key = 0; key < VVT_KEY_NUM; key++) {
        const VvtValue *value = &step->value[key];

        CHECK(value->set || (!value->str && !value->list && !value->obj));
        CHECK(!value->n_list == !value->list);
        CHECK(!value->str || value->str[0]);
        CHECK(vvt_key_name(key));
    }
    for (f = 0; f < VVT_FIELD_NUM; f++) {
        check_spec(step, f);
        CHECK(step->stride[f] <= UINT32_MAX);
    }
    if (vvt_step_has(step, VVT_KEY_HDR)) {
        check_match(step);
    }
    if (vvt_step_has(step, VVT_KEY_PAYLOAD)) {
        check_payload(&step->payload);
    }
    if (vvt_step_has(step, VVT_KEY_REPEAT)) {
        CHECK(step->value[VVT_KEY_REPEAT].num);
    }
}

static void check_script(const VvtScript *script)
{
    unsigned number = 0, line = 1, i;

    CHECK(script->path && script->rows && script->steps);
    CHECK(script->backends < 1u << VVT_BACKEND_NUM);
    CHECK((script->no_ends | script->vhost_user_no_ends) <
          1u << VVT_END_NUM);
    for (i = 0; i < script->steps->len; i++) {
        const VvtStep *step = script->steps->pdata[i];

        CHECK(step->number > number && step->line >= line);
        number = step->number;
        line = step->line;
        check_step(step);
    }
}

/* The same one line further down is the same, one line further down. */
static void check_moved(const VvtScript *script, const GError *error,
                        const char *text)
{
    g_autofree char *moved = g_strconcat("\n", text, NULL);
    g_autoptr(GError) moved_error = NULL;
    g_autoptr(VvtScript) other = vvt_script_parse(PATH, moved, &moved_error);
    unsigned line, moved_line;

    CHECK(!script == !other);
    if (script) {
        CHECK(script->steps->len == other->steps->len);
    } else {
        const char *what = check_error(error, text, &line);

        CHECK(strcmp(what, check_error(moved_error, moved, &moved_line)) == 0);
        CHECK(moved_line == line + 1);
    }
}

/*
 * QEMU's JSON parser leaks the value behind a duplicate key.  So what the
 * first pass leaks does not count, and there is only one more where that
 * parser was content.
 */
static VvtScript *parse_first(const char *text, GError **ret_error)
{
    VvtScript *script;

    if (__lsan_disable) {
        __lsan_disable();
    }
    script = vvt_script_parse(PATH, text, ret_error);
    if (__lsan_enable) {
        __lsan_enable();
    }
    return script;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A file with a NUL is refused by who reads it. */
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = parse_first(text, &error);
    unsigned line;

    CHECK(!script == !!error);
    if (script) {
        check_script(script);
    } else if (strstr(check_error(error, text, &line), "JSON")) {
        return 0;
    }
    check_moved(script, error, text);
    return 0;
}
