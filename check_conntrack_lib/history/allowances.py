"""AWS's limits in the history: a table of its own, which exists only where there are interfaces of the driver ena."""

from __future__ import annotations

import json
import sqlite3

from ..defaults import DAY
from ..formatting import clean
from ..model import Allowances, Instant, Missing
from ..namedtuples import NamedTuple
from .codec import fault
from .database import BrokenFile, RefusedFile, open_database

SCHEMA = """CREATE TABLE IF NOT EXISTS allowance (
    time REAL NOT NULL,          -- seconds since 1970
    boot_id TEXT NOT NULL,
    uptime REAL NOT NULL,        -- seconds since boot (CLOCK_BOOTTIME)
    exceeded INTEGER NOT NULL,
    linklocal INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    available INTEGER,
    each TEXT)                   -- JSON: [[interface, exceeded, linklocal, queued], ...]"""
#: rows older than a day are thinned to one in each slot of this many seconds, a part of them in each run
SLOT = 600.0
#: seconds of this boot's own numbers after which those of earlier boots are not looked at
SETTLED = 3600.0
#: a base is at most so many windows old
OLDEST_BASE = 2.0
#: integers in SQLite are signed
LARGEST = (1 << 63) - 1


class Before(NamedTuple):
    """What is recorded of the time before."""

    #: None: nothing of this boot
    base: Allowances | None
    #: seconds since then
    span: float
    #: the most connections that were available
    most: int | None


def query_and_record(path: str, boot_id: str, at: Instant, now: Allowances, window: float, days: float,
                     patience: float) -> Before | Missing:
    """What was before; records `now` and forgets what is over `days` old."""
    try:
        with open_database(path, patience) as database:
            # whatever fails: what is not committed is lost with the connection
            database.execute('BEGIN IMMEDIATE')
            database.execute(SCHEMA)
            _add_column(database)
            before = _before(database, boot_id, at, window)
            database.execute('INSERT INTO allowance VALUES (?, ?, ?, ?, ?, ?, ?, ?)', (
                at.wall, boot_id, at.uptime, min(now.exceeded, LARGEST), min(now.linklocal, LARGEST),
                min(now.queued, LARGEST), now.available, json.dumps(now.each)))
            _forget(database, at.wall, days)
            database.execute('COMMIT')
    except (OSError, sqlite3.Error, BrokenFile, RefusedFile) as error:
        return Missing(f'{clean(path)}: {fault(error)}')
    return before


def _before(database: sqlite3.Connection, boot_id: str, at: Instant, window: float) -> Before:
    columns = 'uptime, exceeded, linklocal, queued, available, each'
    row = database.execute(
        f'SELECT {columns} FROM allowance WHERE boot_id = ? AND uptime BETWEEN ? AND ? ORDER BY uptime DESC LIMIT 1',
        (boot_id, at.uptime - OLDEST_BASE * window, at.uptime - window)).fetchone() or database.execute(
        f'SELECT {columns} FROM allowance WHERE boot_id = ? AND uptime > ? AND uptime < ? ORDER BY uptime LIMIT 1',
        (boot_id, at.uptime - window, at.uptime)).fetchone()
    # an instance may have another limit since it was stopped and resized: after a while this boot alone tells it
    most, = database.execute(
        'SELECT max(available) FROM allowance WHERE boot_id = ? OR NOT EXISTS '
        '(SELECT 1 FROM allowance WHERE boot_id = ? AND uptime < ?)',
        (boot_id, boot_id, at.uptime - SETTLED)).fetchone()
    seen = None if most is None else int(most)
    if row is None:
        return Before(None, 0.0, seen)
    uptime, exceeded, linklocal, queued, available, each = row
    return Before(Allowances(int(exceeded), int(linklocal), int(queued), None if available is None else int(available),
                             _interfaces(each)), at.uptime - float(uptime), seen)


def _add_column(database: sqlite3.Connection) -> None:
    """To a table of an earlier version."""
    if not database.execute("SELECT 1 FROM pragma_table_info('allowance') WHERE name = 'each'").fetchone():
        database.execute('ALTER TABLE allowance ADD COLUMN each TEXT')


def _interfaces(text: object) -> tuple[tuple[str, int, int, int], ...]:
    """What the file says of each interface; () where it does not."""
    try:
        return tuple((str(name), int(exceeded), int(linklocal), int(queued))
                     for name, exceeded, linklocal, queued in json.loads(str(text)))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return ()


def _forget(database: sqlite3.Connection, now: float, days: float) -> None:
    database.execute('DELETE FROM allowance WHERE time < ?', (now - days * DAY,))
    # the slots that have become a day old since a while ago: each run has its part
    until = now - DAY
    database.execute(
        'DELETE FROM allowance WHERE time BETWEEN ? AND ? AND rowid NOT IN (SELECT rowid FROM ('
        'SELECT rowid, max(available) FROM allowance WHERE time BETWEEN ? AND ? GROUP BY CAST(time / ? AS INTEGER)))',
        (until - 10 * SLOT, until, until - 10 * SLOT, until, SLOT))
