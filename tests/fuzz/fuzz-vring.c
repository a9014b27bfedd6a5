/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The split virtqueue of the library: a driver that writes anything anywhere
 * at any time, indirect tables, memory in pieces, and an inflight buffer that
 * lies.
 *
 * What holds: a chain is what a plain walk over the descriptors finds, or the
 * ring is broken; of guest memory nothing changes but what is told as dirty;
 * a broken ring writes nothing at all; the used ring has what was pushed, no
 * sooner than it was published.
 */

#include "bytes.h"
#include "vring-internal.h"

#include <string.h>

#define MAX_NUM 32
#define AVAIL   0x400 /* where the areas are, at most; all in region 0 */
#define USED    0x800
#define TABLES  0x1000 /* a place for indirect tables: region 1 */
#define MAX_OUT MAX_NUM

/* The guest's memory; neighbours for the guest are none for us. */
static const struct {
    uint64_t gpa;
    uint64_t size;
    size_t at;
} regions[] = {
    { 0, 0x1000, 0 },
    { 0x1000, 0x400, 0x1800 },
    { 0x1400, 0x400, 0x1000 },
    { 0x4000, 0x20, 0x1500 },
    { UINT64_MAX - 0xff, 0x100, 0x1d00 },
};

#define MEMORY 0x2000

typedef struct Piece {
    void *at;
    uint64_t len;
} Piece;

typedef struct World {
    FuzzBytes *in;
    VskVring *vring;
    VskVringConfig config;
    bool racing;        /* the driver writes while the ring is read */
    bool was_broken;    /* before the call that is under way */
    VskChain out[MAX_OUT];
    unsigned int n_out;
    uint16_t avail;     /* the driver's index */
    uint16_t used;      /* of the next push */
    uint16_t published;
    uint16_t signalled; /* published when last asked for an interrupt */
    bool ever_asked;
} World;

static uint8_t memory[MEMORY] __attribute__((aligned(4096)));
static uint8_t told[MEMORY]; /* as it is for who looks at what is dirty */

/* --- Memory -------------------------------------------------------------- */

static void *at_gpa(uint64_t gpa, uint64_t *len)
{
    for (unsigned int i = 0; i < G_N_ELEMENTS(regions); i++) {
        uint64_t offset = gpa - regions[i].gpa;

        if (offset < regions[i].size) {
            *len = MIN(*len, regions[i].size - offset);
            return memory + regions[i].at + offset;
        }
    }
    return NULL;
}

/* The driver writes. */
static void poke(size_t at, const void *bytes, size_t len)
{
    memcpy(memory + at, bytes, len);
    memcpy(told + at, bytes, len);
}

static void scribble(World *w)
{
    static const uint16_t places[] = { 0, AVAIL, USED, 0x1800 };
    size_t at = places[fuzz_below(w->in, 4)] + fuzz_u8(w->in) % 128;
    uint8_t byte = fuzz_u8(w->in);

    poke(at, &byte, 1);
}

static void *map(void *opaque, uint64_t gpa, uint64_t *len)
{
    World *w = opaque;

    CHECK(*len);
    if (w->racing) {
        scribble(w);
    }
    return at_gpa(gpa, len);
}

static void dirty(void *opaque, uint64_t gpa, uint64_t len)
{
    World *w = opaque;

    CHECK(!w->was_broken && len);
    while (len) {
        uint64_t n = len;
        uint8_t *at = at_gpa(gpa, &n);

        CHECK(at);
        memcpy(told + (at - memory), at, n);
        gpa += n;
        len -= n;
    }
}

static const VskVringOps ops = { .map = map, .dirty = dirty };

static uint16_t load(size_t at)
{
    return (uint16_t)(memory[at] | memory[at + 1] << 8);
}

/* --- A plain walk -------------------------------------------------------- */

/* Descriptor @i of the table at @gpa; false: it is not in memory. */
static bool get_desc(uint64_t gpa, unsigned int i, struct vring_desc *ret)
{
    for (unsigned int k = 0; k < sizeof(*ret); k++) {
        uint64_t one = 1;
        const uint8_t *byte = at_gpa(gpa + sizeof(*ret) * i + k, &one);

        if (!byte) {
            return false;
        }
        ((uint8_t *)ret)[k] = *byte;
    }
    return true;
}

/* Append where a buffer is; false: not in memory, or too many pieces. */
static bool add_pieces(Piece *pieces, unsigned int *n, uint64_t gpa,
                       uint64_t left)
{
    while (left) {
        uint64_t len = left;
        void *at = at_gpa(gpa, &len);

        if (!at || *n == VSK_MAX_CHAIN_IOV) {
            return false;
        }
        pieces[(*n)++] = (Piece) { at, len };
        gpa += len;
        left -= len;
    }
    return true;
}

