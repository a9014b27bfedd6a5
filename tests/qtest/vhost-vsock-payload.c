/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Payloads as scripts write them.
 *
 * A pattern repeats after a prime number of bytes, larger than any packet
 * we expect to be cut, so that a piece that is lost, doubled or out of place
 * shows wherever it was cut.
 */

#include "qemu/osdep.h"
#include "vhost-vsock-payload.h"

#define PATTERN_PERIOD 65521 /* the largest prime below 2^16 */

/* Bytes shown on each side when payloads differ. */
#define EXCERPT 12

static int hex_digit(char c)
{
    return g_ascii_isxdigit(c) ? g_ascii_xdigit_value(c) : -1;
}

static const char *parse_hex(const char *text, VvtPayload *ret)
{
    size_t n = strlen(text);
    g_autofree uint8_t *buf = g_malloc(n / 2 + 1);
    size_t i;

    if (n % 2 != 0) {
        return "\"hex:\" needs an even number of digits";
    }
    for (i = 0; i < n; i += 2) {
        int high = hex_digit(text[i]);
        int low = hex_digit(text[i + 1]);

        if (high < 0 || low < 0) {
            return "\"hex:\" is followed by something else than hex digits";
        }
        buf[i / 2] = high << 4 | low;
    }
    ret->fixed = g_bytes_new(buf, n / 2);
    return NULL;
}

static const char *parse_pattern(const char *text, VvtPayload *ret)
{
    g_auto(GStrv) words = g_strsplit(text, ":", -1);
    guint64 len = 0;
    guint64 seed;

    if (g_strv_length(words) != 2) {
        return "a pattern is written \"pattern:N:SEED\"";
    }
    ret->is_window = strcmp(words[0], "WINDOW") == 0;
    if (!ret->is_window &&
        !g_ascii_string_to_unsigned(words[0], 10, 0, VVT_PAYLOAD_MAX, &len,
                                    NULL)) {
        return "a pattern's length is 0 to 67108864, or WINDOW";
    }
    if (!g_ascii_string_to_unsigned(words[1], 10, 0, UINT32_MAX, &seed,
                                    NULL)) {
        return "a pattern's seed is 0 to 4294967295";
    }
    ret->len = len;
    ret->seed = seed;
    return NULL;
}

const char *vvt_payload_parse(const char *text, VvtPayload *ret)
{
    if (g_str_has_prefix(text, "hex:")) {
        return parse_hex(text + strlen("hex:"), ret);
    }
    if (g_str_has_prefix(text, "pattern:")) {
        return parse_pattern(text + strlen("pattern:"), ret);
    }
    ret->fixed = g_bytes_new(text, strlen(text));
    return NULL;
}

void vvt_payload_clear(VvtPayload *payload)
{
    g_clear_pointer(&payload->fixed, g_bytes_unref);
}

void vvt_pattern_fill(uint8_t *buf, size_t len, uint64_t offset,
                      uint32_t seed)
{
    size_t i;

    for (i = 0; i < len; i++) {
        uint32_t at = (offset + i) % PATTERN_PERIOD;

        /* Knuth's multiplicative hash: neighbours differ in the top byte. */
        buf[i] = ((at + seed) * 2654435761u) >> 24;
    }
}

GBytes *vvt_payload_bytes(const VvtPayload *payload, size_t window)
{
    size_t len = payload->is_window ? window : payload->len;
    uint8_t *buf;

    if (payload->fixed) {
        return g_bytes_ref(payload->fixed);
    }
    buf = g_malloc(len + 1);
    vvt_pattern_fill(buf, len, 0, payload->seed);
    return g_bytes_new_take(buf, len);
}

static void append_excerpt(GString *out, const char *who, const uint8_t *data,
                           size_t len, size_t at)
{
    size_t i;

    g_string_append_printf(out, "    %-9s", who);
    for (i = at; i < len && i < at + EXCERPT; i++) {
        g_string_append_printf(out, " %02x", data[i]);
    }
    g_string_append(out, "\n");
}

bool vvt_payload_compare(GBytes *wanted, size_t offset, const uint8_t *came,
                         size_t len, GString *ret_report)
{
    size_t n_wanted;
    const uint8_t *want = g_bytes_get_data(wanted, &n_wanted);
    size_t i;

    if (offset + len > n_wanted) {
        g_string_append_printf(ret_report, "  payload: %zu bytes expected, "
                               "%zu or more came\n", n_wanted, offset + len);
        return false;
    }
    for (i = 0; i < len; i++) {
        if (want[offset + i] != came[i]) {
            g_string_append_printf(ret_report,
                                   "  payload differs from byte %zu on\n",
                                   offset + i);
            append_excerpt(ret_report, "expected", want, n_wanted,
                           offset + i);
            append_excerpt(ret_report, "came", came, len, i);
            return false;
        }
    }
    return true;
}
