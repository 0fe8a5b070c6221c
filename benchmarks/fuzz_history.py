"""The history's file as target of fuzz.py: one's own, another user's, and what that one's child hands over."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz_parsers import COUNTERS, NOW, PROFILE, Target
from benchmarks.mutation import BYTES, WORDS, mutated
from benchmarks.output import harmless
from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history import codec, foreign, foreign_child, profiles, readonly, schema_check
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history.profile_json import to_json
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, Instant, Missing

LOOK = HistoryQuery(300, 2700, comparable, 900)
#: what readonly and foreign take for a row that no check wrote
REFUSED = (ValueError, TypeError, OverflowError, RecursionError, KeyError, AttributeError)
#: who owns the file of `foreign`
NOBODY = 65534
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
def _sound_file() -> bytes:
    path = place() / 'sound.sqlite'
    for k in range(40):
        sample = NOW._replace(at=Instant(1e9 - 3000 + 60 * k, 2000 + 60.0 * k, 0), entries=k)
        assert isinstance(history_database.query_and_record(str(path), sample, LOOK, 14), History)
        if k % 10 == 0:
            assert profiles.record(str(path), sample, PROFILE, True, 1) is None
    return path.read_bytes()


def a_file(random: Random) -> tuple[bytes, list[tuple[str, str, Any]]]:
    """A recorder's file with damaged bytes, or with values that no recorder writes."""
    sound = _sound_file()
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


def _change(path: Path, changes: list[tuple[str, str, Any]]) -> None:
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
            _change(path, changes)
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


def foreign_file(made: tuple[bytes, list[tuple[str, str, Any]]]) -> None:
    """The same file as another user's: through the child, which gives a sound copy or a reason, and leaves nothing."""
    content, changes = made
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    path = place() / 'history.sqlite'
    try:
        path.write_bytes(content)
        if changes:
            _change(path, changes)
        place().chmod(0o755)
        os.chown(path, owner, owner if owner == NOBODY else -1)
        answer = foreign.load(str(path), owner)
        if isinstance(answer, Missing):
            harmless(answer.why)
        else:
            with contextlib.closing(answer):
                assert answer.execute('PRAGMA integrity_check').fetchone() == ('ok',)
        assert [left.name for left in place().glob('history*')] == ['history.sqlite']
    finally:
        for left in place().glob('history.sqlite*'):
            left.unlink()


@lru_cache(None)
def _sound_rows() -> list[bytes]:
    """What the child hands over of a sound file, a line a row."""
    path = place() / 'rows.sqlite'
    path.write_bytes(_sound_file())
    path.chmod(0o600)
    found = list(foreign_child._rows(str(path), os.geteuid(), float('inf')))
    path.unlink()
    # of each table the first ones: each kind of row is as often as any other
    few = [row for table in schema_check.tables() for row in [one for one in found if one[0] == table][:2]]
    return [json.dumps(row).encode() for row in few]


def a_pipe(random: Random) -> list[bytes]:
    """What another user's child could write: lines damaged, exchanged, left out or said twice."""
    lines = random.sample(_sound_rows(), 4)
    place = int(random.random() * len(lines))
    if random.random() < 0.5:
        lines[place] = mutated(random, [lines[place]], BYTES).replace(b'\n', b' ')
    else:
        row = json.loads(lines[place])
        row[int(random.random() * len(row))] = random.choice([*WORDS, None, -1, 2**63, 1e308, 9**40, [], {}, 1.5, '5',
                                                              mutated(random, COUNTERS, WORDS)])
        lines[place] = json.dumps(row).encode('utf-8', 'replace')
    return [*lines, b'["end"]'] if random.random() < 0.9 else lines


def foreign_rows(lines: list[bytes]) -> None:
    """The border on this side: refused, or rows whose every value the readers take or refuse."""
    with contextlib.closing(foreign._copy(iter(lines))) as database:
        for query, make in ((readonly.SAMPLES, codec.sample_of), (readonly.PROFILES, readonly._profile)):
            for row in database.execute(query, (-1e300, 1e300)):
                with contextlib.suppress(*REFUSED):
                    make(*row)


TARGETS = {
    'recorder': Target(a_file, recorder_file, (), slow=True),
    'foreign': Target(a_file, foreign_file, (), slow=True),
    'foreign-rows': Target(a_pipe, foreign_rows, (*REFUSED, sqlite3.Error), slow=True),
}
