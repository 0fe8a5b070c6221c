"""Rows of the flight recorder as nouns, and what the recorder wrote told from what it never would.

SQLite gives back whatever is in a file, of any type and size. Raised for what is none of ours: ValueError, TypeError,
KeyError, AttributeError or OverflowError.
"""

from __future__ import annotations

import json

from ..counters import COUNTERS
from ..model import Counters, Instant, Sample

#: more CPUs has no kernel (CONFIG_NR_CPUS); a larger number would only take memory
MOST_CPUS = 1 << 16
#: what SQLite's integers hold, and a time that is still a date
LARGEST, LATEST = 1 << 63, 1e12

#: the rows of one namespace of one boot
HERE = 'boot = (SELECT id FROM boot WHERE boot_id = :boot_id) AND netns = :netns'


def sample_of(boot_id: str, netns: int, wall: float, uptime: float, entries: int, maximum: int, buckets: int | None,
              counters: str | None) -> Sample:
    """A row of the table `sample`."""
    return Sample(Instant(checked_time(wall), checked_time(uptime), 0.0), boot_id, netns, whole(entries),
                  whole(maximum), None if buckets is None else whole(buckets), counters_from_text(counters))


def whole(value: int) -> int:
    """A number that an integer column can hold."""
    number = int(value)
    if not -LARGEST <= number < LARGEST:
        raise ValueError('a number too large')
    return number


def checked_time(value: float) -> float:
    """Seconds since 1970 or since boot, that are a date."""
    seconds = float(value)
    if not 0 <= seconds < LATEST:
        raise ValueError('not a time')
    return seconds


def counters_to_text(counters: Counters | None) -> str | None:
    if counters is None:
        return None
    columns: dict[str, object] = {'cpus': len(next(iter(counters.per_cpu.values())))}
    # most counters of most namespaces are 0 on every CPU: a letter says so
    columns['zero'] = ''.join(counter.letter for name, counter in COUNTERS.items()
                              if not any(counters.per_cpu.get(name, (1,))))
    columns.update((name, list(values)) for name, values in counters.per_cpu.items()
                   if name not in COUNTERS or any(values))
    return json.dumps(columns, separators=(',', ':'))


def counters_from_text(text: str | None) -> Counters | None:
    """Counters from the column of that name."""
    if text is None:
        return None
    try:
        columns = json.loads(text)
    except RecursionError as error:
        raise ValueError('nested too deep') from error
    cpus = int(columns.pop('cpus'))
    if not 0 < cpus <= MOST_CPUS:
        raise ValueError('not a number of CPUs')
    zeros = (0,) * cpus
    letters = columns.pop('zero', '')
    per_cpu = {name: zeros for name, counter in COUNTERS.items() if counter.letter in letters}
    per_cpu.update((name, tuple(map(int, values)) if values else zeros) for name, values in columns.items())
    if any(min(values) < 0 or max(values) >= 1 << 32 for values in per_cpu.values()):
        raise ValueError('not a 32-bit counter')
    return Counters(per_cpu)
