"""Values of the history file's columns: converted, and refused where no run of this project wrote them.

SQLite gives back whatever is in a file, of any type and size. What is refused raises ValueError, TypeError, KeyError,
AttributeError or OverflowError.
"""

from __future__ import annotations

import json
from functools import lru_cache

from ..counters import COUNTERS
from ..formatting import clean_title
from ..model import Counters, Instant, Sample

#: no kernel has more CPUs (CONFIG_NR_CPUS); a larger number would only take memory
MOST_CPUS = 1 << 13
#: characters of the column `counters`, for MOST_CPUS
LONGEST_TEXT = 1 << 20
#: only shorter texts are remembered with their counters
SHORT_TEXT = 1 << 12
#: what SQLite's integers hold; what the kernel's do (atomic_t, unsigned int); the last day of the year 9999
LARGEST, LARGEST_COUNT, LARGEST_SETTING, LATEST = 1 << 63, 1 << 31, 1 << 32, 253402214400.0
#: a table holds more than its maximum only after that was lowered: more than MOST_OVERFULL times as many as the maximum
#: are believed up to FEW entries only
MOST_OVERFULL, FEW = 16, 1 << 20


def sample_of(boot_id: str, netns: int, wall: float, uptime: float, entries: int, maximum: int, buckets: int | None,
              counters: str | None) -> Sample:
    """The Sample of a row of the table `sample`. Values that no kernel has are refused: the file may be another user's.
    """
    sample = Sample(Instant(checked_time(wall), checked_time(uptime), 0.0), checked_boot_id(boot_id), whole(netns),
                    checked_entries(entries), whole(maximum), None if buckets is None else whole(buckets),
                    counters_from_text(counters))
    if not is_possible(sample):
        raise ValueError('numbers that no table has')
    return sample


def fault(error: Exception) -> str:
    """What is wrong, without the value that is quoted in an error's text: it may be of anybody's."""
    text = str(getattr(error, 'strerror', None) or error).partition("'")[0].partition('"')[0]
    return clean_title(text.removesuffix(' b').rstrip(' :')) or type(error).__name__


def is_possible(sample: Sample) -> bool:
    """Are these numbers that a kernel may show?"""
    return (0 <= sample.entries < LARGEST_COUNT and -LARGEST_COUNT <= sample.maximum < LARGEST_SETTING
            and 0 <= (sample.buckets or 0) < LARGEST_SETTING
            and (sample.maximum <= 0 or sample.entries <= max(MOST_OVERFULL * sample.maximum, FEW)))


def checked_entries(value: int) -> int:
    """A count of entries."""
    number = whole(value)
    if not 0 <= number < LARGEST_COUNT:
        raise ValueError('not a number of entries')
    return number


def checked_boot_id(text: str) -> str:
    """An id of a boot: it will be printed."""
    # one that begins with '-' would be a formula in a spreadsheet
    if not isinstance(text, str) or not 0 < len(text) <= 64 or text.strip('0123456789abcdef-') or text[0] == '-':
        raise ValueError('not a boot id')
    return text


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
    """The column `counters` of `history.database.SCHEMA`, as `counters_from_text` reads it."""
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
    if len(text) > LONGEST_TEXT:
        raise ValueError('too long')
    return _remembered_counters(text) if len(text) <= SHORT_TEXT else _parsed_counters(text)


def _parsed_counters(text: str) -> Counters:
    try:
        columns = json.loads(text)
    except RecursionError as error:
        raise ValueError('nested too deep') from error
    cpus = int(columns.pop('cpus'))
    if not 0 < cpus <= MOST_CPUS:
        raise ValueError('not a number of CPUs')
    zeros = _zeros(cpus)
    letters = columns.pop('zero', '')
    if not isinstance(letters, str) or len(letters) > len(_LETTERS):
        raise ValueError('not a text of letters')
    per_cpu = {name: zeros for name, counter in COUNTERS.items() if counter.letter in letters}
    per_cpu.update((name, tuple(map(int, values)) if values else zeros) for name, values in columns.items())
    if any(min(values) < 0 or max(values) >= 1 << 32 for values in per_cpu.values()):
        raise ValueError('not a 32-bit counter')
    if 'drop' not in per_cpu or any(name.strip(_LETTERS) for name in per_cpu):
        raise ValueError('not counters')
    return Counters(per_cpu)


#: idle namespaces have all the same, and one host's counters often stand still
_remembered_counters = lru_cache(64)(_parsed_counters)

#: of a counter's name
_LETTERS = 'abcdefghijklmnopqrstuvwxyz_'


@lru_cache(16)
def _zeros(cpus: int) -> tuple[int, ...]:
    """One for all: thousands of rows have the same."""
    return (0,) * cpus
