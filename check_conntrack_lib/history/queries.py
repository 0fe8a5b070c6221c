"""What a run reads of the history file about the time before it: base of the losses, points of the trend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ..defaults import DAY
from ..model import History, Point, Sample
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .codec import checked_entries, checked_time, sample_of
from .identity import HERE, Identify
from .recent import RecentQuery, other_maximum, recent

if TYPE_CHECKING:
    import sqlite3
    from typing import Optional

    #: COLUMNS of one sample
    Row = tuple[float, float, int, int, Optional[int], Optional[str]]

COLUMNS = 'time, uptime, entries, maximum, buckets, counters'
#: seconds: a difference of counters over less than this says nothing
YOUNGEST_BASE = 1.0
#: a base that is older than this many windows is much older: a sample inside the window may be a better one
MUCH_OLDER = 2.0
#: drops are counted from no base that is older, in seconds: after a pause that long the counting starts again
LONGEST_BASE = DAY
#: the counter of what NAT ports are refused with
FAILED = 'insert_failed'
#: the trend gets at most this many points, however often it is asked: of the newest part, and of all before
NEWEST_POINTS, OLDER_POINTS = 20, 30


class HistoryQuery(NamedTuple):
    """What is asked: how far back in seconds, and which sample may be the base of losses."""

    window: float
    #: how far back the points for the trend go
    points_span: float
    #: can losses be counted from this sample to that one?
    comparable: Callable[[Sample, Sample], bool]
    #: the newest part of that, in which the points lie closer
    newest_span: float = 0.0
    #: how namespaces are distinguished that had the same inode
    identify: Identify = Identify()
    #: did counters of losses change between these two samples? None: never look for a younger base
    moved: Callable[[Sample, Sample], bool] | None = None
    #: what is wanted where a threshold was crossed or packets were dropped
    trouble: RecentQuery | None = None
    #: of many namespaces, those that were always emptier than this, in percent of the maximum, get no points
    no_points_below: float = 0.0


def history_before(database: sqlite3.Connection, now: Sample, query: HistoryQuery, points: bool = True) -> History:
    """What is recorded of its namespace before `now`. Raises sqlite3.Error, ValueError and their like for a bad row.

    points: False where the table was always so empty that nothing follows from them.
    """
    values = {'boot_id': now.boot_id, 'netns': now.netns}
    youngest = now.at.uptime - YOUNGEST_BASE
    select = f'SELECT {COLUMNS} FROM sample WHERE {HERE} AND uptime <= :until'
    row = database.execute(f'{select} ORDER BY uptime DESC LIMIT 1',
                           {**values, 'until': now.at.uptime - query.window}).fetchone()
    before_resets: tuple[tuple[Sample, Sample], ...] = ()
    if row is None:
        before_resets = _before_reboot(database, now, query)
        row = database.execute(f'{select} ORDER BY uptime LIMIT 1', {**values, 'until': youngest}).fetchone()
    if row is None:
        # one that is too young to count from was recorded, too
        is_first = database.execute(f'SELECT 1 FROM sample WHERE {HERE} LIMIT 1', values).fetchone() is None
        return History(before_resets=before_resets, first_run=is_first)
    profiled, profile = database.execute(f'SELECT max(uptime), text FROM profile WHERE {HERE}', values).fetchone()
    oldest = _better_base(database, _sample(row, now), now, query)
    later = database.execute(f'{select} AND uptime > :since ORDER BY uptime',
                             {**values, 'until': youngest, 'since': oldest.at.uptime})
    text = row[-1] if oldest.at.uptime == row[1] else None
    base, resets = _count_from(oldest, text, later, now, query.comparable)
    before_resets += resets
    earlier = points_before(database, now, query) if points else ()
    recent_points, recent_samples = recent(database, now, query.trouble, earlier) if query.trouble else ((), ())
    other = other_maximum(database, now, base.at.uptime if base else now.at.uptime) \
        if recent_points or recent_samples else None
    return History(base, before_resets, earlier, first_run=False,
                   profiled=None if profiled is None else checked_time(profiled), ports_used=_ports_used(profile),
                   ports_peak=_ports_peak(database, base, now),
                   recent_points=recent_points, recent_samples=recent_samples, other_maximum=other,
                   undropped=_undropped(database, base, now, query) if recent_samples and base else None)


def points_before(database: sqlite3.Connection, now: Sample, query: HistoryQuery) -> tuple[Point, ...]:
    """Earlier counts, for the trend. Raises as `history_before` does."""
    points = database.execute(
        f'SELECT max(uptime), entries FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now '
        'GROUP BY uptime >= :newest, CAST(uptime / CASE WHEN uptime >= :newest THEN :close ELSE :wide END AS INTEGER) '
        'ORDER BY 1',
        {'boot_id': now.boot_id, 'netns': now.netns, 'since': now.at.uptime - query.points_span, 'now': now.at.uptime,
         'newest': now.at.uptime - query.newest_span, 'close': max(query.newest_span / NEWEST_POINTS, 0.001),
         'wide': max(query.points_span / OLDER_POINTS, 0.001)})
    return tuple(Point(checked_time(uptime), checked_entries(entries)) for uptime, entries in points)


def _ports_used(text: str | None) -> float:
    """Of a recorded profile. Most have none, and need not be parsed."""
    if not text or '"nat_ports":' not in text:
        return 0.0
    pools = json.loads(text)['nat_ports']
    return max((used / size for *_pool, used, size, _exact, _kept in pools if size), default=0.0)


def _ports_peak(database: sqlite3.Connection, base: Sample | None, now: Sample) -> float:
    """Of the profiles of trouble since the base, the most."""
    if base is None or base.counters is None or now.counters is None \
            or base.counters.per_cpu.get(FAILED) == now.counters.per_cpu.get(FAILED):
        return 0.0
    return max((_ports_used(text) for text, in database.execute(
        f'SELECT text FROM profile WHERE {HERE} AND NOT quiet AND uptime >= :since',
        {'boot_id': now.boot_id, 'netns': now.netns, 'since': base.at.uptime})), default=0.0)


def _better_base(database: sqlite3.Connection, old: Sample, now: Sample, query: HistoryQuery) -> Sample:
    """The sample that losses are counted from, where the newest one that is a window old is much older.

    A loss is not diluted over time in which it is known not to have happened: what the oldest sample inside the window
    shows is younger. A loss from before that sample stays visible as long as the sample is inside.
    """
    if query.moved is None or now.at.uptime - old.at.uptime <= MUCH_OLDER * query.window:
        return old
    row = database.execute(
        f'SELECT {COLUMNS} FROM sample WHERE {HERE} AND uptime > :since AND uptime <= :until ORDER BY uptime LIMIT 1',
        {'boot_id': now.boot_id, 'netns': now.netns, 'since': now.at.uptime - query.window,
         'until': now.at.uptime - YOUNGEST_BASE}).fetchone()
    if row is None:
        return old
    inside = _sample(row, now)
    if not query.comparable(old, inside) or not query.comparable(inside, now):
        return old  # a reset is the caller's to find
    seen_before = now.at.uptime - old.at.uptime <= LONGEST_BASE and query.moved(old, inside)
    return old if seen_before and not query.moved(inside, now) else inside


def _before_reboot(database: sqlite3.Connection, now: Sample, query: HistoryQuery) -> tuple[tuple[Sample, Sample], ...]:
    """The first and the last sample of the window in the boot before, if that ended within it by the wall clock."""
    values = {'boot_id': now.boot_id, 'netns': now.netns}
    select = ('SELECT boot_id, netns, time, uptime, entries, maximum, buckets, counters FROM sample '
             'JOIN boot ON boot.id = sample.boot WHERE netns = :netns AND boot = '
             '(SELECT max(id) FROM boot WHERE boot_id != :boot_id)')
    row = database.execute(f'{select} ORDER BY uptime DESC LIMIT 1', values).fetchone()
    last = sample_of(*row) if row else None
    if last is None or not now.at.wall - query.window < last.at.wall < now.at.wall:
        return ()
    until = last.at.uptime - query.window + now.at.wall - last.at.wall
    row = database.execute(f'{select} AND uptime <= :until ORDER BY uptime DESC LIMIT 1',
                           {**values, 'until': until}).fetchone() \
        or database.execute(f'{select} AND uptime < :until ORDER BY uptime LIMIT 1',
                            {**values, 'until': last.at.uptime}).fetchone()
    return ((sample_of(*row), last),) if row else ()


def _count_from(oldest: Sample, text: str | None, later: Iterable[Row], now: Sample,
                comparable: Callable[[Sample, Sample], bool],
                ) -> tuple[Sample | None, tuple[tuple[Sample, Sample], ...]]:
    """The sample that losses up to now are counted from, and the first and last sample of each time before it.

    Counters only grow: one below its own earlier value was reset to 0, when the module was loaded again. The base may
    be lower than all later samples, so each is compared with the one before it. text: the counters of `oldest` as they
    are recorded, if known.
    """
    before_resets = []
    first = last = oldest
    same: Row | None = None
    for row in later:
        # on a quiet host the counters stand still: of those only the last one's time matters
        if row[-1] is None or row[-1] == text:
            same = row if row[-1] else same
            continue
        last, same = _as_late_as(last, same, now), None
        text, sample = row[-1], _sample(row, now)
        if not comparable(last, sample):
            if last is not first:
                before_resets.append((first, last))
            first = sample.zero_since(last) or sample
        last = sample
    last = _as_late_as(last, same, now)
    if not comparable(last, now):
        if last is not first:
            before_resets.append((first, last))
        return now.zero_since(last), tuple(before_resets)
    return first, tuple(before_resets)


def _as_late_as(sample: Sample, row: Row | None, now: Sample) -> Sample:
    """The sample at the time of a later row, if there is one, in which its counters had not moved."""
    return sample._replace(at=sample_of(now.boot_id, now.netns, *row[:-1], None).at) if row else sample


def _undropped(database: sqlite3.Connection, base: Sample, now: Sample, query: HistoryQuery) -> Sample | None:
    """The last sample behind the base up to which no packet was dropped."""
    found = None
    if query.trouble and query.trouble.dropped(base, now):
        for row in database.execute(f'SELECT {COLUMNS} FROM sample WHERE {HERE} AND uptime > :since AND uptime < :now '
                                    'ORDER BY uptime', {'boot_id': now.boot_id, 'netns': now.netns,
                                                        'since': base.at.uptime, 'now': now.at.uptime}):
            sample = _sample(row, now)
            if not query.comparable(base, sample) or query.trouble.dropped(base, sample):
                break
            found = sample
    return found


def _sample(row: Row, now: Sample) -> Sample:
    return sample_of(now.boot_id, now.netns, *row)
