"""What follows from the facts of an incident: full or not, long chains, and who is the cause."""

from __future__ import annotations

from typing import Any

import pytest
from incidents import facts

from check_conntrack_lib.analysis import source_limit
from check_conntrack_lib.analysis.hash_chains import ChainLimit
from check_conntrack_lib.analysis.incident import chains_too_long, crowded, opener, single_source, was_full
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_diff import Growth
from check_conntrack_lib.analysis.rates import NewRate, Opener
from check_conntrack_lib.analysis.trend import Forecast
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.model import Table


def lost(**packets: int) -> Losses:
    return Losses(300, {'drop': 0, **packets})


@pytest.mark.parametrize(('known', 'long'), [
    ({}, False), ({'losses': lost(chaintoolong=1)}, True), ({'losses': lost(drop=1)}, False),
    ({'table': Table(16 * 1024, 10**6, 1024)}, False), ({'table': Table(16 * 1024 + 1, 10**6, 1024)}, True),
    ({'table': Table(10**6, 10**6, 1024), 'limit': ChainLimit(None)}, False), ({'all_entries': 10**6}, True)])
def test_long_chains(known: dict[str, Any], long: bool) -> None:
    assert chains_too_long(facts(**known)) is long


@pytest.mark.parametrize(('entries', 'maximum', 'known', 'is_crowded'), [
    (849, 1000, {}, False), (850, 1000, {}, True), (850, 0, {'logged': True}, False),
    (700, 1000, {'forecast': Forecast(1, 1, 3600)}, True), (700, 1000, {'forecast': Forecast(1, 1, 3601)}, False),
    (699, 1000, {'forecast': Forecast(1, 1, 60)}, False), (700, 1000, {'forecast': Forecast(1, None, None)}, False),
    (1, 1000, {'logged': True}, True)])
def test_crowded(entries: int, maximum: int, known: dict[str, Any], is_crowded: bool) -> None:
    assert crowded(facts(entries, maximum, **known)) is is_crowded


@pytest.mark.parametrize(('known', 'full'), [
    ({}, False), ({'logged': True}, True), ({'losses': lost(early_drop=1)}, True), ({'losses': lost(drop=1)}, False),
    ({'logged': True, 'losses': lost(drop=9, chaintoolong=91)}, False),
    ({'logged': True, 'losses': lost(drop=10, chaintoolong=90)}, True)])
def test_was_full(known: dict[str, Any], full: bool) -> None:
    assert was_full(facts(**known)) is full


FIRST, SECOND = '192.0.2.1', '192.0.2.2'
AIM = Key(17, FIRST, '203.0.113.1', 53)


def rate(*seen: int, of: int = 100, **known: Any) -> NewRate:
    openers = tuple(Opener(source, number, AIM if source == FIRST else Key(source=source))
                    for source, number in zip((FIRST, SECOND), seen))
    return NewRate(400, of, {17: of}, openers, ())._replace(**known)


@pytest.mark.parametrize(('new', 'own', 'found'), [
    (rate(25), (), 100), (rate(24), (), None), (rate(50, 25), (), 200), (rate(50, 26), (), None), (None, (), None),
    (rate(50, counted=False), (), None), (rate(50, of=49), (), None), (rate(25, of=50), (), 200), (rate(), (), None),
    (rate(50), (FIRST,), None), (rate(50, refused=100), (), 250)])
def test_who_opens_the_new_connections(new: NewRate | None, own: tuple[str, ...], found: float | None) -> None:
    assert opener(facts(rate=new, own=own)) == (None if found is None else (FIRST, AIM, found))


def profile(*sources: int, **known: Any) -> Any:
    keys = tuple((Key(source=source), seen) for source, seen in zip((FIRST, SECOND), sources))
    return EMPTY._replace(entries=1000, seen=1000, sources=keys, **known)


@pytest.mark.parametrize(('known', 'found'), [
    ({}, None), ({'profile': profile()}, None), ({'profile': profile(250)}, (FIRST, Key(source=FIRST), 250)),
    ({'profile': profile(249)}, None), ({'profile': profile(500, 250)}, (FIRST, Key(source=FIRST), 500)),
    ({'profile': profile(500, 251)}, None),
    ({'profile': profile(500), 'target_of_source': {FIRST: AIM}}, (FIRST, AIM, 500)),
    # what grew names it before its share does
    ({'profile': profile(9, 5), 'growth': (Growth(Key(6), 0, 1, 9), Growth(Key(17), 0, 1, 5, SECOND))},
     (SECOND, Key(17, SECOND), 5)),
    ({'profile': profile(9), 'growth': (Growth(Key(17, SECOND), 0, 1, 5),)}, (SECOND, Key(17, SECOND), 0)),
    ({'profile': profile(9), 'growth': (Growth(Key(17, FIRST), 0, 1, 5),), 'target_of_source': {FIRST: AIM}},
     (FIRST, AIM, 9))])
