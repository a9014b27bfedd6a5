/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's side: a virtio socket driver over libqos.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vhost-vsock-case.h"
#include "vhost-vsock-driver.h"

#define NAP_US 2000

#define BIOS_SIZE 65536 /* bytes; the machine wants a multiple of it */
#define RESET_VECTOR 0xfff0

static const uint8_t bios_code[] = {
    0xfa,       /* cli */
    0xf4,       /* hlt */
    0xeb, 0xfd, /* jmp back to the hlt, should it wake up */
};

/* Features this driver can cope with. */
#define KNOWN_FEATURES (1ull << VIRTIO_F_VERSION_1 |             \
                        1ull << VIRTIO_RING_F_INDIRECT_DESC |    \
                        1ull << VIRTIO_RING_F_EVENT_IDX |        \
                        1ull << VIRTIO_F_RING_PACKED | /* if asked for */ \
                        7ull /* all of virtio-vsock's own */)

struct VvtDriver {
    const VvtConfig *config;
    uint64_t guest_cid;
    char *dir;
    VvtTrace trace;
    void *trace_opaque;
    QTestState *qts;
    VvtMachine *machine;
    QVirtioDevice *vdev; /* NULL: unplugged */
    bool open;
    VvtRing *ring[VVT_QUEUES];
    GQueue rx_idle;      /* VvtChain, ours to offer */
    bool rx_hold;
    uint64_t raw_ram;    /* see vvt_driver_raw_ram(); 0: not needed yet */
    GQueue received;     /* VvtPacket */
    GArray *events;      /* uint32_t */
    GQueue tx_waiting;   /* VvtChain, for want of descriptors */
    unsigned tx_awaited;
    unsigned tx_lost;    /* offered chains that may never come back */
    VvtFlows *flows;
    char *error;
};

void vvt_packet_free(VvtPacket *packet)
{
    g_bytes_unref(packet->payload);
    g_free(packet);
}

/*
 * No CPU runs under qtest, but the machine wants firmware to load.  This needs
 * none to be installed, and halts a CPU that does run.
 */
static char *make_bios(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "bios", NULL);
    g_autofree char *image = g_malloc0(BIOS_SIZE);
    g_autoptr(GError) error = NULL;

    memcpy(image + RESET_VECTOR, bios_code, sizeof(bios_code));
    g_file_set_contents(path, image, BIOS_SIZE, &error);
    g_assert_no_error(error);
    return g_steal_pointer(&path);
}

static void start_qemu(VvtDriver *driver, const char *more)
{
    g_autofree char *bios = make_bios(driver->dir);
    g_autofree char *args = vvt_config_qemu_args(driver->config,
                                                 driver->guest_cid,
                                                 driver->dir);
    g_autofree char *all = g_strdup_printf("-bios %s %s %s", bios, args,
                                            more);

    driver->qts = qtest_init(all);
    vvt_case_qemu_runs();
}

VvtDriver *vvt_driver_new(const VvtConfig *config, uint64_t guest_cid,
                          const char *dir, VvtTrace trace, void *opaque)
{
    VvtDriver *driver = g_new0(VvtDriver, 1);

    driver->config = config;
    driver->guest_cid = guest_cid;
    driver->dir = g_strdup(dir);
    driver->trace = trace;
    driver->trace_opaque = opaque;
    driver->flows = vvt_flows_new();
    driver->events = g_array_new(false, false, sizeof(uint32_t));
    g_queue_init(&driver->rx_idle);
    g_queue_init(&driver->received);
    g_queue_init(&driver->tx_waiting);

    start_qemu(driver, "");
    driver->machine = vvt_machine_new(config, driver->qts);
    driver->vdev = vvt_machine_find_device(driver->machine);
    return driver;
}

static void drop_received(VvtDriver *driver)
{
    VvtPacket *packet;

    while ((packet = g_queue_pop_head(&driver->received))) {
        vvt_packet_free(packet);
    }
}

