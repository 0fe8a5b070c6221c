"""A larger table and more buckets, as whole actions: by growth, memory, kernel and namespace."""

from __future__ import annotations

from typing import Any

import pytest
from incidents import facts

from check_conntrack_lib.analysis import mitigations, sizing
from check_conntrack_lib.analysis.hash_chains import ChainLimit
from check_conntrack_lib.analysis.incident import Action
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.proportion import Proportion
from check_conntrack_lib.analysis.timeouts import Proposal
from check_conntrack_lib.analysis.trend import Forecast
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.model import Missing, Table

SYSCTL = 'sudo sysctl -w net.netfilter.nf_conntrack_'
GIB = 1 << 30
LARGE: dict[str, Any] = {'entries': 900_000, 'maximum': 1_000_000, 'available': 4 * GIB}
ELSEWHERE = '; applies to all namespaces; run it on the host'
COST = '(185 MiB more RAM when full, 4.0 GiB available)'


def raised(text: str, commands: tuple[str, ...], undo: int, risk: str = '') -> Action:
    return Action(f'raise nf_conntrack_max {text}', tuple(f'{SYSCTL}{one}' for one in commands), f'{SYSCTL}max={undo}',
                  f'does not remove the cause{risk}')


@pytest.mark.parametrize(('known', 'action'), [
    ({'entries': 900}, raised('1000 -> 4096 (1.4 MiB more RAM when full, 1.0 GiB available)', ('max=4096',), 1000)),
    ({'entries': 900, 'available': Missing('x')},
     raised('1000 -> 4096 (1.4 MiB more RAM when full, available: unknown)', ('max=4096',), 1000)),
    (LARGE, raised(f'1000000 -> 1310720 {COST}', ('buckets=1310720', 'max=1310720'), 1_000_000)),
    ({**LARGE, 'initial': False, 'setters': frozenset({'kube-proxy', 'k3s'})},
     raised(f'1000000 -> 1310720 {COST}', ('buckets=1310720', 'max=1310720'), 1_000_000,
            f'; k3s, kube-proxy resets it on start{ELSEWHERE}')),
    # 500 a second for an hour would be three times the entries of now
    ({**LARGE, 'forecast': Forecast(500, 1, 2)},
     raised('1000000 -> 4194304 (1.4 GiB more RAM when full, 4.0 GiB available)', ('buckets=4194304', 'max=4194304'),
            1_000_000)),
    ({**LARGE, 'forecast': Forecast(9000, 1, 2), 'available': 8 * GIB},
     raised('1000000 -> 5242880 (1.9 GiB more RAM when full, 8.0 GiB available)', ('buckets=5242880', 'max=5242880'),
            1_000_000)),
    ({**LARGE, 'forecast': Forecast(-500, None, None)},
     raised(f'1000000 -> 1310720 {COST}', ('buckets=1310720', 'max=1310720'), 1_000_000)),
    ({**LARGE, 'available': 64 << 20},
     Action('not possible: raise nf_conntrack_max 1000000 -> 1310720 would take 185 MiB more RAM when full, 64 MiB '
            'available', (), '', 'add memory, or shorten timeouts')),
    # it was full: as many were there at least
    ({'entries': 500, 'maximum': 100_000, 'logged': True},
     raised('100000 -> 163840 (71 MiB more RAM when full, 1.0 GiB available)', ('buckets=163840', 'max=163840'),
            100_000)),
    ({'entries': 500, 'maximum': 100_000}, None)])
def test_raising_the_maximum(known: dict[str, Any], action: Action | None) -> None:
    assert list(mitigations._raise(facts(**known))) == ([action] if action else [])


def test_where_buckets_are_no_sysctl() -> None:
    p = facts(**LARGE, limit=ChainLimit(16.0, by_sysctl=False))
    action, = mitigations._raise(p)
    tee = 'sudo tee /sys/module/nf_conntrack/parameters/hashsize'
    assert action.commands[0] == f'echo 1310720 | {tee}'
    buckets, = mitigations._buckets(p)
    assert (buckets.commands, buckets.undo) == ((f'echo 1000448 | {tee}',), f'echo 1024 | {tee}')


@pytest.mark.parametrize(('buckets', 'limit', 'more'), [
    (131_072, 16.0, False), (81_920, 16.0, False), (81_919, 16.0, True), (163_840, None, False), (163_839, None, True)])
def test_buckets_are_raised_with_it_where_chains_would_be_too_long(buckets: int, limit: float | None,
                                                                   more: bool) -> None:
    p = facts(**LARGE, limit=ChainLimit(limit))._replace(table=Table(900_000, 1_000_000, buckets))
    action, = mitigations._raise(p)
    assert len(action.commands) == 1 + more


BUCKETS = 'nf_conntrack_buckets 1024 -> 1000448 stops drops due to long hash chains (7.6 MiB of RAM)'


