/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A stream of messages and the host program's end of its socket, in verbs for
 * tests.
 */

#ifndef TEST_SEQPACKET_PAIR_H
#define TEST_SEQPACKET_PAIR_H

#include "stream.h"

#define PAIR_WINDOW 65536

typedef struct Pair {
    VskStream *stream;
    int host;        /* the host program's end; -1: closed */
    uint32_t window; /* what is left of the window that was asked for */
} Pair;

Pair pair_new(void);

/* The same; its client waits for an OK message, or its window is asked for. */
Pair pair_new_client(void);
Pair pair_new_window(uint32_t window);

/* The same of @fd, whose peer is @host. */
Pair pair_of(int fd, int host);

void pair_free(Pair *pair);
void pair_host_closes(Pair *pair);

/* Read with room for @room bytes, in two pieces. */
ssize_t pair_reads(Pair *pair, char *buf, size_t room, VskMessage *ret_msg);

/* Write @text as a message. */
ssize_t pair_writes(Pair *pair, const char *text);

/* With room for @room bytes, @text is read, and @left bytes are left. */
void assert_part(Pair *pair, size_t room, const char *text, size_t left);

/* The next message is read as a whole. */
void assert_message(Pair *pair, const char *text);

/* The next message has @left bytes to read. */
void assert_peeks(Pair *pair, size_t left);

/* There is none: neither a read nor a peek has anything but @result. */
void assert_no_message(Pair *pair, ssize_t result);

/* Two connected seqpacket sockets, non-blocking. */
void make_sockets(int fds[2]);

#endif /* TEST_SEQPACKET_PAIR_H */
