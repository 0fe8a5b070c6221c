"""Whole outputs over captured hosts: the text, the performance data and the exit status, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenarios

from check_conntrack_lib.plugin.cli import main

GOLDEN = Path(__file__).parents[1] / 'golden'


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
    golden = GOLDEN / f'{name}.txt'
    if request.config.getoption('--update-golden'):
        golden.write_text(seen)
    assert seen == golden.read_text()


def test_no_golden_without_a_host() -> None:
    assert sorted(path.stem for path in GOLDEN.glob('*.txt')) == scenarios.names()


@pytest.mark.parametrize('name', scenarios.names())
def test_no_pipe_below_the_first_line(name: str) -> None:
    """Icinga and Nagios take what follows a pipe for performance data, on every line."""
    first, *rest = (GOLDEN / f'{name}.txt').read_text().splitlines()[1:]
    assert first.count('|') <= 1
    assert not [line for line in rest if '|' in line]
