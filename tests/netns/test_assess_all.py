"""Many namespaces in one verdict: who leads, who is guilty, and what the recorder keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from nagiosplugin import Metric, Ok, Warn
from netns_tree import STAT, Proc
from recorder_samples import DAY, LOOK, rows, sample
from sqlite_steps import counted_steps

from check_conntrack_lib import assessment
from check_conntrack_lib.assessment import Assessment, Question
from check_conntrack_lib.counters import COUNTERS
from check_conntrack_lib.deadline import Deadline
from check_conntrack_lib.history import codec as recorded
from check_conntrack_lib.history import retention
from check_conntrack_lib.history.database import MANY, query_and_record, query_and_record_all
from check_conntrack_lib.model import Counters, History, Instant, Missing, Sample
from check_conntrack_lib.netns import assess
from check_conntrack_lib.netns.assess import NamespaceAssessments, assess_all
from check_conntrack_lib.plugin.contexts import contexts
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.plugin.ranking import rank_namespaces
from check_conntrack_lib.plugin.resource import ConnectionTracking
from check_conntrack_lib.readers import cpu_counters


@pytest.fixture
def path(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # on a slow machine, too, no upkeep is put off
    monkeypatch.setattr(retention, 'MOST_SECONDS', 3600)
    return in_memory / 'history.sqlite'


def assessed(proc: Proc, log: str, history: str = 'off') -> NamespaceAssessments:
    return assess_all(proc.host, Question(300, 3600, 95, log, history, 14), ('all',), nullcontext)


def test_lines_of_an_old_kernel_go_to_the_guilty_one(tmp_path: Path) -> None:
    proc = Proc(tmp_path / 'proc')
    proc.process(20, 5, entries=990)
    proc.process(30, 6, entries=950, drop=12)
    log = tmp_path / 'kmsg'
    log.write_text('4,1,4900000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n')
    assessments = assessed(proc, str(log))
    assert [(member.namespace.inode, member.logged) for member in assessments.members] == [(1, 0), (5, 0), (6, 1)]
    assert assessments.guessed


def test_entries_add_up_but_usage_does_not(tmp_path: Path) -> None:
    proc = Proc(tmp_path / 'proc')
    proc.process(20, 5, entries=700)
    proc.process(30, 6, entries=600)
    assessments = assessed(proc, 'off')
    assert assessments.entries == 1310
    assert [member.usage for member in assessments.members] == [1.0, 70.0, 60.0]


def test_each_has_a_history_of_its_own(tmp_path: Path) -> None:
    history = tmp_path / 'state' / 'history.sqlite'
    history.parent.mkdir(mode=0o700)
    for second, drop in ((0, 0), (400, 30)):
        proc = Proc(tmp_path / f'proc{second}')
        proc.process(20, 5, drop=drop)
        proc.process(30, 6, drop=5)
        host = proc.host._replace(clock=lambda now=second: Instant(1e9 + now, 5000.0 + now, 5000.0))  # type: ignore[misc]
        assessments = assess_all(host, Question(300, 3600, 95, 'off', str(history), 14), ('all',), nullcontext)
    assert [member.lost for member in assessments.members] == [0, 30, 0]
    assert rows(history) == 6


@pytest.mark.parametrize('kept', [False, True])
def test_of_those_that_are_alike_one_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """What each is told is what it would be told alone; a line of the log is about one of them."""
    question = Question(300, 3600, 95, 'off', str(tmp_path / 'history.sqlite') if kept else 'off', 14)
    proc = Proc(tmp_path / 'proc')
    for pid in range(20, 60):
        proc.process(pid, pid, entries=990 if pid == 30 else 10, drop=3)
    evaluated: list[Any] = []

    def evaluate(*arguments: Any) -> Assessment:
        evaluated.append(arguments)
        return assessment.evaluate(*arguments)

    monkeypatch.setattr(assess, 'evaluate', evaluate)
    for second in (0, 400):
        host = proc.host._replace(clock=lambda now=second: Instant(1e9 + now, 5e3 + now, 5e3))  # type: ignore[misc]
        del evaluated[:]
        found = assess_all(host, question, ('all',), nullcontext)
        assert len(evaluated) == 4, 'the own one, those before and after the full one, and that'
        for member in found.members:
            a = member.assessment
            assert a.snapshot.netns == member.namespace.inode
            assert a == assessment.evaluate(a.snapshot, a.history, a.history_file, question)
        options = parse(['--trend', 'off'])
        ranking = rank_namespaces(host, found, contexts(options), options)
        assert (ranking.worst.namespace.inode, ranking.over_warning, ranking.fine) == (30, 1, False)
        proc.write('30/' + cpu_counters.FILE, STAT.format(990, 3, z='0' * 8))
    log = tmp_path / 'kmsg'
    log.write_text('4,1,4900000000,-;nf_conntrack: nf_conntrack: table full in netns 40, dropping packet\n')
    found = assess_all(host, question._replace(kernel_log=str(log), history='off'), ('all',), nullcontext)
    assert [member.namespace.inode for member in found.members if member.logged] == [40]


@pytest.mark.parametrize('maximum', [1000, 262144])
def test_one_of_many_idle_ones_that_begins_to_drop_is_seen_at_once(tmp_path: Path, maximum: int) -> None:
    """Whether the history is asked by the index of busy samples or not, which only large tables are."""
    proc = Proc(tmp_path / 'proc')
    proc.write('sys/net/netfilter/nf_conntrack_max', f'{maximum}\n')
    for pid in range(20, 20 + 2 * MANY):
        proc.process(pid, pid)
    question = Question(300, 1200, 95, 'off', str(tmp_path / 'history.sqlite'), 14, thresholds=(85, 95), filling=65)
    for second in (0, 400, 460, 520, 580):
        if second == 520:
            proc.write(f'30/{cpu_counters.FILE}', STAT.format(7, 5, z='0' * 8))
        host = proc.host._replace(clock=lambda now=second: Instant(1e9 + now, 5e3 + now, 5e3))  # type: ignore[misc]
        members = assess_all(host, question, ('all',), nullcontext).members
        lost = {one.namespace.inode: one.lost for one in members if one.lost}
        assert lost == ({30: 5} if second >= 520 else {})
        for one in members:
            history = one.assessment.history
            assert isinstance(history, History)
            assert second == 0 or (history.base and history.base.netns == one.namespace.inode)
        assert len(members) == 2 * MANY + 1
    assert rows(tmp_path / 'history.sqlite') == 5 * len(members), 'each is recorded by each run'


@pytest.mark.slow
@pytest.mark.parametrize(('full', 'growth'), [
    (lambda _minute: 0, False), (lambda _minute: 200, False), (lambda minute: 100 + 14 * minute, True)])
def test_the_worst_of_many_has_a_trend(path: Path, full: Callable[[int], int], growth: bool) -> None:
    """The others are judged without, while their tables have room."""
    proc = Proc(path.parent / 'proc')
    for pid in range(2, MANY + 2):
        proc.process(pid, pid)
    for minute in range(60):
        options = parse(['--netns', 'all', '--history', str(path), '--kernel-log', 'off'])
        proc.write(f'2/{cpu_counters.FILE}', STAT.format(full(minute), 0, z='0' * 8))
        host = proc.host._replace(clock=lambda at=60.0 * minute: Instant(1e9 + at, 5e3 + at, 5e3))  # type: ignore[misc]
        resource = ConnectionTracking(host, options, contexts(options), Deadline(10))
        found = {metric.name: metric.value for metric in resource.probe()}
    assert resource.ranking
    assert resource.ranking.worst.namespace.inode == (2 if full(59) else 1)
    assert found['growth_per_s'] == pytest.approx(14 / 60 if growth else 0)
    of_others = [one.assessment.forecast for one in resource.ranking.order[1:]]
    assert of_others == [None] * MANY
    assert resource.contexts[1].evaluate(Metric('growth_per_s', 0), resource).state == (Warn if growth else Ok)


def test_a_full_table_leads_before_log_lines(tmp_path: Path) -> None:
    """Lines are not packets: 30 of them and a table at 0 % now, beside one that is full."""
    proc = Proc(tmp_path / 'proc')
    proc.process(20, 5, entries=1000, drop=40)
    proc.process(30, 6, entries=10, drop=40)
    log = tmp_path / 'kmsg'
    text = 'nf_conntrack: nf_conntrack: table full in netns'
    log.write_text(''.join(f'4,1,4900{n:06},-;{text} {netns}, dropping packet\n'
                           for n, netns in enumerate([5] * 3 + [6] * 9)))
    options = parse([])
    ranking = rank_namespaces(proc.host, assessed(proc, str(log)), contexts(options), options)
    assert [(one.namespace.inode, one.logged) for one in ranking.order] == [(5, 3), (6, 9), (1, 0)]


def test_the_hash_table_is_one_for_all(tmp_path: Path) -> None:
    proc = Proc(tmp_path / 'proc')
    proc.write('sys/kernel/osrelease', '6.12.0\n')
    proc.process(20, 5, entries=990)
    proc.process(30, 6, entries=424)
    hashes = [member.assessment.hash for member in assessed(proc, 'off').members]
    # 1424 entries in 64 buckets, whichever namespace is looked at
    assert [one and (one.entries, one.per_bucket) for one in hashes] == [(1424, 22.25)] * 3
    proc.write('slabinfo', 'nf_conntrack 1500 1600 256 16 1 : tunables 0 0 0 : slabdata 100 100 0\n')
    hashes = [member.assessment.hash for member in assessed(proc, 'off').members]
    assert [one and one.entries for one in hashes] == [1500] * 3
    proc.write('sys/kernel/osrelease', '5.10.0-46-amd64\n')
    assert [member.assessment.hash for member in assessed(proc, 'off').members] == [None] * 3


# --- the recorder


def test_one_transaction_for_all(path: Path) -> None:
    first = query_and_record_all(str(path), [sample(1000, netns=n) for n in (1, 2, 3)], LOOK, 14)
    assert not isinstance(first, Missing)
    assert [history.first_run for history in first] == [True] * 3
    second = query_and_record_all(str(path), [sample(1400, netns=n) for n in (3, 1, 4)], LOOK, 14)
    assert not isinstance(second, Missing)
    assert [history.first_run for history in second] == [False, False, True]
    assert [history.base.netns for history in second if history.base] == [3, 1]


def test_counters_come_back(path: Path) -> None:
    for counters in (Counters({'drop': (0, 0), 'invalid': (3, 0)}), Counters({'drop': (0,) * 4}), None,
                     Counters({'drop': (1, 2), 'of_the_future': (0, 0)})):
        text = recorded.counters_to_text(counters)
        assert recorded.counters_from_text(text) == counters
    old = '{"cpus":2,"drop":[1,2],"invalid":0}'
    assert recorded.counters_from_text(old) == Counters({'drop': (1, 2), 'invalid': (0, 0)})


@pytest.mark.slow
def test_a_namespace_gone_for_a_day_is_dropped(path: Path) -> None:
    """Also one of many rows, some at each run; its inode may be another's by then."""
    for minute in range(0, 3 * 1440, 8):
        now = [sample(60.0 * minute, netns=1)]
        if minute < 1440:
            now.append(sample(60.0 * minute, netns=2))
        if minute > 3 * 1440 - 100:
            now.append(sample(60.0 * minute, netns=2, entries=77))
        query_and_record_all(str(path), now, LOOK, 14)
    assert rows(path, 'SELECT count(*) FROM sample WHERE netns = 2 AND entries <> 77') == 0
    assert rows(path, 'SELECT count(*) FROM sample WHERE netns = 2') == 12
    assert rows(path, 'SELECT count(*) FROM gone') == 0
    assert rows(path, 'SELECT min(uptime) FROM sample') == 0, 'the one that stayed is kept'


