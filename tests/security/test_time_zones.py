"""$TZ may name a file of anybody's: its zone's name is printed, its offset may be none."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import hostile
import pasts
import proctree
import pytest

from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.history import html_page
from check_conntrack_lib.formatting import clock_time, local_time

NAMES = (b'A\x1b[31m|x=1\nB', b'$\\frac{1}{0}$', b'<b>', b'x' * 500, b'\xe2\x80\xae')


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def file_of(tmp_path: Path, name: bytes) -> Path:
    """A file of one zone, an hour east (RFC 8536)."""
    body = struct.pack('>4sc15x6I', b'TZif', b'2', 0, 0, 0, 0, 1, len(name) + 1) + struct.pack('>iBB', 3600, 0, 0) \
        + name + b'\0'
    path = tmp_path / 'zone'
    path.write_bytes(body + body + b'\n\n')
    return path


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_the_name_of_a_zone(name: bytes, tmp_path: Path, zone: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture[str]) -> None:
    zone.setenv('TZ', f':{file_of(tmp_path, name)}')
    time.tzset()
    assert local_time('%H', 0) == '01'
    for text in (local_time('%Z', 0), clock_time(0, 0).split(' ', 1)[1]):
        assert re.fullmatch(r'[A-Za-z0-9+?.\[/-]{1,20}', text), text
    place = str(proctree.make(tmp_path / 'proc'))
    path = str(pasts.write(tmp_path / 'history.sqlite', pasts.incident()))
    for words in (['triage', '--kernel-log', 'off', '--history', path], ['tune', '--drop-in', '--history', path],
                  ['watch', '--count', '1', '--kernel-log', 'off'], ['tune', '--history', path],
                  ['history', '--history', path]):
        assert cli.main([*words, '--procfs', place]) == 0
        assert not set(capsys.readouterr().out) & set('\x1b\u202e$<')


@pytest.mark.parametrize('offset', ['AAA-25:99:99BBB', '<+++>99999999999', 'AAA24', ''])
def test_an_offset_that_is_none(offset: str, tmp_path: Path, zone: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    zone.setenv('TZ', offset)
    time.tzset()
    path = str(pasts.write(tmp_path / 'history.sqlite', pasts.incident()))
    for form in ('--csv', '--json'):
        assert cli.main(['history', '--history', path, form]) == 0
        assert len(capsys.readouterr().out.splitlines()) >= len(pasts.incident())
    assert '2026-11-20 02:10' in html_page._dated('at 2026-11-20 02:10')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['at 9999-99-99 99:99', '0001-01-01 00:00', '9999-12-31 23:59:59'])
def test_a_name_that_looks_like_a_time(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('matplotlib')
    path = hostile.write(tmp_path / 'history.sqlite', statements=(
        f"INSERT INTO netns VALUES (1, {hostile.SAMPLE['netns']}, 0, NULL, '{name}', 0)",))
    path.chmod(0o600)
    assert cli.main(['history', '--history', str(path), '--html', str(tmp_path / 'page.html')]) == 0
    assert name in (tmp_path / 'page.html').read_text()
    assert name in html_page._dated(f'shown: {name}')
    assert not capsys.readouterr().err


def test_the_last_border_of_the_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was not thought of is one line and status 2."""
    def fail(_arguments: object) -> int:
        raise KeyError('\x1b[2J\nnot thought of')

    monkeypatch.setattr('check_conntrack_lib.doctor.export.run', fail)
    assert cli.main(['export']) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith('conntrack-doctor: internal error: KeyError: ')
    assert line.endswith(' (please report it)')
    assert '\x1b' not in line
