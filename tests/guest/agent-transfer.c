/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The agent's verbs that move many bytes of the pattern.
 */

#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pattern.h"

#define IO_SIZE (256 * 1024)

/* send SLOT SEED COUNT: of the pattern */
static void run_send(Job *job)
{
    int fd = *slot(job, 0);
    Pattern *pattern = pattern_new(number(job, 1));
    uint64_t count = number(job, 2);
    int64_t start = now_ms();
    int err = 0;

    while (pattern->at < count && !err) {
        uint64_t len = count - pattern->at < IO_SIZE ? count - pattern->at
                                                     : IO_SIZE;
        const uint8_t *data = pattern_next(pattern, &len);
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n > 0) {
            pattern->at += (uint64_t)n;
        } else {
            err = errno == EINTR ? 0 : errno;
        }
    }
    report(job, err, "count=%" PRIu64 " ms=%" PRId64, pattern->at,
           now_ms() - start);
    free(pattern);
}

/* recv SLOT SEED COUNT: and compare with the pattern; ends early at EOF */
static void run_recv(Job *job)
{
    int fd = *slot(job, 0);
    Pattern *pattern = pattern_new(number(job, 1));
    uint8_t *buf = malloc(IO_SIZE);
    uint64_t count = number(job, 2);
    int64_t start = now_ms();
    int64_t bad = -1;
    bool eof = false;
    int err = 0;

    while (pattern->at < count && !err && !eof && bad < 0) {
        uint64_t len = count - pattern->at < IO_SIZE ? count - pattern->at
                                                     : IO_SIZE;
        const uint8_t *want = pattern_next(pattern, &len);
        ssize_t n = recv(fd, buf, len, 0);

        if (n > 0) {
            if (memcmp(buf, want, (size_t)n) != 0) {
                bad = (int64_t)pattern->at;
            }
            pattern->at += (uint64_t)n;
        } else if (n == 0) {
            eof = true;
        } else {
            err = errno == EINTR ? 0 : errno;
        }
    }
    report(job, err, "count=%" PRIu64 " eof=%d bad=%" PRId64 " ms=%" PRId64,
           pattern->at, eof, bad, now_ms() - start);
    free(buf);
    free(pattern);
}

/* echo SLOT: until EOF, which is passed on */
static void run_echo(Job *job)
{
    int fd = *slot(job, 0);
    char *buf = malloc(IO_SIZE);
    uint64_t count = 0;
    ssize_t n, done = 0;

    while ((n = recv(fd, buf, IO_SIZE, 0)) > 0) {
        for (ssize_t at = 0; at < n; at += done) {
            done = send(fd, buf + at, (size_t)(n - at), MSG_NOSIGNAL);
            if (done < 0) {
                n = -1;
                break;
            }
        }
        if (n < 0) {
            break;
        }
        count += (uint64_t)n;
    }
    report(job, n < 0 ? errno : 0, "count=%" PRIu64, count);
    shutdown(fd, SHUT_WR);
    free(buf);
}

/*
 * Messages of sizes from 1 to @max, as the words of the pattern behind the
 * first say; each has the pattern's first bytes.
 */
static size_t message_size(const Pattern *pattern, uint64_t index,
                           uint64_t max)
{
    return 1 + pattern->words[1 + index] % max;
}

/* sendmany SLOT SEED COUNT MAX_SIZE: that many messages */
static void run_sendmany(Job *job)
{
    int fd = *slot(job, 0);
    Pattern *pattern = pattern_new(number(job, 1));
    uint64_t count = number(job, 2), max = number(job, 3), i = 0;
    int err = 0;

    pattern->words[0] = 0;
    while (i < count && !err) {
        size_t size = message_size(pattern, i, max);
        ssize_t n = send(fd, pattern->words, size, MSG_NOSIGNAL);

        err = n < 0 ? errno : n < (ssize_t)size ? EMSGSIZE : 0;
        i += !err;
    }
    report(job, err, "count=%" PRIu64, i);
    free(pattern);
}

/* recvmany SLOT SEED COUNT MAX_SIZE: and compare; bad= is the first that is
 * not what sendmany sends, got= its size */
static void run_recvmany(Job *job)
{
    int fd = *slot(job, 0);
    Pattern *pattern = pattern_new(number(job, 1));
    uint64_t count = number(job, 2), max = number(job, 3), i = 0;
    uint8_t *buf = malloc(max + 1);
    int64_t bad = -1;
    ssize_t n = 0;

    pattern->words[0] = 0;
    while (i < count && bad < 0) {
        size_t size = message_size(pattern, i, max);

        n = recv(fd, buf, max + 1, 0);
        if (n < 0) {
            break;
        }
        if (n != (ssize_t)size || memcmp(buf, pattern->words, size) != 0) {
            bad = (int64_t)i;
        }
        i++;
    }
    report(job, n < 0 ? errno : 0, "count=%" PRIu64 " bad=%" PRId64 " got=%zd",
           i, bad, n);
    free(buf);
    free(pattern);
}

const Verb transfer_verbs[] = {
    { "send", 3, run_send },
    { "recv", 3, run_recv },
    { "echo", 1, run_echo },
    { "sendmany", 4, run_sendmany },
    { "recvmany", 4, run_recvmany },
    { NULL, 0, NULL },
};
