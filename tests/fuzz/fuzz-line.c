/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The CONNECT line (line.c): any bytes in any pieces, read as host.c does,
 * beside a regular grammar that sees all of them at once.
 *
 *   "CONNECT" (in any case) " "+ [0-9]+ [ \r]* "\n"
 */

#include "bytes.h"
#include "line.h"

#include <string.h>

/* What comes of the bytes of a client. */
typedef struct Answer {
    enum { MORE, TOO_LONG, REFUSED, PORT } what;
    uint32_t port;
    size_t taken; /* bytes that are not there any more for the flow */
} Answer;

/* Whether @digits is a number of 32 bits, by its digits. */
static bool is_port(const char *digits, size_t n, uint32_t *ret_port)
{
    while (n > 1 && *digits == '0') {
        digits++;
        n--;
    }
    if (n > 10 || (n == 10 && memcmp(digits, "4294967295", 10) > 0)) {
        return false;
    }
    *ret_port = 0;
    for (size_t i = 0; i < n; i++) {
        *ret_port = *ret_port * 10u + (unsigned char)digits[i] - '0';
    }
    return true;
}

/* The grammar, without the newline. */
static bool is_line(const char *text, size_t n, uint32_t *ret_port)
{
    static const char verb[] = "connect";
    size_t at = 0, digits;

    for (; verb[at]; at++) {
        if (at >= n || ((unsigned char)text[at] | 0x20) != verb[at]) {
            return false;
        }
    }
    if (at >= n || text[at] != ' ') {
        return false;
    }
    at += strspn(text + at, " ");
    digits = strspn(text + at, "0123456789");
    if (!digits || !is_port(text + at, digits, ret_port)) {
        return false;
    }
    at += digits;
    return at + strspn(text + at, " \r") == n;
}

static Answer judge(const char *text, size_t n)
{
    char line[VSK_MAX_LINE + 1];
    Answer answer = { REFUSED, 0, 0 };

    memcpy(line, text, n);
    line[n] = '\0'; /* where strspn() ends */
    if (is_line(line, n, &answer.port)) {
        answer.what = PORT;
    }
    return answer;
}

static Answer expected(const char *bytes, size_t n)
{
    const char *newline = memchr(bytes, '\n', MIN(n, VSK_MAX_LINE));
    Answer answer = { MORE, 0, n };

    if (newline) {
        answer = judge(bytes, (size_t)(newline - bytes));
        answer.taken = (size_t)(newline - bytes) + 1;
    } else if (n >= VSK_MAX_LINE) {
        answer = (Answer) { TOO_LONG, 0, VSK_MAX_LINE };
    }
    return answer;
}

/* As a socket's reader: look at what came, take what belongs to the line. */
static Answer read_line(const char *bytes, size_t n, uint32_t cuts)
{
    Answer answer = { MORE, 0, 0 };
    VskLine line;

    vsk_line_init(&line);
    for (;;) {
        size_t room, some = 0, part;
        char *at = vsk_line_room(&line, &room);

        CHECK(at == line.text + answer.taken);
        CHECK(room == VSK_MAX_LINE - answer.taken);
        if (!room) {
            answer.what = TOO_LONG;
            return answer;
        }
        while (answer.taken + some < n && some < room) {
            some++;
            if (cuts >> (answer.taken + some) % 32 & 1) {
                break;
            }
        }
        if (!some) {
            return answer; /* no more for now */
        }
        memcpy(at, bytes + answer.taken, some);
        part = vsk_line_part(&line, some);
        CHECK(part && part <= some);
        answer.taken += part;
        if (vsk_line_add(&line, part)) {
            answer.what = vsk_line_parse(&line, &answer.port) ? PORT : REFUSED;
            return answer;
        }
        CHECK(part == some);
    }
}

/* A message is the whole line; its newline may be left out. */
static void check_message(const char *bytes, size_t n)
{
    bool ends = n && bytes[n - 1] == '\n';
    Answer wanted = judge(bytes, n - ends);
    uint32_t port = 0x5a5a5a5a;
    size_t room;
    VskLine line;

    vsk_line_init(&line);
    memcpy(vsk_line_room(&line, &room), bytes, n);
    CHECK(vsk_line_add(&line, n) == ends);
    CHECK(vsk_line_parse(&line, &port) == (wanted.what == PORT));
    CHECK(port == (wanted.what == PORT ? wanted.port : 0x5a5a5a5a));
}

static void check_same(Answer a, Answer b)
{
    CHECK(a.what == b.what && a.taken == b.taken);
    CHECK(a.what != PORT || a.port == b.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    uint32_t cuts = fuzz_u32(&in);
    const char *bytes = (const char *)in.at;
    size_t n = fuzz_left(&in);
    Answer wanted = expected(bytes, n);

    check_same(read_line(bytes, n, cuts), wanted);
    check_same(read_line(bytes, n, 0), wanted);
    check_same(read_line(bytes, n, UINT32_MAX), wanted);
    check_message(bytes, MIN(n, VSK_MAX_LINE));
    return 0;
}
