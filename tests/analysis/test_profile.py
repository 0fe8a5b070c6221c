"""The profile: what it counts, and that its margins are honest."""

from __future__ import annotations

import contextlib
import json
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.analysis import profile_counter
from check_conntrack_lib.analysis.profile import Key, Profile, Proportion, TimeLeft, TimeoutClass, share
from check_conntrack_lib.analysis.profile_counter import spares_offloaded, summarize
from check_conntrack_lib.analysis.state_notes import meaning_of
from check_conntrack_lib.flow import ASSURED, DST_NAT, OFFLOAD, SEEN_REPLY, SRC_NAT, Flow
from check_conntrack_lib.history.profile_json import from_json, to_json


def flow(protocol=6, state='ESTABLISHED', status=SEEN_REPLY | ASSURED, timeout=431990, src='10.0.0.1', dst='10.0.0.2',
         dport=443):
    family = socket.AF_INET6 if ':' in src else socket.AF_INET
    source, target = socket.inet_pton(family, src), socket.inet_pton(family, dst)
    return Flow(protocol, state if protocol == 6 else '', status, timeout, source, target, 40000, dport, target, source)


def udp(**more):
    return flow(17, '', SEEN_REPLY, 25, dst='10.0.0.53', dport=53)._replace(**more)


FLOWS = [flow()] * 5 + [flow(src='fd00::1', dst='fd00::2')] + [udp()] * 2 + [
    flow(state='TIME_WAIT', timeout=100),
    flow(state='SYN_SENT', status=0, timeout=110, dst='10.0.0.9', dport=22),
    flow(1, '', SEEN_REPLY, 29, dport=0),
    flow(status=SEEN_REPLY | ASSURED | SRC_NAT, src='10.0.0.3'),
    flow(status=SEEN_REPLY | ASSURED | SRC_NAT | DST_NAT, src='10.0.0.3'),
    flow(state='', status=SEEN_REPLY | ASSURED | OFFLOAD, timeout=None),
]
PROFILE = summarize(FLOWS, 1400)


def test_counts():
    assert (PROFILE.entries, PROFILE.seen) == (1400, 14)
    assert PROFILE.states == {(6, 'ESTABLISHED'): 8, (17, ''): 2, (6, 'TIME_WAIT'): 1, (6, 'SYN_SENT'): 1,
                              (1, ''): 1, (6, 'OFFLOAD'): 1}
    assert (PROFILE.assured, PROFILE.unreplied, PROFILE.offloaded) == (10, 1, 1)
    assert (PROFILE.snat, PROFILE.dnat, PROFILE.nat) == (2, 1, 2)
    assert PROFILE.protocol(6) == 11
    assert PROFILE.uncertain == 0


@pytest.mark.parametrize(('release', 'stays'), [
    ('5.10.0-46-amd64', True), ('6.1.0-50-amd64', True), ('6.2.16', True), ('6.3.0', False), ('7.2.13', False),
    ('odd', False), ('', False)])
def test_kernels_that_evict_no_offloaded_entry(release, stays):
    assert spares_offloaded(release) is stays


def test_what_is_never_evicted():
    """Offloaded: tcp is assured from 6.1 on, udp nowhere; up to 6.2 neither is evicted."""
    flows = [flow(state='', status=SEEN_REPLY | OFFLOAD, timeout=None)] * 4 + [
        udp(status=SEEN_REPLY | OFFLOAD, timeout=None)] * 3 + [flow(status=SEEN_REPLY)] * 2 + [flow()]
    stay = summarize(flows, 10, offloaded_stay=True)
    assert (stay.assured, stay.spared) == (8, 7)
    assert from_json(to_json(stay)).spared == 7
    later = summarize(flows, 10)
    assert (later.assured, later.offloaded, later.spared) == (1, 7, 0)
    # ESTABLISHED alone does not protect
    assert later.states == {(6, 'OFFLOAD'): 4, (17, 'OFFLOAD'): 3, (6, 'ESTABLISHED'): 3}
    assert 'never evicted' not in meaning_of(later, 6, 'ESTABLISHED')
    assert 'flowtable' in meaning_of(later, 6, 'OFFLOAD')
    assert 'flowtable' in meaning_of(later, 17, 'OFFLOAD')