static bool walk(const World *w, unsigned int head, Piece *pieces,
                 unsigned int *ret_n, unsigned int *ret_n_out)
{
    unsigned int size = w->config.num, i = head, seen = 0;
    bool writing = false;
    struct vring_desc desc;
    uint64_t table = 0;

    *ret_n = *ret_n_out = 0;
    if (head >= size || !get_desc(0, head, &desc)) {
        return false;
    }
    if (desc.flags & VRING_DESC_F_INDIRECT) {
        if (!w->config.indirect || desc.flags & VRING_DESC_F_NEXT ||
            !desc.len || desc.len % 16 ||
            desc.len / 16 > MAX(size, VSK_MAX_CHAIN_IOV)) {
            return false;
        }
        table = desc.addr;
        size = desc.len / 16;
        i = 0;
    }
    do {
        bool reads;

        if (seen++ == size || i >= size || !get_desc(table, i, &desc) ||
            desc.flags & VRING_DESC_F_INDIRECT) {
            return false;
        }
        reads = !(desc.flags & VRING_DESC_F_WRITE);
        if ((reads && writing) || !desc.len ||
            !add_pieces(pieces, ret_n, desc.addr, desc.len)) {
            return false;
        }
        writing = !reads;
        *ret_n_out = reads ? *ret_n : *ret_n_out;
        i = desc.next;
    } while (desc.flags & VRING_DESC_F_NEXT);
    return true;
}

/* --- The device ---------------------------------------------------------- */

static void check_pieces(const VskChain *chain, const Piece *pieces,
                         unsigned int n, unsigned int n_out)
{
    CHECK(chain->n_out == n_out && chain->n_in == n - n_out);
    for (unsigned int i = 0; i < n; i++) {
        const struct iovec *iov = i < n_out ? &chain->out[i]
                                            : &chain->in[i - n_out];

        CHECK(iov->iov_base == pieces[i].at && iov->iov_len == pieces[i].len);
    }
}

/* All in the guest's memory, whatever it was that was read. */
static void check_inside(const struct iovec *iov, unsigned int n)
{
    CHECK(n <= VSK_MAX_CHAIN_IOV);
    for (unsigned int i = 0; i < n; i++) {
        size_t at = (size_t)((uint8_t *)iov[i].iov_base - memory);
        bool inside = false;

        for (unsigned int k = 0; k < G_N_ELEMENTS(regions); k++) {
            inside |= at >= regions[k].at &&
                      at + iov[i].iov_len <= regions[k].at + regions[k].size;
        }
        CHECK(inside && iov[i].iov_len);
    }
}

static void pop(World *w)
{
    static Piece pieces[VSK_MAX_CHAIN_IOV];
    const VskVring *v = w->vring;
    uint16_t at = vsk_vring_base(v), behind = (uint16_t)(load(AVAIL + 2) - at);
    bool again = v->n_resubmit, fresh = at == v->seen_avail;
    unsigned int head = again ? v->resubmit[v->n_resubmit - 1]
                              : load(AVAIL + 4 + 2 * (at % w->config.num));
    bool none = w->was_broken || (!again && fresh && !behind);
    bool jumped = !again && fresh && behind > w->config.num;
    VskChain *chain = &w->out[w->n_out];
    unsigned int n = 0, n_out = 0;
    bool ok = !none && !jumped && w->n_out < w->config.num &&
              walk(w, head, pieces, &n, &n_out);
    bool popped;

    if (w->n_out == MAX_OUT) {
        return;
    }
    popped = vsk_vring_pop(w->vring, chain);
    if (!w->racing) {
        CHECK(popped == ok);
        CHECK(popped || none || vsk_vring_broken(v));
    }
    if (!popped) {
        return;
    }
    check_inside(chain->out, chain->n_out);
    check_inside(chain->in, chain->n_in);
    CHECK(vsk_vring_base(v) == (uint16_t)(at + !again));
    if (!w->racing) {
        check_pieces(chain, pieces, n, n_out);
        CHECK(((VskElem *)chain->elem)->head == head);
    }
    w->n_out++;
}

static void unpop(World *w)
{
    uint16_t at = vsk_vring_base(w->vring);
    bool again;

    if (w->n_out) {
        again = ((VskElem *)w->out[w->n_out - 1].elem)->resubmitted;
        vsk_vring_unpop(w->vring, &w->out[--w->n_out]);
        CHECK(vsk_vring_base(w->vring) == (uint16_t)(at - !again));
    }
}

