"""AWS's limits in the history: which earlier reading is compared with, what is forgotten, and what a file may cost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from check_conntrack_lib.history import allowances, lookups
from check_conntrack_lib.history.allowances import SCHEMA, Before, query_and_record
from check_conntrack_lib.model import NOTHING_READ, Allowances, Instant, LogMemory, Missing

LARGEST = (1 << 63) - 1


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(':memory:', isolation_level=None)
    made.execute(SCHEMA)
    return made


def put(database: sqlite3.Connection, uptime: float, exceeded: int = 0, available: int | None = 9, boot: str = 'b',
        wall: float | None = None) -> None:
    database.execute('INSERT INTO allowance VALUES (?, ?, ?, ?, ?, ?, ?, NULL)', (
        1e9 + uptime if wall is None else wall, boot, uptime, exceeded, 2, 3, available))


@pytest.mark.parametrize(('ages', 'base'), [
    ([], None), ([300], 300), ([299, 300, 301], 300), ([301, 600], 301), ([600], 600), ([601], None),
    ([601, 250, 20], 250), ([250, 20], 250), ([0], None), ([-5], None), ([20, 0], 20)])
def test_what_is_compared_with(database: sqlite3.Connection, ages: list[float], base: float | None) -> None:
    for age in ages:
        put(database, 5000 - age, int(1000 + age))
    put(database, 4700, 1, boot='a')
    before = allowances._before(database, 'b', Instant(0, 5000, 0), 300.0)
    assert before == Before(base if base is None else Allowances(int(1000 + base), 2, 3, 9), base or 0.0, 9)


@pytest.mark.parametrize(('numbers', 'most'), [([], None), ([None], None), ([None, 7], 7), ([3, 8, 5], 8)])
def test_the_most_that_was_available(database: sqlite3.Connection, numbers: list[int | None], most: int | None) -> None:
    for number in numbers:
        put(database, 4000, available=number)
    before = allowances._before(database, 'b', Instant(0, 5000, 0), 2000.0)
    assert before.most == most
    assert before.base is None or before.base.available == numbers[0]


def test_what_is_forgotten(database: sqlite3.Connection) -> None:
    now = 20 * 86400.0
    kept = [now - 14 * 86400, now - 86400 - 6001, now - 86400 - 6600, now - 86399, now - 1]
    for wall in (*kept, now - 14 * 86400 - 1):
        put(database, 1, wall=wall)
    # of what became a day old lately one of each ten minutes, the one with the most
    slot = 600.0 * ((now - 86400) // 600 - 5)
    for wall, available in ((slot, 5), (slot + 1, 8), (slot + 599, 7), (slot + 600, 1), (now - 86400, 2),
                            (now - 86400 - 6000, 3)):
        put(database, 1, wall=wall, available=available)
    allowances._forget(database, now, 14.0)
    left = [wall for wall, in database.execute('SELECT time FROM allowance ORDER BY time')]
    assert left == sorted([*kept, slot + 1, slot + 600, now - 86400, now - 86400 - 6000])


def test_a_number_that_no_column_holds(in_memory: Path) -> None:
    path = str(in_memory / 'history.sqlite')
    for uptime, number in ((1000.0, 1 << 64), (1300.0, 5)):
        got = query_and_record(path, 'b', Instant(1e9, uptime, 0), Allowances(number, number, number, None), 300, 14, 1)
    assert got == Before(Allowances(LARGEST, LARGEST, LARGEST, None), 300.0, None)


def test_what_cannot_be_written_is_not_half_written(in_memory: Path) -> None:
    path = str(in_memory / 'history.sqlite')
    at = Instant(1e9, 1000, 0)
    assert query_and_record(path, 'b', at, Allowances(1, 1, 1, 1), 300, 14, 1) == Before(None, 0.0, None)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TRIGGER refuse BEFORE DELETE ON allowance BEGIN SELECT RAISE(ABORT, 'no'); END")
        database.execute('UPDATE allowance SET time = 0')
    got = query_and_record(path, 'b', at, Allowances(1, 1, 1, 1), 300, 14, 1)
    assert isinstance(got, Missing)
    assert got.why == f'{path}: no'
    with sqlite3.connect(path) as database:
        assert database.execute('SELECT count(*) FROM allowance').fetchone() == (1,)


def test_questions_to_a_file_that_is_not_there_or_none_of_ours(in_memory: Path) -> None:
    path = str(in_memory / 'history.sqlite')
    assert lookups.read_log_memory(path, 'b', '/dev/kmsg') is NOTHING_READ
    assert not Path(path).exists(), 'asking makes no file'
    query_and_record(path, 'b', Instant(1e9, 1000, 0), Allowances(1, 1, 1, 1), 300, 14, 1)
    assert lookups.read_log_memory(path, 'b', '/dev/kmsg') is NOTHING_READ
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO boot VALUES (1, 'b')")
        database.execute("INSERT INTO log VALUES (1, '/dev/kmsg', 7, 9.0, 0, 5.0, 0, '[[],[]]')")
    assert lookups.read_log_memory(path, 'b', '/dev/kmsg') == LogMemory(7, 9.0, 0.0, 5.0, False)
    assert lookups.last_seen(path, ('web',), 1) == {}
    Path(path).write_bytes(b'no database' * 100)
    assert lookups.read_log_memory(path, 'b', '/dev/kmsg') is None
    assert lookups.last_seen(path, ('web',), 1) == {}
