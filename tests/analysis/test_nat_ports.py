"""Ports of source NAT: how many there are and are used, from samples of known truth; and the cause of refusals."""

from __future__ import annotations

import random
import socket
from functools import cache

import pytest

from check_conntrack_lib.analysis import nat_ports
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.nat_ports import DEFAULT, EITHER, PORTS, RACING, PortUse, cause, count_exactly
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.flow import ASSURED, CONFIRMED, SEEN_REPLY, SRC_NAT, Flow, ReplyTuple
from check_conntrack_lib.history.profile_json import from_json, to_json

SERVER, GATEWAY = '203.0.113.9', '198.51.100.1'
POOL = ReplyTuple(6, socket.inet_aton(SERVER), 443, socket.inet_aton(GATEWAY))


packed = cache(socket.inet_aton)


def flow(client, sport, port, state='TIME_WAIT', server=SERVER, protocol=6, gateway=GATEWAY, status=SRC_NAT):
    a, s, g = map(packed, (client, server, gateway))
    return Flow(protocol, state, CONFIRMED | SEEN_REPLY | ASSURED | status, 100, a, s, sport, 443, s, g, 0, 443, port)


def ordinary(number):
    """Flows without NAT."""
    a, s = socket.inet_aton('10.7.0.1'), socket.inet_aton('10.8.0.1')
    return [Flow(6, 'ESTABLISHED', CONFIRMED | SEEN_REPLY | ASSURED, 100, a, s, 40000, 80, s, a, 0, 80, 40000)] * number


def masquerade(number, dice, ports=(1024, 65535), clients=200, keep=True):
    """What plain SNAT makes of Linux clients: the client's port where it is free, else another of the range."""
    used, flows = set(), []
    first, last = ports
    while len(flows) < number:
        client, sport = f'10.1.0.{int(clients * dice.random())}', 32768 + int(28232 * dice.random())
        port = sport
        if not keep or port in used or not first <= port <= last:
            port = first + int((last + 1 - first) * dice.random())
            while port in used:
                port = first + int((last + 1 - first) * dice.random())
        used.add(port)
        flows.append(flow(client, sport, port))
    return flows


def fullest(flows, table, sample, dice):
    """The fullest pool in a sample of a table with these flows and others."""
    table = [*flows, *ordinary(table - len(flows))]
    taken = table if sample >= len(table) else dice.sample(table, sample)
    pools = summarize(taken, len(table)).nat_ports
    return pools[0] if pools else None