void vvt_driver_free(VvtDriver *driver)
{
    vvt_driver_close(driver);
    vvt_case_qemu_may_exit(true);
    qtest_quit(driver->qts);
    vvt_flows_free(driver->flows);
    g_array_unref(driver->events);
    drop_received(driver);
    vvt_machine_free(driver->machine);
    g_free(driver->dir);
    g_free(driver->error);
    g_free(driver);
}

QTestState *vvt_driver_qts(VvtDriver *driver)
{
    return driver->qts;
}

VvtFlows *vvt_driver_flows(VvtDriver *driver)
{
    return driver->flows;
}

uint64_t vvt_driver_config_cid(VvtDriver *driver)
{
    return qvirtio_config_readq(driver->vdev, 0);
}

uint64_t vvt_driver_offered(VvtDriver *driver)
{
    return qvirtio_get_features(driver->vdev);
}

bool vvt_driver_is_open(const VvtDriver *driver)
{
    return driver->open;
}

const char *vvt_driver_error(const VvtDriver *driver)
{
    return driver->error;
}

GQueue *vvt_driver_received(VvtDriver *driver)
{
    return &driver->received;
}

GArray *vvt_driver_events(VvtDriver *driver)
{
    return driver->events;
}

VvtMachine *vvt_driver_machine(VvtDriver *driver)
{
    return driver->machine;
}

QVirtioDevice *vvt_driver_vdev(VvtDriver *driver)
{
    return driver->vdev;
}

VvtRing *vvt_driver_ring(VvtDriver *driver, unsigned queue)
{
    return driver->open ? driver->ring[queue] : NULL;
}

const QVirtQueue *vvt_driver_queue(VvtDriver *driver, unsigned queue)
{
    VvtRing *ring = vvt_driver_ring(driver, queue);

    return ring ? vvt_ring_queue(ring) : NULL;
}

uint64_t vvt_driver_raw_ram(VvtDriver *driver)
{
    if (!driver->raw_ram) {
        driver->raw_ram = guest_alloc(vvt_machine_alloc(driver->machine),
                                      VVT_RAW_RAM);
    }
    return driver->raw_ram;
}

static void offer_events(VvtDriver *driver, unsigned count)
{
    const uint32_t size = sizeof(struct virtio_vsock_event);
    unsigned i;

    for (i = 0; i < count; i++) {
        VvtChain *chain = vvt_chain_new(driver->ring[VVT_EVENT], &size, 1,
                                        true);

        if (!vvt_ring_offer(driver->ring[VVT_EVENT], chain)) {
            vvt_chain_free(driver->ring[VVT_EVENT], chain);
        }
    }
    if (count > 0) {
        vvt_ring_kick(driver->ring[VVT_EVENT]);
    }
}

static void offer_idle_rx(VvtDriver *driver)
{
    bool any = false;

    while (!driver->rx_hold && !g_queue_is_empty(&driver->rx_idle)) {
        VvtChain *chain = g_queue_peek_head(&driver->rx_idle);

        if (!vvt_ring_offer(driver->ring[VVT_RX], chain)) {
            break;
        }
        g_queue_pop_head(&driver->rx_idle);
        any = true;
    }
    if (any) {
        vvt_ring_kick(driver->ring[VVT_RX]);
    }
}

static void negotiate(VvtDriver *driver, uint64_t features, uint32_t omit)
{
    QVirtioDevice *vdev = driver->vdev;

    qvirtio_start_device(vdev);
    features |= 1ull << VIRTIO_F_VERSION_1;
    features &= KNOWN_FEATURES & qvirtio_get_features(vdev);
    if (!(omit & (VVT_OMIT_VERSION_1 | VVT_OMIT_FEATURES_OK))) {
        qvirtio_set_features(vdev, features);
        return;
    }
    if (omit & VVT_OMIT_VERSION_1) {
        features &= ~(1ull << VIRTIO_F_VERSION_1);
    }
    vvt_raw_set_features(driver, features);
    if (!(omit & VVT_OMIT_FEATURES_OK)) {
        vvt_raw_set_status(driver, vvt_raw_status(driver) |
                           VIRTIO_CONFIG_S_FEATURES_OK);
    }
    vdev->features = features;
    vdev->features_negotiated = true; /* as far as libqos is to know */
}