def test_tops():
    assert PROFILE.sources == ((Key(source='10.0.0.1'), 11), (Key(source='10.0.0.3'), 2), (Key(source='fd00::1'), 1))
    assert PROFILE.destinations[:2] == ((Key(destination='10.0.0.2'), 10), (Key(destination='10.0.0.53'), 2))
    assert PROFILE.services == ((Key(6, port=443), 10), (Key(17, port=53), 2), (Key(1), 1), (Key(6, port=22), 1))
    assert PROFILE.targets[0] == (Key(6, '', '10.0.0.2', 443), 9)
    assert (Key(1, '', '10.0.0.2'), 1) in PROFILE.targets


def test_nat_by_what_is_reached():
    assert PROFILE.natted[Key(6, port=443)] == PROFILE.natted[Key(6, '', '10.0.0.2', 443)] == 2
    assert PROFILE.natted[Key(17, port=53)] == PROFILE.natted[Key(6, '', 'fd00::2', 443)] == 0
    assert PROFILE.natted.keys() == {key for key, _count in PROFILE.services + PROFILE.targets}


def test_an_iterator_will_do_and_nothing_is_no_error():
    assert summarize(iter(FLOWS), 1400) == PROFILE
    nothing = summarize([], 100)
    assert (nothing.seen, nothing.states, nothing.sources, nothing.estimate(0)) == (0, {}, (), 0)
    assert nothing.share(0) == Proportion(0.0, 0.0, 1.0)


def test_estimates_scale_to_the_table():
    assert PROFILE.estimate(2) == 200
    # entries that came while the table was read
    assert summarize(FLOWS, 10).estimate(2) == 2


@pytest.mark.parametrize(('key', 'text'), [
    (Key(17, '', '10.0.0.53', 53), 'udp to 10.0.0.53:53'),
    (Key(6, '', 'fd00::1', 443), 'tcp to [fd00::1]:443'),
    (Key(1, '', 'fd00::1'), 'icmp to fd00::1'),
    (Key(6, port=443), 'tcp port 443'),
    (Key(47), 'gre'),
    (Key(200), 'protocol 200'),
    (Key(source='10.0.0.1'), 'from 10.0.0.1'),
    (Key(destination='10.0.0.1'), 'to 10.0.0.1'),
])
def test_keys_in_words(key, text):
    assert str(key) == text


def test_a_key_covers_the_more_exact_ones():
    exact = Key(17, '', '10.0.0.53', 53)
    assert Key(17, port=53).covers(exact)
    assert Key(destination='10.0.0.53').covers(exact)
    assert exact.covers(exact)
    assert not exact.covers(Key(17, port=53))
    assert not Key(6, port=53).covers(exact)
    assert not Key(source='10.0.0.1').covers(exact)


class TestTimeLeft:
    def test_udp_streams_are_a_kind_of_their_own(self):
        profile = summarize([udp(), udp(status=SEEN_REPLY | ASSURED, timeout=119)], 2)
        assert profile.time_left == {TimeoutClass(17, '', False): TimeLeft(1, {25: 1}),
                                     TimeoutClass(17, '', True): TimeLeft(1, {119: 1})}

    def test_offloaded_entries_have_none(self):
        assert TimeoutClass(6, '', True) not in PROFILE.time_left

    def test_idle(self):
        left = summarize([flow(timeout=seconds) for seconds in (431999, 431000, 345599, 345600, 0)], 5)
        established = left.time_left[TimeoutClass(6, 'ESTABLISHED', True)]
        # idle for 1 s, 1000 s, a day and a second, a day, and 5 days
        assert established.idle_longer(86400, 432000) == 2
        assert established.idle_longer(900, 432000) == 4
        assert established.idle_longer(0, 432000) == 5
        assert established.idle_longer(432000, 432000) == 0

    def test_within_a_step_it_is_interpolated(self):
        left = TimeLeft(100, {0: 10, 3: 20})
        assert left.below(50) == 5
        assert left.below(325) == 15
        assert left.below(1000) == 30

    def test_five_days_of_seconds_stay_small_and_near_enough(self):
        profile = summarize((flow(timeout=seconds) for seconds in range(0, 432000, 7)), 100000)
        left = profile.time_left[TimeoutClass(6, 'ESTABLISHED', True)]
        assert len(left.steps) <= 2048
        for seconds in (7440, 86400, 345600):
            assert left.idle_longer(seconds, 432000) == pytest.approx((432000 - seconds) / 7, abs=2)


