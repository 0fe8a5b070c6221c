"""Is the schema of an open file the one that this version makes, and nothing else?

A file of somebody else may have views that never end, or generated columns of any size, under the names of our tables.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache

from . import allowances
from .database import SCHEMA

#: tables that are the recording's own; the others are read
UNREAD = ('upkeep', 'gone', 'allowance')
#: objects of a schema, and columns of one, that are looked at
MOST = 100
_Shape = frozenset[tuple[str, str, str, tuple[tuple[object, ...], ...]]]


def is_ours(database: sqlite3.Connection) -> bool:
    """Only our tables and indexes, with our columns, none of them generated. Raises sqlite3.Error.

    Some may be missing: an earlier version wrote the file.
    """
    shape = _shape(database)
    return {('table', 'boot'), ('table', 'sample')} <= {part[:2] for part in shape} and all(map(_is_known, shape))


def _is_known(part: tuple[str, str, str, tuple[tuple[object, ...], ...]]) -> bool:
    kind, name, table, found = part
    # a version adds a column at the end: of a table that is not read the last one may be missing
    return part in _expected() or any((kind, name, table) == one[:3] and found == one[3][:-1]
                                      for one in _expected() if name in UNREAD)


@lru_cache(1)
def tables() -> tuple[str, ...]:
    """Those that are read."""
    return tuple(sorted(name for kind, name, _table, _columns in _expected()
                        if kind == 'table' and name not in UNREAD))


@lru_cache(1)
def _expected() -> _Shape:
    with closing(empty()) as database:
        # made only on AWS
        database.execute(allowances.SCHEMA)
        return _shape(database)


def empty() -> sqlite3.Connection:
    """A new history in memory, in autocommit mode."""
    database = sqlite3.connect(':memory:', isolation_level=None)
    database.executescript(SCHEMA)
    return database


def columns(table: str) -> tuple[str, ...]:
    """The names of the columns of one of `tables`, in their order."""
    return next(tuple(str(column[0]) for column in parts) for kind, name, _, parts in _expected()
                if (kind, name) == ('table', table))


def _shape(database: sqlite3.Connection) -> _Shape:
    """(kind, name, table, columns) of each object."""
    # a virtual table has no page of its own
    objects = database.execute('SELECT type, name, tbl_name FROM sqlite_master WHERE rootpage > 0 OR '
                               "type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'").fetchmany(MOST)
    shape = set()
    for kind, name, table in objects:
        if kind == 'table':
            # name, type and kind of each: 0 is a plain column (sqlite3.org/pragma.html, table_xinfo)
            parts = database.execute('SELECT name, upper(type), hidden FROM pragma_table_xinfo(?) ORDER BY cid',
                                     (name,)).fetchmany(MOST)
        else:
            parts = database.execute('SELECT name, cid < -1 FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno',
                                     (name,)).fetchmany(MOST)
        shape.add((str(kind), str(name), str(table), tuple(parts)))
    return frozenset(shape)
