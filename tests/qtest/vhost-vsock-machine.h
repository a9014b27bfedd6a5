/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine around the device: memory to allocate from, how the device is
 * found, and where its registers are.
 */

#ifndef VHOST_VSOCK_MACHINE_H
#define VHOST_VSOCK_MACHINE_H

#include "vhost-vsock-config.h"
#include "libqos/virtio.h"

/* What a driver sets of the device; the last five are the selected queue's. */
typedef enum VvtReg {
    VVT_REG_FEATURE_SELECT,
    VVT_REG_FEATURE,
    VVT_REG_STATUS,
    VVT_REG_QUEUE_SELECT,
    VVT_REG_QUEUE_SIZE,
    VVT_REG_QUEUE_DESC,
    VVT_REG_QUEUE_AVAIL,
    VVT_REG_QUEUE_USED,
    VVT_REG_QUEUE_ENABLE,
    VVT_REG_NUM
} VvtReg;

typedef struct VvtMachine VvtMachine;

VvtMachine *vvt_machine_new(const VvtConfig *config, QTestState *qts);
void vvt_machine_free(VvtMachine *machine);

const VvtMachineType *vvt_machine_type(const VvtMachine *machine);
QGuestAllocator *vvt_machine_alloc(VvtMachine *machine);

/* It is another QEMU now, whose guest's memory is the same. */
void vvt_machine_set_qts(VvtMachine *machine, QTestState *qts);

/* Find the device, ready to be driven; or forget it. */
QVirtioDevice *vvt_machine_find_device(VvtMachine *machine);
void vvt_machine_lose_device(VvtMachine *machine);

/* Unplug the device; only where can_unplug says so. */
void vvt_machine_unplug(VvtMachine *machine, const char *id);

/* --- Registers ------------------------------------------------------------ */

/* The guest-physical address of the first. */
uint64_t vvt_machine_registers(VvtMachine *machine);

void vvt_machine_write(VvtMachine *machine, VvtReg reg, uint64_t value);

/* Any 1, 2 or 4 bytes at @at of the registers. */
void vvt_machine_poke(VvtMachine *machine, uint64_t at, unsigned size,
                      uint32_t value);
uint32_t vvt_machine_peek(VvtMachine *machine, uint64_t at);

void vvt_machine_kick(VvtMachine *machine, unsigned queue);

/* Have the device interrupt by a message; only where there are such. */
void vvt_machine_use_msi(VvtMachine *machine);

/* Whether the device interrupted for its configuration; it is told so. */
bool vvt_machine_config_interrupt(VvtMachine *machine);

#endif /* VHOST_VSOCK_MACHINE_H */
