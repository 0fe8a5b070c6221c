"""Each kind of alert: its code, cause, next command, and when it clears."""

from __future__ import annotations

from typing import Any

import pytest
from assessments import NOON, assessment, logged, lost
from nagiosplugin import Critical, Metric, Ok, Result, Unknown, Warn

from check_conntrack_lib.analysis.hash_chains import ChainLimit, HashLoad
from check_conntrack_lib.analysis.hysteresis import Crossed, Drops
from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.model import History, Instant, Missing, NotLoaded, Sample, Table
from check_conntrack_lib.plugin.alerts import TRIAGE, Alert, alert, troubles
from check_conntrack_lib.plugin.options import parse

CHAINS = lost(drop=1, chaintoolong=5)
DROPS = Drops(3, 12, NOON - 7200, NOON - 900, NOON - 600, 0.1)
CROSSED = Crossed(85, 80, NOON - 7200, NOON - 600, 86, True)
USE = PortUse(ReplyTuple(17, b'abcd', 53, b'efgh'), 910, 1000, 900, True)
PORTS = 'source NAT looks for a free port in a part of its range only: nf_conntrack_max does not help'
AWS = ("AWS's own table for security groups: rules that need no tracking, shorter idle timeouts or a larger instance "
       'help, nf_conntrack_max does not')


def bad(name: str, value: Any = 1, state: Any = Critical) -> Result:
    return Result(state, metric=Metric(name, value))


def alert_of(a: Assessment, *names: str, argv: tuple[str, ...] = ()) -> Alert:
    found = alert(a, [bad(name) for name in names], parse(list(argv)))
    assert found
    return found


def test_the_worst_first_then_by_rank() -> None:
    results = [bad('x', state=Critical), bad('usage', state=Critical), bad('early_drop_per_s', state=Critical),
               bad('dropped_per_s', state=Critical), bad('other', state=Ok), bad('usage', state=Warn)]
    assert [one.metric.name for one in troubles(results)] == [
        'dropped_per_s', 'usage', 'early_drop_per_s', 'x', 'usage']


def test_all_is_well() -> None:
    assert alert(assessment(), [bad('usage', state=Ok), bad('other_namespaces')], parse([])) is None


@pytest.mark.parametrize(('known', 'name', 'code'), [
    ({'table': NotLoaded('/proc/x')}, 'not_loaded', 'not-loaded'),
    ({}, 'usage', 'usage'), ({}, 'trend', 'not-readable'), ({}, 'hash_refused', 'hash-chains'),
    ({'losses': CHAINS}, 'dropped_per_s', 'hash-chains'), ({'losses': CHAINS}, 'table_full_lines', 'hash-chains'),
    ({'losses': CHAINS}, 'early_drop_per_s', 'hash-chains'), ({'losses': CHAINS}, 'usage', 'usage'),
    ({'losses': lost(drop=1)}, 'dropped_per_s', 'dropped'), ({}, 'table_full_lines', 'table-full'),
    ({'losses': lost(drop=1, early_drop=1)}, 'dropped_per_s', 'table-full'),
    ({'losses': lost(early_drop=1)}, 'early_drop_per_s', 'early-drop'),
    ({}, 'insert_failed_per_s', 'insert-failed')])
def test_codes(known: dict[str, Any], name: str, code: str) -> None:
    assert alert_of(assessment(**known), name).code == code


def test_it_is_the_worst_result_s() -> None:
    a = assessment(losses=lost(drop=1))
    assert alert_of(a, 'usage', 'early_drop_per_s', 'dropped_per_s').code == 'dropped'
    found = alert(a, [bad('usage', state=Critical), bad('kernel-log', Missing('needs root'), Unknown)], parse([]))
    assert found
    assert (found.code, found.next, found.clears) == (
        'usage', TRIAGE, 'below 85% (-w, Icinga: vars.conntrack_warning)')


def test_what_could_not_be_read() -> None:
    found = alert(assessment(), [bad('kernel-log', Missing('x'), Unknown)], parse([]))
    assert found == Alert('not-readable', '', TRIAGE, 'when kernel-log can be read (docs/troubleshooting.md)')
    assert found.lines() == [f'next: {TRIAGE}',
                             'alert: not-readable (docs/alerts.md#not-readable); clears when kernel-log can be read '
                             '(docs/troubleshooting.md)']
    assert Alert('x', '', 'y', '').lines()[1] == 'alert: x (docs/alerts.md#x)'


BUCKETS = 'sudo sysctl -w net.netfilter.nf_conntrack_buckets='


