"""New connections per second: estimated from the time left of a table's entries, and summed up from events."""

from __future__ import annotations

import random
import socket

import pytest

from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.rates import NewEntryCounter, about, counted
from check_conntrack_lib.analysis.timeouts import timeout_of
from check_conntrack_lib.flow import ASSURED, CONFIRMED, SEEN_REPLY, Flow

TIMEOUTS = {'tcp_timeout_time_wait': 120, 'tcp_timeout_syn_sent': 120, 'tcp_timeout_established': 432000,
            'udp_timeout': 30, 'udp_timeout_stream': 120, 'tcp_timeout_close': 10, 'icmp_timeout': 3}


def flow(protocol, state, age, status=SEEN_REPLY, src='10.0.0.1', dst='10.0.0.2', port=53, timeout=None):
    name = timeout_of(protocol, state, bool(status & ASSURED))
    left = int(TIMEOUTS[name] - age) if timeout is None else timeout
    return Flow(protocol, state, status | CONFIRMED, left, socket.inet_aton(src), socket.inet_aton(dst), 40000, port,
                b'', b'')


def arrivals(per_second, life, dice):
    """Ages of what came evenly at this rate, as far as it is still there."""
    return [dice.uniform(0, life) for _ in range(int(per_second * life))]


def estimate(flows, entries=None, sample=20000, dice=None):
    flows = list(flows)
    table = len(flows) if entries is None else entries
    taken = flows if len(flows) <= sample else dice.sample(flows, sample)
    fresh = NewEntryCounter(TIMEOUTS)
    assert list(fresh.watch(taken)) == taken
    return fresh.rate(table)


