"""What is recorded of a profile: numbers that no host has are refused."""

from __future__ import annotations

import json

import pytest

from check_conntrack_lib.analysis.nat_ports import DEFAULT
from check_conntrack_lib.analysis.profile import Key, Profile
from check_conntrack_lib.analysis.traffic import Traffic, Volume
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profile_json import _port_use, from_json, to_json
from check_conntrack_lib.history.profiles import EMPTY


@pytest.mark.parametrize(('used', 'size', 'sound'), [
    (0, 1, True), (5, 5, True), (5, DEFAULT, True), (0, 0, False), (-1, 5, False), (6, 5, False),
    (5, DEFAULT + 1, False)])
def test_the_use_of_ports(used: int, size: int, sound: bool) -> None:
    if not sound:
        with pytest.raises(ValueError, match='not a use of ports'):
            _port_use(6, '192.0.2.1', 443, '198.51.100.1', used, size, True, False)
        return
    found = _port_use(6, '192.0.2.1', 443, '198.51.100.1', used, size, True, False)
    assert found.pool == ReplyTuple(6, bytes([192, 0, 2, 1]), 443, bytes([198, 51, 100, 1]))
    assert (found.used, found.size, found.least, found.exact, found.kept) == (used, size, used, True, False)


LONGEST = ('pod monitoring/kube-prometheus-stack-prometheus-node-exporter-x2x5z',
           'container 0123456789ab (docker, nginx, pid 4711)',
           'network namespace 4026532179 (held open by sleep, pid 7)', 'pod ' + 'n' * 57 + '...')


def test_what_is_recorded_can_be_read() -> None:
    """Names are as long as a pod's may be, and of namespaces without a name have commas."""
    profile = EMPTY._replace(names={f'192.0.2.{k}': name for k, name in enumerate(LONGEST)})
    assert from_json(to_json(profile)) == profile


def test_names_that_no_check_writes_are_made_harmless() -> None:
    forged = to_json(EMPTY._replace(names={'192.0.2.1': '<b>\x1b[2J`id`|' + 'x' * 1000}))
    name, = from_json(forged).names.values()
    assert name.startswith('?b???2J?id??xxx')
    assert len(name) == 200
    with pytest.raises(ValueError, match='not a'):
        from_json(to_json(EMPTY._replace(names={'$(id)': 'web'})))
    with pytest.raises(ValueError, match='not a profile'):
        from_json(to_json(EMPTY).replace('{', '{"names":{"192.0.2.1":5},', 1))


KEY_ROWS = {'sources': ['10.0.0.1', 2], 'destinations': ['10.0.0.2', 2], 'services': [6, 80, 2],
            'targets': [6, '10.0.0.2', 80, 2]}
GOOD = {'entries': 10, 'seen': 9, 'assured': 8, 'unreplied': 7, 'snat': 6, 'dnat': 5, 'nat': 4, 'offloaded': 3,
        'uncertain': 2, 'states': [[6, 'ESTABLISHED', 2]], **{name: [row] for name, row in KEY_ROWS.items()}}
TRAFFIC = {'counted': 3, 'packets': 4, 'bytes': 5, 'sources': [['10.0.0.1', 4, 5]],
           'targets': [[6, '10.0.0.2', 80, 4, 5]], 'services': [[6, None, 4, 5]]}
LAST_COUNT, LAST_COUNTER = (1 << 31) - 1, (1 << 63) - 1


def taken(**other: object) -> Profile:
    return from_json(json.dumps({**GOOD, **other}))


def test_a_record() -> None:
    assert taken() == Profile(
        10, 9, {(6, 'ESTABLISHED'): 2}, 8, 7, 6, 5, 4, 3, ((Key(source='10.0.0.1'), 2),),
        ((Key(destination='10.0.0.2'), 2),), ((Key(6, port=80), 2),), ((Key(6, destination='10.0.0.2', port=80), 2),),
        uncertain=2)
    got = taken(spared=4, zones=[[0, 3], [65535, 1]], names={'10.0.0.1': 'pod a/b (c)?'}, traffic=TRAFFIC)
    assert (got.spared, got.zones) == (4, ((Key(zone=0), 3), (Key(zone=65535), 1)))
    assert got.names == {'10.0.0.1': 'pod a/b (c)?'}
    assert got.traffic == Traffic(3, 4, 5, (Volume(Key(source='10.0.0.1'), 4, 5),),
                                  (Volume(Key(6, destination='10.0.0.2', port=80), 4, 5),), (Volume(Key(6), 4, 5),))
    assert from_json(to_json(got)) == got


NUMBERS = [name for name, value in GOOD.items() if isinstance(value, int)]


