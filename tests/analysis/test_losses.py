"""Differences of per-CPU 32-bit counters, and whose table a log line speaks of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nagiosplugin import Metric

from check_conntrack_lib.analysis.losses import (
    RESET,
    UNNAMED,
    LogEvidence,
    Losses,
    comparable,
    counter_difference,
    log_evidence,
    losses,
    quiet_since,
    seconds_without_drops,
)
from check_conntrack_lib.assessment import Assessment, Question, evaluate
from check_conntrack_lib.model import Counters, History, Instant, KernelLog, LogLine, Missing, Sample, Suppressed, Table
from check_conntrack_lib.plugin.contexts import Results, contexts
from check_conntrack_lib.plugin.first_line import first_line
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.plugin.resource import metrics
from check_conntrack_lib.snapshot import Snapshot

WRAP = 2**32


def sample(uptime: float, **per_cpu: tuple[int, ...]) -> Sample:
    counters = Counters({'early_drop': (0,) * len(per_cpu['drop']), **per_cpu}) if per_cpu else None
    return Sample(Instant(0, uptime, uptime), 'boot', 1, 0, 100, None, counters)


@pytest.mark.parametrize(('old', 'new', 'seconds', 'expected'), [
    (5, 5, 1, 0),
    (5, 9, 1, 4),
    (WRAP - 50, 100, 300, 150),
    (WRAP - 1, 0, 300, 1),
    # 71 million a second on one CPU is no wrap
    (47649, 3, 60, None),
    # a wrap by rate alone, but more than half the way round
    (47649, 3, 864000, None),
    (3_000_000_000, 100, 60, None),
    (3_000_000_000, 100, 3600, 1_294_967_396),
])
def test_wrap_or_reset(old: int, new: int, seconds: float, expected: int | None) -> None:
    assert counter_difference(old, new, seconds) == expected


@given(st.integers(0, WRAP - 1), st.integers(0, 1_000_000))
def test_any_plausible_step_is_found_again(old: int, step: int) -> None:
    assert counter_difference(old, (old + step) % WRAP, 60) == step


def test_each_cpu_wraps_alone() -> None:
    """The sum of the rows went down by 4 billion; no packet more than 150 was lost."""
    found = losses(sample(0, drop=(WRAP - 50, 7)), sample(300, drop=(100, 7)))
    assert found == Losses(300, {'early_drop': 0, 'drop': 150})
    assert found.lost == 150
    assert found.rate(found.lost) == 0.5


def test_lost_is_drop_and_chaintoolong_without_insert_failed() -> None:
    found = losses(sample(0, drop=(0,), insert_failed=(0,), chaintoolong=(0,)),
                   sample(10, drop=(3,), insert_failed=(9,), chaintoolong=(5,)))
    assert found
    assert (found.lost, found.clashes) == (8, 4)


@pytest.mark.parametrize('now', [
    sample(300, drop=(3, 7)),
    sample(300, drop=(47650,)),
    sample(300),
    sample(0, drop=(47650, 7)),
], ids=['reset', 'other CPUs', 'no counters', 'no time'])
def test_what_cannot_be_compared(now: Sample) -> None:
    assert losses(sample(0, drop=(47649, 7)), now) is None


def test_a_counter_that_only_one_sample_has_is_left_out() -> None:
    """Another version of the check, which reads one counter more, forgets no loss."""
    counted = losses(sample(0, drop=(47649, 7)), sample(300, drop=(47650, 9), found=(70, 80)))
    assert counted is not None
    assert counted.packets == {'early_drop': 0, 'drop': 3}


def test_a_run_without_counters_takes_any_base() -> None:
    assert comparable(sample(0, drop=(1,)), sample(9))
    assert not comparable(sample(0), sample(9, drop=(1,)))


def test_a_namespace_that_dropped_nothing_logged_nothing() -> None:
    """Another container's line on a kernel that names none, or a dead namespace's with the same inode."""
    log = KernelLog('kmsg', (LogLine(100, OTHER), LogLine(290, OTHER), LogLine(299, OTHER)), names_namespaces=True)
    clean = Counters({'drop': (0, 0)})
    dirty = Counters({'drop': (0, 3)})
    assert seconds_without_drops(clean, None) == float('inf')
    assert seconds_without_drops(dirty, None) == seconds_without_drops(None, None) == 0
    assert seconds_without_drops(dirty, Losses(50, {'drop': 3})) == 0
    assert seconds_without_drops(dirty, Losses(50, {'drop': 0})) == 50
    found = log_evidence(log, 300, 250, OTHER, False, seconds_without_drops(dirty, Losses(50, {'drop': 0})))
    assert (found.ages, found.elsewhere) == ((200,), {UNNAMED: 2})
    unnamed = log._replace(table_full=(LogLine(290),), names_namespaces=False)
    assert log_evidence(unnamed, 300, 250, OWN, True, float('inf')).elsewhere == {UNNAMED: 1}


def test_where_the_others_are_named_the_initial_one_s_lines_are_certain() -> None:
    """Also of the table that was there before the module was loaded again."""
    log = KernelLog('kmsg', (LogLine(280, OTHER), LogLine(290)), names_namespaces=True)
    found = log_evidence(log, 300, 250, OWN, True, float('inf'))
    assert (found.ages, found.elsewhere) == ((10,), {OTHER: 1})


OWN, OTHER = 4026531840, 4026532246


def test_old_kernels_name_no_namespace() -> None:
    """What an older kernel logs may be ours: it is judged."""
    log = KernelLog('kmsg', (LogLine(10), LogLine(290), LogLine(299)), (Suppressed(280, 40), Suppressed(5, 1000)))
    found = log_evidence(log, 300, 100, OWN, initial=False)
    assert found.ages == (10, 1)
    assert found.suppressed == 40
    assert found.elsewhere == {}


@pytest.mark.parametrize(('initial', 'own', 'ages', 'elsewhere'), [
    (True, OWN, (1.0,), {OTHER: 1}),
    (False, OTHER, (2.0,), {0: 1}),
    (False, 77, (), {0: 1, OTHER: 1}),
])
def test_new_kernels_name_all_but_the_initial_one(
        initial: bool, own: int, ages: tuple[float, ...], elsewhere: dict[int, int]) -> None:
    log = KernelLog('kmsg', (LogLine(298, OTHER), LogLine(299)), names_namespaces=True)
    found = log_evidence(log, 300, 100, own, initial)
    assert found.ages == ages
    assert found.elsewhere == elsewhere


@pytest.mark.parametrize(('packets', 'lost', 'dropped', 'clashes'), [
    # from 5.10 on an unsolved clash counts in both
    ({'drop': 15, 'insert_failed': 15, 'clash_resolve': 3}, 0, 0, 15),
    ({'drop': 18, 'insert_failed': 15, 'clash_resolve': 0}, 3, 3, 15),
    # an entry that died meanwhile counts in insert_failed alone
    ({'drop': 3, 'insert_failed': 5, 'clash_resolve': 0}, 0, 0, 5),
    # from 5.15 on a chain too long counts in insert_failed, and not in drop
    ({'drop': 7, 'insert_failed': 12, 'chaintoolong': 10, 'clash_resolve': 0}, 15, 5, 2),
    # before 5.10 insert_failed tells nothing of drop
    ({'drop': 15, 'insert_failed': 15}, 15, 15, 15),
    ({'drop': 2}, 2, 2, 0),
])
def test_what_clashes_cost_is_told_apart(packets: dict[str, int], lost: int, dropped: int, clashes: int) -> None:
    found = Losses(300.0, packets)
    assert (found.lost, found.dropped, found.clashes) == (lost, dropped, clashes)


@pytest.mark.parametrize(('initial', 'lost'), [(True, 40), (False, None)])
def test_a_reboot_gives_the_inodes_to_other_containers(initial: bool, lost: int | None) -> None:
    first, last = (Sample(Instant(1000 + uptime, uptime, 0), 'old', 7, 5, 100, None, Counters({'drop': (drop,)}, ''))
                   for uptime, drop in ((5000, 2), (5240, 42)))
    snapshot = Snapshot(Instant(6260, 20, 20), 'new', 7, initial, Table(5, 100, 64), Counters({'drop': (0,)}, ''),
                        Missing('off', chosen=True))
    history = History(before_resets=((first, last),))
    found = evaluate(snapshot, history, '', Question(300, 3600, 95, 'off', '', 14)).losses
    assert (found.lost if found else None) == lost


def test_a_reboot_is_no_proof_that_nothing_was_dropped() -> None:
    counters = Counters({'drop': (3,)}, '')
    assert seconds_without_drops(counters, Losses(300.0, {'drop': 0})) == 300
    assert seconds_without_drops(counters, Losses(300.0, {'drop': 0, 'chaintoolong': 4}, 'a reboot')) == 0


def test_a_reload_after_losses_is_no_proof_that_nothing_was_dropped() -> None:
    """The module's counters are 0 again; the lines may be those of the table that was there before."""
    anew = Counters({'drop': (0,)}, '')
    assert seconds_without_drops(anew, Losses(300.0, {'drop': 30}, 'a reset of the counters')) == 0
    # the log is of this boot
    assert seconds_without_drops(anew, Losses(300.0, {'drop': 30}, 'a reboot')) == float('inf')


