"""The last hours of one namespace in the history, for alerts that are held: thresholds crossed, packets dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..model import Point, Sample
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .codec import sample_of, whole
from .identity import HERE

if TYPE_CHECKING:
    import sqlite3

#: counters of dropped packets
COUNTERS_OF_DROPS = ('drop', 'chaintoolong')
#: of the newest counts, however often the check runs
MOST_POINTS = 5000
#: a table that was never fuller than this part of the threshold at the points of the trend has not crossed it
NEAR = 0.25


class RecentQuery(NamedTuple):
    """What is wanted of the last hours; times in seconds, usage in percent of the maximum."""

    #: the lowest usage threshold
    threshold: float
    #: nothing is wanted where the threshold was not crossed, and no packet dropped, in this many seconds
    held: float
    #: how far back samples go, and how far apart they are where packets were dropped
    span: float
    window: float
    #: were packets dropped between these two samples?
    dropped: Callable[[Sample, Sample], bool]
    #: entries, where another limit than nf_conntrack_max counts, too; 0: none
    limit: int = 0


def recent(database: sqlite3.Connection, now: Sample, query: RecentQuery,
           points: Sequence[Point]) -> tuple[tuple[Point, ...], tuple[Sample, ...]]:
    """Samples before `now`, oldest first: every count where usage crossed the threshold, one sample a window where
    packets were dropped; each is empty where that did not happen.
    """
    values = {'boot_id': now.boot_id, 'netns': now.netns, 'now': now.at.uptime}
    return _points(database, now, query, points, values), _samples(database, now, query, values)


def _points(database: sqlite3.Connection, now: Sample, query: RecentQuery, points: Sequence[Point],
            values: dict[str, object]) -> tuple[Point, ...]:
    maximum = _smaller(now.maximum, query.limit)
    threshold = maximum * query.threshold / 100
    fullest = max(now.entries, *(point.entries for point in points)) if points else now.entries
    if maximum <= 0 or fullest < threshold * NEAR:
        return ()
    if now.entries <= threshold and not database.execute(
            f'SELECT 1 FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now AND entries > :threshold '
            'LIMIT 1',
            {**values, 'since': now.at.uptime - query.held, 'threshold': threshold}).fetchone():
        return ()
    rows = database.execute(
        f'SELECT uptime, entries, maximum FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now '
        f'ORDER BY uptime DESC LIMIT {MOST_POINTS}', {**values, 'since': now.at.uptime - query.span}).fetchall()
    return tuple(Point(float(uptime), _of_then(whole(entries), _smaller(whole(then), query.limit), maximum))
                 for uptime, entries, then in reversed(rows))


def _smaller(maximum: int, limit: int) -> int:
    """What counts of nf_conntrack_max, where 0 and less is no limit, and another limit, if there is one."""
    return limit if limit and not 0 < maximum < limit else maximum


def _of_then(entries: int, then: int, now: int) -> int:
    """Entries in the proportion of the maximum of then: they crossed nothing before it was lowered."""
    return 0 if then <= 0 else entries * now // then if then > now else entries


def other_maximum(database: sqlite3.Connection, now: Sample, since: float) -> Sample | None:
    """The newest sample since then with a smaller maximum, else the newest of this boot with a larger one, or none."""
    if now.maximum <= 0:
        return None
    values = {'boot_id': now.boot_id, 'netns': now.netns, 'now': now.at.uptime, 'maximum': now.maximum, 'since': since}
    select = f'SELECT time, uptime, entries, maximum, buckets, NULL FROM sample WHERE {HERE} AND uptime < :now AND'
    row = database.execute(f'{select} uptime >= :since AND maximum BETWEEN 1 AND :maximum - 1 '
                           'ORDER BY uptime DESC LIMIT 1', values).fetchone() or database.execute(
        f'{select} (maximum > :maximum OR maximum <= 0) ORDER BY uptime DESC LIMIT 1', values).fetchone()
    return sample_of(now.boot_id, now.netns, *row) if row else None


def _samples(database: sqlite3.Connection, now: Sample, query: RecentQuery,
           values: dict[str, object]) -> tuple[Sample, ...]:
    # most namespaces never dropped a packet
    if now.counters is None or not any(map(any, (now.counters.per_cpu.get(name, ()) for name in COUNTERS_OF_DROPS))):
        return ()
    select = f'SELECT time, uptime, entries, maximum, buckets, counters FROM sample WHERE {HERE} AND uptime'
    row = database.execute(f'{select} <= :until ORDER BY uptime DESC LIMIT 1',
                           {**values, 'until': now.at.uptime - query.held - query.window}).fetchone() \
        or database.execute(f'{select} < :now ORDER BY uptime LIMIT 1', values).fetchone()
    if row is None or not query.dropped(sample_of(now.boot_id, now.netns, *row), now):
        return ()
    rows = database.execute(
        f'SELECT time, max(uptime), entries, maximum, buckets, counters FROM sample WHERE {HERE} '
        'AND uptime >= :since AND uptime < :now GROUP BY CAST(uptime / :window AS INTEGER) ORDER BY 2',
        {**values, 'since': now.at.uptime - query.span, 'window': query.window})
    return tuple(sample_of(now.boot_id, now.netns, *row) for row in rows)
