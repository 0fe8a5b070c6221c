"""Upkeep of the history file: old rows are deleted or thinned, those of gone namespaces deleted. A part at each run."""

from __future__ import annotations

import time

from ..defaults import DAY
from ..model import Instant, Sample
from ..namedtuples import TYPE_CHECKING
from . import identity

if TYPE_CHECKING:
    import sqlite3

#: samples are thinned to one in each slot of this many seconds, the one with the most entries
THINNED_SLOT = 600.0
#: profiles to one in each of these
PROFILE_SLOT = 3600.0
#: each part of the namespaces, by inode, has its turn every this many seconds, one part a run
PARTS, EVERY = 10, 600.0
#: no further part is begun in a run after this many seconds
MOST_SECONDS = 0.05
#: rows of gone namespaces that are deleted in one run: they lie scattered over the file
DELETED_ROWS = 50
#: nothing is gone that was not missed by a run in this time before now
MISSED_BEFORE = 3600.0

#: after this many seconds, what did not change is kept once in as many
UNCHANGED = 3600.0
#: a table with less than one in so many of its maximum is idle: nothing is projected from it
IDLE = 100

SCHEMA = f"""
CREATE TABLE upkeep (part INTEGER PRIMARY KEY, done REAL NOT NULL);
INSERT INTO upkeep VALUES {', '.join(f'({part}, 0)' for part in range(PARTS))};
CREATE TABLE gone (boot INTEGER NOT NULL, netns INTEGER NOT NULL, PRIMARY KEY (boot, netns)) WITHOUT ROWID"""

#: samples of one run that are recorded at most, and in a file that is nearly full
MOST_SAMPLES, FIRST_SAMPLES = 2000, 8
#: a file is nearly full from this part of its largest size on: rows of other namespaces are deleted, so many in one run
NEARLY_FULL, EVICTED_ROWS = 7 / 8, 5000
#: seconds of which one of the own samples stays, where those of others are not what fills it
FULL_SLOT = 60.0

_OLDER = 'time < :wall - :age AND NOT (boot = :boot AND uptime >= :uptime - :age)'
#: dated by a clock that was wrong, and too old by that of this boot: rows of an earlier one are older than that
_MISDATED = 'time > :now + :day AND (CASE boot WHEN :boot THEN uptime ELSE 0 END) <= :uptime - :age'
#: the namespaces of the part whose turn it is
_OF_PART = f'netns % {PARTS} = :part'


def make_room(database: sqlite3.Connection, boot: int, now: list[Sample], largest: int) -> tuple[list[Sample], str]:
    """Which samples of a run are recorded, and what is reported if not all: anybody may make thousands of namespaces.

    The run's own namespace is the first. Its rows, and those of the others that stay, make room only where no
    other's can: then one a minute is kept.
    """
    kept = now[:MOST_SAMPLES]
    pages, free, size = (number for name in ('page_count', 'freelist_count', 'page_size')
                         for number, in database.execute(f'PRAGMA {name}'))
    if (pages - free) * size <= NEARLY_FULL * largest:
        return kept, _left_out(now, kept, '')
    kept = kept[:FIRST_SAMPLES]
    inodes = [one.netns for one in kept]
    # who may run the check may do so thousands of times an hour, each time with a profile
    database.execute('DELETE FROM profile WHERE rowid NOT IN (SELECT min(rowid) FROM profile '
                     f'GROUP BY boot, netns, CAST(uptime / {THINNED_SLOT} AS INTEGER))')
    evicted = database.execute(
        'DELETE FROM sample WHERE rowid IN (SELECT rowid FROM sample INDEXED BY sample_by_time WHERE NOT (boot = ? '
        f'AND netns IN ({", ".join("?" * len(inodes))})) ORDER BY time LIMIT {EVICTED_ROWS})', (boot, *inodes)).rowcount
    if not evicted:
        # of each minute the fullest stays; of the last ones all
        database.execute(
            'DELETE FROM sample WHERE rowid IN (SELECT rowid FROM sample WHERE NOT (boot = ? AND uptime >= ?) AND '
            'rowid NOT IN (SELECT id FROM (SELECT rowid AS id, max(entries) FROM sample GROUP BY boot, netns, '
            f'CAST(uptime / {FULL_SLOT} AS INTEGER))) LIMIT {EVICTED_ROWS})', (boot, now[0].at.uptime - THINNED_SLOT))
    return kept, _left_out(now, kept, f'full ({largest >> 20} MiB), the oldest samples of other namespaces make room; ')


def _left_out(now: list[Sample], kept: list[Sample], why: str) -> str:
    return f'{why}{len(kept)} of {len(now)} namespaces are recorded' if why or len(kept) < len(now) else ''


def apply_retention(database: sqlite3.Connection, now: Instant, boot: int, days: float) -> None:
    """The part of the upkeep that is due, inside the transaction of a run.

    The age of this boot's rows is that by uptime: the clock may have jumped.
    """
    waiting = sorted(((abs(now.wall - done), part, done)
                      for part, done in database.execute('SELECT part, done FROM upkeep')), reverse=True)
    if not waiting:
        raise ValueError('no upkeep')
    began = time.monotonic()
    # one part, the one that was done the longest ago; where runs are rare, or after a pause, also others
    due = [one for place, one in enumerate(waiting) if one[0] >= (EVERY if place == 0 else 2 * EVERY)]
    for place, (_, part, done) in enumerate(due):
        if place and time.monotonic() - began > MOST_SECONDS:
            break
        wall = now.wall if now.uptime >= days * DAY else _trusted(database, now.wall)
        _thin(database, {'now': now.wall, 'wall': wall, 'uptime': now.uptime, 'boot': boot, 'part': part,
                         'done': min(done, wall), 'day': DAY, 'age': DAY}, days)
        database.execute('UPDATE upkeep SET done = ? WHERE part = ?', (now.wall, part))
    if due:
        database.execute('DELETE FROM boot WHERE NOT EXISTS (SELECT 1 FROM sample WHERE boot = boot.id) '
                         'AND NOT EXISTS (SELECT 1 FROM profile WHERE boot = boot.id)')
    _delete_gone(database, now.uptime, boot)


