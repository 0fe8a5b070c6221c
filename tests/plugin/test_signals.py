"""The table of signals: of every row, that its options matter, and that it is said, documented and shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from assessments import assessment, lost
from nagiosplugin import Metric, Ok, Result, Warn

from check_conntrack_lib.analysis.cloud import CloudLimit
from check_conntrack_lib.analysis.hash_chains import ChainLimit, HashLoad
from check_conntrack_lib.analysis.hysteresis import Awaited, Crossed, Drops
from check_conntrack_lib.analysis.losses import LogEvidence, Losses
from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.analysis.sysctl_drift import Drift
from check_conntrack_lib.analysis.trend import Forecast
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.counters import COUNTERS
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.model import Counters, History, Instant, KernelLog, Missing, Point, Table
from check_conntrack_lib.plugin.alerts import alert
from check_conntrack_lib.plugin.contexts import SignalContext, contexts
from check_conntrack_lib.plugin.first_line import first_line
from check_conntrack_lib.plugin.options import REQUIRABLE, parse
from check_conntrack_lib.plugin.resource import metrics
from check_conntrack_lib.plugin.signals import SIGNALS, Signal
from check_conntrack_lib.readers.sysctl_files import SysctlSetting
from check_conntrack_lib.snapshot import Snapshot

ROOT = Path(__file__).parents[2]
PACKETS = dict.fromkeys(COUNTERS, 600)
#: every signal has a value here: a table at 75 %, growing, with 2 of each counter per second
TROUBLED = Assessment(
    Snapshot(Instant(1e9, 5000.0, 5000.0), 'abc', 1, True, Table(75, 100, 64),
             Counters(dict.fromkeys(COUNTERS, (9000,))), KernelLog('test')),
    History(first_run=False), '', Losses(300.0, {**PACKETS, 'drop': 2400, 'insert_failed': 1200}),
    Forecast(1.0, 20.0, 25.0, True), LogEvidence(300.0, (12.0, 3.0), {}, 0),
    (Drift('nf_conntrack_max', SysctlSetting('net/netfilter/nf_conntrack_max', '524288', '90-ct.conf'), 524288, 100),),
    hash=HashLoad(2000000, 65536, True, ChainLimit(16.0), 0.05),
    ports=PortUse(ReplyTuple(6, b'\xcb\0\x71\x09', 443, b'\xc6\x33\x64\1'), 60000, 64512, 60000, True),
    cloud=CloudLimit(300.0, 600, 600, 0, 1000, 2000))


class Resource:
    """What a context reads of nagiosplugin's resource."""

    assessment = TROUBLED


def state(a: Assessment, signal: Signal, *argv: str) -> str:
    """The state of one signal with these options, through its context."""
    resource = Resource()
    resource.assessment = a
    context = next(one for one in contexts(parse(argv)) if one.name == signal.label)
    assert isinstance(context, SignalContext)
    metric = next(metric for metric in metrics(a) if metric.name == signal.label)
    return str(context.evaluate(metric, resource).state)


RANGED = [signal for signal in SIGNALS if signal.options and signal.state is None]


@pytest.mark.parametrize('signal', RANGED, ids=lambda signal: signal.name)
def test_every_threshold_can_change_the_state(signal: Signal) -> None:
    warning, critical = (option.flags[-1] for option in signal.options)
    assert state(TROUBLED, signal, warning, 'off', critical, 'off') == 'ok'
    assert state(TROUBLED, signal, warning, '1', critical, 'off') == 'warning'
    assert state(TROUBLED, signal, warning, 'off', critical, '1') == 'critical'
    assert state(TROUBLED, signal, warning, '1000', critical, '1000') == 'ok'


@pytest.mark.parametrize('signal', SIGNALS, ids=lambda signal: signal.name)
def test_an_alert_of_every_signal_says_when_it_clears(signal: Signal) -> None:
    """plugin/alerts.py: a signal without a rule of its own clears inside its range."""
    argv = [word for option in signal.options for word in (option.flags[-1], '1')] if signal in RANGED else []
    metric = Metric(signal.label, signal.value(TROUBLED))
    found = alert(TROUBLED, [Result(Warn, metric=metric)], parse(argv))
    assert found
    assert found.clears


@pytest.mark.parametrize(('refused', 'expected'), [(0.00099, 'ok'), (0.00101, 'warning'), (1.0, 'warning')])
def test_a_warning_before_long_hash_chains_drop_packets(refused: float, expected: str) -> None:
    hash_chains = next(signal for signal in SIGNALS if signal.name == 'hash')
    assert TROUBLED.hash
    assert state(TROUBLED._replace(hash=TROUBLED.hash._replace(refused=refused)), hash_chains) == expected


def test_a_row_without_options_is_shown_and_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Signal('expectations', 'expectations', '', (), lambda a: 5, lambda a: '', lambda *_: (), rank=99)
    for module in ('options', 'contexts', 'resource'):
        monkeypatch.setattr(f'check_conntrack_lib.plugin.{module}.SIGNALS', (*SIGNALS, shown))
    assert state(TROUBLED, shown) == 'ok'


CROSSED = Crossed(85, 80, 0.0, 0.0, 92.0, True)
DROPS = Drops(3, 12, 0.0, 0.0, 0.0, 7.0)


@pytest.mark.parametrize(('entries', 'known', 'compared'), [
    (750, {}, 75), (750, {'crossed': CROSSED}, 92), (950, {'crossed': CROSSED}, 95),
    (750, {'crossed': CROSSED._replace(held=False)}, 75), (900, {'awaited': Awaited(85, 0.0)}, 85),
    (840, {'awaited': Awaited(85, 0.0)}, 84)])
