/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A script being run: its state, and what its steps share.
 *
 * Steps return whether they held; if not, they say why by vvt_run_fail().
 */

#ifndef VHOST_VSOCK_STEPS_H
#define VHOST_VSOCK_STEPS_H

#include "vhost-vsock-case.h"
#include "vhost-vsock-daemon.h"
#include "vhost-vsock-driver.h"
#include "vhost-vsock-host.h"

/* How long a step waits, unless it says other; on a busy machine, too. */
#define VVT_TIMEOUT_MS 20000

/* How long silence must last, unless the step says other. */
#define VVT_SILENCE_MS 50

typedef struct VvtRun VvtRun;

struct VvtRun {
    VvtCase *c;
    const VvtScript *script;
    const VvtConfig *config; /* own_config */
    VvtConfig own_config;    /* with what the script wants */
    uint64_t guest_cid;
    VvtDaemon *daemon;   /* NULL: the backend needs none */
    VvtDriver *driver;
    VvtHost *host;
    bool (*after_step)(VvtRun *run); /* NULL: nothing is done then */
    GHashTable *ports;   /* sock_id → port, as the packets told */
    size_t window;       /* bytes the last fill-window sent */
    bool drain_flow;     /* rx-hold has opened a connection for itself */
    unsigned n_alive;    /* connections that "alive" has made */
    const VvtStep *step;
    bool sending;        /* for vvt_run_resolve(): whose counters */
    GString *why;        /* why the script failed */
    GQueue trace;        /* of strings: the last packets */
    unsigned n_packets;
};

typedef enum VvtWait {
    VVT_WAIT_DONE,
    VVT_WAIT_TIMEOUT,
    VVT_WAIT_FAILED, /* vvt_run_fail() was called */
} VvtWait;

typedef bool (*VvtDone)(VvtRun *run, void *opaque);

/* The body of a case; @script is a VvtScript. */
void vvt_run_script(VvtCase *c, const void *script);

/*
 * The same in parts.  False: the case has failed, or does not suit the device,
 * and was told so.
 */
bool vvt_run_begin(VvtRun *run, VvtCase *c, const VvtScript *script);
bool vvt_run_suits(VvtRun *run);
bool vvt_run_steps(VvtRun *run, unsigned n); /* the first @n */
void vvt_run_end(VvtRun *run);

/* Forget what steps have done, with the driver closed, to do them again. */
void vvt_run_again(VvtRun *run);

/* Always false. */
bool G_GNUC_PRINTF(2, 3) vvt_run_fail(VvtRun *run, const char *fmt, ...);

/* Let both ends work once.  False: the device broke a rule. */
bool vvt_run_pump(VvtRun *run);

/* Let both ends work until @done says so. */
VvtWait vvt_run_wait(VvtRun *run, uint64_t timeout_ms, VvtDone done,
                     void *opaque);

/* How long @step waits; @fallback in ms. */
uint64_t vvt_run_timeout(const VvtRun *run, const VvtStep *step,
                         uint64_t fallback);

/* A VvtResolve; @opaque is the VvtRun. */
bool vvt_run_resolve(void *opaque, const VvtTerm *term, const VvtHdr *hdr,
                     uint64_t *ret_value);

/* Whether the "expect" under @key, by default only OK, has @code in it. */
bool vvt_run_expects(const VvtStep *step, VvtKey key, uint32_t code);
char *vvt_run_expected(const VvtStep *step, VvtKey key);

typedef bool (*VvtStepFunc)(VvtRun *run, const VvtStep *step);

/*
 * A header to send as @step says, with what it leaves out filled in, and with
 * its stride added @repetition times.
 */
bool vvt_run_build_hdr(VvtRun *run, const VvtStep *step, unsigned repetition,
                       VvtHdr *ret_hdr);

/* Reset the device, and start it as @step says. */
bool vvt_run_open(VvtRun *run, const VvtStep *step);

/* Make a new connection, and send bytes both ways. */
bool vvt_run_alive(VvtRun *run);

/* NULL: not one of theirs. */
VvtStepFunc vvt_packet_step(VvtOp op); /* vhost-vsock-steps-packet.c */
VvtStepFunc vvt_device_step(VvtOp op); /* vhost-vsock-steps-device.c */
VvtStepFunc vvt_raw_step(VvtOp op);    /* vhost-vsock-steps-raw.c */
VvtStepFunc vvt_sock_step(VvtOp op);   /* vhost-vsock-steps-sock.c */
VvtStepFunc vvt_any_step(VvtOp op);

/* The step "fuzz" (vhost-vsock-fuzz.c). */
bool vvt_fuzz_step(VvtRun *run, const VvtStep *step);

#endif /* VHOST_VSOCK_STEPS_H */