void vvt_driver_open(VvtDriver *driver, uint64_t features, uint32_t omit,
                     unsigned event_chains)
{
    const uint32_t rx_layout[] = { VVT_HDR_SIZE, VVT_RX_PAYLOAD };
    QVirtioDevice *vdev = driver->vdev;
    unsigned i;

    g_assert_false(driver->open);
    negotiate(driver, features, omit);
    for (i = 0; i < VVT_QUEUES; i++) {
        /* The same for all QEMUs: some offer 1024. */
        vvt_raw_set_queue(driver, i, VVT_QUEUE_SIZE, VVT_RING_SIZE);
        driver->ring[i] = vvt_ring_new(driver->qts, vdev,
                                       vvt_machine_alloc(driver->machine), i);
    }
    for (i = 0; i < VVT_RX_CHAINS; i++) {
        g_queue_push_tail(&driver->rx_idle,
                          vvt_chain_new(driver->ring[VVT_RX], rx_layout,
                                        G_N_ELEMENTS(rx_layout), true));
    }
    if (omit == 0) {
        qvirtio_set_driver_ok(vdev);
    } else if (!(omit & VVT_OMIT_DRIVER_OK)) {
        vvt_raw_set_status(driver, vvt_raw_status(driver) |
                           VIRTIO_CONFIG_S_DRIVER_OK);
    }
    driver->open = true;
    for (i = 0; i < VVT_QUEUES; i++) {
        if (vdev->features & 1ull << VIRTIO_F_RING_PACKED) {
            vvt_ring_set_raw(driver->ring[i]); /* our rings are split ones */
        }
    }
    offer_events(driver, event_chains);
    offer_idle_rx(driver);
}

void vvt_driver_close(VvtDriver *driver)
{
    if (driver->open) {
        qvirtio_reset(driver->vdev);
        vvt_driver_drop(driver);
    }
}

void vvt_driver_drop(VvtDriver *driver)
{
    VvtChain *chain;
    unsigned i;

    if (!driver->open) {
        return;
    }
    while ((chain = g_queue_pop_head(&driver->rx_idle))) {
        vvt_chain_free(driver->ring[VVT_RX], chain);
    }
    while ((chain = g_queue_pop_head(&driver->tx_waiting))) {
        vvt_chain_free(driver->ring[VVT_TX], chain);
    }
    for (i = 0; i < VVT_QUEUES; i++) {
        g_clear_pointer(&driver->ring[i], vvt_ring_free);
    }
    drop_received(driver);
    g_array_set_size(driver->events, 0);
    vvt_flows_clear(driver->flows);
    driver->tx_awaited = 0;
    driver->tx_lost = 0;
    driver->open = false;
}

/* False: QEMU refuses, and says why in @ret_why. */
static bool start_migration(QTestState *qts, const char *command,
                            const char *uri, GString *ret_why)
{
    g_autoptr(QDict) answer = qtest_qmp(qts, "{ 'execute': %s,"
                                        " 'arguments': { 'uri': %s } }",
                                        command, uri);
    QDict *error = qdict_haskey(answer, "error") ?
                   qdict_get_qdict(answer, "error") : NULL;

    if (error) {
        g_string_append_printf(ret_why, "QEMU says: %s\n",
                               qdict_get_str(error, "desc"));
    }
    return !error;
}

static void wait_for_status(QTestState *qts, const char *command,
                            const char *wanted)
{
    for (;;) {
        QDict *answer = qtest_qmp(qts, "{ 'execute': %s }", command);
        QDict *ret = qdict_get_qdict(answer, "return");
        const char *status = ret ? qdict_get_try_str(ret, "status") : NULL;
        bool there = status && strcmp(status, wanted) == 0;

        g_assert_cmpstr(status ?: "", !=, "failed");
        qobject_unref(answer);
        if (there) {
            return;
        }
        g_usleep(2000);
    }
}

