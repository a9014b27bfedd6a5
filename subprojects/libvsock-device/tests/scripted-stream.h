/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A host byte channel whose other end is the test: it says what there is to
 * read, how much can be written, how the host program goes away, and which
 * call fails.
 */

#ifndef TEST_SCRIPTED_STREAM_H
#define TEST_SCRIPTED_STREAM_H

#include "stream.h"

typedef enum ScriptedOp {
    SCRIPTED_READV,
    SCRIPTED_WRITEV,
    SCRIPTED_ACCEPTED,
    SCRIPTED_PEEK,
    SCRIPTED_OP_NUM
} ScriptedOp;

/* From call @nth on (0 is the first), @times calls of an operation fail. */
typedef struct ScriptedFault {
    unsigned int nth;
    unsigned int times; /* 0: no fault */
    ssize_t result;     /* a negative errno; or the most bytes to move */
} ScriptedFault;

typedef struct ScriptedStream {
    VskStream base;
    GByteArray *input;  /* host program wrote, not yet read */
    GByteArray *output; /* written for the host program */
    GQueue sent;        /* seqpacket: GBytes, messages for the host program */
    GQueue waiting;     /* seqpacket: GBytes, messages of the host program */
    size_t at;          /* seqpacket: bytes of the first one that were read */
    size_t room;        /* bytes, or messages, until a write is -EAGAIN */
    bool ended;         /* host program: sends no more */
    bool deaf;          /* host program: reads no more */
    bool shut_rd;       /* shutdown(SHUT_RD) was called */
    bool shut_wr;
    size_t output_at_shut_wr;
    bool closed;        /* close was called */
    uint32_t host_port; /* of accepted; 0: not called */
    int fd;             /* get_fd */
    unsigned int calls[SCRIPTED_OP_NUM];
    ScriptedFault faults[SCRIPTED_OP_NUM];
} ScriptedStream;

/*
 * A stream with room for all.  The close operation leaves it to be looked at:
 * it is the test's.
 */
ScriptedStream *scripted_stream_new(void);
void scripted_stream_free(ScriptedStream *s);

/* The same of messages; faults are errors only. */
ScriptedStream *scripted_stream_new_seqpacket(void);

/* The host program wrote a message. */
void scripted_stream_add_message(ScriptedStream *s, const void *bytes,
                                 size_t len);

/*
 * Fails the test unless this is the oldest message that was written, and
 * forgets it.
 */
void scripted_stream_expect_message(ScriptedStream *s, const char *text);
void scripted_stream_expect_message_bytes(ScriptedStream *s,
                                          const void *bytes, size_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ScriptedStream, scripted_stream_free)

/* The host program wrote @text. */
void scripted_stream_add_input(ScriptedStream *s, const void *bytes,
                               size_t len);

/* Fails the test unless @text is what was written, and forgets it. */
void scripted_stream_expect_output(ScriptedStream *s, const char *text);

#endif /* TEST_SCRIPTED_STREAM_H */
