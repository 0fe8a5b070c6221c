"""What is computed of nothing: no share, no rate, no entry, and no division by it."""

from __future__ import annotations

import pytest
from incidents import facts
from pasts import sample

from check_conntrack_lib.analysis import nat_ports, profile_diff, source_limit, timeline
from check_conntrack_lib.analysis.host_role import Roles
from check_conntrack_lib.analysis.nat_ports import PortUse
from check_conntrack_lib.analysis.notrack import NotrackRule
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_diff import Growth, growth
from check_conntrack_lib.analysis.rates import NewRate, Opener
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.readers.ctnetlink_events import NewConnections


def test_shares_and_rates() -> None:
    use = PortUse(ReplyTuple(6, b'abcd', 443, b'efgh'), 0, 1000, 0, True)
    assert (Roles(0, 0, 0, 0, 0, 0).share(5), NewRate(0, 0, {}, (), ()).share(5), use.held_by('CLOSE')) == (0, 0, 0)
    assert use._replace(states=(('CLOSE', 3),), seen=4).held_by('CLOSE') == 0.75
    assert use._replace(states=(('CLOSE', 3),), seen=4).held_by('TIME_WAIT') == 0
    assert NewConnections(0.0, 5).rate == NewConnections(-1.0, 5).rate == 0
    assert NewRate(0, 0, {}, (), ()).busiest() is None
    assert NewRate(2.0, 0, {}, (), (), refused=3.0).attempts == 5


def test_an_empty_profile() -> None:
    assert {value for value in EMPTY if isinstance(value, int)} == {0}
    assert not any(EMPTY)


@pytest.mark.parametrize(('entries', 'seen', 'count', 'estimate'), [
    (0, 0, 5, 0), (1000, 100, 5, 50), (50, 100, 5, 5), (1000, 300, 1, 3)])
def test_estimates(entries: int, seen: int, count: int, estimate: int) -> None:
    profile = EMPTY._replace(entries=entries, seen=seen)
    assert profile.estimate(count) == estimate
    assert profile._replace(complete=True).estimate(count) == count


DNS, WEB = Key(17, '', '10.0.0.53', 53), Key(6, '', '10.0.0.80', 80)


def test_growth_from_an_empty_table() -> None:
    now = EMPTY._replace(entries=100, seen=100, targets=((DNS, 70), (WEB, 30)))
    assert growth(now, [EMPTY]) == growth(now, []) == (Growth(DNS, 0.0, 0.7, 70), Growth(WEB, 0.0, 0.3, 30))
    alone = EMPTY._replace(entries=1, seen=1, targets=((DNS, 1),))
    assert growth(alone, [EMPTY]) == (Growth(DNS, 0.0, 1.0, 1),)
    assert growth(EMPTY, [EMPTY]) == growth(now._replace(seen=0), [EMPTY]) == ()
    assert growth(now, [now]) == ()
    assert profile_diff.usual_entries([]) == 0
    assert profile_diff.table_growth(now, [EMPTY, now._replace(entries=40), now]) == 60


@pytest.mark.parametrize(('recorded', 'before'), [(9, 0), (10, 20)])
def test_a_key_that_was_not_recorded_had_less_than_the_last_that_was(recorded: int, before: int) -> None:
    past = EMPTY._replace(entries=1000, seen=1000, targets=tuple((Key(6, '', f'10.1.0.{k}', 80), 20 + k)
                                                                 for k in range(recorded)))
    now = EMPTY._replace(entries=2000, seen=2000, targets=((DNS, 1000),))
    one, = growth(now, [past])
    assert (one.before, one.entries) == (before / 1000, 1000 - before)


@pytest.mark.parametrize(('share', 'named'), [(150, True), (149, False)])
def test_what_is_worth_naming(share: int, named: bool) -> None:
    now = EMPTY._replace(entries=1000, seen=1000, targets=((DNS, share),))
    assert bool(growth(now, [EMPTY])) is named


@pytest.mark.parametrize(('counts', 'named'), [
    ((700, 100), 1), ((600, 200, 200), 2), ((790, 160), 2), ((800, 160), 1), ((250, 250, 250, 250), 3)])
def test_how_many_are_named(counts: tuple[int, ...], named: int) -> None:
    now = EMPTY._replace(entries=1000, seen=1000, targets=tuple((Key(6, '', '', port), count)
                                                                for port, count in enumerate(counts)))
    assert [one.entries for one in growth(now, [EMPTY])] == list(counts[:named])


