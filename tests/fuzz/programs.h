/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Host programs, careless ones: clients, listeners, and what they do with
 * their end of a flow.  Whatever they read is held against the model.
 */

#ifndef FUZZ_PROGRAMS_H
#define FUZZ_PROGRAMS_H

#include "model.h"

#define MAX_PROGRAMS 12

typedef struct Program {
    int fd; /* -1: there is none */
    VskType type;
    uint32_t guest_port, host_port;
    bool is_client;
    bool asked;    /* wrote its line */
    bool is_wrong; /* what it wrote is not a line that is served */
    bool served;   /* read its OK line */
    bool is_urgent; /* sent a byte out of band */
    bool shut_wr, shut_rd;
    bool eof;
    char line[16];
    unsigned int line_len;
    uint64_t sent, received;
    GArray *messages_sent; /* lengths, uint32_t */
    guint messages_received;
    ModelFlow *flow; /* NULL: not yet known */
} Program;

typedef struct Listener {
    int fd;
    VskType type;
} Listener;

typedef struct Programs {
    Model *model;
    bool has_seqpacket; /* there is a socket for it */
    Program programs[MAX_PROGRAMS];
    Listener listeners[MODEL_PORTS]; /* on model_ports */
} Programs;

Programs *programs_new(Model *model, bool has_seqpacket);

/* All of them leave. */
void programs_close(Programs *all);
void programs_free(Programs *all);

/* Any one that is there, or NULL. */
Program *programs_pick(Programs *all, unsigned int number);

/* --- Clients ---------------------------------------------------------- */

/* What a client writes first. */
typedef enum FirstWords {
    FIRST_LINE,
    FIRST_LINE_ODDLY, /* but well */
    FIRST_PART,
    FIRST_WRONG,
    FIRST_TOO_LONG,
    FIRST_NOTHING,
    FIRST_EMPTY_MESSAGE,
    FIRST_HUGE,
    FIRST_NUM
} FirstWords;

/* Returns NULL if there are enough, or nobody listens. */
Program *programs_connect(Programs *all, VskType type, uint32_t guest_port,
                          FirstWords words, unsigned int small);

/* After FIRST_PART. */
void program_finish_line(Program *program);

/* --- Listeners -------------------------------------------------------- */

void programs_listen(Programs *all, unsigned int index, VskType type,
                     int backlog);
void programs_unlisten(Programs *all, unsigned int index, bool remove);
Program *programs_accept(Programs *all, unsigned int index,
                         unsigned int small);

/* --- Their end of a flow ---------------------------------------------- */

/* Read up to @max bytes once, or messages, up to @times. */
void program_read(Programs *all, Program *program, size_t max,
                  unsigned int times);
void program_write(Program *program, size_t len, bool odd);

/* A byte out of band, once. */
void program_write_urgent(Program *program);
void program_shutdown(Program *program, int how);
void program_close(Program *program);

/* The guest was told of no byte as taken that is not here. */
void programs_check_taken(const Programs *all);

/* When all has come to rest: whatever could be delivered was. */
void program_check_delivered(const Programs *all, const Program *program);

#endif /* FUZZ_PROGRAMS_H */
