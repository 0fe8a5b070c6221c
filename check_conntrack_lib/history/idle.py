"""The history of many namespaces in one SQL query, which shows which of them are idle.

Asked one by one, a thousand namespaces cost a thousand times the same queries, mostly to learn that nothing changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from ..model import Counters, History, Sample
from ..namedtuples import NamedTuple
from .codec import sample_of
from .identity import AT_ONCE, Known
from .queries import COLUMNS, MUCH_OLDER, YOUNGEST_BASE, HistoryQuery, history_before
from .recent import COUNTERS_OF_DROPS


class Outline(NamedTuple):
    """What is recorded of one namespace, in short."""

    #: most entries at the times that the trend is made of; 0 without any
    fullest: int
    #: has it a profile?
    profiled: bool
    #: was there a sample in the window with other counters than the base?
    moved: bool
    #: when the boot before ended, by its clock, for a namespace of this inode; None: nothing is recorded of one
    rebooted: float | None
    #: the newest sample before the window, else the first inside: columns of the table `sample`; None: there is none
    base: tuple[float, float, int, int, int | None, str | None] | None


def histories(database: sqlite3.Connection, samples: Sequence[Sample], known: Sequence[Known | None],
              query: HistoryQuery) -> dict[int, History]:
    """By inode: what `history_before` answers, but for the points, where the table has room enough not to need them.

    samples: of one run; known: what is recorded of their namespaces.
    """
    row = database.execute('SELECT id FROM boot WHERE boot_id = ?', (samples[0].boot_id,)).fetchone()
    if row is None:
        return {}
    boot, = row
    pairs = [(one.netns, before.since if before else 0.0) for one, before in zip(samples, known)]
    found = dict(outline for first in range(0, len(pairs), AT_ONCE)
                 for outline in _outlines(database, boot, pairs[first:first + AT_ONCE], samples[0].at.uptime, query))
    return {one.netns: _of_an_idle_one(found[one.netns], one, query)
            or history_before(database, one, query, points=False)
            for one in samples if _has_room(found[one.netns], one, query)}


def _outlines(database: sqlite3.Connection, boot: int, pairs: Sequence[tuple[int, float]], now: float,
              query: HistoryQuery) -> Iterator[tuple[int, Outline]]:
    # numbers only: no text of anybody gets into the statement
    wanted = ', '.join(f'({netns:d}, {since!r})' for netns, since in pairs)
    here = 'boot = :boot AND netns = wanted.inode AND +uptime >= wanted.since'
    rows = database.execute(
        f'WITH wanted (inode, since) AS (VALUES {wanted}) SELECT inode, '
        f'(SELECT max(entries) FROM sample WHERE {here} AND uptime >= :points AND uptime < :now), '
        f'EXISTS (SELECT 1 FROM profile WHERE {here}), '
        f'EXISTS (SELECT 1 FROM sample WHERE {here} AND uptime > :until AND uptime <= :youngest '
        'AND counters <> base.counters), '
        '(SELECT time FROM sample WHERE boot = (SELECT max(id) FROM boot WHERE id <> :boot) AND netns = wanted.inode '
        f'ORDER BY uptime DESC LIMIT 1), {", ".join(f"base.{name}" for name in COLUMNS.split(", "))} '
        'FROM wanted LEFT JOIN sample AS base ON base.rowid = coalesce('
        f'(SELECT rowid FROM sample WHERE {here} AND uptime <= :until ORDER BY uptime DESC LIMIT 1), '
        f'(SELECT rowid FROM sample WHERE {here} AND uptime <= :youngest ORDER BY uptime LIMIT 1))',
        {'boot': boot, 'points': now - query.points_span, 'now': now, 'until': now - query.window,
         'youngest': now - YOUNGEST_BASE})
    for netns, fullest, profiled, moved, rebooted, *base in rows:
        yield netns, Outline(fullest or 0, bool(profiled), bool(moved), rebooted,
                             None if base[0] is None else tuple(base))


def _has_room(outline: Outline, now: Sample, query: HistoryQuery) -> bool:
    """Is the table, and was it, so empty that neither growth nor a threshold that was crossed matters?"""
    return max(now.entries, outline.fullest) < query.no_points_below * now.maximum / 100


def _of_an_idle_one(outline: Outline, now: Sample, query: HistoryQuery) -> History | None:
    """What `history_before` answers where nothing has moved, but for the points; None where it must be asked."""
    if outline.base is None or outline.moved or outline.profiled or not isinstance(now.counters, Counters):
        return None
    base = sample_of(now.boot_id, now.netns, *outline.base)
    if base.counters is None or base.counters.per_cpu != now.counters.per_cpu \
            or any(map(any, (now.counters.per_cpu.get(name, ()) for name in COUNTERS_OF_DROPS))) \
            or now.at.uptime - base.at.uptime > MUCH_OLDER * query.window:
        return None
    # then the losses of the boot before count, too
    within = outline.rebooted is not None and now.at.wall - query.window < outline.rebooted < now.at.wall
    return None if within and base.at.uptime > now.at.uptime - query.window else History(base, first_run=False)
