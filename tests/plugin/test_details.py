"""Lines of the long output, by what is known."""

from __future__ import annotations

from typing import Any

import pytest
from assessments import QUIET, THREE_QUARTERS, assessment, logged, lost

from check_conntrack_lib.analysis.hash_chains import ChainLimit, HashLoad
from check_conntrack_lib.analysis.losses import INITIAL, RESET, UNNAMED
from check_conntrack_lib.analysis.trend import Forecast, Rise
from check_conntrack_lib.assessment import Assessment
from check_conntrack_lib.model import Counters, History, KernelLog, Missing, NotLoaded, Table
from check_conntrack_lib.plugin import details, long_output
from check_conntrack_lib.plugin.options import Options, parse

PLAIN, VERBOSE = parse([]), parse(['-v'])


def load(entries: int, refused: float = 0.01, all_namespaces: bool = True) -> HashLoad:
    return HashLoad(entries, 1000, all_namespaces, ChainLimit(2.0), refused)


def with_log(a: Assessment) -> Assessment:
    return a._replace(snapshot=a.snapshot._replace(kernel_log=KernelLog('/dev/kmsg')))


@pytest.mark.parametrize(('table', 'known', 'text'), [
    (Table(750, 1000, 1000), {}, 'table: 750 of 1000 entries (nf_conntrack_max), 0.8 per bucket'),
    (Table(750, 1000, 0), {}, 'table: 750 of 1000 entries (nf_conntrack_max)'),
    (Table(750, 1000, Missing('x'), 900), {},
     'table: 750 of 900 entries (--limit), nf_conntrack_max is 1000'),
    (Table(1, 0, Missing('x')), {}, 'table: 1 entry; nf_conntrack_max is 0: only memory limits it'),
    (Table(1000, 2000, 1000), {'hash': load(2101)},
     'table: 1000 of 2000 entries (nf_conntrack_max), 2.1 per bucket with those of other namespaces'),
    (Table(1000, 2000, 1000), {'hash': load(2100)}, 'table: 1000 of 2000 entries (nf_conntrack_max), 1.0 per bucket'),
])
def test_table(table: Table, known: dict[str, Any], text: str) -> None:
    a = assessment(table, **known)
    assert list(details.table(a, VERBOSE, True)) == list(details.table(a, PLAIN, False)) == [text]
    assert list(details.table(a, PLAIN, True)) == []
    assert list(details.table(assessment(Missing('x')), VERBOSE, True)) == []


@pytest.mark.parametrize(('forecast', 'text'), [
    (Forecast(5, None, None), 'growth: +300 entries/min'),
    (Forecast(5, None, 600), 'growth: +300 entries/min'),
    (Forecast(5, 60, 600), 'growth: +300 entries/min; above 95% in 60 s, full in 10 min'),
    (Forecast(5, 0, 600), 'growth: +300 entries/min; full in 10 min'),
    (Forecast(5, 60, 600, False), 'growth: +300 entries/min; above 95% in 60 s, full in 10 min; no alert yet: must '
     'rise for 45 min (--horizon)'),
    (Forecast(5, 60, 600, True), 'growth: +300 entries/min; above 95% in 60 s, full in 10 min'),
    (Forecast(5, None, None, rise=Rise(9, 600, 60, 1)),
     'growth: +300 entries/min; rose by 9 in the last 10 min, falling for 60 s'),
])
def test_growth(forecast: Forecast, text: str) -> None:
    a = assessment(forecast=forecast)
    for options, trouble in ((PLAIN, False), (VERBOSE, True)):
        assert list(details.growth_lines(a, options, trouble)) == [text]
    assert list(details.growth_lines(a, PLAIN, True)) == ([text] if forecast.to_full else [])
    assert list(details.growth_lines(assessment(), PLAIN, False)) == []


def test_growth_by_other_options() -> None:
    a = assessment(forecast=Forecast(5, 60, 600, False))
    line, = details.growth_lines(a, parse(['-c', 'off', '--horizon', '2h']), False)
    assert line.endswith('above 100% in 60 s, full in 10 min; no alert yet: must rise for 90 min (--horizon)')


