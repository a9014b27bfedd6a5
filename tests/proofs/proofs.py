# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is proven, of which sources, and the planted bugs with which the proof
# has to fail.  Why the bounds suffice is said in the C files.


class Plant:
    """Replace @old by @new in @source; then a property whose description or
    place matches @why has to fail."""

    def __init__(self, name, source, old, new, why):
        self.name = name
        self.source = source
        self.old = old
        self.new = new
        self.why = why


class Proof:
    """@function of @file, which calls into @sources.  @unwind: how often
    loops go round at the most, and once more; @loops: other bounds of some.
    @conversions: a conversion that loses bits is an error, as well.
    @replace: functions of @file that become others, as "one:other".
    @seconds: what it takes, roughly, so that long ones are begun first."""

    def __init__(self, name, file, function, sources, plants, unwind=1,
                 loops=(), conversions=True, replace=(), seconds=1):
        self.name = name
        self.file = file
        self.function = function
        self.sources = sources
        self.plants = plants
        self.unwind = unwind
        self.loops = loops
        self.conversions = conversions
        self.replace = replace
        self.seconds = seconds

    def files(self):
        return ['stubs.c', self.file, *self.sources]


def credit(name, *plants, seconds=1):
    return Proof('credit/' + name, 'proof-credit.c', name.replace('-', '_'),
                 ['credit.c'], [Plant(plant[0], 'credit.c', *plant[1:])
                                for plant in plants], seconds=seconds)


def line(name, *plants, seconds=1):
    return Proof('line/' + name, 'proof-line.c', name.replace('-', '_'),
                 ['line.c'], [Plant(plant[0], 'line.c', *plant[1:])
                              for plant in plants], unwind=33,
                 seconds=seconds)


def ring(name, *plants, more=(), **options):
    return Proof('ring/' + name, 'proof-ring.c', name.replace('-', '_'),
                 ['ring.c', 'pkt.c', *more],
                 [Plant(plant[0], 'ring.c', *plant[1:]) for plant in plants],
                 unwind=6, **options)


def pkt(name, *plants, more=(), **options):
    return Proof('pkt/' + name, 'proof-pkt.c', name.replace('-', '_'),
                 ['pkt.c', *more],
                 [Plant(plant[0], 'pkt.c', *plant[1:]) for plant in plants],
                 unwind=9, **options)


def vring(name, *plants, **options):
    return Proof('vring/' + name, 'proof-vring.c', name.replace('-', '_'),
                 ['inflight.c'], [Plant(plant[0], 'vring.c', *plant[1:])
                                  for plant in plants], conversions=False,
                 **options)


def walk(name, *plants, more=(), **options):
    return Proof('walk/' + name, 'proof-walk.c', name.replace('-', '_'),
                 ['inflight.c', *more],
                 [Plant(plant[0], 'vring.c', *plant[1:]) for plant in plants],
                 conversions=False, **options)


def stage(name, *plants, **options):
    return Proof('stage/' + name, 'proof-stage.c', name.replace('-', '_'),
                 ['ring.c', 'pkt.c'],
                 [Plant(plant[0], 'stage.c', *plant[1:]) for plant in plants],
                 **options)