class TestMargin:
    def test_none_when_all_was_seen(self):
        assert share(3, 10, 10) == share(3, 10, 9) == Proportion(0.3, 0.3, 0.3)

    def test_of_a_large_sample(self):
        assert share(10000, 20000, 10**9).margin == pytest.approx(3.02 * (0.25 / 20000) ** 0.5, rel=1e-3)

    def test_shrinks_with_what_is_left_unseen(self):
        assert share(10000, 20000, 25000).margin == pytest.approx(
            share(10000, 20000, 10**9).margin * 0.2 ** 0.5, rel=0.01)

    def test_none_and_all_of_a_sample_are_no_proof(self):
        none, everything = share(0, 2000, 10**6), share(2000, 2000, 10**6)
        assert none.low == none.value == 0 < none.high < 0.01
        assert everything.high == everything.value == 1 > everything.low > 0.99

    @given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 10**7))
    def test_is_always_sensible(self, count, others, entries):
        found = share(count, count + others, entries)
        assert 0 <= found.low <= found.value <= found.high <= 1

    @pytest.mark.parametrize('part', [0, 3, 50, 400, 5000, 9990, 10000])
    def test_holds_in_draws_without_repetition(self, part):
        """Each share alone holds far more often than 95 %, so that twenty hold together."""
        rng = random.Random(part)
        table = [True] * part + [False] * (10000 - part)
        trials = 400
        held = sum(
            found.low <= part / 10000 <= found.high
            for found in (share(sum(rng.sample(table, 500)), 500, 10000) for _ in range(trials)))
        assert held >= 0.985 * trials