@pytest.mark.parametrize(('known', 'text'), [
    ({'losses': lost()}, 'no packets dropped and no "table full" message in the last 10 min'),
    ({'losses': lost(), 'log': logged(9)}, 'no packets dropped in the last 10 min'),
    ({'losses': lost(), 'log': QUIET._replace(suppressed=1)}, 'no packets dropped in the last 10 min'),
    ({'losses': lost(), 'log': QUIET._replace(flooded=True)}, 'no packets dropped in the last 10 min'),
    ({'losses': lost(), 'log': Missing('x')}, 'no packets dropped in the last 10 min'),
    ({'losses': lost(drop=1, insert_failed=1, clash_resolve=0)}, 'no packets dropped and no "table full" message in '
     'the last 10 min (clashes: see insert_failed)'),
    ({'losses': lost(drop=2)}, '2 packets dropped: possible causes: table briefly full, or out of memory'),
    ({'losses': lost(drop=2, insert_failed=2)},
     '2 packets dropped: possible causes: table briefly full, clashes, or out of memory'),
    ({'losses': lost(drop=2, insert_failed=1)},
     '2 packets dropped: possible causes: table briefly full, or out of memory'),
    ({'losses': lost(drop=2), 'log': logged(9)}, '2 packets dropped: table full'),
    ({'losses': lost(drop=2), 'table': Table(9, 9, 9)},
     '2 packets dropped: table full; new connections fail, existing ones continue'),
    ({'losses': lost(chaintoolong=1)}, '1 packet dropped: hash chain too long; raise nf_conntrack_buckets'),
    ({'losses': lost(600, RESET, drop=1, chaintoolong=1)}, '1 packet dropped: possible causes: table briefly full, '
     'or out of memory; 1 packet dropped: hash chain too long; raise nf_conntrack_buckets; counted since 11:50 UTC, '
     'before and after a reset of the counters')])
def test_dropped(known: dict[str, Any], text: str) -> None:
    assert list(details.dropped(with_log(assessment(**known)), PLAIN, True)) == [text]


def test_without_losses_nothing_is_said_of_drops() -> None:
    assert list(details.dropped(assessment(), PLAIN, True)) == []
    # the log was not read
    assert list(details.dropped(assessment(losses=lost()), PLAIN, True)) == ['no packets dropped in the last 10 min']


@pytest.mark.parametrize(('hash_load', 'initial', 'parts'), [
    (load(9000), True, ('hash table: 9000 entries of all network namespaces in 1000 buckets: above about ',
                        'this kernel drops new connections and logs nothing.')),
    (load(9000, all_namespaces=False), False, ('9000 entries of this network namespace (others are not seen) in ',
                                               ' in the initial network namespace (1 MiB of memory)')),
    (load(9000, refused=0.0001), True, ('hash table: ',)), (load(9000, refused=0.00009), True, ()), (None, True, ())])
def test_hash_chains(hash_load: HashLoad | None, initial: bool, parts: tuple[str, ...]) -> None:
    a = assessment(hash=hash_load)
    a = a._replace(snapshot=a.snapshot._replace(initial=initial))
    found = list(details.hash_chains(a, PLAIN, True))
    assert len(found) == bool(parts)
    assert all(part in found[0] for part in parts)
    assert list(details.hash_chains(a, PLAIN, False)) == []


def test_evicted() -> None:
    assert list(details.early_drop(assessment(losses=lost(early_drop=1)), PLAIN, True)) == [
        'early_drop: 1 entry evicted in the last 10 min because the table was full (not yet ASSURED: half-open TCP, '
        'one-way UDP)']
    for a in (assessment(), assessment(losses=lost())):
        assert list(details.early_drop(a, PLAIN, True)) == []


@pytest.mark.parametrize(('packets', 'names', 'argv', 'lines'), [
    ({}, ('drop',), (), []),
    ({'insert_failed': 60}, ('drop',), (), [
        'insert_failed: 60 in the last 10 min (0.1/s); before Linux 5.10 this counter includes clashes that were '
        'resolved: not alerted by default']),
    ({'insert_failed': 60}, ('drop',), ('--insert-failed-warning', '1'), [
        'insert_failed: 60 in the last 10 min (0.1/s); before Linux 5.10 this counter includes clashes that were '
        'resolved: compared because a threshold is set']),
    ({'insert_failed': 60, 'clash_resolve': 0}, ('drop', 'clash_resolve'), (), [
        'insert_failed: 60 in the last 10 min (0.1/s): clashes not resolved, or NAT found no free port, one packet '
        'dropped each', 'what helps: a local DNS cache, resolv.conf "options single-request-reopen", SNAT with '
                        '--random-fully or more addresses; a larger table does not']),
])
def test_clashes(packets: dict[str, int], names: tuple[str, ...], argv: tuple[str, ...], lines: list[str]) -> None:
    a = assessment(losses=lost(**packets))
    a = a._replace(snapshot=a.snapshot._replace(counters=Counters(dict.fromkeys(names, (0,)))))
    assert list(details.insert_failed(a, parse(list(argv)), True)) == lines
    assert list(details.insert_failed(a, parse(list(argv)), False)) == lines[:1]
    a = a._replace(snapshot=a.snapshot._replace(counters=Missing('x')))
    assert list(details.insert_failed(a, PLAIN, True)) == []
    assert list(details.insert_failed(assessment(), PLAIN, True)) == []


FLOOD = '; the kernel log overflowed, some messages were not read'


