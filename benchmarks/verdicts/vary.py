"""python3 -m benchmarks.verdicts --series DIR --vary NAME=VALUE,VALUE: what a constant changes, on each half.

NAME is a constant of check_conntrack_lib/analysis, such as trend.ODD_ONE_OF, or an option of the check, such as
--horizon. The halves are every other series by name: a value that is the best on both is not only the best of one.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .curves import COLUMNS, OWN, Found, cells, row, total
from .judges import constant

SHOWN = ('hard', 'in vain', 'false growth', 'again', 'notifications', 'unannounced', '>=12 min: n', 'median', 'worst')
#: of the two columns of a name the last one: rises of 12 minutes or more
PLACES = tuple(max(place for place, (name, _) in enumerate(COLUMNS) if name == shown) for shown in SHOWN)


class Varied(NamedTuple):
    """What is tried, and each of its values as text."""

    name: str
    values: tuple[str, ...]

    @property
    def is_option(self) -> bool:
        return self.name.startswith('-')


#: (options of the check, constants) -> figures
Measure = Callable[[Sequence[str], Mapping[str, float]], Found]


def varied(text: str) -> Varied:
    """Of a command line. Raises ArgumentTypeError."""
    name, _, values = text.partition('=')
    found = Varied(name, tuple(values.split(',')))
    try:
        if not found.is_option:
            constant(name)
            [float(value) for value in found.values]
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentTypeError(f'{text}: {error}') from error
    return found


def halves(found: Found) -> tuple[tuple[str, Found], ...]:
    """All series, and every other one by name, by what they are called."""
    names = sorted({name for name, _ in found})
    parts = [('all', names)] + ([('one half', names[::2]), ('the other', names[1::2])] if len(names) > 1 else [])
    return tuple((called, {key: value for key, value in found.items() if key[0] in part}) for called, part in parts)


def lines(tried: Sequence[Varied], peaks: Sequence[float], measure: Measure) -> list[str]:
    """A table for each peak: as it is, then with each other value."""
    results = [('as it is', measure([], {}))]
    for one in tried:
        results += [(f'{one.name}={value}', measure([f'{one.name}={value}'], {}) if one.is_option
                     else measure([], {one.name: float(value)})) for value in one.values]
    width = max(len(name) for name, _ in results) + 2
    said = []
    for peak in peaks:
        said.append(f'quiet peak {peak:g} %; alerts per 30 days, leads of slow rises in minutes')
        said.append(' ' * (width + 11) + ''.join(COLUMNS[place][0].rjust(COLUMNS[place][1]) for place in PLACES))
        for name, found in results:
            for called, part in halves(found):
                values = row(total(part, peak)[OWN])
                printed = cells([values[place] for place in PLACES], [COLUMNS[place][1] for place in PLACES])
                said.append(f'  {name if called == "all" else "":{width}}{called:9}' + printed)
    return said
