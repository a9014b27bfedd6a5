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
    @seconds: what it takes, roughly, so that long ones are begun first."""

    def __init__(self, name, file, function, sources, plants, unwind=1,
                 loops=(), conversions=True, seconds=1):
        self.name = name
        self.file = file
        self.function = function
        self.sources = sources
        self.plants = plants
        self.unwind = unwind
        self.loops = loops
        self.conversions = conversions
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
]
