/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A whole device under test.
 */

#include "vm.h"
#include "pkt.h"
#include "unix-socket.h"
#include "vsock-path.h"

#include <poll.h>
#include <string.h>

#define RX_SIZE 4096

Vm *vm_new_bare(const VskDevConfig *config)
{
    Vm *vm = g_new0(Vm, 1);
    VskDevConfig full = *config;
    g_autoptr(GError) err = NULL;

    vm->dir = temp_dir_new();
    vm->path = temp_dir_file(vm->dir, "3.vsock");
    vm->shared = temp_dir_file(vm->dir, "2.vsock");
    vm->rings = fake_rings_new();
    vm->payload = g_byte_array_new();
    vm->now_ms = 1000;
    vm->buf_alloc = VM_BUF_ALLOC;
    vm->features = config->seqpacket ? 1ull << VSK_F_SEQPACKET : 0;
    vm->type = config->seqpacket ? VSK_TYPE_SEQPACKET : VSK_TYPE_STREAM;
    full.guest_cid = VM_CID;
    full.uds_path = vm->path;
    full.shared_path = vm->shared;
    full.seed = unique_seed();
    vm->dev = vsk_dev_new(&full, &fake_ring_ops, vm->rings, &err);
    g_assert_no_error(err);
    vsk_dev_set_driver_ok(vm->dev, true, vm->features, vm->now_ms);
    vm_settle(vm);
    return vm;
}

static Vm *new_with_buffers(bool seqpacket)
{
    Vm *vm = vm_new_bare(&(VskDevConfig) { .seqpacket = seqpacket });

    vm_give(vm, VSK_QUEUE_RX, 64, RX_SIZE);
    return vm;
}

Vm *vm_new(void)
{
    return new_with_buffers(false);
}

Vm *vm_new_seqpacket(void)
{
    return new_with_buffers(true);
}

void vm_free(Vm *vm)
{
    if (vm) {
        vsk_dev_free(vm->dev);
        fake_rings_free(vm->rings);
        temp_dir_free(vm->dir);
        g_byte_array_unref(vm->payload);
        g_free(vm->path);
        g_free(vm->shared);
        g_free(vm);
    }
}

void vm_settle(Vm *vm)
{
    struct pollfd pfd = { .fd = vsk_dev_get_fd(vm->dev), .events = POLLIN };

    for (int i = 0; i < 2000; i++) {
        int64_t at = vsk_dev_next_deadline(vm->dev);

        fake_rings_assert_at_rest(vm->rings);
        if (poll(&pfd, 1, 0) == 0 && (at < 0 || at > vm->now_ms)) {
            return;
        }
        vsk_dev_dispatch(vm->dev, vm->now_ms);
    }
    g_assert_not_reached(); /* it spins */
}

void vm_passes(Vm *vm, int64_t ms)
{
    vm->now_ms += ms;
    vm_settle(vm);
}

void vm_stop_driver(Vm *vm)
{
    vsk_dev_set_driver_ok(vm->dev, false, 0, vm->now_ms);
    vm_settle(vm);
    fake_rings_clear(vm->rings);
    vm->rings->forbidden = true;
}

void vm_start_driver(Vm *vm)
{
    vm->rings->forbidden = false;
    vsk_dev_set_driver_ok(vm->dev, true, vm->features, vm->now_ms);
    vm_settle(vm);
}

void vm_set_paused(Vm *vm, bool paused)
{
    if (!paused) {
        vm->rings->forbidden = false;
    }
    vsk_dev_set_paused(vm->dev, paused, vm->now_ms);
    vm_settle(vm);
    vm->rings->forbidden = paused;
}

/* --- The guest's driver -------------------------------------------------- */

VskHdr vm_hdr(const Vm *vm, VskOp op, uint32_t guest_port,
              uint32_t host_port)
{
    return (VskHdr) {
        .src_cid = VM_CID,
        .dst_cid = VSK_CID_HOST,
        .src_port = guest_port,
        .dst_port = host_port,
        .type = vm->type,
        .op = op,
        .buf_alloc = vm->buf_alloc,
        .fwd_cnt = vm->fwd_cnt,
    };
}

void vm_put_pieces(Vm *vm, const VskHdr *hdr, const void *payload, size_t len,
                   const size_t *sizes, unsigned int n)
{
    FakeChain *chain = fake_chain_new(sizes, n, NULL, 0);
    g_autofree char *packet = g_malloc(VSK_HDR_SIZE + len);
    struct iovec iov = { packet, VSK_HDR_SIZE };

    vsk_hdr_encode(hdr, &iov, 1);
    if (len) {
        memcpy(packet + VSK_HDR_SIZE, payload, len);
    }
    vsk_iov_from_buf(chain->out, n, packet, VSK_HDR_SIZE + len);
    fake_ring_add(vm->rings, VSK_QUEUE_TX, chain);
}

void vm_put(Vm *vm, const VskHdr *hdr, const void *payload, size_t len)
{
    size_t sizes[] = { VSK_HDR_SIZE, len };

    vm_put_pieces(vm, hdr, payload, len, sizes, len ? 2 : 1);
}

void vm_kick(Vm *vm, VskQueue queue)
{
    vsk_dev_kick(vm->dev, queue, vm->now_ms);
    fake_rings_assert_at_rest(vm->rings);
    vm_settle(vm);
}

