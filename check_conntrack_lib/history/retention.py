"""The recorder's upkeep: forgets, thins, drops namespaces that are gone. A little at every run, that none is slow."""

from __future__ import annotations

import sqlite3
import time

from ..model import Instant

#: rows older than a day are thinned, those of namespaces gone for so long are dropped
DAY = 86400.0
#: samples are thinned to one in each slot of so many seconds, the one with the most entries
THINNED_SLOT = 600.0
#: profiles to one in each of these
PROFILE_SLOT = 3600.0
#: each part of the namespaces, by inode, has its turn every so many seconds, one part a run
PARTS, EVERY = 10, 600.0
#: no further part is begun in a run after so many seconds
MOST_SECONDS = 0.05
#: rows of a gone namespace that are dropped in one run: they lie scattered over the file
DROPPED_ROWS = 50
#: nothing is gone that was not missed by a run in this time before now
MISSED_BEFORE = 3600.0

SCHEMA = f"""
CREATE TABLE upkeep (part INTEGER PRIMARY KEY, done REAL NOT NULL);
INSERT INTO upkeep VALUES {', '.join(f'({part}, 0)' for part in range(PARTS))};
CREATE TABLE gone (boot INTEGER NOT NULL, netns INTEGER NOT NULL, PRIMARY KEY (boot, netns)) WITHOUT ROWID"""

_OLDER = 'time < :wall - :age AND NOT (boot = :boot AND uptime >= :uptime - :age)'
_MINE = f'netns % {PARTS} = :part'


def apply_retention(database: sqlite3.Connection, now: Instant, boot: int, days: float) -> None:
    """The share of one run, inside its transaction. Rows of this boot are aged by uptime: the clock may have jumped."""
    waiting = sorted(((abs(now.wall - done), part, done)
                      for part, done in database.execute('SELECT part, done FROM upkeep')), reverse=True)
    if not waiting:
        raise ValueError('no upkeep')
    began = time.monotonic()
    # where runs are rare, or after a pause, the others cannot wait for their turn
    due = [one for place, one in enumerate(waiting) if one[0] >= (EVERY if place == 0 else 2 * EVERY)]
    for place, (_, part, done) in enumerate(due):
        if place and time.monotonic() - began > MOST_SECONDS:
            break
        _keep(database, {'wall': now.wall, 'uptime': now.uptime, 'boot': boot, 'part': part,
                         'done': min(done, now.wall), 'age': DAY}, days)
        database.execute('UPDATE upkeep SET done = ? WHERE part = ?', (now.wall, part))
    if due:
        database.execute('DELETE FROM boot WHERE NOT EXISTS (SELECT 1 FROM sample WHERE boot = boot.id) '
                         'AND NOT EXISTS (SELECT 1 FROM profile WHERE boot = boot.id)')
    _drop(database, now.uptime, boot)


def _keep(database: sqlite3.Connection, values: dict[str, float], days: float) -> None:
    for table in ('sample', 'profile'):
        database.execute(f'DELETE FROM {table} WHERE {_OLDER} AND {_MINE}', {**values, 'age': days * DAY})
    # what grew older than a day since the last time; the slot before, in case it was cut through
    aged = f'time >= :done - :age - 2 * :slot AND {_OLDER} AND {_MINE}'
    values = {**values, 'slot': THINNED_SLOT}
    database.execute(
        f"""INSERT OR IGNORE INTO gone SELECT :boot, netns
            FROM (SELECT DISTINCT netns FROM sample INDEXED BY sample_by_time WHERE {aged} AND boot = :boot) AS old
            WHERE (SELECT max(uptime) FROM sample WHERE boot = :boot AND netns = old.netns) < :uptime - :age
            AND EXISTS (SELECT 1 FROM sample WHERE time BETWEEN :wall - :age AND :wall - {MISSED_BEFORE})""", values)
    database.execute(
        f"""DELETE FROM sample WHERE rowid IN (SELECT id FROM (
            SELECT rowid AS id, row_number() OVER (
                PARTITION BY boot, netns, CAST(uptime / :slot AS INTEGER) ORDER BY entries DESC, uptime) AS place
            FROM sample INDEXED BY sample_by_time WHERE {aged}) WHERE place > 1)""", values)
    database.execute(
        f"""DELETE FROM profile WHERE {_OLDER} AND {_MINE} AND rowid NOT IN (
            SELECT min(rowid) FROM profile GROUP BY boot, netns, CAST(uptime / :slot AS INTEGER))""",
        {**values, 'slot': PROFILE_SLOT})


def _drop(database: sqlite3.Connection, uptime: float, boot: int) -> None:
    """Some rows of a namespace that is gone. Its inode may be another's meanwhile, whose rows are younger."""
    one = database.execute('SELECT boot, netns FROM gone LIMIT 1').fetchone()
    if one is None:
        return
    younger = uptime - DAY if one[0] == boot else float('inf')
    dropped = database.execute(
        'DELETE FROM sample WHERE rowid IN (SELECT rowid FROM sample WHERE boot = ? AND netns = ? AND uptime < ? '
        f'ORDER BY uptime LIMIT {DROPPED_ROWS})', (*one, younger)).rowcount
    if dropped < DROPPED_ROWS:
        database.execute('DELETE FROM profile WHERE boot = ? AND netns = ? AND uptime < ?', (*one, younger))
        database.execute('DELETE FROM gone WHERE boot = ? AND netns = ?', one)
