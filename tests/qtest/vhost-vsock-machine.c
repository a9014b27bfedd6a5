/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine around the device, by libqos: a PCI bus of one of two kinds, or
 * virtio-mmio.  Of virtio-mmio libqos knows the legacy registers only, so
 * setting up a queue is done here.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-spapr.h"
#include "libqos/pci-pc.h"
#include "libqos/pci-spapr.h"
#include "libqos/virtio-mmio.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_pci.h"
#include "vhost-vsock-machine.h"

/* The first of microvm's transports. */
#define MMIO_BASE UINT64_C(0xfeb00000)

/* Registers that libqos has no name for (virtio 1.4, 4.2.2). */
#define MMIO_QUEUE_READY 0x044
#define MMIO_QUEUE_DESC  0x080
#define MMIO_QUEUE_AVAIL 0x090
#define MMIO_QUEUE_USED  0x0a0

/* Of the maximum, 1024, this is what the device has on other transports. */
#define MMIO_QUEUE_SIZE 128

#define PAGE_SIZE 4096

/* Where a pseries machine has what its PCI bus has at 0. */
#define SPAPR_PCI_WINDOW (UINT64_C(1) << 45)

#define ISR_CONFIG 2

/* Where a message interrupts the first CPU, by this vector. */
#define MSI_ADDR   0xfee00000u
#define MSI_VECTOR 0x41

struct VvtMachine {
    const VvtMachineType *type;
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *bus;               /* NULL: no PCI */
    QVirtioPCIDevice *pci;      /* NULL: not found, or no PCI */
    QVirtioMMIODevice mmio;
};

/* Where a register is, and how many bytes it has. */
typedef struct Field {
    uint32_t offset;
    unsigned size;
} Field;

#define FIELD(NAME) { offsetof(struct virtio_pci_common_cfg, NAME),        \
                      sizeof(((struct virtio_pci_common_cfg *)0)->NAME) }
#define FIELD_64(NAME) { offsetof(struct virtio_pci_common_cfg, NAME), 8 }

static const Field pci_fields[VVT_REG_NUM] = {
    [VVT_REG_FEATURE_SELECT] = FIELD(guest_feature_select),
    [VVT_REG_FEATURE] = FIELD(guest_feature),
    [VVT_REG_STATUS] = FIELD(device_status),
    [VVT_REG_QUEUE_SELECT] = FIELD(queue_select),
    [VVT_REG_QUEUE_SIZE] = FIELD(queue_size),
    [VVT_REG_QUEUE_DESC] = FIELD_64(queue_desc_lo),
    [VVT_REG_QUEUE_AVAIL] = FIELD_64(queue_avail_lo),
    [VVT_REG_QUEUE_USED] = FIELD_64(queue_used_lo),
    [VVT_REG_QUEUE_ENABLE] = FIELD(queue_enable),
};

static const Field msix_config = FIELD(msix_config);
static const Field queue_notify_off = FIELD(queue_notify_off);

static const Field mmio_fields[VVT_REG_NUM] = {
    [VVT_REG_FEATURE_SELECT] = { QVIRTIO_MMIO_GUEST_FEATURES_SEL, 4 },
    [VVT_REG_FEATURE] = { QVIRTIO_MMIO_GUEST_FEATURES, 4 },
    [VVT_REG_STATUS] = { QVIRTIO_MMIO_DEVICE_STATUS, 4 },
    [VVT_REG_QUEUE_SELECT] = { QVIRTIO_MMIO_QUEUE_SEL, 4 },
    [VVT_REG_QUEUE_SIZE] = { QVIRTIO_MMIO_QUEUE_NUM, 4 },
    [VVT_REG_QUEUE_DESC] = { MMIO_QUEUE_DESC, 8 },
    [VVT_REG_QUEUE_AVAIL] = { MMIO_QUEUE_AVAIL, 8 },
    [VVT_REG_QUEUE_USED] = { MMIO_QUEUE_USED, 8 },
    [VVT_REG_QUEUE_ENABLE] = { MMIO_QUEUE_READY, 4 },
};

/* --- A queue of a modern virtio-mmio device ------------------------------- */

static void mmio_write_64(QVirtioMMIODevice *dev, uint32_t at, uint64_t value)
{
    qtest_writel(dev->qts, dev->addr + at, value);
    qtest_writel(dev->qts, dev->addr + at + 4, value >> 32);
}

