"""Many namespaces in one state: their order, what is said of those that were not seen, and the lines."""

from __future__ import annotations

from typing import Any

import pytest
from assessments import assessment, logged, lost

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.netns.assess import NamespaceAssessment, NamespaceAssessments
from check_conntrack_lib.netns.discover import Namespace
from check_conntrack_lib.netns.snapshots import NamespaceSnapshots
from check_conntrack_lib.plugin import all_namespaces
from check_conntrack_lib.plugin.all_namespaces import lines, missing, namespace_metrics, phrase
from check_conntrack_lib.plugin.contexts import contexts
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.plugin.ranking import Ranking, rank_namespaces

HOST = Host('/nonexistent')
OWNER = 'check_conntrack_lib.plugin.ranking.is_of_another_user'


def member(inode: int, entries: int = 10, name: str = '', **known: Any) -> NamespaceAssessment:
    one = assessment(Table(entries, 1000, 64), **known)
    return NamespaceAssessment(Namespace(inode, name=name, path=f'/run/netns/{name}' if name else '', pids=(inode,)),
                               one._replace(snapshot=one.snapshot._replace(netns=inode, initial=inode == 1)))


def all_of(*members: NamespaceAssessment, seen: dict[str, Any] | None = None, **known: Any) -> NamespaceAssessments:
    return NamespaceAssessments(members, assessment().snapshot, NamespaceSnapshots(**{
        'seen': (), 'unseen': {}, **(seen or {})}), {})._replace(**known)


def ranked(*members: NamespaceAssessment, argv: tuple[str, ...] = ('--netns', 'all'),
           monkeypatch: pytest.MonkeyPatch | None = None, others: tuple[int, ...] = (), **known: Any) -> Ranking:
    options = parse(list(argv))
    if monkeypatch:
        monkeypatch.setattr(OWNER, lambda _host, one: one.inode in others)
    return rank_namespaces(HOST, all_of(*members, **known), contexts(options), options)


def order(ranking: Ranking) -> list[int]:
    return [one.namespace.inode for one in ranking.order]


@pytest.fixture(autouse=True)
def _owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OWNER, lambda _host, _one: False)


def test_the_order_is_by_state_then_drops_then_usage_then_messages() -> None:
    assert order(ranked(member(1), member(2, 960), member(3, 900), member(4, 990))) == [4, 2, 3, 1]
    full = [member(2, 960, losses=lost(60, drop=700)), member(3, 960, losses=lost(60, drop=900)), member(4, 990)]
    assert order(ranked(*full)) == [3, 2, 4]
    quiet = [member(2, 10), member(3, 20), member(4, 15)]
    assert order(ranked(*quiet)) == [3, 4, 2]
    messages = [member(2, 960, log=logged(9)), member(3, 960, log=logged(9, 8)), member(4, 970, log=logged(9))]
    assert order(ranked(*messages)) == [4, 3, 2]
    lossy = [member(2, 900, losses=lost(60, drop=1)), member(3, 100, losses=lost(60, drop=2)), member(4, 990)]
    assert order(ranked(*lossy)) == [4, 3, 2]


def test_those_of_other_users_come_behind_all_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [member(1), member(2, 990), member(3, 900), member(4, 995, name='blue')]
    ranking = ranked(*members, monkeypatch=monkeypatch, others=(2, 4))
    assert order(ranking) == [4, 3, 2, 1]
    assert ranking.worse is None
    ranking = ranked(*members[:3], monkeypatch=monkeypatch, others=(2, 1))
    assert order(ranking) == [3, 2, 1]
    assert ranking.worse
    assert ranking.worse.state == 'critical'
    assert [metric.name for metric in namespace_metrics(ranking)] == [
        'namespaces', 'namespaces_over_warning', 'entries_all_namespaces', 'other_namespaces']


