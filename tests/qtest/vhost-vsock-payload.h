/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Payloads as scripts write them: text, "hex:0011", "pattern:N:SEED".
 */

#ifndef VHOST_VSOCK_PAYLOAD_H
#define VHOST_VSOCK_PAYLOAD_H

/* Longest pattern; a script that wants more has mistyped. */
#define VVT_PAYLOAD_MAX (64 * 1024 * 1024) /* bytes */

typedef struct VvtPayload {
    GBytes *fixed;     /* text or hex; NULL for a pattern */
    bool is_window;    /* "pattern:WINDOW:SEED" */
    size_t len;        /* of a pattern, bytes */
    uint32_t seed;
} VvtPayload;

/* Read @text into @ret; on failure return what is wrong with it, else NULL. */
const char *vvt_payload_parse(const char *text, VvtPayload *ret);
void vvt_payload_clear(VvtPayload *payload);

/*
 * The bytes.  @window is how many the last fill-window sent, for payloads
 * that say WINDOW.
 */
GBytes *vvt_payload_bytes(const VvtPayload *payload, size_t window);

/* Bytes @offset … @offset + @len - 1 of the pattern with @seed. */
void vvt_pattern_fill(uint8_t *buf, size_t len, uint64_t offset,
                      uint32_t seed);

/*
 * Compare @came, which is the part of the payload @wanted at @offset; where
 * they differ append a line to @ret_report.
 */
bool vvt_payload_compare(GBytes *wanted, size_t offset, const uint8_t *came,
                         size_t len, GString *ret_report);

#endif /* VHOST_VSOCK_PAYLOAD_H */
