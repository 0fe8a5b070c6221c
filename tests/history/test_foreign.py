"""Another user's history, each side by itself: what the child hands over of a file, and what is taken from a child.

The child process, its rights and its limits: tests/security/test_foreign_history.py.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pwd
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from recorder_samples import LOOK, sample

from check_conntrack_lib.history import foreign, foreign_child
from check_conntrack_lib.history.database import query_and_record
from check_conntrack_lib.history.foreign_child import check_header, is_plain
from check_conntrack_lib.model import Missing

ME = os.geteuid()
WITH_LOG = 'a database with a write-ahead log, which check_conntrack never makes'
LATER = time.monotonic() + 3600


@pytest.fixture
def history(in_memory: Path) -> Path:
    path = in_memory / 'history.sqlite'
    for uptime in (100, 200):
        assert not isinstance(query_and_record(str(path), sample(uptime), LOOK, 14), Missing)
    return path


def header_of(path: Path) -> None:
    with path.open('rb') as file:
        check_header(file.fileno(), ME)


@pytest.mark.parametrize(('change', 'says'), [
    (lambda text: text, None),
    (lambda text: text[:100], None), (lambda text: text[:99], 'file is not a database'),
    (lambda text: b'x' + text[1:], 'file is not a database'),
    (lambda text: text[:18] + b'\2' + text[19:], WITH_LOG),
    (lambda text: text[:19] + b'\2' + text[20:], WITH_LOG),
    (lambda text: text[:71] + b'!' + text[72:], 'was not written by check_conntrack'),
    (lambda text: text[:68] + b'!' + text[69:], 'was not written by check_conntrack'),
    (lambda text: text[:63] + b'\2' + text[64:], 'was written by another version of check_conntrack'),
    (lambda text: text[:60] + b'\1' + text[61:], 'was written by another version of check_conntrack'),
    (lambda text: text.ljust(64 << 20, b'\0'), None),
    (lambda text: text.ljust((64 << 20) + 1, b'\0'), 'larger than 64 MiB, which no history is')])
def test_the_header(history: Path, change: Callable[[bytes], bytes], says: str | None) -> None:
    history.write_bytes(change(history.read_bytes()))
    if says is None:
        header_of(history)
        return
    with pytest.raises(ValueError, match=f'^{says}$'):
        header_of(history)


def test_whose_file(history: Path) -> None:
    with history.open('rb') as file, pytest.raises(ValueError, match='was exchanged while it was opened'):
        check_header(file.fileno(), ME + 1)
    handle = os.open(history.parent, os.O_RDONLY)
    with pytest.raises(ValueError, match='is not a regular file'):
        check_header(handle, ME)
    os.close(handle)


@pytest.mark.parametrize(('value', 'plain'), [
    (None, True), (1, True), (-(1 << 63), True), (1.5, True), (float('inf'), False), (float('nan'), False),
    (b'', False), (True, False), ('', True), ('x' * (1 << 20), True), ('x' * ((1 << 20) + 1), False), ([], False)])
def test_plain_values(value: object, plain: bool) -> None:
    assert is_plain(value) is plain


def test_the_rows_of_a_file(history: Path) -> None:
    rows = list(foreign_child._rows(str(history), ME, LATER))
    assert [row[0] for row in rows] == ['boot', 'netns', 'sample', 'sample']
    assert rows[0] == ('boot', 1, 'b')
    assert rows[2][:6] == ('sample', 1e9 + 100, 1, 1, 100.0, 5)
    with sqlite3.connect(history) as database:
        database.execute("INSERT INTO profile VALUES (1, 1, 1, 1, 1, x'00')")
    with pytest.raises(ValueError, match='a row of profile that no check wrote'):
        list(foreign_child._rows(str(history), ME, LATER))
    with sqlite3.connect(history) as database:
        database.execute('CREATE TABLE other (a)')
    with pytest.raises(ValueError, match='its tables are not those of check_conntrack'):
        list(foreign_child._rows(str(history), ME, LATER))


def test_no_more_rows_than_a_history_holds(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_child, 'MOST_ROWS', 1)
    # one more, by which the other side sees that there are more
    assert [row[0] for row in foreign_child._rows(str(history), ME, LATER)].count('sample') == 2
    monkeypatch.setattr(foreign_child, 'MOST_ROWS', 0)
    assert [row[0] for row in foreign_child._rows(str(history), ME, LATER)].count('sample') == 1


def locks(history: Path) -> bool:
    """Is the file locked for reading by the one who holds this? Locks are a process's."""
    child = os.fork()
    if not child:
        with history.open('r+b') as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
            except OSError:
                os._exit(1)
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_the_lock_and_the_journal(history: Path) -> None:
    journal = Path(f'{history}-journal')
    with history.open('rb') as file:
        foreign_child._lock(file.fileno(), str(history), LATER)
        assert locks(history)
    for begin, hot in ((foreign_child.HOT_JOURNAL, True), (b'\0' * 8, False), (foreign_child.HOT_JOURNAL[:7], False),
                       (foreign_child.HOT_JOURNAL + b'more', True)):
        journal.write_bytes(begin)
        with history.open('rb') as file:
            if hot:
                with pytest.raises(ValueError, match='the next run of its owner repairs it'):
                    foreign_child._lock(file.fileno(), str(history), LATER)
            else:
                foreign_child._lock(file.fileno(), str(history), LATER)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bytes]:
    """What the child writes, run in this process; its end is an exception."""
    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(foreign_child, '_confine', lambda _owner, writer, _libc: writer)
    monkeypatch.setattr(foreign_child.os, '_exit', end)

    def run(path: str) -> bytes:
        reader, writer = os.pipe()
        with os.fdopen(reader, 'rb') as from_child:
            with pytest.raises(SystemExit) as ended:
                foreign_child.run(path, ME, writer, LATER, ctypes.CDLL(None))
            assert ended.value.code == 0
            os.close(writer)
            return from_child.read()

    return run


