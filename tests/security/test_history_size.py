"""The history stays within its bounds, whatever anybody on the host does."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import subprocess
from pathlib import Path

import pasts
import pytest

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history import database, profiles, retention
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, Missing

LOOK = HistoryQuery(300, 2700, comparable, 900)


def rows(path: Path, query: str) -> int:
    with sqlite3.connect(path) as opened:
        return int(opened.execute(query).fetchone()[0])


def run(path: Path, minute: int, namespaces: int) -> list[History]:
    samples = [pasts.sample(60.0 * minute, 1000 * k % 9999, drop=minute + k, netns=pasts.INITIAL + k)
               for k in range(namespaces)]
    answer = database.query_and_record_all(str(path), samples, LOOK, 14)
    assert isinstance(answer, list)
    return answer


@pytest.mark.slow
def test_thousands_of_namespaces_in_one_run(tmp_path: Path) -> None:
    path = tmp_path / 'history.sqlite'
    histories = run(path, 1, 5000)
    assert rows(path, 'SELECT count(*) FROM sample') == retention.MOST_SAMPLES
    assert histories[0].note == '2000 of 5000 namespaces are recorded'
    assert run(path, 2, 3)[0].note == ''


@pytest.mark.slow
def test_a_full_file_keeps_the_own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty runs with 500 namespaces of somebody, in a file of 1 MiB, which they fill in a third of them."""
    monkeypatch.setattr(database, 'LARGEST_FILE', 1 << 20)
    path = tmp_path / 'history.sqlite'
    notes = set()
    for minute in range(1, 41):
        histories = run(path, minute, 500)
        assert not histories[0].unwritten
        notes.add(histories[0].note)
        assert path.stat().st_size <= 1 << 20
    assert 'full (1 MiB), the oldest samples of other namespaces make room; 8 of 500 namespaces are recorded' in notes
    assert rows(path, f'SELECT count(*) FROM sample WHERE netns = {pasts.INITIAL}') == 40
    assert rows(path, 'SELECT count(*) FROM pragma_integrity_check') == 1


@pytest.mark.slow
@pytest.mark.parametrize('baselines', [False, True])
def test_one_namespace_alone_fills_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, baselines: bool) -> None:
    """Whoever may run root's check can do so all day, with a profile each time: it goes on recording."""
    monkeypatch.setattr(database, 'LARGEST_FILE', 104 << 10)
    path = tmp_path / 'history.sqlite'
    profile = pasts.profiles()[0][1]
    step = 60 if baselines else 4
    # what was there before: an hour, one sample a minute, and its peak
    for minute in range(60):
        entries = 9000 if minute == 30 else 5000 + minute
        database.query_and_record(str(path), pasts.sample(60.0 * minute, entries), LOOK, 14)
    for k in range(50 if baselines else 440):
        sample = pasts.sample(3600.0 + step * k, 1000 + k % 9)
        history = database.query_and_record(str(path), sample, LOOK, 14)
        assert isinstance(history, History)
        assert not history.unwritten, k
        for _ in range(6 * baselines):
            profiles.record(str(path), sample, profile, True, 1)
        assert path.stat().st_size <= 104 << 10
    assert history.note.startswith('full (0 MiB)') or rows(path, 'SELECT count(*) FROM sample') < 440
    assert rows(path, 'SELECT max(entries) FROM sample') == 9000
    assert rows(path, f'SELECT count(*) FROM sample WHERE uptime = {sample.at.uptime}') == 1
    assert rows(path, 'SELECT count(*) FROM sample WHERE uptime < 4600') == 60


def run_limited(path: Path, size: int, default: bool) -> int:
    """Exit status of a process that may write no file beyond that size. A fork: twelve new Pythons take seconds."""
    pid = os.fork()
    if not pid:
        failed = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if default else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            samples = [pasts.sample(6000.0, 5, netns=k) for k in range(50)]
            answer = database.query_and_record_all(str(path), samples, LOOK, 14)
            failed = 0 if isinstance(answer, (list, Missing)) else 2
        finally:
            os._exit(failed)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize('size', [0, 1, 4096, 5000, 12288, 20000])
@pytest.mark.parametrize('default', [False, True])
def test_a_limit_of_file_size_while_it_is_written(tmp_path: Path, size: int, default: bool) -> None:
    """Also where the caller lets SIGXFSZ end the process: the file stays sound, and what was recorded stays."""
    path = tmp_path / 'history.sqlite'
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for minute in range(1, 6):
        run(path, minute, 20)
    assert run_limited(path, size, default) in (0, -signal.SIGXFSZ)
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    assert rows(path, 'SELECT count(*) FROM sample') in (100, 150)
    with sqlite3.connect(path) as opened:
        assert opened.execute('PRAGMA integrity_check').fetchone() == ('ok',)
    assert not run(path, 7, 20)[0].unwritten


@pytest.mark.kernel
def test_a_full_file_system(tmp_path: Path) -> None:
    """As a disk quota answers: no room."""
    place = tmp_path / 'small'
    place.mkdir(mode=0o700)
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=96k,mode=700', 'tmpfs', str(place)], check=False,
                          capture_output=True)
    if done.returncode:
        pytest.skip('mounting needs root')
    try:
        path = place / 'history.sqlite'
        full = ''
        for minute in range(1, 60):
            full = run(path, minute, 20)[0].unwritten
            if full:
                break
        assert 'full' in full or os.strerror(errno.ENOSPC) in full
        before = rows(path, 'SELECT count(*) FROM sample')
        histories = run(path, 61, 20)
        assert histories[0].unwritten
        assert histories[0].base
        assert rows(path, 'SELECT count(*) FROM sample') == before
    finally:
        subprocess.run(['umount', '-l', str(place)], check=True)
