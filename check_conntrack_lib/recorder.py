"""The flight recorder: one row a run and namespace in an SQLite file (the standard library's).

A run asks it once, by `consult`: what was before, and here is what is now. Whatever is wrong with the file costs the
rates and the trend, never the verdict. Rollback journal, not WAL: it leaves one file, and needs no shared memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from .model import Counters, History, Instant, Missing, Point, Sample
from .noun import NamedTuple
from .text import clean

#: 'ctrk', in the file's header: how the recorder knows its own files
APPLICATION_ID = 0x6374726B
SCHEMA_VERSION = 1
SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE);
CREATE TABLE sample (
    time REAL NOT NULL,       -- seconds since 1970
    boot INTEGER NOT NULL,    -- boot.id
    netns INTEGER NOT NULL,   -- inode of the network namespace
    uptime REAL NOT NULL,     -- seconds since boot (CLOCK_BOOTTIME)
    entries INTEGER NOT NULL,
    maximum INTEGER NOT NULL,
    buckets INTEGER,
    counters TEXT             -- {{"cpus": N, "<counter>": [one value a CPU] or 0}}
);
CREATE INDEX sample_by_namespace ON sample (boot, netns, uptime);
CREATE INDEX sample_by_time ON sample (time);
CREATE TABLE profile (
    time REAL NOT NULL,
    boot INTEGER NOT NULL,
    netns INTEGER NOT NULL,
    uptime REAL NOT NULL,
    quiet INTEGER NOT NULL,   -- 1: taken while the check was OK
    text TEXT NOT NULL        -- reasoning.profile.to_json
);
CREATE INDEX profile_by_namespace ON profile (boot, netns, uptime);
CREATE TABLE upkeep (done REAL NOT NULL);
INSERT INTO upkeep VALUES (0)
"""
COLUMNS = 'time, uptime, entries, maximum, buckets, counters'
#: the rows of one namespace of one boot
HERE = 'boot = (SELECT id FROM boot WHERE boot_id = :boot_id) AND netns = :netns'

DAY = 86400.0
#: rows older than a day are thinned to one in each slot of so many seconds, the one with the most entries
THINNED_SLOT = 600.0
#: profiles older than a day are thinned to one in each slot of so many seconds
PROFILE_SLOT = 3600.0
UPKEEP_EVERY = 600.0
#: a delta over less than this says nothing
YOUNGEST_BASE = 1.0
#: the trend gets at most so many points
MOST_POINTS = 60
#: a file that is no database is put aside only under such a name: anything else may be somebody's
DATABASE_SUFFIXES = ('.sqlite', '.sqlite3', '.db')


class Lookback(NamedTuple):
    """How far the questions go, in seconds, and which base they may use."""

    window: float
    points: float
    #: can losses be counted from this sample to that one?
    comparable: Callable[[Sample, Sample], bool]


class BrokenFile(Exception):
    """The file of this inode is damaged, or no database at all."""

    def __init__(self, why: str, inode: int) -> None:
        super().__init__(why)
        self.inode = inode


class RefusedFile(Exception):
    """The file is sound, but not ours to write."""


def consult(path: str, now: Sample, look: Lookback, days: float, patience: float = 1.5) -> History | Missing:
    """Answers what `look` asks about the time before `now`, then records `now` and forgets what is over `days` old.

    patience: how long to wait for other runs that are writing, in seconds.
    """
    try:
        try:
            return _consult(path, now, look, days, patience)
        except BrokenFile as error:
            note = _put_aside(path, error, now.at)
            return _consult(path, now, look, days, patience)._replace(note=note)
    except (BrokenFile, RefusedFile) as error:
        return Missing(clean(f'{path}: {error}'), 'give --history another FILE')
    except (OSError, sqlite3.Error) as error:
        return Missing.because(error, clean(path))


