"""What the first line says of each signal, by what is known: every branch and the number at which it changes."""

from __future__ import annotations

from typing import Any

import pytest
from assessments import NOON, assessment, logged, lost

from check_conntrack_lib.analysis.hash_chains import HashLoad
from check_conntrack_lib.analysis.hysteresis import Crossed, Drops
from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.analysis.trend import Forecast, Rise
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.plugin import phrases


@pytest.mark.parametrize(('table', 'text'), [
    (Table(75_000, 100_000, 1), '75.0% used (75000 of 100000)'),
    (Table(75_000, 100_000, 1, other_limit=80_000), '93.8% used (75000 of 80000, --limit)'),
    (Table(1, 0, 1), '1 entry, no limit (nf_conntrack_max is 0)'),
])
def test_usage(table: Table, text: str) -> None:
    assert phrases.usage(table) == text
    assert phrases.usage_or_growth(assessment(table)) == text


@pytest.mark.parametrize(('to_full', 'text'), [
    (59.9, 'full in under 1 min'), (60, 'full in 60 s (12:01 UTC) at +300 entries/min'),
    (2 * 86400, 'full in 2 days (2026-11-27 12:00 UTC) at +300 entries/min'), (2 * 86400 + 1, ''), (0, ''), (None, '')])
def test_when_it_is_full(to_full: float | None, text: str) -> None:
    table = Table(75_000, 100_000, 1)
    assert phrases.full_when(assessment(forecast=Forecast(5, 1, to_full)), table) == text
    assert phrases.full_when(assessment(), table) == ''
    assert phrases.full_when(assessment(forecast=Forecast(5, 1, to_full)), Table(1, 0, 1)) == ''
    if text:
        assert phrases.usage_or_growth(assessment(forecast=Forecast(5, 1, to_full))).endswith(f', {text}')


def test_without_a_table_nothing_is_said_of_usage() -> None:
    assert phrases.usage_or_growth(assessment(Missing('x'))) == ''


CROSSED = Crossed(85, 80, NOON - 7200, NOON - 600, 86, True)


@pytest.mark.parametrize(('change', 'text'), [
    ({}, 'above 85% since 10:00 UTC, clears below 80%'),
    ({'clears': 85}, 'above 85% since 10:00 UTC'),
    ({'longer': True}, 'above 85% for 2 h or longer, clears below 80%'),
    ({'longer': True, 'since': NOON}, 'above 85% since 12:00 UTC, clears below 80%'),
    ({'times': 2}, 'above 85% 2 times since 10:00 UTC, clears at 12:50 UTC'),
])
def test_since_when_it_is_above(change: dict[str, Any], text: str) -> None:
    assert phrases.crossed(CROSSED._replace(**change), NOON) == text


def test_a_rise_that_has_ended() -> None:
    assert phrases.risen(Rise(500, 600, 300, 0)) == 'rose by 500 in the last 10 min, steady for 5 min'
    assert phrases.risen(Rise(500, 600, 300, 1)) == 'rose by 500 in the last 10 min, falling for 5 min'


FULL = Table(100_000, 100_000, 1)
DROPS = Drops(3, 12, NOON - 7200, NOON - 900, NOON - 600, 0.1)


@pytest.mark.parametrize(('known', 'is_full', 'has_room_again'), [
    ({}, False, False), ({'table': FULL}, True, False), ({'table': Table(99_999, 100_000, 1)}, False, False),
    ({'table': Table(1, 0, 1)}, False, False), ({'log': logged(9)}, True, True),
    ({'losses': lost(early_drop=1)}, True, True), ({'losses': lost(drop=1)}, False, False),
    ({'log': logged(9), 'table': Table(98_999, 100_000, 1)}, True, True),
    ({'log': logged(9), 'table': Table(99_000, 100_000, 1)}, True, False),
    ({'log': logged(9), 'table': Table(9, 0, 1)}, True, True),
    ({'log': logged(9), 'table': Missing('x')}, True, False),
    ({'log': Missing('x')}, False, False)])
def test_full_and_drained(known: dict[str, Any], is_full: bool, has_room_again: bool) -> None:
    a = assessment(**known)
    assert (phrases.is_full(a), phrases.has_room_again(a)) == (is_full, has_room_again)


