/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One flow under test: a guest on one side, a scripted host program on the
 * other, and verbs that read like a trace.
 *
 * Every packet that goes to the guest is checked for what must hold of any:
 * addresses, type, credit told, and no RW beyond the guest's credit.
 */

#ifndef TEST_FLOW_H
#define TEST_FLOW_H

#include "conn.h"
#include "scripted-stream.h"

#define FLOW_GUEST_CID  3
#define FLOW_GUEST_PORT 1024
#define FLOW_HOST_PORT  5000
#define FLOW_BUF_ALLOC  65536 /* ours */

typedef struct Flow {
    VskConn *conn;
    ScriptedStream *s;
    VskType type;
    uint32_t buf_alloc;  /* the guest's, in all its packets */
    uint32_t fwd_cnt;    /* the same */
    uint32_t received;   /* bytes that went to the guest */
    uint32_t sent;       /* bytes of the guest */
    uint32_t told;       /* fwd_cnt as the guest last heard */
    uint32_t flags;      /* of the last RW packet that flow_reads() got */
    unsigned int shape;  /* of the host's socket, as epoll last saw it */
} Flow;

/* --- Flows --------------------------------------------------------------- */

/* The guest's REQUEST has come; RESPONSE is owed. */
Flow *flow_requested_by_guest(void);

/* The same, and the RESPONSE has gone. */
Flow *flow_from_guest(void);

/* A host client waits; REQUEST is owed. */
Flow *flow_requested_by_host(void);

/* The same; REQUEST has gone and RESPONSE has come. */
Flow *flow_from_host(void);

/* As the functions above that end alike, of a seqpacket flow. */
Flow *flow_seqpacket_from_guest(void);
Flow *flow_seqpacket_requested_by_host(void);

void flow_free(Flow *f);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Flow, flow_free)

/* --- The guest ----------------------------------------------------------- */

void guest_sends(Flow *f, const char *text);
void guest_sends_bytes(Flow *f, const void *bytes, size_t len);

/* Seqpacket: RW with VSK_SEQ_* in @flags; RW that ends a message. */
void guest_sends_part(Flow *f, const char *text, uint32_t flags);
void guest_sends_message(Flow *f, const char *text);

void guest_says(Flow *f, VskOp op);
void guest_shuts(Flow *f, uint32_t flags);

/* Take @len bytes out of its buffer, and say so. */
void guest_takes(Flow *f, uint32_t len);

/* Say that its buffer has this size from now on. */
void guest_resizes(Flow *f, uint32_t buf_alloc);

/* A packet that is refused, for @why. */
void guest_is_refused(Flow *f, VskOp op, uint32_t len, VskRefusal why);

/* The same with flags. */
void guest_is_refused_with(Flow *f, VskOp op, uint32_t flags, uint32_t len,
                           VskRefusal why);

/* --- The host program ---------------------------------------------------- */

void host_writes(Flow *f, const char *text);
void host_writes_bytes(Flow *f, const void *bytes, size_t len);
void host_writes_message(Flow *f, const char *text);
void host_sends_no_more(Flow *f);  /* shutdown(SHUT_WR) */
void host_reads_no_more(Flow *f);  /* shutdown(SHUT_RD) */
void host_closes(Flow *f);
void host_has_room(Flow *f, size_t len); /* bytes, or messages */

/* Fails unless the host program was written @text since the last call. */
void host_got(Flow *f, const char *text);

/* The oldest message that it was written and that it has not taken. */
void host_got_message(Flow *f, const char *text);
void host_got_no_message(const Flow *f);

/* Whether it reads an end of file once it has read all. */
bool host_sees_eof(const Flow *f);

/* --- What the guest gets ------------------------------------------------- */

/* The next packet is @op, with no payload and no flags. */
void expect(Flow *f, VskOp op);
void expect_shutdown(Flow *f, uint32_t flags);

/* The next packet is RW with exactly @text, given room for it and more. */
void expect_data(Flow *f, const char *text);

/*
 * The same, of a seqpacket flow, with VSK_SEQ_* in @flags; given room for
 * @room bytes.
 */
void expect_part(Flow *f, size_t room, const char *text, uint32_t flags);
void expect_message(Flow *f, const char *text);

/* Read into @n_iov pieces at @iov; returns how many bytes. */
size_t flow_reads(Flow *f, const struct iovec *iov, unsigned int n_iov);

void expect_nothing(Flow *f);

/* Nothing, and the flow can be freed. */
void expect_dead(Flow *f);

/* The timer runs out; the flow is ended for @why. */
void expect_expiry(Flow *f, VskRefusal why);

#endif /* TEST_FLOW_H */
