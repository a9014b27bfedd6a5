/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * TRANSPORT_RESET: what the device does until its driver has taken it.
 */

#include "vsock-limits.h"
#include "unix-socket.h"
#include "vm.h"

#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

/* --- Transport reset ----------------------------------------------------- */

static void transport_reset(Vm *vm)
{
    vsk_dev_transport_reset(vm->dev, vm->now_ms);
    vm_settle(vm);
}

static void expect_event(Vm *vm)
{
    FakeChain *chain = fake_ring_take(vm->rings, VSK_QUEUE_EVENT);

    g_assert_nonnull(chain);
    g_assert_cmpuint(chain->used, ==, 4);
    g_assert_cmpmem(chain->in[0].iov_base, 4, "\0\0\0\0", 4);
    fake_chain_free(chain);
}

static void expect_no_event(Vm *vm)
{
    g_assert_null(fake_ring_take(vm->rings, VSK_QUEUE_EVENT));
}

static void expect_request(Vm *vm)
{
    g_assert_true(vm_get(vm));
    g_assert_cmpint(vm->hdr.op, ==, VSK_OP_REQUEST);
}

static void test_event_ends_flows_and_keeps_listeners(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vm_give(vm, VSK_QUEUE_EVENT, 8, 4);
    transport_reset(vm);
    expect_event(vm);
    expect_no_event(vm);
    unix_expect_last(fd, "");
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    vm_expect_nothing(vm);
    close(fd);
    close(vm_open(vm, listener, GUEST_PORT, HOST_PORT));
    close(listener);
}

static void test_rx_is_held_until_the_event_is_taken(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_give(vm, VSK_QUEUE_EVENT, 8, 4);
    transport_reset(vm);
    client = vm_client(vm, 22);
    vm_say(vm, VSK_OP_RW, 1, 2); /* TX is not */
    g_assert_cmpuint(vm_take_tx(vm), ==, 1);
    vm_expect_nothing(vm);
    g_assert_cmpint(vsk_dev_next_deadline(vm->dev), ==,
                    vm->now_ms + VSK_EVENT_TIMEOUT_MS);
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    vm_expect(vm, VSK_OP_RST, 1, 2);
    expect_request(vm);
    close(client);
}

static void test_notification_alone_does_not_take_the_event(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_give(vm, VSK_QUEUE_EVENT, 8, 4);
    transport_reset(vm);
    client = vm_client(vm, 22);
    vsk_dev_kick(vm->dev, VSK_QUEUE_EVENT, vm->now_ms);
    vm_settle(vm);
    vm_expect_nothing(vm);
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    expect_request(vm);
    close(client);
}

static void test_more_event_buffers_than_are_counted(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_give(vm, VSK_QUEUE_EVENT, 40, 4);
    transport_reset(vm);
    expect_event(vm);
    client = vm_client(vm, 22);
    expect_request(vm);
    close(client);
}

static void test_rx_goes_on_if_the_event_is_not_taken(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_give(vm, VSK_QUEUE_EVENT, 8, 4);
    transport_reset(vm);
    vm_passes(vm, 500);
    client = vm_client(vm, 22);
    vm_passes(vm, VSK_EVENT_TIMEOUT_MS - 501);
    vm_expect_nothing(vm);
    vm_passes(vm, 1);
    expect_request(vm);
    close(client);
}

static void test_rx_goes_on_without_event_buffers(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    transport_reset(vm);
    unix_expect_last(fd, "");
    close(fd);
    vm_say(vm, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_passes(vm, VSK_EVENT_TIMEOUT_MS - 1);
    vm_expect_nothing(vm);
    vm_passes(vm, 1);
    vm_expect(vm, VSK_OP_RESPONSE, GUEST_PORT, HOST_PORT);
    fd = unix_accept(listener);
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4); /* late, and still owed */
    expect_event(vm);
    unix_expect_last(fd, ""); /* the driver ends all its flows now */
    close(fd);
    close(listener);
}

