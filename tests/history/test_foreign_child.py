"""The child that reads another user's history: what it gives up, how it opens the file, and how it waits for a lock."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorder_samples import LOOK, sample

from check_conntrack_lib.history import foreign_child
from check_conntrack_lib.history.database import query_and_record
from check_conntrack_lib.history.foreign_child import HOT_JOURNAL
from check_conntrack_lib.model import Missing

ME = os.geteuid()
NOBODY, NOT_A_USER = 65534, 3_999_999_999
PENDING, RESERVED, SHARED = (0x40000000, 1), (0x40000001, 1), (0x40000002, 510)


def facts(libc: ctypes.CDLL, memory: int) -> dict[str, Any]:
    """Of this process."""
    open_ones = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        open_ones.append(number)
    limits = {name: resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))
              for name in ('CPU', 'AS', 'FSIZE', 'CORE', 'NOFILE', 'NPROC')}
    # of what is added one MiB is for what this test itself takes
    more, rest = divmod(limits.pop('AS')[0] - memory + (1 << 19), 1 << 20)
    death = ctypes.c_int()
    libc.prctl(2, ctypes.byref(death), 0, 0, 0)
    return {'limits': limits, 'MiB': more, 'in between': rest >= 0, 'open': open_ones,
            'leads its session': os.getsid(0) == os.getpid(),
            'signals': [signal.getsignal(one) is signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGALRM)],
            'blocked': len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            'no new rights': libc.prctl(39, 0, 0, 0, 0), 'dumpable': libc.prctl(3, 0, 0, 0, 0), 'death': death.value,
            'users': os.getresuid(), 'groups': os.getresgid(), 'others': os.getgroups()}


def in_child(does: Callable[[int], None]) -> Any:
    """What a process of its own writes as JSON to the descriptor 5, which is one of four that it has."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.closerange(3, writer)
            os.closerange(writer + 1, 256)
            os.dup2(writer, 5)
            does(5)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, 'rb') as from_child:
        found = json.loads(from_child.read() or 'null')
    os.waitpid(pid, 0)
    return found


@pytest.mark.parametrize(('owner', 'group'), [(ME, os.getegid()), (NOBODY, 65534), (NOT_A_USER, 65534)])
def test_what_it_gives_up(owner: int, group: int) -> None:
    if ME and owner != ME:
        pytest.skip('becoming another user needs root')
    libc = ctypes.CDLL(None, use_errno=True)

    def confined(writer: int) -> None:
        # what a command may be started with
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
        with open('/proc/self/statm') as file:
            memory = int(file.read().split()[0]) * resource.getpagesize()
        theirs = foreign_child._confine(owner, writer, libc)
        os.write(theirs, json.dumps(facts(libc, memory)).encode())

    assert in_child(confined) == {
        'limits': {'CPU': [10, 10], 'FSIZE': [0, 0], 'CORE': [0, 0], 'NOFILE': [12, 12], 'NPROC': [0, 0]},
        'MiB': 256, 'in between': True, 'open': [0, 1, 2, 10], 'leads its session': True, 'signals': [True, True],
        'blocked': 0, 'no new rights': 1, 'dumpable': 0, 'death': signal.SIGKILL, 'users': [owner] * 3,
        'groups': [group] * 3, 'others': os.getgroups() if owner == ME else []}


@pytest.mark.parametrize('refused', [38, 4, 1])
def test_a_right_that_the_kernel_does_not_take(refused: int) -> None:
    def confined(writer: int) -> None:
        libc = SimpleNamespace(prctl=lambda option, *_: -1 if option == refused else 0)
        ctypes.set_errno(22)
        try:
            foreign_child._confine(ME, writer, libc)  # type: ignore[arg-type]
        except OSError as error:
            os.write(10, json.dumps([error.errno, error.strerror, resource.getrlimit(resource.RLIMIT_NOFILE)]).encode())

    assert in_child(confined) == [22, 'Invalid argument', [16, 16]]


def test_rights_that_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """setresuid said nothing, but the user is still the one of before."""
    done: list[tuple[Any, ...]] = []
    for name in ('setgroups', 'setresgid', 'setresuid'):
        monkeypatch.setattr(foreign_child.os, name, lambda *given, name=name: done.append((name, *given)))
    monkeypatch.setattr(foreign_child.os, 'getresuid', lambda: (NOT_A_USER, NOT_A_USER, 0))
    with pytest.raises(PermissionError, match='the rights of root could not be given up'):
        foreign_child._become(NOT_A_USER)
    assert done == [('setgroups', []), ('setresgid', *[65534] * 3), ('setresuid', *[NOT_A_USER] * 3)]