@pytest.mark.parametrize(('log', 'losses', 'line'), [
    (logged(9), None, 'kernel log: 1 "table full" message at 11:59:51 UTC (rate-limited, not a packet count)'),
    (logged(120, 60)._replace(flooded=True), None, 'kernel log: 2 "table full" messages from 11:58:00 to 11:59:00 UTC '
     f'(rate-limited, not a packet count){FLOOD}'),
    (logged(9)._replace(covered=60), None, 'kernel log: 1 "table full" message at 11:59:51 UTC; the log goes back 60 s '
     'only (rate-limited, not a packet count)'),
    (QUIET._replace(covered=60), None, 'kernel log: no "table full" message in the last 60 s, as far as the log goes '
     'back; a larger ring (log_buf_len=) or the journal keeps more'),
    (QUIET._replace(covered=60, without_drops=300), None,
     'kernel log: no "table full" message in the last 60 s, as far as the log goes back'),
    (QUIET._replace(suppressed=1), lost(), 'kernel log: no "table full" message in the last 5 min, but 1 message '
     'suppressed by rate limiting'),
    (QUIET, None, 'kernel log: no "table full" message in the last 5 min'), (QUIET, lost(), ''),
    (QUIET, lost(drop=1), 'kernel log: no "table full" message in the last 5 min'),
    (QUIET._replace(flooded=True), lost(), f'kernel log: no "table full" message in the last 5 min{FLOOD}'),
    (Missing('x'), None, '')])
def test_kernel_log(log: Any, losses: Any, line: str) -> None:
    a = with_log(assessment(log=log, losses=losses))
    assert list(details.kernel_log(a, PLAIN, True)) == [line] * bool(line)


def test_messages_of_others() -> None:
    elsewhere = {5: 1, INITIAL: 2, UNNAMED: 3, 6: 4, 7: 5}
    lines = ['kernel log: 1 "table full" message from network namespace 5, ignored here (check it with --netns all)',
             'kernel log: 2 "table full" messages from the host (initial network namespace), ignored here (check it '
             'with --netns all)',
             'kernel log: 3 "table full" messages ignored: by its counters this namespace dropped nothing then',
             'kernel log: messages of 2 more network namespaces, ignored here']
    own = with_log(assessment(log=logged(9)._replace(elsewhere=elsewhere)))
    assert list(details.kernel_log(own, VERBOSE, True))[1:] == lines
    assert list(details.kernel_log(own, PLAIN, False))[1:] == lines
    assert list(details.kernel_log(own, PLAIN, True))[1:] == []
    # nobody judges them: they take no line of an alert, which says whose messages there are none of
    others = with_log(assessment(log=QUIET._replace(elsewhere=elsewhere), losses=lost(drop=1)))
    none = 'kernel log: no "table full" message of this network namespace in the last 5 min'
    assert list(details.kernel_log(others, PLAIN, True)) == [none]
    assert list(details.kernel_log(others, VERBOSE, True)) == [none, *lines]
    calm = with_log(assessment(log=QUIET._replace(elsewhere=elsewhere), losses=lost()))
    assert list(details.kernel_log(calm, PLAIN, True)) == []
    assert list(details.dropped(calm, PLAIN, True)) == [
        'no packets dropped and no "table full" message of this network namespace in the last 10 min']
    del elsewhere[7], elsewhere[6]
    assert list(details.kernel_log(own, VERBOSE, True))[1:] == lines[:3]


def said(a: Assessment, options: Options = PLAIN) -> list[str]:
    return long_output.lines(a, options, True)


def test_a_table_that_is_hidden() -> None:
    hidden = assessment(Missing('x', 'do y'))
    assert said(hidden) == ['usage: do y']
    assert said(assessment(Missing('x'))) == []
    assert said(assessment(NotLoaded('/proc/x'))) == []
    counted = hidden._replace(snapshot=hidden.snapshot._replace(counted=5), losses=lost(drop=1))
    assert said(counted)[0].startswith('1 packet dropped: ')


def test_notes_and_what_was_not_read() -> None:
    a = assessment(THREE_QUARTERS, history=History(note='put aside', unwritten='/h: disk full'))
    unwritten = 'not recorded: /h: disk full: drop rates and growth use older samples'
    assert said(a) == ['history: put aside', unwritten]
    assert said(a._replace(log=Missing('no right', 'use sudo'), cloud=Missing('x'))) == [
        'history: put aside', 'kernel log not checked: no right; use sudo', 'cloud not checked: x', unwritten]
    assert said(a._replace(snapshot=a.snapshot._replace(cut_off=True))) == [
        'history: put aside', 'network not checked: only lo here: PrivateNetwork=yes?; the table of this network '
        'namespace is seen, not the one of the host', unwritten]
    assert said(a._replace(stale_base=90000))[-1] == \
        'not recorded: /h: disk full: drops are not counted: the newest sample is 25 h old'
