/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * 100 000 connections one after the other, on real host sockets, each opened
 * and ended in another way: no descriptor and no memory stays.
 */

#include "unix-socket.h"
#include "vm.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST_PORT 80
#define MANY 100000
#define FEW 2000 /* for valgrind and sanitizers, which see what one leaves */

#define RX_LEAST 8 /* chains that a connection needs */
#define RX_SIZE 4096

/* What the allocator may have handed out beside, after a first tenth. */
#define SLACK 4096 /* bytes */

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

typedef void (*End)(Vm *vm, int fd, uint32_t guest_port, uint32_t host_port);

static void host_closes(Vm *vm, int fd, uint32_t guest_port,
                        uint32_t host_port)
{
    close(fd);
    vm_settle(vm);
    vm_expect(vm, VSK_OP_SHUTDOWN, guest_port, host_port);
    vm_say(vm, VSK_OP_RST, guest_port, host_port);
}

/* With bytes on their way in both directions. */
static void guest_resets(Vm *vm, int fd, uint32_t guest_port,
                         uint32_t host_port)
{
    unix_write(fd, "answer");
    vm_settle(vm);
    vm_expect_data(vm, guest_port, host_port, "answer");
    vm_send(vm, guest_port, host_port, "question");
    vm_say(vm, VSK_OP_RST, guest_port, host_port);
    unix_expect_last(fd, "question");
    close(fd);
}

static void guest_shuts_down(Vm *vm, int fd, uint32_t guest_port,
                             uint32_t host_port)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_SHUTDOWN, guest_port, host_port);

    hdr.flags = VSK_SHUTDOWN_BOTH;
    vm_put(vm, &hdr, NULL, 0);
    vm_kick(vm, VSK_QUEUE_TX);
    vm_expect(vm, VSK_OP_RST, guest_port, host_port);
    close(fd);
}

/* What it had sent goes on in a flow that the guest knows no more. */
static void guest_resets_and_host_leaves(Vm *vm, int fd, uint32_t guest_port,
                                         uint32_t host_port)
{
    vm_send(vm, guest_port, host_port, "unread");
    vm_say(vm, VSK_OP_RST, guest_port, host_port);
    close(fd);
    vm_settle(vm);
}

static const End ends[] = {
    host_closes,
    guest_resets,
    guest_shuts_down,
    guest_resets_and_host_leaves,
};

static void connect_once(Vm *vm, int listener, uint32_t i)
{
    End end = ends[i / 2 % G_N_ELEMENTS(ends)];
    uint32_t guest_port = 1024 + i % 50000;
    uint32_t host_port = HOST_PORT;
    int fd;

    if (fake_ring_avail(vm->rings, VSK_QUEUE_RX) < RX_LEAST) {
        vm_give(vm, VSK_QUEUE_RX, 2 * RX_LEAST, RX_SIZE);
    }
    if (i % 2) {
        fd = vm_open_from_host(vm, guest_port, &host_port);
    } else {
        fd = vm_open(vm, listener, guest_port, host_port);
    }
    end(vm, fd, guest_port, host_port);
    vm_settle(vm);
    vm_take_tx(vm);
}

/* The descriptor that the next one would get. */
static int next_fd(void)
{
    int fd = fcntl(STDIN_FILENO, F_DUPFD, 0);

    close(fd);
    return fd;
}

static void test_many(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    unsigned int many = SANITIZED || under_valgrind() ? FEW : MANY;
    int fd = next_fd();
    size_t before = 0;

    for (uint32_t i = 0; i < many; i++) {
        if (i == many / 10) {
            before = memory_in_use();
        }
        connect_once(vm, listener, i);
    }
    vm_expect_nothing(vm);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    g_assert_cmpint(next_fd(), ==, fd);
    g_assert_cmpuint(memory_in_use(), <=, before + SLACK);
    close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/many/connections-leave-nothing", test_many);
    return g_test_run();
}