@pytest.mark.parametrize(('known', 'table', 'title', 'undo', 'risk'), [
    (LARGE, None, BUCKETS, f'{SYSCTL}buckets=1024', ''),
    ({**LARGE, 'initial': False}, None, BUCKETS, f'{SYSCTL}buckets=1024', ELSEWHERE),
    (LARGE, Table(900_000, 1_000_000, Missing('x')), BUCKETS.replace('1024 ', '? '), '', ''),
    ({'entries': 5, 'all_entries': 1_000_000}, Table(5, 9, 1024), BUCKETS, f'{SYSCTL}buckets=1024', '')])
def test_more_buckets(known: dict[str, Any], table: Table | None, title: str, undo: str, risk: str) -> None:
    p = facts(**known)
    action, = mitigations._buckets(p if table is None else p._replace(table=table))
    assert action == Action(title, (f'{SYSCTL}buckets=1000448',), undo,
                            f'brief lookup stall (milliseconds) during the resize{risk}')


@pytest.mark.parametrize(('buckets', 'more'), [(1_000_447, True), (1_000_448, False)])
def test_buckets_enough(buckets: int, more: bool) -> None:
    p = facts(**LARGE)._replace(table=Table(900_000, 1_000_000, buckets))
    assert bool(list(mitigations._buckets(p))) is more


def test_what_is_next_to_nothing_of_the_memory() -> None:
    more = sizing.propose(900_000, Table(900_000, 1_000_000, 1024), Missing('x')).more
    for available, cheap in ((20 * more + 1, True), (20 * more, False), (Missing('x'), False)):
        assert mitigations._is_cheap(facts(**{**LARGE, 'available': available})) is cheap
    for available, possible in ((2 * more, True), (2 * more - 1, False)):
        action, = mitigations._raise(facts(**{**LARGE, 'available': available}))
        assert bool(action.commands) is possible


@pytest.mark.parametrize(('number', 'rounded'), [
    (1, 4096), (4096, 4096), (4097, 5120), (5120, 5120), (5121, 6144), (8192, 8192), (8193, 10240),
    (1_285_715, 1_310_720), (1_310_721, 1_572_864)])
def test_numbers_that_one_remembers(number: int, rounded: int) -> None:
    assert sizing.rounded_maximum(number) == rounded


@pytest.mark.parametrize(('peak', 'days', 'maximum', 'lines'), [
    (100, 6.9, 1000, (85, 95)), (100, 7, 0, (85, 95)), (100, 7, 1000, (70, 90)), (550, 7, 1000, (70, 90)),
    (551, 7, 1000, (75, 90)), (600, 7, 1000, (75, 90)), (601, 7, 1000, (80, 90)), (650, 7, 1000, (80, 90)),
    (651, 7, 1000, (85, 95)), (990, 7, 1000, (85, 95))])
def test_alerts_well_above_the_usual(peak: int, days: float, maximum: int, lines: tuple[int, int]) -> None:
    assert sizing.alert_thresholds(sizing.Peak(peak, 0.0, days, 9, 1000), maximum) == lines


@pytest.mark.parametrize(('change', 'texts'), [
    ({'sources': ((Key(source='10.0.0.1'), 250),)}, ['25% of the table is from 10.0.0.1']),
    ({'sources': ((Key(source='10.0.0.1'), 249),)}, []),
    ({'sources': ((Key(source='10.0.0.1'), 300), (Key(source='10.0.0.2'), 150))},
     ['30% of the table is from 10.0.0.1']),
    ({'sources': ((Key(source='10.0.0.1'), 300), (Key(source='10.0.0.2'), 151))}, []),
    ({'targets': ((Key(6, '', '10.0.0.1', 80), 500),)}, ['50% of the table is tcp to 10.0.0.1:80']),
    ({'targets': ((Key(6, '', '10.0.0.1', 80), 499),)}, []),
    ({'unreplied': 500}, ['50% of the table has no reply: a flood, a scan, or a dead server']),
    ({'unreplied': 499}, []),
    ({'states': {(6, 'LISTEN'): 300}}, ['30% of the table is in state LISTEN: unusual in such number']),
    ({'states': {(6, 'LISTEN'): 299}}, []), ({'states': {(6, 'ESTABLISHED'): 900}}, [])])
def test_what_alone_makes_it_large(change: dict[str, Any], texts: list[str]) -> None:
    assert list(sizing.concentration(EMPTY._replace(entries=1000, seen=1000, **change))) == texts


@pytest.mark.parametrize(('share', 'now', 'lines'), [
    (0.05, 3600, 1), (0.0499, 3600, 0), (0.05, 3601, 0)])
def test_timeouts_that_are_worth_it_within_an_hour(share: float, now: int, lines: int) -> None:
    one = Proposal('udp_timeout', now, 30, 50, Proportion(share, share, share), 'risk', False)
    p = facts(proposals=(one,))
    assert len(list(mitigations._timeouts(p))) == lines
    assert len(list(mitigations._timeouts(p._replace(proposals=(one,) * 3)))) == 2 * lines


@pytest.mark.parametrize(('entries', 'maximum', 'cut_off'), [
    (950, 1000, True), (949, 1000, False), (5, 0, False), (5, -1, False), (1, 1, True)])
def test_demand_that_was_cut_off(entries: int, maximum: int, cut_off: bool) -> None:
    assert sizing.Peak(entries, 0.0, 7, 9, maximum).cut_off is cut_off
