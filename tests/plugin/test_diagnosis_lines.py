"""A diagnosis in words."""

from __future__ import annotations

from typing import Any

import pytest
from assessments import NOON

from check_conntrack_lib.analysis.profile import Key, Profile
from check_conntrack_lib.analysis.profile_diff import Growth
from check_conntrack_lib.analysis.rates import NewRate, Opener
from check_conntrack_lib.diagnosis import Diagnosis
from check_conntrack_lib.diagnosis.emptied import Cause
from check_conntrack_lib.history.profiles import EMPTY, Baseline
from check_conntrack_lib.model import Missing
from check_conntrack_lib.plugin import diagnosis_lines
from check_conntrack_lib.readers.sockets import Owner

DNS = Key(17, '', '10.0.0.53', 53)
PROFILE = EMPTY._replace(entries=1000, seen=1000, states={(17, ''): 800, (6, 'ESTABLISHED'): 150, (6, 'CLOSE'): 40,
                                                         (1, ''): 10}, assured=150, unreplied=700,
                         names={'10.0.0.53': 'pod kube-system/dns', '10.1.0.1': 'pod shop/web'})
GREW = (Growth(DNS, 0.01, 0.8, 790, '10.1.0.1'), Growth(Key(6, port=443), 0.1, 0.15, 50))
BASELINE = Baseline((PROFILE,), NOON - 3600)


def diagnosis(profile: Profile = PROFILE, **known: Any) -> Diagnosis:
    return Diagnosis(**{'at': NOON, 'profile': profile, 'baseline': BASELINE, 'growth': (), 'local': 0.0, 'owners': (),
                        **known})


GROWN = ['cause: udp to 10.0.0.53:53 (pod kube-system/dns) grew from 1% to 80% of the table (+790 entries) since 11:00 '
         'UTC, mostly from 10.1.0.1 (pod shop/web)',
         'also: tcp port 443 grew from 10% to 15% of the table (+50 entries) since 11:00 UTC']


@pytest.mark.parametrize(('why', 'short', 'causes'), [
    (diagnosis(growth=GREW), '+790 udp to 10.0.0.53:53 from 10.1.0.1', GROWN),
    (diagnosis(growth=GREW[1:]), '+50 tcp port 443',
     ['cause: tcp port 443 grew from 10% to 15% of the table (+50 entries) since 11:00 UTC']),
    (diagnosis(growth=GREW[1:], baseline=Baseline((PROFILE,), None)), '+50 tcp port 443',
     ['cause: tcp port 443 grew from 10% to 15% of the table (+50 entries) for more than a day']),
    (diagnosis(spread=700), '',
     ['cause: growth of 700 entries since 11:00 UTC is spread over many sources and destinations']),
    (diagnosis(), '', ['cause: no large growth (1000 entries, usually 1000)']),
    (diagnosis(emptied=True, cause=Cause(NOON - 7200, 100, PROFILE, BASELINE, ())), '',
     ['cause at 10:00 UTC (100% used): no large growth (1000 entries, usually 1000)']),
    (diagnosis(baseline=Missing('no baseline')), '', ['cause: unknown, no baseline']),
    (Missing('no right', 'use sudo'), '', ['cause not determined: no right (use sudo)']),
    (Missing('no right'), '', ['cause not determined: no right']), (Missing('not asked', chosen=True), '', []),
    (PROFILE, '', []),
    (diagnosis(emptied=True, growth=GREW), '', [
        'cause: unknown, what the table held when packets were dropped was not seen: it was full, or memory was short',
        'still in the table: +790 entries of udp to 10.0.0.53:53, mostly from 10.1.0.1',
        'still in the table: +50 entries of tcp port 443']),
    (diagnosis(emptied=True, was_full=True, unread=Missing('no right', 'use sudo')), '', [
        'cause: unknown, it has emptied since; what filled it was not seen', 'flows not read: no right (use sudo)']),
    (diagnosis(emptied=True, was_full=True, unread=Missing('x', chosen=True)), '', [
        'cause: unknown, it has emptied since; what filled it was not seen']),
    (diagnosis(emptied=True, cause=Cause(NOON - 7200, 100, PROFILE, BASELINE, GREW)),
     '+790 udp to 10.0.0.53:53 from 10.1.0.1',
     [line.replace('cause:', 'cause at 10:00 UTC (100% used):') for line in GROWN]),
])
def test_what_it_grew_by(why: Any, short: str, causes: list[str]) -> None:
    assert diagnosis_lines.short_cause(why) == short
    assert diagnosis_lines.causes(why) == causes


STATE = ['80% of the table is udp: most of it UNREPLIED: server down, scan, or one-way traffic such as syslog',
         '15% ASSURED (never evicted), 70% UNREPLIED']


def rate(share: int) -> NewRate:
    return NewRate(840, 100, {}, (Opener('10.1.0.1', share, Key()), Opener('10.1.0.2', 1, Key())),
                   ((DNS, share), (Key(17, '', '10.0.0.54', 53), 1)))


