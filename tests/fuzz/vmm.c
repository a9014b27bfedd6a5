/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A VMM for the daemon.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "guard.h"
#include "sandbox.h"
#include "vmm.h"

static char folder[] = "/tmp/fuzz-messages-XXXXXX";
static VmOptions vm_options = { .guest_cid = 3, .fd = -1, .queue_size = 128 };
static Vm *the_vm;

/* No thread is started, and none shut in. */
bool sandbox_enter(GError **errp)
{
    return true;
}

static void clean_up(void)
{
    g_autoptr(GDir) dir = NULL;
    const char *name;

    vm_free(the_vm);
    dir = g_dir_open(folder, 0, NULL);
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        unlink(path);
    }
    rmdir(folder);
}

static Vm *make_vm(void)
{
    Options all = { .seqpacket = true, .max_conns = 64 };
    g_autoptr(GPtrArray) vms = g_ptr_array_new();
    g_autoptr(GError) err = NULL;
    Vm *vm;

    CHECK(mkdtemp(folder));
    vm_options.socket = g_build_filename(folder, "vhost", NULL);
    vm_options.uds_path = g_build_filename(folder, "vsock", NULL);
    g_ptr_array_add(vms, &vm_options);
    all.vms = vms;
    log_set_level(LOG_LEVEL_ERROR);
    vm = vm_new(&all, &vm_options, &err);
    if (!vm) {
        fprintf(stderr, "%s\n", err->message);
    }
    CHECK(vm);
    the_vm = vm;
    atexit(clean_up);
    signal(SIGPIPE, SIG_IGN); /* as main() does */
    guard_init();
    guard_enter(&vm->queues);
    vm_accept(vm);
    return vm;
}

/* --- What can be sent ---------------------------------------------------- */

static int make_file(size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

static int full_pipe(void)
{
    static const char page[4096];
    int fds[2];

    CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    while (write(fds[1], page, sizeof(page)) > 0) {
    }
    return fds[1]; /* the other end stays open */
}

static void make_fds(Vmm *vmm)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    vmm->fds[VMM_FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vmm->fds[VMM_FD_LOG] = make_file(4096);
    vmm->fds[VMM_FD_INFLIGHT] = make_file(65536);
    vmm->fds[VMM_FD_EMPTY] = make_file(0);
    vmm->fds[VMM_FD_READ_ONLY] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    vmm->fds[VMM_FD_PIPE] = full_pipe();
    vmm->fds[VMM_FD_SOCKET] = pair[0];
    vmm->fds[VMM_FD_DIRECTORY] = open(folder, O_RDONLY | O_CLOEXEC);
    vmm->fds[VMM_FD_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
    for (int i = VMM_FD_EVENT; i < VMM_FD_NUM; i++) {
        CHECK(vmm->fds[i] >= 0);
    }
    vmm->inflight = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED,
                         vmm->fds[VMM_FD_INFLIGHT], 0);
    CHECK(vmm->inflight != MAP_FAILED);
}

void vmm_init(Vmm *vmm)
{
    vmm->vm = make_vm();
    vmm->sock = -1;
    vmm->cut = true;
    vmm->fds[VMM_FD_MEMORY] = -1;
    make_fds(vmm);
    vmm_mend_memory(vmm);
}

void vmm_mend_memory(Vmm *vmm)
{
    int *fd = &vmm->fds[VMM_FD_MEMORY];

    if (vmm->cut) {
        if (*fd >= 0) {
            munmap(vmm->memory, VMM_MEMORY);
            close(*fd);
        }
        *fd = make_file(VMM_MEMORY);
        vmm->memory = mmap(NULL, VMM_MEMORY, PROT_READ | PROT_WRITE,
                           MAP_SHARED, *fd, 0);
        CHECK(vmm->memory != MAP_FAILED);
        vmm->cut = false;
    }
    memset(vmm->memory, 0, 0x4000);
    memset(vmm->inflight, 0, 4096);
    memset(vmm->avail, 0, sizeof(vmm->avail));
}

void vmm_cut_memory(Vmm *vmm)
{
    vmm->cut = true;
    CHECK(ftruncate(vmm->fds[VMM_FD_MEMORY], 0) == 0);
}

/* --- The socket ---------------------------------------------------------- */

void vmm_turn(Vmm *vmm)
{
    vm_turn(vmm->vm, 0);
}

void vmm_connect(Vmm *vmm)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    if (vmm->sock >= 0) {
        return;
    }
    g_strlcpy(addr.sun_path, vm_options.socket, sizeof(addr.sun_path));
    vmm->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(connect(vmm->sock, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    vmm_turn(vmm);
}

void vmm_leave(Vmm *vmm)
{
    if (vmm->sock >= 0) {
        close(vmm->sock);
        vmm->sock = -1;
    }
    /* A turn reads some messages only. */
    for (int i = 0; i < 1000 && vmm->vm->session.active; i++) {
        vmm_turn(vmm);
    }
}

void vmm_send(Vmm *vmm, const void *bytes, size_t len, const VmmFd *fds,
              unsigned int n_fds)
{
    char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
    struct iovec iov = { (void *)bytes, len };
    struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (vmm->sock < 0) {
        return;
    }
    if (n_fds) {
        struct cmsghdr *c = (struct cmsghdr *)control;

        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (unsigned int i = 0; i < n_fds; i++) {
            ((int *)CMSG_DATA(c))[i] = vmm->fds[fds[i]];
        }
    }
    if (sendmsg(vmm->sock, &header, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
        CHECK(errno == EPIPE || errno == ECONNRESET);
    }
}

/* Read @len bytes; false: they are not there. */
static bool read_bytes(Vmm *vmm, void *to, size_t len)
{
    char control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec iov = { to, len };
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(vmm->sock, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c;
         c = CMSG_NXTHDR(&header, c)) {
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
             i++) {
            close(((int *)CMSG_DATA(c))[i]);
        }
    }
    return n == (ssize_t)len;
}

bool vmm_receive(Vmm *vmm, VhostUserMsg *msg)
{
    memset(msg, 0, sizeof(*msg));
    if (vmm->sock < 0 || !read_bytes(vmm, msg, VHOST_USER_HDR_SIZE)) {
        return false;
    }
    /* A reply is whole, and of the protocol. */
    CHECK((msg->flags & VHOST_USER_VERSION_MASK) == 1);
    CHECK(msg->flags & VHOST_USER_REPLY_MASK);
    CHECK(msg->size <= sizeof(msg->payload));
    CHECK(!msg->size || read_bytes(vmm, &msg->payload, msg->size));
    return true;
}

/* --- The driver ---------------------------------------------------------- */

void vmm_offer(Vmm *vmm, VskQueue queue, uint32_t len)
{
    uint8_t *ring = vmm->memory + VMM_RING(queue);
    struct vring_avail *avail = (struct vring_avail *)(ring + VMM_AVAIL);
    uint16_t head = vmm->avail[queue] % VMM_NUM;
    struct vring_desc *desc = (struct vring_desc *)ring + head;

    desc->addr = VMM_BUFFER(queue);
    desc->len = len;
    desc->flags = queue == VSK_QUEUE_TX ? 0 : VRING_DESC_F_WRITE;
    avail->ring[head] = head;
    avail->idx = ++vmm->avail[queue];
}

void vmm_kick(Vmm *vmm)
{
    eventfd_write(vmm->fds[VMM_FD_EVENT], 1);
    vmm_turn(vmm);
}
