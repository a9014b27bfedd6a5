/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One test case in a process of its own.
 *
 * libqtest and libqos abort when QEMU dies or a register reads wrongly.  Each
 * case therefore runs in a child, which the parent watches: whatever happens
 * there, or however long nothing happens, is a failure of that case alone,
 * and is reported with what QEMU, and the daemon if there is one, wrote to
 * their standard error.
 */

#ifndef VHOST_VSOCK_CASE_H
#define VHOST_VSOCK_CASE_H

/* In the case's directory: what the daemon writes. */
#define VVT_CASE_DAEMON_LOG "daemon-log"

typedef enum VvtVerdict {
    VVT_PASS,
    VVT_SKIP,
    VVT_FAIL,
} VvtVerdict;

/* Handed to the body of a case, in the child. */
typedef struct VvtCase {
    int fd;      /* lines to the parent */
    char *dir;   /* private directory, removed afterwards */
    bool verbose;
} VvtCase;

/* The body fails or skips the case by telling so, and then returns. */
typedef void (*VvtCaseBody)(VvtCase *c, const void *opaque);

/*
 * Run @body in a child; @ret_text gets what it told, and what became of it.
 * With @verbose, notes are shown as they come.
 */
VvtVerdict vvt_case_run(VvtCaseBody body, const void *opaque,
                        unsigned timeout_s, bool verbose, GString *ret_text);

/* The same, as the test of GLib's that runs: it passes, skips or fails. */
void vvt_case_test(VvtCaseBody body, const void *opaque, unsigned timeout_s);

/* --- In the child --------------------------------------------------------- */

/* Shown only if the user wants it so. */
void vvt_case_note(VvtCase *c, const char *text);

/* What the case does now, for a report on its sudden end. */
void vvt_case_now(VvtCase *c, const char *text);

void vvt_case_skip(VvtCase *c, const char *why);
void vvt_case_fail(VvtCase *c, const char *text);

/*
 * QEMU's end is part of the plan, or is none: then it ends the case as a
 * failure at once, and so does the daemon's.
 */
void vvt_case_qemu_may_exit(bool may);

/* Which of the children is the daemon; SIGCHLD is blocked meanwhile. */
void vvt_case_daemon_runs(pid_t pid);

/*
 * To be called when libqtest has started QEMU: its own way to deal with an
 * abort, which ends QEMU first, would hide who failed.
 */
void vvt_case_qemu_runs(void);

#endif /* VHOST_VSOCK_CASE_H */