def _trusted(database: sqlite3.Connection, wall: float) -> float:
    """The moment by which rows of earlier boots are too old, unless this boot itself has lasted as long.

    Where nothing was recorded on the day before today, the clock may have jumped, to 2100 say: for a day it is not
    believed, and no time has passed since the last row.
    """
    (last,) = database.execute('SELECT max(time) FROM sample WHERE time < ?', (wall - DAY,)).fetchone()
    return wall if last is None or last >= wall - 2 * DAY else float(last) + DAY


def _thin(database: sqlite3.Connection, values: dict[str, float], days: float) -> None:
    """Deletes what is over `days` old, thins what is over a day old, and notes gone namespaces; of one part."""
    for table in ('sample', 'profile'):
        for old in (_OLDER, _MISDATED):
            database.execute(f'DELETE FROM {table} WHERE {old} AND {_OF_PART}', {**values, 'age': days * DAY})
    # what grew older than a day since the last time; the slot before, in case it was cut through
    aged = f'time >= :done - :age - 2 * :slot AND {_OLDER} AND {_OF_PART}'
    values = {**values, 'slot': THINNED_SLOT}
    database.execute(
        f"""INSERT OR IGNORE INTO gone SELECT :boot, netns
            FROM (SELECT DISTINCT netns FROM sample INDEXED BY sample_by_time WHERE {aged} AND boot = :boot) AS old
            WHERE (SELECT max(uptime) FROM sample WHERE boot = :boot AND netns = old.netns) < :uptime - :age
            AND :wall = :now  -- after a pause, or a jump of the clock, nothing has been missed
            AND EXISTS (SELECT 1 FROM sample WHERE time BETWEEN :now - :age AND :now - {MISSED_BEFORE})
            AND NOT EXISTS (  -- what it was called goes on: the container was restarted
                SELECT 1 FROM netns AS mine JOIN netns AS other ON other.name = mine.name
                WHERE mine.boot = :boot AND mine.inode = old.netns AND mine.name <> '' AND other.boot = :boot
                AND (other.inode <> mine.inode OR other.since > mine.since) AND :uptime - :age <=
                    (SELECT max(uptime) FROM sample WHERE boot = :boot AND netns = other.inode))""", values)
    database.execute(
        f"""DELETE FROM sample WHERE rowid IN (SELECT id FROM (
            SELECT rowid AS id, row_number() OVER (
                PARTITION BY boot, netns, CAST(uptime / :slot AS INTEGER) ORDER BY entries DESC, uptime) AS place
            FROM sample INDEXED BY sample_by_time WHERE {aged}) WHERE place > 1)""", values)
    database.execute(
        f"""DELETE FROM profile WHERE {_OLDER} AND {_OF_PART} AND rowid NOT IN (
            SELECT min(rowid) FROM profile GROUP BY boot, netns, CAST(uptime / :slot AS INTEGER))""",
        {**values, 'slot': PROFILE_SLOT})
    # what did not change from the row before to the row behind says nothing
    database.execute(
        f"""DELETE FROM sample WHERE rowid IN (
            SELECT mine.id FROM (SELECT rowid AS id, boot, netns, uptime, entries, maximum, buckets, counters
                FROM sample INDEXED BY sample_by_time WHERE {aged}) AS mine
            JOIN sample AS before ON before.rowid = (SELECT rowid FROM sample WHERE boot = mine.boot
                AND netns = mine.netns AND uptime < mine.uptime ORDER BY uptime DESC LIMIT 1)
            JOIN sample AS behind ON behind.rowid = (SELECT rowid FROM sample WHERE boot = mine.boot
                AND netns = mine.netns AND uptime > mine.uptime ORDER BY uptime LIMIT 1)
            WHERE mine.uptime - before.uptime < {UNCHANGED}
            AND {_same('before')} AND {_same('behind')} AND mine.entries * {IDLE} < mine.maximum)""",
        {**values, 'age': UNCHANGED})
    identity.forget(database, int(values['part']), PARTS)


def _same(other: str) -> str:
    columns = ('entries', 'maximum', 'buckets', 'counters')
    return ' AND '.join(f'{other}.{column} IS mine.{column}' for column in columns)


def _delete_gone(database: sqlite3.Connection, uptime: float, boot: int) -> None:
    """Deletes some rows of a namespace that is gone. Its inode may be another's meanwhile, whose rows are younger."""
    one = database.execute('SELECT boot, netns FROM gone LIMIT 1').fetchone()
    if one is None:
        return
    younger = uptime - DAY if one[0] == boot else float('inf')
    deleted = database.execute(
        'DELETE FROM sample WHERE rowid IN (SELECT rowid FROM sample WHERE boot = ? AND netns = ? AND uptime < ? '
        f'ORDER BY uptime LIMIT {DELETED_ROWS})', (*one, younger)).rowcount
    if deleted < DELETED_ROWS:
        database.execute('DELETE FROM profile WHERE boot = ? AND netns = ? AND uptime < ?', (*one, younger))
        database.execute('DELETE FROM gone WHERE boot = ? AND netns = ?', one)
