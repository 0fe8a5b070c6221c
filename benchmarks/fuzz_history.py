"""The history's file as target of fuzz.py: one's own. Another user's is in fuzz_foreign."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz_parsers import COUNTERS, NOW, PROFILE, Target
from benchmarks.mutation import BYTES, WORDS, mutated
from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history import profiles, readonly
from check_conntrack_lib.history.profile_json import to_json
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, Instant, Missing

LOOK = HistoryQuery(300, 2700, comparable, 900)
COLUMNS = {'sample': ('time', 'boot', 'netns', 'uptime', 'entries', 'maximum', 'buckets', 'counters'),
           'profile': ('time', 'boot', 'netns', 'uptime', 'quiet', 'text'), 'upkeep': ('part', 'done'),
           'gone': ('boot', 'netns'), 'boot': ('id', 'boot_id')}


@lru_cache(None)
def place() -> Path:
    """A directory for this process, removed at its end."""
    made = tempfile.TemporaryDirectory(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None)
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache(None)
def sound_file() -> bytes:
    path = place() / 'sound.sqlite'
    for k in range(40):
        sample = NOW._replace(at=Instant(1e9 - 3000 + 60 * k, 2000 + 60.0 * k, 0), entries=k)
        assert isinstance(history_database.query_and_record(str(path), sample, LOOK, 14), History)
        if k % 10 == 0:
            assert profiles.record(str(path), sample, PROFILE, True, 1) is None
    return path.read_bytes()


def a_file(random: Random) -> tuple[bytes, list[tuple[str, str, Any]]]:
    """A recorder's file with damaged bytes, or with values that no recorder writes."""
    sound = sound_file()
    if random.random() < 0.4:
        return mutated(random, [sound], BYTES), []
    changes: list[tuple[str, str, Any]] = []
    for _ in range(1 + int(random.random() * 3)):
        table = random.choice([*COLUMNS, 'sample', 'sample', 'profile'])
        column = random.choice(COLUMNS[table])
        value: Any = random.choice([*WORDS, None, -1, 0, 2**63 - 1, -2**63, 1e308, float('inf'), float('-inf'), b'',
                                    b'\xff\xfe', 'CAST', 1.5, '5', mutated(random, COUNTERS, WORDS),
                                    mutated(random, [to_json(PROFILE)], WORDS)])
        changes.append((table, column, value.encode('utf-8', 'replace').decode() if isinstance(value, str) else value))
    return sound, changes


def change(path: Path, changes: list[tuple[str, str, Any]]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        # nothing of this is to survive a crash: no journal file, one transaction
        database.execute('PRAGMA journal_mode = MEMORY')
        database.execute('PRAGMA synchronous = OFF')
        database.execute('BEGIN')
        for table, column, value in changes:
            # text that is no UTF-8 can only be made by a cast
            new = "CAST(x'ff7cfe' AS TEXT)" if value == 'CAST' else '?'
            where = 'rowid % 3 = 1' if table != 'gone' and len(column) % 2 else '1'
            with contextlib.suppress(sqlite3.IntegrityError):
                database.execute(f'UPDATE OR REPLACE {table} SET {column} = {new} WHERE {where}',
                                 () if value == 'CAST' else (value,))
        database.execute('COMMIT')


def recorder_file(made: tuple[bytes, list[tuple[str, str, Any]]]) -> None:
    """A run with this file, a diagnosis with it, and the doctor's reading of it."""
    content, changes = made
    path = place() / 'history.sqlite'
    try:
        path.write_bytes(content)
        path.chmod(0o600)
        if changes:
            change(path, changes)
        now = NOW._replace(at=Instant(1e9, 5000.0, 5000.0))
        for read in (readonly.read_samples(str(path), 0, 2e9), readonly.read_profiles(str(path), 0, 2e9),
                     readonly.read_history(str(path), now, LOOK), readonly.read_baseline(str(path), now)):
            assert read is not None
        later = now._replace(at=Instant(1e9 + 60, 5060.0, 5060.0))
        for answer in (profiles.read_baseline(str(path), now, 0.1),
                       history_database.query_and_record(str(path), now, LOOK, 14, 0.1),
                       history_database.query_and_record(str(path), later, LOOK, 14, 0.1)):
            assert isinstance(answer, (History, Missing, profiles.Baseline))
    finally:
        for left in place().glob('history.sqlite*'):
            left.unlink()


TARGETS = {'recorder': Target(a_file, recorder_file, (), slow=True)}
