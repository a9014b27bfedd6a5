/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The daemon's vhost-user messages, with all of its VM behind them, but for
 * the thread: a VMM sends what is right, nearly right, or anything, in
 * pieces, with descriptors of any kind, cuts its memory, comes and goes.
 *
 * Afterwards nothing of it is left, no descriptor and no mapping, and a VMM
 * that does all right has a guest whose packet is answered.
 */

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "vmm.h"

#define BIT(n) (1ull << (n))
#define RESET_DEVICE 34
#define PROTOCOL (BIT(0) | BIT(1) | BIT(3) | BIT(9) | BIT(12) | BIT(13) | \
                  BIT(15))
#define MAX_FDS 10
#define VARIANTS 8
#define FD_LIMIT 128 /* no more are open here */

static Vmm vmm;

/* --- What is left -------------------------------------------------------- */

/* Mappings that the daemon has: its mmap() and munmap() come by here. */
static int n_maps;

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __wrap_munmap(void *, size_t);

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd,
                  off_t offset)
{
    void *map = __real_mmap(at, size, prot, flags, fd, offset);

    if (map != MAP_FAILED && !(flags & MAP_FIXED)) {
        n_maps++;
    }
    return map;
}

int __wrap_munmap(void *at, size_t size)
{
    n_maps--;
    CHECK(__real_munmap(at, size) == 0);
    return 0;
}

