"""Traffic that needs no entry: candidates by their share, and the rules that keep them out of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..flow import ICMP, ICMPV6, PORTED, PROTOCOLS
from ..namedtuples import NamedTuple
from .profile import Key, Profile
from .proportion import Proportion

#: shares of the table from which a known service gets rules, and any other one is mentioned
LEAST_KNOWN, LEAST_OTHER = 0.02, 0.2
#: a target is named in the rules from this share of the table on
LEAST_TARGET = 0.01
MOST_CANDIDATES = 5

#: services that are usually short, many and stateless, by protocol and port. To add one, add a line.
KNOWN: Mapping[tuple[int, int], str] = {
    (17, 53): 'DNS', (6, 53): 'DNS over TCP', (17, 123): 'NTP', (17, 514): 'syslog', (6, 514): 'syslog',
    (6, 6514): 'syslog over TLS', (17, 161): 'SNMP', (17, 162): 'SNMP traps', (17, 8125): 'StatsD metrics',
    (17, 2003): 'Graphite metrics', (6, 2003): 'Graphite metrics', (17, 8089): 'InfluxDB metrics',
    (6, 9100): 'node_exporter scrapes', (6, 9090): 'Prometheus', (17, 6343): 'sFlow', (17, 2055): 'NetFlow',
    (17, 4739): 'IPFIX', (17, 4789): 'VXLAN', (17, 8472): 'VXLAN (flannel)', (17, 6081): 'Geneve',
    (17, 1812): 'RADIUS', (17, 1813): 'RADIUS accounting', (17, 3784): 'BFD', (6, 5666): 'NRPE checks',
    (6, 5665): 'Icinga', (6, 10050): 'Zabbix checks', (6, 10256): 'kube-proxy health checks',
    (6, 10248): 'kubelet health checks', (17, 5405): 'corosync', (17, 11211): 'memcached', (6, 11211): 'memcached',
}
#: protocols without ports: their rules name echoes only, never the errors
PINGS = {1: 'pings', 58: 'pings (IPv6)'}
#: as nft and iptables name them in rules
RULE_NAMES = {**PORTED, ICMP: 'icmp', ICMPV6: 'icmpv6'}


class Candidate(NamedTuple):
    """A service that could pass by the table."""

    #: protocol and port
    key: Key
    name: str
    #: of the table, that rules for these addresses would free
    share: Proportion
    #: the servers that the rules name; none: any
    addresses: tuple[str, ...]


class Refused(NamedTuple):
    """A service with a large share that gets no rules."""

    key: Key
    name: str
    share: Proportion
    why: str


NATED = 'NATed: without an entry its packets would not be translated'
UNKNOWN = 'not NATed, but nothing says that your rules do without its state'


class NotrackRule(NamedTuple):
    """One direction of a candidate at one address."""

    protocol: str
    #: '' is any
    address: str
    port: int | None
    #: towards the server
    there: bool

    def nft(self) -> str:
        version = 'ip6' if ':' in self.address else 'ip'
        end, side = ('daddr', 'dport') if self.there else ('saddr', 'sport')
        words = [f'{version} {end} {self.address}'] if self.address else []
        words.append(f'{self.protocol} type {self._echo()}' if self.port is None
                     else f'{self.protocol} {side} {self.port}')
        return ' '.join(words)

    def iptables(self) -> str:
        end, side = ('-d', '--dport') if self.there else ('-s', '--sport')
        words = [f'{end} {self.address}'] if self.address else []
        words.append(f'-p {self.protocol}')
        words.append(f'--{self.protocol}-type {self._echo()}' if self.port is None else f'{side} {self.port}')
        return ' '.join(words)

    def _echo(self) -> str:
        return 'echo-request' if self.there else 'echo-reply'

    def versions(self) -> tuple[int, ...]:
        """The IP versions that it can match."""
        if self.protocol in ('icmp', 'icmpv6'):
            return (4,) if self.protocol == 'icmp' else (6,)
        return (4, 6) if not self.address else (6,) if ':' in self.address else (4,)


def candidates(profile: Profile) -> tuple[tuple[Candidate, ...], tuple[Refused, ...]]:
    """Known services that are worth it, the largest share first, and what is as large, but gets no rules."""
    found, refused = [], []
    for service, count in profile.services:
        known = KNOWN.get((service.protocol or 0, service.port or 0)) or PINGS.get(service.protocol or 0, '')
        name, share = known or str(service), profile.share(count)
        if share.value < (LEAST_KNOWN if known else LEAST_OTHER):
            continue
        servers = [(target.destination, many) for target, many in profile.targets
                   if service.covers(target) and not profile.natted.get(target)
                   and profile.share(many).value >= LEAST_TARGET and service.protocol in PORTED]
        freed = profile.share(min(count, sum(many for _address, many in servers)))
        if known and freed.value >= LEAST_KNOWN:
            found.append(Candidate(service, name, freed, tuple(address for address, _many in servers)))
        elif profile.natted.get(service):
            refused.append(Refused(service, name, share, NATED))
        elif known:
            found.append(Candidate(service, name, share, ()))
        else:
            refused.append(Refused(service, name, share, UNKNOWN))
    return tuple(found[:MOST_CANDIDATES]), tuple(refused[:MOST_CANDIDATES])


def rules(candidate: Candidate) -> Iterator[NotrackRule]:
    """Both directions: an untracked packet whose answer is tracked makes an entry all the same."""
    protocol = RULE_NAMES[candidate.key.protocol or 0]
    for address in candidate.addresses or ('',):
        yield NotrackRule(protocol, address, candidate.key.port, there=True)
        yield NotrackRule(protocol, address, candidate.key.port, there=False)


def nft(chosen: tuple[Candidate, ...]) -> str:
    """A file for nft -f: the rules in a table of their own, and the accept rules as comments."""
    lines = ['# check: nft -c -f FILE    load: nft -f FILE    undo: nft delete table inet conntrack_bypass',
             'table inet conntrack_bypass', 'delete table inet conntrack_bypass', 'table inet conntrack_bypass {']
    for chain in ('prerouting', 'output'):
        lines += [f'\tchain {chain} {{', f'\t\ttype filter hook {chain} priority raw; policy accept;']
        for candidate in chosen:
            lines.append(f'\t\t# {_title(candidate)}')
            lines += [f'\t\t{rule.nft()} notrack' for rule in rules(candidate)]
        lines.append('\t}')
    lines += ['}', '# Untracked packets are not "established". Where your own chains drop by default they need, before',
              '# "ct state invalid drop" (here for a table inet filter with a chain for each hook that they pass):']
    for candidate in chosen:
        for rule in rules(candidate):
            lines += [f'#insert rule inet filter {chain} {rule.nft()} ct state untracked accept'
                      for chain in ('input', 'forward', 'output')]
    return '\n'.join(lines) + '\n'


def iptables(chosen: tuple[Candidate, ...], version: int) -> str:
    """A file for iptables-restore --noflush (version 4) or ip6tables-restore (6); '' where there is nothing."""
    matches = [rule.iptables() for candidate in chosen for rule in rules(candidate) if version in rule.versions()]
    if not matches:
        return ''
    tool = 'iptables-restore' if version == 4 else 'ip6tables-restore'
    lines = [f'# check: {tool} --test --noflush FILE    load: {tool} --noflush FILE', '*raw']
    lines += [f'-A {chain} {match} -j CT --notrack' for chain in ('PREROUTING', 'OUTPUT') for match in matches]
    lines += ['COMMIT', '# untracked packets are not ESTABLISHED: they need a rule of their own', '*filter']
    lines += [f'-I {chain} {match} -m conntrack --ctstate UNTRACKED -j ACCEPT'
              for chain in ('INPUT', 'FORWARD', 'OUTPUT') for match in matches]
    return '\n'.join([*lines, 'COMMIT', ''])


def warnings(chosen: tuple[Candidate, ...]) -> Iterator[str]:
    """What breaks."""
    if not chosen:
        return
    yield ('untracked packets are never NATed, and match no rule on ct state established, ct mark, connection limits '
           'or helpers; ICMP errors about them count as invalid (path MTU)')
    yield ('entries that exist stay until their timeout; the accept rules are stateless: matching packets pass in '
           'both directions, also unsolicited replies')
    for candidate in chosen:
        if not candidate.addresses and candidate.key.port is not None:
            yield (f'{candidate.name} has no server with 1 % of the table: its rules name no address, so anybody who '
                   f'sends from port {candidate.key.port} passes; name your own networks in them')


def _title(candidate: Candidate) -> str:
    protocol = PROTOCOLS.get(candidate.key.protocol or 0, '')
    port = '' if candidate.key.port is None else f' {protocol} {candidate.key.port}'
    return f'{candidate.name}{port}: about {candidate.share.value:.0%} of the table'