static void test_short_event_buffer_is_returned(void)
{
    g_autoptr(Vm) vm = vm_new();

    for (size_t size = 0; size < 4; size++) {
        fake_ring_add(vm->rings, VSK_QUEUE_EVENT,
                      fake_chain_new(NULL, 0, &size, 1));
    }
    fake_ring_add(vm->rings, VSK_QUEUE_EVENT,
                  fake_chain_new(NULL, 0, (size_t[]) { 4 }, 1));
    transport_reset(vm);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_EVENT_CHAIN_SHORT), ==, 4);
    for (int i = 0; i < 4; i++) {
        FakeChain *chain = fake_ring_take(vm->rings, VSK_QUEUE_EVENT);

        g_assert_cmpuint(chain->used, ==, 0);
        fake_chain_free(chain);
    }
    expect_event(vm);
}

static void test_many_short_event_buffers(void)
{
    g_autoptr(Vm) vm = vm_new();
    enum { N = 2 * VSK_CALL_PACKETS };
    unsigned int back = 0;

    for (int i = 0; i < N; i++) {
        fake_ring_add(vm->rings, VSK_QUEUE_EVENT,
                      fake_chain_new(NULL, 0, (size_t[]) { 3 }, 1));
    }
    fake_ring_add(vm->rings, VSK_QUEUE_EVENT,
                  fake_chain_new(NULL, 0, (size_t[]) { 4 }, 1));
    vsk_dev_transport_reset(vm->dev, vm->now_ms);
    g_assert_cmpuint(fake_ring_avail(vm->rings, VSK_QUEUE_EVENT), >, 0);
    vm_settle(vm);
    for (; back < N; back++) {
        FakeChain *chain = fake_ring_take(vm->rings, VSK_QUEUE_EVENT);

        g_assert_cmpuint(chain->used, ==, 0);
        fake_chain_free(chain);
    }
    expect_event(vm);
}

static void test_new_driver_needs_no_event(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    transport_reset(vm);
    vm_stop_driver(vm);
    vm_start_driver(vm);
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    expect_no_event(vm);
    vm_give(vm, VSK_QUEUE_RX, 1, 4096);
    client = vm_client(vm, 22);
    expect_request(vm);
    close(client);
}

static void test_event_waits_for_the_end_of_a_pause(void)
{
    g_autoptr(Vm) vm = vm_new();

    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    vm_set_paused(vm, true);
    transport_reset(vm);
    vm_passes(vm, 10);
    vm_set_paused(vm, false);
    expect_event(vm);
}

/* Held for the whole of the timeout, whatever was of it before the pause. */
static void test_pause_does_not_use_up_the_events_time(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    vm_set_paused(vm, true);
    transport_reset(vm);
    vm_passes(vm, 10 * VSK_EVENT_TIMEOUT_MS);
    vm_set_paused(vm, false);
    expect_event(vm);
    client = vm_client(vm, 22);
    vm_expect_nothing(vm);
    vm_give(vm, VSK_QUEUE_EVENT, 1, 4);
    expect_request(vm);
    close(client);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/" path, fn)
    TEST("event/ends-flows-and-keeps-listeners",
         test_event_ends_flows_and_keeps_listeners);
    TEST("event/rx-is-held-until-it-is-taken",
         test_rx_is_held_until_the_event_is_taken);
    TEST("event/notification-alone-does-not-take-it",
         test_notification_alone_does_not_take_the_event);
    TEST("event/more-buffers-than-are-counted-do-not-hold-rx",
         test_more_event_buffers_than_are_counted);
    TEST("event/rx-goes-on-if-it-is-not-taken",
         test_rx_goes_on_if_the_event_is_not_taken);
    TEST("event/rx-goes-on-without-event-buffers",
         test_rx_goes_on_without_event_buffers);
    TEST("event/short-buffer-is-returned",
         test_short_event_buffer_is_returned);
    TEST("event/many-short-buffers", test_many_short_event_buffers);
    TEST("event/new-driver-needs-none", test_new_driver_needs_no_event);
    TEST("event/waits-for-the-end-of-a-pause",
         test_event_waits_for_the_end_of_a_pause);
    TEST("event/pause-does-not-use-up-its-time",
         test_pause_does_not_use_up_the_events_time);
    return g_test_run();
}