@pytest.mark.parametrize('seed', [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(('number', 'ports', 'keep', 'size'), [
    (38700, (1024, 65535), True, 64512),
    (38700, (1024, 65535), False, 64512),
    (7000, (1024, 65535), True, 64512),
    (20000, (20000, 59999), False, 40000),
    (1900, (40000, 42047), False, 2048),
    (1900, (40000, 42047), True, 2048),
], ids=['masquerade', 'random', 'little used', 'configured', 'small', 'small, some kept'])
def test_the_estimate_from_a_sample(number, ports, keep, size, seed):
    dice = random.Random(seed)
    one = fullest(masquerade(number, dice, ports, keep=keep), 100_000, 20_000, dice)
    assert one.pool == POOL
    assert one.size == pytest.approx(size, rel=0.03)
    # the binomial error of a sample of a fifth, with three standard deviations
    seen = number / 5
    assert one.used == pytest.approx(number, rel=3 * (0.8 / seen) ** 0.5)
    assert one.least <= number * 1.01
    assert not one.exact


def test_a_table_that_was_seen_as_a_whole_needs_no_estimate():
    dice = random.Random(1)
    flows = masquerade(50, dice, (40000, 40049), keep=False)
    one = fullest(flows, 250, 20_000, dice)
    assert (one.used, one.size, one.least, one.exact) == (50, 50, 50, True)
    assert one.share == 1
    assert str(one) == '203.0.113.9:443 tcp through 198.51.100.1'


def test_one_client_that_keeps_its_own_ports_does_not_fill_a_range_of_them():
    """All its ports are different and kept: nothing tells the range, which is the whole one unless it is configured."""
    dice = random.Random(2)
    flows = [flow('10.1.0.1', port, port) for port in dice.sample(range(32768, 61000), 20000)]
    one = fullest(flows, 30_000, 20_000, dice)
    assert one.size == DEFAULT
    assert one.share == pytest.approx(0.31, abs=0.01)
    assert one.kept


def test_a_few_strays_do_not_stretch_a_small_range():
    dice = random.Random(3)
    flows = [*masquerade(2000, dice, (40000, 42047), keep=False), flow('10.1.0.9', 5000, 1500),
             flow('10.1.0.9', 5001, 64000)]
    one = fullest(flows, 2002, 20_000, dice)
    assert one.size == pytest.approx(2048, rel=0.05)


@pytest.mark.parametrize(('sport', 'ports', 'size'), [(123, range(1, 512), 511), (600, range(600, 1024), 424)])
def test_clients_below_port_1024_have_a_range_of_their_own(sport, ports, size):
    flows = [flow(f'10.1.0.{k % 200}', sport, port) for k, port in enumerate(ports)]
    one = fullest([*flows, *masquerade(1000, random.Random(4))], 2500, 20_000, random.Random(4))
    assert (one.used, one.size) == (len(ports), size)
    assert count_exactly([*flows, *masquerade(1000, random.Random(4))], one).size == size


@pytest.mark.slow
def test_pools_are_told_apart_by_server_port_address_and_protocol():
    dice = random.Random(5)
    flows = masquerade(12000, dice)
    other = [one._replace(reply_src=socket.inet_aton('203.0.113.10')) for one in flows[:6000]]
    udp = [one._replace(protocol=17, state='') for one in flows[:3000]]
    address = [one._replace(reply_dst=socket.inet_aton('198.51.100.2')) for one in flows[:9000]]
    table = [*flows, *other, *udp, *address]
    dice.shuffle(table)
    pools = summarize(table, 30000).nat_ports
    assert [(one.used, str(one)) for one in pools] == [
        (12000, '203.0.113.9:443 tcp through 198.51.100.1'),
        (9000, '203.0.113.9:443 tcp through 198.51.100.2'),
    ]
    # 6000 and 3000 are less than a tenth


def test_destination_nat_in_front_is_looked_through():
    """Two virtual addresses with one server behind them share its pool."""
    dice = random.Random(6)
    flows = [one._replace(dst=socket.inet_aton(f'192.0.2.{k % 2}'), dport=80 + k % 2)
             for k, one in enumerate(masquerade(10000, dice))]
    assert [one.used for one in summarize(flows, 10000).nat_ports] == [10000]


def test_what_has_no_source_nat_or_no_ports_has_no_pool():
    icmp = [flow('10.1.0.1', 0, 0, '', protocol=1) for _ in range(1000)]
    assert summarize([*ordinary(20000), *icmp], 21000).nat_ports == ()


def test_few_flows_of_a_pool_say_nothing():
    dice = random.Random(7)
    assert fullest(masquerade(6000, dice), 20_000, 20_000, dice) is None
    assert fullest(masquerade(19, dice, (40000, 40018), keep=False), 1000, 20_000, dice) is None


def test_who_holds_the_ports():
    flows = [*(flow('10.2.3.4', 40000 + k, 1024 + 3 * k) for k in range(9000)),
             *(flow('10.2.3.5', 40000 + k, 35000 + 2 * k, 'ESTABLISHED') for k in range(3000))]
    one, = summarize(flows, 12000).nat_ports
    assert one.sources == (('10.2.3.4', 9000), ('10.2.3.5', 3000))
    assert one.held_by('TIME_WAIT') == 0.75
    assert not one.kept


@pytest.mark.slow
def test_the_exact_count_includes_the_gateways_own_connections():
    """They take ports of the same server and address, without NAT."""
    dice = random.Random(8)
    flows = masquerade(40000, dice)
    taken = {one.reply_dport for one in flows}
    own = [flow(GATEWAY, port, port, status=0) for port in range(1024, 65536) if port not in taken][:4000]
    one = fullest(flows, 100_000, 20_000, dice)
    exact = count_exactly([*flows, *own], one)
    assert (exact.used, exact.size, exact.exact) == (44000, DEFAULT, True)


def test_the_exact_count_of_a_pool_that_is_gone():
    one = PortUse(POOL, 60000, DEFAULT, 58000, False)
    assert count_exactly([], one)[1:5] == (0, DEFAULT, 0, True)


def test_the_exact_count_of_the_part_that_it_was_about():
    """A pool has one range for clients below port 512, one below 1024, and one for all others."""
    parts = {511: range(1, 101), 424: range(600, 640)}
    flows = [flow('10.2.3.4', sport, port) for sport, ports in ((123, parts[511]), (600, parts[424])) for port in ports]
    flows += masquerade(4000, random.Random(8))
    for size, ports in parts.items():
        one = count_exactly(flows, PortUse(POOL, 500, size, 500, False))
        assert (one.used, one.size) == (len(ports), size)
    one = count_exactly(flows, PortUse(POOL, 60000, 60000, 58000, False))
    assert one.share == max(100 / 511, 40 / 424)
    assert count_exactly(flows[100:140], PortUse(POOL, 500, 511, 500, False)).used == 0


def lost(clashes, found, drop=None):
    packets = {'drop': clashes if drop is None else drop, 'insert_failed': clashes, 'clash_resolve': 0}
    return Losses(300, packets if found is None else {**packets, 'found': found})


FULL, HALF, SMALL = (PortUse(POOL, used, size, used, True) for used, size in
                     ((60000, DEFAULT), (20000, DEFAULT), (50, 50)))


@pytest.mark.parametrize(('losses', 'use', 'named'), [
    (lost(100, 24800), FULL, PORTS),
    (lost(350, 17676), SMALL._replace(pool=POOL._replace(protocol=17)), PORTS),
    (lost(350, 350 * 18), SMALL, PORTS),
    (lost(100, 100 * 128), FULL, PORTS),
    # 24 ports: nothing of the search is counted
    (lost(100, 0), SMALL._replace(used=24, size=24), PORTS),
    (lost(100, None), FULL, PORTS),
    # a race beside a full pool: `found` did not move as it would have
    (lost(100, 0), FULL, RACING),
    (lost(100, 3000), FULL, EITHER),
    (lost(100, 50), None, RACING),
    (lost(100, 24800), None, EITHER),
    (lost(100, None), None, EITHER),
    (lost(100, 24800), HALF, EITHER),
    (lost(100, 100), HALF, RACING),
])
def test_the_cause(losses, use, named):
    assert cause(losses, use) == named


@pytest.mark.slow
def test_memory_is_bounded():
    """A million pools: an exact profile of a gateway to the whole internet."""
    def flows():
        for k in range(300_000):
            yield flow('10.1.0.1', 40000, 40000)._replace(reply_src=k.to_bytes(4, 'big'))
        yield from masquerade(30000, random.Random(9))
    pools = nat_ports.Pools()
    batch = []
    for one in flows():
        batch.append(one)
        if len(batch) == 512:
            pools.update(batch)
            batch.clear()
    assert len(pools._ports) == nat_ports.SAMPLE
    assert len(pools._pools.counts) <= 25088


def test_pools_are_recorded_with_a_profile():
    profile = summarize(masquerade(30000, random.Random(10)), 30000)
    again, = from_json(to_json(profile)).nat_ports
    one, = profile.nat_ports
    assert again == one._replace(seen=0, states=(), sources=(), least=again.least)
    assert from_json(to_json(profile._replace(nat_ports=()))).nat_ports == ()


@pytest.mark.parametrize('damage', ['[[6,"x y",443,"198.51.100.1",1,2,1,0]]', '[[6]]', '7',
                                    '[[6,"::1",-1,"::1",1,2,1,0]]', '[[6,"203.0.113.9",443,"198.51.100.1",1,0,1,0]]'])
def test_a_damaged_record_is_refused(damage):
    text = to_json(summarize(ordinary(10), 10))
    with pytest.raises(ValueError, match=r'.'):
        from_json(text[:-1] + f',"nat_ports":{damage}}}')


@pytest.mark.parametrize(('size', 'protocol', 'found'), [
    (128, 17, 128), (129, 17, 248), (128, 6, 96), (31, 6, 0), (129, 6, 128), (64512, 6, 128)])
def test_what_a_refused_packet_adds_to_found(size, protocol, found):
    pool = POOL._replace(protocol=protocol)
    assert PortUse(pool, 1, size, 1, True).found == found


@pytest.mark.parametrize(('used', 'found', 'named'), [
    # 100 refused of a pool of 1000: 0.4 * 128 places each
    (600, 5120, PORTS), (600, 5119, EITHER), (600, 1600, EITHER), (600, 1599, RACING), (600, 0, RACING),
    (600, None, PORTS), (599, 5120, EITHER), (599, 1600, EITHER), (599, 1599, RACING), (599, None, EITHER)])
def test_the_cause_at_its_limits(used, found, named):
    packets = {'drop': 100, 'insert_failed': 100, **({} if found is None else {'found': found})}
    assert cause(Losses(60, packets), PortUse(POOL, used, 1000, 1, True)) == named


def test_how_a_pool_is_called_and_held():
    use = PortUse(POOL, 250, 1000, 200, True, seen=8, states=(('TIME_WAIT', 6), ('CLOSE', 2)))
    assert str(use) == '203.0.113.9:443 tcp through 198.51.100.1'
    assert (use.share, use.least_share) == (0.25, 0.2)
    assert (use.held_by('TIME_WAIT'), use.held_by('LAST_ACK')) == (0.75, 0.0)
    assert PortUse(POOL, 1, 2, 1, True).held_by('CLOSE') == 0.0
    six = POOL._replace(server=socket.inet_pton(socket.AF_INET6, 'fd00::9'), protocol=132)
    assert str(use._replace(pool=six)) == '[fd00::9]:443 sctp through 198.51.100.1'


@pytest.mark.parametrize(('kept', 'chosen', 'size'), [
    ([], [], DEFAULT), ([], list(range(2000, 2015)), DEFAULT), ([], list(range(2000, 2016)), 16),
    # a sample of ports is a little less wide than their range
    ([], list(range(2000, 3000, 10)), 1009), ([], list(range(1024, 57000, 1000)), DEFAULT),
    # the kernel keeps a port only within the range, if these are no single odd ones
    ([1500, 4000], list(range(2000, 3000, 10)), 2501), ([1500], list(range(2000, 3000, 10)), 1009)])
def test_the_size_of_a_range(kept, chosen, size):
    assert nat_ports.range_size(kept, chosen) == size


@pytest.mark.parametrize(('flows', 'pools'), [(19, 0), (20, 1)])
def test_how_many_flows_are_worth_a_word(flows, pools):
    assert len(summarize([flow(f'10.0.0.{k}', 9, 1024 + k) for k in range(flows)], flows).nat_ports) == pools
