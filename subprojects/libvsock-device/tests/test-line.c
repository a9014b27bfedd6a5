/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The line of a host client: line.h.  What lines say is in test-host.c and
 * test-host-seqpacket.c.
 */

#include "line.h"

#include <string.h>

/* What a client wrote, and how much of it was read already. */
typedef struct Socket {
    const char *bytes;
    size_t len;
    size_t read;
} Socket;

/* Read the line as its reader does, at most @max bytes at once. */
static bool read_line(VskLine *line, Socket *socket, size_t max)
{
    size_t room, n;
    char *at;

    do {
        at = vsk_line_room(line, &room);
        n = MIN(MIN(room, max), socket->len - socket->read);
        if (!n) {
            return false;
        }
        memcpy(at, socket->bytes + socket->read, n);
        n = vsk_line_part(line, n);
        socket->read += n;
    } while (!vsk_line_add(line, n));
    return true;
}

static bool parse(const char *bytes, size_t len, uint32_t *ret_port)
{
    VskLine line = { .len = (unsigned int)len };

    g_assert_cmpuint(len, <=, sizeof(line.text));
    memcpy(line.text, bytes, len);
    return vsk_line_parse(&line, ret_port);
}

static void test_ends_with_its_newline_in_any_pieces(void)
{
    const char *all = "CONNECT 1234\nhello\nCONNECT 5\n";

    for (size_t max = 1; max <= strlen(all); max++) {
        Socket socket = { all, strlen(all), 0 };
        VskLine line;
        uint32_t port;

        vsk_line_init(&line);
        g_assert_true(read_line(&line, &socket, max));
        g_assert_cmpuint(socket.read, ==, strlen("CONNECT 1234\n"));
        g_assert_true(vsk_line_parse(&line, &port));
        g_assert_cmpuint(port, ==, 1234);
    }
}

static void test_goes_on_where_it_stopped(void)
{
    const char *all = "CONNECT 1234\n";

    for (size_t cut = 0; cut < strlen(all); cut++) {
        Socket socket = { all, cut, 0 };
        VskLine line;
        uint32_t port;

        vsk_line_init(&line);
        g_assert_false(read_line(&line, &socket, SIZE_MAX));
        g_assert_cmpuint(socket.read, ==, cut);
        socket.len = strlen(all);
        g_assert_true(read_line(&line, &socket, SIZE_MAX));
        g_assert_true(vsk_line_parse(&line, &port));
        g_assert_cmpuint(port, ==, 1234);
    }
}

static void test_has_no_room_when_it_is_too_long(void)
{
    g_autofree char *junk = g_strnfill(VSK_MAX_LINE + 1, ' ');
    Socket socket = { junk, VSK_MAX_LINE + 1, 0 };
    VskLine line;
    size_t room;

    vsk_line_init(&line);
    vsk_line_room(&line, &room);
    g_assert_cmpuint(room, ==, VSK_MAX_LINE);
    g_assert_false(read_line(&line, &socket, 7));
    g_assert_cmpuint(socket.read, ==, VSK_MAX_LINE);
    vsk_line_room(&line, &room);
    g_assert_cmpuint(room, ==, 0);
}

/* Reading failed: as if nothing had been looked at. */
static void test_is_not_complete_by_nothing(void)
{
    VskLine line;

    vsk_line_init(&line);
    line.text[0] = '\n';
    g_assert_false(vsk_line_add(&line, 0));
    g_assert_cmpuint(line.len, ==, 0);
}

/* What is behind the line's bytes was another client's. */
static void test_reads_nothing_behind_its_end(void)
{
    VskLine line = { .len = 9, .text = "CONNECT 1234\n" };
    uint32_t port;

    g_assert_true(vsk_line_parse(&line, &port));
    g_assert_cmpuint(port, ==, 1);
    for (line.len = 0; line.len < 9; line.len++) {
        g_assert_false(vsk_line_parse(&line, &port));
    }
}

static void test_writes_the_port_only_on_success(void)
{
    uint32_t port = 77;

    g_assert_false(parse("CONNECT 5 6\n", 12, &port));
    g_assert_false(parse("CONNECT 5\n\n", 11, &port));
    g_assert_false(parse("CONNECT 4294967296\n", 19, &port));
    g_assert_cmpuint(port, ==, 77);
    g_assert_true(parse("CONNECT 4294967295", 18, &port));
    g_assert_cmpuint(port, ==, UINT32_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/line/" path, fn)
    TEST("ends-with-its-newline-in-any-pieces",
         test_ends_with_its_newline_in_any_pieces);
    TEST("goes-on-where-it-stopped", test_goes_on_where_it_stopped);
    TEST("has-no-room-when-it-is-too-long",
         test_has_no_room_when_it_is_too_long);
    TEST("is-not-complete-by-nothing", test_is_not_complete_by_nothing);
    TEST("reads-nothing-behind-its-end", test_reads_nothing_behind_its_end);
    TEST("writes-the-port-only-on-success",
         test_writes_the_port_only_on_success);
    return g_test_run();
}
