/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * vhost-vsock-pci: the virtio socket device on a PCI bus.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "hw/virtio/virtio-pci.h"
#include "vhost-vsock-internal.h"

#define TYPE_VHOST_VSOCK_PCI "vhost-vsock-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VHostVSockPCI, VHOST_VSOCK_PCI)

struct VHostVSockPCI {
    VirtIOPCIProxy parent_obj;

    VHostVSock vdev;
};

static VSOCK_PROPERTY vhost_vsock_pci_properties[] = {
    /* One per queue.  The driver polls for configuration changes: none. */
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       VHOST_VSOCK_VQ_NUM),
    /* Off, the emulator works inside the vCPU's notification. */
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    VSOCK_PROPERTY_END
};

static void vhost_vsock_pci_realize(VirtIOPCIProxy *proxy, Error **errp)
{
    VHostVSockPCI *pci = VHOST_VSOCK_PCI(proxy);
    VirtIODevice *vdev = VIRTIO_DEVICE(&pci->vdev);

    /*
     * The socket device came after virtio 0.9, so there is no legacy form of
     * it.  Machine types before 5.1 offered one nevertheless, and
     * guests on them must find what they knew.
     */
    if (!virtio_legacy_check_disabled(vdev)) {
        virtio_pci_force_virtio_1(proxy);
    }

    qdev_realize(DEVICE(vdev), BUS(&proxy->bus), errp);
}

static void vhost_vsock_pci_class_init(ObjectClass *klass,
                                       VSockClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *vpc = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    vpc->realize = vhost_vsock_pci_realize;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, vhost_vsock_pci_properties);
    pc->vendor_id = PCI_VENDOR_ID_REDHAT_QUMRANET;
    pc->device_id = PCI_DEVICE_ID_VIRTIO_VSOCK;
    pc->revision = 0;
    pc->class_id = PCI_CLASS_COMMUNICATION_OTHER;
}

static void vhost_vsock_pci_instance_init(Object *obj)
{
    VHostVSockPCI *pci = VHOST_VSOCK_PCI(obj);

    virtio_instance_init_common(obj, &pci->vdev, sizeof(pci->vdev),
                                TYPE_VHOST_VSOCK);
}

static const VirtioPCIDeviceTypeInfo vhost_vsock_pci_info = {
    .base_name = TYPE_VHOST_VSOCK_PCI,
    .generic_name = "vhost-vsock-pci",
    .non_transitional_name = "vhost-vsock-pci-non-transitional",
    .instance_size = sizeof(VHostVSockPCI),
    .instance_init = vhost_vsock_pci_instance_init,
    .class_init = vhost_vsock_pci_class_init,
};

static void vhost_vsock_pci_register(void)
{
    virtio_pci_types_register(&vhost_vsock_pci_info);
}

type_init(vhost_vsock_pci_register)
