/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The CONNECT line of a host client: line.c.
 *
 * Bounds: a line has at most VSK_MAX_LINE bytes, and all lines of all lengths
 * are tried, so each loop is unwound to its end.  Pieces: the proof takes one
 * piece of any size and any bytes in any state that pieces can lead to, and
 * shows that it leads to such a state again; so it holds for any number.
 */

#include "stubs.h"
#include "line.h"

/* Whether there is a newline in the first @n bytes of @text. */
static bool has_newline(const char *text, unsigned int n)
{
    for (unsigned int i = 0; i < VSK_MAX_LINE; i++) {
        if (i < n && text[i] == '\n') {
            return true;
        }
    }
    return false;
}

/* One piece: what peeking wrote into the room, of which the part is taken. */
void line_ends_with_its_newline(void)
{
    VskLine any, *line = &any; /* nothing is known of its bytes */
    unsigned int len = line->len;
    unsigned int at = nondet_u32();
    size_t room, peeked = nondet_size(), part, taken = nondet_size();
    bool complete;
    char *end, before;

    assume(len <= VSK_MAX_LINE && !has_newline(line->text, len));
    assume(at < len);
    before = line->text[at];
    end = vsk_line_room(line, &room);
    prove(end == line->text + len, "the room is behind what has come");
    prove(room == VSK_MAX_LINE - len, "and goes up to the end");
    if (!room) {
        reached("a line that is too long");
        return;
    }
    assume(peeked >= 1 && peeked <= room);
    for (unsigned int i = 0; i < VSK_MAX_LINE; i++) {
        if (i < peeked) {
            end[i] = (char)nondet_u8();
        }
    }
    part = vsk_line_part(line, peeked);
    prove(part >= 1 && part <= peeked, "a part of what was peeked at");
    assume(taken <= part); /* recv() may return less */
    complete = vsk_line_add(line, taken);
    prove(line->len == len + taken, "what was taken is added");
    prove(line->len <= VSK_MAX_LINE, "and is within the line");
    prove(line->text[at] == before, "what was there is as it was");
    if (complete) {
        reached("a complete line");
        prove(line->text[line->len - 1] == '\n', "it ends with a newline");
        prove(!has_newline(line->text, line->len - 1), "its first one");
    } else {
        reached("a line of which more is to come");
        prove(!has_newline(line->text, line->len), "it has no newline yet");
        if (taken == peeked) {
            reached("all was taken");
        }
    }
    reached("the end");
}

/* Where a reader of the grammar stands, byte after byte. */
typedef enum State { VERB, SPACES, PORT, REST, DONE, BAD } State;

static State step(State state, unsigned int i, char c)
{
    static const char verb[] = "CONNECT";
    bool digit = c >= '0' && c <= '9';

    switch (state) {
    case VERB:
        if (i < 7) {
            return c == verb[i] || c == verb[i] + ('a' - 'A') ? VERB : BAD;
        }
        return c == ' ' ? SPACES : BAD;
    case SPACES:
        return c == ' ' ? SPACES : digit ? PORT : BAD;
    case PORT:
        if (digit) {
            return PORT;
        }
        /* fallthrough */
    case REST:
        return c == ' ' || c == '\r' ? REST : c == '\n' ? DONE : BAD;
    default:
        return BAD; /* nothing comes behind the newline */
    }
}

/*
 * The verdict is that of the grammar, and so of the first @len bytes alone.  A
 * port of ten digits and more may be too large, and so nothing is said of
 * whether it is taken: test-host.c tries those.
 */
void line_is_of_the_grammar(void)
{
    VskLine any, *line = &any; /* nothing is known of its bytes */
    unsigned int len = line->len, digits = 0;
    uint32_t before = nondet_u32(), port = before;
    State state = VERB;
    bool good, matches;

    assume(len <= VSK_MAX_LINE);
    good = vsk_line_parse(line, &port);
    for (unsigned int i = 0; i < VSK_MAX_LINE; i++) {
        if (i < len) {
            state = step(state, i, line->text[i]);
            digits += state == PORT;
        }
    }
    matches = state == PORT || state == REST || state == DONE;
    if (good) {
        reached("a line that is taken");
        prove(matches, "what is taken is of the grammar");
    } else {
        reached("a line that is refused");
        prove(!matches || digits > 9, "what is of the grammar is taken");
        prove(port == before, "no port of a line that is refused");
    }
    reached("the end");
}

/* Digits are read as they should: those of all ports up to five of them, for
 * longer ones keep the prover for hours. */
#define DIGITS 5
void line_gives_its_port(void)
{
    VskLine line = { .text = "CONNECT " };
    uint64_t expected = 0;
    uint32_t port;

    line.len = nondet_u32();
    assume(line.len > 8 && line.len <= 8 + DIGITS);
    for (unsigned int i = 8; i < 8 + DIGITS; i++) {
        if (i < line.len) {
            uint8_t digit = nondet_u8();

            assume(digit < 10);
            line.text[i] = (char)('0' + digit);
            expected = expected * 10 + digit;
        }
    }
    prove(vsk_line_parse(&line, &port), "a port is taken");
    prove(port == expected, "it is the line's");
    if (port == 65535) {
        reached("a port that many know");
    }
    reached("the end");
}
