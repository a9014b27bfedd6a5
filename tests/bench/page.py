# SPDX-License-Identifier: GPL-2.0-or-later
#
# The tables of docs/devel/performance.rst.

import statistics

from figures import BACKENDS, TABLES, WAYS
from results import Verdict, backend_title, number

BEGIN = '.. What follows is made by tests/bench/run --write.\n'
END = '.. End of what is made.\n'


def simple_table(head, rows):
    """A simple table of reStructuredText."""
    widths = [max(len(row[i]) for row in [head, *rows])
              for i in range(len(head))]
    rule = '  '.join('=' * width for width in widths)
    lines = ['  '.join(cell.ljust(width) for cell, width
                       in zip(row, widths)).rstrip()
             for row in [head, *rows]]
    return '\n'.join([rule, lines[0], rule, *lines[1:], rule]) + '\n'


def _cell(results, value, backend):
    middle = results.median(value.name, backend)
    if middle is not None:
        return number(middle)
    return 'fails' if results.error_of(value.name, backend) else '–'


def _row(results, value, backends):
    verdicts = [Verdict(results, value, limit) for limit in value.limits]
    unit = value.unit.replace('us', 'µs')
    return [value.title + (', ' + unit if unit else ''),
            *[_cell(results, value, backend) for backend in backends],
            '; '.join(verdict.wanted() for verdict in verdicts),
            '; '.join(verdict.got() for verdict in verdicts)]


def tables(results, underline='~'):
    """All tables, as text."""
    text = []
    for title, values in TABLES.items():
        values = [value for value in values if value.name in results.values]
        if not values:
            continue
        backends = [backend for backend in BACKENDS
                    if any(backend in results.values[value.name]
                           for value in values)]
        text += [title, underline * len(title), '',
                 simple_table(['', *backends, 'wanted', 'is'],
                              [_row(results, value, backends)
                               for value in values])]
    return '\n'.join(text)


def failures(results):
    """What a backend could not do."""
    text = []
    for figure, backends in results.errors.items():
        for backend, messages in backends.items():
            text.append('* ``%s``, %s: failed in %d of %d rounds: %s\n'
                        % (figure, backend, len(messages),
                           results.about['rounds'], messages[0]))
    return ''.join(text)


def guest_table(values):
    """What tests/bench/guest-compare measured."""
    names = {'g2h': WAYS['g2h'], 'h2g': WAYS['h2g']}
    rows = []
    for way, title in names.items():
        middle = {kind: statistics.median(ways[way])
                  for kind, ways in values.items()}
        ratios = [(middle['emulator'] / middle[other], least)
                  for other, least in (('peer', 1.5), ('daemon', 1))]
        rows.append([title + ', MiB/s',
                     *[number(middle[kind]) for kind in values],
                     '≥ 1.5 × peer; ≥ 1 × daemon',
                     '; '.join(('%.2f' if ratio >= least else '**%.2f**')
                               % ratio for ratio, least in ratios)])
    title = 'A Linux guest under TCG, blocks of 64 KiB'
    count = len(values['emulator']['g2h'])
    return '\n'.join([title, '~' * len(title), '',
                      'Made by ``tests/bench/guest-compare``; %d rounds, '
                      'medians.\n' % count,
                      simple_table(['', *values, 'wanted', 'is'], rows)])


def heading(title):
    return '%s\n%s\n' % (title, '-' * len(title))


def how_made(results):
    about = results.about
    return ('Made by ``%s`` on %s: %d rounds of %g s, medians.\n%s.\n'
            % (about['command'], about['date'], about['rounds'],
               about['seconds'], about['machine']))


def one_part(results):
    return '\n'.join([
        heading('On one processor'),
        'All programs share a processor, so nothing waits for one that '
        'sleeps to wake up,\nand what is sent is still in its cache: this '
        'is how much work each backend makes.\n',
        how_made(results), tables(results)])


def made_part(results, plot_name, one=None, guest=None):
    about = results.about
    text = [BEGIN, heading('Figures of a run'), how_made(results)]
    for backend in about['backends']:
        text.append('%s\n  %s%s\n' % (
            backend, backend_title(backend),
            ', %s' % about['versions'][backend]
            if about['versions'].get(backend) else ''))
    text.append('.. image:: %s\n   :alt: The tables below as bars\n'
                % plot_name)
    text.append(tables(results))
    if guest and {'emulator', 'daemon', 'peer'} <= set(guest):
        text.append(guest_table(guest))
    if results.errors:
        text.append('What a backend could not do:\n\n' + failures(results))
    if one:
        text.append(one_part(one))
    text.append(END)
    return '\n'.join(text)


def write(path, results, plot_name, one, guest):
    """Put the made part into the page, in place of the old one."""
    with open(path, encoding='utf-8') as f:
        old = f.read()
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(before + made_part(results, plot_name, one, guest) + after)
