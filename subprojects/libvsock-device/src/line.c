/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The line with which a host client begins.
 */

#include "line.h"

#include <string.h>

#define VERB "CONNECT "
#define VERB_LEN (sizeof(VERB) - 1)

void vsk_line_init(VskLine *line)
{
    line->len = 0;
}

char *vsk_line_room(VskLine *line, size_t *ret_room)
{
    *ret_room = VSK_MAX_LINE - line->len;
    return line->text + line->len;
}

size_t vsk_line_part(const VskLine *line, size_t n)
{
    const char *at = line->text + line->len;
    const char *newline = memchr(at, '\n', n);

    return newline ? (size_t)(newline - at) + 1 : n;
}

bool vsk_line_add(VskLine *line, size_t n)
{
    g_assert(n <= VSK_MAX_LINE - line->len);
    line->len += (unsigned int)n;
    return n && line->text[line->len - 1] == '\n';
}

bool vsk_line_parse(const VskLine *line, uint32_t *ret_port)
{
    const char *p = line->text, *end = p + line->len;
    uint64_t port = 0;
    bool any = false;

    if (line->len < VERB_LEN || g_ascii_strncasecmp(p, VERB, VERB_LEN) != 0) {
        return false;
    }
    for (p += VERB_LEN; p < end && *p == ' '; p++) {
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        port = port * 10 + (uint64_t)(*p - '0');
        any = true;
        if (port > UINT32_MAX) {
            return false;
        }
    }
    for (; p < end && (*p == ' ' || *p == '\r'); p++) {
    }
    if (p < end && *p == '\n') {
        p++;
    }
    if (!any || p < end) {
        return false;
    }
    *ret_port = (uint32_t)port;
    return true;
}
