/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device as its embedder sees it: configuration, driver, pause, statistics.
 */

#include "vsock-limits.h"
#include "unix-socket.h"
#include "vm.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST_PORT 1024
#define HOST_PORT  80

/* --- Configuration ------------------------------------------------------- */

static void expect_bad_config(const VskDevConfig *config, const char *text)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(VskDev) dev = vsk_dev_new(config, &fake_ring_ops, NULL, &err);

    g_assert_null(dev);
    g_assert_error(err, VSK_ERROR, VSK_ERROR_INVALID);
    g_assert_nonnull(strstr(err->message, text));
}

static void test_reserved_cids(void)
{
    static const uint64_t bad[] = {
        0, 1, 2, UINT32_MAX, 1ull << 32, 3 | 1ull << 32, UINT64_MAX,
    };
    static const uint64_t good[] = { 3, UINT32_MAX - 1 };
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "vsock");
    VskDevConfig config = { .uds_path = path };

    for (unsigned int i = 0; i < G_N_ELEMENTS(bad); i++) {
        config.guest_cid = bad[i];
        expect_bad_config(&config, "CID");
        g_assert_false(file_exists(path));
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) err = NULL;
        g_autoptr(VskDev) dev = NULL;

        config.guest_cid = good[i];
        dev = vsk_dev_new(&config, &fake_ring_ops, NULL, &err);
        g_assert_no_error(err);
    }
}

static void test_bad_values(void)
{
    g_autofree char *longer = g_strnfill(VSK_PATH_MAX + 1, 'p');

    expect_bad_config(&(VskDevConfig) { .guest_cid = 3 }, "path");
    expect_bad_config(&(VskDevConfig) { .guest_cid = 3, .uds_path = "" },
                      "path");
    expect_bad_config(&(VskDevConfig) {
        .guest_cid = 3, .uds_path = longer,
    }, longer);
    expect_bad_config(&(VskDevConfig) {
        .guest_cid = 3, .uds_path = "x", .shared_path = longer,
    }, longer);
    expect_bad_config(&(VskDevConfig) {
        .guest_cid = 3, .uds_path = "x", .buf_alloc = VSK_MIN_BUF_ALLOC - 1,
    }, "8192");
}

/* Beyond the range of each there is no device, and the text names both. */
static void test_settings_have_a_range(void)
{
#define WITH(member, value) \
    &(VskDevConfig) { .guest_cid = 3, .uds_path = "x", .member = (value) }
#define REFUSED(member, name, least, most) \
    do { \
        if ((least) > 1) { \
            expect_bad_config(WITH(member, 1), name "=1 is not in the range"); \
            expect_bad_config(WITH(member, (least) - 1), name "="); \
        } \
        expect_bad_config(WITH(member, (most) + 1), name "="); \
    } while (0)

    REFUSED(max_conns, "max-conns", VSK_LEAST_CONNS, VSK_MOST_CONNS);
    REFUSED(buf_alloc, "buf-alloc", VSK_MIN_BUF_ALLOC, VSK_MOST_BUF_ALLOC);
    REFUSED(max_staged, "max-staged", VSK_LEAST_STAGED, VSK_MOST_STAGED);
    REFUSED(request_timeout_ms, "request-timeout-ms", VSK_LEAST_TIMEOUT_MS,
            VSK_MOST_TIMEOUT_MS);
    REFUSED(close_timeout_ms, "close-timeout-ms", VSK_LEAST_TIMEOUT_MS,
            VSK_MOST_TIMEOUT_MS);
    REFUSED(line_timeout_ms, "line-timeout-ms", VSK_LEAST_TIMEOUT_MS,
            VSK_MOST_TIMEOUT_MS);
#undef REFUSED
#undef WITH
}

/* At the ends of the ranges there is one, and it works. */
static void test_settings_at_their_ends(void)
{
    static const VskDevConfig rows[] = {
        { .max_conns = VSK_LEAST_CONNS, .buf_alloc = VSK_MIN_BUF_ALLOC,
          .max_staged = VSK_LEAST_STAGED,
          .request_timeout_ms = VSK_LEAST_TIMEOUT_MS,
          .close_timeout_ms = VSK_LEAST_TIMEOUT_MS,
          .line_timeout_ms = VSK_LEAST_TIMEOUT_MS },
        { .max_conns = VSK_MOST_CONNS, .buf_alloc = VSK_MOST_BUF_ALLOC,
          .max_staged = VSK_MOST_STAGED,
          .request_timeout_ms = VSK_MOST_TIMEOUT_MS,
          .close_timeout_ms = VSK_MOST_TIMEOUT_MS,
          .line_timeout_ms = VSK_MOST_TIMEOUT_MS },
        { .max_staged = VSK_LEAST_STAGED },
    };

    for (unsigned int i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Vm) vm = vm_new_bare(&rows[i]);
        int listener, fd;

        vm_give(vm, VSK_QUEUE_RX, 8, 4096);
        listener = vm_listen(vm, HOST_PORT, 8);
        fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
        vm_send(vm, GUEST_PORT, HOST_PORT, "works");
        unix_expect(fd, "works");
        close(fd);
        close(listener);
    }
}

