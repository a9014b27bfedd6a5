/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a vhost-user message means for a session: checked here against its
 * state, then left to libvhost-user, or done here where that falls short.
 *
 * A message that cannot be is the front-end's mistake, and ends the session.
 * But where rings are, how large they are, and VERSION_1 are the guest's
 * choice, which QEMU passes on as it is.  A driver that chooses wrongly has a
 * device that stands still, and the next one, after a reset, has none of it:
 * see blame_driver().
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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

static const char *name_of(const VhostUserMsg *msg)
{
    const char *name = vu_request_to_string(msg->request);

    return msg->request == MESSAGE_RESET_DEVICE ? "VHOST_USER_RESET_DEVICE"
                                                : name ? name : "unknown";
}

static void close_fds(VhostUserMsg *msg)
{
    for (int i = 0; i < msg->fd_num; i++) {
        close(msg->fds[i]);
    }
    msg->fd_num = 0;
}

static void replace_fd(int *fd, int by)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = by;
}

/* Neither an eventfd that is full nor what is none may block us. */
static void set_nonblocking(int fd)
{
    /* #syscalls fcntl */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}


static int reply_u64(VhostUserMsg *msg, uint64_t value)
{
    msg->flags = 0;
    msg->payload.u64 = value;
    msg->size = sizeof(msg->payload.u64);
    msg->fd_num = 0;
    return REPLY;
}

static int fail(Session *session, VhostUserMsg *msg, const char *why)
{
    close_fds(msg);
    session_fail(session, "%s: %s", name_of(msg), why);
    return DONE;
}

static int fail_errno(Session *session, VhostUserMsg *msg, const char *why,
                      int err)
{
    g_autofree char *text = g_strdup_printf("%s: %s", why, g_strerror(-err));

    return fail(session, msg, text);
}

/*
 * The driver chose what cannot be: its queue will not start, but the session
 * goes on.
 */
static int blame_driver(Session *session, VhostUserMsg *msg, const char *why)
{
    bool wants_reply = msg->flags & VHOST_USER_NEED_REPLY_MASK;

    close_fds(msg);
    session_tell_broken(session, why);
    return wants_reply ? reply_u64(msg, 1) : DONE;
}

/* --- Features ------------------------------------------------------------- */

static int get_features(Session *session, VhostUserMsg *msg)
{
    return reply_u64(msg, session->features);
}

static bool any_runs(const Session *session)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        if (session->queues->queue[i].started) {
            return true;
        }
    }
    return false;
}

