/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Descriptors and registers as a script writes them.
 *
 * Not by libqos, whose functions assert what is to be broken here; it is
 * asked where the registers are.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_pci.h"
#include "vhost-vsock-driver.h"
#include "vhost-vsock-raw.h"

/* What "-machine pc" has by default. */
#define RAM_END (UINT64_C(128) << 20)

/* The firmware ends at 4 GiB, and is not shorter than this. */
#define ROM_START ((UINT64_C(4) << 30) - 65536)

#define NOWHERE (UINT64_C(1) << 50)

#define ISR_CONFIG 2

/* Where a message interrupts the first CPU, by this vector. */
#define MSI_ADDR   0xfee00000u
#define MSI_VECTOR 0x41

/* Where a field of the common configuration is, and how many bytes it has. */
typedef struct Field {
    uint32_t offset;
    unsigned size;
} Field;

#define FIELD(NAME) { offsetof(struct virtio_pci_common_cfg, NAME),        \
                      sizeof(((struct virtio_pci_common_cfg *)0)->NAME) }
#define FIELD_64(NAME) { offsetof(struct virtio_pci_common_cfg, NAME), 8 }

static const Field feature_select = FIELD(guest_feature_select);
static const Field feature = FIELD(guest_feature);
static const Field msix_config = FIELD(msix_config);
static const Field device_status = FIELD(device_status);
static const Field queue_select = FIELD(queue_select);
static const Field queue_notify_off = FIELD(queue_notify_off);

static const Field queue_regs[] = {
    [VVT_QUEUE_SIZE] = FIELD(queue_size),
    [VVT_QUEUE_DESC] = FIELD_64(queue_desc_lo),
    [VVT_QUEUE_AVAIL] = FIELD_64(queue_avail_lo),
    [VVT_QUEUE_USED] = FIELD_64(queue_used_lo),
    [VVT_QUEUE_ENABLE] = FIELD(queue_enable),
};
G_STATIC_ASSERT(G_N_ELEMENTS(queue_regs) == VVT_QUEUE_REGS);

static void write_field(VvtDriver *driver, const Field *field,
                        uint64_t value)
{
    QVirtioPCIDevice *dev = vvt_driver_pci(driver);
    uint64_t at = dev->common_cfg_offset + field->offset;

    switch (field->size) {
    case 1:
        qpci_io_writeb(dev->pdev, dev->bar, at, value);
        break;
    case 2:
        qpci_io_writew(dev->pdev, dev->bar, at, value);
        break;
    case 8:
        qpci_io_writel(dev->pdev, dev->bar, at + 4, value >> 32);
        /* fall through */
    case 4:
        qpci_io_writel(dev->pdev, dev->bar, at, value);
        break;
    default:
        g_assert_not_reached();
    }
}

bool vvt_raw_resolve(VvtDriver *driver, unsigned queue, const VvtAddr *addr,
                     uint64_t *ret_addr, GString *ret_why)
{
    const QVirtQueue *vq = vvt_driver_queue(driver, queue);
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
        base = RAM_END;
        break;
    case VVT_PLACE_ROM:
        base = ROM_START;
        break;
    case VVT_PLACE_BAR:
        base = vvt_driver_pci(driver)->bar.addr +
               vvt_driver_pci(driver)->common_cfg_offset;
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
    write_field(driver, &queue_select, queue);
    write_field(driver, &queue_regs[reg], value);
}

void vvt_raw_set_features(VvtDriver *driver, uint64_t features)
{
    write_field(driver, &feature_select, 0);
    write_field(driver, &feature, features & UINT32_MAX);
    write_field(driver, &feature_select, 1);
    write_field(driver, &feature, features >> 32);
}

void vvt_raw_set_status(VvtDriver *driver, uint8_t status)
{
    write_field(driver, &device_status, status);
}

uint8_t vvt_raw_status(VvtDriver *driver)
{
    QVirtioDevice *vdev = &vvt_driver_pci(driver)->vdev;

    return vdev->bus->get_status(vdev);
}

void vvt_raw_use_msi(VvtDriver *driver)
{
    QPCIDevice *pdev = vvt_driver_pci(driver)->pdev;
    const uint32_t entry[] = { MSI_ADDR, 0, MSI_VECTOR, 0 };
    size_t i;

    if (!pdev->msix_enabled) {
        qpci_msix_enable(pdev);
    }
    for (i = 0; i < G_N_ELEMENTS(entry); i++) {
        qpci_io_writel(pdev, pdev->msix_table_bar,
                       pdev->msix_table_off + i * sizeof(*entry), entry[i]);
    }
    write_field(driver, &msix_config, 0);
}

bool vvt_raw_config_interrupt(VvtDriver *driver)
{
    QVirtioPCIDevice *dev = vvt_driver_pci(driver);

    return qpci_io_readb(dev->pdev, dev->bar, dev->isr_cfg_offset) &
           ISR_CONFIG;
}

void vvt_raw_kick(VvtDriver *driver, unsigned queue)
{
    QVirtioPCIDevice *dev = vvt_driver_pci(driver);
    uint16_t off;

    write_field(driver, &queue_select, queue);
    off = qpci_io_readw(dev->pdev, dev->bar, dev->common_cfg_offset +
                        queue_notify_off.offset);
    qpci_io_writew(dev->pdev, dev->bar, dev->notify_cfg_offset +
                   off * dev->notify_off_multiplier, queue);
}
