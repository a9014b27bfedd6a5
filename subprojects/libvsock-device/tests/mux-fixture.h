/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A mux under test: real host sockets on one side, packets as calls on the
 * other, and a clock that the test moves.
 */

#ifndef TEST_MUX_FIXTURE_H
#define TEST_MUX_FIXTURE_H

#include "mux.h"
#include "temp-dir.h"

#define MUX_GUEST_CID 3

typedef struct MuxFixture {
    TempDir *dir;
    char *path;
    VskMux *mux;
    int64_t now_ms;
    VskType type; /* of packets, listeners and clients from now on */
    unsigned int refused[VSK_REFUSED_NUM];
    VskHdr last; /* packet that mux_expect() took */
} MuxFixture;

/* @config: limits and timeouts, or NULL for the defaults. */
MuxFixture *mux_fixture_new(const VskDevConfig *config);
void mux_fixture_free(MuxFixture *m);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MuxFixture, mux_fixture_free)

/* A packet of the guest, with 4096 bytes of credit. */
void mux_says(MuxFixture *m, VskOp op, uint32_t guest_port,
              uint32_t host_port);

/* Dispatch until nothing is left to do. */
void mux_settle(MuxFixture *m);

/* Let time pass, then settle. */
void mux_passes(MuxFixture *m, int64_t ms);

/* The next packet for the guest has no payload and is this one. */
void mux_expect(MuxFixture *m, VskOp op, uint32_t guest_port,
                uint32_t host_port);
void mux_expect_nothing(MuxFixture *m);

/* What is next is data of the flow of @guest_port; read up to @max bytes. */
size_t mux_expect_data(MuxFixture *m, uint32_t guest_port, char *buf,
                       size_t max);

/* Packets refused for @why since the last call. */
unsigned int mux_refused(MuxFixture *m, VskRefusal why);

/* A host program that listens on @port. */
int mux_listen(MuxFixture *m, uint32_t port, int backlog);

/* A host client that asks for @port of the guest, not yet served. */
int mux_client(MuxFixture *m, uint32_t port);

/*
 * The guest connects from @guest_port to @listener at @host_port; returns the
 * host program's socket.
 */
int mux_open(MuxFixture *m, int listener, uint32_t guest_port,
             uint32_t host_port);

unsigned int mux_conns(MuxFixture *m);

#endif /* TEST_MUX_FIXTURE_H */