/* Without a look at QUEUE_PFN, a legacy register. */
static void mmio_queue_select(QVirtioDevice *d, uint16_t index)
{
    QVirtioMMIODevice *dev = container_of(d, QVirtioMMIODevice, vdev);

    qtest_writel(dev->qts, dev->addr + QVIRTIO_MMIO_QUEUE_SEL, index);
}

static QVirtQueue *mmio_virtqueue_setup(QVirtioDevice *d,
                                        QGuestAllocator *alloc,
                                        uint16_t index)
{
    QVirtioMMIODevice *dev = container_of(d, QVirtioMMIODevice, vdev);
    QVirtQueue *vq = g_new0(QVirtQueue, 1);

    d->bus->queue_select(d, index);
    vq->vdev = d;
    vq->index = index;
    vq->size = MIN(d->bus->get_queue_size(d), MMIO_QUEUE_SIZE);
    vq->num_free = vq->size;
    vq->align = PAGE_SIZE;
    vq->indirect = d->features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
    vq->event = d->features & (1ull << VIRTIO_RING_F_EVENT_IDX);
    qvring_init(dev->qts, alloc, vq,
                guest_alloc(alloc, qvring_size(vq->size, PAGE_SIZE)));

    qtest_writel(dev->qts, dev->addr + QVIRTIO_MMIO_QUEUE_NUM, vq->size);
    mmio_write_64(dev, MMIO_QUEUE_DESC, vq->desc);
    mmio_write_64(dev, MMIO_QUEUE_AVAIL, vq->avail);
    mmio_write_64(dev, MMIO_QUEUE_USED, vq->used);
    qtest_writel(dev->qts, dev->addr + MMIO_QUEUE_READY, 1);
    return vq;
}

static const QVirtioBus *mmio_bus(void)
{
    static QVirtioBus bus;

    if (!bus.virtqueue_setup) {
        bus = qvirtio_mmio;
        bus.queue_select = mmio_queue_select;
        bus.set_queue_address = NULL;
        bus.virtqueue_setup = mmio_virtqueue_setup;
    }
    return &bus;
}

/* --- The machine ---------------------------------------------------------- */

VvtMachine *vvt_machine_new(const VvtConfig *config, QTestState *qts)
{
    VvtMachine *machine = g_new0(VvtMachine, 1);

    machine->type = config->machine;
    machine->qts = qts;
    switch (machine->type->kind) {
    case VVT_MACHINE_PC:
        pc_alloc_init(&machine->alloc, qts, ALLOC_NO_FLAGS);
        machine->bus = qpci_new_pc(qts, &machine->alloc);
        break;
    case VVT_MACHINE_MICROVM:
        pc_alloc_init(&machine->alloc, qts, ALLOC_NO_FLAGS);
        break;
    case VVT_MACHINE_PSERIES:
        spapr_alloc_init(&machine->alloc, qts, ALLOC_NO_FLAGS);
        machine->bus = qpci_new_spapr(qts, &machine->alloc);
        break;
    default:
        g_assert_not_reached();
    }
    return machine;
}

void vvt_machine_free(VvtMachine *machine)
{
    vvt_machine_lose_device(machine);
    if (machine->type->kind == VVT_MACHINE_PSERIES) {
        qpci_free_spapr(machine->bus);
    } else {
        qpci_free_pc(machine->bus);
    }
    alloc_destroy(&machine->alloc);
    g_free(machine);
}

const VvtMachineType *vvt_machine_type(const VvtMachine *machine)
{
    return machine->type;
}

QGuestAllocator *vvt_machine_alloc(VvtMachine *machine)
{
    return &machine->alloc;
}

void vvt_machine_set_qts(VvtMachine *machine, QTestState *qts)
{
    machine->qts = qts;
    machine->mmio.qts = qts;
    if (machine->bus) {
        machine->bus->qts = qts;
    }
}

QVirtioDevice *vvt_machine_find_device(VvtMachine *machine)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(VVT_PCI_SLOT, 0) };

    if (!machine->bus) {
        qvirtio_mmio_init_device(&machine->mmio, machine->qts, MMIO_BASE,
                                 PAGE_SIZE);
        machine->mmio.vdev.bus = mmio_bus();
        return &machine->mmio.vdev;
    }
    machine->pci = virtio_pci_new(machine->bus, &addr);
    g_assert_nonnull(machine->pci);
    qvirtio_pci_device_enable(machine->pci);
    return &machine->pci->vdev;
}

void vvt_machine_lose_device(VvtMachine *machine)
{
    if (machine->pci) {
        g_free(machine->pci->pdev);
        g_clear_pointer(&machine->pci, g_free);
    }
}

