"""What is kept of the kernel log from run to run."""

from __future__ import annotations

import sqlite3

import pytest

from check_conntrack_lib.history import log_memory
from check_conntrack_lib.model import BOOT, LogLine, LogMemory, LogRing, Suppressed

MEMORY = LogMemory(7, 100.0, -2.5, 50.0, True, (LogLine(60.0), LogLine(70.0, 4026532501)), (Suppressed(65.0, 9),))


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(':memory:', isolation_level=None)
    made.execute('CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id TEXT)')
    made.execute("INSERT INTO boot VALUES (1, 'a'), (2, 'b')")
    return made


@pytest.mark.parametrize('memory', [
    MEMORY, MEMORY._replace(complete_since=BOOT, names_namespaces=False), MEMORY._replace(ring=LogRing(5, 131072)),
    MEMORY._replace(ring=LogRing(5, None))])
def test_what_was_kept_comes_back(database: sqlite3.Connection, memory: LogMemory) -> None:
    assert log_memory.read_memory(database, 'b', '/dev/kmsg') is None
    log_memory.keep(database, 2, '/dev/kmsg', MEMORY._replace(sequence=1))
    log_memory.keep(database, 2, '/dev/kmsg', memory)
    assert log_memory.read_memory(database, 'b', '/dev/kmsg') == memory
    assert log_memory.read_memory(database, 'b', '/var/log/kern.log') is None
    assert log_memory.read_memory(database, 'a', '/dev/kmsg') is None


def test_of_another_boot_nothing_is_kept(database: sqlite3.Connection) -> None:
    log_memory.keep(database, 1, '/dev/kmsg', MEMORY)
    log_memory.keep(database, 2, 'file', MEMORY)
    log_memory.keep(database, 2, '/dev/kmsg', MEMORY)
    assert log_memory.read_memory(database, 'a', '/dev/kmsg') is None
    assert log_memory.read_memory(database, 'b', 'file') == MEMORY


def test_of_a_storm_the_newest_lines_are_kept(database: sqlite3.Connection) -> None:
    full, suppressed = ([kind(float(k), k) for k in range(1003)] for kind in (LogLine, Suppressed))
    log_memory.keep(database, 1, '/dev/kmsg', MEMORY._replace(table_full=tuple(full), suppressed=tuple(suppressed)))
    found = log_memory.read_memory(database, 'a', '/dev/kmsg')
    assert found
    assert (list(found.table_full), list(found.suppressed)) == (full[3:], suppressed[3:])


@pytest.mark.parametrize('column', [
    "sequence = 'x'", 'sequence = 9e999', "read = 'x'", 'read = 9e999', "clock_offset = 'nan'",
    "complete_since = 'nan'",
    "lines = '[]'", "lines = 'null'", "lines = x'ff'", "lines = '[[[1, 1e99]], []]'", "lines = '[[[NaN, 1]], []]'",
    "lines = '[[], [], [1]]'", "lines = '[[], [], [1, 1e99]]'", "lines = '[[], [], 7]'", "lines = '[[], [], {}]'",
    "lines = '[[], [], []]'", "lines = '[[], [], 0]'", "lines = '[[], [], false]'", "lines = '[[], [], null, 1]'",
    "lines = '[[], [[Infinity, 1]]]'", "lines = '[[], [[1, null]]]'", "lines = '[[1], []]'"])
def test_a_row_that_is_none_of_ours_costs_itself(database: sqlite3.Connection, column: str) -> None:
    log_memory.keep(database, 1, '/dev/kmsg', MEMORY)
    database.execute(f'UPDATE log SET {column}')
    assert log_memory.read_memory(database, 'a', '/dev/kmsg') is None
    log_memory.keep(database, 1, '/dev/kmsg', MEMORY)
    assert log_memory.read_memory(database, 'a', '/dev/kmsg') == MEMORY