class TestRecord:
    def test_what_is_kept(self):
        kept = from_json(to_json(PROFILE))
        assert kept == PROFILE._replace(time_left={}, natted={})

    def test_of_each_sort_the_20_largest(self):
        many = [one._replace(zone=k, src=bytes([10, 0, 0, k]), dst=bytes([10, 1, 0, k]), dport=k)
                for k in range(25) for one in FLOWS[:1] * (25 - k)]
        profile = summarize(many, len(many))
        for sort in ('sources', 'destinations', 'services', 'targets', 'zones'):
            assert [count for _key, count in getattr(profile, sort)] == list(range(25, 5, -1)), sort
        # of zones with as many entries the lower number comes first
        same = summarize([FLOWS[0]._replace(zone=zone) for zone in (9, 3, 5)], 3)
        assert [key.zone for key, _count in same.zones] == [3, 5, 9]

    def test_states_and_times_that_are_sorted_in_between(self, monkeypatch):
        many = [one._replace(timeout=k) for k in range(3000) for one in FLOWS]
        at_the_end = summarize(many, len(many))
        assert sum(at_the_end.states.values()) == len(many)
        monkeypatch.setattr(profile_counter, 'MOST_LIVES', 700)
        assert summarize(many, len(many)) == at_the_end

    def test_zones_and_bytes_are_kept(self):
        counted = [one._replace(zone=zone, orig_packets=2, orig_bytes=1 << 62, reply_packets=1, reply_bytes=1 << 62)
                   for zone, one in enumerate(FLOWS[:3])]
        profile = summarize(counted, 3)
        kept = from_json(to_json(profile))
        assert kept.zones == profile.zones == ((Key(zone=0), 1), (Key(zone=1), 1), (Key(zone=2), 1))
        # most of a table is in no zone
        mixed = summarize([FLOWS[0]] * 2000 + [FLOWS[0]._replace(zone=1)], 2001)
        assert mixed.zones == ((Key(zone=0), 2000), (Key(zone=1), 1))
        # more than SQLite's numbers hold is the most that they do
        assert (kept.traffic.packets, kept.traffic.bytes) == (9, (1 << 63) - 1)
        assert [one.key for one in kept.traffic.sources] == [one.key for one in profile.traffic.sources]

    def test_what_other_versions_recorded(self):
        record = json.loads(to_json(PROFILE))
        assert from_json(json.dumps({**record, 'later': [{'what': 1}]})) == from_json(to_json(PROFILE))
        del record['zones']
        assert (from_json(json.dumps(record)).zones, from_json(json.dumps(record)).traffic) == ((), None)

    NONE = {'counted': 1, 'packets': 1, 'bytes': 1, 'sources': [], 'targets': [], 'services': []}  # noqa: RUF012

    @pytest.mark.parametrize('more', [
        {'zones': [[65536, 1]]}, {'zones': [['x', 1]]}, {'zones': [[1]]}, {'zones': [[1, 1]] * 1001}, {'traffic': {}},
        {'traffic': {**NONE, 'bytes': 1 << 63}}, {'traffic': {**NONE, 'sources': [['a|b', 1, 1]]}},
        {'traffic': {**NONE, 'bytes': -1}}, {'traffic': {**NONE, 'targets': [[6, '10.0.0.1', 443, 1]]}}])
    def test_zones_and_bytes_that_no_check_wrote(self, more):
        with pytest.raises(ValueError):  # noqa: PT011
            from_json(json.dumps({**json.loads(to_json(PROFILE)), **more}))

    def test_few_hundred_bytes_of_a_busy_table(self):
        rng = random.Random(1)
        flows = (flow(state=rng.choice(['ESTABLISHED', 'TIME_WAIT', 'SYN_SENT', 'CLOSE', 'FIN_WAIT']),
                      src=f'100.100.{rng.randrange(256)}.{rng.randrange(256)}',
                      dst=f'198.100.100.{rng.randrange(8)}', dport=40000 + rng.randrange(8)) for _ in range(2000))
        text = to_json(summarize(flows, 10**7))
        assert len(text) < 1500
        # rare keys would be noise
        assert from_json(text).sources == ()

    @pytest.mark.parametrize('text', ['', '[]', '{}', 'null', '1', to_json(PROFILE).replace('14', '"x"'),
                                      to_json(PROFILE).replace('14', 'Infinity'),
                                      to_json(PROFILE).replace('"services":[', '"services":[[],'),
                                      # these would be printed, or computed with
                                      to_json(PROFILE).replace('ESTABLISHED', 'ESTAB|\\u001b'),
                                      to_json(PROFILE).replace('10.0.0.', '10.0|0.'),
                                      to_json(PROFILE).replace('"sources":[', '"sources":[[5,1],'),
                                      to_json(PROFILE).replace('"targets":[', '"targets":[[[],"",5,1],'),
                                      to_json(PROFILE).replace('"seen":', '"seen":-'),
                                      to_json(PROFILE).replace('"seen":', '"seen":9' + '9' * 400), '[' * 100000])
    def test_another_text(self, text):
        with pytest.raises(ValueError):  # noqa: PT011
            from_json(text)

    @pytest.mark.slow
    @given(st.recursive(st.none() | st.integers() | st.text(max_size=5) | st.floats(),
                        lambda inner: st.lists(inner, max_size=4)),
           st.sampled_from(sorted(set(Profile._fields) - {'time_left', 'natted'})))
    def test_no_text_gives_a_traceback(self, value, field):
        with contextlib.suppress(ValueError):
            from_json(json.dumps({**json.loads(to_json(PROFILE)), field: value}))


def test_so_many_keys_of_each_sort_are_named() -> None:
    seen = summarize([Flow(6, 'ESTABLISHED', 0, 60, bytes((10, 0, 0, k)), bytes((192, 0, 2, k)), 1024, 80 + k, b'', b'')
                      for k in range(25)], 25)
    assert [len(keys) for keys in (seen.sources, seen.destinations, seen.services, seen.targets)] == [20] * 4
