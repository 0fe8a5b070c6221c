"""The history: one row per run and namespace in an SQLite file (the standard library's).

A run calls `query_and_record` once, which reads what was before and records what is now. Whatever is wrong with the
file costs the rates and the trend, never the state of the check. Rollback journal, not WAL: it leaves one file, and
needs no shared memory.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from ..defaults import PATIENCE
from ..formatting import clean
from ..model import NOTHING_READ, History, LogMemory, Missing, Sample
from ..namedtuples import TYPE_CHECKING, NamedTuple
from . import identity, log_memory, retention
from .codec import counters_to_text, fault, is_possible
from .location import locked
from .queries import COLUMNS, HistoryQuery, history_before

if TYPE_CHECKING:
    import sqlite3 as sqlite3
else:
    try:
        # the package is this module and converters of dates, which take 2 ms of start-up and convert nothing here
        import _sqlite3 as sqlite3
    except ImportError:
        import sqlite3

#: 'ctrk', in the file's header: how the file is known as one of ours
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
    counters TEXT             -- {{"cpus": N, "zero": "<CODES>", "<counter>": [one value a CPU]}}
);
CREATE INDEX sample_by_namespace ON sample (boot, netns, uptime);
CREATE INDEX sample_by_time ON sample (time, netns);
CREATE TABLE profile (
    time REAL NOT NULL,
    boot INTEGER NOT NULL,
    netns INTEGER NOT NULL,
    uptime REAL NOT NULL,
    quiet INTEGER NOT NULL,   -- 1: taken while the check was OK
    text TEXT NOT NULL        -- history.profile_json
);
CREATE INDEX profile_by_namespace ON profile (boot, netns, uptime);
{log_memory.SCHEMA};{retention.SCHEMA};{identity.SCHEMA}
"""

#: bytes that the file may take, whatever anybody on the host does
LARGEST_FILE = 64 << 20

#: from this number of namespaces on they are asked for together (`idle`)
MANY = 20

#: a damaged file is put aside only if its name ends so: anything else may be somebody's, given by mistake
DATABASE_SUFFIXES = ('.sqlite', '.sqlite3', '.db')


class BrokenFile(Exception):
    """The file of this inode is damaged, or no database at all."""

    def __init__(self, why: str, inode: int, in_row: bool = False) -> None:
        super().__init__(why)
        #: in_row: as far as is known, only rows are damaged
        self.inode, self.in_row = inode, in_row


class RefusedFile(Exception):
    """The file is sound, but not ours to write."""


class LogReader(NamedTuple):
    """How the kernel log is read between the query and the recording, and of which source."""

    source: str
    #: takes the first sample's history and what is remembered; gives what to remember
    read: Callable[[History, LogMemory | None], LogMemory | None]


def query_and_record(path: str, now: Sample, query: HistoryQuery, days: float,
                     patience: float = PATIENCE, log_reader: LogReader | None = None) -> History | Missing:
    """Answers what `query` asks about the time before `now`, then records `now` and forgets what is over `days` old.

    patience: how long to wait for other runs that are writing, in seconds; log_reader: see `LogReader`.
    """
    answers = query_and_record_all(path, [now], query, days, patience, log_reader)
    return answers if isinstance(answers, Missing) else answers[0]


def query_and_record_all(path: str, now: list[Sample], query: HistoryQuery, days: float, patience: float = PATIENCE,
                         log_reader: LogReader | None = None) -> list[History] | Missing:
    """The same for the samples of one run in several namespaces, recorded in one transaction; at least one sample."""
    try:
        with suppress(BrokenFile):
            return _query_and_record_once(path, now, query, days, patience, log_reader)
        # once more: SQLite also calls a file malformed when the device failed to give a page
        try:
            return _query_and_record_once(path, now, query, days, patience, log_reader)
        except BrokenFile as error:
            if not path.endswith(DATABASE_SUFFIXES):
                raise
            damage = str(error), error.inode, error.in_row
        # with the exception the cursors in its traceback are gone, which hold SQLite's lock
        from .disk_fault import put_aside  # files are rarely damaged
        note = put_aside(path, *damage, now[0].at, patience)
        histories = _query_and_record_once(path, now, query, days, patience, log_reader)
        return [history._replace(note=note) for history in histories]
    except (BrokenFile, RefusedFile) as error:
        return Missing(clean(f'{path}: {error}'), 'give --history another FILE')
    except sqlite3.Error as error:
        return Missing(f'{clean(path)}: {_reason(path, error)}')
    except OSError as error:
        return Missing.because(error, clean(path))


def _reason(path: str, error: Exception) -> str:
    from .disk_fault import reason  # disks rarely fail

    return reason(path, error)


