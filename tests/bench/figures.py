# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is measured, and what is expected of it.

RAW, APART, PEER, OURS, POLLING = 'raw', 'apart', 'peer', 'ours', 'polling'

# What each backend is, for the page.
BACKENDS = {
    RAW: 'no backend: the two programs over one AF_UNIX socket',
    APART: 'the same, with a processor for each program',
    PEER: 'vhost-device-vsock',
    OURS: 'vhost-user-vsock',
    POLLING: 'vhost-user-vsock with ``--poll-us=%d``',
}
POLL_US = 50

WAYS = {'g2h': 'guest to host', 'h2g': 'host to guest'}
SIZES = {'64': '64 B', '4096': '4 KiB', '65536': '64 KiB'}
FLOWS = '64', '1024', '4096'


class Figure:
    """One call of vsock-bench, which may print several values."""

    def __init__(self, name, backends=(RAW, PEER, OURS)):
        self.name = name
        self.backends = backends


class Value:
    """One line of the page: a value, its title and what it should be.

    `limit` is (comparison, factor, value name, backend): ours compared with
    that much of the other one; without a name, with the number itself.
    """

    def __init__(self, name, title, unit, *limits):
        self.name = name
        self.title = title
        self.unit = unit
        self.limits = limits


def _figures():
    for way in WAYS:
        for size in ('65536', '4096', '64'):
            yield Figure('%s-%s' % (way, size))
    yield Figure('pingpong-1', (RAW, APART, PEER, OURS, POLLING))
    yield Figure('pingpong-16')
    for way in WAYS:
        yield Figure('beside-%s-16' % way)
    for way in WAYS:
        yield Figure('connect-%s-1' % way, (RAW, PEER, OURS, POLLING))
        yield Figure('connect-%s-16' % way)
    for size in ('65536', '4096'):
        for way in WAYS:
            for flows in FLOWS:
                yield Figure('%s-%s-%s' % (way, size, flows))
    for way in WAYS:
        yield Figure('idle-%s-1024' % way, (PEER, OURS))


FIGURES = {figure.name: figure for figure in _figures()}

# What CI runs: each kind once, and nothing that takes long.
QUICK = ['g2h-65536', 'h2g-65536', 'g2h-4096', 'h2g-4096', 'g2h-64', 'h2g-64',
         'g2h-4096-64', 'h2g-4096-64', 'g2h-65536-1024', 'h2g-65536-1024',
         'pingpong-1', 'pingpong-16', 'beside-g2h-16', 'beside-h2g-16',
         'connect-g2h-1', 'connect-g2h-16', 'connect-h2g-1',
         'connect-h2g-16', 'idle-g2h-1024', 'idle-h2g-1024']


def _of_raw(name, factor):
    return ('>=', factor, name, RAW)


THROUGHPUT = {
    'g2h': {'65536': 0.75, '4096': 0.75, '64': 1.5},
    'h2g': {'65536': 0.6, '4096': 0.7, '64': 0.9},
}
CONNECTIONS = {'1': 4, '16': 3}


def _throughput():
    for way, factors in THROUGHPUT.items():
        for size, factor in factors.items():
            name = '%s-%s' % (way, size)
            yield Value(name, '%s, %s' % (WAYS[way], SIZES[size]), 'MiB/s',
                        _of_raw(name, factor))


def _latency():
    for percent, factor in (('p50', 0.9), ('p99', 0.5)):
        name = 'pingpong-1-' + percent
        limits = [('<=', factor, name, PEER)]
        if percent == 'p50':
            limits.append(('<=', 1.4, name, APART, POLLING))
        yield Value(name, 'one ping-pong, ' + percent, 'us', *limits)
    yield Value('pingpong-16-p50', '16 ping-pongs, p50', 'us')
    yield Value('pingpong-16-p99', '16 ping-pongs, p99', 'us')
    for way in WAYS:
        name = 'beside-%s-16' % way
        yield Value(name + '-p50', '16 beside bulk %s, p50' % WAYS[way], 'us')
        yield Value(name + '-p99', '16 beside bulk %s, p99' % WAYS[way], 'us',
                    ('<=', 2, 'pingpong-16-p99', OURS))
        yield Value(name + '-bulk', 'the bulk beside them', 'MiB/s')


def _connections():
    for way in WAYS:
        for at_once, factor in CONNECTIONS.items():
            name = 'connect-%s-%s' % (way, at_once)
            yield Value(name, '%s, %s at once' % (WAYS[way], at_once), '1/s',
                        ('>=', factor, name, PEER))


def _flows():
    for size in ('65536', '4096'):
        for way in WAYS:
            one = '%s-%s' % (way, size)
            for flows in FLOWS:
                limits = [('>=', 0.8, one, OURS)] if flows == '4096' else []
                yield Value('%s-%s' % (one, flows),
                            '%s, %s, %s flows' % (WAYS[way], SIZES[size],
                                                  flows),
                            'MiB/s', *limits)


def _resources():
    for way in WAYS:
        name = '%s-65536-cpu' % way
        yield Value(name, 'CPU per GiB, %s, 64 KiB' % WAYS[way], 's',
                    ('<=', 0.25, name, PEER))
    for way in WAYS:
        name = 'idle-%s-1024' % way
        yield Value(name + '-rss', 'memory of an idle connection, %s'
                    % WAYS[way], 'KiB', ('<=', 1, None, None))
        yield Value(name + '-fds', 'descriptors of one, %s' % WAYS[way], '',
                    ('<=', 1, None, None))


TABLES = {
    'Throughput of one flow': list(_throughput()),
    'Round trips of 64 bytes': list(_latency()),
    'Connections a second': list(_connections()),
    'Throughput of many flows': list(_flows()),
    'What it costs': list(_resources()),
}