/* Write @len bytes, and give the chain back. */
static void push(World *w, unsigned int which, uint32_t len)
{
    VskChain *chain = &w->out[which];
    size_t slot = USED + 4 + 8 * (w->used % w->config.num);
    uint32_t left = w->was_broken ? 0 : len, head, wanted[2];

    head = ((VskElem *)chain->elem)->head;
    for (unsigned int i = 0; i < chain->n_in && left; i++) {
        uint32_t n = MIN(left, (uint32_t)chain->in[i].iov_len);

        memset(chain->in[i].iov_base, 0x5a, n);
        left -= n;
    }
    vsk_vring_push(w->vring, chain, len);
    *chain = w->out[--w->n_out];
    if (!w->was_broken) {
        wanted[0] = head;
        wanted[1] = len;
        CHECK(memcmp(memory + slot, wanted, sizeof(wanted)) == 0);
        w->used++;
    }
}

/* By counting: whether the index that the driver named was passed. */
static bool wants_interrupt(const World *w)
{
    uint16_t event = load(AVAIL + 4 + 2 * w->config.num);

    if (!w->config.event_idx) {
        return !(load(AVAIL) & 1);
    }
    for (uint16_t i = w->signalled; i != w->published; i++) {
        if (i == event) {
            return true;
        }
    }
    return !w->ever_asked;
}

static void publish(World *w)
{
    bool any = !w->was_broken && w->used != w->published;

    CHECK(vsk_vring_publish(w->vring) == any);
    if (any) {
        w->published = w->used;
        CHECK(load(USED + 2) == w->published);
        CHECK(vsk_vring_wants_interrupt(w->vring) == wants_interrupt(w));
        w->signalled = w->published;
        w->ever_asked = true;
    }
}

static void set_notification(World *w, bool enable)
{
    bool any = vsk_vring_set_notification(w->vring, enable);

    CHECK(any == (enable && vsk_vring_has_avail(w->vring)));
    if (w->was_broken) {
        CHECK(!any);
    } else if (!w->config.event_idx) {
        CHECK(load(USED) == !enable);
    } else if (enable) {
        CHECK(load(USED + 4 + 8 * w->config.num) == load(AVAIL + 2));
    }
}

/* --- The driver ---------------------------------------------------------- */

static void write_desc(World *w)
{
    static const uint64_t bases[] = { 0x1000, 0x1300, 0x3ff8, 0x4000, 0xf80,
                                      UINT64_MAX - 0xff, 0x13f0, 0x1040 };
    unsigned int i = fuzz_u8(w->in), shape = fuzz_u8(w->in);
    size_t table = shape & 0x80 ? 0x1800 : 0;
    struct vring_desc desc = {
        .addr = bases[shape % 8] + fuzz_u8(w->in),
        .len = (uint32_t)fuzz_u8(w->in) << (shape >> 3) % 4,
        .flags = fuzz_u8(w->in) % 8,
        .next = fuzz_u8(w->in) % (MAX_NUM + 1),
    };

    if (shape & 0x40) {
        desc.len &= ~15u; /* as tables have it */
        desc.len = desc.len ? desc.len : 16 * VSK_MAX_CHAIN_IOV;
    }
    poke(table + sizeof(desc) * (i % MAX_NUM), &desc, sizeof(desc));
}

