"""What helps where source NAT runs out of ports: each proposal, when it is made, and its commands."""

from __future__ import annotations

import socket

import pytest
from incidents import facts

from check_conntrack_lib.analysis import nat_mitigations
from check_conntrack_lib.analysis.nat_ports import DEFAULT, PortUse
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.flow import ReplyTuple
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.readers.nat_rules import IPTABLES, NFT, NatRule

POOL = ReplyTuple(6, socket.inet_aton('203.0.113.9'), 443, socket.inet_aton('198.51.100.1'))
USE = PortUse(POOL, 60_000, DEFAULT, 60_000, True, True, 1000, (('TIME_WAIT', 300),),
              (('10.0.0.1', 499), ('10.0.0.2', 100), ('10.0.0.3', 99)))
OF_POOL = '-p tcp -r 203.0.113.9 -q 198.51.100.1 --reply-port-src 443'
MASQUERADE = NatRule(NFT, 'ip nat post', 4, 'oifname "eth0" masquerade')
SNAT = NatRule(IPTABLES, 'POSTROUTING', 2, '-o eth1 -j SNAT --to-source 198.51.100.1')


def improved(use: PortUse = USE, rules: tuple[NatRule, ...] = (), time_wait: int = 120) -> list[tuple[str, ...]]:
    """Beginnings of the titles, with the first command."""
    return [(one.title[:24], *one.commands[:1], *([one.undo] if one.undo else []))
            for one in nat_mitigations.improvements(use, rules, {'tcp_timeout_time_wait': time_wait})]


def test_what_can_always_be_done() -> None:
    assert improved(USE._replace(kept=False), time_wait=30) == [
        ('let the clients reuse th', f'sudo conntrack -L {OF_POOL}'),
        ('translate to several add', "sudo nft 'replace rule ip nat postrouting handle N ... snat to FIRST-LAST'"),
        ('let the clients of 203.0',)]
    first = next(nat_mitigations.improvements(USE, (), {}))
    assert first.title.endswith('to 203.0.113.9:443 tcp: keep-alive, a pool (10.0.0.1 holds 50%, 10.0.0.2 holds 10%)')
    assert next(nat_mitigations.improvements(USE._replace(sources=()), (), {})).title.endswith('a pool')
    six = USE._replace(pool=POOL._replace(server=socket.inet_pton(socket.AF_INET6, 'fd00::9')))
    assert improved(six)[0][1].startswith('sudo conntrack -L -f ipv6 -p tcp -r fd00::9 ')


@pytest.mark.parametrize(('rules', 'replaced'), [
    ((MASQUERADE,), [MASQUERADE]), ((MASQUERADE, SNAT), [SNAT]), ((MASQUERADE,) * 3, [MASQUERADE] * 2),
    ((NatRule(NFT, 'ip nat post', 5, 'snat to 198.51.100.10'),), [])])
def test_the_rules_that_made_the_ports(rules: tuple[NatRule, ...], replaced: list[NatRule]) -> None:
    found = [one for one in improved(rules=rules) if one[0].startswith('translate')]
    assert [one[1:] for one in found] == ([(rule.replace(rule.more_addresses()), rule.replace(rule.text))
                                           for rule in replaced] or [found[0][1:]])
    assert bool(replaced) is (len(found[0]) == 3)


def randomly(use: PortUse = USE, rules: tuple[NatRule, ...] = ()) -> list[tuple[str, ...]]:
    return [one[1:] for one in improved(use, rules) if one[0].startswith('choose ports')]


def test_ports_at_random_where_the_kernel_keeps_them() -> None:
    random = MASQUERADE._replace(text='masquerade fully-random')
    assert randomly(rules=(MASQUERADE, random)) == [(MASQUERADE.replace(MASQUERADE.fully_random()),
                                                     MASQUERADE.replace(MASQUERADE.text))]
    assert randomly() == [("sudo nft 'replace rule ip nat postrouting handle N ... masquerade fully-random'",)]
    assert randomly(rules=(random,)) == randomly(USE._replace(kept=False)) == randomly(USE._replace(size=200)) == []


@pytest.mark.parametrize(('waiting', 'now', 'is_proposed'), [
    (300, 120, True), (299, 120, False), (300, 31, True), (300, 30, False)])
def test_ports_in_time_wait(waiting: int, now: int, is_proposed: bool) -> None:
    found = [one for one in improved(USE._replace(states=(('TIME_WAIT', waiting),)), time_wait=now)
             if one[0].startswith('tcp_timeout_time_wait')]
    sysctl = 'sudo sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait='
    assert [one[1:] for one in found] == [(f'{sysctl}30', f'{sysctl}{now}')] * is_proposed


@pytest.mark.parametrize(('seen', 'own', 'is_limited'), [
    (500, (), True), (499, (), False), (500, ('10.0.0.1',), False)])
def test_one_client_that_holds_half(seen: int, own: tuple[str, ...], is_limited: bool) -> None:
    target = Key(6, '', '203.0.113.9', 443)
    p = facts(profile=EMPTY._replace(targets=((target, 5),)), own=own)
    use = USE._replace(sources=(('10.0.0.1', seen),), size=24_000)
    found = list(nat_mitigations.actions(p, use))
    assert found[0].title.startswith('rate-limit') is is_limited
    if is_limited:
        assert found[0].title == ('rate-limit 10.0.0.1, which holds 50% of these ports, to 10 new connections per '
                                  'second')
        assert 'ip saddr 10.0.0.1 ip daddr 203.0.113.9 tcp dport 443 ' in found[0].commands[0]
        # the client aims at another address: destination NAT is in front
        other = next(nat_mitigations.actions(p._replace(profile=EMPTY, nft=False), use))
        assert ' -s 10.0.0.1 -p tcp -m conntrack' in other.commands[0]
    assert not next(nat_mitigations.actions(p._replace(profile=None), use)).title.startswith('rate')
    assert not next(nat_mitigations.actions(p, use._replace(sources=()))).title.startswith('rate')
