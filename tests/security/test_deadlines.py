"""A run ends in its time, and in one line, whatever its caller and its surroundings are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from check_conntrack_lib.deadline import Deadline, OutOfTime, suppress_unreadable
from check_conntrack_lib.doctor import cli as doctor_cli
from check_conntrack_lib.host import Host
from check_conntrack_lib.plugin import cli

ROOT = Path(__file__).parents[2]
RUN = ['--history', 'off', '--diagnose', 'never', '--settings-check', 'off']


def test_an_alarm_that_the_caller_blocked() -> None:
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        deadline = Deadline(0.2)
        deadline.start()
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            time.sleep(20)
        deadline.stop()
        assert time.monotonic() - began < 10
        assert signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, ()), 'as it was before'
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@pytest.mark.parametrize(('error', 'others', 'goes_through'), [
    (PermissionError(), (), False), (TimeoutError(), (), False), (ValueError(), (), False),
    (KeyError(), (KeyError,), False), (KeyError(), (), True), (OutOfTime(), (), True), (OutOfTime(), (OSError,), True)])
def test_the_alarm_is_not_taken_for_a_file_that_cannot_be_read(error: Exception, others: tuple[type[Exception], ...],
                                                               goes_through: bool) -> None:
    reached = None
    try:
        with suppress_unreadable(*others):
            raise error
    except Exception as caught:
        reached = caught
    assert reached is (error if goes_through else None)


def test_a_hung_journal_with_the_alarm_blocked(tmp_path: Path) -> None:
    journal = tmp_path / 'journalctl'
    journal.write_text('#!/bin/sh\nexec sleep 25\n')
    journal.chmod(0o755)
    code = ('import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM}); '
            'os.execv(sys.argv[1], sys.argv[1:])')
    began = time.monotonic()
    done = subprocess.run([sys.executable, '-c', code, sys.executable, str(ROOT / 'check_conntrack.py'), *RUN,
                           '--kernel-log', 'journal', '--timeout', '4'], capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}, check=False)
    assert time.monotonic() - began < 20
    assert done.stdout.startswith('CONNTRACK ')


@pytest.mark.slow
def test_a_full_pipe_as_standard_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(writer, True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(ROOT / 'check_conntrack.py'), *RUN, '--kernel-log', 'off',
                           '--timeout', '1'], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, b'')
    assert time.monotonic() - began < 30
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(('module', 'what'), [
    ('readers.kernel_log', ' while reading kernel log'), ('history.database', ' while using the history file'),
    ('netns.discover', ' while reading network namespaces'), ('plugin.cli', '')])
def test_it_says_what_it_waited_for(module: str, what: str) -> None:
    reader = types.ModuleType(f'check_conntrack_lib.{module}')
    exec('import time\ndef read():\n    time.sleep(20)\n', reader.__dict__)
    deadline = Deadline(0.1)
    deadline.start()
    try:
        with pytest.raises(OutOfTime) as caught:
            reader.read()
    finally:
        deadline.stop()
    assert cli._ended(caught.value, deadline) == f'CONNTRACK UNKNOWN - timed out after 0.1 s (--timeout){what}\n'


BROKEN = {
    'MemoryError': 'raise MemoryError',
    'SystemError': "raise SystemError('x\\n|y')",
    'OSError': "raise OSError(5, 'Input/output error')",
    'SyntaxError': "exec('(')",
    'RecursionError': 'def f(): f()\nf()',
}


@pytest.mark.parametrize('error', BROKEN)
def test_a_library_that_cannot_be_loaded(tmp_path: Path, error: str) -> None:
    (tmp_path / 'nagiosplugin.py').write_text(BROKEN[error])
    done = subprocess.run([sys.executable, '-c', f'import sys; sys.path.insert(0, {str(tmp_path)!r}); '
                           f'sys.path.append({str(ROOT)!r}); import check_conntrack; '
                           f'sys.path.insert(0, {str(tmp_path)!r}); check_conntrack.main()'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, '')
    assert done.stdout.startswith(f'CONNTRACK UNKNOWN - cannot be loaded: {error}')
    assert done.stdout.count('\n') == 1
    assert '|' not in done.stdout


@pytest.mark.parametrize('kilobytes', [6000, 7000, 8192, 9000, 10000])
def test_too_little_memory_for_the_libraries(kilobytes: int) -> None:
    done = subprocess.run(['sh', '-c', f'ulimit -d {kilobytes}; exec "$@"', 'sh', sys.executable, '-S', '-c', ''],
                          capture_output=True, check=False)
    if done.returncode:
        pytest.skip('not even Python starts')
    done = subprocess.run(['sh', '-c', f'ulimit -d {kilobytes}; exec "$@"', 'sh', sys.executable,
                           str(ROOT / 'check_conntrack.py'), *RUN, '--kernel-log', 'off'],
                          capture_output=True, timeout=60, check=False)
    if b'Fatal Python error' in done.stderr:
        pytest.skip('not even Python starts')
    assert done.returncode in (0, 2, 3) or done.stdout.startswith(b'CONNTRACK WARNING'), done.stderr
    assert done.stdout.startswith(b'CONNTRACK ')


@pytest.mark.parametrize('error', ['MemoryError', 'SystemError'])
@pytest.mark.parametrize('where', ['load', 'leave', 'program'])
def test_no_memory_for_a_text(where: str, error: str) -> None:
    code = (f'import sys; sys.path.insert(0, {str(ROOT)!r}); import check_conntrack as c\n'
            f'def no_memory(*arguments):\n    raise {error}\n'
            + {'load': 'c.load = no_memory', 'program': 'c.load = lambda: no_memory',
               'leave': 'sys.modules["check_conntrack_lib.plugin.cli"] = None; c.leave = no_memory'}[where]
            + '\nc.main()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, 'CONNTRACK UNKNOWN - out of memory\n', '')


@pytest.mark.parametrize('jump', [-86400.0 * 400, -60.0, 3600.0, 86400.0 * 400])
def test_a_clock_that_jumps_during_the_run(tmp_path: Path, jump: float, capfd: pytest.CaptureFixture[str]) -> None:
    """The wall clock: nothing is timed by it."""
    from check_conntrack_lib.host import system_clock

    readings = iter(range(1000))

    def clock():  # type: ignore[no-untyped-def]
        now = system_clock()
        return now._replace(wall=max(0.0, now.wall + (jump if next(readings) % 2 else 0.0)))

    argv = ['--history', str(tmp_path / 'h.sqlite'), '--kernel-log', 'off', '--diagnose', 'never']
    for _ in range(6):
        assert cli.main(argv, clock) in (0, 1, 2)
    text = capfd.readouterr().out
    assert 'internal error' not in text
    assert 'damaged' not in text
    assert doctor_cli.main(['history', '--file', str(tmp_path / 'h.sqlite'), '--kernel-log', 'off']) == 0


def test_the_procfs_of_a_reader_that_never_answers(tmp_path: Path) -> None:
    """A FIFO in the place of each file: opened without waiting, and empty."""
    for name in ('sys/net/netfilter/nf_conntrack_count', 'sys/net/netfilter/nf_conntrack_max',
                 'net/stat/nf_conntrack', 'sys/kernel/random/boot_id'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    began = time.monotonic()
    for name in ('sys/net/netfilter/nf_conntrack_count', 'net/stat/nf_conntrack'):
        assert Host(str(tmp_path)).read(name) == ''
    assert time.monotonic() - began < 10