def test_what_the_child_writes(history: Path, child: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = child(str(history)).splitlines()
    assert [json.loads(line)[0] for line in lines] == ['boot', 'netns', 'sample', 'sample', 'end']
    assert child(str(history) + 'x') == b'No such file or directory'

    def needs_memory(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(foreign_child, '_rows', needs_memory)
    assert child(str(history)) == b'needs too much memory'


def test_many_rows_are_written_in_parts(child: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [('boot', number, 'x' * 100) for number in range(400)]  # less than a pipe holds
    written: list[int] = []
    monkeypatch.setattr(foreign_child, '_rows', lambda *_given: iter(rows))
    write = foreign_child._write
    monkeypatch.setattr(foreign_child, '_write', lambda writer, text: [written.append(len(text)), write(writer, text)])
    lines = child('x').splitlines()
    assert [json.loads(line) for line in lines] == [*map(list, rows), ['end']]
    assert len(written) == 2
    assert 1 << 15 < written[0] < (1 << 15) + 200


def taken(text: bytes, until: float = LATER) -> list[bytes]:
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    try:
        return [line for _, line in zip(range(text.count(b'\n')), foreign._lines(reader, until))]
    finally:
        os.close(reader)


def test_lines_of_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(b'[1]\n[2]\n') == [b'[1]', b'[2]']
    reader, writer = os.pipe()
    with pytest.raises(TimeoutError, match='not read within 10 s'):
        next(foreign._lines(reader, time.monotonic()))
    os.write(writer, b'[1]\nwhy not')
    os.close(writer)
    lines = foreign._lines(reader, LATER)
    assert next(lines) == b'[1]'
    with pytest.raises(ValueError, match=r'^why not$'):
        next(lines)
    with pytest.raises(ValueError, match=r'^could not be read within its limits$'):
        next(foreign._lines(reader, LATER))
    os.close(reader)
    monkeypatch.setattr(foreign, 'MOST_BYTES', 8)
    assert taken(b'[1]\n[2]\n') == [b'[1]', b'[2]']
    with pytest.raises(ValueError, match='more than a history holds'):
        taken(b'[1]\n[2]\n\n')
    monkeypatch.setattr(foreign, 'MOST_BYTES', 99)
    monkeypatch.setattr(foreign, 'LONGEST_VALUE', 3)
    with pytest.raises(ValueError, match='more than a history holds'):
        taken(b'\n1234567')
    assert taken(b'\n123456') == [b'']


@pytest.mark.parametrize(('lines', 'says'), [
    (['["boot", 1, "b"]', '["end"]'], ''), (['["end"]', 'nonsense'], ''), ([], 'ended early'),
    (['["boot", 1, "b"]'], 'ended early'), (['["upkeep", 1]', '["end"]'], 'not a row of a history'),
    (['["boot", 1]', '["end"]'], 'not a row of a history'), (['["boot", 1, "b", 2]', '["end"]'], 'not a row'),
    (['["boot", 1, ["b"]]', '["end"]'], 'not a row of a history'),
    (['["boot", 1, "a"]', '["boot", 2, "b"]', '["end"]'], ''),
    (['["boot", 1, "a"]', '["boot", 2, "b"]', '["boot", 3, "c"]', '["end"]'], 'more rows than a history holds')])
def test_rows_of_a_child(monkeypatch: pytest.MonkeyPatch, lines: list[str], says: str) -> None:
    monkeypatch.setattr(foreign, 'MOST_ROWS', 1)
    if says:
        with pytest.raises(ValueError, match=says):
            foreign._copy(line.encode() for line in lines)
        return
    database = foreign._copy(line.encode() for line in lines)
    assert database.execute('SELECT count(*) FROM boot').fetchone() == (sum('boot' in line for line in lines),)
    assert not database.in_transaction
    database.close()


def test_who_can_read_it() -> None:
    assert foreign._remedy(ME) == ''
    other = next(user for user in pwd.getpwall() if user.pw_uid != ME)
    shows = 'conntrack-doctor history shows it with the rights of its owner'
    assert foreign._remedy(other.pw_uid) == f'sudo -u {other.pw_name} {shows}'
    assert foreign._remedy(4_000_000_000) == f'sudo -u \\#4000000000 {shows}'
