/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A packet script in memory: steps, each with the members it was given.
 *
 * Everything about a script that can be wrong without a device is found when
 * it is loaded; a step that comes out of here has every member it needs, of
 * the right type and in range.
 */

#ifndef VHOST_VSOCK_SCRIPT_H
#define VHOST_VSOCK_SCRIPT_H

#include "vhost-vsock-match.h"
#include "vhost-vsock-payload.h"
#include "vhost-vsock-qobject.h"
#include "vhost-vsock-raw.h"

/* What the packets run against; the bits of "only" and "_requires". */
typedef enum VvtBackend {
    VVT_BACKEND_EMULATOR,
    VVT_BACKEND_KERNEL,
    VVT_BACKEND_VHOST_USER,
    VVT_BACKEND_NUM
} VvtBackend;

extern const char *const vvt_backend_name[VVT_BACKEND_NUM];

/* How a script can be cut short; the bits of "_no_ends". */
typedef enum VvtEnd {
    VVT_END_UNPLUG,
    VVT_END_RESET,        /* by the driver */
    VVT_END_SYSTEM_RESET,
    VVT_END_QUIT,         /* SIGTERM, and nobody closed anything */
    VVT_END_MIGRATE,
    VVT_END_PAUSES,       /* stop and cont after each step; no end at all */
    VVT_END_NUM
} VvtEnd;

extern const char *const vvt_end_name[VVT_END_NUM];

/* Where @name stands among @n names; @n if it is none of them. */
unsigned vvt_find_name(const char *const *names, unsigned n,
                       const char *name);

typedef enum VvtOp {
    VVT_OP_SEND,
    VVT_OP_RECEIVE,
    VVT_OP_RECEIVE_DATA,
    VVT_OP_FILL_WINDOW,
    VVT_OP_EXPECT_NONE,
    VVT_OP_TX_WAIT,
    VVT_OP_RX_HOLD,
    VVT_OP_RX_OFFER,
    VVT_OP_RX_RELEASE,
    VVT_OP_SOCK_ASYNC_CONNECT,
    VVT_OP_SOCK_POLL,
    VVT_OP_SOCK_LISTEN,
    VVT_OP_SOCK_ACCEPT,
    VVT_OP_SOCK_SEND,
    VVT_OP_SOCK_RECV,
    VVT_OP_SOCK_WAIT,
    VVT_OP_SOCK_SHUTDOWN,
    VVT_OP_SOCK_CLOSE,
    VVT_OP_SOCK_SETSOCKOPT,
    VVT_OP_SLEEP,
    VVT_OP_DEVICE_CLOSE,
    VVT_OP_DEVICE_OPEN,
    VVT_OP_EVENT,
    VVT_OP_CONFIG,
    VVT_OP_FEATURES,
    VVT_OP_QMP,
    VVT_OP_MIGRATE,
    VVT_OP_WRITE,
    VVT_OP_DESCS,
    VVT_OP_AVAIL,
    VVT_OP_USED,
    VVT_OP_KICK,
    VVT_OP_SET_QUEUE,
    VVT_OP_SET_FEATURES,
    VVT_OP_SET_STATUS,
    VVT_OP_STATUS,
    VVT_OP_MSI,
    VVT_OP_ALIVE,
    VVT_OP_RECOVER,
    VVT_OP_FUZZ,
    VVT_OP_NUM
} VvtOp;

typedef enum VvtKey {
    VVT_KEY_HDR,
    VVT_KEY_PAYLOAD,
    VVT_KEY_REPEAT,
    VVT_KEY_STRIDE,
    VVT_KEY_CHUNK,
    VVT_KEY_SPLIT,
    VVT_KEY_TRUNCATE,
    VVT_KEY_INDIRECT,
    VVT_KEY_FAULT,
    VVT_KEY_CREDIT,
    VVT_KEY_WAIT,
    VVT_KEY_KICK,
    VVT_KEY_SKIP,
    VVT_KEY_ANY_ORDER,
    VVT_KEY_TIMEOUT_MS,
    VVT_KEY_SEED,
    VVT_KEY_COUNT,
    VVT_KEY_USED,
    VVT_KEY_SOCK_ID,
    VVT_KEY_LISTENER,
    VVT_KEY_DST_CID,
    VVT_KEY_DST_PORT,
    VVT_KEY_RAW,
    VVT_KEY_PORT,
    VVT_KEY_BACKLOG,
    VVT_KEY_TYPE,
    VVT_KEY_PEER_CID,
    VVT_KEY_PEER_PORT,
    VVT_KEY_POLL_EVENTS,
    VVT_KEY_POLL_SO_ERROR,
    VVT_KEY_EXPECT,
    VVT_KEY_EOR,
    VVT_KEY_BACKGROUND,
    VVT_KEY_HOW,
    VVT_KEY_OPTION,
    VVT_KEY_VALUE,
    VVT_KEY_MS,
    VVT_KEY_ID,
    VVT_KEY_GUEST_CID,
    VVT_KEY_FEATURES,
    VVT_KEY_OFFERED,
    VVT_KEY_NOT_OFFERED,
    VVT_KEY_EXECUTE,
    VVT_KEY_ARGUMENTS,
    VVT_KEY_ERROR,
    VVT_KEY_QUEUE,
    VVT_KEY_AT,
    VVT_KEY_DESCS,
    VVT_KEY_HEADS,
    VVT_KEY_JUMP,
    VVT_KEY_SIZE,
    VVT_KEY_DESC_AT,
    VVT_KEY_AVAIL_AT,
    VVT_KEY_USED_AT,
    VVT_KEY_ENABLE,
    VVT_KEY_STATUS,
    VVT_KEY_HAS,
    VVT_KEY_LACKS,
    VVT_KEY_OMIT,
    VVT_KEY_EVENTS,
    VVT_KEY_ONLY,
    VVT_KEY_NUM
} VvtKey;

