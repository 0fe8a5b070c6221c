"""The history of many namespaces in a few SQL queries, which show which of them are idle.

Asked one by one, a thousand namespaces cost a thousand times the same queries, mostly to learn that nothing changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model import Counters, History, Sample
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .codec import sample_of
from .identity import AT_ONCE, Known
from .queries import COLUMNS, MUCH_OLDER, YOUNGEST_BASE, HistoryQuery, history_before
from .recent import COUNTERS_OF_DROPS

if TYPE_CHECKING:
    import sqlite3
    from typing import Any

#: KiB of the file that are kept in memory
CACHE = 32 << 10
#: so many rows of the file are gone through for each namespace that is asked for; else they are asked one by one
MOST_ROWS = 1000
#: rows of other runs at the same time: a run that began earlier may have recorded later
OUT_OF_ORDER = 2000
#: SQL condition: the row's namespace had dropped packets
_DROPPED = ' OR '.join(f"instr(counters, '\"{name}\":') > 0" for name in COUNTERS_OF_DROPS)


class Outline(NamedTuple):
    """What is recorded of one namespace, in short."""

    #: has it a profile?
    profiled: bool
    #: where the base is much older than the window: is there a sample in the window?
    inside: bool
    #: where the base is in the window: when the boot before ended, by its clock, for a namespace of this inode; None:
    #: nothing is recorded of one
    rebooted: float | None
    #: the newest sample before the window, else the first inside: columns of the table `sample`; None: there is none
    base: tuple[float, float, int, int, int | None, str | None] | None


def histories(database: sqlite3.Connection, samples: Sequence[Sample], known: Sequence[Known | None],
              query: HistoryQuery) -> dict[int, History]:
    """By inode: what `history_before` answers, but for the points, where the table has room enough not to need them.

    samples: of one run; known: what is recorded of their namespaces.
    """
    boot = database.execute('SELECT id FROM boot WHERE boot_id = ?', (samples[0].boot_id,)).fetchone()
    if boot is None:
        return {}
    # each namespace has pages of its own: no written one is put out of memory before the end, which takes a sync
    database.execute(f'PRAGMA cache_size = -{CACHE}')
    now = samples[0].at.uptime
    values = {'boot': boot[0], 'begin': now - max(query.points_span, query.window), 'now': now,
              'until': now - query.window, 'youngest': now - YOUNGEST_BASE, 'old': now - MUCH_OLDER * query.window,
              'room': min(_room(one, query) for one in samples)}
    pairs = [(one.netns, before.since if before else 0.0) for one, before in zip(samples, known)]
    found: dict[int, Outline] = {}
    first, bases = [], []
    for part in range(0, len(pairs), AT_ONCE):
        for netns, row, base, outline in _outlines(database, pairs[part:part + AT_ONCE], values):
            found[netns] = outline
            if row is not None:
                first.append(row)
            if base is not None:
                bases.append(base)
    begin = min(first, default=0)
    newest, = database.execute('SELECT max(rowid) FROM sample').fetchone()
    if first and newest - begin > len(samples) * MOST_ROWS:
        return {}
    # the newest rows lie next to each other: to go through all takes less than to look for those of each namespace
    fullest = _fullest(database, begin - OUT_OF_ORDER, values) if first else {}
    dropped = _dropped(database, max(begin, min(bases)) - OUT_OF_ORDER, values) if first and bases else set()
    answers = {}
    # most of them are alike
    idle: dict[tuple[int, int], History | None] = {}
    for one in samples:
        outline = found[one.netns]
        # neither growth nor a threshold that was crossed matters in a table that is, and was, so empty
        if max(one.entries, fullest.get(one.netns, 0)) >= _room(one, query):
            continue
        alike = id(outline), id(one.counters)
        if alike not in idle:
            idle[alike] = _of_an_idle_one(outline, one, query)
        history = None if one.netns in dropped else idle[alike]
        answers[one.netns] = history._replace(base=history.base._replace(netns=one.netns)) \
            if history and history.base else history_before(database, one, query, points=False)
    return answers


def _room(now: Sample, query: HistoryQuery) -> float:
    """With fewer entries than this no points are wanted."""
    return query.no_points_below * now.maximum / 100


def _fullest(database: sqlite3.Connection, first: int, values: dict[str, float]) -> dict[int, int]:
    """Most entries of each inode that had little room, in the rows from `first` on."""
    return dict(database.execute(
        'SELECT netns, max(entries) FROM sample NOT INDEXED WHERE rowid >= :first AND entries >= :room '
        'AND boot = :boot AND uptime >= :begin AND uptime < :now GROUP BY netns', {**values, 'first': first}))


def _dropped(database: sqlite3.Connection, first: int, values: dict[str, float]) -> set[int]:
    """Inodes of which a sample of the window had dropped packets, in the rows from `first` on."""
    return {netns for netns, in database.execute(
        f'SELECT DISTINCT netns FROM sample NOT INDEXED WHERE rowid >= :first AND uptime > :until AND ({_DROPPED}) '
        'AND boot = :boot AND uptime <= :youngest', {**values, 'first': first})}


def _outlines(database: sqlite3.Connection, pairs: Sequence[tuple[int, float]],
              values: dict[str, float]) -> Iterator[tuple[int, int | None, int | None, Outline]]:
    """The inode, the rows of its first sample that matters and of its base, and the outline of each."""
    # numbers only: no text of anybody gets into the statement
    wanted = ', '.join(f'({netns:d}, {since!r})' for netns, since in pairs)
    here = 'boot = :boot AND netns = wanted.inode AND +uptime >= wanted.since'
    rows = database.execute(
        f'WITH wanted (inode, since) AS (VALUES {wanted}) SELECT inode, '
        '(SELECT rowid FROM sample WHERE boot = :boot AND netns = wanted.inode AND uptime >= :begin AND uptime < :now '
        f'ORDER BY uptime LIMIT 1), base.rowid, EXISTS (SELECT 1 FROM profile WHERE {here}), '
        f'CASE WHEN base.uptime < :old THEN EXISTS (SELECT 1 FROM sample WHERE {here} AND uptime > :until '
        'AND uptime <= :youngest) END, '
        'CASE WHEN base.uptime > :until THEN (SELECT time FROM sample WHERE boot = (SELECT max(id) FROM boot '
        'WHERE id <> :boot) AND netns = wanted.inode ORDER BY uptime DESC LIMIT 1) END, '
        f'{", ".join(f"base.{name}" for name in COLUMNS.split(", "))} '
        'FROM wanted LEFT JOIN sample AS base ON base.rowid = coalesce('
        f'(SELECT rowid FROM sample WHERE {here} AND uptime <= :until ORDER BY uptime DESC LIMIT 1), '
        f'(SELECT rowid FROM sample WHERE {here} AND uptime <= :youngest ORDER BY uptime LIMIT 1))', values)
    made: dict[tuple[Any, ...], Outline] = {}
    for netns, first, base_row, *row in rows:
        key = tuple(row)
        if key not in made:
            profiled, inside, rebooted, *base = row
            made[key] = Outline(bool(profiled), bool(inside), rebooted, None if base[0] is None else tuple(base))
        yield netns, first, base_row, made[key]


def _of_an_idle_one(outline: Outline, now: Sample, query: HistoryQuery) -> History | None:
    """What `history_before` answers where nothing has moved, but for the points; None where it must be asked."""
    if outline.base is None or outline.inside or outline.profiled \
            or not isinstance(now.counters, Counters):
        return None
    base = sample_of(now.boot_id, now.netns, *outline.base)
    if base.counters is None or base.counters.per_cpu != now.counters.per_cpu \
            or any(map(any, (now.counters.per_cpu.get(name, ()) for name in COUNTERS_OF_DROPS))):
        return None
    # then the losses of the boot before count, too
    within = outline.rebooted is not None and now.at.wall - query.window < outline.rebooted < now.at.wall
    return None if within else History(base, first_run=False)
