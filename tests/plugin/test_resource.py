"""What is measured: the metrics of an assessment in their order, and what flows tell afterwards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from assessments import QUIET, assessment, lost
from test_all_namespaces import HOST, all_of, member, ranked

from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_diff import Growth
from check_conntrack_lib.analysis.sysctl_drift import Drift
from check_conntrack_lib.deadline import Deadline
from check_conntrack_lib.diagnosis import Diagnosis
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, History, Missing, NotLoaded, Table
from check_conntrack_lib.netns import assess
from check_conntrack_lib.plugin import all_namespaces, diagnosis_lines, phrases, resource
from check_conntrack_lib.plugin.contexts import contexts
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.plugin.resource import metrics, missing_readings
from check_conntrack_lib.readers.sysctl_files import SysctlSetting

FIRST, SECOND = (PortUse(ReplyTuple(6, b'abcd', port, b'efgh'), used, 1000, used, True)
                 for port, used in ((443, 700), (80, 300)))
LOOKED_AT = EMPTY._replace(nat_ports=(FIRST, SECOND))


def of(a: Any) -> resource.ConnectionTracking:
    options = parse([])
    made = resource.ConnectionTracking(Host(), options, contexts(options), Deadline(10))
    made.assessment = a
    return made


@pytest.mark.parametrize('flows', [LOOKED_AT, Diagnosis(at=0.0, profile=LOOKED_AT, baseline=Missing('x'), growth=(),
                                                        local=0.0, owners=())])
def test_the_fullest_pool_of_ports_is_taken_over(flows: Any) -> None:
    made = of(assessment())
    made.ranking = ranked(member(1), member(2))
    assert made.add_ports(flows)
    assert made.assessment.ports == FIRST
    assert made.ranking.worst.assessment.ports == FIRST
    assert [one.assessment.ports for one in made.ranking.order] == [FIRST, None]
    # what was measured is not measured again
    assert [metric.value for metric in made.probe() if metric.name == 'nat_ports'] == [pytest.approx(70)]


@pytest.mark.parametrize('flows', [None, Missing('x'), EMPTY])
def test_flows_that_tell_nothing_of_ports(flows: Any) -> None:
    made = of(assessment())
    assert not made.add_ports(flows)
    assert made.assessment.ports is None
    assert not made._probed


def test_the_file_of_the_worst_namespace() -> None:
    worst = member(7, 990)
    worst = worst._replace(namespace=worst.namespace._replace(pids=(30, 40)))
    assert all_namespaces.netns_file(HOST, ranked(member(1), worst)) == '/nonexistent/30/ns/net'
    nobody = worst._replace(namespace=worst.namespace._replace(pids=()))
    assert all_namespaces.netns_file(HOST, ranked(member(1), nobody)) == '/nonexistent/0/ns/net'


@pytest.mark.parametrize(('seen', 'why'), [
    ({'unknown': ('web',)}, 'network namespace web not found'), ({}, 'no such network namespace')])
def test_where_no_namespace_was_found(monkeypatch: pytest.MonkeyPatch, seen: dict[str, Any], why: str) -> None:
    monkeypatch.setattr(assess, 'assess_all', lambda *_: all_of(seen=seen))
    options = parse(['--netns', 'web'])
    made = resource.ConnectionTracking(Host(), options, contexts(options), Deadline(10))
    first, *_ = made.probe()
    assert (first.name, first.value.why) == ('usage', why)
    assert made.ranking is None


def test_the_metrics_in_their_order() -> None:
    a = assessment(losses=lost(10, drop=20, early_drop=5, insert_failed=0, invalid=1))
    found = [(metric.name, metric.value, metric.uom, metric.min, metric.max, metric.context) for metric in metrics(a)
             if not isinstance(metric.value, Missing)]
    assert found[:3] == [('usage', 75.0, '%', 0, 100, 'usage'), ('entries', 75_000, None, 0, 100_000, 'entries'),
                         ('buckets', 65_536, None, 0, None, 'value')]
    assert [(name, value) for name, value, *_ in found[3:]] == [
        ('dropped_per_s', 2.0), ('early_drop_per_s', 0.5), ('insert_failed_per_s', 0.0), ('table_full_lines', 0),
        ('drop_per_s', 2.0), ('invalid_per_s', 0.1)]
    unlimited = {metric.name: metric.max for metric in metrics(assessment(Table(5, 0, Missing('x'))))}
    assert unlimited['entries'] is None
    assert 'buckets' not in unlimited


def test_of_what_is_not_there() -> None:
    metric, = metrics(assessment(NotLoaded('/proc/x')))
    assert (metric.name, metric.value) == ('not_loaded', '/proc/x')
    hidden = assessment(Missing('x'), losses=lost(drop=20))
    assert [metric.name for metric in metrics(hidden)] == ['usage']
    counted = hidden._replace(snapshot=hidden.snapshot._replace(counted=5))
    assert [metric.name for metric in metrics(counted)][:2] == ['usage', 'dropped_per_s']


def why(**known: Any) -> dict[str, tuple[str, bool]]:
    a = assessment(**known)
    return {metric.name: (metric.value.why, metric.value.chosen) for metric in missing_readings(a)}


def test_readings_that_are_missing() -> None:
    assert why() == {}
    assert why(log=Missing('x'), table=Missing('y')) == {'kernel-log': ('x', False)}
    assert why(stale_base=90_000.0) == {'losses': ('the newest recorded sample is 25 h old', False)}
    assert why(stale_base=90_000.0, losses=lost()) == {}
    assert why(history=History(unwritten='disk full')) == {'history': ('disk full', False)}
    assert why(log=QUIET._replace(covered=60)) == {'kernel-log': ('goes back 60 s only', False)}
    assert why(log=QUIET._replace(covered=60, without_drops=300)) == {'kernel-log': ('goes back 60 s only', True)}
    a = assessment(stale_base=9.0)
    no_counters = a._replace(snapshot=a.snapshot._replace(counters=Missing('z'), cut_off=True))
    assert [metric.name for metric in missing_readings(no_counters)] == ['counters', 'network']
    assert list(missing_readings(a._replace(snapshot=a.snapshot._replace(counters=Counters({'drop': (0,)}))))) != []


def test_of_several_the_first_is_named() -> None:
    drifts = [Drift(name, SysctlSetting(name, '1', 'a.conf'), 1, 2) for name in ('first', 'second')]
    assert phrases.settings(assessment(settings=drifts)) == 'first is 2, but a.conf sets 1 (2 settings differ)'
    grown = (Growth(Key(17), 0.1, 0.5, 70), Growth(Key(6), 0.1, 0.2, 30))
    told = SimpleNamespace(emptied=False, growth=grown)
    assert diagnosis_lines.short_cause(told) == '+70 udp'  # type: ignore[arg-type]
