"""Another user's history as target of fuzz.py: the file through the child, and what the child hands over."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import sqlite3
import time
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz_history import a_file, change, place, sound_file
from benchmarks.fuzz_parsers import COUNTERS, Target
from benchmarks.mutation import BYTES, WORDS, mutated
from benchmarks.output import harmless
from check_conntrack_lib.formatting import clean
from check_conntrack_lib.history import codec, foreign, foreign_child, readonly, schema_check
from check_conntrack_lib.model import Missing

#: what readonly and foreign take for a row that no check wrote
REFUSED = (ValueError, TypeError, OverflowError, RecursionError, KeyError, AttributeError)
#: who owns the file
NOBODY = 65534
#: files that one child of `foreign-files` reads, what it writes between two of them, and seconds that it may take
FILES, BETWEEN, PATIENCE = 100, b'\n\0\n', 60.0
#: bytes of a pipe that holds all of a file's rows, and how it is made so large (linux/fcntl.h; in Python since 3.10)
PIPE, SET_PIPE_SIZE = 1 << 20, 1031


def foreign_file(made: tuple[bytes, list[tuple[str, str, Any]]]) -> None:
    """The same file as another user's: through the child, which gives a sound copy or a reason, and leaves nothing."""
    content, changes = made
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    path = place() / 'history.sqlite'
    try:
        path.write_bytes(content)
        if changes:
            change(path, changes)
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


def files(random: Random) -> list[tuple[bytes, list[tuple[str, str, Any]]]]:
    """What one child reads one after the other."""
    return [a_file(random) for _ in range(FILES)]


class _Done(BaseException):
    """The child would end here, had it been made for one file."""


def foreign_files(made: list[tuple[bytes, list[tuple[str, str, Any]]]]) -> None:
    """As foreign_file, but one child, confined once, reads all of them: a process for each file costs more than it."""
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    paths = [place() / f'history-{number}.sqlite' for number in range(len(made))]
    try:
        for path, (content, changes) in zip(paths, made):
            path.write_bytes(content)
            if changes:
                change(path, changes)
            os.chown(path, owner, owner if owner == NOBODY else -1)
        place().chmod(0o755)
        written = _read_by_a_child(paths, owner)
        for number, text in enumerate(written):
            try:
                _take_over(text)
            except AssertionError as error:
                raise AssertionError(f'{error} of {made[number]!a:.1500}') from error
        assert {left.name for left in place().glob('history*')} == {path.name for path in paths}
    finally:
        for left in place().glob('history-*'):
            left.unlink()


def _read_by_a_child(paths: list[Path], owner: int) -> list[bytes]:
    """What the child of `foreign` writes of each. Raises AssertionError when it does not end by itself."""
    reader, writer = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if pid == 0:
        _as_the_child(paths, owner, writer, libc)
    os.close(writer)
    with open(reader, 'rb') as file:
        written = file.read().split(BETWEEN)
    status = os.waitpid(pid, 0)[1]
    assert (status, len(written), written[-1]) == (0, len(paths) + 1, b''), f'ended with {status} after {len(written)}'
    return written[:-1]


def _as_the_child(paths: list[Path], owner: int, writer: int, libc: ctypes.CDLL) -> None:
    """foreign_child.run for each of them, in one process that has given up its rights before the first."""
    leave = os._exit

    def done(_status: int) -> None:
        raise _Done

    try:
        confined = foreign_child._confine(owner, writer, libc)
        foreign_child._confine = lambda *_: confined
        os._exit = done  # type: ignore[assignment]
        for path in paths:
            with contextlib.suppress(_Done):
                foreign_child.run(str(path), owner, confined, time.monotonic() + PATIENCE, libc)
            foreign_child._write(confined, BETWEEN)
        leave(0)
    finally:
        leave(1)


def _take_over(text: bytes) -> None:
    """The side of the parent: a sound copy, or a reason that can be printed."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, SET_PIPE_SIZE, PIPE)
        assert len(text) < PIPE
        assert os.write(writer, text) == len(text)
        os.close(writer)
        with contextlib.closing(foreign._copy(foreign._lines(reader, time.monotonic() + PATIENCE))) as database:
            assert database.execute('PRAGMA integrity_check').fetchone() == ('ok',)
    except (*REFUSED, OSError, sqlite3.Error) as error:
        harmless(clean(str(error)))
    finally:
        os.close(reader)


@lru_cache(None)
def _sound_rows() -> list[bytes]:
    """What the child hands over of a sound file, a line a row."""
    path = place() / 'rows.sqlite'
    path.write_bytes(sound_file())
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
    'foreign': Target(a_file, foreign_file, (), slow=True),
    'foreign-files': Target(files, foreign_files, (), slow=True, parts=FILES),
    'foreign-rows': Target(a_pipe, foreign_rows, (*REFUSED, sqlite3.Error), slow=True),
}
