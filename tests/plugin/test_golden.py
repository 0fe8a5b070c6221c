"""Whole outputs over captured hosts: the text, the performance data and the exit status, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import goldens
import pytest
import scenarios
from goldens import GOLDEN

from check_conntrack_lib.plugin.cli import main


@pytest.mark.parametrize('name', scenarios.names())
def test_golden(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
                request: pytest.FixtureRequest) -> None:
    scenario = scenarios.load(name)
    history = tmp_path / 'history.sqlite'
    scenarios.record(scenario, history)
    monkeypatch.chdir(scenario.directory)
    status = main(['--procfs', 'proc', '--kernel-log', './kmsg.log', '--history', str(history), *scenario.argv],
                  scenario.clock)
    out, err = capfd.readouterr()
    assert err == ''
    seen = f'# {scenario.says}\n{out}# exit status {status}\n'
    goldens.compare(request, f'{name}.txt', seen)


def test_no_golden_without_a_host() -> None:
    stale = {path.stem for path in GOLDEN.glob('*.txt')} - set(scenarios.names())
    assert not stale, f'git rm tests/golden/{{{",".join(sorted(stale))}}}.txt: there is no such host in tests/hosts'


def test_no_golden_of_the_doctor_without_a_test() -> None:
    written = [re.sub(r'\\{\w+\\}', '.+', re.escape(name)) for path in GOLDEN.parent.rglob('test_*.py')
               for name in re.findall(r"check_golden\(\s*request, f?'([^']+)'", path.read_text())]
    stale = [path.name for path in (GOLDEN / 'doctor').iterdir()
             if not any(re.fullmatch(name, path.name) for name in written)]
    assert not stale, f'git rm tests/golden/doctor/{{{",".join(stale)}}}: no test compares with it'


@pytest.mark.parametrize('name', scenarios.names())
def test_no_pipe_below_the_first_line(name: str) -> None:
    """Icinga and Nagios take what follows a pipe for performance data, on every line."""
    first, *rest = (GOLDEN / f'{name}.txt').read_text().splitlines()[1:]
    assert first.count('|') <= 1
    assert not [line for line in rest if '|' in line]


@pytest.mark.parametrize('name', scenarios.names())
def test_an_alert_fits_on_a_pager_and_says_what_to_do(name: str) -> None:
    """Only the name of a namespace may make the first line longer."""
    lines = (GOLDEN / f'{name}.txt').read_text().splitlines()[1:]
    first = lines[0].partition(' | ')[0]
    assert len(re.sub(r'(?<= - )(container|pod|network namespace) [^:]*: ', '', first)) <= 120, first
    if not first.startswith('CONNTRACK OK'):
        assert [line.partition(':')[0] for line in lines if line.startswith(('next: ', 'alert: '))] == ['next', 'alert']
