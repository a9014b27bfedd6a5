/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Descriptors and registers as a script writes them.
 *
 * Not by libqos, whose functions assert what is to be broken here.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-driver.h"
#include "vhost-vsock-raw.h"

#define NOWHERE (UINT64_C(1) << 50)

G_STATIC_ASSERT(VVT_REG_QUEUE_SIZE + VVT_QUEUE_REGS == VVT_REG_NUM);

bool vvt_raw_resolve(VvtDriver *driver, unsigned queue, const VvtAddr *addr,
                     uint64_t *ret_addr, GString *ret_why)
{
    const QVirtQueue *vq = vvt_driver_queue(driver, queue);
    VvtMachine *machine = vvt_driver_machine(driver);
    const VvtMachineType *type = vvt_machine_type(machine);
    uint64_t base = 0;

    switch (addr->place) {
    case VVT_PLACE_DESC:
    case VVT_PLACE_AVAIL:
    case VVT_PLACE_USED:
        if (!vq) {
            g_string_append_printf(ret_why, "there is no %s: the device is "
                                   "closed\n", vvt_place_name[addr->place]);
            return false;
        }
        base = addr->place == VVT_PLACE_DESC ? vq->desc :
               addr->place == VVT_PLACE_AVAIL ? vq->avail : vq->used;
        break;
    case VVT_PLACE_RAM:
        base = vvt_driver_raw_ram(driver);
        break;
    case VVT_PLACE_RAM_END:
        base = (uint64_t)type->ram_mib << 20;
        break;
    case VVT_PLACE_ROM:
        base = type->rom_start ?: vvt_machine_registers(machine);
        break;
    case VVT_PLACE_BAR:
        base = vvt_machine_registers(machine);
        break;
    case VVT_PLACE_NOWHERE:
        base = NOWHERE;
        break;
    default:
        break;
    }
    *ret_addr = base + addr->offset;
    return true;
}

void vvt_raw_write_desc(VvtDriver *driver, uint64_t at, uint64_t addr,
                        const VvtDesc *desc)
{
    struct vring_desc wire = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(desc->len),
        .flags = cpu_to_le16(desc->flags),
        .next = cpu_to_le16(desc->next),
    };

    qtest_memwrite(vvt_driver_qts(driver), at, &wire, sizeof(wire));
}

void vvt_raw_set_queue(VvtDriver *driver, unsigned queue, VvtQueueReg reg,
                       uint64_t value)
{
    VvtMachine *machine = vvt_driver_machine(driver);

    vvt_machine_write(machine, VVT_REG_QUEUE_SELECT, queue);
    vvt_machine_write(machine, VVT_REG_QUEUE_SIZE + reg, value);
}

void vvt_raw_set_features(VvtDriver *driver, uint64_t features)
{
    VvtMachine *machine = vvt_driver_machine(driver);

    vvt_machine_write(machine, VVT_REG_FEATURE_SELECT, 0);
    vvt_machine_write(machine, VVT_REG_FEATURE, features & UINT32_MAX);
    vvt_machine_write(machine, VVT_REG_FEATURE_SELECT, 1);
    vvt_machine_write(machine, VVT_REG_FEATURE, features >> 32);
}

void vvt_raw_set_status(VvtDriver *driver, uint8_t status)
{
    vvt_machine_write(vvt_driver_machine(driver), VVT_REG_STATUS, status);
}

uint8_t vvt_raw_status(VvtDriver *driver)
{
    QVirtioDevice *vdev = vvt_driver_vdev(driver);

    return vdev->bus->get_status(vdev);
}

void vvt_raw_use_msi(VvtDriver *driver)
{
    vvt_machine_use_msi(vvt_driver_machine(driver));
}

bool vvt_raw_config_interrupt(VvtDriver *driver)
{
    return vvt_machine_config_interrupt(vvt_driver_machine(driver));
}

void vvt_raw_kick(VvtDriver *driver, unsigned queue)
{
    vvt_machine_kick(vvt_driver_machine(driver), queue);
}
