/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a vhost-user message means for a session: checked here against its
 * state, then left to libvhost-user, or done here where that falls short.
 *
 * A message that cannot be is the front-end's mistake, and ends the session.
 * It cannot be the guest's: all that a VMM passes on from its guest is where
 * rings are, and a VMM checks that first.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session.h"

#define BIT(n) (1ull << (n))
#define PROTOCOL_F_RESET_DEVICE 13
#define RING_F_INDIRECT_DESC    28
#define RING_F_EVENT_IDX        29
#define F_VERSION_1             32

/* libvhost-user knows more than a vsock device has use for. */
#define PROTOCOL_FEATURES (BIT(VHOST_USER_PROTOCOL_F_MQ) |                  \
                           BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |           \
                           BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |           \
                           BIT(VHOST_USER_PROTOCOL_F_CONFIG) |              \
                           BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |      \
                           BIT(PROTOCOL_F_RESET_DEVICE) |                   \
                           BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

/* What a handler returns to libvhost-user's process_msg. */
enum {
    LEAVE,    /* to libvhost-user */
    DONE,     /* no reply but the acknowledgement that may be asked for */
    REPLY,    /* the message is the reply now */
};

typedef int Handler(Session *session, VhostUserMsg *msg);

uint64_t protocol_features(void)
{
    return BIT(F_VERSION_1) | BIT(RING_F_INDIRECT_DESC) |
           BIT(RING_F_EVENT_IDX) | BIT(VHOST_F_LOG_ALL) |
           BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

static int fail(Session *session, VhostUserMsg *msg, const char *why)
{
    for (int i = 0; i < msg->fd_num; i++) {
        close(msg->fds[i]);
    }
    msg->fd_num = 0;
    session_fail(session, "%s: %s", vu_request_to_string(msg->request), why);
    return DONE;
}

static int reply_u64(VhostUserMsg *msg, uint64_t value)
{
    msg->flags = 0;
    msg->payload.u64 = value;
    msg->size = sizeof(msg->payload.u64);
    msg->fd_num = 0;
    return REPLY;
}

/* --- Features ------------------------------------------------------------- */

static int get_features(Session *session, VhostUserMsg *msg)
{
    return reply_u64(msg, session->features);
}

static int set_features(Session *session, VhostUserMsg *msg)
{
    uint64_t features = msg->payload.u64;

    if (features & ~session->features) {
        return fail(session, msg, "features that were not offered");
    }
    if (!(features & BIT(F_VERSION_1))) {
        return fail(session, msg, "a legacy device; give the VMM's device "
                    "disable-legacy=on, or what it calls that");
    }
    session->vu.features = features;
    if (!(features & BIT(VHOST_USER_F_PROTOCOL_FEATURES))) {
        for (int i = 0; i < VSK_QUEUE_NUM; i++) {
            session->vu.vq[i].enable = 1; /* such a front-end never says so */
        }
    }
    return DONE;
}

static int get_protocol_features(Session *session, VhostUserMsg *msg)
{
    return reply_u64(msg, PROTOCOL_FEATURES);
}

static int set_protocol_features(Session *session, VhostUserMsg *msg)
{
    if (msg->payload.u64 & ~PROTOCOL_FEATURES) {
        return fail(session, msg, "features that were not offered");
    }
    session->vu.protocol_features = msg->payload.u64;
    return DONE;
}

/* --- Configuration space: le64 guest_cid ---------------------------------- */

static int get_config(Session *session, VhostUserMsg *msg)
{
    uint64_t cid = GUINT64_TO_LE(session->cid);
    uint8_t space[VHOST_USER_MAX_CONFIG_SIZE] = { 0 };
    uint32_t offset = msg->payload.config.offset;
    uint32_t size = msg->payload.config.size;

    msg->flags = 0;
    if (offset > sizeof(space) || size > sizeof(space) - offset) {
        msg->size = 0; /* an error, says the protocol */
        return REPLY;
    }
    memcpy(space, &cid, sizeof(cid));
    memcpy(msg->payload.config.region, space + offset, size);
    msg->size = VHOST_USER_CONFIG_HDR_SIZE + size;
    return REPLY;
}

static int ignore(Session *session, VhostUserMsg *msg)
{
    return DONE;
}

/* --- Guest memory --------------------------------------------------------- */

static bool check_region(const VhostUserMemoryRegion *region, int fd)
{
    uint64_t top = UINT64_MAX - region->memory_size;
    struct stat st;

    if (!region->memory_size || region->guest_phys_addr > top ||
        region->userspace_addr > top || region->mmap_offset > top) {
        return false;
    }
    /* Beyond the end of a file is SIGBUS. #syscalls fstat newfstatat */
    return fstat(fd, &st) == 0 &&
           (!S_ISREG(st.st_mode) ||
            (uint64_t)st.st_size >= region->mmap_offset + region->memory_size);
}

/* Where a ring's part is in our memory; NULL if not all of it is. */
static void *ring_area(const VuDev *vu, uint64_t addr, uint64_t size,
                       unsigned int align)
{
    for (uint32_t i = 0; i < vu->nregions; i++) {
        const VuDevRegion *r = &vu->regions[i];
        uint64_t offset = addr - r->qva;

        if (addr >= r->qva && offset < r->size && size <= r->size - offset) {
            uintptr_t va = r->mmap_addr + r->mmap_offset + offset;

            return va % align ? NULL : (void *)va;
        }
    }
    return NULL;
}

/* Find the ring's three parts; false if they are not (any more) in memory. */
static bool map_ring(const VuDev *vu, VuVirtq *vq)
{
    VuRing ring = vq->vring;
    unsigned int n = ring.num;

    ring.desc = ring_area(vu, vq->vra.desc_user_addr, 16ull * n, 16);
    ring.avail = ring_area(vu, vq->vra.avail_user_addr, 6 + 2ull * n, 2);
    ring.used = ring_area(vu, vq->vra.used_user_addr, 6 + 8ull * n, 4);
    if (!n || !ring.desc || !ring.avail || !ring.used) {
        return false;
    }
    vq->vring = ring;
    return true;
}

static void unmap_ring(VuVirtq *vq)
{
    vq->vring.desc = NULL;
    vq->vring.avail = NULL;
    vq->vring.used = NULL;
}

/* After memory changed: false if a started ring is no longer in it. */
static bool remap_rings(VuDev *vu)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        VuVirtq *vq = &vu->vq[i];

        if (vq->vring.desc && !map_ring(vu, vq)) {
            unmap_ring(vq);
            if (vq->started) {
                return false;
            }
        }
    }
    return true;
}

