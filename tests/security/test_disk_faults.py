"""A disk that refuses: the verdict and what was recorded stay, and the reason is in the line."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pasts
import pytest

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.history import database, identity, readonly
from check_conntrack_lib.history.disk_fault import reason
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, Missing

ROOT = Path(__file__).parents[2]
LOOK = HistoryQuery(300, 2700, comparable, 900)
#: what somebody may write there, in KiB: room for some runs of 40 namespaces. Btrfs needs some for itself.
QUOTA = 224


def run(path: Path, minute: int, namespaces: int = 40) -> str:
    """What the run says of its history; '' when all was recorded."""
    answer = database.query_and_record_all(
        str(path), [pasts.sample(60.0 * minute, 1000 * k % 9999, drop=minute + k, netns=pasts.INITIAL + k)
                    for k in range(namespaces)], LOOK, 14)
    return answer.why if isinstance(answer, Missing) else answer[0].unwritten


def count(path: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(path)) as opened:
        return (opened.execute('PRAGMA integrity_check').fetchone()[0],
                opened.execute('SELECT count(*) FROM sample').fetchone()[0])


def call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)


@pytest.fixture
def quota(tmp_path: Path) -> Iterator[Path]:
    """A directory on Btrfs whose owner has a quota; ext4's and XFS' need options that many kernels lack."""
    if os.geteuid():
        pytest.skip('mounting needs root')
    image, place = tmp_path / 'image', tmp_path / 'disk'
    place.mkdir()
    with open(image, 'wb') as file:
        file.truncate(128 << 20)
    call('mkfs.btrfs', '-q', image)
    if subprocess.run(['mount', '-o', 'loop', image, place], check=False, capture_output=True).returncode:
        pytest.skip('this kernel mounts no Btrfs by a loop device')
    try:
        call('btrfs', 'quota', 'enable', place)
        call('btrfs', 'subvolume', 'create', place / 'history')
        (place / 'history').chmod(0o700)
        yield place / 'history'
    finally:
        call('umount', place)


@pytest.mark.kernel
def test_a_disk_quota(quota: Path) -> None:
    path = quota / 'history.sqlite'
    call('btrfs', 'qgroup', 'limit', f'{QUOTA}K', quota)
    recorded = 0
    said = ''
    for minute in range(1, 40):
        said = run(path, minute)
        if said:
            break
        recorded += 40
    assert recorded
    assert 'Disk quota exceeded' in said
    for minute in range(41, 46):
        assert 'Disk quota exceeded' in run(path, minute)
    # the check itself: state, one first line, the reason, nothing on standard error
    done = subprocess.run([sys.executable, '-I', ROOT / 'check_conntrack.py', '--history', path, '--kernel-log', 'off',
                           '--procfs', ROOT / 'tests/hosts/quiet-gateway/proc'], capture_output=True, text=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('CONNTRACK OK - ')
    assert 'Disk quota exceeded' in done.stdout
    assert done.stdout.count('CONNTRACK') == 1
    call('btrfs', 'qgroup', 'limit', 'none', quota)
    assert count(path) == ('ok', recorded)
    assert run(path, 50) == ''
    assert count(path) == ('ok', recorded + 40)
    assert sorted(os.listdir(quota)) == ['history.sqlite']


def test_a_page_that_could_not_be_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite then calls the file malformed; it is sound, and stays where it is."""
    path = tmp_path / 'history.sqlite'
    run(path, 1)
    real, failures = identity.known, [sqlite3.DatabaseError('database disk image is malformed')]

    def known(*arguments):
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(identity, 'known', known)
    answer = database.query_and_record(str(path), pasts.sample(120.0, 5), LOOK, 14)
    assert isinstance(answer, History)
    assert (answer.note, answer.unwritten) == ('', '')
    assert answer.base
    assert os.listdir(tmp_path) == ['history.sqlite']
    assert count(path) == ('ok', 41)


def test_a_journal_that_has_to_be_played_back_first(tmp_path: Path) -> None:
    """A run that was ended while it recorded: the doctor, which writes nothing, says what to do."""
    path = tmp_path / 'history.sqlite'
    run(path, 1)
    code = ('import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None); '
            'd.execute("PRAGMA cache_size = 1"); d.execute("BEGIN"); '
            'd.execute("UPDATE sample SET counters = hex(zeroblob(9000))"); os._exit(0)')
    subprocess.run([sys.executable, '-c', code, path], check=True)
    assert (tmp_path / 'history.sqlite-journal').stat().st_size > 0
    answer = readonly.read_samples(str(path), 0, 2e9)
    assert isinstance(answer, Missing)
    assert answer.why == f'{path}: a run was ended while it recorded'
    assert run(path, 2) == ''
    assert count(path) == ('ok', 80)
    samples = readonly.read_samples(str(path), 0, 2e9)
    assert isinstance(samples, list)
    assert len(samples) == 80


def test_what_sqlite_says_itself_stays(tmp_path: Path) -> None:
    path = str(tmp_path / 'history.sqlite')
    assert reason(path, sqlite3.OperationalError('database is locked')) == 'database is locked'
    assert reason(path, sqlite3.OperationalError('disk I/O error')) == 'disk I/O error'
    assert reason(str(tmp_path / 'none/h'), sqlite3.OperationalError('disk I/O error')) == \
        'disk I/O error (No such file or directory)'
    assert os.listdir(tmp_path) == []