@pytest.mark.parametrize(('since_made', 'packets', 'expected'), [
    ({'drop': (1, 0), 'insert_failed': (1, 0), 'clash_resolve': (0, 0)}, None, float('inf')),
    ({'drop': (9, 0), 'insert_failed': (1, 0), 'clash_resolve': (0, 0)},
     {'drop': 1, 'insert_failed': 1, 'clash_resolve': 0}, 300),
    ({'drop': (9, 0), 'insert_failed': (1, 0), 'clash_resolve': (0, 0)},
     {'drop': 2, 'insert_failed': 1, 'clash_resolve': 0}, 0),
    # before 5.10 insert_failed tells nothing of drop
    ({'drop': (1, 0), 'insert_failed': (1, 0)}, {'drop': 1, 'insert_failed': 1}, 0),
    # chains too long are in insert_failed and not in drop
    ({'drop': (1, 0), 'insert_failed': (5, 0), 'chaintoolong': (5, 0), 'clash_resolve': (0, 0)}, None, 0),
])
def test_a_clash_is_no_full_table(since_made: dict[str, tuple[int, int]], packets: dict[str, int] | None,
                                  expected: float) -> None:
    """One DNS clash must not make a container charged with the log lines of all the others."""
    found = None if packets is None else Losses(300.0, packets)
    assert seconds_without_drops(Counters(since_made, ''), found) == expected