PROOFS = [
    credit('room-is-the-real-one',
           ('it-is-computed-in-32-bits',
            'int64_t room = (int64_t)credit->peer_buf_alloc - in_flight;',
            'int32_t room = credit->peer_buf_alloc - in_flight;',
            'room is exact'),
           ('a-shrunk-buffer-wraps',
            'return room > 0 ? (uint32_t)room : 0;',
            'return (uint32_t)room;', 'no room in a shrunk buffer')),
    credit('sending-keeps-to-the-room',
           ('one-byte-more-is-counted',
            'credit->tx_cnt += len;', 'credit->tx_cnt += len + 1;',
            'tx_cnt counts what is sent'),
           ('the-room-is-one-less',
            'g_assert(len <= vsk_credit_room(credit));',
            'g_assert(len < vsk_credit_room(credit));', 'a g_assert holds')),
    credit('word-of-an-honest-guest',
           ('fwd-cnt-is-not-learnt',
            'credit->peer_fwd_cnt = hdr->fwd_cnt;', '',
            'the counters are learnt'), seconds=2),
    credit('word-of-a-liar',
           ('what-it-claims-is-believed',
            'uint32_t in_flight = credit->tx_cnt - credit->peer_fwd_cnt;',
            'int32_t in_flight = '
            '(int32_t)(credit->tx_cnt - credit->peer_fwd_cnt);',
            'no room for a liar')),
    credit('receiving-keeps-to-the-buffer',
           ('the-sum-wraps',
            '(uint64_t)vsk_credit_held(credit) + len > credit->buf_alloc',
            'vsk_credit_held(credit) + len > credit->buf_alloc',
            'refused if too much'),
           ('it-is-judged-by-what-was-told',
            '(uint64_t)vsk_credit_held(credit) + len > credit->buf_alloc',
            '(uint64_t)(credit->rx_cnt - credit->told_fwd_cnt) + len > '
            'credit->buf_alloc', 'refused if too much'), seconds=2),
    credit('passing-on-is-never-ahead',
           ('what-was-told-moves-too',
            'credit->fwd_cnt += len;',
            'credit->fwd_cnt += len; credit->told_fwd_cnt += len;',
            'fwd_cnt counts what is passed on')),
    credit('stamp-tells-the-truth',
           ('received-counts-as-passed-on',
            'hdr->fwd_cnt = credit->fwd_cnt;',
            'hdr->fwd_cnt = credit->rx_cnt;', 'fwd_cnt is told')),
    credit('update-is-due-before-a-stall',
           ('only-our-buffer-counts',
            'int64_t window = MIN(credit->buf_alloc, credit->peer_buf_alloc);',
            'int64_t window = credit->buf_alloc;',
            'a guest that sees half of its window is told')),

    line('line-ends-with-its-newline',
         ('all-of-a-piece-is-taken',
          'return newline ? (size_t)(newline - at) + 1 : n;', 'return n;',
          'its first one'),
         ('the-room-is-one-too-large',
          '*ret_room = VSK_MAX_LINE - line->len;',
          '*ret_room = VSK_MAX_LINE - line->len + 1;',
          'and goes up to the end'), seconds=4),
    line('line-is-of-the-grammar',
         ('a-nul-ends-it', "if (len && line->text[len - 1] == '\\n') {",
          "if (len && !line->text[len - 1]) {",
          'what is taken is of the grammar'),
         ('it-ends-where-its-memory-ends',
          'i < len; i++', 'line->text[i]; i++', 'upper bound')),
    line('line-gives-its-port',
         ('its-last-digit-is-lost', 'i < len; i++', 'i < len - 1; i++',
          "it is the line's")),

    ring('push-appends',
         ('a-full-ring-takes-more',
          'if (size - offset > ring->capacity - ring->used) {',
          'if (size - offset > ring->capacity) {',
          'pushed if and only if it fits'), seconds=8),
    ring('indices-of-large-rings',
         ('they-are-computed-in-32-bits',
          'return n < to_end ? ring->head + n : n - to_end;',
          'return (ring->head + n) % ring->capacity;',
          'the head is where it has to be'),
         ('nothing-goes-round-the-end',
          'uint32_t n = MIN(len, ring->capacity - tail);',
          'uint32_t n = len;',
          'memcpy writes what is there'),
         more=['stubs-memory.c'], seconds=2),
    ring('front-is-the-oldest',
         ('it-reaches-beyond-the-end',
          'uint32_t first = MIN(len, ring->capacity - ring->head);',
          'uint32_t first = len;', 'the first one is memory')),
    ring('drop-forgets-the-oldest',
         ('the-head-leaves-the-ring',
          'return n < to_end ? ring->head + n : n - to_end;',
          'return ring->head + n;', 'the ring is sound')),
    ring('flush-keeps-what-was-not-taken',
         ('all-counts-as-taken', 'vsk_ring_drop(ring, (uint32_t)n);',
          'vsk_ring_drop(ring, asked);', 'used counts what is left'),
         seconds=2),
    pkt('scattered-bytes-are-read',
        ('an-empty-piece-ends-it',
         'memcpy((char *)buf + done, iov[i].iov_base, n);\n        }',
         'memcpy((char *)buf + done, iov[i].iov_base, n);\n        }'
         ' else break;', 'all that is there'),
        ('whole-pieces-are-read',
         'memcpy((char *)buf + done, iov[i].iov_base, n);',
         'memcpy((char *)buf + done, iov[i].iov_base, iov[i].iov_len);',
         'memcpy destination region writeable'), seconds=2),
    pkt('scattered-bytes-are-written',
        ('each-piece-gets-the-first-bytes',
         'memcpy(iov[i].iov_base, (const char *)buf + done, n);',
         'memcpy(iov[i].iov_base, buf, n);', 'in order'), seconds=3),
    pkt('header-stays-in-its-pieces',
        ('it-is-read-from-the-first-piece',
         'if (vsk_iov_to_buf(iov, n_iov, &wire, sizeof(wire)) < '
         'sizeof(wire)) {',
         'if (!n_iov || !memcpy(&wire, iov[0].iov_base, sizeof(wire))) {',
         'memcpy reads what is there'), more=['stubs-memory.c']),
    pkt('header-is-read-as-it-is',
        ('it-is-read-before-its-length-is-known',
         'if (vsk_iov_to_buf(iov, n_iov, &wire, sizeof(wire)) < '
         'sizeof(wire)) {',
         'ret_hdr->op = 0;\n'
         'if (vsk_iov_to_buf(iov, n_iov, &wire, sizeof(wire)) < '
         'sizeof(wire)) {', 'nothing is told of it'),
        ('ports-are-mixed-up',
         '.dst_port = GUINT32_FROM_LE(wire.dst_port)',
         '.dst_port = GUINT32_FROM_LE(wire.src_port)',
         'each byte counts')),
    pkt('header-is-written-as-it-is',
        ('its-flags-are-forgotten',
         '.flags = GUINT32_TO_LE(hdr->flags),', '', 'each byte counts')),
    pkt('slice-is-within',
        ('the-offset-is-skipped-twice', '        offset = 0;\n', '',
         'each byte is where it was|the length is|all room is used'),
        ('the-offset-is-not-taken-off',
         'n = MIN(iov[i].iov_len - offset, len - done);',
         'n = MIN(iov[i].iov_len, len - done);',
         'each byte is where it was|a byte that is there'), seconds=3),
    pkt('check-takes-no-lie',
        ('the-chain-is-not-looked-at',
         'hdr->len > room || hdr->len > VSK_MAX_PKT_PAYLOAD',
         'hdr->len > VSK_MAX_PKT_PAYLOAD', 'its payload is in the chain')),
    vring('descriptor-is-read-within-its-table',
          ('the-offset-is-forgotten',
           'memcpy(&raw, table->at + offset, sizeof(raw));',
           'memcpy(&raw, table->at, sizeof(raw));', "it is the table's"),
          ('a-piece-is-taken-for-all-of-it',
           'memcpy((uint8_t *)&raw + done, at, n);',
           'memcpy(&raw, at, sizeof(raw));',
           'memcpy source region readable'), unwind=4, seconds=20),
    vring('indirect-table-is-bounded',
          ('there-is-no-limit',
           'len / sizeof(*desc) > MAX(vring->num, VSK_MAX_CHAIN_IOV)',
           'false', 'it has descriptors, and not too many'),
          ('a-part-of-it-is-taken-for-all',
           'if (len < desc->len) {', 'if (!len) {', 'it is in memory'),
          unwind=4),
    vring('buffer-is-its-pieces',
          ('the-address-stays', '        gpa += n;\n', '', 'without a gap'),
          ('a-piece-has-the-length-of-all',
           '(struct iovec) { at, n };', '(struct iovec) { at, len };',
           'a piece is what was mapped'), unwind=4),
    vring('growing-keeps-the-pieces',
          ('the-limit-is-one-more',
           'if (elem->n_iov < elem->max) {',
           'if (elem->n_iov <= elem->max) {', 'for one more'), unwind=17),
    vring('push-stays-in-the-used-ring',
          ('the-index-is-not-cut',
           'unsigned int i = vring->used_idx & (vring->num - 1);',
           'unsigned int i = vring->used_idx;', 'outside object bounds'),
          unwind=4),
    walk('descriptor-of-any-table',
         ('it-is-read-from-the-table-s-begin',
          'table->gpa + offset + done, &n);', 'table->gpa + done, &n);',
          'no others are asked for'),
         ('all-of-it-is-taken-from-a-piece',
          'memcpy((uint8_t *)&raw + done, at, n);',
          'memcpy(&raw, at, sizeof(raw));', 'memcpy reads what is there'),
         ('it-is-one-too-far',
          'size_t offset = (size_t)i * sizeof(raw);',
          'size_t offset = (size_t)(i + 1) * sizeof(raw);',
          'memcpy reads what is there'),
         more=['stubs-memory.c'], unwind=4),
    walk('piece-keeps-the-list',
         ('the-list-does-not-grow',
          'if (!make_room(elem)) {', 'if (false) {', 'outside object bounds'),
         replace=['make_room:any_room'], seconds=15),
    walk('walk-begins',
         ('its-table-is-the-ring-s',
          'ret_table->n = (unsigned int)(len / sizeof(*desc));', '',
          'the table is one'),
         ('a-part-of-it-is-taken-for-all',
          'if (len < desc->len) {', 'if (!len) {', 'the table is one'),
         replace=['read_desc:any_desc']),
    walk('walk-takes-a-descriptor',
         ('order-does-not-matter',
          'if (!writable && walk->writable) {', 'if (false) {',
          'it is one to read, behind such'),
         ('pieces-to-write-are-read',
          'if (!writable) {\n        walk->n_out', 'if (true) {\n        '
          'walk->n_out', 'it is not one to read'),
         replace=['add_pieces:any_pieces']),
    walk('walk-goes-on',
         ('the-table-has-one-more',
          'if (walk->desc.next >= walk->table.n) {',
          'if (walk->desc.next > walk->table.n) {',
          'the descriptor is in its table'),
         ('it-is-not-counted', '    walk->n++;\n', '',
          'there is one less to go'),
         ('a-loop-goes-round-once-more',
          'if (walk->n == walk->table.n) {',
          'if (walk->n > walk->table.n) {', 'the walk goes on'),
         replace=['read_desc:any_desc']),
    walk('chain-has-an-end',
         ('a-loop-is-not-seen',
          'if (walk->n == walk->table.n) {', 'if (false) {',
          'no more than there are are read'),
         replace=['read_desc:any_desc', 'add_pieces:any_pieces'], unwind=6,
         seconds=2),
    walk('pop-keeps-the-ring',
         ('any-head-will-do', 'if (head >= vring->num) {', 'if (false) {',
          'the first descriptor exists'),
         ('the-index-is-not-cut',
          'vring->avail->ring[vring->next_avail & (vring->num - 1)]',
          'vring->avail->ring[vring->next_avail]', 'outside object bounds'),
         ('the-index-may-jump',
          'if ((uint16_t)(vring->seen_avail - vring->next_avail) > '
          'vring->num) {', 'if (false) {', 'no more chains than there are'),
         ('its-slot-is-lost',
          '        free_elem(vring, elem);\n        return false;',
          '        return false;', 'no slot is taken'),
         replace=['walk_chain:any_walk'], unwind=3, seconds=13),
    stage('push-keeps-the-account',
          ('empty-messages-have-no-limit',
           'if (stage->n_empty == VSK_MAX_EMPTY_MESSAGES) {',
           'if (false) {', 'a g_assert holds|the account is right'),
          ('they-are-not-counted', '        stage->n_empty++;\n', '',
           'the account is right'),
          ('a-part-is-not-begun-anew',
           '            stage->partial = 0;\n', '', 'the account is right'),
          replace=['vsk_ring_push:any_push'], unwind=6),
    stage('flush-takes-the-oldest-message',
          ('its-length-stays',
           '    vsk_ring_drop(&stage->ends, n_code);\n', '',
           'its length is forgotten'),
          ('it-goes-unless-taken', '(int)n_iov);\n\n    if (n < 0) {',
           '(int)n_iov);\n\n    if (false) {', 'it stays'),
          ('an-empty-one-is-not-given-back',
           '        stage->n_empty--;\n', '', 'the account is right'),
          replace=['front_length:any_front_length'], unwind=6),
    stage('length-comes-back',
          ('the-last-byte-is-not-read',
           '} while (code[n++] & 0x80);', '} while (code[n++] & 0x80 && '
           'n < 4);', 'it is the same'),
          ('eight-bits-are-taken', 'len >>= 7;', 'len >>= 8;',
           'it is the same'), unwind=9),
    stage('window-is-worth-its-cost',
          ('lengths-cost-nothing', '2 * (uint64_t)window', '(uint64_t)window',
           'it is the largest')),
    stage('messages-come-out-as-they-went-in',
          ('the-first-part-is-forgotten',
           'push_length(&stage->ends, stage->partial);',
           'push_length(&stage->ends, (uint32_t)len);',
           'each ends where it ended|with all their bytes'),
          ('its-bytes-stay',
           'vsk_ring_drop(&stage->bytes, len);',
           'vsk_ring_drop(&stage->bytes, len - 1);',
           'the bytes are these|all messages come out'), unwind=6, seconds=8),
]