@pytest.mark.parametrize('seed', [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_rate_of_a_mixture(seed):
    dice = random.Random(seed)
    flows = [*(flow(17, '', age, 0, '10.2.3.4') for age in arrivals(800, 30, dice)),
             *(flow(6, 'TIME_WAIT', age, ASSURED | SEEN_REPLY, port=80) for age in arrivals(150, 120, dice)),
             *(flow(6, 'SYN_SENT', age, 0) for age in arrivals(300, 120, dice)),
             # neither ends nor begins, whatever is refreshed
             *(flow(6, 'ESTABLISHED', dice.uniform(0, 20), ASSURED | SEEN_REPLY, port=22) for _ in range(20000)),
             *(flow(17, '', dice.uniform(0, 2), ASSURED | SEEN_REPLY, port=443) for _ in range(5000))]
    got = estimate(flows, dice=dice)
    # 6250 new ones of 103000, seen in 20000: three standard deviations are 9 %
    assert got.rate == pytest.approx(1250, rel=0.1)
    assert not got.counted
    assert got.openers[0].key == Key(17, '10.2.3.4', '10.0.0.2', 53)
    assert got.share(got.protocols[17]) == pytest.approx(0.64, abs=0.06)


def test_a_flood_that_has_just_begun_is_seen_at_once():
    """The stock divided by the timeout would say 100 per second."""
    dice = random.Random(1)
    assert estimate(flow(17, '', age, 0) for age in arrivals(600, 5, dice)).rate == 600


def test_a_flood_that_has_ended_is_no_rate():
    dice = random.Random(1)
    assert estimate(flow(17, '', 10 + age, 0) for age in arrivals(600, 20, dice)) is None


def test_entries_of_another_timeout_policy_are_not_new():
    assert estimate(flow(17, '', 0, 0, timeout=300) for _ in range(1000)) is None


def test_a_timeout_that_is_shorter_than_the_span_says_nothing():
    assert estimate(flow(1, '', 0, 0) for _ in range(1000)) is None


def test_offloaded_and_unknown_entries():
    offloaded = Flow(6, '', CONFIRMED, None, b'\0' * 4, b'\0' * 4, 1, 2, b'', b'')
    odd = [offloaded._replace(state='STATE_42', timeout=1), offloaded._replace(protocol=50, timeout=600),
           offloaded._replace(protocol=33, state='OPEN', timeout=5)]
    assert estimate([offloaded, *odd] * 20) is None


def test_no_flow_at_all():
    assert NewEntryCounter(TIMEOUTS).rate(100) is None


def test_a_counted_rate_with_its_sample():
    flows = [flow(17, '', 0, 0, '10.2.3.4')] * 78 + [
        flow(6, 'SYN_SENT', 0, 0, f'10.1.0.{k}', f'10.9.0.{k}', 443) for k in range(22)]
    got = counted(1990.0, flows)
    assert (got.rate, got.seen, got.counted) == (1990.0, 100, True)
    first, second = got.openers[:2]
    assert (first.source, got.share(first.seen), first.key) == ('10.2.3.4', 0.78, Key(17, '10.2.3.4', '10.0.0.2', 53))
    assert (second.source, second.seen) == ('10.1.0.0', 1)
    assert got.targets[0] == (Key(17, '', '10.0.0.2', 53), 78)
    assert got._replace(refused=3000.0).attempts == 4990


def test_a_source_that_opens_everything_has_no_one_target():
    flows = [flow(6, 'SYN_SENT', 0, 0, '10.2.3.4', f'10.9.{k // 250}.{k % 250}', 443) for k in range(1000)]
    assert counted(100.0, flows).openers[0].key == Key(source='10.2.3.4')


def test_nothing_new():
    got = counted(0.0, [])
    assert (got.rate, got.share(0), got.busiest()) == (0.0, 0.0, None)


@pytest.mark.parametrize(('number', 'words'), [
    (0.4, 'under 1'), (1, 'about 1'), (7.6, 'about 8'), (14, 'about 10'), (849, 'about 800'), (963, 'about 1000'),
    (1434, 'about 1000'), (47999, 'about 50000')])
def test_one_significant_digit(number, words):
    assert about(number) == words


@pytest.mark.parametrize(('kind', 'name'), [
    ((6, 'TIME_WAIT', True), 'tcp_timeout_time_wait'), ((6, '', True), 'tcp_timeout'),
    ((17, '', False), 'udp_timeout'), ((17, '', True), 'udp_timeout_stream'), ((47, '', True), 'gre_timeout_stream'),
    ((132, 'COOKIE_WAIT', False), 'sctp_timeout_cookie_wait'), ((1, '', False), 'icmp_timeout'),
    ((50, '', True), 'generic_timeout'),
    # a damaged line, found by benchmarks/fuzz.py
    ((1, 'SYN_SENT', False), 'icmp_timeout'), ((17, 'X', True), 'udp_timeout_stream')])
def test_the_timeout_of_an_entry(kind, name):
    assert timeout_of(*kind) == name


def test_a_rate_by_the_timeout_it_lives_by():
    flows = [*(flow(17, '', k % 5, 0) for k in range(30)), *(flow(6, 'CLOSE', k % 5, 0) for k in range(20)),
             *(flow(6, 'CLOSE', 9, 0) for _ in range(5))]
    found = estimate(flows, entries=110)
    assert found.by_timeout == {'udp_timeout': 12, 'tcp_timeout_close': 8}
    assert (found.rate, found.seen, found.protocols) == (20, 50, {17: 30, 6: 20})
    assert estimate(flows[:20]).rate == 4
    assert estimate(flows[:19]) is None


def test_at_the_ends_of_the_span():
    def seen(age):
        return estimate([flow(17, '', age, 0)] * 40 + [flow(17, '', 1, 0)] * 20).seen

    assert [seen(age) for age in (0, 5, 6, -1)] == [60, 60, 20, 20]


def test_shares_and_the_busiest():
    flows = [flow(17, '', 1, src='10.0.0.1')] * 7 + [flow(17, '', 1, src='10.0.0.1', port=9)] * 3 \
        + [flow(1, '', 1, src='10.0.0.2')] * 6 + [flow(1, '', 1, src='10.0.0.2', dst='10.0.0.3')] * 4
    found = counted(5.0, flows)
    assert found.busiest() == found.openers[0]
    assert [(one.source, one.seen, one.key) for one in found.openers] == [
        ('10.0.0.1', 10, Key(17, '10.0.0.1', '10.0.0.2', 53)), ('10.0.0.2', 10, Key(source='10.0.0.2'))]
    assert found.targets[:2] == ((Key(17, '', '10.0.0.2', 53), 7), (Key(1, '', '10.0.0.2'), 6))
    assert (found.share(5), found.attempts, found._replace(refused=2.0).attempts) == (0.25, 5, 7)
    nothing = counted(0.0, [])
    assert (nothing.busiest(), nothing.share(0)) == (None, 0.0)


def test_ten_of_each_are_named():
    found = counted(1.0, [flow(17, '', 1, src=f'10.0.0.{k}', dst=f'10.0.1.{k}') for k in range(11)])
    assert [one.source for one in found.openers] == [f'10.0.0.{k}' for k in range(10)]
    assert len(found.targets) == 10


@pytest.mark.parametrize(('number', 'text'), [(0.9, 'under 1'), (1, 'about 1'), (9.6, 'about 10'), (14, 'about 10'),
                                              (851, 'about 900'), (99_999, 'about 100000')])
def test_in_one_digit(number, text):
    assert about(number) == text