def test_how_many_are_over_the_line() -> None:
    ranking = ranked(member(1), member(2, 860), member(3, 960))
    assert (ranking.over_warning, ranking.over_text, ranking.fine, ranking.everything) == (2, 'above 85%', False, True)
    assert phrase(ranking) == '2 of 3 namespaces above 85%'
    assert [(metric.name, metric.value) for metric in namespace_metrics(ranking)] == [
        ('namespaces', 3), ('namespaces_over_warning', 2), ('entries_all_namespaces', 1830)]
    ranking = ranked(member(1), member(2, 860), argv=('--netns', 'a,b', '-w', '5:85'))
    assert (ranking.over_text, ranking.everything) == ('outside the warning range', False)
    assert phrase(ranked(member(1), member(2))) == 'the fullest of 2 namespaces'
    assert phrase(ranked(member(1), member(2, losses=lost(60, drop=60)))) == 'the worst of 2 namespaces'
    assert phrase(ranked(member(1))) == ''


def test_five_are_named_and_all_in_trouble_that_root_has_named() -> None:
    many = [member(k, 900 + k) for k in range(2, 10)] + [member(10, 890, name='blue'), member(11, 5, name='red')]
    ranking = ranked(*many)
    assert [one.namespace.inode for _title, one in ranking.shown] == [9, 8, 7, 6, 5, 10]
    assert ranking.unnamed == 3
    assert ', and 3 more in trouble' in lines(ranking, parse([]))[0]
    own = ranked(*many[:8], member(1, 880))
    assert [one.namespace.inode for _title, one in own.shown][5:] == [1]
    fine = ranked(*(member(k, k) for k in range(1, 9)))
    assert (len(fine.shown), fine.unnamed) == (5, 0)
    named = ranked(*(member(k, 900, name=f'n{k}') for k in range(40)))
    assert (len(named.shown), named.unnamed) == (25, 15)


def test_what_stands_where_only_the_first_says_nothing_of_empty_ones() -> None:
    text = lines(ranked(member(1, 5), member(2, 0), member(3, 0, losses=lost(60, drop=1, insert_failed=0))), parse([]))
    assert text == ['worst namespaces: network namespace 3 0.0% (0 entries, 1 packet dropped), host 0.5% (5 entries)']
    assert lines(ranked(member(1, 0), member(2, 0)), parse([])) == ['fullest namespaces: host 0.0% (0 entries)']
    assert lines(ranked(member(1, 0)), parse([])) == []


def test_how_full_each_is() -> None:
    said = lines(ranked(member(1, 5), member(2, 900, log=logged(9, 8), losses=lost(60, drop=2))), parse([]))
    assert said == ['worst namespaces: network namespace 2 90.0% (900 entries, 2 packets dropped, 2 "table full" '
                    'messages), host 0.5% (5 entries)']
    unlimited = member(3, 900)
    unlimited = unlimited._replace(evaluated=assessment(Table(900, 0, 64)))
    assert lines(ranked(member(1, 5), unlimited), parse([]))[0].endswith(' 900 entries')
    hidden = member(3)._replace(evaluated=assessment(Missing('x')))
    assert lines(ranked(hidden, member(1)), parse([])) == [
        'worst namespaces: network namespace 3 (unreadable), host 1.0% (10 entries)']


@pytest.mark.parametrize(('entries', 'text'), [(990, '1000 entries in total, about 0.4 MB'),
                                               (24_990, '25000 entries in total, about 10 MB'),
                                               (999_990, '1000000 entries in total, about 400 MB')])
def test_memory_of_all(entries: int, text: str) -> None:
    said = lines(ranked(member(1, 10), member(2, entries)), parse(['-v']))
    assert said[1] == f'memory: {text}; nf_conntrack_max applies per namespace'


