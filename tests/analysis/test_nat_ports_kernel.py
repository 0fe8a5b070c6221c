"""Ports of source NAT on a real kernel: small and default ranges, each kind of rule, TCP and UDP."""

from __future__ import annotations

import time

import laboratory
import pytest
from nat_gateway import SERVER, gateway

from check_conntrack_lib.analysis import nat_ports
from check_conntrack_lib.analysis.losses import Losses
from check_conntrack_lib.analysis.nat_ports import PORTS, RACING, cause
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.readers import ctnetlink

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True, scope='module')
def _laboratory():
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.maximum(1_000_000):
        yield


def pools(lab, sample=20000):
    with lab.in_netns():
        return ctnetlink.read_flows(lambda flows: summarize(flows, lab.count()), sample).nat_ports


def exactly(lab, use):
    with lab.in_netns():
        return ctnetlink.read_flows(lambda flows: nat_ports.count_exactly(flows, use), pool=use.pool)


def moved(lab, before):
    return Losses(10, {name: value - before[name] for name, value in lab.cpu_stats().items() if name != 'clashres'}
                  | {'clash_resolve': 0})


def settled(lab):
    """Packets on their way have arrived when the count stands still."""
    last = -1
    while last != (last := lab.count()):
        time.sleep(0.1)
    return last


@pytest.mark.parametrize('protocol', ['udp', 'tcp'])
@pytest.mark.parametrize('how', ['', ' random', ' fully-random'])
def test_fifty_ports_are_used_up(protocol, how):
    with gateway(f'meta l4proto {{ tcp, udp }} snat to 10.99.0.1:40000-40049{how}') as made:
        made.open(60, 53, protocol)
        before = made.gateway.cpu_stats()
        assert settled(made.gateway) == 50
        made.open(40, 53, protocol, seed=2)
        settled(made.gateway)
        lost = moved(made.gateway, before)
        use, = pools(made.gateway)
    assert lost.clashes >= 30
    assert (use.used, use.size, use.exact) == (50, 50, True)
    assert str(use) == f'{SERVER}:53 {protocol} through 10.99.0.1'
    assert cause(lost, use) == PORTS


def test_a_range_of_2048_in_a_large_table():
    """Only a sample of the table is looked at, then the ports of that pool are counted."""
    with gateway('meta l4proto udp snat to 10.99.0.1:40000-42047') as made:
        made.gateway.fill(laboratory.mixed_flows(18000, {laboratory.Flow('tcp', '10.1.0.0/16'): 1}))
        made.open(1700, 53)
        entries = settled(made.gateway)
        use, = pools(made.gateway, 10000)
        exact = exactly(made.gateway, use)
    assert not use.exact
    assert use.size == pytest.approx(2048, rel=0.03)
    assert use.used == pytest.approx(1700, rel=0.15)
    assert exact.used == entries - 18000 == 1700
    assert exact.exact
    assert exact.size == pytest.approx(2048, rel=0.01)


@pytest.mark.parametrize('rule', ['masquerade', 'masquerade random', 'masquerade fully-random', 'snat to 10.99.0.1'])
def test_the_default_range(rule):
    with gateway(rule) as made:
        made.open(12000, 443, 'udp')
        settled(made.gateway)
        use, = pools(made.gateway, 6000)
        exact = exactly(made.gateway, use)
    assert (use.size, exact.size) == (64512, 64512)
    assert exact.used == 12000
    assert use.used == pytest.approx(12000, rel=0.05)
    assert exact.kept == ('random' not in rule)


def test_clients_of_a_port_below_1024_run_out_of_511():
    with gateway('masquerade') as made:
        made.gateway.do('sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600')
        # two hundred clients, each from its port 123 to three servers' addresses, two of which are one
        made.server.do('ip address add 10.99.0.3/24 dev lo')
        before = made.gateway.cpu_stats()
        made.open(490, 123, sports=(123, 124), sources=490)
        settled(made.gateway)
        use, = pools(made.gateway)
        lost = moved(made.gateway, before)
    assert use.size == 511
    assert use.used == 490 - lost.clashes
    assert use.share > 0.8


def test_destination_nat_in_front():
    """Two virtual addresses lead to one server: its ports are one pool."""
    with gateway('masquerade') as made:
        for last in (1, 2):
            made.add_rule(f'ip daddr 192.0.2.{last} udp dport 80 dnat to {SERVER}:8080', 'pre')
            made.open(4000, 80, target=f'192.0.2.{last}', seed=last)
        settled(made.gateway)
        use, = pools(made.gateway)
    assert use.used == 8000
    assert str(use) == f'{SERVER}:8080 udp through 10.99.0.1'


def test_inserts_that_fail_by_a_race_beside_a_pool_that_is_not_full():
    """Two datagrams of one socket at once, as resolvers send them: `found` stays."""
    lost = Losses(10, {'drop': 5, 'insert_failed': 5, 'clash_resolve': 0, 'found': 0})
    with gateway('masquerade') as made:
        before = made.gateway.cpu_stats()
        made.open(7000, 53)
        settled(made.gateway)
        use, = pools(made.gateway)
        quiet = moved(made.gateway, before)
    assert quiet.clashes == 0
    # a tenth of the ports: the kernel finds a free one nearly at once
    assert quiet.packets['found'] < 7000
    assert cause(lost, use) == RACING


def test_an_older_kernel_that_skips_the_filter(monkeypatch):
    monkeypatch.setattr(ctnetlink, 'filter_by', lambda _pool: b'')
    with gateway('meta l4proto udp snat to 10.99.0.1:40000-40999') as made:
        made.open(300, 53)
        made.open(200, 54)
        settled(made.gateway)
        use = next(one for one in pools(made.gateway) if one.pool.port == 53)
        assert exactly(made.gateway, use).used == 300


def test_ipv6_is_filtered_here():
    """The kernel's filter is inverted for IPv6."""
    with laboratory.namespace() as lab:
        for server, number in ((1, 399), (2, 199)):
            lab.fill(laboratory.Flow('udp', f'fd00::{k:x}', f'fd01::{server}', 40000 + k, 53, snat='fd02::1')
                     for k in range(1, number + 1))
        with lab.in_netns():
            pool = ctnetlink.read_flows(lambda flows: next(flow.pool for flow in flows if flow.dst[-1] == 1))
            got = ctnetlink.read_flows(list, pool=pool)
    assert len(got) == 399
    assert {flow.pool for flow in got} == {pool}