@pytest.mark.parametrize(('known', 'first', 'last'), [
    ({}, [], []),
    ({'rate': rate(50)}, ['about 800 new connections/s, most udp to 10.0.0.53:53, most from 10.1.0.1'], []),
    ({'rate': rate(49)}, ['about 800 new connections/s'], []),
    ({'rate': NewRate(0.5, 0, {}, (), ())}, ['under 1 new connections/s'], []),
    ({'local': 0.2, 'owners': Missing('no psutil')}, [], ['20% opened by this host; processes unknown: no psutil']),
    ({'local': 0.2, 'owners': Missing('no psutil', chosen=True)}, [], []),
    ({'local': 0.2, 'owners': (Owner('app', 7, 1), Owner('web', 8, 2))}, [],
     ['20% opened by this host: app (pid 7) 1 socket, web (pid 8) 2 sockets']),
])
def test_what_else_is_said(known: dict[str, Any], first: list[str], last: list[str]) -> None:
    assert diagnosis_lines.details(diagnosis(**known)) == [*first, *STATE, *last]


SOURCE, TARGET = Key(source='10.1.0.1'), Key(17, '', '10.0.0.53', 53)


@pytest.mark.parametrize(('change', 'growth', 'lines'), [
    ({'sources': ((SOURCE, 100),), 'targets': ((TARGET, 100),)}, (), [
        'top source: 10.1.0.1 (pod shop/web) opened 10% of the table',
        'top service: udp to 10.0.0.53:53 (pod kube-system/dns) is 10% of the table']),
    ({'sources': ((SOURCE, 99),), 'targets': ((TARGET, 99),)}, (), []),
    ({'sources': ((SOURCE, 100),), 'targets': ((TARGET, 100),)}, GREW, []),
    ({'sources': ((SOURCE, 100),), 'targets': ((TARGET, 100),)}, (Growth(Key(17), 0, 1, 9),), [
        'top source: 10.1.0.1 (pod shop/web) opened 10% of the table']),
    ({'nat': 100, 'snat': 60, 'dnat': 50}, (), ['10% of entries use source and destination NAT on this host']),
    ({'nat': 100, 'snat': 100}, (), ['10% of entries use source NAT on this host']), ({'nat': 99, 'dnat': 99}, (), [])])
def test_whose_it_is(change: dict[str, Any], growth: tuple[Growth, ...], lines: list[str]) -> None:
    found = diagnosis_lines.details(diagnosis(PROFILE._replace(**change), growth=growth))
    assert found == [*STATE, *lines]


def test_of_a_sample_it_is_said_so() -> None:
    sampled = diagnosis_lines.details(diagnosis(PROFILE._replace(entries=9000, offloaded=2, spared=1)))
    assert sampled[0] == STATE[0] + ' (sampled 1000 of 9000)'
    assert sampled[1] == '15% ASSURED or offloaded (never evicted), 70% UNREPLIED'
    # this kernel evicts offloaded ones
    evicted = diagnosis_lines.details(diagnosis(PROFILE._replace(offloaded=2)))
    assert evicted[1] == '15% ASSURED (never evicted), 70% UNREPLIED'


def test_of_what_has_emptied_the_profile_of_then_is_shown() -> None:
    cause = Cause(NOON - 7200, 100, PROFILE, BASELINE, GREW)
    assert diagnosis_lines.details(diagnosis(emptied=True, cause=cause, rate=rate(99))) == [f'then {s}' for s in STATE]
    # its largest source and service, too, where there is nothing to compare with
    busy = PROFILE._replace(sources=((SOURCE, 750),), targets=((TARGET, 750),))
    unknown = cause._replace(profile=busy, baseline=Missing('no baseline'), growth=())
    assert diagnosis_lines.details(diagnosis(emptied=True, cause=unknown))[2:] == [
        'then top source: 10.1.0.1 (pod shop/web) opened 75% of the table',
        'then top service: udp to 10.0.0.53:53 (pod kube-system/dns) is 75% of the table']
    for nothing in (diagnosis(emptied=True), PROFILE, Missing('x')):
        assert diagnosis_lines.details(nothing) == []


def test_performance_data() -> None:
    words = ['flows_tcp_established=150', 'flows_tcp_time_wait=0', 'flows_tcp_syn_sent=0', 'flows_tcp_other=40',
             'flows_udp=800', 'flows_other=10', 'flows_unreplied=700']
    assert list(diagnosis_lines.performance(PROFILE)) == words
    assert next(diagnosis_lines.performance(diagnosis(PROFILE._replace(entries=10_000)))) == \
        'flows_tcp_established=1500'
    offloaded = PROFILE._replace(offloaded=30, states={**PROFILE.states, (6, 'OFFLOAD'): 20})
    assert list(diagnosis_lines.performance(diagnosis(offloaded)))[3:5] == [
        'flows_tcp_offload=20', 'flows_tcp_other=40']
    # of UDP alone
    assert 'flows_tcp_offload=0' in diagnosis_lines.performance(PROFILE._replace(offloaded=30))
    for nothing in (Missing('x'), diagnosis(unread=Missing('x'))):
        assert list(diagnosis_lines.performance(nothing)) == []