def load(entries: int, all_namespaces: bool = True) -> HashLoad:
    return HashLoad(entries, 1024, all_namespaces, ChainLimit(2.0), 0.01)


def test_buckets_that_were_raised_since_packets_were_dropped() -> None:
    at = Instant(NOON - 300, 4700, 4700)
    for before, said in ((512, 'nf_conntrack_buckets was 512 when packets were dropped, and is 65536 since'),
                         (65536, 'single hash chains are too long'), (None, 'single hash chains are too long')):
        history = History(base=Sample(at, 'b', 1, 9000, 65536, before))
        found = alert_of(assessment(Table(9000, 65536, 65536), losses=CHAINS, history=history), 'dropped_per_s')
        assert found.cause.startswith(said)
        assert found.next == TRIAGE


@pytest.mark.parametrize(('table', 'known', 'cause', 'command'), [
    (Table(2048, 4000, 1024), {}, 'nf_conntrack_buckets is 1024 for 2048 entries (2 per bucket)',
     f'{BUCKETS}4096 (1 MiB of memory; undo: =1024)'),
    (Table(2047, 4000, 1024), {}, 'single hash chains are too long although there are 2.0 entries per bucket: many '
     'flows with the same address and port, or too few buckets at the peak, or entries of other network namespaces, '
     'which share the buckets (only root sees them)', TRIAGE),
    (Table(46, 400_000, 1024), {'hash': load(46)}, 'single hash chains are too long although there are 0.0 entries per '
     'bucket: many flows with the same address and port, or too few buckets at the peak', TRIAGE),
    (Table(9, 4096, 1024), {'hash': load(10_000)},
     'nf_conntrack_buckets is 1024 for 10000 entries of all network namespaces (10 per bucket)',
     f'{BUCKETS}10240 (1 MiB of memory; undo: =1024)'),
    (Table(10_000, 400_000, 1024), {'hash': load(10_000)},
     'nf_conntrack_buckets is 1024 for 10000 entries (10 per bucket)',
     f'{BUCKETS}400384 (3 MiB of memory; undo: =1024)'),
    (Table(5, 4000, 1), {}, 'nf_conntrack_buckets is 1 for 5 entries (5 per bucket)',
     f'{BUCKETS}4096 (1 MiB of memory; undo: =1)'),
    (Table(5, 4000, Missing('x')), {}, '', TRIAGE),
    (Table(5, 4000, 0), {}, 'nf_conntrack_buckets is 0 for 5 entries (5 per bucket)',
     f'{BUCKETS}4096 (1 MiB of memory; undo: =0)'),
])
def test_long_hash_chains(table: Table, known: dict[str, Any], cause: str, command: str) -> None:
    found = alert_of(assessment(table, losses=CHAINS, **known), 'dropped_per_s')
    assert (found.cause, found.next) == (cause, command)
    assert found.clears == '5 min after the last drop (--window)'


def test_buckets_are_the_host_s() -> None:
    a = assessment(Table(2048, 4000, 1024), losses=CHAINS)
    a = a._replace(snapshot=a.snapshot._replace(initial=False))
    assert alert_of(a, 'dropped_per_s').next == TRIAGE


def test_of_a_drained_table_the_past_is_shown() -> None:
    for known, begin in (({'losses': lost(600, early_drop=1)}, '11:40'), ({'losses': lost(1, early_drop=1)}, '11:49'),
                         ({'log': logged(9)._replace(span=600)}, '11:40')):
        assert alert_of(assessment(**known), 'table_full_lines').next == \
            f"sudo conntrack-doctor history --from '2026-11-25 {begin}'"
    assert alert_of(assessment(Table(9, 9, 9), log=logged(9)), 'table_full_lines').next == TRIAGE


@pytest.mark.parametrize(('known', 'name', 'cause'), [
    ({'losses': lost(drop=1)}, 'dropped_per_s',
     'not known from the counters: the table was full for a moment, or memory was short'),
    ({'losses': lost(insert_failed=1)}, 'insert_failed_per_s',
     'two packets tried to create the same entry (DNS A and AAAA queries from one socket), or SNAT has no free source '
     'port'), ({}, 'usage', ''), ({'log': logged(9)}, 'table_full_lines', ''), ({}, 'nat_ports', PORTS),
    ({'losses': lost(insert_failed=60, clash_resolve=0, found=9999), 'ports': USE}, 'insert_failed_per_s', PORTS),
    ({}, 'conntrack_allowance_exceeded_per_s', AWS), ({}, 'conntrack_allowance_available', AWS),
    ({}, 'linklocal_allowance_exceeded_per_s', ''), ({}, 'settings', ''), ({}, 'growth_per_s', ''),
    ({}, 'early_drop_per_s', '')])
