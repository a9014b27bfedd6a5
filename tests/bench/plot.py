# SPDX-License-Identifier: GPL-2.0-or-later
#
# The picture of docs/devel/performance.rst: horizontal bars, one panel for
# each kind of figure, as an SVG made by hand.

from xml.sax.saxutils import escape

from figures import APART, OURS, PEER, POLLING, RAW, SIZES, WAYS
from results import number

COLOURS = {RAW: '#9aa0a6', APART: '#c9ccd0', PEER: '#e08e45', OURS: '#2a6fbb',
           POLLING: '#7fb2e5'}
LABELS = {RAW: 'raw AF_UNIX', APART: 'raw, a processor each',
          PEER: 'vhost-device-vsock',
          OURS: 'vhost-user-vsock', POLLING: 'the same, polling'}

WIDTH = 920
MARGIN = 20
COLUMN = (WIDTH - 3 * MARGIN) // 2
LABEL = 118                # of a row, left of its bars
VALUE = 84                 # of a bar, right of it
BAR, GAP, ROW_GAP = 11, 2, 9
HEAD = 40                  # of a panel


class Panel:
    """Rows of bars that share a scale of their own."""

    def __init__(self, title, note, rows, backends=(RAW, PEER, OURS)):
        self.title = title
        self.note = note
        self.rows = rows           # (label, value name, unit)
        self.backends = backends

    def height(self):
        row = len(self.backends) * (BAR + GAP) + ROW_GAP
        return HEAD + len(self.rows) * row

    def draw(self, results, x, y):
        yield text(x, y + 14, self.title, 'title')
        yield text(x, y + 29, self.note, 'note')
        y += HEAD
        for label, name, unit in self.rows:
            values = [results.median(name, b) for b in self.backends]
            longest = max([v for v in values if v], default=1)
            yield text(x, y + 10, label, 'label')
            for backend, value in zip(self.backends, values):
                yield from self._bar(x + LABEL, y, backend, value, longest,
                                     unit)
                y += BAR + GAP
            y += ROW_GAP

    @staticmethod
    def _bar(x, y, backend, value, longest, unit):
        if value is None:
            yield text(x + 4, y + 9, '–', 'value')
            return
        width = max(1, (COLUMN - LABEL - VALUE) * value / longest)
        yield ('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>'
               % (x, y, width, BAR, COLOURS[backend]))
        yield text(x + width + 4, y + 9, '%s %s' % (number(value), unit),
                   'value')


def text(x, y, words, kind):
    return '<text x="%.1f" y="%.1f" class="%s">%s</text>' % (
        x, y, kind, escape(words))


def panels():
    for way, title in WAYS.items():
        yield Panel('One flow, ' + title, 'MiB/s by size of a write; longer '
                    'is better', [(SIZES[size], '%s-%s' % (way, size), 'MiB/s')
                                  for size in ('65536', '4096', '64')])
    for way, title in WAYS.items():
        yield Panel('Many flows, ' + title, 'MiB/s, 64 KiB a write; longer '
                    'is better',
                    [('%s flows' % flows if flows else '1 flow',
                      '%s-65536%s' % (way, '-' + flows if flows else ''),
                      'MiB/s') for flows in ('', '64', '1024', '4096')])
    yield Panel('Round trip of 64 bytes', 'µs; shorter is better',
                [('one, p50', 'pingpong-1-p50', 'µs'),
                 ('one, p99', 'pingpong-1-p99', 'µs')],
                (RAW, APART, PEER, OURS, POLLING))
    yield Panel('16 round trips, p99', 'µs, alone and beside bulk data; '
                'shorter is better',
                [('alone', 'pingpong-16-p99', 'µs'),
                 ('beside g2h', 'beside-g2h-16-p99', 'µs'),
                 ('beside h2g', 'beside-h2g-16-p99', 'µs')])
    yield Panel('Connections a second', 'longer is better',
                [('%s, %s' % (way, n), 'connect-%s-%s' % (way, n), '/s')
                 for way in WAYS for n in ('1', '16')],
                (PEER, OURS, POLLING))
    yield Panel('What it costs', 'shorter is better',
                [('CPU, g2h, 64 KiB', 'g2h-65536-cpu', 's/GiB'),
                 ('CPU, h2g, 64 KiB', 'h2g-65536-cpu', 's/GiB'),
                 ('memory, idle, g2h', 'idle-g2h-1024-rss', 'KiB'),
                 ('memory, idle, h2g', 'idle-h2g-1024-rss', 'KiB')], (PEER, OURS))


STYLE = ('text{font-family:sans-serif;fill:#222}'
         '.title{font-size:14px;font-weight:bold}'
         '.note,.value{font-size:10.5px;fill:#555}'
         '.label,.key{font-size:12px}')


def legend(y):
    x = MARGIN
    for backend, label in LABELS.items():
        yield ('<rect x="%.0f" y="%d" width="12" height="12" fill="%s"/>'
               % (x, y, COLOURS[backend]))
        yield text(x + 18, y + 10, label, 'key')
        x += 38 + 6.6 * len(label)


def draw(results):
    """The picture, as text."""
    y = MARGIN
    body = list(legend(y))
    y += 36
    todo = list(panels())
    while todo:
        row, todo = todo[:2], todo[2:]
        for i, panel in enumerate(row):
            body += panel.draw(results, MARGIN + i * (COLUMN + MARGIN), y)
        y += max(panel.height() for panel in row) + MARGIN
    head = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'viewBox="0 0 %d %d">' % (WIDTH, y, WIDTH, y))
    return '\n'.join([head, '<style>%s</style>' % STYLE,
                      '<rect width="100%" height="100%" fill="#fff"/>',
                      *body, '</svg>', ''])
