"""What changed: the keys that explain the growth, each group of flows named once."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis.profile import Key, Profile
from check_conntrack_lib.analysis.profile_diff import Growth, growth
from check_conntrack_lib.history.profile_json import from_json, to_json

TCP, UDP = 6, 17
Counts = dict[tuple[str, str, int, int], int]


def profile(flows: Counts, seen: int | None = None) -> Profile:
    """A profile of flows by (source, destination, protocol, port); seen: of so many entries only."""
    entries = sum(flows.values())
    scale = 1 if seen is None else seen / entries

    def top(key: object) -> tuple[tuple[Key, int], ...]:
        counts: dict[Key, int] = {}
        for flow, count in flows.items():
            made = key(*flow)  # type: ignore[operator]
            counts[made] = counts.get(made, 0) + round(count * scale)
        return tuple(sorted(counts.items(), key=lambda item: -item[1])[:20])

    return Profile(
        entries, round(entries * scale), {(TCP, 'ESTABLISHED'): round(entries * scale)}, 0, 0, 0, 0, 0, 0,
        sources=top(lambda src, _dst, _protocol, _port: Key(source=src)),
        destinations=top(lambda _src, dst, _protocol, _port: Key(destination=dst)),
        services=top(lambda _src, _dst, protocol, port: Key(protocol, port=port)),
        targets=top(lambda _src, dst, protocol, port: Key(protocol, '', dst, port)))


USUAL: Counts = {(f'10.0.0.{k}', '192.0.2.80', TCP, 443): 400 for k in range(20)}
USUAL[('10.0.0.1', '10.0.0.53', UDP, 53)] = 500
BASELINE = [from_json(to_json(profile(USUAL, 2000)))] * 3


def test_one_service_that_many_clients_use() -> None:
    grown = {**USUAL, **{(f'10.0.{k}.9', '10.0.0.53', UDP, 53): 100 for k in range(200)}}
    found = growth(profile(grown, 20000), BASELINE)
    assert [str(one.key) for one in found] == ['udp to 10.0.0.53:53'], 'not the port, nor the destination again'
    assert found[0].source == ''
    assert abs(found[0].entries - 20000) < 300
    assert round(found[0].before, 2) == 0.06
    assert round(found[0].now, 2) == 0.72


@pytest.mark.parametrize(('before', 'now', 'said'), [
    (0.11, 0.75, 'grew from 11% to 75% of the table (+700 entries)'),
    (0.0, 0.004, 'grew from 0% to under 1% of the table (+700 entries)'),
    (1.0, 1.0, 'grew by 700 entries to 100% of the table'), (0.751, 0.754, 'grew by 700 entries to 75% of the table'),
    (0.6, 0.4, 'grew by 700 entries to 40% of the table')])
def test_a_share_that_did_not_grow_is_no_growth(before: float, now: float, said: str) -> None:
    """The whole table grew as much as the key."""
    assert Growth(Key(UDP, port=53), before, now, 700).text() == said


def test_one_client_is_told_with_its_flows() -> None:
    grown = {**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 20000}
    found = growth(profile(grown, 20000), BASELINE)
    assert [(str(one.key), one.source) for one in found] == [('udp to 10.0.0.53:53', '10.2.3.4')]


def test_one_port_over_many_destinations() -> None:
    grown = {**USUAL, **{(f'10.0.0.{k % 20}', f'203.0.{k}.1', TCP, 25): 40 for k in range(250)}}
    found = growth(profile(grown, 20000), BASELINE)
    assert [str(one.key) for one in found] == ['tcp port 25']


def test_a_scan_of_many_ports_by_one_source() -> None:
    grown = {**USUAL, **{('10.6.6.6', f'192.0.{k % 250}.7', TCP, 1000 + k): 4 for k in range(3000)}}
    found = growth(profile(grown, 20000), BASELINE)
    assert [(str(one.key), one.source) for one in found] == [('from 10.6.6.6', '')]


def test_two_culprits() -> None:
    grown = {**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 9000, ('10.7.7.7', '192.0.2.9', TCP, 80): 6000}
    found = growth(profile(grown, 20000), BASELINE)
    assert [str(one.key) for one in found] == ['udp to 10.0.0.53:53', 'tcp to 192.0.2.9:80']


@pytest.mark.parametrize(('shared', 'alone', 'named'), [
    (1000, 4900, ['from 10.7.7.7', 'tcp to 192.0.2.9:80']), (3000, 4200, ['tcp to 192.0.2.9:80'])])
def test_a_source_beside_its_flows_only_where_both_explain_the_growth(shared: int, alone: int,
                                                                      named: list[str]) -> None:
    """10,000 more: 5,000 to one server, a part of them from a client that opens others, too."""
    grown = {**USUAL, ('10.7.7.7', '192.0.2.9', TCP, 80): shared,
             **{(f'10.3.0.{k % 100}', '192.0.2.9', TCP, 80): (5000 - shared) // 100 for k in range(100)},
             **{('10.7.7.7', f'172.16.0.{k}', TCP, 2000 + k): alone // 100 for k in range(100)},
             **{(f'10.4.0.{k}', f'172.17.0.{k}', TCP, 9000 + k): (5000 - alone) // 100 for k in range(100)}}
    assert [str(one.key) for one in growth(profile(grown), BASELINE)] == named


def test_the_biggest_item_is_not_the_culprit_when_it_was_always_there() -> None:
    grown = {**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 2500}
    assert growth(profile(grown), BASELINE)[0].key == Key(UDP, '', '10.0.0.53', 53)


def test_a_table_that_did_not_grow() -> None:
    assert growth(profile(USUAL, 2000), BASELINE) == ()
    assert growth(profile({('10.0.0.1', '192.0.2.80', TCP, 443): 100}), BASELINE) == ()


def test_growth_of_everything_alike_names_what_grew_most() -> None:
    doubled = {flow: count * 2 for flow, count in USUAL.items()}
    found = growth(profile(doubled, 17000), BASELINE)
    assert [str(one.key) for one in found] == ['tcp to 192.0.2.80:443']


def test_a_key_below_the_recorded_ones_is_not_taken_for_new() -> None:
    """Only the ten largest keys are recorded: the eleventh may have been as large as the tenth."""
    many: Counts = {(f'10.0.0.{k}', f'192.0.2.{k}', TCP, 443): 1000 - k for k in range(11)}
    old = from_json(to_json(profile(many)))
    now = {flow: count + 2 for flow, count in many.items()}
    assert all('192.0.2.10' not in one.key.destination for one in growth(profile(now), [old]))


def zoned(base: Profile, zones: dict[int, int]) -> Profile:
    return base._replace(zones=tuple((Key(zone=zone), seen) for zone, seen in zones.items()))


def test_the_zone_that_grew_is_named_with_its_flows() -> None:
    grown = zoned(profile({**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 20000}), {5: 20100, 0: 8300})
    usual = [from_json(to_json(zoned(one, {0: 8300, 5: 200}))) for one in [profile(USUAL)] * 3]
    found = growth(grown, usual)
    assert [str(one.key) for one in found] == ['udp to 10.0.0.53:53', 'zone 5']
    assert (found[1].entries, round(found[1].before, 3), round(found[1].now, 3)) == (19900, 0.024, 0.705)


@pytest.mark.slow
def test_a_zone_alone_where_nothing_else_explains_it() -> None:
    spread = {**USUAL, **{(f'10.1.{k // 200}.{k % 200}', f'172.16.{k % 250}.{k % 199}', TCP, 1024 + k): 1
                          for k in range(20000)}}
    found = growth(zoned(profile(spread), {7: 20000, 0: 8400, 8: 100}), [zoned(profile(USUAL), {0: 8400, 8: 100})])
    assert [str(one.key) for one in found] == ['zone 7']


def test_zones_that_explain_nothing_are_not_named() -> None:
    grown = profile({**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 20000})
    named = [[str(one.key) for one in growth(now, usual)] for now, usual in (
        # zones that were not counted then, one zone for all, and many that share the growth
        (zoned(grown, {5: 20000, 0: 8500}), BASELINE),
        (zoned(grown, {5: 28500}), [zoned(profile(USUAL), {5: 8500})]),
        (zoned(grown, dict.fromkeys(range(10), 2850)), [zoned(profile(USUAL), dict.fromkeys(range(10), 850))]))]
    assert named == [['udp to 10.0.0.53:53']] * 3


def test_the_median_of_the_baseline_forgets_one_odd_profile() -> None:
    odd = profile({**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 20000}, 2000)
    grown = {**USUAL, ('10.2.3.4', '10.0.0.53', UDP, 53): 20000}
    found: tuple[Growth, ...] = growth(profile(grown, 20000), [*BASELINE, odd])
    assert [str(one.key) for one in found] == ['udp to 10.0.0.53:53']
