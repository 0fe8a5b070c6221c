"""matplotlib's settings are read from the present directory and the home directory, which may be somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pasts
import pytest
from hostile import NOBODY

from check_conntrack_lib.doctor.history.matplotlib_settings import own_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_picture_where_somebody_else_has_left_settings(tmp_path: Path, theirs: Path) -> None:
    """A FIFO holds whoever opens it; usetex would run programs."""
    pytest.importorskip('matplotlib')
    history = pasts.write(tmp_path / 'history.sqlite', pasts.incident())
    os.mkfifo(theirs / 'matplotlibrc')
    settings = theirs / 'settings'
    settings.write_text('text.usetex: True\n')
    before = sorted(os.listdir(theirs))
    done = subprocess.run(
        [sys.executable, '-m', 'check_conntrack_lib', 'history', '--history', history, '--kernel-log', 'off', '--svg',
         tmp_path / 'picture.svg'], cwd=theirs, capture_output=True, text=True, timeout=120, check=False,
        env={'PATH': os.environ['PATH'], 'PYTHONPATH': str(ROOT), 'HOME': str(theirs), 'MPLBACKEND': 'module://evil',
             'XDG_CACHE_HOME': str(theirs), 'MATPLOTLIBRC': str(settings)})
    assert (done.returncode, done.stderr) == (0, '')
    assert (tmp_path / 'picture.svg').read_text().rstrip().endswith('</svg>')
    assert sorted(os.listdir(theirs)) == before


@pytest.mark.parametrize('own', [True, False])
def test_the_home_directory(own: bool, tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    home, before = str(tmp_path if own else theirs), os.getcwd()
    monkeypatch.setenv('HOME', home)
    monkeypatch.setattr('pwd.getpwuid', lambda _uid: type('', (), {'pw_dir': str(theirs)}))
    for name in ('MPLCONFIGDIR', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    with own_settings():
        assert os.getcwd() == '/'
        place = os.environ.get('MPLCONFIGDIR', '')
        assert os.environ.get('HOME') == (home if own else None)
        assert not place if own else os.stat(place).st_mode & 0o777 == 0o700
    assert not place or not os.path.exists(place)
    assert (os.getcwd(), os.environ['HOME']) == (before, home)
    assert os.stat(theirs).st_uid == NOBODY


def test_a_present_directory_that_is_gone(tmp_path: Path) -> None:
    before = os.open('.', os.O_PATH)
    (tmp_path / 'gone').mkdir()
    os.chdir(tmp_path / 'gone')
    os.rmdir(tmp_path / 'gone')
    try:
        with own_settings():
            assert os.getcwd() == '/'
    finally:
        os.fchdir(before)
        os.close(before)