def test_causes(known: dict[str, Any], name: str, cause: str) -> None:
    assert alert_of(assessment(**known), name).cause == cause


@pytest.mark.parametrize(('known', 'name', 'argv', 'clears'), [
    ({}, 'usage', (), 'below 85% (-w, Icinga: vars.conntrack_warning)'),
    ({}, 'usage', ('-w', 'off'), 'below 95% (-c, Icinga: vars.conntrack_critical)'),
    ({}, 'usage', ('-w', '10:85'), 'inside 10:85 (-w, Icinga: vars.conntrack_warning)'),
    ({'crossed': CROSSED}, 'usage', (), 'below 80% for 10 min (-w, --clear; Icinga: vars.conntrack_warning)'),
    ({'crossed': CROSSED}, 'usage', ('-w', '3'), 'below 1.5% for 10 min (-w, --clear; Icinga: vars.conntrack_warning)'),
    ({'crossed': CROSSED._replace(times=2)}, 'usage', (),
     'at 12:50 UTC unless it is crossed again (--clear)'),
    ({'drops': DROPS}, 'table_full_lines', (), 'at 12:50 UTC unless more packets are dropped (--clear)'),
    ({'drops': DROPS}, 'dropped_per_s', (), 'at 12:50 UTC unless more packets are dropped (--clear)'),
    ({'log': logged(120, 60)}, 'table_full_lines', (),
     'at about 12:04 UTC unless more packets are dropped (--window)'),
    ({'losses': lost(early_drop=1)}, 'table_full_lines', (), '5 min after the last drop (--window)'),
    ({'losses': lost(early_drop=1)}, 'early_drop_per_s', ('--window', '10m'),
     '10 min after the last eviction (--window)'),
    ({'losses': lost(drop=1)}, 'dropped_per_s', (), '5 min after the last drop (--window)'),
    ({}, 'hash_refused', (), 'when there are enough buckets (--hash-warning)'),
    ({}, 'insert_failed_per_s', (), 'below 1/s over 5 min (--insert-failed-warning)'),
    ({}, 'insert_failed_per_s', ('--insert-failed-warning', 'off'),
     'below the threshold/s over 5 min (--insert-failed-warning)'),
    ({'table': NotLoaded('/proc/x')}, 'not_loaded', (),
     'when the module is loaded; if that is intended: --not-loaded ok (vars.conntrack_not_loaded)'),
    ({}, 'growth_per_s', ('--horizon', '1h'),
     'when the critical threshold is more than 60 min away (--trend, --horizon)'),
    ({}, 'nat_ports', (), 'below 60 (--nat-ports-warning)'),
    ({}, 'conntrack_allowance_available', ('--allowance-available-warning', 'off'),
     'at 5 or more (--allowance-available-critical)'),
    ({}, 'conntrack_allowance_exceeded_per_s', (), '5 min after the last dropped packet (--window)'),
    ({}, 'settings', (), 'when file and kernel agree; off: --settings-check off'),
    ({'crossed': CROSSED._replace(below=NOON - 300)}, 'usage', (),
     'at 12:05 UTC unless usage rises again (--clear)'),
    ({'crossed': CROSSED}, 'usage', ('--clear', '0'), 'below 85% (-w, --clear; Icinga: vars.conntrack_warning)'),
    ({'crossed': CROSSED}, 'usage', ('-w', '10:85'), 'inside 10:85 (-w, Icinga: vars.conntrack_warning)'),
])
def test_when_it_clears(known: dict[str, Any], name: str, argv: tuple[str, ...], clears: str) -> None:
    assert alert_of(assessment(**known), name, argv=argv).clears == clears


@pytest.mark.parametrize(('why', 'argv', 'command'), [
    ('network namespace x not found', ('--netns', 'x'), 'sudo check_conntrack --netns all -v'),
    ('network namespace x not found', (), TRIAGE), ('needs much', ('--netns', 'x'), TRIAGE),
    ('needs root', ('--netns', 'x'), 'sudo check_conntrack --netns x (to run it so always: docs/privileges.md)'),
    ('needs root', (), 'sudo check_conntrack (to run it so always: docs/privileges.md)')])
def test_the_next_command_where_something_is_missing(why: str, argv: tuple[str, ...], command: str) -> None:
    found = alert(assessment(), [bad('usage', Missing(why), Unknown)], parse(list(argv)))
    assert found
    assert (found.code, found.cause, found.next) == ('not-readable', '', command)
    assert found.clears == 'when usage can be read (docs/troubleshooting.md)'
