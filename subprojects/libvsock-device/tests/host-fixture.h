/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The host's side under test: a VskHost in a directory of its own, clients as
 * real sockets, and a clock that the test moves.
 */

#ifndef TEST_HOST_FIXTURE_H
#define TEST_HOST_FIXTURE_H

#include "host.h"
#include "temp-dir.h"

#define HOST_LINE_TIMEOUT_MS 5000

typedef struct HostFixture {
    TempDir *dir;
    char *path;
    char *shared;
    VskHost *host;
    int64_t now_ms;
    uint64_t unique;
    VskType type; /* of the client that expect_client() took */
} HostFixture;

HostFixture *host_fixture_new(void);
void host_fixture_free(HostFixture *h);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(HostFixture, host_fixture_free)

/* A client that has connected and written nothing. */
int host_client(HostFixture *h);
int host_seqpacket_client(HostFixture *h);

/* The next news is a client for @port; returns its socket. */
int expect_client(HostFixture *h, uint32_t port);

/* The next news is that a client was dropped, for @why. */
void expect_drop(HostFixture *h, VskRefusal why);

/* No news, and the descriptor does not say there are. */
void expect_quiet(HostFixture *h);

/* A host program that listens on @port, for this guest or for all. */
int host_listens(HostFixture *h, uint32_t port, int backlog);
int host_listens_for_all(HostFixture *h, uint32_t port, int backlog);

/* The same with seqpacket sockets. */
int host_listens_seqpacket(HostFixture *h, uint32_t port, int backlog);
int host_listens_seqpacket_for_all(HostFixture *h, uint32_t port, int backlog);

#endif /* TEST_HOST_FIXTURE_H */
