"""Streams that the caller has closed or that take nothing: one line where it is read, and the right exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pasts
import proctree
import pytest

ROOT = Path(__file__).parents[2]
PLUGIN, DOCTOR = (str(ROOT / 'check_conntrack.py'),), ('-m', 'check_conntrack_lib')
FULL = 'No space left on device'
VERBS = {'export': ('export', '--kernel-log', 'off'), 'history': ('history', '--csv'), 'help': ('--help',),
         'watch': ('watch', '--count', '1', '--kernel-log', 'off')}


def run(shell: str, command: tuple[str, ...], tmp_path: Path, unbuffered: bool = False) -> tuple[int, str]:
    """Exit status, and what stands on standard error where the shell left that open."""
    place = proctree.make(tmp_path / 'proc')
    history = tmp_path / 'h' / 'history.sqlite'
    if not history.exists():
        history.parent.mkdir(mode=0o700)
        pasts.write(history, pasts.incident())
    places = [f'--procfs={place}', *([f'--history={history}'] if 'history' in command else [])]
    if {'--help', '--version', 'nosuch'} & set(command):
        places = []
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1' if unbuffered else ''}
    done = subprocess.run(['sh', '-c', f'exec "$@" {shell}', 'sh', sys.executable, *command, *places], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('unbuffered', [False, True])
def test_standard_output_of_the_doctor_is_full(verb: str, unbuffered: bool, tmp_path: Path) -> None:
    assert run('>/dev/full', (*DOCTOR, *VERBS[verb]), tmp_path, unbuffered) == (2, f'conntrack-doctor: {FULL}\n')


@pytest.mark.parametrize('verb', VERBS)
def test_standard_output_of_the_doctor_is_closed(verb: str, tmp_path: Path) -> None:
    assert run('>&-', (*DOCTOR, *VERBS[verb]), tmp_path) == (2, 'conntrack-doctor: Bad file descriptor\n')


def test_no_stream_of_the_doctor_is_open(tmp_path: Path) -> None:
    """A file that is opened first must not get what is printed."""
    before = (tmp_path / 'h' / 'history.sqlite')
    for verb in ('history', 'export'):
        assert run('<&- >&- 2>&-', (*DOCTOR, *VERBS[verb]), tmp_path) == (2, '')
    assert before.read_bytes().startswith(b'SQLite')


@pytest.mark.parametrize('shell', ['2>/dev/full', '2>&-', '>/dev/full 2>/dev/full'])
def test_an_error_that_cannot_be_said(shell: str, tmp_path: Path) -> None:
    assert run(shell, (*DOCTOR, 'nosuch'), tmp_path)[0] == 2
    assert run(shell, DOCTOR, tmp_path)[0] == 2


@pytest.mark.parametrize('unbuffered', [False, True])
def test_the_version_of_the_check_cannot_be_printed(unbuffered: bool, tmp_path: Path) -> None:
    assert run('>/dev/full', (*PLUGIN, '--version'), tmp_path, unbuffered) == (3, '')


def test_letters_that_the_terminal_has_not(tmp_path: Path) -> None:
    """A path in another alphabet costs its letters, not the report."""
    place = tmp_path / '\u0416\u00e4'
    place.mkdir(mode=0o700)
    path = pasts.write(place / 'history.sqlite', pasts.incident())
    done = subprocess.run([sys.executable, *DOCTOR, 'history', '--history', path], cwd=ROOT, capture_output=True,
                          timeout=60, check=False, env={**os.environ, 'PYTHONIOENCODING': 'ascii'})
    assert (done.returncode, done.stderr) == (0, b'')
    assert b'/??/history.sqlite' in done.stdout
