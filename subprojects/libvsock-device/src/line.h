/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The line "CONNECT <port>\n" with which a host client begins: its bytes, in
 * whatever pieces they come, and what they say.  Knows nothing of sockets.
 *
 * The verb may be in any case, with spaces around the port, and CR behind it.
 */

#ifndef VSK_LINE_H
#define VSK_LINE_H

#include "vsock-limits.h"
#include "vsock-device.h"

typedef struct VskLine {
    unsigned int len; /* bytes in @text */
    char text[VSK_MAX_LINE];
} VskLine;

void vsk_line_init(VskLine *line);

/* Where the next bytes go, up to *@ret_room; 0: the line is too long. */
char *vsk_line_room(VskLine *line, size_t *ret_room);

/*
 * Of the @n bytes that were written to vsk_line_room(), how many belong to the
 * line: all, or those up to its newline.
 */
size_t vsk_line_part(const VskLine *line, size_t n);

/*
 * Add the first @n bytes that were written to vsk_line_room(); returns whether
 * the last of them is a newline.
 */
bool vsk_line_add(VskLine *line, size_t n);

/**
 * vsk_line_parse:
 * @line: a whole line; its newline may be left out
 * @ret_port: the port; written if and only if true is returned
 *
 * Returns: whether it says "CONNECT <port>", and nothing else.
 */
bool vsk_line_parse(const VskLine *line, uint32_t *ret_port);

#endif /* VSK_LINE_H */
