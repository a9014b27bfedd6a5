# SPDX-License-Identifier: GPL-2.0-or-later
#
# Values of one run of tests/bench/run, and how they compare.

import json
import statistics

from figures import APART, BACKENDS, OURS, POLL_US, POLLING


class Results:
    """All values, by name and backend; and what went wrong."""

    def __init__(self, about):
        self.about = about          # how the run was made
        self.values = {}            # name: {backend: [numbers]}
        self.units = {}
        self.errors = {}            # figure: {backend: [messages]}

    def add(self, name, backend, value, unit):
        self.values.setdefault(name, {}).setdefault(backend, []).append(value)
        self.units[name] = unit

    def add_error(self, figure, backend, message):
        self.errors.setdefault(figure, {}).setdefault(backend,
                                                      []).append(message)

    def median(self, name, backend):
        numbers = self.values.get(name, {}).get(backend)
        return statistics.median(numbers) if numbers else None

    def spread(self, name, backend):
        """Largest distance from the median, as a part of it."""
        numbers = self.values[name][backend]
        middle = statistics.median(numbers)
        return max(abs(n - middle) for n in numbers) / middle if middle else 0

    def error_of(self, name, backend):
        """Why there is no such value."""
        for figure, backends in self.errors.items():
            if name == figure or name.startswith(figure + '-'):
                if backend in backends:
                    return backends[backend][0]
        return None

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(vars(self), f, indent=1)
            f.write('\n')

    @staticmethod
    def load(path):
        with open(path, encoding='utf-8') as f:
            fields = json.load(f)
        results = Results(fields['about'])
        vars(results).update(fields)
        return results


def number(value):
    """Three digits, as a reader wants them."""
    if value is None:
        return '–'
    if value >= 100:
        return '%.0f' % value
    if value >= 10:
        return '%.1f' % value
    return '%.2f' % value


def short(value):
    return '%g' % value


def backend_title(backend):
    title = BACKENDS[backend]
    return title % POLL_US if backend == POLLING else title


class Verdict:
    """How one value stands to one of its limits."""

    def __init__(self, results, value, limit):
        self.sign, self.factor, self.of_name, self.of = limit[:4]
        self.backend = limit[4] if len(limit) > 4 else OURS
        mine = results.median(value.name, self.backend)
        other = 1 if self.of is None else \
            results.median(self.of_name, self.of)
        self.ratio = mine / other if mine is not None and other else None
        self.same = value.name == self.of_name

    @property
    def met(self):
        if self.ratio is None:
            return None
        if self.sign == '>=':
            return self.ratio >= self.factor
        return self.ratio <= self.factor

    def wanted(self):
        sign = {'>=': '≥', '<=': '≤'}[self.sign]
        if self.of is None:
            return '%s %s' % (sign, short(self.factor))
        if self.of == OURS:
            other = 'one flow' if self.sign == '>=' else 'without'
        else:
            other = self.of.replace(APART, 'raw apart')
        text = '%s %s × %s' % (sign, short(self.factor), other)
        return text + ' (polling)' if self.backend == POLLING else text

    def got(self):
        if self.ratio is None:
            return '–'
        text = number(self.ratio)
        return text if self.met else '**%s**' % text