def test_a_pause_of_the_check_drops_nobody(path: Path) -> None:
    for minute in range(0, 60, 4):
        query_and_record_all(str(path), [sample(60.0 * minute, netns=n) for n in (1, 2)], LOOK, 14)
    for minute in range(5000, 5100, 4):
        query_and_record(str(path), sample(60.0 * minute, netns=1), LOOK, 14)
    assert rows(path, 'SELECT count(*) FROM sample WHERE netns = 2') > 0


@pytest.mark.slow
def test_two_hundred_namespaces_for_two_weeks(path: Path) -> None:
    """Below 100 MB, and a run is little more work than with an empty file."""
    idle = Counters(dict.fromkeys(COUNTERS, (0,) * 8))
    busy = Counters({**idle.per_cpu, 'invalid': tuple(range(100, 108)), 'clash_resolve': (0, 1, 0, 2, 0, 0, 0, 0)})
    counters = [busy if n % 4 == 0 else idle for n in range(200)]
    texts = [recorded.counters_to_text(one) for one in counters]
    other = path.with_name('empty.sqlite')
    end = int(14 * DAY)

    def now(second: float) -> list[Sample]:
        return [Sample(Instant(1e9 + second, second, second), 'b', 4026532000 + 37 * n, 5, 262144, 262144, counters[n])
                for n in range(200)]

    query_and_record_all(str(path), now(0), LOOK, 14)
    query_and_record_all(str(other), now(end - 60), LOOK, 14)
    import sqlite3
    with sqlite3.connect(path) as database:
        # what does not change is kept hourly: a past as the retention leaves it
        for second in (*range(0, end - 3600, 3600), *range(end - 3600, end, 60)):
            database.executemany('INSERT INTO sample VALUES (?, 1, ?, ?, 5, 262144, 262144, ?)', (
                (1e9 + second, 4026532000 + 37 * n, float(second), texts[n]) for n in range(200)))
        database.executemany('UPDATE upkeep SET done = ? WHERE part = ?',
                             [(1e9 + end - 600 + 60 * part, part) for part in range(10)])
    assert path.stat().st_size < 100e6
    work: dict[Path, list[int]] = {path: [], other: []}
    for minute in range(25):
        for file, counts in work.items():
            with counted_steps() as steps:
                assert not isinstance(query_and_record_all(str(file), now(end + 60.0 * minute), LOOK, 14), Missing)
            counts.append(steps.count)
    assert max(work[path]) < 1.5 * max(work[other]), work
    assert rows(path) < 110_000
