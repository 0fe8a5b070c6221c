"""Real load curves as the usage of a table: CSV files with a timestamp and a value, scaled to a quiet peak.

The series is the usage, linear between its samples, with noise: 0.5 % that lasts two minutes, 1 % that lasts ten for
series with a sample in more than ten minutes. It is scaled so that the 99.5th percentile outside the labelled anomalies
is the quiet peak. Above 100 % the table is full, what exceeds it is dropped, and the kernel log has a line of it.
"""

from __future__ import annotations

import csv
import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import NamedTuple

from check_conntrack_lib.model import Counters, Instant, KernelLog, LogLine, Table
from check_conntrack_lib.snapshot import Snapshot

from .outcome import Episode, episodes
from .world import INITIAL, MAXIMUM, UPTIME

#: seconds between two points of a course; the retry interval of the scheduler
STEP = 15.0
#: series with a longer median interval are coarse, in seconds
COARSE = 600.0
#: (standard deviation, seconds that it lasts)
FINE_NOISE, COARSE_NOISE = (0.005, 120.0), (0.01, 600.0)
#: the quiet peak is this percentile
PERCENTILE = 99.5
#: seconds for which a refused connection would have been in the table
LIFE = 300.0
#: log lines are kept for as long as the check may look back, in seconds
LOG_KEPT = 7200.0
LABELS = 'nab_combined_windows.json'


class Series(NamedTuple):
    """One CSV file: seconds since 1970 and values, the labelled anomalies as (from, to)."""

    name: str
    times: Sequence[float]
    values: Sequence[float]
    anomalies: Sequence[tuple[float, float]]

    @property
    def days(self) -> float:
        return (self.times[-1] - self.times[0]) / 86400.0

    @property
    def coarse(self) -> bool:
        steps = sorted(b - a for a, b in zip(self.times, self.times[1:]))
        return steps[len(steps) // 2] > COARSE


def read(path: Path, windows: dict[str, list[list[str]]] | None = None) -> Series:
    """One series; windows: NAB's labels by its own path names. A column `label` of 1 is a labelled anomaly, too."""
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    found = {seconds(row['timestamp']): float(row['value']) for row in rows if row['value']}
    times = sorted(found)
    anomalies = [(seconds(a), seconds(b)) for key, spans in (windows or {}).items()
                 if path.stem == 'nab_' + key.replace('/', '_').removesuffix('.csv') for a, b in spans]
    anomalies += [(at, at) for at in (seconds(row['timestamp']) for row in rows if row.get('label') == '1')]
    return Series(path.stem, times, [found[at] for at in times], anomalies)


def read_all(directory: Path) -> list[Series]:
    """Every CSV file of a folder."""
    labels = directory / LABELS
    windows = json.loads(labels.read_text()) if labels.exists() else {}
    return [read(path, windows) for path in sorted(directory.glob('*.csv'))]


def seconds(text: str) -> float:
    """Seconds since 1970 of a number, or of a date and time in UTC."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.split('.')[0]).replace(tzinfo=timezone.utc).timestamp()


def quiet_peak(series: Series) -> float:
    """The 99.5th percentile of the values outside the labelled anomalies."""
    quiet = sorted(value for at, value in zip(series.times, series.values)
                   if not any(a <= at <= b for a, b in series.anomalies))
    return quiet[min(len(quiet) - 1, int(len(quiet) * PERCENTILE / 100))]


class Course:
    """A series at a quiet peak, every 15 s: usage in percent (above 100 too), what was dropped, what was logged."""

    def __init__(self, series: Series, peak: float, seed: int = 1) -> None:
        self.series, self.peak = series, peak
        self.usage = _usage(series, peak, Random(f'{seed} {series.name}'))
        #: packets dropped up to each step, and the steps in which some were
        self.dropped = array('q')
        self.losing: list[int] = []
        total = 0
        for k, usage in enumerate(self.usage):
            if usage > 100.0:
                total += max(1, round((usage - 100.0) * MAXIMUM / 100 * STEP / LIFE))
                self.losing.append(k)
            self.dropped.append(total)
        self.lines = [LogLine(UPTIME + k * STEP) for k in self.losing]

    @property
    def days(self) -> float:
        return len(self.usage) * STEP / 86400.0

    def episodes(self) -> tuple[Episode, ...]:
        """Losses that belong together, in seconds since the begin."""
        return episodes([(k * STEP, self.dropped[k] - (self.dropped[k - 1] if k else 0)) for k in self.losing])

    def snapshot(self, k: int) -> Snapshot:
        """What a run at this step reads."""
        now = k * STEP
        last = bisect_right(self.losing, k)
        first = bisect_right(self.losing, k - int(LOG_KEPT / STEP), 0, last)
        return Snapshot(Instant(self.series.times[0] + now, UPTIME + now, UPTIME + now), '00000000-0000', INITIAL, True,
                        Table(min(MAXIMUM, round(self.usage[k] * MAXIMUM / 100)), MAXIMUM, MAXIMUM),
                        Counters({'drop': (self.dropped[k] % (1 << 32),)}, 'simulated'),
                        KernelLog('simulated', tuple(self.lines[first:last])))

    def loss_within(self, k: int, span: float) -> bool:
        """Was something dropped in the last `span` seconds?"""
        first = k - int(span / STEP)
        return self.dropped[k] > (self.dropped[first] if first >= 0 else 0)


def _usage(series: Series, peak: float, random: Random) -> array[float]:
    deviation, lasting = COARSE_NOISE if series.coarse else FINE_NOISE
    keep = math.exp(-STEP / lasting)
    new = deviation * math.sqrt(1 - keep * keep)
    scale = peak / quiet_peak(series)
    found, level, place = array('d'), 0.0, 0
    times, values = series.times, series.values
    for k in range(int((times[-1] - times[0]) / STEP)):
        at = times[0] + k * STEP
        while times[place + 1] <= at:
            place += 1
        share = (at - times[place]) / (times[place + 1] - times[place])
        level = level * keep + random.gauss(0, new)
        found.append(max(0.0, (values[place] + (values[place + 1] - values[place]) * share) * scale * (1 + level)))
    return found
