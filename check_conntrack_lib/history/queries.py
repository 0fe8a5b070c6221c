"""What the flight recorder is asked: the time before this run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from ..model import History, Point, Sample
from ..namedtuples import NamedTuple
from .codec import HERE, sample_of, whole
from .recent import RecentQuery, recent

COLUMNS = 'time, uptime, entries, maximum, buckets, counters'

#: a delta over less than this says nothing
YOUNGEST_BASE = 1.0
#: the trend gets at most so many points, however often it is asked: of the newest part, and of all before
RECENT_POINTS, OLDER_POINTS = 20, 30


class HistoryQuery(NamedTuple):
    """How far the questions go, in seconds, and which base they may use."""

    window: float
    points: float
    #: can losses be counted from this sample to that one?
    comparable: Callable[[Sample, Sample], bool]
    #: the newest part of the points, which are closer there
    recent: float = 0.0
    #: what is wanted where a threshold was crossed or packets were dropped
    trouble: RecentQuery | None = None


def history_before(database: sqlite3.Connection, now: Sample, look: HistoryQuery) -> History:
    """What is recorded of the time before `now`. Raises sqlite3.Error, ValueError and their like for a bad row."""
    place = {'boot_id': now.boot_id, 'netns': now.netns}
    youngest = now.at.uptime - YOUNGEST_BASE
    query = f'SELECT {COLUMNS} FROM sample WHERE {HERE} AND uptime <= :until'
    row = database.execute(f'{query} ORDER BY uptime DESC LIMIT 1',
                           {**place, 'until': now.at.uptime - look.window}).fetchone()
    cut: tuple[Sample, Sample] | None = None
    if row is None:
        cut = _before_reboot(database, now, look)
        row = database.execute(f'{query} ORDER BY uptime LIMIT 1', {**place, 'until': youngest}).fetchone()
    if row is None:
        return History(cut=cut)
    profiled, = database.execute(f'SELECT max(uptime) FROM profile WHERE {HERE}', place).fetchone()
    oldest = _sample(row, now)
    base: Sample | None = oldest
    if not look.comparable(oldest, now):
        # the counters began anew since then: count from the first sample after that
        later = database.execute(f'{query} AND uptime > :since ORDER BY uptime',
                                 {**place, 'until': youngest, 'since': oldest.at.uptime})
        base, last = None, oldest
        for sample in (_sample(r, now) for r in later):
            if look.comparable(sample, now):
                base = sample
                break
            last = sample if look.comparable(oldest, sample) else last
        cut = (oldest, last) if last is not oldest else cut
    points = database.execute(
        f'SELECT max(uptime), entries FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now '
        'GROUP BY uptime >= :recent, CAST(uptime / CASE WHEN uptime >= :recent THEN :close ELSE :wide END AS INTEGER) '
        'ORDER BY 1',
        {**place, 'since': now.at.uptime - look.points, 'now': now.at.uptime, 'recent': now.at.uptime - look.recent,
         'close': max(look.recent / RECENT_POINTS, 0.001), 'wide': max(look.points / OLDER_POINTS, 0.001)})
    earlier = tuple(Point(float(uptime), whole(entries)) for uptime, entries in points)
    counts, slots = recent(database, now, look.trouble, earlier) if look.trouble else ((), ())
    return History(base, cut, earlier, first_run=False, profiled=None if profiled is None else float(profiled),
                   counts=counts, slots=slots)


def _before_reboot(database: sqlite3.Connection, now: Sample, look: HistoryQuery) -> tuple[Sample, Sample] | None:
    """The first and the last sample of the look-back in the boot before, if that ended within it by the wall clock."""
    place = {'boot_id': now.boot_id, 'netns': now.netns}
    query = ('SELECT boot_id, netns, time, uptime, entries, maximum, buckets, counters FROM sample '
             'JOIN boot ON boot.id = sample.boot WHERE netns = :netns AND boot = '
             '(SELECT max(id) FROM boot WHERE boot_id != :boot_id)')
    row = database.execute(f'{query} ORDER BY uptime DESC LIMIT 1', place).fetchone()
    last = sample_of(*row) if row else None
    if last is None or not now.at.wall - look.window < last.at.wall < now.at.wall:
        return None
    until = last.at.uptime - look.window + now.at.wall - last.at.wall
    row = database.execute(f'{query} AND uptime <= :until ORDER BY uptime DESC LIMIT 1',
                           {**place, 'until': until}).fetchone() \
        or database.execute(f'{query} AND uptime < :until ORDER BY uptime LIMIT 1',
                            {**place, 'until': last.at.uptime}).fetchone()
    return (sample_of(*row), last) if row else None


def _sample(row: tuple[float, float, int, int, int | None, str | None], now: Sample) -> Sample:
    return sample_of(now.boot_id, now.netns, *row)