static bool map_region(VuDevRegion *region, const VhostUserMemoryRegion *from,
                       int fd)
{
    void *addr;

    /* From the start of the file, for huge pages want offsets of their own. */
    addr = mmap(NULL, from->memory_size + from->mmap_offset,
                PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (addr == MAP_FAILED) {
        return false;
    }
    *region = (VuDevRegion) {
        .gpa = from->guest_phys_addr,
        .size = from->memory_size,
        .qva = from->userspace_addr,
        .mmap_offset = from->mmap_offset,
        .mmap_addr = (uintptr_t)addr,
    };
    return true;
}

static void unmap_region(VuDevRegion *region)
{
    munmap((void *)(uintptr_t)region->mmap_addr,
           region->size + region->mmap_offset);
}

static bool add_region(VuDev *vu, const VhostUserMemoryRegion *from, int fd)
{
    if (vu->nregions == VHOST_USER_MAX_RAM_SLOTS || !check_region(from, fd) ||
        !map_region(&vu->regions[vu->nregions], from, fd)) {
        return false;
    }
    vu->nregions++;
    return true;
}

static void close_fds(VhostUserMsg *msg)
{
    for (int i = 0; i < msg->fd_num; i++) {
        close(msg->fds[i]);
    }
    msg->fd_num = 0;
}

static int set_mem_table(Session *session, VhostUserMsg *msg)
{
    VhostUserMemory table = msg->payload.memory;
    VuDev *vu = &session->vu;

    while (vu->nregions) {
        unmap_region(&vu->regions[--vu->nregions]);
    }
    for (uint32_t i = 0; i < table.nregions; i++) {
        if (!add_region(vu, &table.regions[i], msg->fds[i])) {
            unmap_ring(&vu->vq[0]);
            unmap_ring(&vu->vq[1]);
            unmap_ring(&vu->vq[2]);
            return fail(session, msg, "a region that cannot be mapped");
        }
    }
    close_fds(msg);
    if (!remap_rings(vu)) {
        return fail(session, msg, "a running virtqueue's memory is gone");
    }
    return DONE;
}

static int add_mem_reg(Session *session, VhostUserMsg *msg)
{
    VhostUserMemoryRegion region = msg->payload.memreg.region;

    if (!add_region(&session->vu, &region, msg->fds[0])) {
        return fail(session, msg, "a region that cannot be mapped");
    }
    close_fds(msg);
    return DONE;
}

static int rem_mem_reg(Session *session, VhostUserMsg *msg)
{
    VhostUserMemoryRegion gone = msg->payload.memreg.region;
    VuDev *vu = &session->vu;

    close_fds(msg);
    for (uint32_t i = 0; i < vu->nregions; i++) {
        VuDevRegion *r = &vu->regions[i];

        if (r->gpa == gone.guest_phys_addr && r->qva == gone.userspace_addr &&
            r->size == gone.memory_size) {
            unmap_region(r);
            vu->nregions--;
            memmove(r, r + 1, (vu->nregions - i) * sizeof(*r));
            if (!remap_rings(vu)) {
                return fail(session, msg,
                            "a running virtqueue's memory is gone");
            }
            return DONE;
        }
    }
    return fail(session, msg, "no such region");
}

/* --- Rings ---------------------------------------------------------------- */

/* The queue that a message is about, or NULL after a failure. */
static VuVirtq *queue_of(Session *session, VhostUserMsg *msg,
                         unsigned int index)
{
    if (index < VSK_QUEUE_NUM) {
        return &session->vu.vq[index];
    }
    fail(session, msg, "the device has queues 0 to 2 only");
    return NULL;
}

static int set_vring_num(Session *session, VhostUserMsg *msg)
{
    unsigned int num = msg->payload.state.num;
    VuVirtq *vq = queue_of(session, msg, msg->payload.state.index);

    if (!vq) {
        return DONE;
    }
    if (!num || (num & (num - 1)) || num > session->max_queue_size) {
        g_autofree char *why = g_strdup_printf(
            "a virtqueue of %u; a power of 2 up to %u is possible (see "
            "--queue-size)", num, session->max_queue_size);
        return fail(session, msg, why);
    }
    if (vq->started) {
        return fail(session, msg, "the virtqueue is running");
    }
    unmap_ring(vq);
    vq->vring.num = num;
    return DONE;
}

static int set_vring_addr(Session *session, VhostUserMsg *msg)
{
    struct vhost_vring_addr addr = msg->payload.addr;
    VuVirtq *vq = queue_of(session, msg, addr.index);

    if (!vq) {
        return DONE;
    }
    vq->vra = addr;
    vq->vring.flags = addr.flags;
    vq->vring.log_guest_addr = addr.log_guest_addr;
    if (!map_ring(&session->vu, vq)) {
        return fail(session, msg, "a virtqueue outside of guest memory");
    }
    return DONE;
}

static int set_vring_base(Session *session, VhostUserMsg *msg)
{
    unsigned int num = msg->payload.state.num;
    VuVirtq *vq = queue_of(session, msg, msg->payload.state.index);

    if (!vq) {
        return DONE;
    }
    if (num > UINT16_MAX || vq->started) {
        return fail(session, msg, vq->started ? "the virtqueue is running"
                                              : "not an index of a virtqueue");
    }
    vq->last_avail_idx = num;
    vq->shadow_avail_idx = num;
    return DONE;
}

void protocol_stop_ring(Session *session, unsigned int index)
{
    VuVirtq *vq = &session->vu.vq[index];

    loop_unwatch(session->loop, &session->kicks[index]);
    if (vq->kick_fd >= 0) {
        close(vq->kick_fd);
        vq->kick_fd = -1;
    }
    if (vq->call_fd >= 0) {
        close(vq->call_fd);
        vq->call_fd = -1;
    }
    vq->started = false;
    vq->signalled_used_valid = false;
    vq->inuse = 0;
    unmap_ring(vq);
}

static int get_vring_base(Session *session, VhostUserMsg *msg)
{
    unsigned int index = msg->payload.state.index;
    VuVirtq *vq = queue_of(session, msg, index);

    if (!vq) {
        return DONE;
    }
    protocol_stop_ring(session, index);
    msg->flags = 0;
    msg->payload.state.num = vq->last_avail_idx;
    msg->size = sizeof(msg->payload.state);
    return REPLY;
}

static int set_vring_enable(Session *session, VhostUserMsg *msg)
{
    VuVirtq *vq = queue_of(session, msg, msg->payload.state.index);

    if (vq) {
        vq->enable = msg->payload.state.num != 0;
    }
    return DONE;
}

/* The descriptor of a KICK, CALL or ERR message: -1 for none, -2 if wrong. */
static int fd_of(Session *session, VhostUserMsg *msg)
{
    bool none = msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK;

    if (none != (msg->fd_num == 0)) {
        fail(session, msg, "a descriptor is missing, or one too many");
        return -2;
    }
    if (none) {
        return -1;
    }
    msg->fd_num = 0;
    /* Neither an eventfd that is full nor what is none may block us.
     * #syscalls fcntl */
    fcntl(msg->fds[0], F_SETFL, fcntl(msg->fds[0], F_GETFL) | O_NONBLOCK);
    return msg->fds[0];
}

static void replace_fd(int *fd, int by)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = by;
}