def test_what_is_compared_as_usage(entries: int, known: dict[str, Any], compared: float) -> None:
    usage = SIGNALS[0]
    assert usage.compared
    assert usage.compared(assessment(Table(entries, 1000, 64), **known)) == compared
    assert usage.compared(assessment(Missing('x'))) == 0


@pytest.mark.parametrize(('known', 'compared'), [
    ({}, 0), ({'losses': lost(10, drop=50)}, 5), ({'drops': DROPS}, 7),
    ({'drops': DROPS, 'losses': lost(10, drop=50)}, 7),
    ({'drops': DROPS, 'losses': lost(10, drop=80)}, 8)])
def test_what_is_compared_as_drops(known: dict[str, Any], compared: float) -> None:
    dropped = next(signal for signal in SIGNALS if signal.name == 'dropped')
    assert dropped.compared
    assert dropped.compared(assessment(**known)) == compared


@pytest.mark.parametrize(('entries', 'before', 'argv', 'expected'), [
    (700, 0, (), 'warning'), (699, 0, (), 'ok'), (699, 700, (), 'warning'), (650, 700, (), 'warning'),
    (649, 700, (), 'ok'), (650, 699, (), 'ok'), (699, 700, ('--clear', '0'), 'ok')])
def test_from_where_growth_is_a_warning(entries: int, before: int, argv: tuple[str, ...], expected: str) -> None:
    growth = next(signal for signal in SIGNALS if signal.name == 'growth')
    a = assessment(Table(entries, 1000, 64), forecast=Forecast(1, 60, 600, True),
                   history=History(points=(Point(1.0, before),), first_run=False))
    assert growth.state
    assert growth.state(a, parse(list(argv))) == expected
    assert growth.state(a._replace(forecast=Forecast(1, 60, 600, False)), parse(list(argv))) == 'ok'
    unlimited = a._replace(snapshot=a.snapshot._replace(table=Table(entries, 0, 64)))
    assert growth.state(unlimited, parse(list(argv))) == 'ok'


def test_growth_has_its_own_rule() -> None:
    growth = next(signal for signal in SIGNALS if signal.name == 'growth')
    assert state(TROUBLED, growth, '--trend', '70') == 'warning'
    assert state(TROUBLED, growth, '--trend', '80') == 'ok'
    assert state(TROUBLED, growth, '--trend', 'off') == 'ok'


def can_alert(signal: Signal) -> bool:
    return bool(signal.options) or (signal.state is not None and signal.state(TROUBLED, parse([])) != 'ok')


@pytest.mark.parametrize('signal', [one for one in SIGNALS if can_alert(one)], ids=lambda signal: signal.name)
def test_every_signal_is_said(signal: Signal) -> None:
    assert signal.phrase(TROUBLED)
    assert list(signal.lines(TROUBLED, parse(['-v']), True))
    assert all('|' not in line for line in signal.lines(TROUBLED, parse([]), True))


@pytest.mark.parametrize('signal', SIGNALS, ids=lambda signal: signal.name)
def test_every_signal_is_unlike_the_others(signal: Signal) -> None:
    others = [one for one in SIGNALS if one is not signal]
    assert signal.rank not in [one.rank for one in others]
    assert signal.label not in [one.label for one in others]
    assert signal.name not in [one.name for one in others]


def options_by_flag() -> list[str]:
    return [option.flags[-1] for signal in SIGNALS for option in signal.options]


@pytest.mark.parametrize('flag', options_by_flag())
def test_every_option_is_shipped(flag: str) -> None:
    """In Icinga's CheckCommand and the Director's basket: python3 packaging/icinga_options.py writes both."""
    variable = 'conntrack_' + flag[2:].replace('-', '_')
    command = (ROOT / 'icinga/zones.d/global-templates/conntrack-command.conf').read_text()
    assert f'value = "${variable}$"' in command
    basket = json.loads((ROOT / 'icinga/director/conntrack-basket.json').read_text())
    assert variable in {field['varname'] for field in basket['Datafield'].values()}


@pytest.mark.parametrize('flag', options_by_flag())
def test_sudo_allows_every_threshold(flag: str) -> None:
    """The rule is written by hand: icinga/sudoers.d/check_conntrack."""
    rule = (ROOT / 'icinga/sudoers.d/check_conntrack').read_text()
    pattern = re.findall(r'check_conntrack\.py (\^\(.*\$)', rule)[-1].replace('\\,', ',')
    assert re.fullmatch(pattern, f'{flag} 1')
    assert not re.fullmatch(pattern, f'{flag} /etc/shadow')


def test_a_missing_reading_is_required_by_its_name() -> None:
    names = {reading.name for reading in TROUBLED.readings()}
    assert {'usage', *REQUIRABLE} - {'namespaces'} <= names


def test_no_signal_is_named_twice_in_the_first_line() -> None:
    results = [SignalContext(signal, parse([])).evaluate(metric, Resource()) for signal in SIGNALS
               for metric in metrics(TROUBLED) if metric.name == signal.label]
    line = first_line(TROUBLED, results)
    assert any(result.state != Ok for result in results)
    phrases = line.split(', ')
    assert len(phrases) == len(set(phrases))


def test_a_counter_that_is_a_line_of_the_table_is_shown() -> None:
    shown = {metric.name for metric in metrics(TROUBLED)}
    assert {f'{name}_per_s' for name, counter in COUNTERS.items() if counter.rate} <= shown
    assert not isinstance(TROUBLED.log, Missing)