static int set_features(Session *session, VhostUserMsg *msg)
{
    uint64_t features = msg->payload.u64;

    if (features & ~session->features) {
        return fail(session, msg, "features that were not offered");
    }
    if (!(features & BIT(F_VERSION_1)) && any_runs(session)) {
        return fail(session, msg, "a virtqueue is running");
    }
    session->queues->features = features;
    session->queues->memory.logging = features & BIT(VHOST_F_LOG_ALL);
    if (!(features & BIT(VHOST_USER_F_PROTOCOL_FEATURES))) {
        for (int i = 0; i < VSK_QUEUE_NUM; i++) {
            /* Such a front-end never says so. */
            session->queues->queue[i].enabled = true;
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

static int add_region(Session *session, const VhostUserMemoryRegion *region,
                      int fd)
{
    return memory_add(&session->queues->memory, region->guest_phys_addr,
                      region->memory_size, region->userspace_addr,
                      region->mmap_offset, fd);
}

static int memory_changed(Session *session, VhostUserMsg *msg)
{
    close_fds(msg);
    if (!queues_remap(session->queues)) {
        return fail(session, msg, "a running virtqueue's memory is gone");
    }
    return DONE;
}

static int set_mem_table(Session *session, VhostUserMsg *msg)
{
    VhostUserMemory table = msg->payload.memory;

    memory_clear(&session->queues->memory);
    for (uint32_t i = 0; i < table.nregions; i++) {
        int ret = add_region(session, &table.regions[i], msg->fds[i]);

        if (ret < 0) {
            /* Rings must not be where nothing is any more. */
            memory_clear(&session->queues->memory);
            queues_remap(session->queues);
            return fail_errno(session, msg, "a region cannot be mapped", ret);
        }
    }
    return memory_changed(session, msg);
}

static int get_max_mem_slots(Session *session, VhostUserMsg *msg)
{
    return reply_u64(msg, MEMORY_MAX_REGIONS);
}

static int add_mem_reg(Session *session, VhostUserMsg *msg)
{
    VhostUserMemoryRegion region = msg->payload.memreg.region;
    int ret = add_region(session, &region, msg->fds[0]);

    if (ret < 0) {
        return fail_errno(session, msg, "the region cannot be mapped", ret);
    }
    close_fds(msg);
    return DONE;
}

static int rem_mem_reg(Session *session, VhostUserMsg *msg)
{
    VhostUserMemoryRegion gone = msg->payload.memreg.region;

    if (!memory_remove(&session->queues->memory, gone.guest_phys_addr,
                       gone.memory_size, gone.userspace_addr)) {
        return fail(session, msg, "no such region");
    }
    return memory_changed(session, msg);
}

static int set_log_base(Session *session, VhostUserMsg *msg)
{
    VhostUserLog log = msg->payload.log;
    int ret = memory_set_log(&session->queues->memory, log.mmap_size,
                             log.mmap_offset, msg->fds[0]);

    if (ret < 0) {
        return fail_errno(session, msg, "the log cannot be mapped", ret);
    }
    close_fds(msg);
    return reply_u64(msg, 0);
}

static int set_log_fd(Session *session, VhostUserMsg *msg)
{
    set_nonblocking(msg->fds[0]);
    replace_fd(&session->queues->memory.log_fd, msg->fds[0]);
    msg->fd_num = 0;
    return DONE;
}

/* --- Rings ---------------------------------------------------------------- */

/* The queue that a message is about, or NULL after a failure. */
static Queue *queue_of(Session *session, VhostUserMsg *msg,
                       unsigned int index)
{
    if (index < VSK_QUEUE_NUM) {
        return &session->queues->queue[index];
    }
    fail(session, msg, "the device has queues 0 to 2 only");
    return NULL;
}

static int set_vring_num(Session *session, VhostUserMsg *msg)
{
    unsigned int num = msg->payload.state.num;
    Queue *q = queue_of(session, msg, msg->payload.state.index);

    if (!q) {
        return DONE;
    }
    if (q->started) {
        return fail(session, msg, "the virtqueue is running");
    }
    if (!num || (num & (num - 1)) || num > session->max_queue_size) {
        g_autofree char *why = g_strdup_printf(
            "its size is %u; a power of 2 up to %u is possible (see "
            "--queue-size)", num, session->max_queue_size);

        q->num = 0;
        q->unfit = true;
        return blame_driver(session, msg, why);
    }
    q->num = num;
    q->unfit = false;
    return DONE;
}

/* While a queue runs, only the log of its writes can go on and off. */
static int change_running(Session *session, VhostUserMsg *msg, VskQueue index,
                          const QueueAddr *addr)
{
    Queue *q = &session->queues->queue[index];

    if (addr->desc != q->addr.desc || addr->avail != q->addr.avail ||
        addr->used != q->addr.used) {
        return fail(session, msg, "the virtqueue is running");
    }
    if (addr->used_gpa != q->addr.used_gpa &&
        !queue_move(session->queues, index, addr)) {
        return fail(session, msg, "a virtqueue outside of guest memory");
    }
    return DONE;
}

static int set_vring_addr(Session *session, VhostUserMsg *msg)
{
    struct vhost_vring_addr from = msg->payload.addr;
    Queue *q = queue_of(session, msg, from.index);
    QueueAddr addr = {
        .desc = from.desc_user_addr,
        .avail = from.avail_user_addr,
        .used = from.used_user_addr,
        .used_gpa = from.log_guest_addr,
    };

    if (!q) {
        return DONE;
    }
    if (q->started) {
        return change_running(session, msg, from.index, &addr);
    }
    if (!session->queues->memory.n) {
        return fail(session, msg, "the guest's memory is not shared; QEMU "
                    "wants -object memory-backend-memfd,id=mem,size=...,"
                    "share=on -machine memory-backend=mem");
    }
    if (!q->num) {
        return q->unfit ? DONE : /* as was told */
               fail(session, msg, "the virtqueue has no size yet");
    }
    q->unfit = !queue_addr_is_valid(session->queues, &addr, q->num);
    if (q->unfit) {
        return blame_driver(session, msg, "it is outside of guest memory");
    }
    q->addr = addr;
    return DONE;
}

static int set_vring_base(Session *session, VhostUserMsg *msg)
{
    unsigned int num = msg->payload.state.num;
    Queue *q = queue_of(session, msg, msg->payload.state.index);

    if (!q) {
        return DONE;
    }
    if (num > UINT16_MAX || q->started) {
        return fail(session, msg, q->started ? "the virtqueue is running"
                                             : "not an index of a virtqueue");
    }
    q->base = num;
    return DONE;
}

static int get_vring_base(Session *session, VhostUserMsg *msg)
{
    unsigned int index = msg->payload.state.index;
    Queue *q = queue_of(session, msg, index);

    if (!q) {
        return DONE;
    }
    session_stop_queue(session, index);
    replace_fd(&q->kick_fd, -1);
    replace_fd(&q->call_fd, -1);
    msg->flags = 0;
    msg->payload.state.num = q->base;
    msg->size = sizeof(msg->payload.state);
    return REPLY;
}

static int set_vring_enable(Session *session, VhostUserMsg *msg)
{
    Queue *q = queue_of(session, msg, msg->payload.state.index);

    if (q) {
        q->enabled = msg->payload.state.num != 0;
    }
    return DONE;
}

/*
 * Take the descriptor of a KICK, CALL or ERR message for @ret_queue.  False
 * after a failure; -1 says that there is to be none.
 */
static bool fd_of(Session *session, VhostUserMsg *msg, Queue **ret_queue,
                  int *ret_fd)
{
    bool none = msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK;
    Queue *q = queue_of(session, msg, msg->payload.u64 &
                                      VHOST_USER_VRING_IDX_MASK);

    if (!q) {
        return false;
    }
    if (none != (msg->fd_num == 0)) {
        fail(session, msg, "a descriptor is missing, or one too many");
        return false;
    }
    *ret_queue = q;
    *ret_fd = -1;
    if (!none) {
        int fd = msg->fds[0];

        set_nonblocking(fd);
        msg->fd_num = 0;
        *ret_fd = fd;
    }
    return true;
}

static int start_queue(Session *session, VhostUserMsg *msg, VskQueue index)
{
    Queue *q = &session->queues->queue[index];

    if (!(session->queues->features & BIT(F_VERSION_1))) {
        return blame_driver(session, msg, "it is a legacy one; if so are "
                            "all, give the VMM's device disable-legacy=on, "
                            "or what it calls that");
    }
    if (queue_start(session->queues, index)) {
        return DONE;
    }
    if (queue_addr_is_valid(session->queues, &q->addr, q->num)) {
        return blame_driver(session, msg, "its parts are not aligned");
    }
    return fail(session, msg, "the virtqueue was not set up before");
}

static int set_vring_kick(Session *session, VhostUserMsg *msg)
{
    VskQueue index = msg->payload.u64 & VHOST_USER_VRING_IDX_MASK;
    Queue *q;
    int fd;

    if (!fd_of(session, msg, &q, &fd)) {
        return DONE;
    }
    loop_unwatch(session->loop, &session->kicks[index]);
    replace_fd(&q->kick_fd, fd);
    if (fd < 0) {
        return fail(session, msg, "a virtqueue without notifications; this "
                    "program does not look for chains without end");
    }
    /* Edges suffice, and the counter need not be read: every kick is one. */
    if (!loop_watch(session->loop, &session->kicks[index], fd,
                    EPOLLIN | EPOLLET)) {
        return errno == EPERM
               ? fail(session, msg, "not an eventfd")
               : fail_errno(session, msg, "cannot wait for it", -errno);
    }
    return q->started || q->unfit ? DONE : start_queue(session, msg, index);
}

static int set_vring_call(Session *session, VhostUserMsg *msg)
{
    Queue *q;
    int fd;

    if (fd_of(session, msg, &q, &fd)) {
        replace_fd(&q->call_fd, fd);
        if (fd >= 0) {
            /* What was used before may not have been told. */
            eventfd_write(fd, 1);
        }
    }
    return DONE;
}

static int set_vring_err(Session *session, VhostUserMsg *msg)
{
    Queue *q;
    int fd;

    if (fd_of(session, msg, &q, &fd)) {
        replace_fd(&q->err_fd, fd);
    }
    return DONE;
}

/* --- Chains that outlive this process ------------------------------------- */

static int get_inflight_fd(Session *session, VhostUserMsg *msg)
{
    unsigned int n_queues = msg->payload.inflight.num_queues;
    unsigned int queue_size = msg->payload.inflight.queue_size;
    int fd;

    if (!n_queues || n_queues > VSK_QUEUE_NUM || !queue_size ||
        queue_size > session->max_queue_size) {
        return fail(session, msg, "not for the queues that this device has");
    }
    if (any_runs(session)) {
        return fail(session, msg, "a virtqueue is running");
    }
    fd = inflight_create(&session->queues->inflight, n_queues, queue_size);
    if (fd < 0) {
        return fail_errno(session, msg, "no memory for it", fd);
    }
    msg->flags = 0;
    msg->payload.inflight.mmap_size = inflight_size(n_queues, queue_size);
    msg->payload.inflight.mmap_offset = 0;
    msg->fds[0] = fd;
    msg->fd_num = 1;
    session->reply_fd = fd;
    return REPLY;
}

static int set_inflight_fd(Session *session, VhostUserMsg *msg)
{
    VhostUserInflight from = msg->payload.inflight;
    int ret = -EINVAL;

    if (any_runs(session)) {
        return fail(session, msg, "a virtqueue is running");
    }
    if (from.num_queues <= VSK_QUEUE_NUM &&
        from.queue_size <= session->max_queue_size) {
        ret = inflight_open(&session->queues->inflight, from.num_queues,
                            from.queue_size, from.mmap_size,
                            from.mmap_offset, msg->fds[0]);
    }
    if (ret < 0) {
        return fail_errno(session, msg, "it cannot be mapped", ret);
    }
    close_fds(msg);
    return DONE;
}

/* --- Reset ---------------------------------------------------------------- */

static int reset_owner(Session *session, VhostUserMsg *msg)
{
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        session->queues->queue[i].enabled = false;
    }
    return DONE;
}

static int reset_device(Session *session, VhostUserMsg *msg)
{
    for (unsigned int i = 0; i < VSK_QUEUE_NUM; i++) {
        session_stop_queue(session, i);
        replace_fd(&session->queues->queue[i].kick_fd, -1);
    }
    queues_reset(session->queues);
    session->was_reset = true;
    return DONE;
}

/*
 * The front-end's device begins.  A VMM that unplugs one and plugs the next may
 * keep the connection, and does not take back the memory of the former.
 */
static int set_owner(Session *session, VhostUserMsg *msg)
{
    reset_device(session, msg);
    memory_clear(&session->queues->memory);
    return DONE;
}

/* --- All messages --------------------------------------------------------- */

#define HANDLE(name, handler) [VHOST_USER_ ## name] = handler

static Handler *const handlers[] = {
    HANDLE(GET_FEATURES, get_features),
    HANDLE(SET_FEATURES, set_features),
    HANDLE(GET_PROTOCOL_FEATURES, get_protocol_features),
    HANDLE(SET_PROTOCOL_FEATURES, set_protocol_features),
    HANDLE(SET_OWNER, set_owner),
    HANDLE(RESET_OWNER, reset_owner),
    HANDLE(SET_MEM_TABLE, set_mem_table),
    HANDLE(GET_MAX_MEM_SLOTS, get_max_mem_slots),
    HANDLE(ADD_MEM_REG, add_mem_reg),
    HANDLE(REM_MEM_REG, rem_mem_reg),
    HANDLE(SET_LOG_BASE, set_log_base),
    HANDLE(SET_LOG_FD, set_log_fd),
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
    HANDLE(GET_INFLIGHT_FD, get_inflight_fd),
    HANDLE(SET_INFLIGHT_FD, set_inflight_fd),
    [MESSAGE_RESET_DEVICE] = reset_device,
};

static int process_message(VuDev *vu, VhostUserMsg *msg, int *ret_reply)
{
    Session *session = SESSION_OF(vu);
    bool wants_reply = msg->flags & VHOST_USER_NEED_REPLY_MASK;
    Handler *handler = NULL;
    int verdict;

    if ((unsigned int)msg->request < G_N_ELEMENTS(handlers)) {
        handler = handlers[msg->request];
    }
    log_debug(session->cid, "message %s, %u bytes, %d descriptors",
              name_of(msg), msg->size, msg->fd_num);
    verdict = handler ? handler(session, msg) : LEAVE;
    if (session->failed && wants_reply) {
        verdict = reply_u64(msg, 1); /* and then the session ends */
    }
    *ret_reply = verdict == REPLY;
    return verdict != LEAVE;
}

const VuDevIface protocol_iface = {
    .process_msg = process_message,
};
