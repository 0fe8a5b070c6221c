"""What is in the table: the profile of a random sample of its entries, or of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import compress, islice
from operator import itemgetter

from ..flow import ASSURED, DST_NAT, HW_OFFLOAD, OFFLOAD, PORTED, PROTOCOLS, SEEN_REPLY, SRC_NAT, Flow, address_text
from ..namedtuples import TYPE_CHECKING, NamedTuple
from .heavy_hitters import HeavyHitters, Histogram
from .nat_ports import Pools, PortUse
from .proportion import Proportion, share

if TYPE_CHECKING:
    from .traffic import Traffic, TrafficCounter

#: flows counted at a time: enough for Counter to work without the interpreter, few enough for the CPU's cache
BATCH = 512
NAT = SRC_NAT | DST_NAT
ANY_OFFLOAD = OFFLOAD | HW_OFFLOAD
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
    """How many seconds entries of one kind have left, in steps of `width` seconds."""

    width: int
    #: entries by seconds // width; without the offloaded ones, which have no time
    steps: Mapping[int, int]

    def below(self, seconds: float) -> float:
        """Entries with less time left; interpolated within a step."""
        return sum(count * min(1.0, max(0.0, seconds / self.width - step)) for step, count in self.steps.items())

    def idle_longer(self, than: float, timeout: float) -> float:
        """Entries without a packet for more than this many seconds, if `timeout` is their kind's."""
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

    def named(self, address: str) -> str:
        """'10.244.7.2 (pod shop/web-7d4b9c-x2x5z)', or the address alone."""
        return f'{address} ({self.names[address]})' if address in self.names else address

    def name_behind(self, key: Key) -> str:
        """' (service kube-system/kube-dns)' for what follows a key, by its destination, else its source; or ''."""
        name = self.names.get(key.destination or key.source)
        return f' ({name})' if name else ''
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


def spares_offloaded(release: str) -> bool:
    """Does this kernel (`uname -r`) never evict an offloaded entry (early_drop_list, before 6.3), assured or not?"""
    numbers = release.split('.')[:2]
    return len(numbers) == 2 and all(map(str.isdecimal, numbers)) and (int(numbers[0]), int(numbers[1])) < (6, 3)


def summarize(flows: Iterable[Flow], entries: int, offloaded_stay: bool = False) -> Profile:
    """The profile of these flows, of a table with this many entries. Memory does not grow with the flows.

    offloaded_stay: this kernel evicts no offloaded entry (see `spares_offloaded`).
    """
    place = Flow._fields.index
    source, destination = itemgetter(place('src')), itemgetter(place('dst'))
    service = itemgetter(place('protocol'), place('dport'))
    target = itemgetter(place('dst'), place('protocol'), place('dport'))
    status = itemgetter(place('status'))
    life = itemgetter(place('protocol'), place('state'), place('status'), place('timeout'))
    zone, counted = itemgetter(place('zone')), itemgetter(place('orig_bytes'))
    sources: HeavyHitters[bytes] = HeavyHitters()
    destinations: HeavyHitters[bytes] = HeavyHitters()
    services: HeavyHitters[tuple[int, int]] = HeavyHitters()
    targets: HeavyHitters[tuple[bytes, int, int]] = HeavyHitters()
    nat_services: HeavyHitters[tuple[int, int]] = HeavyHitters()
    nat_targets: HeavyHitters[tuple[bytes, int, int]] = HeavyHitters()
    pools = Pools()
    zones: Counter[int] = Counter()
    traffic: TrafficCounter | None = None
    statuses: Counter[tuple[int, str, int]] = Counter()
    times: dict[TimeoutClass, Histogram] = {}
    #: the same, found more quickly
    lives: dict[tuple[int, str, int], Histogram] = {}
    flows = iter(flows)
    while True:
        batch = list(islice(flows, BATCH))
        if not batch:
            break
        sources.update(map(source, batch))
        destinations.update(map(destination, batch))
        services.update(map(service, batch))
        targets.update(map(target, batch))
        natted = list(compress(batch, map(NAT.__and__, map(status, batch))))
        if natted:
            nat_services.update(map(service, natted))
            nat_targets.update(map(target, natted))
            pools.update(list(compress(natted, map(SRC_NAT.__and__, map(status, natted)))))
        # nearly always both are in use nowhere
        if any(map(zone, batch)):
            zones.update(map(zone, batch))
        else:
            zones[0] += len(batch)
        if list(map(counted, batch)).count(None) < len(batch):
            if traffic is None:
                from .traffic import TrafficCounter

                traffic = TrafficCounter()
            traffic.update(batch)
        for (protocol, state, bits, timeout), count in Counter(map(life, batch)).items():
            statuses[protocol, state, bits] += count
            if timeout is not None:
                left = lives.get((protocol, state, bits))
                if left is None:
                    kind = TimeoutClass(protocol, state, bool(bits & ASSURED))
                    left = lives[protocol, state, bits] = times.setdefault(kind, Histogram())
                left.add(timeout, count)
    states: Counter[tuple[int, str]] = Counter()
    for (protocol, state, bits), count in statuses.items():
        # whatever state it had: a flowtable forwards it, past conntrack
        states[protocol, OFFLOADED if bits & ANY_OFFLOAD else state] += count

    def having(bits: int) -> int:
        return sum(count for (_protocol, _state, status), count in statuses.items() if status & bits)

    seen = sum(states.values())
    spared = having(ASSURED | ANY_OFFLOAD) - having(ASSURED) if offloaded_stay else 0
    return Profile(
        entries, seen, dict(states.most_common()),
        assured=having(ASSURED) + spared, unreplied=seen - having(SEEN_REPLY), spared=spared,
        snat=having(SRC_NAT), dnat=having(DST_NAT), nat=having(NAT),
        offloaded=having(ANY_OFFLOAD),
        sources=tuple((Key(source=address_text(src)), count) for src, count in sources.top(TOP)),
        destinations=tuple((Key(destination=address_text(dst)), count) for dst, count in destinations.top(TOP)),
        services=tuple((service_key(b'', *service), count) for service, count in services.top(TOP)),
        targets=tuple((service_key(*target), count) for target, count in targets.top(TOP)),
        uncertain=max(keys.subtracted for keys in (sources, destinations, services, targets)),
        time_left={kind: TimeLeft(left.width, dict(left.steps)) for kind, left in sorted(times.items())},
        natted={**{service_key(b'', *key): nat_services.count(key) for key, _count in services.top(TOP)},
                **{service_key(*key): nat_targets.count(key) for key, _count in targets.top(TOP)}},
        nat_ports=pools.fullest(seen, entries),
        zones=tuple((Key(zone=number), count) for number, count in
                    sorted(zones.items(), key=lambda item: (-item[1], item[0]))[:TOP]),
        traffic=traffic.traffic() if traffic else None)


def service_key(destination: bytes, protocol: int, port: int) -> Key:
    """What is connected to; protocols without ports have none."""
    return Key(protocol, '', address_text(destination), port if protocol in PORTED else None)
