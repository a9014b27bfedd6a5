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
    enum { BEFORE, WITHIN, BEHIND } place = BEFORE; /* of the port */
    unsigned int len = line->len;
    uint64_t port = 0;

    if (len && line->text[len - 1] == '\n') {
        len--;
    }
    if (len < VERB_LEN ||
        g_ascii_strncasecmp(line->text, VERB, VERB_LEN) != 0) {
        return false;
    }
    for (unsigned int i = VERB_LEN; i < len; i++) {
        char c = line->text[i];

        if (c >= '0' && c <= '9' && place != BEHIND) {
            place = WITHIN;
            port = port * 10 + (uint64_t)(c - '0');
            if (port > UINT32_MAX) {
                return false;
            }
        } else if (c == ' ' || (c == '\r' && place != BEFORE)) {
            place = place == BEFORE ? BEFORE : BEHIND;
        } else {
            return false;
        }
    }
    if (place == BEFORE) {
        return false;
    }
    *ret_port = (uint32_t)port;
    return true;
}