@pytest.fixture
def history(in_memory: Path) -> Path:
    path = in_memory / 'history.sqlite'
    assert not isinstance(query_and_record(str(path), sample(100), LOOK, 14), Missing)
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    return list(foreign_child._rows(str(path), ME, float('inf')))


def test_a_link_is_not_followed_and_a_fifo_not_waited_for(history: Path) -> None:
    link, fifo = history.with_name('link'), history.with_name('fifo')
    link.symlink_to(history)
    with pytest.raises(OSError, match='symbolic links'):
        rows(link)
    os.mkfifo(fifo)
    with pytest.raises(ValueError, match='is not a regular file'):
        rows(fifo)
    before = os.listdir('/proc/self/fd')
    assert rows(history)
    assert os.listdir('/proc/self/fd') == before


def test_a_journal_that_is_a_link_or_a_fifo_is_none(history: Path) -> None:
    journal = history.with_name('history.sqlite-journal')
    history.with_name('other').write_bytes(HOT_JOURNAL)
    journal.symlink_to(history.with_name('other'))
    assert rows(history)
    journal.unlink()
    before = os.listdir('/proc/self/fd')
    journal.write_bytes(b'cold')
    assert rows(history)
    assert os.listdir('/proc/self/fd') == before


def test_the_time_is_up_within_a_question(history: Path) -> None:
    with sqlite3.connect(history) as database:
        database.execute('WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 5000) '
                         "INSERT INTO sample SELECT n, 1, 1, n, 1, 1, 1, '' FROM number")
    with pytest.raises(sqlite3.OperationalError, match='interrupted'):
        list(foreign_child._rows(str(history), ME, float('-inf')))


@contextmanager
def locked(history: Path, *ranges: tuple[int, int]) -> Iterator[None]:
    """Another process has these bytes of the file for itself."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        with history.open('r+b') as file:
            for start, length in ranges:
                fcntl.lockf(file, fcntl.LOCK_EX, length, start)
            os.write(ready[1], b'x')
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
    os.read(ready[0], 1)
    try:
        yield
    finally:
        for handle in (*ready, *go):
            os.close(handle)
        os.waitpid(pid, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which goes on only while it is waited."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(foreign_child, 'time', SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


@pytest.mark.parametrize('held', [PENDING, (SHARED[0] + 509, 1), (SHARED[0], 1)])
@pytest.mark.parametrize(('until', 'waits'), [(2000.0, 5.0), (1002.0, 2.0)])
def test_how_long_a_run_that_writes_is_waited_for(history: Path, clock: list[float], held: tuple[int, int],
                                                  until: float, waits: float) -> None:
    with locked(history, held), history.open('rb') as file, pytest.raises(ValueError, match='database is locked'):
        foreign_child._lock(file.fileno(), str(history), until)
    assert waits <= clock[0] - 1000 <= waits + 0.05


@pytest.mark.parametrize('beside', [(PENDING[0] - 1, 1), (SHARED[0] + 510, 1)])
def test_bytes_that_are_no_lock_of_sqlite(history: Path, clock: list[float], beside: tuple[int, int]) -> None:
    with locked(history, beside), history.open('rb') as file:
        foreign_child._lock(file.fileno(), str(history), 2000.0)
    assert clock == [1000.0]


def test_the_journal_of_a_run_that_has_begun_to_write_is_not_looked_at(history: Path, clock: list[float]) -> None:
    history.with_name('history.sqlite-journal').write_bytes(HOT_JOURNAL)
    with locked(history, RESERVED), history.open('rb') as file:
        foreign_child._lock(file.fileno(), str(history), 2000.0)
    for beside in (RESERVED[0] - 2, SHARED[0] + 510):
        with locked(history, (beside, 1)), history.open('rb') as file, pytest.raises(ValueError, match='interrupted'):
            foreign_child._lock(file.fileno(), str(history), 2000.0)


def test_what_stays_locked(history: Path) -> None:
    with history.open('rb') as file:
        foreign_child._lock(file.fileno(), str(history), float('inf'))
        held = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, *PENDING, 0)
        pid = os.fork()
        if not pid:
            kind = struct.unpack('hhqqi4x', fcntl.fcntl(file.fileno(), fcntl.F_GETLK, held))[0]
            os._exit(0 if kind == fcntl.F_UNLCK else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, 'others must be able to write afterwards'
