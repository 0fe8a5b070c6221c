"""The child process of `foreign`: gives up all rights but those of the file's owner, and writes the file's rows.

Nothing here may run in the caller's process but `check_header`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import math
import os
import pwd
import resource
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NoReturn

from ..defaults import READING_PATIENCE
from .codec import LONGEST_TEXT, fault
from .database import APPLICATION_ID, LARGEST_FILE, SCHEMA_VERSION
from .schema_check import columns, is_ours, tables

#: seconds of CPU that the child may use
CPU_SECONDS = 10
#: bytes of memory that it may add to what it begins with; characters of one value; rows of one table
MOST_MEMORY, LONGEST_VALUE, MOST_ROWS = 256 << 20, LONGEST_TEXT, 500_000
TOO_LONG = 'too large to be read in the time that it has'
NOT_GIVEN_UP = 'the rights of root could not be given up'
#: group of a user that has none of its own
NOGROUP = 65534
#: the first bytes of a rollback journal that must be played back (sqlite.org/fileformat.html)
HOT_JOURNAL = bytes.fromhex('d9d505f920a163d7')
#: SQLite's lock bytes (os.h): pending, reserved, and the first and number of the shared ones
_PENDING, _RESERVED, _SHARED, _SHARED_SIZE = 0x40000000, 0x40000001, 0x40000002, 510
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def run(path: str, owner: int, writer: int, until: float, libc: ctypes.CDLL) -> NoReturn:
    """Writes the rows as lines of JSON, the last of them ["end"]; or, without an end of line, why not."""
    try:
        try:
            writer = _confine(owner, writer, libc)
            part = b''
            for row in _rows(path, owner, until):
                part += json.dumps(row, separators=(',', ':')).encode('ascii') + b'\n'
                if len(part) > 1 << 15:
                    _write(writer, part)
                    part = b''
            _write(writer, part + b'["end"]\n')
        except MemoryError:
            _write(writer, b'needs too much memory')
        except (OSError, sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            reason = fault(error)
            _write(writer, (TOO_LONG if reason == 'interrupted' else reason).encode('utf-8', 'replace'))
    finally:
        # whatever it was: nothing of the caller's program may run here
        os._exit(0)


def _write(writer: int, text: bytes) -> None:
    while text:
        text = text[os.write(writer, text):]


def _confine(owner: int, writer: int, libc: ctypes.CDLL) -> int:
    """Gives up everything that reading one file does not need; returns the pipe's other number. Raises OSError."""
    os.setsid()  # no terminal, and its SIGINT is for the parent
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # the caller may have been started without some of the first three
    writer = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, 10)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir('/proc/self/fd'):
        if int(name) not in (0, 1, 2, writer):
            with suppress(OSError):  # the one that the list was read by
                os.close(int(name))
    with open('/proc/self/statm') as file:
        memory = int(file.read().split()[0]) * resource.getpagesize() + MOST_MEMORY
    for limit, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0),
                        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 16), (resource.RLIMIT_NPROC, 0)):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    if owner != os.geteuid() and os.geteuid() == 0:
        _become(owner)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, signal.SIGKILL)):
        if libc.prctl(option, int(value), 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return writer


def _become(owner: int) -> None:
    try:
        group = pwd.getpwuid(owner).pw_gid
    except KeyError:
        group = NOGROUP
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(owner, owner, owner)
    with open('/proc/self/status') as file:
        capabilities = [line.split()[1] for line in file if line.startswith('CapEff:')]
    if os.getresuid() != (owner,) * 3 or capabilities != ['0' * 16]:
        raise PermissionError(NOT_GIVEN_UP)


def _rows(path: str, owner: int, until: float) -> Iterator[tuple[object, ...]]:
    """(table, values) of each row. Raises OSError, ValueError, sqlite3.Error."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        check_header(handle, owner)
        _lock(handle, path, until)
        source = Path(path).absolute().as_uri() + '?mode=ro&immutable=1'
        with closing(sqlite3.connect(source, uri=True, isolation_level=None)) as database:
            _restrict(database, until)
            if not is_ours(database):
                raise ValueError('its tables are not those of check_conntrack')
            yield from _rows_of_tables(database)
    finally:
        os.close(handle)


def _restrict(database: sqlite3.Connection, until: float) -> None:
    """Bounds what a statement may do, and the time by which it is interrupted (CLOCK_MONOTONIC)."""
    database.set_progress_handler(lambda: time.monotonic() > until, 10000)
    if hasattr(database, 'setlimit'):  # Python 3.11
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    for pragma in ('trusted_schema = OFF', 'query_only = ON', 'mmap_size = 0', 'temp_store = MEMORY'):
        database.execute(f'PRAGMA {pragma}')


def _rows_of_tables(database: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """(table, values) of each row of the tables that are there. Raises ValueError, sqlite3.Error."""
    present = {name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in filter(present.__contains__, tables()):
        names = columns(table)
        for row in database.execute(f'SELECT {", ".join(names)} FROM {table} LIMIT {MOST_ROWS + 1}'):
            if not all(map(is_plain, row)):
                raise ValueError(f'a row of {table} that no check wrote')
            yield (table, *row)


def check_header(handle: int, owner: int) -> None:
    """Is it a plain file of that user, and ours by its header (sqlite.org/fileformat.html)? Raises ValueError."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError('is not a regular file')
    if status.st_uid != owner:
        raise ValueError('was exchanged while it was opened')
    if status.st_size > LARGEST_FILE:
        raise ValueError(f'larger than {LARGEST_FILE >> 20} MiB, which no history is')
    header = os.pread(handle, 100, 0)
    if len(header) < 100 or not header.startswith(b'SQLite format 3\0'):
        raise ValueError('file is not a database')
    if header[18:20] != b'\1\1':
        raise ValueError('a database with a write-ahead log, which check_conntrack never makes')
    if int.from_bytes(header[68:72], 'big') != APPLICATION_ID:
        raise ValueError('was not written by check_conntrack')
    if int.from_bytes(header[60:64], 'big') != SCHEMA_VERSION:
        raise ValueError('was written by another version of check_conntrack')


def _lock(handle: int, path: str, until: float) -> None:
    """SQLite's shared lock, as long as the handle is open: nobody writes meanwhile. Raises ValueError."""
    until = min(until, time.monotonic() + READING_PATIENCE)
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _PENDING)
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise ValueError('database is locked') from None
            time.sleep(0.02)
        finally:
            fcntl.lockf(handle, fcntl.LOCK_UN, 1, _PENDING)
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _RESERVED)
    except BlockingIOError:
        return  # a run has begun to write, its changes are not in the file yet
    try:
        journal = os.open(path + '-journal', os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    begin = os.read(journal, len(HOT_JOURNAL))
    os.close(journal)
    if begin == HOT_JOURNAL:
        raise ValueError('a run was interrupted while it wrote: the next run of its owner repairs it')


def is_plain(value: object) -> bool:
    """May it stand in a row: nothing, a number, or a short text?"""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or type(value) is int or (isinstance(value, str) and len(value) <= LONGEST_VALUE)
