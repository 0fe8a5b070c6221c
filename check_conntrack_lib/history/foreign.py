"""Another user's history: read by a child process that has become that user, and handed over as plain rows.

Whoever owns the file may exchange it, and every directory above it, at any moment, and may write into it what he likes.
So it is never opened with the rights of this process: the child has given up all of them but the owner's, its time,
memory and output are limited, and what it writes to its pipe is checked again on this side. SQLite is informed that the
file is immutable (sqlite.org/uri.html): it then makes no journal, -wal or -shm beside it; its lock is taken here.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import select
import signal
import sqlite3
import time
from collections.abc import Iterator

from ..formatting import clean, duration
from ..model import Missing
from . import foreign_child
from .codec import fault
from .foreign_child import LONGEST_VALUE, MOST_ROWS, is_plain
from .schema_check import columns, empty, tables

#: seconds for all of it; bytes that are read from the child
LONGEST, MOST_BYTES = 10.0, 128 << 20
#: a reading that failed in less time is tried again by the next question
QUICK = 1.0
#: reasons for which a run of the owner would not fail
NO_RIGHTS = (*map(os.strerror, (errno.EPERM, errno.EACCES, errno.EINVAL)), foreign_child.NOT_GIVEN_UP)
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
#: the copy, or why there is none, by the file's state: a command reads the same file several times, of whatever size
_copies: dict[tuple[object, ...], sqlite3.Connection | Missing] = {}


def load_once(path: str, status: os.stat_result, longest: float = LONGEST) -> sqlite3.Connection | Missing:
    """As `load`, but a file that did not change is read only once; nobody closes it. status: of the file itself."""
    key = path, status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size
    if key not in _copies:
        for known in _copies.values():
            if not isinstance(known, Missing):
                known.close()
        _copies.clear()
        began = time.monotonic()
        answer = load(path, status.st_uid, longest)
        if isinstance(answer, Missing) and time.monotonic() - began < QUICK:
            return answer  # to ask again costs nothing, and what was missing may be there
        _copies[key] = answer
    return _copies[key]


def load(path: str, owner: int, longest: float = LONGEST) -> sqlite3.Connection | Missing:
    """A copy in memory of the file, as the user `owner` sees it. The caller closes it.

    Never takes longer than `longest` seconds. Raises what this process's signal handlers raise, at once.
    """
    until = time.monotonic() + longest
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        pid = os.fork()
        if pid == 0:
            foreign_child.run(path, owner, writer, until, libc)
        try:
            os.close(writer)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            return _copy(_lines(reader, until, longest))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    except (OSError, sqlite3.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = fault(error)
        return Missing(clean(f'{path}: {reason}', 400), _remedy(owner) if reason in NO_RIGHTS else '')
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        os.close(reader)


def _remedy(owner: int) -> str:
    if owner == os.geteuid():
        return ''
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f'\\#{owner}'
    return f'sudo -u {clean(name, 40)} conntrack-doctor history shows it with the rights of its owner'


def _lines(reader: int, until: float, longest: float = LONGEST) -> Iterator[bytes]:
    """Lines from the child. Raises ValueError when they are too many, TimeoutError when they come too slowly."""
    rest, taken = b'', 0
    while True:
        if not select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError(f'not read within {duration(longest)}')
        part = os.read(reader, 1 << 16)
        if not part:
            raise ValueError(rest.decode('utf-8', 'replace') or 'could not be read within its limits')
        if time.monotonic() > until:
            raise TimeoutError(f'not read within {duration(longest)}')
        taken += len(part)
        *lines, rest = (rest + part).split(b'\n')
        if taken > MOST_BYTES or len(rest) > 2 * LONGEST_VALUE:
            raise ValueError('more than a history holds')
        yield from lines


def _copy(lines: Iterator[bytes]) -> sqlite3.Connection:
    """The child's rows in a database of our own making. Raises ValueError for what is no row, sqlite3.Error."""
    database = empty()
    try:
        database.execute('BEGIN')
        for taken, line in enumerate(lines):
            row = json.loads(line)
            if row == ['end']:
                database.execute('COMMIT')
                return database
            if taken > MOST_ROWS:
                raise ValueError('more rows than a history holds')
            table, *values = row
            if table not in tables() or len(values) != len(columns(table)) or not all(map(is_plain, values)):
                raise ValueError('not a row of a history')
            database.execute(f'INSERT INTO {table} VALUES ({", ".join("?" * len(values))})', values)
        raise ValueError('ended early')
    except BaseException:
        database.close()
        raise