void vvt_machine_unplug(VvtMachine *machine, const char *id)
{
    g_assert_true(machine->type->can_unplug);
    qpci_unplug_acpi_device_test(machine->qts, id, VVT_PCI_SLOT);
    vvt_machine_lose_device(machine);
}

/* --- Registers ------------------------------------------------------------ */

uint64_t vvt_machine_registers(VvtMachine *machine)
{
    if (!machine->bus) {
        return machine->mmio.addr;
    }
    return machine->pci->bar.addr + machine->pci->common_cfg_offset +
           (machine->type->kind == VVT_MACHINE_PSERIES ? SPAPR_PCI_WINDOW : 0);
}

void vvt_machine_poke(VvtMachine *machine, uint64_t at, unsigned size,
                      uint32_t value)
{
    QVirtioPCIDevice *dev = machine->pci;
    uint8_t byte = value;
    uint16_t word = value;

    switch (size) {
    case 1:
        if (dev) {
            qpci_io_writeb(dev->pdev, dev->bar, at, byte);
        } else {
            qtest_writeb(machine->qts, machine->mmio.addr + at, byte);
        }
        break;
    case 2:
        if (dev) {
            qpci_io_writew(dev->pdev, dev->bar, at, word);
        } else {
            qtest_writew(machine->qts, machine->mmio.addr + at, word);
        }
        break;
    case 4:
        if (dev) {
            qpci_io_writel(dev->pdev, dev->bar, at, value);
        } else {
            qtest_writel(machine->qts, machine->mmio.addr + at, value);
        }
        break;
    default:
        g_assert_not_reached();
    }
}

uint32_t vvt_machine_peek(VvtMachine *machine, uint64_t at)
{
    QVirtioPCIDevice *dev = machine->pci;

    return dev ? qpci_io_readl(dev->pdev, dev->bar, at) :
                 qtest_readl(machine->qts, machine->mmio.addr + at);
}

void vvt_machine_write(VvtMachine *machine, VvtReg reg, uint64_t value)
{
    QVirtioPCIDevice *dev = machine->pci;
    const Field *field = dev ? &pci_fields[reg] : &mmio_fields[reg];
    uint64_t at = field->offset + (dev ? dev->common_cfg_offset : 0);

    if (field->size == 8) {
        vvt_machine_poke(machine, at + 4, 4, value >> 32);
    }
    vvt_machine_poke(machine, at, MIN(field->size, 4), value);
}

void vvt_machine_kick(VvtMachine *machine, unsigned queue)
{
    QVirtioPCIDevice *dev = machine->pci;
    uint16_t off;

    if (!dev) {
        vvt_machine_poke(machine, QVIRTIO_MMIO_QUEUE_NOTIFY, 4, queue);
        return;
    }
    vvt_machine_write(machine, VVT_REG_QUEUE_SELECT, queue);
    off = qpci_io_readw(dev->pdev, dev->bar, dev->common_cfg_offset +
                        queue_notify_off.offset);
    vvt_machine_poke(machine, dev->notify_cfg_offset +
                     off * dev->notify_off_multiplier, 2, queue);
}

void vvt_machine_use_msi(VvtMachine *machine)
{
    QVirtioPCIDevice *dev = machine->pci;
    QPCIDevice *pdev = dev->pdev;
    const uint32_t entry[] = { MSI_ADDR, 0, MSI_VECTOR, 0 };
    size_t i;

    if (!pdev->msix_enabled) {
        qpci_msix_enable(pdev);
    }
    for (i = 0; i < G_N_ELEMENTS(entry); i++) {
        qpci_io_writel(pdev, pdev->msix_table_bar,
                       pdev->msix_table_off + i * sizeof(*entry), entry[i]);
    }
    vvt_machine_poke(machine, dev->common_cfg_offset + msix_config.offset,
                     msix_config.size, 0);
}

bool vvt_machine_config_interrupt(VvtMachine *machine)
{
    QVirtioPCIDevice *dev = machine->pci;
    bool came;

    if (dev) { /* reading it is the acknowledgement */
        return qpci_io_readb(dev->pdev, dev->bar, dev->isr_cfg_offset) &
               ISR_CONFIG;
    }
    came = vvt_machine_peek(machine, QVIRTIO_MMIO_INTERRUPT_STATUS) &
           ISR_CONFIG;
    if (came) {
        vvt_machine_poke(machine, QVIRTIO_MMIO_INTERRUPT_ACK, 4, ISR_CONFIG);
    }
    return came;
}