@pytest.mark.parametrize(('part', 'last', 'first_refused'), [
    *(({name: '{}'}, LAST_COUNT, LAST_COUNT + 1) for name in (*NUMBERS, 'spared')),
    *(({name: '{}'}, 0, -1) for name in (*NUMBERS, 'spared')),
    ({'states': [['{}', 'CLOSE', 2]]}, 0, -1), ({'states': [[6, 'CLOSE', '{}']]}, LAST_COUNT, LAST_COUNT + 1),
    ({'states': [[6, '{}', 2]]}, 'X' * 64, 'X' * 65), ({'states': [[6, '{}', 2]]}, 'SYN_SENT2', 'SYN SENT'),
    ({'sources': [['{}', 2]]}, 'fd00::1', 'fg00::1'), ({'sources': [['{}', 2]]}, 'f' * 64, 'f' * 65),
    ({'destinations': [['10.0.0.1', '{}']]}, 0, -1), ({'destinations': [['{}', 1]]}, '10.0.0.1', '10.0.0.1/8'),
    ({'services': [[6, '{}', 2]]}, LAST_COUNT, LAST_COUNT + 1), ({'services': [[6, '{}', 2]]}, None, 'x'),
    ({'targets': [[6, '10.0.0.2', 80, '{}']]}, 0, -1), ({'targets': [['{}', '10.0.0.2', 80, 1]]}, 0, None),
    ({'zones': [['{}', 1]]}, 65535, 65536), ({'zones': [['{}', 1]]}, 0, -1), ({'zones': [[1, '{}']]}, 0, -1),
    ({'names': {'10.0.0.1': '{}'}}, 'a.b:c@d/e+f-(g)? h', 5), ({'names': '{}'}, {}, []),
    ({'traffic': {**TRAFFIC, 'counted': '{}'}}, LAST_COUNT, LAST_COUNT + 1),
    ({'traffic': {**TRAFFIC, 'packets': '{}'}}, LAST_COUNTER, LAST_COUNTER + 1),
    ({'traffic': {**TRAFFIC, 'bytes': '{}'}}, LAST_COUNTER, LAST_COUNTER + 1),
    ({'traffic': {**TRAFFIC, 'bytes': '{}'}}, 0, -1),
    ({'traffic': {**TRAFFIC, 'sources': [['10.0.0.1', '{}', 5]]}}, LAST_COUNTER, -1),
    ({'traffic': {**TRAFFIC, 'services': [[6, 80, 4, '{}']]}}, LAST_COUNTER, LAST_COUNTER + 1),
    ({'states': '{}'}, [[6, f'S{k}', 1] for k in range(1000)], [[6, f'S{k}', 1] for k in range(1001)]),
    *(({name: '{}'}, [row] * 1000, [row] * 1001) for name, row in KEY_ROWS.items()),
    ({'zones': '{}'}, [[1, 1]] * 1000, [[1, 1]] * 1001),
    ({'traffic': {**TRAFFIC, 'services': '{}'}}, [[6, 80, 4, 5]] * 1000, [[6, 80, 4, 5]] * 1001),
])
def test_the_last_that_is_taken_and_the_first_that_is_not(part: dict[str, object], last: object,
                                                          first_refused: object) -> None:
    def with_value(value: object) -> Profile:
        return taken(**json.loads(json.dumps(part).replace('"{}"', json.dumps(value))))

    assert with_value(last)
    with pytest.raises(ValueError):  # noqa: PT011
        with_value(first_refused)


def test_what_is_worth_recording() -> None:
    profile = taken(seen=500, sources=[[f'10.0.0.{k}', 30 - k] for k in range(30)])._replace(
        services=((Key(6, port=1), 5), (Key(6, port=2), 4)), zones=tuple((Key(zone=k), 1) for k in range(12)))
    kept = from_json(to_json(profile))
    assert [str(key) for key, _count in kept.sources] == [f'from 10.0.0.{k}' for k in range(10)]
    assert kept.services == ((Key(6, port=1), 5),), 'a hundredth of those seen'
    assert [key.zone for key, _count in kept.zones] == list(range(10))
    assert len(from_json(to_json(profile, 20)).sources) == 20
    assert 'traffic' not in to_json(profile)


def test_of_traffic_the_large_part_and_no_number_too_large() -> None:
    volumes = tuple(Volume(Key(source=f'10.0.0.{k}'), 1, size) for k, size in enumerate((1 << 64, 5, 4)))
    traffic = Traffic(3, 1 << 64, 500, volumes, (), ())
    kept = from_json(to_json(taken()._replace(traffic=traffic))).traffic
    assert kept
    assert (kept.packets, kept.bytes) == (LAST_COUNTER, 500)
    assert [one.bytes for one in kept.sources] == [LAST_COUNTER, 5]
    many = traffic._replace(bytes=10, sources=volumes[1:2] * 12)
    assert len(json.loads(to_json(taken()._replace(traffic=many)))['traffic']['sources']) == 10


@pytest.mark.parametrize('text', ['', '[]', '{}', 'null', '1', json.dumps({**GOOD, 'sources': None}),
                                  json.dumps({**GOOD, 'states': [[6]]}), json.dumps({**GOOD, 'seen': [1]}),
                                  '[' * 100000])
def test_another_text(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_json(text)
