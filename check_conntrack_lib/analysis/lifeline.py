"""Rules that keep the monitoring and SSH out of the table, so that they get through when it is full.

Untracked packets match no rule on `ct state established`: each notrack rule needs an accept rule where a policy or a
rule drops, loaded with it in one step. Both ends in both hooks: an answer that is tracked makes an entry all the same.
Tried on a full table with NRPE, SSH and an agent that was restarted: tests/doctor/test_lifeline_kernel.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..flow import TCP, UDP
from ..namedtuples import NamedTuple
from ..readers.monitoring_sockets import Way

TABLE = 'conntrack_lifeline'
COMMENT = 'conntrack lifeline'
NAMES = {TCP: 'tcp', UDP: 'udp'}


class FilterChain(NamedTuple):
    """A base chain of nftables that may drop: family, table, name and hook."""

    family: str
    table: str
    name: str
    hook: str


#: where the host's chains cannot be listed: as most examples call them
USUAL_CHAINS = (FilterChain('inet', 'filter', 'input', 'input'), FilterChain('inet', 'filter', 'output', 'output'))

CAVEATS = (
    'not for ports that are translated on this host (DNAT to a container, a masqueraded way to the monitoring): '
    'untracked packets are not translated',
    "rules of this host on 'ct state new' (limits, fail2ban sets), ct mark and helpers no longer see these packets",
    'accept rules stand before your own: whoever sends from these addresses reaches these ports',
    'load them before the table is full where you can; a restart of the firewall removes them',
    'after their removal restart the agents and log in again by SSH: connections made meanwhile have no entry, '
    'and older ones an entry that is out of date',
    'on a full gateway between the monitoring and a host the same rules are needed in the forward chain',
)


def nft(ways: Sequence[Way], addresses: Sequence[str], chains: Sequence[FilterChain]) -> str:
    """A file for nft -f: one transaction. addresses: of the monitoring, at least one."""
    lines = [f'table inet {TABLE}', f'delete table inet {TABLE}', f'table inet {TABLE} {{']
    for hook, incoming in (('prerouting', True), ('output', False)):
        lines += [f'\tchain {hook} {{', f'\t\ttype filter hook {hook} priority raw; policy accept;']
        lines += [f'\t\t{match} notrack' for match in _nft_matches(ways, addresses, incoming)]
        lines.append('\t}')
    lines.append('}')
    for chain in chains:
        incoming = chain.hook == 'input'
        for match in _nft_accepts(ways, addresses, incoming):
            if chain.family == 'inet' or match.startswith(f'{chain.family} '):
                lines.append(f'insert rule {chain.family} {chain.table} {chain.name} ct state untracked {match} accept '
                             f'comment "{COMMENT}"')
    return '\n'.join(lines) + '\n'


def iptables(ways: Sequence[Way], addresses: Sequence[str], version: int) -> str:
    """A file for iptables-restore --noflush (version 4) or ip6tables-restore (6); '' for no address of that version."""
    own = [address for address in addresses if (':' in address) == (version == 6)]
    if not own:
        return ''
    comment = f'-m comment --comment "{COMMENT}"'
    raw = [f'-A {chain} {match} {comment} -j CT --notrack'
           for chain, incoming in (('PREROUTING', True), ('OUTPUT', False))
           for match in _iptables_matches(ways, own, incoming, version, accept=False)]
    accepts = [f'-I {chain} {match} -m conntrack --ctstate UNTRACKED {comment} -j ACCEPT'
               for chain, incoming in (('INPUT', True), ('OUTPUT', False))
               for match in _iptables_matches(ways, own, incoming, version, accept=True)]
    return '\n'.join(['*raw', *raw, 'COMMIT', '*filter', *accepts, 'COMMIT', ''])


def _nft_matches(ways: Sequence[Way], addresses: Sequence[str], incoming: bool) -> Iterator[str]:
    """What is not tracked: from the monitoring in prerouting, to it in output."""
    for address in addresses:
        version, ping = ('ip6', 'icmpv6') if ':' in address else ('ip', 'icmp')
        end = f'{version} {"saddr" if incoming else "daddr"} {address}'
        for protocol, outgoing, ports in _grouped(ways):
            side = 'dport' if incoming != outgoing else 'sport'
            yield f'{end} {NAMES[protocol]} {side} {{ {", ".join(map(str, ports))} }}'
        yield f'{end} {ping} type {"echo-request" if incoming else "echo-reply"}'


def _nft_accepts(ways: Sequence[Way], addresses: Sequence[str], incoming: bool) -> Iterator[str]:
    for match in _nft_matches(ways, addresses, incoming):
        # an answer begins no connection: else anybody at that address could, from that port
        yield match + (' tcp flags & (syn | ack) != syn' if incoming and ' tcp sport ' in match else '')


def _iptables_matches(ways: Sequence[Way], addresses: Sequence[str], incoming: bool, version: int,
                      accept: bool) -> Iterator[str]:
    ping = ('icmpv6', '--icmpv6-type') if version == 6 else ('icmp', '--icmp-type')
    for address in addresses:
        end = f'{"-s" if incoming else "-d"} {address}'
        for protocol, outgoing, ports in _grouped(ways):
            side = '--dports' if incoming != outgoing else '--sports'
            answer = ' ! --syn' if accept and incoming and outgoing and protocol == TCP else ''
            yield f'{end} -p {NAMES[protocol]}{answer} -m multiport {side} {",".join(map(str, ports))}'
        yield f'{end} -p {ping[0]} {ping[1]} {"echo-request" if incoming else "echo-reply"}'


def _grouped(ways: Sequence[Way]) -> Iterator[tuple[int, bool, list[int]]]:
    """Protocol, direction, and their ports."""
    for protocol in (TCP, UDP):
        for outgoing in (False, True):
            ports = sorted({way.port for way in ways if (way.protocol, way.outgoing) == (protocol, outgoing)})
            if ports:
                yield protocol, outgoing, ports
