"""Waits in the kernel that no alarm gets through: a file system or a memory map that another user keeps locked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import NOBODY, children

from check_conntrack_lib import deadline as deadline_module
from check_conntrack_lib.deadline import Deadline, start_thread
from check_conntrack_lib.host import Host
from check_conntrack_lib.netns import command_line

ROOT = Path(__file__).parents[2]
FUSE = str(ROOT / 'tests/fuse_mounts.py')
RUN = [sys.executable, str(ROOT / 'check_conntrack.py'), '--kernel-log', 'off', '--diagnose', 'never']
#: what a namespace of mounts and a fork may cost on a busy machine
LONG = 60


@pytest.fixture
def place(theirs: Path) -> Path:
    """An empty directory to mount on."""
    made = theirs / 'mounted'
    made.mkdir(mode=0o755)
    os.chown(made, NOBODY, NOBODY)
    return made


def skip_without_fuse(text: str) -> None:
    if text.startswith('no '):
        pytest.skip(text.strip())


@pytest.mark.kernel
def test_a_file_system_that_never_answers(place: Path) -> None:
    """In the place of the history; where /proc is one, it is the same."""
    os.chown(place.parent, 0, 0)
    os.chown(place, 0, 0)
    began = time.monotonic()
    done = subprocess.run([sys.executable, FUSE, 'silent', '0', str(place), *RUN, '--timeout', '1', '--history',
                           f'{place}/history.sqlite'], capture_output=True, text=True, timeout=LONG, check=False)
    skip_without_fuse(done.stderr)
    assert time.monotonic() - began < LONG
    assert (done.returncode, done.stderr) == (3, '')
    assert done.stdout == 'CONNTRACK UNKNOWN - timed out after 1 s (--timeout) while using the history file\n'


@pytest.fixture
def locked(place: Path) -> Iterator[int]:
    """The pid of a process of nobody whose command line cannot be read."""
    process = subprocess.Popen(['/usr/bin/python3', FUSE, 'locked', str(NOBODY), str(place)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    try:
        if process.stdout.readline() != 'locked\n':
            skip_without_fuse(process.stderr.read())
            pytest.fail('the memory was not locked')
        yield process.pid
    finally:
        # first the server: its end ends the wait
        for pid in (*sorted(children(process.pid)), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=LONG)


@pytest.mark.kernel
def test_a_command_line_that_is_never_given(locked: int) -> None:
    """By its name any user could have held the check for ever, as `ps` is held."""
    done = subprocess.run([*RUN, '--netns', 'nosuch', '--history', 'off'], capture_output=True, text=True,
                          timeout=LONG, check=False)
    assert done.stdout.startswith('CONNTRACK UNKNOWN - network namespace nosuch not found'), done.stdout


def test_the_one_who_waits_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hung(self: Host, name: str) -> str:
        time.sleep(2)
        return 'late'

    (tmp_path / '5').mkdir()
    (tmp_path / '5/cmdline').write_text('conmon\0-n\0web\0')
    host = Host(str(tmp_path))
    monkeypatch.setattr(command_line, '_waiting', set())
    assert command_line.read_of_another_user(host, 5) == 'conmon\0-n\0web\0'
    assert command_line.read_of_another_user(host, 6) == ''
    monkeypatch.setattr(command_line, 'LONGEST', 0.01)
    monkeypatch.setattr(Host, 'read', hung)
    for pid in (1, 2):
        assert command_line.read_of_another_user(host, pid) == ''
    assert command_line._waiting == {1, 2}
    monkeypatch.setattr(command_line, 'start_thread', lambda work: pytest.fail('no third one'))
    assert command_line.read_of_another_user(host, 3) == ''


@pytest.mark.slow
def test_the_second_thread_acts_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm is off here, as a wait in the kernel has it."""
    monkeypatch.setattr(deadline_module, 'GRACE', 0.05)
    called: list[Deadline] = []
    deadline = Deadline(100, called.append)
    deadline.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(0.2)
        assert not called, 'before the end'
        deadline.limit = 0.1
        end = time.monotonic() + 20
        while not called and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        deadline.stop()
    assert called[0] is deadline
    # of a run that is over it does nothing more
    time.sleep(0.3)
    called.clear()
    time.sleep(0.3)
    assert not called


def test_without_a_second_thread_the_alarm_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import _thread

    def no_memory(*_arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(_thread, 'start_new_thread', no_memory)
    assert not start_thread(lambda: None)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == held
    deadline = Deadline(0.05, lambda _deadline: pytest.fail('never'))

    def wait() -> None:
        try:
            deadline.start()
            time.sleep(20)
        finally:
            deadline.stop()

    with pytest.raises(deadline_module.OutOfTime):
        wait()
