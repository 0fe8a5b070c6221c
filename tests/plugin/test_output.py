"""The order of the whole text, and how long a foreign text in it may be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from assessments import assessment, lost
from nagiosplugin import Critical, Metric, Ok, Result
from test_all_namespaces import all_of, member, ranked
from test_diagnosis_lines import GREW, GROWN, STATE, diagnosis

from check_conntrack_lib.analysis.sysctl_drift import UnusableSetting
from check_conntrack_lib.model import History, Missing
from check_conntrack_lib.plugin import all_namespaces, long_output, output
from check_conntrack_lib.plugin.contexts import Results
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.readers.sysctl_files import SysctlSetting

NOTED = History(first_run=False, note='put aside')


def verbose(a: Any, name: str = '', *argv: str, why: Any = None, ranking: Any = None) -> list[str]:
    resource: Any = SimpleNamespace(assessment=a, ranking=ranking)
    results = Results()
    results.add(Result(Critical if name else Ok, metric=Metric(name or 'usage', 1, resource=resource)))
    text = output.CheckSummary(parse(list(argv)))
    text.diagnosis = why
    return text.verbose(results)


def test_of_an_ok_what_was_asked_for() -> None:
    a = assessment(history=NOTED)
    assert verbose(a) == ['history: put aside']
    assert verbose(a, why=diagnosis(growth=GREW)) == [*GROWN, *STATE, 'history: put aside']
    lines = verbose(a, '', '-v', why=diagnosis(growth=GREW))
    assert lines[:4] == [*GROWN, *STATE]
    assert lines[4].startswith('table: 75000 of 100000 entries')
    assert lines[-1] == 'history: put aside'
    # another user's namespace alone is no alert of this one
    assert verbose(a, 'other_namespaces', why=diagnosis(growth=GREW)) == [*GROWN, *STATE, 'history: put aside']


def test_of_trouble_the_cause_the_command_and_the_kind_come_first() -> None:
    a = assessment(history=NOTED)
    kind = 'alert: usage (docs/alerts.md#usage); clears below 85% (-w, Icinga: vars.conntrack_warning)'
    head = ['next: sudo conntrack-doctor triage', kind]
    assert verbose(a, 'usage') == [*head, 'history: put aside']
    assert verbose(a, 'usage', why=diagnosis(growth=GREW)) == [
        GROWN[0], *head, GROWN[1], *STATE, 'history: put aside']
    assert verbose(a, 'usage', why=Missing('no right')) == [
        'cause not determined: no right', *head, 'history: put aside']


def test_what_the_counters_say_comes_before_what_the_flows_say() -> None:
    a = assessment(losses=lost(insert_failed=60, clash_resolve=0, drop=60))
    for why, flows in ((diagnosis(growth=GREW), [*STATE, GROWN[0].replace('cause:', 'flows:'), GROWN[1]]),
                       (diagnosis(baseline=Missing('x')), STATE), (Missing('no right'), ['flows not read: no right'])):
        lines = verbose(a, 'insert_failed_per_s', why=why)
        assert lines[0].startswith('cause: two packets tried to create the same entry')
        assert lines[3:3 + len(flows)] == flows


@pytest.mark.parametrize(('why', 'first'), [
    (None, 'cause: not known from the counters: the table was full for a moment, or memory was short'),
    (Missing('no right'), 'cause: not known from the counters: the table was full for a moment, or memory was short'),
    (diagnosis(growth=GREW), GROWN[0])])
def test_of_dropped_packets_the_flows_know_more(why: Any, first: str) -> None:
    assert verbose(assessment(losses=lost(drop=60)), 'dropped_per_s', why=why)[0] == first


def test_twelve_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_output, 'lines', lambda *_, **__: [f'line {k}' for k in range(20)])
    assert verbose(assessment(), 'usage')[2:] == [f'line {k}' for k in range(10)]


def test_of_many_namespaces_the_lines_come_before_those_of_the_worst() -> None:
    ranking = ranked(member(1), member(2, 990, name='blue'))._replace(enter='ip netns exec blue ')
    lines = verbose(assessment(history=NOTED), 'usage', ranking=ranking)
    assert lines[0] == 'next: sudo ip netns exec blue conntrack-doctor triage'
    assert lines[2].startswith('worst namespaces: ')
    assert lines[-1] == 'history: put aside'


def cut(text: str, most: int) -> str:
    return f'{text[:most - 3]}...'


def test_how_long_a_foreign_text_may_be() -> None:
    assert output.unknown('x' * 400) == f'CONNTRACK UNKNOWN - {"x" * 400}\n'
    assert output.unknown('x' * 401) == f'CONNTRACK UNKNOWN - {cut("x" * 401, 400)}\n'
    for length, name in ((60, 'y' * 60), (61, cut('y' * 61, 60))):
        found = all_namespaces.missing(all_of(seen={'stale': ('y' * length,)}))
        assert found
        assert f' ({name}): left over' in found.why
    one = UnusableSetting(SysctlSetting('net/netfilter/nf_conntrack_max', 'v', 'f', fault='z' * 238), None)
    assert str(one) == f'f {"z" * 238}'
    assert str(one._replace(setting=one.setting._replace(fault='z' * 239))) == cut(f'f {"z" * 239}', 240)