static void test_cid_is_owned(void)
{
    g_autoptr(Vm) vm = vm_new();
    VskDevConfig config = { .guest_cid = VM_CID, .uds_path = vm->path };
    g_autoptr(GError) err = NULL;
    g_autoptr(VskDev) dev = vsk_dev_new(&config, &fake_ring_ops, NULL, &err);

    g_assert_null(dev);
    g_assert_error(err, VSK_ERROR, VSK_ERROR_CID_TAKEN);
    g_clear_error(&err);
    g_clear_pointer(&vm->dev, vsk_dev_free);
    dev = vsk_dev_new(&config, &fake_ring_ops, NULL, &err);
    g_assert_no_error(err);
}

static void test_free_leaves_nothing(void)
{
    unsigned int before = open_fds();
    Vm *vm = vm_new();
    g_autofree char *list = NULL;
    uint32_t port;
    int client = vm_open_from_host(vm, 22, &port);
    int silent = unix_connect(vm->path);

    vm_settle(vm);
    g_clear_pointer(&vm->dev, vsk_dev_free);
    list = temp_dir_list(vm->dir);
    g_assert_cmpstr(list, ==, "");
    unix_expect_last(client, "");
    unix_expect_last(silent, "");
    close(client);
    close(silent);
    vm_free(vm);
    vsk_dev_free(NULL);
    g_assert_cmpuint(open_fds(), ==, before);
}

static void test_two_devices_in_one_process(void)
{
    g_autoptr(Vm) a = vm_new();
    g_autoptr(Vm) b = vm_new();
    int listener = vm_listen(a, HOST_PORT, 1);

    vm_say(b, VSK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    vm_expect(b, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    close(vm_open(a, listener, GUEST_PORT, HOST_PORT));
    close(listener);
}

static void test_callbacks_may_be_missing(void)
{
    g_autoptr(TempDir) dir = temp_dir_new();
    g_autofree char *path = temp_dir_file(dir, "vsock");
    VskDevConfig config = { .guest_cid = VM_CID, .uds_path = path };
    FakeRings *rings = fake_rings_new();
    g_autoptr(VskDev) dev = vsk_dev_new(&config, &fake_ring_least_ops, rings,
                                        NULL);
    int client;
    VskStats stats;

    vsk_dev_set_driver_ok(dev, true, 0, 0);
    fake_ring_add(rings, VSK_QUEUE_TX,
                  fake_chain_new((size_t[]) { 3 }, 1, NULL, 0));
    fake_ring_add(rings, VSK_QUEUE_RX,
                  fake_chain_new(NULL, 0, (size_t[]) { 100 }, 1));
    client = unix_connect(path);
    unix_write(client, "CONNECT 5\n");
    vsk_dev_dispatch(dev, 0);
    vsk_dev_get_stats(dev, &stats);
    g_assert_cmpuint(stats.refused[VSK_REFUSED_TX_CHAIN_SHORT], ==, 1);
    g_assert_cmpuint(stats.packets_to_guest, ==, 1);
    close(client);
    fake_rings_free(rings);
}

/* --- Words and numbers --------------------------------------------------- */

static void test_each_refusal_has_its_words(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int why = 0; why < VSK_REFUSED_NUM; why++) {
        const char *name = vsk_refusal_name(why);

        g_assert_nonnull(name);
        g_assert_cmpuint(strlen(name), >, 5);
        g_assert_true(g_hash_table_add(seen, (char *)name));
    }
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "*VSK_REFUSED_NUM*");
    g_assert_cmpstr(vsk_refusal_name(VSK_REFUSED_NUM), ==, "unknown");
    g_test_assert_expected_messages();
}

static void test_each_op_has_its_name(void)
{
    g_assert_cmpstr(vsk_op_name(VSK_OP_INVALID), ==, "INVALID");
    g_assert_cmpstr(vsk_op_name(VSK_OP_CREDIT_REQUEST), ==, "CREDIT_REQUEST");
    for (int op = 0; op < VSK_OP_NUM; op++) {
        g_assert_nonnull(vsk_op_name((uint16_t)op));
    }
    g_assert_cmpstr(vsk_op_name(VSK_OP_NUM), ==, "unknown");
    g_assert_cmpstr(vsk_op_name(UINT16_MAX), ==, "unknown");
}

