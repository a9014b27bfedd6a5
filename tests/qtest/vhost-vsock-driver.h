/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's side: a virtio socket driver over libqos that does what a
 * script tells it, and remembers what crossed the rings.
 *
 * Nothing here waits.  vvt_driver_pump() moves what can be moved; who wants
 * to wait calls it in a loop.
 */

#ifndef VHOST_VSOCK_DRIVER_H
#define VHOST_VSOCK_DRIVER_H

#include "vhost-vsock-config.h"
#include "vhost-vsock-flow.h"
#include "vhost-vsock-machine.h"
#include "vhost-vsock-raw.h"
#include "vhost-vsock-ring.h"

/* The queues, by their index. */
enum { VVT_RX, VVT_TX, VVT_EVENT, VVT_QUEUES };

/* RX buffers kept offered, and how each is laid out: as Linux did long. */
#define VVT_RX_CHAINS 32
#define VVT_RX_PAYLOAD 4096 /* bytes */

/* Buffer the guest claims to have for a flow, unless a script says other. */
#define VVT_GUEST_BUFFER 262144 /* bytes */

/*
 * Both ports of the packets that use up RX buffers for rx-hold; packets
 * between them are the driver's own business and shown to no script.
 */
#define VVT_DRAIN_PORT 0xfffffffeu

typedef struct VvtPacket {
    VvtHdr hdr;
    GBytes *payload;
} VvtPacket;

void vvt_packet_free(VvtPacket *packet);

/* One packet to transmit. */
typedef struct VvtTx {
    VvtHdr hdr;
    const uint8_t *payload;
    size_t payload_len;      /* bytes really there; hdr may lie */
    const uint32_t *split;   /* bytes in each descriptor; the rest follows */
    unsigned n_split;
    uint32_t each;           /* bytes in every descriptor, if not 0 */
    int64_t truncate;        /* bytes in the chain, if not -1 */
    bool indirect;
    VvtFault fault;
    bool wait;               /* count it in vvt_driver_tx_awaited() */
    bool quiet;              /* do not notify the device of it */
} VvtTx;

typedef void (*VvtTrace)(void *opaque, bool to_guest, const VvtHdr *hdr,
                         const char *note);

/* Steps of the initialization that vvt_driver_open() can leave out. */
typedef enum VvtOmit {
    VVT_OMIT_VERSION_1 = 1 << 0,
    VVT_OMIT_FEATURES_OK = 1 << 1,
    VVT_OMIT_DRIVER_OK = 1 << 2,
} VvtOmit;

/* Event buffers offered, unless a script says other. */
#define VVT_EVENT_CHAINS 4

/*
 * Start QEMU with the device.  @trace is called for each packet; @note says
 * what is unusual about it, or is NULL.
 */
VvtDriver *vvt_driver_new(const VvtConfig *config, uint64_t guest_cid,
                          const char *dir, VvtTrace trace, void *opaque);

/* End QEMU; it must exit cleanly. */
void vvt_driver_free(VvtDriver *driver);

QTestState *vvt_driver_qts(VvtDriver *driver);
VvtFlows *vvt_driver_flows(VvtDriver *driver);
uint64_t vvt_driver_config_cid(VvtDriver *driver);
uint64_t vvt_driver_offered(VvtDriver *driver);

/*
 * Start the device with @features, as far as it offers them, and VERSION_1,
 * without what is in @omit (of VvtOmit); or reset it.
 */
void vvt_driver_open(VvtDriver *driver, uint64_t features, uint32_t omit,
                     unsigned event_chains);
void vvt_driver_close(VvtDriver *driver);
/* Forget the device's driver, which does not tell the device. */
void vvt_driver_drop(VvtDriver *driver);

/* The same, as the device is unplugged, or the machine reset. */
void vvt_driver_unplug(VvtDriver *driver);
void vvt_driver_system_reset(VvtDriver *driver);

/* Plug the device in again. */
void vvt_driver_plug(VvtDriver *driver);

bool vvt_driver_is_open(const VvtDriver *driver);

/*
 * Save the guest to a file in @dir, end this QEMU, and go on in a new one.
 * False: QEMU refuses, and @ret_why says what it says.
 */
bool vvt_driver_migrate(VvtDriver *driver, GString *ret_why);

/* Queue @tx; false: the split does not suit it, which @ret_why says. */
bool vvt_driver_send(VvtDriver *driver, const VvtTx *tx, GString *ret_why);

/* Packets with the device, or queued, that were sent with @wait. */
unsigned vvt_driver_tx_awaited(const VvtDriver *driver);

/* All packets queued or with the device, but faulty ones without @wait. */
unsigned vvt_driver_tx_pending(const VvtDriver *driver);

/* Packets received, oldest first; elements may be taken out. */
GQueue *vvt_driver_received(VvtDriver *driver);

/* Ids of events received, oldest first. */
GArray *vvt_driver_events(VvtDriver *driver);

/* No RX buffer is offered again; those that are there stay. */
void vvt_driver_rx_hold(VvtDriver *driver);
void vvt_driver_rx_release(VvtDriver *driver);
unsigned vvt_driver_rx_outstanding(const VvtDriver *driver);

/*
 * Make the device use up one RX buffer: send it a packet between the ports
 * VVT_DRAIN_PORT.  Credit updates of no flow must be refused; requests for a
 * connection, and for credit in it, be answered.
 */
void vvt_driver_rx_drain_one(VvtDriver *driver, uint16_t op);

/*
 * Offer one RX chain of the given layout, once.  @used: bytes the device must
 * say it wrote, or -1.  False: no descriptors left.
 */
bool vvt_driver_rx_offer(VvtDriver *driver, const uint32_t *len, unsigned n,
                         bool indirect, int64_t used, bool kick);

/* --- For scripts that do it all by themselves ----------------------------- */

VvtMachine *vvt_driver_machine(VvtDriver *driver);
QVirtioDevice *vvt_driver_vdev(VvtDriver *driver);

/* NULL: the device is closed. */
VvtRing *vvt_driver_ring(VvtDriver *driver, unsigned queue);
const QVirtQueue *vvt_driver_queue(VvtDriver *driver, unsigned queue);

/* Guest memory for VVT_PLACE_RAM. */
uint64_t vvt_driver_raw_ram(VvtDriver *driver);

/*
 * Move what can be moved.  False: the device broke a rule of the rings, which
 * vvt_driver_error() tells.
 */
bool vvt_driver_pump(VvtDriver *driver);
const char *vvt_driver_error(const VvtDriver *driver);

#endif /* VHOST_VSOCK_DRIVER_H */