@pytest.mark.parametrize(('packets', 'state'), [
    ({'drop': 0, 'insert_failed': 6000, 'chaintoolong': 6000, 'clash_resolve': 0}, 0),
    ({'drop': 600, 'insert_failed': 6600, 'chaintoolong': 6000, 'clash_resolve': 0}, 1),
    ({'drop': 6000, 'insert_failed': 6000, 'clash_resolve': 0}, 2),
], ids=['chains too long', 'both', 'clashes'])
def test_insert_failed_judges_clashes(packets: dict[str, int], state: int) -> None:
    context = next(one for one in contexts(parse([])) if one.name == 'insert_failed_per_s')
    counters = Counters({name: (number,) for name, number in packets.items()}, '')
    snapshot = Snapshot(Instant(1, 1, 1), 'b', 1, True, Table(1, 2, 3), counters, Missing('off', chosen=True))
    found = Assessment(snapshot, History(), '', Losses(300.0, packets), None, Missing('off', chosen=True))
    metric = Metric('insert_failed_per_s', packets['insert_failed'] / 300)
    result = context.evaluate(metric, SimpleNamespace(assessment=found))
    assert (result.state.code, result.metric.value) == (state, metric.value)


@pytest.mark.parametrize(('dropped', 'refused', 'words'), [
    (0, 3000, '3000 packets dropped since 00:11 UTC (10.0/s): hash chains too long'),
    (5, 3000, '3005 packets dropped since 00:11 UTC (10.0/s): hash chains too long'),
    (3000, 5, 'table was full, 3005 packets dropped since 00:11 UTC (10.0/s)'),
], ids=['chains', 'mostly chains', 'full'])
@pytest.mark.parametrize('sign', ['an old line', 'an eviction'])
def test_the_larger_cause_leads(dropped: int, refused: int, words: str, sign: str) -> None:
    """One old line or eviction must not send the reader to nf_conntrack_max, which is 96 % free."""
    packets = {'drop': dropped, 'insert_failed': refused, 'chaintoolong': refused, 'clash_resolve': 0,
               'early_drop': int(sign == 'an eviction')}
    counters = Counters({name: (number,) for name, number in packets.items()}, '')
    log = KernelLog('kmsg', (LogLine(800.0),) if sign == 'an old line' else ())
    snapshot = Snapshot(Instant(1000, 1000, 1000), 'b', 1, True, Table(16966, 400000, 512), counters, log)
    before = Sample(Instant(700, 700, 700), 'b', 1, 16966, 400000, 512,
                    Counters(dict.fromkeys(packets, (0,)), ''))
    found = evaluate(snapshot, History(before), '', Question(300, 3600, 95, 'off', '', 14))
    judged = [context.evaluate(metric, SimpleNamespace(assessment=found)) for metric in metrics(found)
              for context in contexts(parse([])) if context.name == (metric.context or metric.name)]
    assert first_line(found, list(Results(*judged))).startswith(words)