static void test_packet_in_words(void)
{
    VskHdr hdr = {
        .src_cid = 3,
        .dst_cid = 2,
        .src_port = 1024,
        .dst_port = 80,
        .len = 5,
        .op = VSK_OP_RW,
    };
    g_autofree char *text = vsk_packet_describe(&hdr);

    g_assert_cmpstr(text, ==, "(RW from 3:1024 to 2:80, 5 bytes)");
    g_assert_nonnull(vsk_refusal_warning(VSK_REFUSED_CREDIT));
    g_assert_null(vsk_refusal_warning(VSK_REFUSED_NO_LISTENER));
}

static void test_statistics(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    uint32_t port;
    int client = vm_open_from_host(vm, 22, &port);
    VskStats stats;

    vm_send(vm, GUEST_PORT, HOST_PORT, "12345");
    unix_write(fd, "123");
    vm_settle(vm);
    vm_say(vm, VSK_OP_RST, GUEST_PORT, HOST_PORT);
    stats = vm_stats(vm);
    g_assert_cmpuint(stats.conns_opened, ==, 2);
    g_assert_cmpuint(stats.conns, ==, 1);
    g_assert_cmpuint(stats.bytes_from_guest, ==, 5);
    g_assert_cmpuint(stats.bytes_to_guest, ==, 3);
    g_assert_cmpuint(stats.packets_from_guest, ==, vm->rings->packets[0]);
    g_assert_cmpuint(stats.packets_to_guest, ==, vm->rings->packets[1]);
    g_assert_cmpuint(stats.packets_from_guest, ==, 4);
    g_assert_cmpuint(stats.packets_to_guest, ==, 3);
    g_assert_cmpuint(vm->rings->bytes[0], ==, 5);
    g_assert_cmpuint(vm->rings->bytes[1], ==, 3);
    close(fd);
    close(client);
    close(listener);
}

/* --- The driver ---------------------------------------------------------- */

static void test_queues_are_left_alone_without_driver(void)
{
    g_autoptr(Vm) vm = vm_new();
    int client;

    vm_stop_driver(vm);
    client = vm_client(vm, 22);
    unix_expect_last(client, "");
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_NOT_READY), ==, 1);
    for (int queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        vm_kick(vm, queue);
    }
    vsk_dev_transport_reset(vm->dev, vm->now_ms);
    vm_passes(vm, 100000);
    vm->rings->forbidden = false;
    close(client);
}

static void test_packets_of_before_the_driver_was_ready(void)
{
    g_autoptr(Vm) vm = vm_new();
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, 1, 2);

    vm_stop_driver(vm);
    vm_put(vm, &hdr, NULL, 0); /* no kick will tell of these two */
    fake_ring_add(vm->rings, VSK_QUEUE_RX,
                  fake_chain_new(NULL, 0, (size_t[]) { 100 }, 1));
    vm_start_driver(vm);
    vm_expect(vm, VSK_OP_RST, 1, 2);
}

static void test_driver_reset_ends_flows(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    int waiting = vm_client(vm, 22);
    int silent = unix_connect(vm->path);

    vm_settle(vm);
    vm_send(vm, GUEST_PORT, HOST_PORT, "last");
    vm_stop_driver(vm);
    unix_expect_last(fd, "last");
    unix_expect_last(waiting, "");
    unix_expect_nothing(silent); /* it has asked for nothing yet */
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    vm_start_driver(vm);
    vm_give(vm, VSK_QUEUE_RX, 8, 4096);
    vm_expect_nothing(vm);
    close(vm_open(vm, listener, GUEST_PORT, HOST_PORT));
    close(fd);
    close(waiting);
    close(silent);
    close(listener);
}

/* What the guest had sent reaches the host program after its reset. */
static void test_driver_reset_drains(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    g_autofree char *text = g_strnfill(65536, 'x');
    g_autofree char *buf = g_malloc(65536);
    size_t sent = 0, got = 0;
    ssize_t n;

    while (vm_stats(vm).staged < 100000) {
        vm_send(vm, GUEST_PORT, HOST_PORT, text);
        sent += 65536;
        while (vm_get(vm)) {
            vm_give(vm, VSK_QUEUE_RX, 1, 4096);
        }
    }
    vm_stop_driver(vm);
    while ((n = unix_read(fd, buf, 65536)) > 0) {
        got += (size_t)n;
        vm_settle(vm);
    }
    g_assert_cmpint(n, ==, 0);
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(vm_stats(vm).conns, ==, 0);
    vm->rings->forbidden = false;
    close(fd);
    close(listener);
}

static void test_ready_twice_ends_nothing(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);

    vsk_dev_set_driver_ok(vm->dev, true, 0, vm->now_ms);
    vm_settle(vm);
    vm_send(vm, GUEST_PORT, HOST_PORT, "alive");
    unix_expect(fd, "alive");
    close(fd);
    close(listener);
}

/* --- Pause --------------------------------------------------------------- */

