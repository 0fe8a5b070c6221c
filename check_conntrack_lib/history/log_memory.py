"""What the history keeps of the kernel log of this boot: the newest record's number and the lines that matter."""

from __future__ import annotations

import json

from ..model import BOOT, LogLine, LogMemory, LogRing, Suppressed
from ..namedtuples import TYPE_CHECKING
from .codec import LATEST, whole

if TYPE_CHECKING:
    import sqlite3

#: made where it is missing: files of before have none
SCHEMA = """CREATE TABLE IF NOT EXISTS log (
    boot INTEGER NOT NULL,    -- boot.id
    source TEXT NOT NULL,     -- /dev/kmsg, or a file
    sequence INTEGER NOT NULL,
    read REAL NOT NULL,       -- CLOCK_MONOTONIC, as all that follow
    clock_offset REAL NOT NULL,
    complete_since REAL,      -- NULL: of the whole boot
    names INTEGER NOT NULL,   -- 1: this kernel names namespaces
    lines TEXT NOT NULL,      -- [[[stamp, netns or null] ...], [[stamp, suppressed messages] ...],
                              -- ring: [number of the oldest record, bytes unread or null], or null]
    PRIMARY KEY (boot, source)) WITHOUT ROWID"""
#: the newest lines of each sort that are kept: a storm has no end
MOST_LINES = 1000


def read_memory(database: sqlite3.Connection, boot_id: str, source: str) -> LogMemory | None:
    """What is kept of this source; None: nothing, or a row that is none of ours, which costs itself only."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone():
        return None
    row = database.execute(
        'SELECT sequence, read, clock_offset, complete_since, names, lines FROM log '
        'WHERE boot = (SELECT id FROM boot WHERE boot_id = ?) AND source = ?', (boot_id, source)).fetchone()
    if row is None:
        return None
    try:
        return _memory(*row)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None


def _memory(sequence: int, read: float, offset: float, since: float | None, names: int, text: str) -> LogMemory:
    # rows of before have no ring
    full, suppressed, *rings = json.loads(text)
    ring, = rings or [None]
    return LogMemory(
        whole(sequence), _seconds(read), _seconds(offset), BOOT if since is None else _seconds(since), bool(names),
        tuple(LogLine(_seconds(stamp), None if netns is None else whole(netns)) for stamp, netns in full),
        tuple(Suppressed(_seconds(stamp), whole(messages)) for stamp, messages in suppressed),
        None if ring is None else _ring(*ring))


def _ring(oldest: int, unread: int | None) -> LogRing:
    return LogRing(whole(oldest), None if unread is None else whole(unread))


def _seconds(value: float) -> float:
    number = float(value)
    if not abs(number) < LATEST:
        raise ValueError('not a time')
    return number


def keep(database: sqlite3.Connection, boot: int, source: str, memory: LogMemory) -> None:
    """Replaces what is kept, inside the caller's transaction; what is kept of another boot is of no use."""
    database.execute(SCHEMA)
    database.execute('DELETE FROM log WHERE boot != ?', (boot,))
    lines = json.dumps([[[line.stamp, line.netns] for line in memory.table_full[-MOST_LINES:]],
                        [[line.stamp, line.messages] for line in memory.suppressed[-MOST_LINES:]],
                        memory.ring],
                       separators=(',', ':'))
    database.execute('INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                     (boot, source, memory.sequence, memory.read, memory.offset,
                      None if memory.complete_since == BOOT else memory.complete_since,
                      int(memory.names_namespaces), lines))