@pytest.mark.parametrize(('seen', 'text', 'remedy'), [
    ({}, None, ''),
    ({'unknown': ('web',)}, 'network namespace web not found', ''),
    ({'unknown': ('old',)}, 'old not found, seen until 09-09 01:46', ''),
    ({'unknown': ('blue',), 'stale': ('blue',)}, 'blue in /run/netns leads to no namespace from here', ''),
    ({'unseen': {Missing('no right', 'use sudo'): 2, Missing('gone'): 1}},
     '2 namespaces not entered: no right; 1 namespace not entered: gone', 'use sudo'),
    ({'hidden': 1}, 'namespaces of 1 process not identified: needs root', ''),
    ({'closed': '/run/netns'}, 'named ones unknown: no access to /run/netns', ''),
    ({'stale': ('a', 'b', 'c')}, '3 names in /run/netns that leads to no namespace from here (a, b, c): left over, or '
     'made in another mount namespace', ''),
    ({'stale': ('a', 'b', 'c', 'd')}, '4 names in /run/netns that leads to no namespace from here (a, b, c ...): left '
     'over, or made in another mount namespace', '')])
def test_what_was_asked_for_and_not_seen(seen: dict[str, Any], text: str | None, remedy: str) -> None:
    found = missing(all_of(seen=seen, recorded={'old': ('container old', 1e9)}))
    assert found == (None if text is None else Missing(text, remedy))


@pytest.mark.parametrize(('argv', 'name'), [(('--netns', 'all'), 'namespaces'), (('--netns', 'a,b'), 'usage')])
def test_what_was_not_seen_is_a_metric_and_a_line(argv: tuple[str, ...], name: str) -> None:
    ranking = ranked(member(1), argv=argv, seen={'unseen': {Missing('no right', 'use sudo'): 2}, 'same': 3})
    metric = list(namespace_metrics(ranking))[-1]
    assert (metric.name, metric.context) == (name, 'missing')
    assert lines(ranking, parse([])) == [
        'namespaces not checked: 2 namespaces not entered: no right; use sudo',
        '3 names of container networks not matched with namespaces of processes: needs root']


def test_messages_of_namespaces_that_were_not_checked() -> None:
    owners = {0: 1, **dict.fromkeys(range(5, 12), 2)}
    guess = ('kernel log: this kernel does not name the namespace: attributed to the namespace with most drops, else '
             'the fullest')
    assert lines(ranked(member(1), guessed=True, other_owners=owners), parse([])) == [
        guess, 'kernel log: 15 "table full" messages for 8 network namespaces that no longer exist or were not checked']
    assert lines(ranked(member(1), other_owners={5: 2}), parse([])) == [
        'kernel log: 2 "table full" messages for network namespace 5, which no longer exists or was not checked']
    said = lines(ranked(member(1), guessed=True, other_owners=owners), parse(['-v']))
    assert said[-6:] == [
        guess, 'kernel log: 1 "table full" message for the host (initial network namespace), which was not checked',
        *(f'kernel log: 2 "table full" messages for network namespace {inode}, which no longer exists or was not '
          'checked'
          for inode in range(5, 9))]
    assert lines(ranked(member(1), argv=('--netns', 'a'), other_owners=owners), parse([])) == []


def test_the_next_command_looks_into_the_worst() -> None:
    given = ['cause: x', 'next: sudo conntrack-doctor triage', 'next: sudo sysctl -w x=1']
    own = ranked(member(1))
    assert not own.is_other_netns
    assert (own.enter, all_namespaces.netns_file(HOST, own)) == ('', '')
    assert all_namespaces.commands(own, given) == given
    other = ranked(member(1), member(2, 990, name='blue'))
    assert other.is_other_netns
    assert all_namespaces.netns_file(HOST, other) == '/run/netns/blue'
    assert all_namespaces.netns_file(HOST, ranked(member(1), member(7, 990))) == '/nonexistent/7/ns/net'
    entered = other._replace(enter='ip netns exec blue ')
    assert all_namespaces.commands(entered, given) == [
        'cause: x', 'next: sudo ip netns exec blue conntrack-doctor triage', 'next: sudo sysctl -w x=1']