static void test_pause_leaves_queues_alone(void)
{
    g_autoptr(Vm) vm = vm_new();
    int listener = vm_listen(vm, HOST_PORT, 4);
    int fd = vm_open(vm, listener, GUEST_PORT, HOST_PORT);
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, GUEST_PORT, HOST_PORT);

    vm_set_paused(vm, true);
    hdr.len = 6;
    vm_put(vm, &hdr, "queued", 6);
    unix_write(fd, "written");
    for (int queue = 0; queue < VSK_QUEUE_NUM; queue++) {
        vm_kick(vm, queue);
    }
    vm_passes(vm, 100000);
    unix_expect_nothing(fd);
    vm_set_paused(vm, false);
    unix_expect(fd, "queued");
    vm_expect_data(vm, GUEST_PORT, HOST_PORT, "written");
    close(fd);
    close(listener);
}

static void test_pause_keeps_those_who_wait(void)
{
    g_autoptr(Vm) vm = vm_new();
    int before = vm_client(vm, 22);
    int within, listener = vm_listen(vm, HOST_PORT, 4);

    g_assert_true(vm_get(vm));
    close(vm_open(vm, listener, GUEST_PORT, HOST_PORT));
    vm_settle(vm);
    vm_expect(vm, VSK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
    vm_set_paused(vm, true);
    within = vm_client(vm, 23);
    vm_passes(vm, 1000000);
    unix_expect_nothing(before);
    unix_expect_nothing(within);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_REQUEST_TIMEOUT), ==, 0);
    g_assert_cmpuint(vm_refused(vm, VSK_REFUSED_CLOSE_TIMEOUT), ==, 0);
    vm_set_paused(vm, false);
    unix_expect_nothing(before);
    unix_expect_nothing(within);
    close(before);
    close(within);
    close(listener);
}

static void test_pause_with_a_starved_ring(void)
{
    g_autoptr(Vm) vm = vm_new_bare(&(VskDevConfig) { 0 });
    int client = vm_client(vm, 22); /* no buffer for its REQUEST */

    vm_set_paused(vm, true);
    fake_ring_add(vm->rings, VSK_QUEUE_RX,
                  fake_chain_new(NULL, 0, (size_t[]) { 100 }, 1));
    vm_kick(vm, VSK_QUEUE_RX);
    vm_set_paused(vm, false);
    g_assert_true(vm_get(vm));
    g_assert_cmpint(vm->hdr.op, ==, VSK_OP_REQUEST);
    close(client);
}

static void test_driver_comes_up_while_paused(void)
{
    g_autoptr(Vm) vm = vm_new();
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, 1, 2);

    vm_stop_driver(vm);
    vm_set_paused(vm, true);
    vsk_dev_set_driver_ok(vm->dev, true, 0, vm->now_ms);
    vm_settle(vm);
    vm->rings->forbidden = false;
    vm_put(vm, &hdr, NULL, 0);
    fake_ring_add(vm->rings, VSK_QUEUE_RX,
                  fake_chain_new(NULL, 0, (size_t[]) { 100 }, 1));
    vm_set_paused(vm, false);
    vm_expect(vm, VSK_OP_RST, 1, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/dev/" path, fn)
    TEST("config/reserved-cids-are-refused", test_reserved_cids);
    TEST("config/bad-values-are-refused", test_bad_values);
    TEST("limits/settings-have-a-range", test_settings_have_a_range);
    TEST("limits/settings-at-their-ends", test_settings_at_their_ends);
    TEST("config/cid-is-owned", test_cid_is_owned);
    TEST("config/callbacks-may-be-missing", test_callbacks_may_be_missing);
    TEST("free/leaves-nothing", test_free_leaves_nothing);
    TEST("many/two-in-one-process", test_two_devices_in_one_process);
    TEST("stats/each-refusal-has-its-words",
         test_each_refusal_has_its_words);
    TEST("stats/each-op-has-its-name", test_each_op_has_its_name);
    TEST("stats/packet-in-words", test_packet_in_words);
    TEST("stats/count", test_statistics);
    TEST("driver/none-and-queues-are-left-alone",
         test_queues_are_left_alone_without_driver);
    TEST("driver/packets-of-before-it-was-ready",
         test_packets_of_before_the_driver_was_ready);
    TEST("driver/reset-ends-flows", test_driver_reset_ends_flows);
    TEST("driver/reset-drains", test_driver_reset_drains);
    TEST("driver/ready-twice-ends-nothing", test_ready_twice_ends_nothing);
    TEST("pause/leaves-queues-alone", test_pause_leaves_queues_alone);
    TEST("pause/keeps-those-who-wait", test_pause_keeps_those_who_wait);
    TEST("pause/with-a-starved-ring", test_pause_with_a_starved_ring);
    TEST("pause/driver-comes-up-within", test_driver_comes_up_while_paused);
    return g_test_run();
}
