/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * AF_UNIX sockets as host programs use them, in verbs for tests.
 */

#ifndef TEST_UNIX_SOCKET_H
#define TEST_UNIX_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A socket bound to @path, listening if @backlog >= 0. */
int unix_bind(const char *path, int backlog);

/* A blocking socket connected to @path; or a negative errno. */
int unix_try_connect(const char *path);

/* The same; the test fails if there is nobody. */
int unix_connect(const char *path);

/* As unix_bind() and unix_connect(), of type SOCK_SEQPACKET. */
int unix_bind_seqpacket(const char *path, int backlog);
int unix_connect_seqpacket(const char *path);

/*
 * The next connection of a listener, non-blocking; the test fails if there
 * is none.
 */
int unix_accept(int listener);

/* Whether a connection waits at the listener. */
bool unix_has_client(int listener);

/* Write all of @bytes; the test fails if they do not fit. */
void unix_write_bytes(int fd, const void *bytes, size_t len);
void unix_write(int fd, const char *text);

/* read() without waiting; a negative errno on failure. */
ssize_t unix_read(int fd, void *buf, size_t len);

/* Fails the test unless exactly @text is there to read now. */
void unix_expect(int fd, const char *text);

/* Fails the test unless the next message is this one. */
void unix_expect_message(int fd, const char *text);

/* As unix_expect(), and then an end of file. */
void unix_expect_last(int fd, const char *text);

/* Fails the test unless nothing is there to read now, and no end. */
void unix_expect_nothing(int fd);

/* The connecting socket's address of an emulator's flow. */
void unix_get_source(int fd, uint64_t *ret_cid, uint32_t *ret_port);

bool under_valgrind(void);

/* False, and the test is skipped, where limit_fds() does not work. */
bool can_limit_fds(void);

/* Leave no descriptors but those that are open, until the next call. */
void limit_fds(void);
void unlimit_fds(void);

#endif /* TEST_UNIX_SOCKET_H */