bool vvt_driver_migrate(VvtDriver *driver, GString *ret_why)
{
    g_autofree char *file = g_build_filename(driver->dir, "guest.state",
                                             NULL);
    g_autofree char *save = g_strdup_printf("exec:cat > %s", file);
    g_autofree char *load = g_strdup_printf("exec:cat %s", file);
    unsigned i;

    if (!start_migration(driver->qts, "migrate", save, ret_why)) {
        return false;
    }
    wait_for_status(driver->qts, "query-migrate", "completed");
    vvt_case_qemu_may_exit(true);
    qtest_quit(driver->qts);
    vvt_case_qemu_may_exit(false);

    start_qemu(driver, "-incoming defer");
    if (!start_migration(driver->qts, "migrate-incoming", load, ret_why)) {
        return false;
    }
    wait_for_status(driver->qts, "query-status", "running");
    vvt_machine_set_qts(driver->machine, driver->qts);
    for (i = 0; driver->open && i < VVT_QUEUES; i++) {
        vvt_ring_set_qts(driver->ring[i], driver->qts);
    }
    return true;
}

void vvt_driver_unplug(VvtDriver *driver)
{
    vvt_driver_drop(driver);
    vvt_machine_unplug(driver->machine, "vsock0");
    driver->vdev = NULL;
}

/*
 * What the device that is gone has used may be in use still, until RCU has let
 * go of it.
 */
void vvt_driver_plug(VvtDriver *driver)
{
    g_autofree char *device = vvt_config_device(driver->config,
                                                driver->guest_cid,
                                                driver->dir);
    gint64 end = g_get_monotonic_time() + driver->config->patience_ms * 1000;

    for (;;) {
        g_autofree char *answer = qtest_hmp(driver->qts, "device_add %s",
                                            device);

        fprintf(stderr, "device_add: %s\n", answer);
        if (!strstr(answer, "in use") || g_get_monotonic_time() >= end) {
            break;
        }
        g_usleep(NAP_US);
    }
    driver->vdev = vvt_machine_find_device(driver->machine);
}

