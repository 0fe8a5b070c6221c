"""States and performance data of single metrics."""

from __future__ import annotations

import pytest
from assessments import assessment
from nagiosplugin import Critical, Metric, Ok, Result, Unknown, Warn

from check_conntrack_lib.deadline import Deadline
from check_conntrack_lib.host import Host
from check_conntrack_lib.plugin import contexts, resource
from check_conntrack_lib.plugin.contexts import EntriesContext, MissingReadingContext, Results, number, performance
from check_conntrack_lib.plugin.options import Limits, parse
from check_conntrack_lib.plugin.resource import question_of
from check_conntrack_lib.plugin.signals import SIGNALS, Signal


@pytest.mark.parametrize(('value', 'places', 'text'), [
    (1, 2, '1'), (100, 2, '100'), (1.5, 2, '1.5'), (1.25, 2, '1.25'), (1.256, 2, '1.26'), (0.0000004, 6, '0'),
    (-0.0000004, 6, '0'), (-1, 2, '-1'), (1e15, 2, '1000000000000000'), (100, 0, '100'), (1 / 3600, 6, '0.000278')])
def test_plain_numbers(value: float, places: int, text: str) -> None:
    assert number(value, places) == text


@pytest.mark.parametrize(('metric', 'limits', 'text'), [
    (Metric('a', 0.0002777), (), 'a=0.000278'), (Metric('a', 1.0002777), (), 'a=1'),
    (Metric('a', -1.256), (), 'a=-1.26'), (Metric('a', 0.2777, '%'), (), 'a=0.28%'),
    (Metric('a', 5, min=0), (), 'a=5'), (Metric('a', 5, min=1), (), 'a=5;;;1'),
    (Metric('a', 5, min=0, max=9), (), 'a=5;;;0;9'), (Metric('a', 5, min=0), (3.5, None), 'a=5;3.5;;0'),
    (Metric('a', 5, min=0), (None, 7), 'a=5;;7;0'), (Metric('a', 5, min=0), (0, None), 'a=5;0;;0'),
    (Metric('a', 5, min=0.1234564), (0.1234564, 1.1234566), 'a=5;0.123456;1.123457;0.123456')])
def test_performance_data(metric: Metric, limits: tuple[float, ...], text: str) -> None:
    assert str(performance(metric, *limits)) == text


@pytest.mark.parametrize(('limits', 'most', 'text'), [
    (('85', '95'), 1000, 'entries=5;850;950;0;1000'), (('85.55', ''), 1000, 'entries=5;855;;0;1000'),
    (('85', '95'), None, 'entries=5'), (('10:', '95'), 200, 'entries=5;;190;0;200')])
def test_entries_carry_the_thresholds_of_usage(limits: tuple[str, str], most: int | None, text: str) -> None:
    assert str(EntriesContext(Limits(*limits)).performance(Metric('entries', 5, min=0, max=most), None)) == text


def test_what_could_not_be_read_never_hides_what_was_found() -> None:
    results = Results()
    for state in (Ok, Unknown, Critical, Warn):
        results.add(Result(state, metric=Metric('x', 1)))
    assert [result.state for result in results] == [Critical, Warn, Unknown, Ok]
    assert results.most_significant_state == Critical


WORST_FIRST = ['conntrack_allowance_exceeded_per_s', 'dropped_per_s', 'table_full_lines', 'usage', 'growth_per_s',
               'early_drop_per_s', 'insert_failed_per_s', 'nat_ports', 'hash_refused', 'conntrack_allowance_available',
               'linklocal_allowance_exceeded_per_s', 'settings', 'what has no signal']


def test_of_signals_in_one_state_the_order_is_always_the_same() -> None:
    for names in (WORST_FIRST, WORST_FIRST[::-1]):
        found = contexts.troubles([Result(Warn, metric=Metric(name, 1)) for name in names])
        assert [result.metric.name for result in found] == WORST_FIRST
    assert {signal.label for signal in SIGNALS} == set(WORST_FIRST[:-1]), \
        'a new signal: put its label into WORST_FIRST where its rank is'


@pytest.mark.parametrize('signal', SIGNALS, ids=lambda signal: signal.label)
def test_bounds_of_the_performance_data(signal: Signal) -> None:
    assert signal.minimum == (None if signal.name == 'growth' else 0)
    assert signal.maximum == (100 if signal.unit == '%' else None)


def test_only_what_is_required_is_unknown() -> None:
    judge = MissingReadingContext(('history',))
    for name, state in (('usage', Unknown), ('history', Unknown), ('kernel-log', Ok)):
        assert judge.evaluate(Metric(name, None), None).state == state


@pytest.mark.parametrize('state', ['ok', 'warning', 'critical', 'unknown'])
def test_not_loaded_is_what_the_administrator_says(state: str) -> None:
    judge = next(one for one in contexts.contexts(parse(['--not-loaded', state])) if one.name == 'not_loaded')
    assert judge.evaluate(Metric('not_loaded', 'x'), None).state == contexts.STATES[state]


@pytest.mark.parametrize(('argv', 'critical', 'thresholds'), [
    ([], 95, (85, 95)), (['-c', 'off'], 100, (85,)), (['-w', '85', '-c', '150'], 100, (85, 150)),
    (['-w', '10:', '-c', '100'], 100, (100,))])
def test_what_the_thresholds_ask_of_the_history(argv: list[str], critical: float,
                                                thresholds: tuple[float, ...]) -> None:
    question = question_of(parse([*argv, '--limit', '7', '--settings-check', 'off']))
    assert (question.critical, question.thresholds) == (critical, thresholds)
    assert (question.limit, question.settings, question.window, question.horizon) == (7, False, 300, 1200)
    assert question_of(parse([])).settings


@pytest.mark.parametrize(('argv', 'filling'), [
    ([], 65), (['--trend', '50', '--clear', '7'], 43), (['--trend', '3'], -2), (['--trend', 'off'], float('inf'))])
def test_from_where_growth_matters(argv: list[str], filling: float) -> None:
    assert question_of(parse(argv)).filling == filling


@pytest.mark.parametrize(('limit', 'patience'), [(10, 1.5), (6, 1.5), (4, 1.0)])
def test_others_that_write_the_history_are_waited_for(monkeypatch: pytest.MonkeyPatch, limit: float,
                                                      patience: float) -> None:
    waited = []
    monkeypatch.setattr(resource, 'assess', lambda _host, _question, _budget, patience, _identify: [
        waited.append(patience), assessment()][1])
    options = parse([])
    deadline = Deadline(limit)
    monkeypatch.setattr(deadline, 'left', lambda: limit)
    resource.ConnectionTracking(Host(), options, contexts.contexts(options), deadline).probe()
    assert waited == [patience]