static int set_vring_kick(Session *session, VhostUserMsg *msg)
{
    unsigned int index = msg->payload.u64 & VHOST_USER_VRING_IDX_MASK;
    VuVirtq *vq = queue_of(session, msg, index);
    int fd = vq ? fd_of(session, msg) : -2;

    if (fd == -2) {
        return DONE;
    }
    if (fd == -1) {
        return fail(session, msg, "a virtqueue without notifications; this "
                    "device does not poll for the VMM");
    }
    loop_unwatch(session->loop, &session->kicks[index]);
    replace_fd(&vq->kick_fd, fd);
    if (!vq->vring.desc && !map_ring(&session->vu, vq)) {
        return fail(session, msg, "the virtqueue was not set up before");
    }
    /* Edges suffice, and the counter need not be read: every kick is one. */
    if (!loop_watch(session->loop, &session->kicks[index], fd,
                    EPOLLIN | EPOLLET)) {
        return fail(session, msg, "not an eventfd");
    }
    vq->used_idx = le16toh(vq->vring.used->idx);
    vq->started = true;
    return DONE;
}

static int set_vring_call(Session *session, VhostUserMsg *msg)
{
    VuVirtq *vq = queue_of(session, msg, msg->payload.u64 &
                                         VHOST_USER_VRING_IDX_MASK);
    int fd = vq ? fd_of(session, msg) : -2;

    if (fd == -2) {
        return DONE;
    }
    replace_fd(&vq->call_fd, fd);
    if (fd >= 0) {
        eventfd_write(fd, 1); /* what was used before may not have been told */
    }
    return DONE;
}

