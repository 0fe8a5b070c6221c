"""What is in the table: the profile of a random sample of its entries, or of all of them (see `profile_counter`)."""

from __future__ import annotations

from collections.abc import Mapping

from ..flow import PORTED, PROTOCOLS, address_text
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .nat_ports import PortUse
from .proportion import Proportion, share

if TYPE_CHECKING:
    from .traffic import Traffic

#: in the place of a state, as conntrack(8) says it
OFFLOADED = 'OFFLOAD'
#: keys of each sort that a profile names
TOP = 20
#: and those of each sort that the history keeps
RECORDED_TOP = 10


class Key(NamedTuple):
    """Which flows: what is None or empty may be any."""

    protocol: int | None = None
    #: addresses as text
    source: str = ''
    destination: str = ''
    #: the responder's
    port: int | None = None
    #: the conntrack zone
    zone: int | None = None

    def __str__(self) -> str:
        """'udp to 10.0.0.53:53', 'tcp port 443', 'from 10.0.0.1', 'to fd00::1', 'zone 5'."""
        protocol = '' if self.protocol is None else PROTOCOLS.get(self.protocol, f'protocol {self.protocol}')
        target = self.destination
        if self.port is not None:
            host = f'[{target}]' if ':' in target else target
            target = f'{host}:{self.port}' if host else f'{self.port}'
        words = [protocol, self.source and f'from {self.source}']
        words.append(target and (f'to {target}' if self.destination else f'port {target}'))
        words.append('' if self.zone is None else f'zone {self.zone}')
        return ' '.join(filter(None, words))

    def short(self) -> str:
        """The same for a list whose title says what it is of: '10.0.0.1', 'udp 10.0.0.53:53', 'tcp 443'."""
        return str(self).removeprefix('from ').replace('to ', '').replace(' port ', ' ')

    def covers(self, other: Key) -> bool:
        """Are all flows of the other key among the flows of this one?"""
        return all(mine in (None, '', theirs) for mine, theirs in zip(self, other))


class TimeoutClass(NamedTuple):
    """Entries that live by the same timeout: udp and gre have another one for assured entries."""

    protocol: int
    state: str
    assured: bool


class TimeLeft(NamedTuple):
    """How many seconds the entries of a TimeoutClass have left, in steps of `width` seconds."""

    width: int
    #: entries by seconds // width; without the offloaded ones, which have no time
    steps: Mapping[int, int]

    def below(self, seconds: float) -> float:
        """Entries with less time left; interpolated within a step."""
        return sum(count * min(1.0, max(0.0, seconds / self.width - step)) for step, count in self.steps.items())

    def idle_longer(self, than: float, timeout: float) -> float:
        """Entries without a packet for more than this many seconds, if `timeout` is what they live by."""
        return self.below(timeout - than)


class Profile(NamedTuple):
    """Counts of the entries seen; `share` and `estimate` make statements about the table of them."""

    #: entries in the table (nf_conntrack_count: some of them are never listed)
    entries: int
    #: entries looked at
    seen: int
    #: by protocol number and state; OFFLOADED is one, too
    states: Mapping[tuple[int, str], int]
    #: cannot be evicted to make room: assured, or offloaded on a kernel that spares those
    assured: int
    #: no answer yet; most of them can be evicted
    unreplied: int
    #: with source NAT, with destination NAT, with any of them
    snat: int
    dnat: int
    nat: int
    offloaded: int
    #: the most frequent keys of each sort, with their counts
    sources: tuple[tuple[Key, int], ...]
    destinations: tuple[tuple[Key, int], ...]
    #: protocol and responder's port
    services: tuple[tuple[Key, int], ...]
    #: destination, protocol and responder's port
    targets: tuple[tuple[Key, int], ...]
    #: the counts of keys may be too high by so many, never too low; 0 unless there were very many keys
    uncertain: int = 0
    time_left: Mapping[TimeoutClass, TimeLeft] = {}
    #: those with NAT among the entries of `services` and `targets`; not recorded
    natted: Mapping[Key, int] = {}
    #: what this host knew of the addresses that are named: 'pod shop/web-7d4b9c-x2x5z' by '10.244.7.2'
    names: Mapping[str, str] = {}
    #: the pools of ports of source NAT that are used most
    nat_ports: tuple[PortUse, ...] = ()
    #: every entry was listed; what nf_conntrack_count has more is expired or in no list
    complete: bool = False
    #: by conntrack zone, 0 among them; () in what was recorded by versions that did not count them
    zones: tuple[tuple[Key, int], ...] = ()
    #: packets and bytes of the entries seen; None: no entry had counters (nf_conntrack_acct is 0)
    traffic: Traffic | None = None
    #: offloaded ones that are among `assured` only because this kernel spares them
    spared: int = 0

    def named(self, address: str) -> str:
        """'10.244.7.2 (pod shop/web-7d4b9c-x2x5z)', or the address alone."""
        return f'{address} ({self.names[address]})' if address in self.names else address

    def name_behind(self, key: Key) -> str:
        """' (service kube-system/kube-dns)' for what follows a key, by its destination, else its source; or ''."""
        name = self.names.get(key.destination or key.source)
        return f' ({name})' if name else ''

    @property
    def zoned(self) -> bool:
        """Are there entries of any other zone than 0?"""
        return any(key.zone for key, _seen in self.zones)

    def share(self, count: int) -> Proportion:
        """The share of the table that `count` of the entries seen speak for (see `share`)."""
        return share(count, self.seen, self.entries)

    def estimate(self, count: int) -> int:
        """The entries of the table that `count` of the entries seen speak for."""
        if self.complete:
            return count
        return round(count * max(self.entries, self.seen) / self.seen) if self.seen else 0

    def protocol(self, number: int) -> int:
        """Entries seen of one protocol."""
        return sum(count for (protocol, _state), count in self.states.items() if protocol == number)


def service_key(destination: bytes, protocol: int, port: int) -> Key:
    """The key of a target, of a service where `destination` is empty; protocols without ports have none."""
    return Key(protocol, '', address_text(destination), port if protocol in PORTED else None)