@pytest.mark.parametrize(('of_source', 'source'), [(910, '10.1.0.1'), (909, '')])
def test_a_source_that_must_have_opened_most_of_it(of_source: int, source: str) -> None:
    """Of 1000, 300 are of one target: of those at least 7 in 10 are this source's when it has 910 and more."""
    now = EMPTY._replace(entries=1000, seen=1000, targets=((DNS, 300),), sources=((Key(source='10.1.0.1'), of_source),))
    found = [one for one in growth(now, [EMPTY]) if one.key == DNS]
    assert [one.source for one in found] == [source]


@pytest.mark.parametrize(('zones', 'named'), [
    (((5, 500), (0, 500)), [5]), (((5, 499), (0, 300), (7, 201)), []), (((5, 1000),), []), (((0, 1000),), [])])
def test_the_zone_that_explains_half(zones: tuple[tuple[int, int], ...], named: list[int]) -> None:
    now = EMPTY._replace(entries=1000, seen=1000, zones=tuple((Key(zone=zone), count) for zone, count in zones))
    assert [one.key.zone for one in growth(now, [EMPTY])] == named


@pytest.mark.parametrize(('one', 'text'), [
    (Growth(DNS, 0.11, 0.75, 700), 'grew from 11% to 75% of the table (+700 entries)'),
    (Growth(DNS, 0.75, 0.75, 700), 'grew by 700 entries to 75% of the table'),
    (Growth(DNS, 0.8, 0.75, 700), 'grew by 700 entries to 75% of the table')])
def test_growth_in_words(one: Growth, text: str) -> None:
    assert one.text() == text


def test_a_bucket_of_gaps_alone() -> None:
    first, = timeline.intervals([sample(0, 5)])
    assert (first.span, first.losses, first.growth, first.lost, first.counted('drop')) == (None, None, None, 0, 0)
    assert timeline.may_have_dropped([], 5.0)


@pytest.mark.parametrize(('number', 'size'), [(15, nat_ports.DEFAULT), (16, 3001)])
def test_how_many_chosen_ports_tell_a_range(number: int, size: int) -> None:
    chosen = [2000 + 3000 * k // (number - 1) for k in range(number)]
    found = nat_ports.range_size((), chosen)
    assert found == size if number < 16 else size <= found <= 1.15 * size


@pytest.mark.parametrize(('others', 'rate', 'limit', 'why'), [
    (10, 1000.0, 10, ', as many as the busiest other source opens'), (9, 1000.0, 33, ''),
    # a thousandth of less than one a second is still one
    (10, 20.0, 1, ', as many as the busiest other source opens'),
    # more than five times of what the table leaves to one source
    (166, 1000.0, 33, ''), (165, 1000.0, 165, ', as many as the busiest other source opens')])
def test_what_is_left_to_a_source(others: int, rate: float, limit: int, why: str) -> None:
    key = Key(17, '10.0.0.1', '10.0.0.53', 53)
    openers = (Opener('10.0.0.1', 900, key), Opener('10.0.0.2', others, key))
    p = facts(1000, 20_000, profile=EMPTY._replace(entries=1000, seen=1000),
              rate=NewRate(rate, 1000, {17: 1000}, openers, ()))
    assert source_limit._limit(p, '10.0.0.1', key) == (limit, why)
    assert source_limit._limit(p._replace(rate=None), '10.0.0.1', key) == (33, '')
    assert source_limit._limit(p._replace(profile=None, rate=None), '10.0.0.1', key) == (1, '')


@pytest.mark.parametrize(('number', 'bounds'), [(99, (1, 60000)), (100, (2000, 2097))])
def test_of_a_hundred_ports_one_at_each_end_may_be_a_stray(number: int, bounds: tuple[int, int]) -> None:
    strays = [1, 60000]
    assert nat_ports._bounds([*range(2000, 2000 + number - len(strays)), *strays]) == bounds


@pytest.mark.parametrize(('highest', 'size'), [(57_800, 'narrow'), (57_999, 'whole')])
def test_ports_spread_as_wide_as_the_default_range(highest: int, size: str) -> None:
    chosen = [2000 + (highest - 2000) * k // 999 for k in range(1000)]
    found = nat_ports.range_size((), chosen)
    assert (found == nat_ports.DEFAULT) is (size == 'whole')


@pytest.mark.parametrize(('protocol', 'address', 'versions'), [
    ('udp', '', (4, 6)), ('udp', '10.0.0.53', (4,)), ('udp', 'fd00::53', (6,)), ('icmp', '', (4,)),
    ('icmpv6', '', (6,))])
def test_the_ip_versions_of_a_rule(protocol: str, address: str, versions: tuple[int, ...]) -> None:
    assert NotrackRule(protocol, address, 53, True).versions() == versions