/* In the list of an "expect": the end of file. */
#define VVT_EXPECT_EOF UINT32_MAX

/* How a member's value was written; which members are set says its kind. */
typedef struct VvtValue {
    bool set;
    uint64_t num;     /* numbers, booleans, constants, sets of bits */
    char *str;
    uint32_t *list;   /* numbers */
    unsigned n_list;
    QObject *obj;
    VvtAddr addr;
} VvtValue;

typedef struct VvtStep {
    VvtOp op;
    unsigned number; /* place in the file's array, from 1 */
    unsigned line;
    VvtValue value[VVT_KEY_NUM];
    VvtHdrSpec hdr;
    uint64_t stride[VVT_FIELD_NUM];
    VvtPayload payload;
    VvtDesc *descs;
    unsigned n_descs;
} VvtStep;

typedef struct VvtScript {
    char *path;
    GPtrArray *rows;       /* of strings */
    char *description;
    uint32_t backends;     /* those it is for, as bits */
    bool requires_seqpacket;
    bool requires_pci;
    bool requires_little_endian; /* of the machine */
    uint32_t no_ends;      /* those it cannot have, as bits */
    uint32_t vhost_user_no_ends; /* nor these, on vhost-user */
    uint64_t guest_cid;    /* 0: the runner chooses */
    char *options;         /* properties of the device; NULL: the defaults */
    GPtrArray *steps;      /* of VvtStep */
} VvtScript;

/* NULL with @errp set (VVT_SCRIPT_ERROR) if the script is wrong. */
VvtScript *vvt_script_load(const char *path, GError **errp);
VvtScript *vvt_script_parse(const char *path, const char *text,
                            GError **errp);
void vvt_script_free(VvtScript *script);

/* Whether some step is an @op. */
bool vvt_script_uses(const VvtScript *script, VvtOp op);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvtScript, vvt_script_free)

const char *vvt_op_name(VvtOp op);

static inline bool vvt_step_has(const VvtStep *step, VvtKey key)
{
    return step->value[key].set;
}

/* The number given for @key, or @fallback where the step has none. */
static inline uint64_t vvt_step_num(const VvtStep *step, VvtKey key,
                                    uint64_t fallback)
{
    return step->value[key].set ? step->value[key].num : fallback;
}

static inline const char *vvt_step_str(const VvtStep *step, VvtKey key)
{
    return step->value[key].str;
}

/* --- For vhost-vsock-script.c: one member at a time (vhost-vsock-keys.c) -- */

bool vvt_key_find(const char *name, VvtKey *ret_key);
const char *vvt_key_name(VvtKey key);

/*
 * Read @obj into the member @key of @step.  False: @ret_what says what is
 * wrong, and @ret_inner, if not NULL, names the member within it.
 */
bool vvt_key_parse(VvtStep *step, VvtKey key, QObject *obj,
                   GString *ret_what, const char **ret_inner);

/* --- Shared by the parsers of members; @what gets what is wrong ---------- */

/* NULL: not a string. */
const char *vvt_string(QObject *obj);

bool vvt_number_parse(QObject *obj, uint64_t min, uint64_t max,
                      uint64_t *ret, GString *what);

/* Call @one for the value, or for each element if it is an array. */
bool vvt_each_parse(QObject *obj, GString *what, void *opaque,
                    bool (*one)(QObject *obj, void *opaque, GString *what));

/* "hdr", or "stride" (vhost-vsock-keys-hdr.c). */
bool vvt_hdr_parse(VvtStep *step, bool stride, QObject *obj, GString *what,
                   const char **ret_inner);

/* A number, or a place and how far from it (vhost-vsock-keys-raw.c). */
bool vvt_addr_parse(QObject *obj, VvtAddr *ret_addr, GString *what);
bool vvt_descs_parse(VvtStep *step, QObject *obj, GString *what);

/* An errno's name, "OK" or "EOF"; false: none of them. */
bool vvt_expect_parse(const char *name, uint32_t *ret_code);
const char *vvt_expect_name(uint32_t code);

#endif /* VHOST_VSOCK_SCRIPT_H */
