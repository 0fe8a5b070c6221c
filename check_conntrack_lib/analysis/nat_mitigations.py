"""What helps where source NAT runs out of ports to one server, the safest first. nf_conntrack_max does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..flow import PROTOCOLS, address_text
from ..readers.nat_rules import NatRule
from . import rate_limit
from .incident import Action, IncidentFacts
from .nat_ports import DEFAULT, PortUse
from .profile import Key

#: a client with such a part of the ports is worth a rate limit; a state with such a part holds them
ONE_CLIENT, HELD = 0.5, 0.3
#: and is named from there on
LARGE = 0.1
#: rules of source NAT that are shown
MOST_RULES = 2
#: seconds that are proposed for tcp_timeout_time_wait
SHORT_TIME_WAIT = 30


def actions(facts: IncidentFacts, use: PortUse) -> Iterator[Action]:
    """Those that fit the pool that is used most."""
    yield from _rate_limit(facts, use)
    yield from improvements(use, facts.nat_rules, facts.timeouts)


def improvements(use: PortUse, nat_rules: Sequence[NatRule], timeouts: Mapping[str, int]) -> Iterator[Action]:
    """Those that need no incident.

    nat_rules: rules of source NAT of this namespace; timeouts: seconds, by the name after nf_conntrack_.
    """
    rules = _rules(nat_rules, use)
    yield _reuse(use)
    yield from _addresses(rules)
    yield from _fully_random(rules, use)
    yield from _time_wait(timeouts, use)
    yield Action(f'let the clients of {_server(use)} use several of its addresses', (), '',
                 'none; each address and port of the server has its own ports')


def _rate_limit(facts: IncidentFacts, use: PortUse) -> Iterator[Action]:
    if not use.sources or facts.profile is None or use.sources[0][1] < ONE_CLIENT * use.seen:
        return
    source, seen = use.sources[0]
    if source in facts.own:
        return
    key = Key(use.pool.protocol, source, address_text(use.pool.server), use.pool.port)
    # behind destination NAT the client aims at another address
    if not any(target.destination == key.destination for target, _seen in facts.profile.targets):
        key = key._replace(destination='', port=None)
    rate = rate_limit.rate(use.size, facts.profile, key, facts.timeouts)
    made, undo = rate_limit.nft(key, rate) if facts.nft else rate_limit.iptables(key, rate)
    yield Action(f'rate-limit {source}, which holds {seen / use.seen:.0%} of these ports, to {rate} new connections '
                 'per second', (made,), undo, 'a proxy or NAT at this address speaks for many clients: all are limited')


def _reuse(use: PortUse) -> Action:
    named = [f'{source} holds {seen / use.seen:.0%}' for source, seen in use.sources if seen >= LARGE * use.seen]
    who = f' ({", ".join(named)})' if named else ''
    return Action(f'let the clients reuse their connections to {_server(use)}: keep-alive, a pool{who}',
                  (f'sudo conntrack -L {_of_pool(use)}',), '', 'none; it lists which clients hold the ports')


def _addresses(rules: Sequence[NatRule]) -> Iterator[Action]:
    risk = ('FIRST-LAST must be free addresses that are routed to this host, FIRST the one of now; servers that know '
            'only the old address must be told')
    for rule in rules or (None,):
        commands = (rule.replace(rule.more_addresses()),) if rule else \
            ("sudo nft 'replace rule ip nat postrouting handle N ... snat to FIRST-LAST'",)
        yield Action('translate to several addresses: each has ports of its own', commands,
                     rule.replace(rule.text) if rule else '', risk)


def _fully_random(rules: Sequence[NatRule], use: PortUse) -> Iterator[Action]:
    if not use.kept or use.size != DEFAULT:
        return
    title = 'choose ports at random (fully-random): 1% of connections is refused at 93% of the ports, not at 67%'
    if rules and all(rule.random for rule in rules):
        return
    for rule in [rule for rule in rules if not rule.random] or (None,):
        commands = (rule.replace(rule.fully_random()),) if rule else \
            ("sudo nft 'replace rule ip nat postrouting handle N ... masquerade fully-random'",)
        yield Action(title, commands, rule.replace(rule.text) if rule else '',
                     'clients do not keep their ports: UDP hole punching and some games stop working')


def _time_wait(timeouts: Mapping[str, int], use: PortUse) -> Iterator[Action]:
    now = timeouts.get('tcp_timeout_time_wait', 0)
    if use.held_by('TIME_WAIT') < HELD or now <= SHORT_TIME_WAIT:
        return
    sysctl = 'sudo sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait='
    held = f'{use.held_by("TIME_WAIT"):.0%}'
    yield Action(f'tcp_timeout_time_wait {now} -> {SHORT_TIME_WAIT} s frees most of the {held} of these ports that '
                 'are in TIME_WAIT',
                 (f'{sysctl}{SHORT_TIME_WAIT}', f'sudo conntrack -D {_of_pool(use)} --state TIME_WAIT'),
                 f'{sysctl}{now}',
                 'a segment that comes more than 30 s late meets no entry and counts as invalid')


def _rules(rules: Sequence[NatRule], use: PortUse) -> list[NatRule]:
    """The rules that may have made these ports: those with this address, else those that take the interface's."""
    address = address_text(use.pool.address)
    named = [rule for rule in rules if address in rule.text.replace('-', ' ').replace(':', ' ').split()]
    return (named or [rule for rule in rules if 'masquerade' in rule.text.lower()])[:MOST_RULES]


def _server(use: PortUse) -> str:
    return str(use).split(' through ')[0]


def _of_pool(use: PortUse) -> str:
    """The arguments of conntrack(8) for the entries of a pool."""
    pool = use.pool
    family = '-f ipv6 ' if len(pool.server) == 16 else ''
    return (f'{family}-p {PROTOCOLS[pool.protocol]} -r {address_text(pool.server)} -q {address_text(pool.address)} '
            f'--reply-port-src {pool.port}')
