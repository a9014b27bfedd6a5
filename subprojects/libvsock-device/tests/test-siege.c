/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Guests and host programs that ask for much and give nothing.  After each, a
 * clean connection works, descriptors and memory are back, the device is idle.
 */

#include "storm.h"
#include "unix-socket.h"
#include "vsock-limits.h"

#include <sys/socket.h>
#include <unistd.h>

static void close_all(Storm *storm)
{
    for (guint i = 0; i < storm->ends->len; i++) {
        HostEnd *end = g_ptr_array_index(storm->ends, i);

        if (end->fd >= 0) {
            close(end->fd);
            end->fd = -1;
        }
    }
}

static void run(const Scenario *scenario)
{
    g_autoptr(Storm) storm = storm_new(scenario);

    storm_run(storm);
    storm_assert_calm(storm);
}

/* --- The backlog --------------------------------------------------------- */

static void never_accept(Storm *storm, unsigned int round)
{
    storm->hosts_sleep = round < 12;
    if (round == 11) {
        /* One waits more than the backlog says. */
        g_assert_cmpuint(vm_stats(storm->vm).conns, ==, 6);
        g_assert_cmpuint(vm_refused(storm->vm, VSK_REFUSED_BACKLOG), ==, 994);
    }
}

static void test_full_backlog(void)
{
    run(&(Scenario) {
        .type = VSK_TYPE_STREAM,
        .n_guest = 1000,
        .guest_sends = 10,
        .host_sends = 10,
        .backlog = 5,
        .one_listener = true,
        .weather = never_accept,
    });
}

/* --- Those who never read ------------------------------------------------ */

static void hosts_read_nothing_and_leave(Storm *storm, unsigned int round)
{
    storm->hosts_deaf = round < 80;
    if (round == 79) {
        VskStats stats = vm_stats(storm->vm);
        uint32_t most = 16 * storm->scenario->window;

        g_assert_cmpuint(stats.conns, ==, 16);
        g_assert_cmpuint(stats.staged, >, most / 2);
        g_assert_cmpuint(stats.staged, <=, most);
        close_all(storm);
    }
}

static void test_host_programs_never_read(void)
{
    run(&(Scenario) {
        .type = VSK_TYPE_STREAM,
        .n_guest = 16,
        .guest_sends = 2000000,
        .window = VSK_DEFAULT_BUF_ALLOC,
        .weather = hosts_read_nothing_and_leave,
    });
}

static void test_host_programs_never_read_messages(void)
{
    run(&(Scenario) {
        .type = VSK_TYPE_SEQPACKET,
        .n_guest = 16,
        .guest_sends = 6000,
        .window = 16384,
        .weather = hosts_read_nothing_and_leave,
    });
}

static void guest_reads_nothing_and_leaves(Storm *storm, unsigned int round)
{
    storm->guest->hoards = round < 8;
    if (round == 7) {
        g_assert_cmpuint(vm_stats(storm->vm).conns, ==, 40);
        g_assert_cmpuint(vm_stats(storm->vm).staged, ==, 0);
        storm_reset_driver(storm);
    }
}

static void test_guest_never_reads(void)
{
    run(&(Scenario) {
        .type = VSK_TYPE_STREAM,
        .n_host = 40,
        .host_sends = 400000,
        .buf_alloc = 8192,
        .weather = guest_reads_nothing_and_leaves,
    });
}

/* --- Half-open clients --------------------------------------------------- */

/* What clients write; some then send no more, and some leave. */
static const char *const lines[] = {
    "", "C", "CONNECT", "CONNECT 12", "CONNECT 12\n", "CONNECT 12\nabc",
    "nonsense\n", "CONNECT 99999999999\n",
    "a line that is longer than any that means something\n",
};

static void test_half_open_clients(void)
{
    static const Scenario scenario = { .type = VSK_TYPE_STREAM };
    g_autoptr(Storm) storm = storm_new(&scenario);
    int fds[900];

    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = unix_connect(storm->vm->path);
        unix_write(fds[i], lines[i % G_N_ELEMENTS(lines)]);
        if (i / G_N_ELEMENTS(lines) % 3 == 1) {
            shutdown(fds[i], SHUT_WR);
        } else if (i / G_N_ELEMENTS(lines) % 3 == 2) {
            close(fds[i]);
            fds[i] = -1;
        }
        vm_settle(storm->vm);
    }
    /* The guest answers none of their REQUESTs. */
    vm_passes(storm->vm, VSK_DEFAULT_LINE_TIMEOUT_MS);
    vm_passes(storm->vm, VSK_DEFAULT_REQUEST_TIMEOUT_MS);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    storm_assert_calm(storm);
}

/* --- REQUESTs ------------------------------------------------------------ */

static void test_requests_to_closed_ports(void)
{
    static const Scenario scenario = { .type = VSK_TYPE_STREAM };
    g_autoptr(Storm) storm = storm_new(&scenario);
    Vm *vm = storm->vm;

    for (uint32_t i = 0; i < 100000; i++) {
        VskHdr hdr = vm_hdr(vm, VSK_OP_REQUEST, i, 5000 + i % 7);

        vm_put(vm, &hdr, NULL, 0);
        if (i % 32 == 31) {
            vm_kick(vm, VSK_QUEUE_TX);
            g_assert_cmpuint(vm_take_tx(vm), ==, 32);
            for (uint32_t n = i - 31; n <= i; n++) {
                vm_expect(vm, VSK_OP_RST, n, 5000 + n % 7);
            }
            vm_give(vm, VSK_QUEUE_RX, 32, 100);
        }
    }
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_NO_LISTENER), ==, 100000);
    storm_assert_calm(storm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/siege/" path, fn)
    TEST("1000-requests-to-a-full-backlog", test_full_backlog);
    TEST("host-programs-never-read", test_host_programs_never_read);
    TEST("host-programs-never-read-messages",
         test_host_programs_never_read_messages);
    TEST("guest-never-reads-40-clients", test_guest_never_reads);
    TEST("900-half-open-clients", test_half_open_clients);
    TEST("100000-requests-to-closed-ports", test_requests_to_closed_ports);
    return g_test_run();
}