def _consult(path: str, now: Sample, look: Lookback, days: float, patience: float) -> History:
    with opened(path, patience) as database:
        history = _history(database, now, look)
        try:
            _record(database, now, days)
        except (sqlite3.OperationalError, TimeoutError) as error:
            # full, read-only or busy: what was recorded before still gives the rates
            return history._replace(unwritten=clean(f'{path}: {error}'))
        return history


@contextmanager
def opened(path: str, patience: float) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode to a file with our tables, which is made if there is none."""
    # sqlite itself would make the file readable by all
    handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    inode = os.fstat(handle).st_ino
    os.close(handle)
    with closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as database:
        try:
            _check_schema(database)
            yield database
        except sqlite3.OperationalError as error:
            if 'no such' in str(error):
                raise BrokenFile(str(error), inode) from error
            raise
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError) as error:
            # "file is not a database", "database disk image is malformed", or a row that is none of ours
            raise BrokenFile(str(error), inode) from error


def _check_schema(database: sqlite3.Connection) -> None:
    """Makes the tables in an empty file. Raises RefusedFile for a file that is not ours to write."""
    if _one(database, 'PRAGMA application_id') != APPLICATION_ID:
        # asked again under the lock: another first run may be making the tables just now
        database.execute('BEGIN IMMEDIATE')
        owner = _one(database, 'PRAGMA application_id')
        if owner != APPLICATION_ID:
            if owner or _one(database, 'SELECT count(*) FROM sqlite_master'):
                raise RefusedFile('a database of another program')
            for statement in SCHEMA.split(';'):
                database.execute(statement)
        database.execute('COMMIT')
    version = _one(database, 'PRAGMA user_version')
    if version != SCHEMA_VERSION:
        raise RefusedFile(f'recorded by another version of check_conntrack (schema {version})')


def _history(database: sqlite3.Connection, now: Sample, look: Lookback) -> History:
    place = {'boot_id': now.boot_id, 'netns': now.netns}
    youngest = now.at.uptime - YOUNGEST_BASE
    query = f'SELECT {COLUMNS} FROM sample WHERE {HERE} AND uptime <= :until'
    row = database.execute(f'{query} ORDER BY uptime DESC LIMIT 1',
                           {**place, 'until': now.at.uptime - look.window}).fetchone()
    if row is None:
        row = database.execute(f'{query} ORDER BY uptime LIMIT 1', {**place, 'until': youngest}).fetchone()
    if row is None:
        return History()
    profiled, = database.execute(f'SELECT max(uptime) FROM profile WHERE {HERE}', place).fetchone()
    oldest = _sample(row, now)
    base: Sample | None = oldest
    if not look.comparable(oldest, now):
        # the counters began anew since then: count from the first sample after that
        later = database.execute(f'{query} AND uptime > :since ORDER BY uptime',
                                 {**place, 'until': youngest, 'since': oldest.at.uptime})
        base = next((sample for sample in (_sample(r, now) for r in later) if look.comparable(sample, now)), None)
    slot = max(look.points / MOST_POINTS, 0.001)
    points = database.execute(
        f'SELECT max(uptime), entries FROM sample WHERE {HERE} AND uptime >= :since AND uptime < :now '
        'GROUP BY CAST(uptime / :slot AS INTEGER) ORDER BY 1',
        {**place, 'since': now.at.uptime - look.points, 'now': now.at.uptime, 'slot': slot})
    return History(base, tuple(Point(float(uptime), int(entries)) for uptime, entries in points), first_run=False,
                   profiled=None if profiled is None else float(profiled))


def _record(database: sqlite3.Connection, now: Sample, days: float) -> None:
    database.execute('BEGIN IMMEDIATE')
    try:
        database.execute('INSERT OR IGNORE INTO boot (boot_id) VALUES (?)', (now.boot_id,))
        boot = _one(database, 'SELECT id FROM boot WHERE boot_id = ?', now.boot_id)
        database.execute(
            f'INSERT INTO sample (boot, netns, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
            (boot, now.netns, now.at.wall, now.at.uptime, now.entries, now.maximum, now.buckets,
             _counters_to_text(now.counters)))
        done = float(_one(database, 'SELECT done FROM upkeep'))
        if abs(now.at.wall - done) >= UPKEEP_EVERY:
            _upkeep(database, now.at, boot, done, days)
        database.execute('COMMIT')
    except BaseException:
        if database.in_transaction:
            database.execute('ROLLBACK')
        raise


def _upkeep(database: sqlite3.Connection, now: Instant, boot: int, done: float, days: float) -> None:
    """Forgets and thins. Rows of this boot are aged by uptime: the wall clock may have jumped."""
    older = 'time < :wall - :age AND NOT (boot = :boot AND uptime >= :uptime - :age)'
    clock = {'wall': now.wall, 'uptime': now.uptime, 'boot': boot}
    database.execute(f'DELETE FROM sample WHERE {older}', {**clock, 'age': days * DAY})
    # what grew older than a day since the last upkeep; the slot before, in case it was cut through
    database.execute(
        f"""DELETE FROM sample WHERE rowid IN (SELECT id FROM (
            SELECT rowid AS id, row_number() OVER (
                PARTITION BY boot, netns, CAST(uptime / :slot AS INTEGER) ORDER BY entries DESC, uptime) AS place
            FROM sample WHERE time >= :done - :age - 2 * :slot AND {older}) WHERE place > 1)""",
        {**clock, 'age': DAY, 'slot': THINNED_SLOT, 'done': min(done, now.wall)})
    database.execute(f'DELETE FROM profile WHERE {older}', {**clock, 'age': days * DAY})
    database.execute(
        f"""DELETE FROM profile WHERE {older} AND rowid NOT IN (
            SELECT min(rowid) FROM profile GROUP BY boot, netns, CAST(uptime / :slot AS INTEGER))""",
        {**clock, 'age': DAY, 'slot': PROFILE_SLOT})
    database.execute('DELETE FROM boot WHERE id NOT IN (SELECT boot FROM sample UNION SELECT boot FROM profile)')
    database.execute('UPDATE upkeep SET done = ?', (now.wall,))


def _put_aside(path: str, broken: BrokenFile, at: Instant) -> str:
    """Renames a broken file and its journal, which must not be applied to the next one; says so. Raises BrokenFile."""
    if not path.endswith(DATABASE_SUFFIXES):
        raise broken
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if os.stat(path).st_ino != broken.inode:
            return ''  # another run was faster
        aside = f'{path}.broken-{at.wall:.0f}'
        while os.path.exists(aside):
            aside += '+'
        if os.path.exists(path + '-journal'):
            os.rename(path + '-journal', aside + '-journal')
        os.rename(path, aside)
        return clean(f'the history was damaged ({broken}) and put aside as {aside}')
    except FileNotFoundError:
        return ''  # another run was faster
    finally:
        os.close(directory)


def _one(database: sqlite3.Connection, query: str, *values: object) -> int:
    (value,) = database.execute(query, values).fetchone()
    return value  # type: ignore[no-any-return]


def _sample(row: tuple[float, float, int, int, int | None, str | None], now: Sample) -> Sample:
    wall, uptime, entries, maximum, buckets, counters = row
    at = Instant(float(wall), float(uptime), 0.0)
    return Sample(at, now.boot_id, now.netns, int(entries), int(maximum), buckets, counters_from_text(counters))


def _counters_to_text(counters: Counters | None) -> str | None:
    if counters is None:
        return None
    cpus = len(next(iter(counters.per_cpu.values())))
    # most counters of most hosts are 0 on every CPU
    columns = {name: list(values) if any(values) else 0 for name, values in counters.per_cpu.items()}
    return json.dumps({'cpus': cpus, **columns}, separators=(',', ':'))


def counters_from_text(text: str | None) -> Counters | None:
    if text is None:
        return None
    columns = json.loads(text)
    zeros = (0,) * int(columns.pop('cpus'))
    return Counters({name: tuple(map(int, values)) if values else zeros for name, values in columns.items()})