@pytest.mark.parametrize(('known', 'dropped', 'table_full', 'early_drop'), [
    ({}, '', '', ''),
    ({'losses': lost(early_drop=0)}, '', '', '0 entries evicted (early_drop) since 11:50 UTC'),
    ({'losses': lost(drop=60)}, *['60 packets dropped since 11:50 UTC (0.1/s)'] * 3),
    ({'losses': lost(drop=1), 'table': FULL}, *['table full, 1 packet dropped since 11:50 UTC (0.0017/s)'] * 3),
    ({'losses': lost(drop=1), 'log': logged(9)}, *['table was full, 1 packet dropped since 11:50 UTC (0.0017/s)'] * 3),
    ({'losses': lost(drop=1, chaintoolong=2)}, '3 packets dropped since 11:50 UTC (0.005/s): hash chains too long', '',
     '3 packets dropped since 11:50 UTC (0.005/s): hash chains too long'),
    ({'losses': lost(drop=1, chaintoolong=2), 'log': logged(60), 'table': FULL},
     '3 packets dropped since 11:50 UTC (0.005/s): hash chains too long',
     'table full, logged by the kernel once since 11:59 UTC',
     '3 packets dropped since 11:50 UTC (0.005/s): hash chains too long'),
    ({'log': logged(120, 60)}, *['kernel logged "table full" 2 times since 11:58 UTC'] * 2, ''),
    ({'log': Missing('x')}, '', '', ''),
    ({'drops': DROPS}, *['12 packets dropped at 3 times since 10:00 UTC, last at 11:50 UTC, clears at 12:50 UTC'] * 2,
     ''),
    ({'losses': lost(early_drop=1)}, '', '', '1 entry evicted (early_drop) since 11:50 UTC'),
])
def test_packets_dropped(known: dict[str, Any], dropped: str, table_full: str, early_drop: str) -> None:
    a = assessment(**known)
    assert (phrases.dropped(a), phrases.table_full(a), phrases.early_drop(a)) == (dropped, table_full, early_drop)


@pytest.mark.parametrize(('packets', 'text'), [
    ({}, ''), ({'insert_failed': 2, 'chaintoolong': 2}, ''),
    ({'insert_failed': 2}, '2 clashes (insert_failed) since 11:50 UTC (0.0033/s)'),
    ({'insert_failed': 60, 'clash_resolve': 0, 'drop': 60},
     '60 packets dropped since 11:50 UTC (0.1/s): insert_failed (')])
def test_clashes(packets: dict[str, int], text: str) -> None:
    said = phrases.insert_failed(assessment(losses=lost(**packets)))
    assert said.startswith(text)
    assert bool(said) == bool(text)
    assert phrases.insert_failed(assessment()) == ''


USE = PortUse(ReplyTuple(17, b'abcd', 53, b'efgh'), 910, 1000, 900, True)


@pytest.mark.parametrize(('found', 'use', 'text'), [
    (9999, USE, 'NAT ports to 97.98.99.100:53 udp through 101.102.103.104: 91% used (910 of 1000), '
                '0.1 packets/s refused'),
    (0, USE, '60 clashes (insert_failed) since 11:50 UTC (0.1/s)'),
    (9999, None, '60 clashes (insert_failed) since 11:50 UTC (0.1/s)')])
def test_clashes_or_ports(found: int, use: PortUse | None, text: str) -> None:
    a = assessment(ports=use, losses=lost(insert_failed=60, clash_resolve=0, found=found))
    assert phrases.insert_failed(a) == text


def test_hash_chains() -> None:
    assert phrases.hash_chains(assessment()) == ''
    load = HashLoad(*[0] * len(HashLoad._fields))._replace(entries=1 << 20, buckets=1 << 16)
    assert phrases.hash_chains(assessment(hash=load)).startswith('hash table too small: 16.0 entries per bucket, ')


@pytest.mark.parametrize(('found', 'text'), [
    (Missing('x'), ''), ((), ''), (('one',), 'one'), (('one', 'two'), 'one (2 settings differ)')])
def test_settings(found: Any, text: str) -> None:
    assert phrases.settings(assessment(settings=found)) == text
