"""What becomes of a damaged file, and why one cannot be written, step by step."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from check_conntrack_lib.deadline import OutOfTime
from check_conntrack_lib.history import disk_fault
from check_conntrack_lib.history.disk_fault import put_aside, reason
from check_conntrack_lib.model import Instant

AT = Instant(1000.6, 5.0, 5.0)


@pytest.fixture
def path(in_memory: Path) -> Path:
    (in_memory / 'h').write_bytes(b'damaged')
    return in_memory / 'h'


def aside(path: Path, inode: int | None = None) -> str:
    return put_aside(str(path), 'why', path.stat().st_ino if inode is None else inode, False, AT, 0.1)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_it_is_renamed_with_its_journal(path: Path) -> None:
    assert aside(path) == f'the history was damaged (why) and put aside as {path}.broken-1001'
    assert names(path) == ['h.broken-1001']
    for name in ('h', 'h-journal'):
        (path.parent / name).write_bytes(name.encode())
    assert aside(path).endswith('.broken-1001+')
    assert names(path) == ['h.broken-1001', 'h.broken-1001+', 'h.broken-1001+-journal']
    assert (path.parent / 'h.broken-1001+-journal').read_bytes() == b'h-journal'
    path.touch()
    assert aside(path).endswith('.broken-1001++')


def test_another_run_was_faster(path: Path) -> None:
    assert aside(path, path.stat().st_ino + 1) == ''
    assert names(path) == ['h']
    inode = path.stat().st_ino
    path.unlink()
    assert aside(path, inode) == ''
    assert names(path) == []


def test_not_while_others_use_it(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    with pytest.raises(TimeoutError, match='in use by another run'):
        aside(path)
    os.close(handle)
    assert names(path) == ['h']


@pytest.mark.parametrize('text', ['unable to open database file', 'disk I/O error', 'database or disk is full'])
def test_why_nothing_can_be_written(path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    written: list[tuple[int, list[str]]] = []
    write = os.write

    def kept(handle: int, what: bytes) -> int:
        written.append((len(what), names(path)))
        return write(handle, what)

    monkeypatch.setattr(disk_fault.os, 'write', kept)
    before = os.listdir('/proc/self/fd')
    assert reason(str(path), Exception(text)) == text
    # nothing is left of it even where the run is ended now
    assert written == [(1 << 17, ['h'])]
    assert reason(str(path), Exception('malformed')) == 'malformed'
    assert len(written) == 1
    (path.parent / f'h-{os.getpid()}').touch()
    assert reason(str(path), Exception(text)) == f'{text} (File exists)'
    (path.parent / f'h-{os.getpid()}').unlink()
    assert os.listdir('/proc/self/fd') == before


@pytest.mark.parametrize('call', ['write', 'fsync'])
def test_the_kernel_s_own_reason(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, 'Disk quota exceeded')

    monkeypatch.setattr(disk_fault.os, call, full)
    before = os.listdir('/proc/self/fd')
    assert reason(str(path), Exception('disk I/O error')) == 'disk I/O error (Disk quota exceeded)'
    assert (names(path), os.listdir('/proc/self/fd')) == (['h'], before)

    def late(*_: object) -> None:
        raise OutOfTime('no answer')

    monkeypatch.setattr(disk_fault.os, call, late)
    with pytest.raises(OutOfTime):
        reason(str(path), Exception('disk I/O error'))