void vm_say(Vm *vm, VskOp op, uint32_t guest_port, uint32_t host_port)
{
    VskHdr hdr = vm_hdr(vm, op, guest_port, host_port);

    vm_put(vm, &hdr, NULL, 0);
    vm_kick(vm, VSK_QUEUE_TX);
}

void vm_send(Vm *vm, uint32_t guest_port, uint32_t host_port,
             const char *text)
{
    VskHdr hdr = vm_hdr(vm, VSK_OP_RW, guest_port, host_port);

    hdr.len = (uint32_t)strlen(text);
    vm_put(vm, &hdr, text, hdr.len);
    vm_kick(vm, VSK_QUEUE_TX);
}

unsigned int vm_take_tx(Vm *vm)
{
    FakeChain *chain;
    unsigned int n = 0;

    while ((chain = fake_ring_take(vm->rings, VSK_QUEUE_TX))) {
        g_assert_cmpuint(chain->used, ==, 0);
        fake_chain_free(chain);
        n++;
    }
    return n;
}

void vm_give(Vm *vm, VskQueue queue, unsigned int n, size_t size)
{
    for (unsigned int i = 0; i < n; i++) {
        fake_ring_add(vm->rings, queue, fake_chain_new(NULL, 0, &size, 1));
    }
    vm_kick(vm, queue);
}

bool vm_get(Vm *vm)
{
    FakeChain *chain = fake_ring_take(vm->rings, VSK_QUEUE_RX);
    guint len;

    if (!chain) {
        return false;
    }
    g_assert_cmpuint(chain->used, >=, VSK_HDR_SIZE);
    g_assert_true(vsk_hdr_decode(chain->in, chain->n_in, &vm->hdr));
    len = vm->hdr.len;
    g_assert_cmpuint(chain->used, ==, VSK_HDR_SIZE + len);
    g_byte_array_set_size(vm->payload, chain->used);
    vsk_iov_to_buf(chain->in, chain->n_in, vm->payload->data, chain->used);
    g_byte_array_remove_range(vm->payload, 0, VSK_HDR_SIZE);
    g_assert_cmpuint(vm->hdr.dst_cid, ==, VM_CID);
    g_assert_cmpuint(vm->hdr.src_cid, ==, VSK_CID_HOST);
    fake_chain_free(chain);
    return true;
}

void vm_expect(Vm *vm, VskOp op, uint32_t guest_port, uint32_t host_port)
{
    g_assert_true(vm_get(vm));
    g_assert_cmpint(vm->hdr.op, ==, op);
    g_assert_cmpuint(vm->hdr.dst_port, ==, guest_port);
    g_assert_cmpuint(vm->hdr.src_port, ==, host_port);
}

void vm_expect_data(Vm *vm, uint32_t guest_port, uint32_t host_port,
                    const char *text)
{
    vm_expect(vm, VSK_OP_RW, guest_port, host_port);
    g_assert_cmpmem(vm->payload->data, vm->payload->len, text, strlen(text));
}

void vm_expect_nothing(Vm *vm)
{
    vm_settle(vm);
    g_assert_false(vm_get(vm));
}

/* --- Host programs ------------------------------------------------------- */

int vm_listen(Vm *vm, uint32_t port, int backlog)
{
    char path[VSK_SUN_PATH_SIZE];

    g_assert_cmpint(vsk_path_for_port(vm->path, port, path), ==, 0);
    return vm->type == VSK_TYPE_SEQPACKET ? unix_bind_seqpacket(path, backlog)
                                          : unix_bind(path, backlog);
}

int vm_client(Vm *vm, uint32_t port)
{
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", port);
    char path[VSK_SUN_PATH_SIZE];
    int fd;

    if (vm->type == VSK_TYPE_SEQPACKET) {
        g_assert_cmpint(vsk_path_for_seqpacket(vm->path, path), ==, 0);
        fd = unix_connect_seqpacket(path);
    } else {
        fd = unix_connect(vm->path);
    }
    unix_write(fd, line);
    vm_settle(vm);
    return fd;
}

int vm_open(Vm *vm, int listener, uint32_t guest_port, uint32_t host_port)
{
    vm_say(vm, VSK_OP_REQUEST, guest_port, host_port);
    vm_expect(vm, VSK_OP_RESPONSE, guest_port, host_port);
    return unix_accept(listener);
}

int vm_open_from_host(Vm *vm, uint32_t guest_port, uint32_t *ret_host_port)
{
    int client = vm_client(vm, guest_port);
    g_autofree char *ok = NULL;

    g_assert_true(vm_get(vm));
    g_assert_cmpint(vm->hdr.op, ==, VSK_OP_REQUEST);
    g_assert_cmpuint(vm->hdr.dst_port, ==, guest_port);
    *ret_host_port = vm->hdr.src_port;
    vm_say(vm, VSK_OP_RESPONSE, guest_port, *ret_host_port);
    ok = g_strdup_printf("OK %u\n", *ret_host_port);
    unix_expect(client, ok);
    return client;
}

VskStats vm_stats(const Vm *vm)
{
    VskStats stats;

    vsk_dev_get_stats(vm->dev, &stats);
    return stats;
}

unsigned int vm_refused(Vm *vm, VskRefusal why)
{
    unsigned int total = vm->rings->refused[why];
    unsigned int n = total - vm->seen_refused[why];

    g_assert_cmpuint(vm_stats(vm).refused[why], ==, total);
    vm->seen_refused[why] = total;
    return n;
}