void vvt_driver_system_reset(VvtDriver *driver)
{
    vvt_driver_drop(driver);
    qtest_qmp_assert_success(driver->qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(driver->qts, "RESET");
    vvt_machine_lose_device(driver->machine);
    driver->vdev = vvt_machine_find_device(driver->machine);
}

/* --- Transmit ------------------------------------------------------------- */

static bool is_drain(const VvtHdr *hdr)
{
    return hdr->field[VVT_SRC_PORT] == VVT_DRAIN_PORT &&
           hdr->field[VVT_DST_PORT] == VVT_DRAIN_PORT;
}

static void tell_trace(VvtDriver *driver, bool to_guest, const VvtHdr *hdr,
                       const char *note)
{
    if (!is_drain(hdr)) {
        driver->trace(driver->trace_opaque, to_guest, hdr, note);
    }
}

/* How many bytes go into each descriptor. */
static GArray *lay_out(const VvtTx *tx, size_t total, GString *ret_why)
{
    g_autoptr(GArray) layout = g_array_new(false, false, sizeof(uint32_t));
    size_t left = total;
    unsigned i;

    for (i = 0; i < tx->n_split; i++) {
        if (tx->split[i] > left) {
            g_string_append_printf(ret_why, "\"split\" is for more than the "
                                   "%zu bytes there are", total);
            return NULL;
        }
        g_array_append_val(layout, tx->split[i]);
        left -= tx->split[i];
    }
    while (left > 0) {
        uint32_t n = MIN(left, tx->each ?: left);

        g_array_append_val(layout, n);
        left -= n;
    }
    if (layout->len == 0) {
        uint32_t none = 0;

        g_array_append_val(layout, none);
    }
    return g_steal_pointer(&layout);
}

static bool is_lost(const VvtChain *chain)
{
    return chain->fault != VVT_FAULT_NONE && !chain->wait;
}

static bool offer_tx(VvtDriver *driver, VvtChain *chain)
{
    if (!vvt_ring_offer(driver->ring[VVT_TX], chain)) {
        return false;
    }
    driver->tx_lost += is_lost(chain);
    if (!chain->quiet) {
        vvt_ring_kick(driver->ring[VVT_TX]);
    }
    return true;
}

bool vvt_driver_send(VvtDriver *driver, const VvtTx *tx, GString *ret_why)
{
    size_t total = tx->truncate >= 0 ? tx->truncate :
                   VVT_HDR_SIZE + tx->payload_len;
    g_autofree uint8_t *bytes = g_malloc0(MAX(total, VVT_HDR_SIZE +
                                              tx->payload_len));
    g_autoptr(GArray) layout = lay_out(tx, total, ret_why);
    VvtChain *chain;

    if (!layout) {
        return false;
    }
    vvt_hdr_encode(&tx->hdr, bytes);
    if (tx->payload_len > 0) {
        memcpy(bytes + VVT_HDR_SIZE, tx->payload, tx->payload_len);
    }
    chain = vvt_chain_new(driver->ring[VVT_TX], (uint32_t *)layout->data,
                          layout->len, false);
    chain->indirect = tx->indirect;
    chain->fault = tx->fault;
    chain->wait = tx->wait;
    chain->quiet = tx->quiet;
    if (vvt_ring_needs(chain) > vvt_ring_size(driver->ring[VVT_TX])) {
        g_string_append_printf(ret_why, "%u descriptors do not fit a ring of "
                               "%u", vvt_ring_needs(chain),
                               vvt_ring_size(driver->ring[VVT_TX]));
        vvt_chain_free(driver->ring[VVT_TX], chain);
        return false;
    }
    driver->tx_awaited += tx->wait;
    vvt_chain_write(driver->ring[VVT_TX], chain, bytes, total);
    vvt_flows_sent(driver->flows, &tx->hdr);
    tell_trace(driver, false, &tx->hdr,
               tx->fault ? "laid out wrongly" :
               total != VVT_HDR_SIZE + tx->hdr.field[VVT_LEN] ?
               "len is not what the chain holds" : NULL);
    if (!g_queue_is_empty(&driver->tx_waiting) ||
        !offer_tx(driver, chain)) {
        g_queue_push_tail(&driver->tx_waiting, chain);
    }
    return true;
}

unsigned vvt_driver_tx_awaited(const VvtDriver *driver)
{
    return driver->tx_awaited;
}

unsigned vvt_driver_tx_pending(const VvtDriver *driver)
{
    return !driver->open ? 0 : driver->tx_waiting.length +
           vvt_ring_outstanding(driver->ring[VVT_TX]) - driver->tx_lost;
}

static void pump_tx(VvtDriver *driver)
{
    uint32_t written;
    VvtChain *chain;

    while ((chain = vvt_ring_take_used(driver->ring[VVT_TX], &written))) {
        driver->tx_lost -= is_lost(chain);
        driver->tx_awaited -= chain->wait;
        vvt_chain_free(driver->ring[VVT_TX], chain);
    }
    while ((chain = g_queue_peek_head(&driver->tx_waiting)) &&
           offer_tx(driver, chain)) {
        g_queue_pop_head(&driver->tx_waiting);
    }
}

/* --- Receive -------------------------------------------------------------- */

void vvt_driver_rx_hold(VvtDriver *driver)
{
    driver->rx_hold = true;
}

void vvt_driver_rx_release(VvtDriver *driver)
{
    driver->rx_hold = false;
    if (driver->open) {
        offer_idle_rx(driver);
    }
}

unsigned vvt_driver_rx_outstanding(const VvtDriver *driver)
{
    return driver->open ? vvt_ring_outstanding(driver->ring[VVT_RX]) : 0;
}

void vvt_driver_rx_drain_one(VvtDriver *driver, uint16_t op)
{
    g_autoptr(GString) why = g_string_new(NULL);
    VvtTx tx = { .truncate = -1 };

    tx.hdr.field[VVT_SRC_CID] = driver->guest_cid;
    tx.hdr.field[VVT_DST_CID] = VVT_HOST_CID;
    tx.hdr.field[VVT_SRC_PORT] = VVT_DRAIN_PORT;
    tx.hdr.field[VVT_DST_PORT] = VVT_DRAIN_PORT;
    tx.hdr.field[VVT_TYPE] = VIRTIO_VSOCK_TYPE_STREAM;
    tx.hdr.field[VVT_OP] = op;
    tx.hdr.field[VVT_BUF_ALLOC] = VVT_GUEST_BUFFER;
    vvt_driver_send(driver, &tx, why);
}

bool vvt_driver_rx_offer(VvtDriver *driver, const uint32_t *len, unsigned n,
                         bool indirect, int64_t used, bool kick)
{
    VvtChain *chain = vvt_chain_new(driver->ring[VVT_RX], len, n, true);

    chain->once = true;
    chain->indirect = indirect;
    chain->want_used = used;
    if (!vvt_ring_offer(driver->ring[VVT_RX], chain)) {
        vvt_chain_free(driver->ring[VVT_RX], chain);
        return false;
    }
    if (kick) {
        vvt_ring_kick(driver->ring[VVT_RX]);
    }
    return true;
}

/* Make a packet of what the device wrote into @chain. */
static void take_packet(VvtDriver *driver, VvtChain *chain, uint32_t written)
{
    g_autofree uint8_t *bytes = g_malloc(MAX(written, 1));
    VvtPacket *packet;

    if (chain->want_used >= 0 && chain->want_used != written) {
        driver->error = g_strdup_printf("the device says it wrote %u bytes "
                                        "into an RX chain, %" PRId64
                                        " expected", written,
                                        chain->want_used);
        return;
    }
    if (written < VVT_HDR_SIZE) {
        if (chain->want_used < 0) {
            driver->error = g_strdup_printf("the device returned an RX chain "
                                            "with %u bytes, less than a "
                                            "header", written);
        }
        return;
    }
    vvt_chain_read(driver->ring[VVT_RX], chain, bytes, written);
    packet = g_new0(VvtPacket, 1);
    vvt_hdr_decode(bytes, &packet->hdr);
    packet->payload = g_bytes_new(bytes + VVT_HDR_SIZE,
                                  written - VVT_HDR_SIZE);
    tell_trace(driver, true, &packet->hdr, NULL);
    if (packet->hdr.field[VVT_LEN] != written - VVT_HDR_SIZE) {
        driver->error = g_strdup_printf("the packet says it has %" PRIu64
                                        " bytes of payload, but %zu came",
                                        packet->hdr.field[VVT_LEN],
                                        written - VVT_HDR_SIZE);
    }
    vvt_flows_received(driver->flows, &packet->hdr);
    if (is_drain(&packet->hdr)) {
        vvt_packet_free(packet);
    } else {
        g_queue_push_tail(&driver->received, packet);
    }
}

static void pump_rx(VvtDriver *driver)
{
    uint32_t written;
    VvtChain *chain;

    while (!driver->error &&
           (chain = vvt_ring_take_used(driver->ring[VVT_RX], &written))) {
        if (!vvt_ring_error(driver->ring[VVT_RX])) {
            take_packet(driver, chain, written);
        }
        if (chain->once) {
            vvt_chain_free(driver->ring[VVT_RX], chain);
        } else {
            g_queue_push_tail(&driver->rx_idle, chain);
        }
    }
    offer_idle_rx(driver);
}

static void pump_events(VvtDriver *driver)
{
    VvtRing *ring = driver->ring[VVT_EVENT];
    uint32_t written;
    VvtChain *chain;

    while ((chain = vvt_ring_take_used(ring, &written))) {
        uint32_t id = 0;

        if (written != sizeof(id)) {
            driver->error = g_strdup_printf("an event of %u bytes", written);
        }
        vvt_chain_read(ring, chain, (uint8_t *)&id, sizeof(id));
        id = le32_to_cpu(id);
        g_array_append_val(driver->events, id);
        if (vvt_ring_offer(ring, chain)) {
            vvt_ring_kick(ring);
        } else {
            vvt_chain_free(ring, chain); /* a script's ring now */
        }
    }
}

bool vvt_driver_pump(VvtDriver *driver)
{
    unsigned i;

    if (!driver->open) {
        return true;
    }
    pump_tx(driver);
    pump_rx(driver);
    pump_events(driver);
    for (i = 0; i < VVT_QUEUES && !driver->error; i++) {
        if (vvt_ring_error(driver->ring[i])) {
            driver->error = g_strdup(vvt_ring_error(driver->ring[i]));
        }
    }
    return !driver->error;
}
