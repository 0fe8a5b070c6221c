"""main's border: how much time printing has, what ends it, and how long is waited for flows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from assessments import assessment

from check_conntrack_lib import diagnosis
from check_conntrack_lib.deadline import Deadline, OutOfTime
from check_conntrack_lib.model import History, Missing, Table
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.plugin.options import parse

WELL, TROUBLE = ('output\n', 0), ('output\n', 2)


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> list[Deadline]:
    """Those that were made, the newest last."""
    made: list[Deadline] = []

    class Known(Deadline):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(cli, 'Deadline', Known)
    return made


@pytest.mark.parametrize('ending', [OutOfTime, KeyboardInterrupt, cli._Terminated])
def test_whatever_ends_it_while_it_prints_it_is_unknown(monkeypatch: pytest.MonkeyPatch, ending: type[BaseException],
                                                        deadlines: list[Deadline]) -> None:
    def end(_output: str) -> bool:
        raise ending

    monkeypatch.setattr(cli, 'run', lambda *_: WELL)
    monkeypatch.setattr(cli, '_print', end)
    assert cli.main([]) == 3
    assert not deadlines[-1]._running


@pytest.mark.parametrize(('printed', 'answer', 'status'), [(True, WELL, 0), (True, TROUBLE, 2), (False, WELL, 3)])
def test_what_is_not_printed_is_unknown(monkeypatch: pytest.MonkeyPatch, printed: bool, answer: tuple[str, int],
                                        status: int) -> None:
    monkeypatch.setattr(cli, 'run', lambda *_: answer)
    monkeypatch.setattr(cli, '_print', lambda output: printed and output == 'output\n')
    assert cli.main([]) == status


@pytest.mark.parametrize(('used', 'left'), [(0, 20.0), (19.8, 0.5), (20.1, 0.4)])
def test_how_long_it_may_print(monkeypatch: pytest.MonkeyPatch, deadlines: list[Deadline], used: float,
                               left: float) -> None:
    seen: list[float] = []

    def run(*_: object) -> tuple[str, int]:
        deadlines[-1]._began -= used
        return WELL

    monkeypatch.setattr(cli, 'run', run)
    monkeypatch.setattr(cli, '_print', lambda _output: [seen.append(deadlines[-1].left())] != [])
    monkeypatch.setattr(cli, 'LONGEST_PRINT', 0.5)
    assert cli.main(['-t', '20']) == 0
    assert left - 0.2 < seen[0] <= left


@pytest.mark.parametrize(('left', 'patience'), [(10.0, 1.0), (4.4, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize(('argv', 'fine', 'asked'), [
    ((), False, 'diagnose'), (('--diagnose', 'always'), True, 'diagnose'),
    (('--diagnose', 'always'), False, 'diagnose'),
    ((), True, 'keep_baseline'), (('--diagnose', 'never'), True, 'keep_baseline'), (('--diagnose', 'never'), False, ''),
    (('--baseline-every', 'off'), True, ''), (('--diagnose', 'never', '--baseline-every', 'off'), False, ''),
    (('--baseline-every', 'off'), False, 'diagnose')])
def test_what_the_flows_are_asked(monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], fine: bool, asked: str,
                                  left: float, patience: float) -> None:
    calls: list[tuple[str, float]] = []
    monkeypatch.setattr(diagnosis, 'diagnose', lambda *given: calls.append(('diagnose', given[4])))
    monkeypatch.setattr(diagnosis, 'keep_baseline', lambda *given: calls.append(('keep_baseline', given[3])))
    host = SimpleNamespace(may_administer_network=lambda: True)
    deadline: Any = SimpleNamespace(left=lambda: left, budget=None)

    def explain(**known: Any) -> None:
        resource: Any = SimpleNamespace(assessment=assessment(**known), host=host, netns_file=lambda: '')
        cli.explain(resource, parse(list(argv)), deadline, fine)

    explain(history=History(first_run=False))
    assert calls == ([(asked, patience)] if asked else [])
    calls.clear()
    explain(table=Missing('x'))
    assert calls == [], 'no table, no flows'
    host.may_administer_network = lambda: False
    explain(table=Table(900, 1000, 1000), history=History(first_run=False))
    assert [name for name, _ in calls] == (['diagnose'] if asked == 'diagnose' else [])
