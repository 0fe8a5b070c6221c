"""How each file that others can exchange is opened: links are not followed, and nothing that is no file is waited for.

That no program inherits them is Python's own rule (PEP 446).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from recorder_samples import LOOK, sample

from check_conntrack_lib.history import database, disk_fault, foreign_child, location, readonly
from check_conntrack_lib.readers import followed_log, kernel_log, proc_conntrack, root_files

READ = os.O_NOFOLLOW | os.O_NONBLOCK


def fill(path: Path) -> None:
    database.query_and_record(str(path), sample(100), LOOK, 14)


@pytest.mark.parametrize(('name', 'does', 'flags', 'mode'), [
    ('h', lambda path: readonly.read_samples(str(path), 0, 2e9), READ, 0o777),
    ('h', lambda path: list(foreign_child._rows(str(path), os.geteuid(), 1e12)), READ, 0o777),
    ('h-journal', lambda path: list(foreign_child._rows(str(path), os.geteuid(), 1e12)), READ, 0o777),
    ('h', fill, READ | os.O_CREAT, 0o600),
    # not the number itself: every process of pytest-xdist must find the same tests
    ('h-PID', lambda path: disk_fault.reason(str(path), Exception('disk I/O error')),
     os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600),
    ('', lambda path: location.locked(str(path), 1, 1).__enter__(), os.O_DIRECTORY, 0o777),
    # what it is shows before it is opened (test_kernel_log_places.py)
    ('h', lambda path: followed_log._open_at_end(str(path)), os.O_PATH, 0o777),
    ('h', lambda path: kernel_log.read_records(str(path), 0.0), os.O_PATH, 0o777),
    ('h', lambda path: list(proc_conntrack._lines(str(path), 0.0)), os.O_NONBLOCK, 0o777),
    ('h', lambda path: root_files.read_text(str(path.parent), 'h'), os.O_NONBLOCK | os.O_NOCTTY, 0o777)])
def test_how_it_is_opened(in_memory: Path, monkeypatch: pytest.MonkeyPatch, name: str, does: Callable[[Path], object],
                          flags: int, mode: int) -> None:
    path = in_memory / 'h'
    name = name.replace('PID', str(os.getpid()))
    fill(path)
    seen: list[tuple[int, int]] = []
    real = os.open

    def opened(file: str, how: int, mode: int = 0o777, **more: int) -> int:
        if file == str(in_memory / name):
            seen.append((how, mode))
        return real(file, how, mode, **more)

    monkeypatch.setattr(os, 'open', opened)
    does(path)
    assert set(seen) == {(flags, mode)}


def test_directories_are_looked_at_without_being_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    real = os.open
    monkeypatch.setattr(os, 'open', lambda name, how, **more: [seen.append((name, how)), real(name, how, **more)][1])
    location.check_file(f'{tmp_path}/h')
    look = os.O_PATH | os.O_NOFOLLOW
    assert seen == [('/', look | os.O_DIRECTORY), *((part, look) for part in str(tmp_path).split('/')[1:])]