static int set_vring_err(Session *session, VhostUserMsg *msg)
{
    VuVirtq *vq = queue_of(session, msg, msg->payload.u64 &
                                         VHOST_USER_VRING_IDX_MASK);
    int fd = vq ? fd_of(session, msg) : -2;

    if (fd != -2) {
        replace_fd(&vq->err_fd, fd);
    }
    return DONE;
}

/* --- Reset ---------------------------------------------------------------- */

static int reset_owner(Session *session, VhostUserMsg *msg)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        session->vu.vq[i].enable = 0;
    }
    return DONE;
}

static int reset_device(Session *session, VhostUserMsg *msg)
{
    for (unsigned int i = 0; i < VSK_QUEUE_NUM; i++) {
        VuVirtq *vq = &session->vu.vq[i];

        protocol_stop_ring(session, i);
        vq->enable = 0;
        vq->last_avail_idx = 0;
        vq->shadow_avail_idx = 0;
    }
    session->vu.broken = false;
    session->was_reset = true;
    return DONE;
}

/* --- All messages --------------------------------------------------------- */

#define HANDLE(name, handler) [VHOST_USER_ ## name] = handler

static Handler *const handlers[] = {
    HANDLE(GET_FEATURES, get_features),
    HANDLE(SET_FEATURES, set_features),
    HANDLE(GET_PROTOCOL_FEATURES, get_protocol_features),
    HANDLE(SET_PROTOCOL_FEATURES, set_protocol_features),
    HANDLE(SET_OWNER, ignore),
    HANDLE(RESET_OWNER, reset_owner),
    HANDLE(SET_MEM_TABLE, set_mem_table),
    HANDLE(ADD_MEM_REG, add_mem_reg),
    HANDLE(REM_MEM_REG, rem_mem_reg),
    HANDLE(SET_VRING_NUM, set_vring_num),
    HANDLE(SET_VRING_ADDR, set_vring_addr),
    HANDLE(SET_VRING_BASE, set_vring_base),
    HANDLE(GET_VRING_BASE, get_vring_base),
    HANDLE(SET_VRING_ENABLE, set_vring_enable),
    HANDLE(SET_VRING_KICK, set_vring_kick),
    HANDLE(SET_VRING_CALL, set_vring_call),
    HANDLE(SET_VRING_ERR, set_vring_err),
    HANDLE(GET_CONFIG, get_config),
    HANDLE(SET_CONFIG, ignore), /* nothing in there is the driver's to set */
    [MESSAGE_RESET_DEVICE] = reset_device,
};

static int process_message(VuDev *vu, VhostUserMsg *msg, int *ret_reply)
{
    Session *session = SESSION_OF(vu);
    Handler *handler = NULL;
    int verdict;

    if ((unsigned int)msg->request < G_N_ELEMENTS(handlers)) {
        handler = handlers[msg->request];
    }
    log_debug(session->cid, "message %s (%d), %u bytes, %d descriptors",
              vu_request_to_string(msg->request), msg->request, msg->size,
              msg->fd_num);
    verdict = handler ? handler(session, msg) : LEAVE;
    *ret_reply = verdict == REPLY;
    return verdict != LEAVE;
}

const VuDevIface protocol_iface = {
    .process_msg = process_message,
};
