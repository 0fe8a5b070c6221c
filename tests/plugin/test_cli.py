"""main's border: how much time printing has, what ends it, and how long is waited for flows."""

from __future__ import annotations

import os
import select
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
#: every test has it replaced
LAST_RESORT = cli._last_resort


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


def test_before_the_options_are_known_the_time_is_the_default(monkeypatch: pytest.MonkeyPatch,
                                                              deadlines: list[Deadline]) -> None:
    seen: list[float] = []
    monkeypatch.setattr(cli, 'run', lambda *_: WELL)
    monkeypatch.setattr(cli, '_print', lambda _output: True)
    monkeypatch.setattr(cli, 'parse', lambda argv: [seen.append(deadlines[-1].limit), parse(argv)][1])
    assert cli.main([]) == 0
    assert seen == [parse([]).timeout]


@pytest.mark.parametrize(('used', 'left'), [(0, 20.0), (19.8, 0.5), (20.1, 0.4)])
def test_how_long_it_may_print(monkeypatch: pytest.MonkeyPatch, deadlines: list[Deadline], used: float,
                               left: float) -> None:
    seen: list[float] = []

    def run(*_: object) -> tuple[str, int]:
        deadlines[-1]._began -= used
        return WELL

    monkeypatch.setattr(cli, 'run', run)
    monkeypatch.setattr(cli, '_print', lambda _output: [seen.append(deadlines[-1].left())] != [])
    assert cli.main(['-t', '20']) == 0
    assert left - 0.2 < seen[0] <= left


@pytest.mark.parametrize(('printing', 'reader', 'written'), [
    (False, True, ['CONNTRACK UNKNOWN - timed out after 20 s (--timeout) while reading kernel log\n']),
    (False, False, []), (True, True, [])])
def test_the_last_resort_is_one_line_where_it_is_read(monkeypatch: pytest.MonkeyPatch, printing: bool, reader: bool,
                                                      written: list[str]) -> None:
    deadline = Deadline(20)
    deadline.doing = 'reading kernel log'
    if printing:
        deadline.output.acquire()
    seen: list[tuple[int, str]] = []
    ended: list[int] = []
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cli.os, 'write', lambda handle, text: seen.append((handle, text.decode())))
    monkeypatch.setattr(cli.os, '_exit', ended.append)
    monkeypatch.setattr(select, 'select', lambda *given: [asked.append(given), ((), (1,) if reader else (), ())][1])
    LAST_RESORT(deadline)
    assert seen == [(1, line) for line in written]
    assert asked == ([] if printing else [((), (1,), (), 0.5)])
    assert ended == [3]


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), ValueError('I/O operation on closed file')])
def test_what_cannot_be_printed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    turned: list[tuple[str, int]] = []
    written: list[bytes] = []
    monkeypatch.setattr(cli.os, 'dup2', lambda handle, to: turned.append((os.readlink(f'/proc/self/fd/{handle}'), to)))
    out = SimpleNamespace(flush=lambda: None, buffer=SimpleNamespace(write=fail, flush=lambda: None))
    monkeypatch.setattr(cli.sys, 'stdout', out)
    assert cli._print('text') is False
    assert turned == [('/dev/null', 1)]
    out.buffer.write = written.append
    assert cli._print('tex\udcfft') is True
    assert written == [b'tex?t']
    monkeypatch.setattr(cli.sys, 'stdout', None)
    assert cli._print('text') is False


def test_what_cannot_be_printed_ends_unknown_without_dev_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chroot may have none: the exit status must not be that of a traceback, which is WARNING."""
    def fail(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(cli.os, 'devnull', '/nonexistent/null')
    monkeypatch.setattr(cli.sys, 'stdout', SimpleNamespace(flush=fail))
    assert cli._print('text') is False


def test_the_console_script_ends_with_main_s_status(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(cli, 'main', lambda: 2)
    monkeypatch.setattr(cli.os, '_exit', ended.append)
    cli.program()
    assert ended == [2]


def test_while_it_prints_the_last_resort_prints_nothing(monkeypatch: pytest.MonkeyPatch,
                                                        deadlines: list[Deadline]) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(cli, 'run', lambda *_: WELL)
    monkeypatch.setattr(cli, '_print', lambda _output: [seen.append(deadlines[-1].output.locked())] != [])
    assert cli.main([]) == 0
    assert seen == [True]


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
