"""One row that no run wrote costs itself: the other rows are used, and the file is kept as it was."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hostile
import pytest

from check_conntrack_lib.history import allowances, bad_rows, database
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.history.readonly import read_profiles, read_samples
from check_conntrack_lib.model import Counters, History, Instant, LogMemory, Missing, Sample

BOOT, SOURCE = '5e2bb74a', '/dev/kmsg'
LOOK = HistoryQuery(300.0, 3600.0, lambda _before, _now: True, 900.0)
#: what a column of any type may be found to be
VALUES = {'text': "'x'", 'bytes': "x'ff00'", 'no UTF-8': "CAST(x'ff' AS TEXT)", 'infinite': '9e999', 'huge': '1e300',
          'largest': str((1 << 63) - 1), 'negative': '-1', 'HTML': "'<script>|' || char(27)",
          'deep': "printf('%.30000c', '[')"}
COLUMNS = {'sample': ('time', 'uptime', 'entries', 'maximum', 'buckets', 'counters'),
           'profile': ('time', 'uptime', 'text'), 'netns': ('since', 'named', 'name')}
#: values that a column may have
SOUND = {('sample', 'maximum', 'negative'), *(('netns', 'name', kind) for kind in VALUES if kind != 'no UTF-8')}


def sample(uptime: float) -> Sample:
    return Sample(Instant(1e9 + uptime, uptime, uptime), BOOT, 7, 100, 1000, 64, Counters({'drop': (0, 0)}))


def ask(path: Path, uptime: float) -> History:
    log = database.LogReader(SOURCE, lambda _history, memory: memory or LogMemory(1, 1.0, 0.0, 0.0, True, (), ()))
    answer = database.query_and_record(str(path), sample(uptime), LOOK, 14, log_reader=log)
    assert isinstance(answer, History), answer
    return answer


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp('whole') / 'history.sqlite'
    for k in range(20):
        ask(path, 1000 + 60 * k)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for k in (2, 4):
            connection.execute('INSERT INTO profile SELECT time, boot, netns, uptime, 1, ? FROM sample WHERE rowid = ?',
                               (hostile.profile(), k))
        connection.execute("INSERT INTO netns SELECT boot, 8, 0, NULL, 'other', 1000 FROM sample LIMIT 1")
        connection.execute('INSERT INTO sample SELECT time, boot, 8, uptime, 5, 1000, 64, NULL FROM sample LIMIT 1')
        connection.execute(allowances.SCHEMA)
        connection.execute("INSERT INTO allowance VALUES (1, 'a', 1, 0, 0, 0, NULL, NULL)")
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    made = tmp_path / 'history.sqlite'
    made.write_bytes(whole)
    made.chmod(0o600)
    return made


def change(path: Path, *statements: str) -> bytes:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path.read_bytes()


def asides(path: Path) -> list[Path]:
    return [one for one in path.parent.iterdir() if one != path]


def places() -> Iterator[tuple[str, str, str]]:
    for table, names in COLUMNS.items():
        for name in names:
            for kind in VALUES:
                if (table, name, kind) not in SOUND:
                    yield table, name, kind


@pytest.mark.parametrize(('table', 'name', 'kind'), list(places()))
def test_it_is_left_out_and_the_others_are_used(path: Path, table: str, name: str, kind: str) -> None:
    which = 'inode = 8' if table == 'netns' else 'rowid = 2'
    damaged = change(path, f'UPDATE {table} SET {name} = {VALUES[kind]} WHERE {which}')
    copy = path.parent / 'copy'
    assert bad_rows.leave_out(str(path), str(copy)) == 1
    assert copy.read_bytes() == damaged
    assert copy.stat().st_mode & 0o777 == 0o600
    samples, profiles = read_samples(str(path), 0, 9e9), read_profiles(str(path), 0, 9e9)
    assert not isinstance(samples, Missing)
    assert not isinstance(profiles, Missing)
    assert (len(samples), len(profiles)) == (21 - (table == 'sample'), 2 - (table == 'profile'))


@pytest.mark.parametrize('statement', [
    "UPDATE sample SET entries = 'x' WHERE rowid = 19", "UPDATE sample SET counters = '[]' WHERE rowid = 14",
    "UPDATE sample SET counters = CAST(x'ff' AS TEXT) WHERE rowid = 14", 'DELETE FROM upkeep',
    "UPDATE netns SET since = 'x' WHERE inode = 7", 'UPDATE upkeep SET done = 9e999 WHERE part = 3',
    "UPDATE log SET read = CAST(x'ff' AS TEXT)", "UPDATE netns SET cookie = 'x' WHERE inode = 8",
    "UPDATE profile SET text = CAST(x'ff' AS TEXT) WHERE rowid = 2",
])
def test_a_run_goes_on_with_the_others(path: Path, statement: str) -> None:
    damaged = change(path, statement)
    answer = ask(path, 2260)
    assert answer.base
    assert answer.base.at.uptime in (1900, 1960)
    if answer.note:
        aside, = asides(path)
        assert answer.note.startswith('the history goes on without 1 damaged row (')
        assert answer.note.endswith(f'as it was, it is kept as {aside}')
        assert aside.read_bytes() == damaged
        assert ask(path, 2320).note == ''
        assert asides(path) == [aside]


def test_rows_of_a_boot_that_is_none_do_not_become_anothers(path: Path) -> None:
    """The next boot gets the same number."""
    change(path, "UPDATE boot SET boot_id = CAST(x'ff' AS TEXT)")
    assert bad_rows.leave_out(str(path), str(path.parent / 'copy')) == 1 + 21 + 2 + 2
    assert ask(path, 2260).first_run


@pytest.mark.parametrize('kind', ['sound', 'many rows', 'no copy', 'malformed', 'locked'])
def test_where_nothing_can_be_left_out_all_is_as_before(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes() if kind == 'sound' else change(path, "UPDATE sample SET entries = 'x' WHERE rowid = 2")
    copy, other = path.parent / 'copy', None
    if kind == 'many rows':
        monkeypatch.setattr(bad_rows, 'MOST_ROWS', 10)
    elif kind == 'no copy':
        copy = path.parent / 'missing' / 'copy'
    elif kind == 'malformed':
        before = before[:4096] + os.urandom(4096) + before[8192:]
        path.write_bytes(before)
    elif kind == 'locked':
        other = sqlite3.connect(path, isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
    assert bad_rows.leave_out(str(path), str(copy)) == 0
    if other:
        other.close()
    assert path.read_bytes() == before
    assert not copy.exists()


def test_what_cannot_be_left_out_is_put_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = change(path, "UPDATE sample SET entries = 'x' WHERE rowid = 19")
    monkeypatch.setattr(bad_rows, 'MOST_ROWS', 10)
    answer = ask(path, 2260)
    aside, = asides(path)
    assert answer.first_run
    assert answer.note.endswith(f') and put aside as {aside}')
    assert aside.read_bytes() == damaged
