/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Many bytes both ways, in random pieces, through rings of random layout.
 */

#include "models.h"
#include "unix-socket.h"

#include <sys/socket.h>
#include <unistd.h>

#define HOST_PORT 80

typedef struct Transfer {
    GuestFlow *flow;
    HostEnd *end;
} Transfer;

static uint32_t up_to(GRand *rand, uint32_t max)
{
    return (uint32_t)g_rand_int_range(rand, 0, (gint32)max + 1);
}

/* One step of each side; the sizes are small at times, to cover edges. */
static void step(Vm *vm, Guest *guest, GRand *rand, Transfer *t,
                 uint32_t total)
{
    uint32_t most = up_to(rand, 3) ? 70000 : 50;
    uint32_t some = up_to(rand, most);

    if (t->flow->phase == GUEST_OPEN) {
        guest_send(guest, t->flow, MIN(most, total - t->flow->sent));
        if (t->flow->sent == total && !(t->flow->shut & VSK_SHUTDOWN_SEND)) {
            guest_shutdown(guest, t->flow, VSK_SHUTDOWN_SEND);
        }
    }
    host_end_write(t->end, MIN(some, total - t->end->sent));
    if (t->end->sent == total && !t->end->shut_wr) {
        shutdown(t->end->fd, SHUT_WR);
        t->end->shut_wr = true;
    }
    if (up_to(rand, 2)) {
        host_end_read(t->end, up_to(rand, 3 * most));
    }
    if (fake_ring_avail(vm->rings, VSK_QUEUE_RX) < 200) {
        guest_give(guest, up_to(rand, 20), up_to(rand, 8) ? 4096 : 10);
    }
    vm_kick(vm, VSK_QUEUE_RX);
    vm_kick(vm, VSK_QUEUE_TX);
    guest_pull(guest);
    if (up_to(rand, 2) && t->flow->phase == GUEST_OPEN) {
        guest_take(guest, t->flow, up_to(rand, VM_BUF_ALLOC));
    }
}

static void transfer(unsigned int n, uint32_t total, uint32_t seed,
                     uint32_t buf_alloc)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) {
        .buf_alloc = buf_alloc,
    });
    g_autoptr(Guest) guest = guest_new(vm, rand);
    g_autofree Transfer *ts = g_new0(Transfer, n);
    int listener = vm_listen(vm, HOST_PORT, 64);
    unsigned int done = 0;

    guest_give(guest, 100, 4096);
    for (unsigned int i = 0; i < n; i++) {
        ts[i].flow = guest_flow(guest, VSK_TYPE_STREAM, 1000 + i, HOST_PORT);
        guest_request(guest, ts[i].flow);
    }
    vm_kick(vm, VSK_QUEUE_TX);
    for (unsigned int i = 0; i < n; i++) {
        ts[i].end = host_end_accept(listener, VSK_TYPE_STREAM, HOST_PORT);
        g_assert_nonnull(ts[i].end);
    }
    guest_pull(guest);
    for (int round = 0; done < n; round++) {
        g_assert_cmpint(round, <, 20000); /* it hangs */
        done = 0;
        for (unsigned int i = 0; i < n; i++) {
            step(vm, guest, rand, &ts[i], total);
            done += ts[i].end->eof && ts[i].flow->phase == GUEST_CLOSED;
        }
    }
    for (unsigned int i = 0; i < n; i++) {
        g_assert_cmpuint(ts[i].end->received, ==, total);
        host_end_close(ts[i].end);
    }
    vm_kick(vm, VSK_QUEUE_TX); /* the guest's last word */
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    g_assert_cmpuint(vm_stats(vm).bytes_to_guest, ==, (uint64_t)n * total);
    g_assert_cmpuint(vm_stats(vm).bytes_from_guest, ==, (uint64_t)n * total);
    g_assert_cmpuint(vm_stats(vm).staged, ==, 0);
    close(listener);
}

static void test_one_flow(void)
{
    transfer(1, 10 << 20, 1, 0);
}

static void test_small_window(void)
{
    transfer(1, 1 << 20, 2, 8192);
}

static void test_many_flows(void)
{
    transfer(16, 256 << 10, 3, 0);
}

static void test_short_flows(void)
{
    for (uint32_t total = 0; total < 20; total++) {
        transfer(3, total, total, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dev/transfer/10-mb-both-ways", test_one_flow);
    g_test_add_func("/dev/transfer/small-window", test_small_window);
    g_test_add_func("/dev/transfer/16-flows", test_many_flows);
    g_test_add_func("/dev/transfer/short-flows", test_short_flows);
    return g_test_run();
}
