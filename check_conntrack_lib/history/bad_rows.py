"""Rows that no run of this project wrote, in a history whose other rows are sound: they are deleted, after a copy."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

from . import retention
from .codec import LATEST, checked_boot_id, checked_time, sample_of
from .profile_json import from_json

#: with more rows than these in a table, to look at each takes longer than a run has
MOST_ROWS = 50_000
#: by table: what names a row, the columns of numbers, and the one of text
TABLES: dict[str, tuple[str, str, str]] = {
    'boot': ('rowid', 'id', 'boot_id'),
    'sample': ('rowid', 'boot, netns, time, uptime, entries, maximum, buckets', 'counters'),
    'profile': ('rowid', 'boot, netns, time, uptime, quiet', 'text'),
    'netns': ('boot, inode, since', 'boot, inode, since, cookie, named', 'name'),
    'log': ('boot', 'boot, sequence, read, clock_offset, complete_since, names', 'lines'),
    'gone': ('boot, netns', 'boot, netns', "''"),
    'allowance': ('rowid', 'time, uptime, exceeded, linklocal, queued, available', 'boot_id'),
}
#: these columns may have no value
MAYBE = ('buckets', 'cookie', 'available', 'complete_since')


def leave_out(path: str, copy: str) -> int:
    """Copies the file, then deletes the rows; how many. 0: there are none, or it cannot be done, and all is as before.

    Nobody else may have the file open, and there is no journal.
    """
    deleted = 0
    try:
        _copy(path, copy)
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            database.execute('BEGIN IMMEDIATE')
            deleted = _delete(database)
            database.execute('COMMIT' if deleted else 'ROLLBACK')
    except (OSError, sqlite3.Error, ValueError):
        deleted = 0
    finally:
        if not deleted:
            with suppress(OSError):
                os.unlink(copy)
    return deleted


def _copy(path: str, copy: str) -> None:
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            while True:
                part = os.read(source, 1 << 20)
                if not part:
                    break
                while part:
                    part = part[os.write(target, part):]
            os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _delete(database: sqlite3.Connection) -> int:
    """Raises sqlite3.Error, ValueError where there are too many rows."""
    database.text_factory = bytes  # it may be no UTF-8
    present = {name.decode() for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    before = database.total_changes
    for table, (key, numbers, text) in TABLES.items():
        if table in present:
            for row in list(_bad(database, table, key, numbers, text)):
                where = ' AND '.join(f'{name} IS ?' for name in key.split(', ')) if row else \
                    ' OR '.join(f"typeof({name}) NOT IN ('integer', 'real')" for name in key.split(', '))
                database.execute(f'DELETE FROM {table} WHERE {where}', row)
    # a number of a boot is given again
    for table in ('sample', 'profile', 'netns'):
        if table in present:
            database.execute(f'DELETE FROM {table} WHERE boot NOT IN (SELECT id FROM boot)')
    deleted = database.total_changes - before
    parts = [(type(part), type(done)) for part, done in database.execute('SELECT part, done FROM upkeep')]
    if len(parts) != retention.PARTS or any(done not in (int, float) for _part, done in parts):
        deleted += 1
        database.execute('DELETE FROM upkeep')
        database.executemany('INSERT INTO upkeep VALUES (?, 0)', [(part,) for part in range(retention.PARTS)])
    return deleted


def _bad(database: sqlite3.Connection, table: str, key: str, numbers: str, text: str) -> Iterator[tuple[object, ...]]:
    """The key of each row that is none; an empty one for those in which it is no number."""
    names, width = numbers.split(', '), len(key.split(', '))
    judge = _JUDGES.get(table, _any)
    for taken, row in enumerate(database.execute(f'SELECT {key}, {numbers}, CAST({text} AS BLOB) FROM {table}')):
        if taken > MOST_ROWS:
            raise ValueError('too many rows')
        found, values, written = row[:width], row[width:-1], row[-1]
        try:
            # where nothing was read of a log its times are infinite
            if not all((value is None and name in MAYBE) or (type(value) in (int, float) and (
                    table == 'log' or (math.isfinite(value) and abs(value) <= 1 << 63)))
                    for name, value in zip(names, values)):
                raise ValueError('not a number')
            judge(*values, None if written is None else written.decode())
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            yield found if all(type(value) in (int, float) for value in found) else ()


def _any(*_values: object) -> None:
    """A row of numbers and a text is one."""


def _sample(_boot: int, netns: int, wall: float, uptime: float, *rest: object) -> None:
    sample_of('0', netns, wall, uptime, *rest)  # type: ignore[arg-type]


def _profile(_boot: int, _netns: int, wall: float, uptime: float, _quiet: int, text: str) -> None:
    checked_time(wall), checked_time(uptime), from_json(text)


def _netns(_boot: int, _inode: int, since: float, _cookie: int | None, named: float, _name: str) -> None:
    if not 0 <= since < LATEST or not 0 <= named < LATEST:
        raise ValueError('not a time')


_JUDGES: dict[str, Callable[..., object]] = {
    'boot': lambda _id, boot_id: checked_boot_id(boot_id), 'sample': _sample, 'profile': _profile, 'netns': _netns}
