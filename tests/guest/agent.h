/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files of the agent share: a request, its report, and the sockets.
 */

#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <stdint.h>

#define LINE_SIZE   4096
#define MAX_ARGS    8

typedef struct Job {
    char line[LINE_SIZE];
    char *id;
    char *rest;              /* all behind the verb */
    char *args[MAX_ARGS];
    int n_args;
} Job;

typedef struct Verb {
    const char *name;        /* NULL ends a table */
    int n_args;              /* that must be there */
    void (*run)(Job *job);
} Verb;

extern const Verb transfer_verbs[];
extern const Verb call_verbs[];
extern const Verb siege_verbs[];

/* Report the end of @job, once: ok if @err, an errno, is 0. */
void report(const Job *job, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The socket that argument @arg names; -1 if the slot is empty. */
int *slot(const Job *job, int arg);

/* Put @fd into the slot that the first argument names. */
void fill_slot(const Job *job, int fd);

unsigned long long number(const Job *job, int arg);

/* The type of socket that @arg names: a stream, unless it is there and says
 * seqpacket. */
int socket_type(const Job *job, int arg);

/* A socket whose connect() waits 20 s for an answer, not Linux's 2 s: the host
 * may have much else to do.  -1: errno says why. */
int new_socket(int type);

int64_t now_ms(void);

/* How many SIGPIPEs this thread got. */
int sigpipes(void);

#endif /* GUEST_AGENT_H */
