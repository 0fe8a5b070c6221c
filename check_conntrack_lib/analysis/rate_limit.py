"""Rules for nft or iptables that drop new connections of one source above a rate, before they become entries."""

from __future__ import annotations

from collections.abc import Mapping

from ..flow import ICMP, ICMPV6, PORTED, TCP, UDP
from .profile import Key, Profile

#: the source may keep so much of the table
ROOM = 0.05
#: entries that live longer are not kept small by any rate: then it is as if they lived this many seconds
LONGEST = 120
TABLE = 'triage'


def rate(room: int, profile: Profile, key: Key, timeouts: Mapping[str, int]) -> int:
    """New connections a second that keep the source below ROOM of a table for this many entries."""
    return max(1, min(10000, round(ROOM * room / _lifetime(profile, key, timeouts))))


def nft(key: Key, per_second: int) -> tuple[str, str]:
    """The shell command and the one that takes it back.

    After conntrack has looked at a packet (priority -200), before it is confirmed: one that is dropped there leaves
    no entry. What the source has open goes on.
    """
    version = 'ip6' if ':' in key.source else 'ip'
    match = [f'{version} saddr {key.source}']
    if key.destination:
        match.append(f'{version} daddr {key.destination}')
    if key.protocol is not None:
        ported = key.protocol in PORTED and key.port is not None
        match.append(f'{PORTED[key.protocol]} dport {key.port}' if ported else f'meta l4proto {key.protocol}')
    # a backslash keeps a rule together that is too long for a line
    rules = (f'add table inet {TABLE}',
             f'add chain inet {TABLE} new {{ type filter hook prerouting priority -150; }}',
             f'add rule inet {TABLE} new {" ".join(match)} \\',
             f'  ct state new limit rate over {per_second}/second burst {2 * per_second} packets counter drop')
    return "sudo nft '" + '\n'.join(rules) + "'", f'sudo nft delete table inet {TABLE}'


def iptables(key: Key, per_second: int) -> tuple[str, str]:
    """The same where there is no nft."""
    tool = 'ip6tables' if ':' in key.source else 'iptables'
    match = [f'-s {key.source}']
    if key.destination:
        match.append(f'-d {key.destination}')
    if key.protocol is not None:
        match.append(f'-p {PORTED.get(key.protocol, key.protocol)}')
        if key.protocol in PORTED and key.port is not None:
            match.append(f'--dport {key.port}')
    rule = (f'PREROUTING {" ".join(match)} -m conntrack --ctstate NEW -m hashlimit --hashlimit-name {TABLE} '
            f'--hashlimit-above {per_second}/sec --hashlimit-burst {min(10000, 2 * per_second)} -j DROP')
    return f'sudo {tool} -t mangle -I {rule}', f'sudo {tool} -t mangle -D {rule}'


def _lifetime(profile: Profile, key: Key, timeouts: Mapping[str, int]) -> int:
    """Seconds that an entry of these flows lives, by the state that most of its protocol are in."""
    states = {state: seen for (protocol, state), seen in profile.states.items() if protocol == key.protocol}
    if key.protocol == TCP and states:
        name = f'tcp_timeout_{max(states, key=lambda state: states[state]).lower()}'
    else:
        names = {UDP: 'udp_timeout', ICMP: 'icmp_timeout', ICMPV6: 'icmpv6_timeout'}
        name = names.get(key.protocol or 0, 'generic_timeout')
    return max(1, min(LONGEST, timeouts.get(name, 30 if key.protocol == UDP else LONGEST)))
