"""Counts flows into a profile, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress, islice
from operator import itemgetter

from ..flow import ASSURED, DST_NAT, HW_OFFLOAD, OFFLOAD, SEEN_REPLY, SRC_NAT, Flow, address_text
from ..namedtuples import TYPE_CHECKING
from .heavy_hitters import HeavyHitters, Histogram
from .nat_ports import Pools
from .profile import OFFLOADED, TOP, Key, Profile, TimeLeft, TimeoutClass, service_key

if TYPE_CHECKING:
    from .traffic import TrafficCounter

#: flows counted at a time: enough for Counter to work without the interpreter, few enough for the CPU's cache
BATCH = 512
#: different states and times left that are counted before they are sorted
MOST_LIVES = 8192
NAT = SRC_NAT | DST_NAT
ANY_OFFLOAD = OFFLOAD | HW_OFFLOAD
_place = Flow._fields.index
_source, _destination = itemgetter(_place('src')), itemgetter(_place('dst'))
_service = itemgetter(_place('protocol'), _place('dport'))
_target = itemgetter(_place('dst'), _place('protocol'), _place('dport'))
_status, _zone, _bytes = itemgetter(_place('status')), itemgetter(_place('zone')), itemgetter(_place('orig_bytes'))
#: what decides on the state and the time left
_life = itemgetter(_place('protocol'), _place('state'), _place('status'), _place('timeout'))


def spares_offloaded(release: str) -> bool:
    """Does this kernel (`uname -r`) never evict an offloaded entry (early_drop_list, before 6.3), assured or not?"""
    numbers = release.split('.')[:2]
    return len(numbers) == 2 and all(map(str.isdecimal, numbers)) and (int(numbers[0]), int(numbers[1])) < (6, 3)


def summarize(flows: Iterable[Flow], entries: int, offloaded_stay: bool = False) -> Profile:
    """The profile of these flows, of a table with this many entries.

    offloaded_stay: this kernel evicts no offloaded entry (see `spares_offloaded`).
    """
    counter = ProfileCounter()
    flows = iter(flows)
    while True:
        batch = list(islice(flows, BATCH))
        if not batch:
            return counter.profile(entries, offloaded_stay)
        counter.add(batch)


class ProfileCounter:
    """What `summarize` counts."""

    def __init__(self) -> None:
        self._sources: HeavyHitters[bytes] = HeavyHitters()
        self._destinations: HeavyHitters[bytes] = HeavyHitters()
        self._services: HeavyHitters[tuple[int, int]] = HeavyHitters()
        self._targets: HeavyHitters[tuple[bytes, int, int]] = HeavyHitters()
        self._nat_services: HeavyHitters[tuple[int, int]] = HeavyHitters()
        self._nat_targets: HeavyHitters[tuple[bytes, int, int]] = HeavyHitters()
        self._pools = Pools()
        self._zones: Counter[int] = Counter()
        self._traffic: TrafficCounter | None = None
        #: by what `_life` takes, of the last flows
        self._lives: Counter[tuple[int, str, int, int | None]] = Counter()
        #: by protocol, state and bits of the status
        self._statuses: Counter[tuple[int, str, int]] = Counter()
        self._times: dict[TimeoutClass, Histogram] = {}
        #: the same, found more quickly
        self._times_by_status: dict[tuple[int, str, int], Histogram] = {}

    def add(self, batch: Sequence[Flow]) -> None:
        """A few hundred flows at a time."""
        self._sources.update(map(_source, batch))
        self._destinations.update(map(_destination, batch))
        self._services.update(map(_service, batch))
        self._targets.update(map(_target, batch))
        natted = list(compress(batch, map(NAT.__and__, map(_status, batch))))
        if natted:
            self._nat_services.update(map(_service, natted))
            self._nat_targets.update(map(_target, natted))
            self._pools.update(list(compress(natted, map(SRC_NAT.__and__, map(_status, natted)))))
        # on most hosts neither zones nor counters of bytes are in use
        if any(map(_zone, batch)):
            self._zones.update(map(_zone, batch))
        else:
            self._zones[0] += len(batch)
        if list(map(_bytes, batch)).count(None) < len(batch):
            self._add_traffic(batch)
        self._lives.update(map(_life, batch))
        if len(self._lives) > MOST_LIVES:
            self._add_lives()

    def _add_lives(self) -> None:
        """Those counted so far go to the states and the times left; the next are counted from 0."""
        statuses, times = self._statuses, self._times_by_status
        for (protocol, state, status, timeout), count in self._lives.items():
            key = protocol, state, status
            statuses[key] += count
            if timeout is not None:
                left = times.get(key) or self._add_times(*key)
                left.add(timeout, count)
        self._lives.clear()

    def _add_traffic(self, batch: Sequence[Flow]) -> None:
        if self._traffic is None:
            from .traffic import TrafficCounter  # only where nf_conntrack_acct is 1

            self._traffic = TrafficCounter()
        self._traffic.update(batch)

    def _add_times(self, protocol: int, state: str, status: int) -> Histogram:
        found = self._times.setdefault(TimeoutClass(protocol, state, bool(status & ASSURED)), Histogram())
        self._times_by_status[protocol, state, status] = found
        return found

    def _having(self, bits: int) -> int:
        """Flows with any of these bits in their status."""
        return sum(count for (_protocol, _state, status), count in self._statuses.items() if status & bits)

    def profile(self, entries: int, offloaded_stay: bool) -> Profile:
        """The profile of all that was added (see `summarize`); nothing may be added then."""
        self._add_lives()
        states: Counter[tuple[int, str]] = Counter()
        for (protocol, state, status), count in self._statuses.items():
            # whatever state it had: a flowtable forwards it, past conntrack
            states[protocol, OFFLOADED if status & ANY_OFFLOAD else state] += count
        having, seen = self._having, sum(states.values())
        spared = having(ASSURED | ANY_OFFLOAD) - having(ASSURED) if offloaded_stay else 0
        sources, destinations = self._sources.top(TOP), self._destinations.top(TOP)
        services, targets = self._services.top(TOP), self._targets.top(TOP)
        counted = (self._sources, self._destinations, self._services, self._targets)
        return Profile(
            entries, seen, dict(states.most_common()),
            assured=having(ASSURED) + spared, unreplied=seen - having(SEEN_REPLY), spared=spared,
            snat=having(SRC_NAT), dnat=having(DST_NAT), nat=having(NAT), offloaded=having(ANY_OFFLOAD),
            sources=tuple((Key(source=address_text(src)), count) for src, count in sources),
            destinations=tuple((Key(destination=address_text(dst)), count) for dst, count in destinations),
            services=tuple((service_key(b'', *service), count) for service, count in services),
            targets=tuple((service_key(*target), count) for target, count in targets),
            uncertain=max(keys.subtracted for keys in counted),
            time_left={kind: TimeLeft(left.width, dict(left.steps)) for kind, left in sorted(self._times.items())},
            natted={**{service_key(b'', *service): self._nat_services.count(service) for service, _count in services},
                    **{service_key(*target): self._nat_targets.count(target) for target, _count in targets}},
            nat_ports=self._pools.fullest(seen, entries),
            zones=tuple((Key(zone=number), count) for number, count in
                        sorted(self._zones.items(), key=lambda item: (-item[1], item[0]))[:TOP]),
            traffic=self._traffic.traffic() if self._traffic else None)