def test_the_one_source(known: dict[str, Any], found: Any) -> None:
    assert single_source(facts(**known)) == found


def limit(**known: Any) -> list[str]:
    return [one.title for one in source_limit.actions(facts(1000, 60_000, **known))]


#: a twentieth of 60,000, each for 30 s
OF_TABLE = 100


@pytest.mark.parametrize(('known', 'titles'), [
    ({}, []),
    ({'rate': rate(50)}, ['rate-limit 192.0.2.1, which opens 50% of the new connections, to 1 new connections per '
                          'second']),
    ({'rate': rate(50), 'profile': profile(400)},
     ['rate-limit 192.0.2.1, which opens 50% of the new connections, to 100 new connections per second']),
    # as many as the busiest other one, if enough of its connections were seen
    ({'rate': rate(50, 10), 'profile': profile(400)}, ['rate-limit 192.0.2.1, which opens 50% of the new connections, '
                                                       'to 40 new connections per second, as many as the busiest other '
                                                       'source opens']),
    ({'rate': rate(50, 9), 'profile': profile(400)},
     ['rate-limit 192.0.2.1, which opens 50% of the new connections, to 100 new connections per second']),
    # no more than the limit already: it is not the cause, nor is any other
    ({'rate': rate(25), 'profile': profile(1)}, []),
    ({'profile': profile(400)},
     ['rate-limit 192.0.2.1, which opened 40% of the table, to 25 new connections per second']),
    ({'profile': profile(400), 'own': (FIRST,)}, []),
    ({'profile': profile(), 'growth': (Growth(Key(17, FIRST), 0, 1, 9),)},
     ['rate-limit 192.0.2.1, which opens what grew, to 100 new connections per second']),
    # it has ended: its entries are what is left
    ({'profile': profile(400, unreplied=200), 'target_of_source': {FIRST: AIM}, 'rate': rate(0, 0, openers=())},
     ['remove the entries of 192.0.2.1, which opened 40% of the table and opens nothing now']),
    ({'profile': profile(400, unreplied=199), 'target_of_source': {FIRST: AIM}, 'rate': rate(0, 0, openers=())}, []),
    ({'profile': profile(400, unreplied=200), 'rate': rate(0, 0, openers=())}, []),
    ({'profile': profile(400, unreplied=200), 'target_of_source': {FIRST: AIM},
      'rate': rate(0, 0, openers=(), counted=False)},
     ['rate-limit 192.0.2.1, which opened 40% of the table, to 100 new connections per second']),
])
def test_a_limit_for_it(known: dict[str, Any], titles: list[str]) -> None:
    assert limit(**known) == titles


def test_what_was_never_answered_is_removed_too() -> None:
    known = {'rate': rate(50), 'target_of_source': {FIRST: AIM}}
    one, = source_limit.actions(facts(1000, 60_000, profile=profile(400, unreplied=200), **known))
    assert one.commands[1:] == ('sudo conntrack -D -p udp -s 192.0.2.1 -d 203.0.113.1 --dport 53',)
    assert 'udp dport 53' in one.commands[0]
    one, = source_limit.actions(facts(1000, 60_000, profile=profile(400, unreplied=199), nft=False, **known))
    assert len(one.commands) == 1
    assert one.commands[0].startswith('sudo iptables -t mangle -I ')
    other, = source_limit.actions(facts(1000, 60_000, profile=profile(0, 400, unreplied=999), **known))
    assert len(other.commands) == 1


@pytest.mark.parametrize(('maximum', 'protocols', 'number'), [
    (60_000, {6: 90, 17: 10}, 25), (60_000, {17: 90, 6: 10}, 100), (60_000, {17: 89, 6: 11}, 25),
    (0, {17: 90, 6: 10}, 2)])
def test_a_source_with_many_targets(maximum: int, protocols: dict[int, int], number: int) -> None:
    """Its entries live by the timeout of what is opened most; without a maximum the entries of now are the room."""
    many = rate(50, protocols=protocols)
    many = many._replace(openers=(Opener(FIRST, 50, Key(source=FIRST)),))
    p = facts(1000, maximum, rate=many, profile=profile(400))
    assert next(source_limit.actions(p)).title.endswith(f' to {number} new connections per second')