static unsigned int open_fds(void)
{
    unsigned int n = 0;

    for (int fd = 0; fd < FD_LIMIT; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void check_nothing_left(unsigned int fds, int maps)
{
    const Queues *queues = &vmm.vm->queues;

    CHECK(!vmm.vm->session.active && !vmm.vm->told_ok);
    CHECK(!queues->memory.n && !queues->memory.log && !queues->inflight.map.at);
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        CHECK(!queues->queue[i].vring && !queues->queue[i].started);
    }
    CHECK(open_fds() == fds);
    CHECK(n_maps == maps);
}

/* --- Right messages ------------------------------------------------------ */

typedef struct Message {
    VhostUserMsg msg;
    VmmFd fds[MAX_FDS];
    unsigned int n_fds;
} Message;

static void add_fd(Message *m, VmmFd fd)
{
    m->fds[m->n_fds++] = fd;
}

static VhostUserMemoryRegion region(unsigned int i)
{
    return (VhostUserMemoryRegion) {
        .guest_phys_addr = (uint64_t)i * VMM_REGION_SIZE,
        .memory_size = VMM_REGION_SIZE,
        .userspace_addr = VMM_QVA + i * VMM_QVA_STEP,
        .mmap_offset = (uint64_t)i * VMM_REGION_SIZE,
    };
}

static void make_table(Message *m, unsigned int n)
{
    m->msg.payload.memory.nregions = n;
    for (unsigned int i = 0; i < n; i++) {
        m->msg.payload.memory.regions[i] = region(i);
        add_fd(m, VMM_FD_MEMORY);
    }
    m->msg.size = 8 + n * sizeof(VhostUserMemoryRegion);
}

static void make_ring_address(Message *m, unsigned int queue,
                              unsigned int variant)
{
    static const uint64_t wrong[VARIANTS] = {
        0, 0, 0, 1, 2, 4, VMM_REGION_SIZE - 64, VMM_QVA_STEP / 2,
    };
    uint64_t at = VMM_QVA + VMM_RING(queue) + wrong[variant];

    m->msg.payload.addr = (struct vhost_vring_addr) {
        .index = queue,
        .desc_user_addr = at,
        .avail_user_addr = at + VMM_AVAIL,
        .used_user_addr = at + VMM_USED,
        .log_guest_addr = VMM_RING(queue) + VMM_USED,
    };
    m->msg.size = sizeof(m->msg.payload.addr);
}

static void make_state(Message *m, unsigned int queue, unsigned int num)
{
    m->msg.payload.state = (struct vhost_vring_state) { queue, num };
    m->msg.size = sizeof(m->msg.payload.state);
}

static void make_u64(Message *m, uint64_t value)
{
    m->msg.payload.u64 = value;
    m->msg.size = sizeof(value);
}

static void make_inflight(Message *m)
{
    m->msg.payload.inflight = (VhostUserInflight) {
        .mmap_size = inflight_size(VSK_QUEUE_NUM, VMM_NUM),
        .num_queues = VSK_QUEUE_NUM,
        .queue_size = VMM_NUM,
    };
    m->msg.size = 20;
}

static void make_features(Message *m, unsigned int variant)
{
    static const uint64_t wrong[VARIANTS] = {
        BIT(VHOST_F_LOG_ALL), 0, BIT(VHOST_F_LOG_ALL) | BIT(29), BIT(28),
        BIT(VHOST_F_LOG_ALL) | BIT(VHOST_USER_F_PROTOCOL_FEATURES), BIT(63),
        BIT(VHOST_F_LOG_ALL) | BIT(1), BIT(32),
    };

    make_u64(m, vmm.vm->session.features ^ wrong[variant]);
}

/* For KICK, CALL and ERR. */
static void make_vring_fd(Message *m, unsigned int queue, unsigned int variant)
{
    make_u64(m, queue | (variant >= 6 ? VHOST_USER_VRING_NOFD_MASK : 0));
    if (variant != 6) {
        add_fd(m, VMM_FD_EVENT);
    }
}

/* A message that is about one queue. */
static void make_for_queue(Message *m, unsigned int queue,
                           unsigned int variant)
{
    static const unsigned int sizes[VARIANTS] = {
        VMM_NUM, VMM_NUM, 1, 2, 0, 7, 128, 256,
    };

    switch (m->msg.request) {
    case VHOST_USER_SET_VRING_NUM:
        make_state(m, queue, sizes[variant]);
        break;
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
        make_state(m, queue, 0);
        break;
    case VHOST_USER_SET_VRING_ENABLE:
        make_state(m, queue, 1);
        break;
    case VHOST_USER_SET_VRING_ADDR:
        make_ring_address(m, queue, variant);
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        make_vring_fd(m, queue, variant);
        break;
    }
}

/* A message as it should be if @variant is 0, or nearly. */
static void make(Message *m, int request, unsigned int queue,
                 unsigned int variant)
{
    *m = (Message) { .msg = { .request = request, .flags = 1 } };
    switch (request) {
    case VHOST_USER_SET_FEATURES:
        make_features(m, variant);
        break;
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        make_u64(m, PROTOCOL ^ (variant == 7 ? BIT(2) : 0));
        break;
    case VHOST_USER_SET_MEM_TABLE:
        make_table(m, VMM_REGIONS);
        break;
    case VHOST_USER_ADD_MEM_REG:
        add_fd(m, VMM_FD_MEMORY);
        /* fall through */
    case VHOST_USER_REM_MEM_REG:
        m->msg.payload.memreg.region = region(queue);
        m->msg.size = sizeof(m->msg.payload.memreg);
        break;
    case VHOST_USER_SET_LOG_BASE:
        m->msg.payload.log = (VhostUserLog) { 4096, variant };
        m->msg.size = sizeof(m->msg.payload.log);
        add_fd(m, VMM_FD_LOG);
        break;
    case VHOST_USER_SET_LOG_FD:
        add_fd(m, VMM_FD_EVENT);
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        m->msg.payload.config.size = 8;
        m->msg.size = VHOST_USER_CONFIG_HDR_SIZE + 8;
        break;
    case VHOST_USER_GET_INFLIGHT_FD:
        make_inflight(m);
        break;
    case VHOST_USER_SET_INFLIGHT_FD:
        make_inflight(m);
        add_fd(m, VMM_FD_INFLIGHT);
        break;
    default:
        make_for_queue(m, queue, variant);
    }
}

static void send_whole(const Message *m)
{
    vmm_send(&vmm, &m->msg, VHOST_USER_HDR_SIZE + m->msg.size, m->fds,
             m->n_fds);
    vmm_turn(&vmm);
}

static void send_right(int request, unsigned int queue)
{
    Message m;

    make(&m, request, queue, 0);
    send_whole(&m);
}

static void start_ring(unsigned int queue)
{
    static const int requests[] = {
        VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
        VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_KICK,
        VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ENABLE,
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(requests); i++) {
        send_right(requests[i], queue);
    }
}

static void start_all(void)
{
    send_right(VHOST_USER_SET_OWNER, 0);
    send_right(VHOST_USER_SET_PROTOCOL_FEATURES, 0);
    send_right(VHOST_USER_SET_FEATURES, 0);
    send_right(VHOST_USER_SET_MEM_TABLE, 0);
    for (unsigned int i = 0; i < VSK_QUEUE_NUM; i++) {
        start_ring(i);
    }
}

/* --- Wrong ones ---------------------------------------------------------- */

static void spoil(Message *m, FuzzBytes *in)
{
    uint8_t how = fuzz_u8(in);
    uint8_t *bytes = (uint8_t *)&m->msg.payload;

    if (how & 1) {
        m->msg.flags |= VHOST_USER_NEED_REPLY_MASK;
    }
    if (how & 2) {
        size_t at = fuzz_u8(in) % (m->msg.size + 1);

        bytes[at] = fuzz_u8(in);
    }
    if (how & 4) {
        size_t wrong = m->msg.size + fuzz_u8(in) - MIN(64u, m->msg.size);

        m->msg.size = (uint32_t)MIN(wrong, sizeof(m->msg.payload));
    }
    if (how & 8) {
        m->n_fds = fuzz_u8(in) % MAX_FDS;
    }
    for (unsigned int i = 0; how & 16 && i < m->n_fds; i++) {
        m->fds[i] = fuzz_u8(in) % VMM_FD_NUM;
    }
    if ((how & 0xe0) == 0xe0) {
        m->msg.flags ^= fuzz_u8(in);
    }
}

static void send_message(FuzzBytes *in)
{
    int request = fuzz_u8(in) % 46;
    uint8_t queue = fuzz_u8(in), variant = queue >> 2 & (VARIANTS - 1);
    size_t len, cut = 0;
    Message m;

    make(&m, request, queue % 4, variant);
    if (queue & 0x80) {
        spoil(&m, in);
    }
    len = VHOST_USER_HDR_SIZE + m.msg.size;
    if (queue & 0x40) {
        cut = fuzz_u8(in) % len;
        vmm_send(&vmm, &m.msg, cut, m.fds, cut ? m.n_fds : 0);
        vmm_turn(&vmm);
    }
    vmm_send(&vmm, (char *)&m.msg + cut, len - cut, m.fds,
             cut ? 0 : m.n_fds);
    if (!(queue & 0x20)) {
        vmm_turn(&vmm);
    }
}

static void send_bytes(FuzzBytes *in)
{
    size_t len = fuzz_u8(in);
    const uint8_t *bytes = fuzz_take(in, &len);

    if (len) {
        vmm_send(&vmm, bytes, len, NULL, 0);
        vmm_turn(&vmm);
    }
}

/* More questions than there is room for answers. */
static void ask_much(void)
{
    for (int i = 0; i < 500; i++) {
        send_right(VHOST_USER_GET_FEATURES, 0);
    }
}

static void read_replies(void)
{
    VhostUserMsg msg;

    while (vmm_receive(&vmm, &msg)) {
    }
}

/* --- The guest ----------------------------------------------------------- */

static void write_packet(VskQueue queue, const VskWireHdr *hdr)
{
    memcpy(vmm.memory + VMM_BUFFER(queue), hdr, sizeof(*hdr));
}

static VskWireHdr request_packet(uint32_t port)
{
    return (VskWireHdr) {
        .src_cid = 3, .dst_cid = 2, .src_port = 1000, .dst_port = port,
        .type = VSK_TYPE_STREAM, .op = VSK_OP_REQUEST, .buf_alloc = 4096,
    };
}

static void act_as_guest(FuzzBytes *in)
{
    uint8_t what = fuzz_u8(in);
    uint16_t at = fuzz_u16(in);
    VskWireHdr hdr = request_packet(fuzz_u8(in));

    if (vmm.cut) {
        vmm_kick(&vmm);
        return;
    }
    if (what & 1) {
        vmm_offer(&vmm, VSK_QUEUE_RX, VMM_BUFFER_SIZE);
    }
    if (what & 2) {
        vmm_offer(&vmm, VSK_QUEUE_EVENT, VMM_BUFFER_SIZE);
    }
    if (what & 4) {
        write_packet(VSK_QUEUE_TX, &hdr);
        vmm_offer(&vmm, VSK_QUEUE_TX, sizeof(hdr));
    }
    if (what & 8) {
        vmm.memory[at % (3 * VMM_RING(1))] = fuzz_u8(in);
    }
    if (what & 16) {
        vmm.inflight[at % 1024] = fuzz_u8(in);
    }
    if (what & 32) {
        vmm_kick(&vmm);
    }
}

/* --- Lives --------------------------------------------------------------- */

static void act(FuzzBytes *in)
{
    switch (fuzz_below(in, 16)) {
    case 0:
        send_bytes(in);
        break;
    case 1:
        read_replies();
        break;
    case 2:
    case 3:
    case 4:
        act_as_guest(in);
        break;
    case 5:
        vmm_leave(&vmm);
        vmm_connect(&vmm);
        break;
    case 6:
        start_all();
        break;
    case 7:
        start_ring(fuzz_u8(in) % VSK_QUEUE_NUM);
        break;
    case 8:
        switch (fuzz_below(in, 32)) {
        case 0:
            vmm_cut_memory(&vmm);
            break;
        case 1:
            ask_much();
        }
        break;
    default:
        send_message(in);
    }
}

static uint64_t ask(int request)
{
    VhostUserMsg msg;

    send_right(request, 0);
    CHECK(vmm_receive(&vmm, &msg));
    CHECK(msg.request == request && msg.size == 8);
    return msg.payload.u64;
}

/* A session where all is right: the guest's packet is answered. */
static void check_lives(void)
{
    VskWireHdr hdr = request_packet(4321);
    const struct vring_used *used;
    VhostUserMsg msg;

    vmm_mend_memory(&vmm);
    vmm_connect(&vmm);
    CHECK(ask(VHOST_USER_GET_FEATURES) == vmm.vm->session.features);
    CHECK(ask(VHOST_USER_GET_PROTOCOL_FEATURES) == PROTOCOL);
    start_all();
    CHECK(!vmm_receive(&vmm, &msg));
    vmm_offer(&vmm, VSK_QUEUE_RX, VMM_BUFFER_SIZE);
    write_packet(VSK_QUEUE_TX, &hdr);
    vmm_offer(&vmm, VSK_QUEUE_TX, sizeof(hdr));
    vmm_kick(&vmm);
    used = (void *)(vmm.memory + VMM_RING(VSK_QUEUE_TX) + VMM_USED);
    CHECK(used->idx == 1);
    used = (void *)(vmm.memory + VMM_RING(VSK_QUEUE_RX) + VMM_USED);
    CHECK(used->idx == 1 && used->ring[0].len == VSK_HDR_SIZE);
    memcpy(&hdr, vmm.memory + VMM_BUFFER(VSK_QUEUE_RX), sizeof(hdr));
    CHECK(hdr.op == VSK_OP_RST && hdr.src_port == 4321 &&
          hdr.dst_port == 1000);
    vmm_leave(&vmm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    unsigned int fds;
    int maps;

    if (!vmm.vm) {
        vmm_init(&vmm);
        check_lives();
    }
    fds = open_fds();
    maps = n_maps;
    vmm_mend_memory(&vmm);
    vmm_connect(&vmm);
    if (fuzz_u8(&in) % 2) {
        start_all();
    }
    while (fuzz_left(&in)) {
        act(&in);
    }
    vmm_leave(&vmm);
    if (vmm.cut) {
        vmm_mend_memory(&vmm);
    }
    check_nothing_left(fds, maps);
    check_lives();
    check_nothing_left(fds, maps);
    return 0;
}