def _query_and_record_once(path: str, now: list[Sample], query: HistoryQuery, days: float, patience: float,
                           log_reader: LogReader | None) -> list[History]:
    with open_database(path, patience) as database:
        # one lock for all questions: SQLite looks at the file and its journal again for each
        database.execute('BEGIN')
        known = identity.known(database, now)
        # what is recorded under its inode may have been another's
        another = identity.is_another(database, now, known, query.identify)
        at_once: dict[int, History] = {}
        if len(now) >= MANY:
            from . import idle  # only where there are many

            at_once = idle.histories(database, now, known, query)
        histories = [History() if is_another else at_once.get(one.netns) or history_before(database, one, query)
                     for one, is_another in zip(now, another)]
        remembered = log_memory.read_memory(database, now[0].boot_id, log_reader.source) if log_reader else None
        database.execute('COMMIT')
        # it may take long: others can write meanwhile
        memory = log_reader.read(histories[0], remembered or NOTHING_READ) if log_reader else None
        try:
            note = _record(database, now, days, query.identify, histories, known,
                           (log_reader.source, memory) if log_reader and memory else None)
        except (sqlite3.OperationalError, TimeoutError, OverflowError, UnicodeEncodeError) as error:
            # full, read-only or busy, or a value of this run that no column holds: what was recorded before still
            # gives the rates
            return [history._replace(unwritten=clean(f'{path}: {_reason(path, error)}')) for history in histories]
        return [history._replace(note=note) for history in histories] if note else histories


@contextmanager
def open_database(path: str, patience: float) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode to a file with our tables, which is made if there is none."""
    with locked(path, fcntl.LOCK_SH, patience):
        # sqlite itself would make the file readable by all
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        inode = os.fstat(handle).st_ino
        os.close(handle)
        with closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as database:
            try:
                _check_schema(database)
                yield database
            except sqlite3.OperationalError as error:
                # a table that is no more, or text that is no UTF-8
                if 'no such' in str(error) or 'decode' in str(error):
                    raise BrokenFile(fault(error), inode, 'decode' in str(error)) from error
                raise
            except UnicodeEncodeError as error:
                # a value that was to be looked for: the file has no part in it
                raise sqlite3.DataError(error.reason) from error
            except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError,
                    RecursionError) as error:
                # "file is not a database", "database disk image is malformed", or a row that is none of ours
                raise BrokenFile(fault(error), inode, not isinstance(error, sqlite3.Error)) from error


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
    identity.add_table(database)
    version = _one(database, 'PRAGMA user_version')
    if version != SCHEMA_VERSION:
        raise RefusedFile(f'recorded by another version of check_conntrack (schema {version})')


def record(path: str, samples: list[Sample], days: float, patience: float) -> None:
    """Keeps samples of one boot without a look at what was before: for pasts that are made. Raises sqlite3.Error."""
    with open_database(path, patience) as database:
        _record(database, samples, days, identity.Identify(), [History()] * len(samples), [None] * len(samples))


def _record(database: sqlite3.Connection, now: list[Sample], days: float, identify: identity.Identify,
            histories: list[History], known: list[identity.Known | None],
            log: tuple[str, LogMemory] | None = None) -> str:
    """Records the samples, as far as there is room; returns a note where there is not."""
    at, boot_id = now[0].at, now[0].boot_id
    limit_size(database)
    database.execute('BEGIN IMMEDIATE')
    try:
        database.execute('INSERT OR IGNORE INTO boot (boot_id) VALUES (?)', (boot_id,))
        boot = _one(database, 'SELECT id FROM boot WHERE boot_id = ?', boot_id)
        kept, note = retention.make_room(database, boot, now, LARGEST_FILE)
        looked_up = 0
        for one, history, before in zip(now, histories, known):
            if looked_up < identity.MOST_LOOKUPS or history.first_run:
                # a new one may have been recorded by another run meanwhile
                if history.first_run:
                    before, = identity.known(database, [one])
                another = history.first_run and identity.is_another(database, [one], [before], identify)[0]
                looked_up += identity.record(database, boot, one, before, another, identify)
        # idle namespaces have the same counters
        written = {key: counters_to_text(counters)
                   for key, counters in {id(one.counters): one.counters for one in kept}.items()}
        database.executemany(
            f'INSERT INTO sample (boot, netns, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
            [(boot, one.netns, one.at.wall, one.at.uptime, one.entries, one.maximum, one.buckets,
              written[id(one.counters)]) for one in kept if is_possible(one)])
        if log:
            log_memory.keep(database, boot, *log)
        retention.apply_retention(database, at, boot, days)
        database.execute('COMMIT')
        return note
    except BaseException:
        if database.in_transaction:
            database.execute('ROLLBACK')
        raise


def limit_size(database: sqlite3.Connection) -> None:
    """Bounds the file by LARGEST_FILE for this connection: SQLite does not record that in the file."""
    database.execute(f'PRAGMA max_page_count = {LARGEST_FILE // _one(database, "PRAGMA page_size")}')


def _one(database: sqlite3.Connection, query: str, *values: object) -> int:
    (value,) = database.execute(query, values).fetchone()
    return value  # type: ignore[no-any-return]
