"""What a pager and NRPE's old protocol leave of an alert: of every golden output, the first 120 characters and the
first 1024 bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import scenarios
from assessments import NOON, QUIET, assessment, logged, lost
from nagiosplugin import Critical, Metric, Ok, Result, Unknown, Warn

from check_conntrack_lib.analysis.hysteresis import Crossed
from check_conntrack_lib.analysis.trend import Forecast, Rise
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.model import History, Missing, NotLoaded, Table
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.plugin.first_line import LONGEST, first_line
from check_conntrack_lib.plugin.options import parse

ROOT = Path(__file__).parents[2]
#: NRPE protocol 2
NRPE = 1024


def output(name: str) -> list[str]:
    return (ROOT / f'tests/golden/{name}.txt').read_text().splitlines()[1:-1]


ALERTS = [name for name in scenarios.names() if ' OK - ' not in output(name)[0]]


@pytest.mark.parametrize('name', scenarios.names())
def test_a_pager_shows_the_whole_first_line(name: str) -> None:
    first = re.sub(r'(container|pod|netns) .*?: ', '', output(name)[0].partition(' | ')[0], count=1)
    assert len(first) <= LONGEST, first


@pytest.mark.parametrize('name', ALERTS)
def test_nrpe_shows_the_next_command_and_the_kind_of_alert(name: str) -> None:
    shown = '\n'.join(output(name)).encode()[:NRPE].decode()
    assert re.search(r'^next: (?:sudo |systemctl )\S.*\n', shown, re.MULTILINE)
    code = re.search(r'^alert: ([a-z-]+) \(docs/alerts\.md#\1\); clears .+$', shown, re.MULTILINE)
    assert code, shown


@pytest.mark.parametrize('name', ALERTS)
def test_cause_then_next_then_alert(name: str) -> None:
    heads = [line.split(':')[0].split()[0] for line in output(name)[1:4]]
    assert heads[:3] == ['cause', 'next', 'alert'] or heads[:2] == ['next', 'alert'], heads


def line(a: Assessment, *bad: tuple[str, Any], cause: str = '', among: str = '', state: Any = Critical) -> str:
    return first_line(a, [Result(state if not isinstance(value, Missing) or state is Unknown else Ok,
                                 metric=Metric(name, value)) for name, value in bad], among, cause)


FULL, ROOM = Table(1000, 1000, 1000), Table(750, 1000, 1000)
SEEN = History(first_run=False)


def known(table: Any = ROOM, **more: Any) -> Assessment:
    return assessment(table, **{'history': SEEN, 'losses': lost(), **more})


@pytest.mark.parametrize(('a', 'bad', 'text'), [
    (known(), (), '75.0% used (750 of 1000)'),
    (known(ROOM._replace(other_limit=800)), (), '93.8% used (750 of 800, --limit)'),
    (known(Table(5, 0, 1)), (), '5 entries, no limit (nf_conntrack_max is 0)'),
    (known(), (('usage', 75),), '75.0% used (750 of 1000)'),
    (known(forecast=Forecast(0, None, None)), (('usage', 75),), '75.0% used (750 of 1000), not growing'),
    (known(forecast=Forecast(1, 9, 9 * 86400)), (('usage', 75),), '75.0% used (750 of 1000), +60 entries/min'),
    (known(forecast=Forecast(1, None, None, rise=Rise(9, 600, 60, 0))), (('usage', 75),),
     '75.0% used (750 of 1000), rose by 9 in the last 10 min, steady for 60 s'),
    (known(forecast=Forecast(1, 60, 600)), (('usage', 75),),
     '75.0% used (750 of 1000), full in 10 min (12:10 UTC) at +60 entries/min'),
    (known(FULL, forecast=Forecast(1, 60, 600)), (('usage', 100),), '100% used (1000 of 1000)'),
    (known(losses=lost(drop=60), log=QUIET), (('dropped_per_s', 1),),
     '60 packets dropped since 11:50 UTC (0.1/s), 75.0% used (750 of 1000)'),
    (known(Table(499, 1000, 1), losses=lost(drop=60)), (('dropped_per_s', 1),),
     '60 packets dropped since 11:50 UTC (0.1/s), table only 49.9% used (499 of 1000)'),
    (known(Table(500, 1000, 1), losses=lost(drop=60)), (('dropped_per_s', 1),),
     '60 packets dropped since 11:50 UTC (0.1/s), 50.0% used (500 of 1000)'),
    (known(losses=lost(drop=60), log=logged(9)), (('dropped_per_s', 1),),
     'table was full, 60 packets dropped since 11:50 UTC (0.1/s), now 75.0% used (750 of 1000)'),
    (known(losses=lost(chaintoolong=60)), (('dropped_per_s', 1),),
     '60 packets dropped since 11:50 UTC (0.1/s): hash chains too long, only 75.0% used (750 of 1000)'),
    (known(losses=lost(drop=60), log=logged(9)), (('dropped_per_s', 1), ('usage', 75)),
     'table was full, 60 packets dropped since 11:50 UTC (0.1/s), 75.0% used (750 of 1000)'),
    (assessment(ROOM), (), '75.0% used (750 of 1000), first run: drops are counted from now on'),
    (assessment(ROOM, history=SEEN), (),
     '75.0% used (750 of 1000), no earlier counters to compare with: drops are counted from now on'),
    (assessment(ROOM, history=SEEN, stale_base=9.0), (), '75.0% used (750 of 1000)'),
    (assessment(ROOM, history=History(unwritten='x')), (), '75.0% used (750 of 1000)'),
    (assessment(ROOM, history=Missing('x')), (), '75.0% used (750 of 1000)'),
    (known(), (('kernel-log', Missing('no right')), ('settings', Missing('off', chosen=True))),
     '75.0% used (750 of 1000), not checked: kernel log (no right)'),
    (assessment(NotLoaded('/proc/x')), (('not_loaded', 1),), 'nf_conntrack is not loaded (no /proc/x)'),
    (assessment(NotLoaded('proc/x')), (('not_loaded', 1),), 'nf_conntrack is not loaded (no /proc/x)'),
    (assessment(NotLoaded('/proc/x')), (), 'nf_conntrack is not loaded, as configured (--not-loaded ok)'),
])
def test_what_it_says(a: Assessment, bad: tuple[tuple[str, Any], ...], text: str) -> None:
    assert line(a, *bad) == text


@pytest.mark.parametrize(('change', 'text'), [
    ({}, '75.0% used (750 of 1000), above 70% since 10:00 UTC, clears below 65%'),
    ({'held': True}, '75.0% used (750 of 1000), above 70% since 10:00 UTC, clears below 65%'),
    ({'times': 2}, '75.0% used (750 of 1000), above 70% 2 times since 10:00 UTC, clears at 12:50 UTC')])
def test_since_when_usage_is_the_trouble(change: dict[str, Any], text: str) -> None:
    crossed = Crossed(70, 65, NOON - 7200, NOON - 600, 76, False)._replace(**change)
    assert line(known(crossed=crossed), ('usage', 75)) == text
    assert line(known(crossed=crossed), ('growth_per_s', 1)) == '75.0% used (750 of 1000)'


@pytest.mark.parametrize(('name', 'value', 'text'), [
    ('usage', Missing('no right'), 'cannot read usage: no right'),
    ('usage', Missing('network namespace x not found'), 'network namespace x not found'),
    ('kernel-log', Missing('goes back 9 s only'), 'kernel log goes back 9 s only (--require kernel-log)'),
    ('history', Missing('no right'), 'history not readable (--require history): no right')])
def test_what_was_required_and_not_read(name: str, value: Missing, text: str) -> None:
    a = assessment(Missing('x')) if name == 'usage' else known()
    assert line(a, (name, value), state=Unknown).startswith(text)


def test_a_long_reason_is_cut() -> None:
    path = '/var/lib/nagios/a/directory/with/a/long/name/history.sqlite'
    assert line(known(), ('history', Missing(path))).endswith(f'not checked: history (...{path[-47:]})')
    assert line(known(), ('history', Missing('y' * 51))).endswith(f'not checked: history ({"y" * 47}...)')
    assert line(known(), ('history', Missing('y' * 50))).endswith(f'not checked: history ({"y" * 50})')


@pytest.mark.parametrize(('states', 'cause', 'text'), [
    ((Critical, Warn), '', '100% used (1000 of 1000), 27856 entries evicted (early_drop) since 11:50 UTC'),
    # who opens them gives way, not what set the state
    ((Critical, Warn), '+34144 udp to 10.0.0.53:53 from 10.2.3.5',
     '100% used, 27856 entries evicted (early_drop) since 11:50 UTC: +34144 udp to 10.0.0.53:53'),
    ((Warn, Warn), '', '100% used (1000 of 1000), 27856 entries evicted (early_drop) since 11:50 UTC'),
    ((Ok, Warn), '', '27856 entries evicted (early_drop) since 11:50 UTC, 100% used (1000 of 1000)')])
def test_what_set_the_state_leads(states: tuple[Any, Any], cause: str, text: str) -> None:
    """Of a full table that evicts entries: at 3 a.m. that it is full comes first."""
    a = known(Table(1000, 1000, 512), losses=lost(600, early_drop=27856))
    found = [Result(state, metric=Metric(name, 1)) for name, state in zip(('usage', 'early_drop_per_s'), states)]
    assert first_line(a, found, '', cause) == text


def test_what_is_left_out_where_there_is_no_room() -> None:
    a = known(losses=lost(drop=60), log=logged(9))
    bad = (('dropped_per_s', 1),)
    whole = 'table was full, 60 packets dropped since 11:50 UTC (0.1/s), now 75.0% used (750 of 1000)'
    assert line(a, *bad, cause='+5 udp', among='x') == f'{whole}: +5 udp, x'
    # first the number of entries goes, then the others' part
    assert line(a, *bad, cause='+790 udp from 10.100.100.100') == \
        'table was full, 60 packets dropped since 11:50 UTC (0.1/s), now 75.0% used: +790 udp'
    assert line(a, *bad, among='the worst of 9') == \
        'table was full, 60 packets dropped since 11:50 UTC (0.1/s), now 75.0% used, the worst of 9'
    assert line(known(), cause='+5 udp') == '75.0% used (750 of 1000)'
    many = line(a, *bad, ('early_drop_per_s', 1), ('table_full_lines', 1), ('other_namespaces', 'y' * 200))
    assert many.startswith(whole.partition(', now')[0])
    assert len(many) <= LONGEST - len('CONNTRACK CRITICAL - ')


@pytest.mark.parametrize(('length', 'fits'), [(120, True), (121, False)])
def test_120_characters(length: int, fits: bool) -> None:
    text = '75.0% used (750 of 1000)'
    among = 'x' * (length - len(f'CONNTRACK OK - {text}, '))
    assert line(known(), among=among) == (f'{text}, {among}' if fits else text)


@pytest.mark.parametrize(('history', 'entries', 'argv', 'due'), [
    ({'profiled': 4400}, 900, (), True), ({'profiled': 4401}, 900, (), False), ({}, 900, (), True),
    ({'profiled': 4999, 'ports_used': 0.5}, 900, (), True), ({'profiled': 4999, 'ports_used': 0.49}, 900, (), False),
    ({'profiled': 4999, 'ports_used': 0.5}, 900, ('--baseline-every', 'off'), False),
    ({'unwritten': 'x'}, 900, (), False), ({}, 0, (), False)])
def test_when_a_baseline_is_due(history: dict[str, Any], entries: int, argv: tuple[str, ...], due: bool) -> None:
    table = Table(entries, 1000, 1000)
    a = assessment(table, history=History(first_run=False, **history))
    assert cli._profile_is_due(a, table, parse(list(argv))) is due
    assert not cli._profile_is_due(a._replace(history=Missing('x')), table, parse([]))


def test_of_a_sparse_table_no_baseline_is_taken() -> None:
    for entries, due in ((100, True), (99, False)):
        table = Table(entries, 1000, 6400)
        assert cli._profile_is_due(assessment(table), table, parse([])) is due
    table = Table(1, 1000, Missing('x'))
    assert cli._profile_is_due(assessment(table), table, parse([]))