/* A chain of many, so that its pieces need memory of their own. */
static void write_chain(World *w)
{
    unsigned int n = fuzz_u8(w->in) % (MAX_NUM + 1), shape = fuzz_u8(w->in);
    size_t table = shape & 0x80 ? 0x1800 : 0;

    for (unsigned int i = 0; i < n; i++) {
        struct vring_desc desc = {
            .addr = 0x1000 + (shape & 0x7f),
            .len = 1 + (shape & 0x7f),
            .flags = (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
                     (i >= shape % 32 ? VRING_DESC_F_WRITE : 0),
            .next = (uint16_t)(i + 1),
        };

        poke(table + sizeof(desc) * i, &desc, sizeof(desc));
    }
}

static void offer(World *w)
{
    uint16_t head = fuzz_u8(w->in) % (w->config.num + 1);

    poke(AVAIL + 4 + 2 * (w->avail % w->config.num), &head, 2);
    w->avail++;
    poke(AVAIL + 2, &w->avail, 2);
}

/* The buffer for chains that are out; a process before may have left it. */
static void lie_inflight(World *w)
{
    VskVringInflight *inflight = w->config.inflight;
    uint8_t *bytes = (uint8_t *)inflight;

    if (inflight) {
        size_t size = sizeof(*inflight) +
                      w->config.num * sizeof(inflight->desc[0]);

        bytes[fuzz_u16(w->in) % size] = fuzz_u8(w->in) % 4 ? 1
                                                         : fuzz_u8(w->in);
        inflight->desc_num = (uint16_t)w->config.num;
    }
}

/* --- A life -------------------------------------------------------------- */

static void begin(World *w)
{
    w->vring = vsk_vring_new(&w->config, &ops, w, NULL);
    CHECK(w->vring);
    w->avail = vsk_vring_base(w->vring);
    w->used = w->published = w->signalled = load(USED + 2);
    w->signalled = 0; /* where a ring thinks it was told of, at first */
    w->ever_asked = false;
    w->was_broken = false;
}

/* The next process takes over. */
static void restart(World *w)
{
    uint16_t base = vsk_vring_base(w->vring);

    w->n_out = 0; /* forgotten, and with an inflight buffer found again */
    CHECK(w->config.inflight || vsk_vring_base(w->vring) == base);
    vsk_vring_free(w->vring);
    w->config.base = base;
    begin(w);
}

static void act(World *w)
{
    w->was_broken = vsk_vring_broken(w->vring);
    switch (fuzz_below(w->in, 13)) {
    case 0:
        scribble(w);
        break;
    case 1:
    case 2:
        write_desc(w);
        break;
    case 3:
        offer(w);
        break;
    case 4:
    case 5:
        pop(w);
        break;
    case 6:
        unpop(w);
        break;
    case 7:
    case 8:
        if (w->n_out) {
            push(w, fuzz_u8(w->in) % w->n_out, fuzz_u16(w->in));
        }
        break;
    case 9:
        publish(w);
        break;
    case 10:
        write_chain(w);
        break;
    case 11:
        set_notification(w, fuzz_u8(w->in) % 2);
        break;
    default:
        if (fuzz_u8(w->in) % 4 == 0) {
            restart(w);
        }
        lie_inflight(w);
    }
    CHECK(!w->was_broken || vsk_vring_broken(w->vring));
    CHECK(memcmp(memory, told, sizeof(memory)) == 0);
}

/* The embedder's mistakes are told, and nothing is made. */
static void check_config(FuzzBytes *in)
{
    unsigned int num = fuzz_u8(in), desc = fuzz_u8(in) % 32;
    unsigned int avail = fuzz_u8(in) % 4, used = fuzz_u8(in) % 8;
    VskVringConfig config = {
        .num = num,
        .desc = memory + desc,
        .avail = fuzz_u8(in) % 8 ? memory + AVAIL + avail : NULL,
        .used = memory + USED + used,
    };
    bool ok = num && !(num & (num - 1)) && desc % 16 == 0 && config.avail &&
              avail % 2 == 0 && used % 4 == 0;
    g_autoptr(GError) err = NULL;
    g_autoptr(VskVring) vring = vsk_vring_new(&config, &ops, NULL, &err);

    CHECK(!vring == !ok && !err == ok);
    CHECK(ok || g_error_matches(err, VSK_ERROR, VSK_ERROR_INVALID));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes in = { data, data + size };
    uint8_t shape = fuzz_u8(&in);
    uint16_t base = fuzz_u16(&in);
    World w = {
        .in = &in,
        .racing = shape & 1,
        .config = {
            .num = 1u << (shape >> 4) % 6,
            .desc = memory,
            .avail = memory + AVAIL,
            .used = memory + USED,
            .used_gpa = USED,
            .base = base,
            .event_idx = shape & 2,
            .indirect = shape & 4,
        },
    };

    if (shape == UINT8_MAX) {
        check_config(&in);
        return 0;
    }
    memset(memory, 0, sizeof(memory));
    memset(told, 0, sizeof(told));
    poke(AVAIL + 2, &base, 2);
    if (shape & 8) {
        w.config.inflight = g_malloc0(
            sizeof(*w.config.inflight) +
            w.config.num * sizeof(w.config.inflight->desc[0]));
        w.config.inflight->desc_num = (uint16_t)w.config.num;
    }
    begin(&w);
    while (fuzz_left(&in)) {
        act(&w);
    }
    while (w.n_out) {
        w.was_broken = vsk_vring_broken(w.vring);
        push(&w, 0, 0);
    }
    vsk_vring_free(w.vring);
    g_free(w.config.inflight);
    return 0;
}
