/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A VMM for the daemon: its socket, the memory that it shares, descriptors of
 * all kinds, and a driver of one packet.
 */

#ifndef FUZZ_VMM_H
#define FUZZ_VMM_H

#include "vm-internal.h"

#define VMM_REGIONS     2
#define VMM_REGION_SIZE 0x4000
#define VMM_MEMORY      (VMM_REGIONS * VMM_REGION_SIZE)
#define VMM_QVA         0x7f0000000000ull /* of the first region */
#define VMM_QVA_STEP    0x1000000ull
#define VMM_NUM         8       /* descriptors of each ring */
#define VMM_RING(queue) (0x400u * (queue)) /* where it is: all in region 0 */
#define VMM_AVAIL       0x100   /* in a ring */
#define VMM_USED        0x200
#define VMM_BUFFER(queue) (0x1000u + 0x800u * (queue))
#define VMM_BUFFER_SIZE 0x400

/* What can be sent along. */
typedef enum VmmFd {
    VMM_FD_MEMORY,
    VMM_FD_EVENT,
    VMM_FD_LOG,      /* a file of 4 KiB */
    VMM_FD_INFLIGHT, /* of 64 KiB, and not all zero */
    VMM_FD_EMPTY,    /* a file without bytes */
    VMM_FD_READ_ONLY,
    VMM_FD_PIPE,     /* full */
    VMM_FD_SOCKET,
    VMM_FD_DIRECTORY,
    VMM_FD_EPOLL,
    VMM_FD_NUM
} VmmFd;

typedef struct Vmm {
    Vm *vm;
    int fds[VMM_FD_NUM];
    uint8_t *memory;   /* of VMM_FD_MEMORY */
    bool cut;          /* it is shorter than that now: hands off */
    uint8_t *inflight; /* of VMM_FD_INFLIGHT */
    int sock;          /* -1: not connected */
    uint16_t avail[VSK_QUEUE_NUM]; /* the driver's indices */
} Vmm;

/* The daemon's VM, in a folder of its own, and what there is to be sent. */
void vmm_init(Vmm *vmm);

/* Whole memory again. */
void vmm_mend_memory(Vmm *vmm);
void vmm_cut_memory(Vmm *vmm);

/* Let the VM do what there is to do. */
void vmm_turn(Vmm *vmm);

void vmm_connect(Vmm *vmm);
void vmm_leave(Vmm *vmm);

/* Send bytes, with descriptors; nothing happens if nobody is connected. */
void vmm_send(Vmm *vmm, const void *bytes, size_t len, const VmmFd *fds,
              unsigned int n_fds);

/* One reply into @msg; false: there is none.  Its descriptors are closed. */
bool vmm_receive(Vmm *vmm, VhostUserMsg *msg);

/* A chain of one descriptor, which is the queue's buffer. */
void vmm_offer(Vmm *vmm, VskQueue queue, uint32_t len);
void vmm_kick(Vmm *vmm);

#endif /* FUZZ_VMM_H */