@pytest.mark.parametrize(('old', 'new', 'seconds', 'moved'), [
    (5, 5, 1, 0), (5, 9, 0, 4), (WRAP - 1, 0, 1, 1), (WRAP - 1, 4_999_999, 1, 5_000_000),
    (WRAP - 1, 5_000_000, 1, None), (WRAP >> 1, 0, 1e9, WRAP >> 1), ((WRAP >> 1) - 1, 0, 1e9, None)])
def test_wrapped_or_reset(old: int, new: int, seconds: float, moved: int | None) -> None:
    assert counter_difference(old, new, seconds) == moved


def quiet(span: float = 60, across: str = '', **packets: int) -> Losses:
    return Losses(span, {'drop': 0, **packets}, across)


@pytest.mark.parametrize(('before', 'new', 'span'), [
    (quiet(100), quiet(60), 160), (None, quiet(60), 60), (quiet(100, drop=1), quiet(60), 60),
    (quiet(100), quiet(60, drop=1), 60), (quiet(100, RESET), quiet(60), 60), (quiet(100), quiet(60, RESET), 60),
    # clashes are no drop of a full table
    (quiet(100, drop=1, insert_failed=1, clash_resolve=0), quiet(60), 160)])
def test_times_without_a_drop_in_a_row(before: Losses | None, new: Losses, span: float) -> None:
    found = quiet_since(before, new)
    assert found is not None
    assert (found.span, found.packets) == (span, new.packets)
    assert quiet_since(before, None) is None


@pytest.mark.parametrize(('covered', 'without', 'partial', 'can_hide'), [
    (298, 0, False, False), (297.9, 0, True, True), (10, 299, True, True), (10, 300, True, False)])
def test_a_log_that_is_shorter(covered: float, without: float, partial: bool, can_hide: bool) -> None:
    log = LogEvidence(300, (), {}, 0, covered=covered, without_drops=without)
    assert (log.partial, log.can_hide) == (partial, can_hide)


@pytest.mark.parametrize(('packets', 'lost', 'dropped', 'clashes', 'chains'), [
    ({'drop': 5}, 5, 5, 0, False), ({'drop': 5, 'insert_failed': 3}, 5, 5, 3, False),
    ({'drop': 5, 'insert_failed': 3, 'clash_resolve': 0}, 2, 2, 3, False),
    ({'drop': 1, 'insert_failed': 3, 'clash_resolve': 0}, 0, 0, 3, False),
    ({'drop': 5, 'insert_failed': 9, 'chaintoolong': 6}, 11, 5, 3, True),
    ({'drop': 5, 'insert_failed': 1, 'chaintoolong': 5}, 10, 5, 0, False)])
def test_what_was_lost(packets: dict[str, int], lost: int, dropped: int, clashes: int, chains: bool) -> None:
    found = Losses(10, packets)
    assert (found.lost, found.dropped, found.clashes, found.mostly_chains) == (lost, dropped, clashes, chains)
    assert found.rate(5) == 0.5
