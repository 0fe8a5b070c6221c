"""What this host is to its flows: it forwards them, serves them, opens them, or talks to itself; and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from ..defaults import SAMPLE
from ..flow import PORTED, TCP, Flow, address_text
from ..namedtuples import NamedTuple
from .profile import Key

#: a part of the flows that makes the role
MAIN = 0.5
#: first byte of the addresses of the loopback device
LOOPBACK = 127
#: sources that a main target is looked for of
LARGEST = 20
#: a target is named for a state, and for a source, when it has so much of its flows
OF_STATE, OF_SOURCE = 0.3, 0.7


class Roles(NamedTuple):
    """How many flows were seen, by what the host is to them."""

    #: neither end is here
    forwarded: int
    #: from elsewhere to here
    served: int
    #: from here to elsewhere
    opened: int
    #: both ends are here
    within: int
    #: those of `forwarded` whose source, and whose destination, is translated
    forwarded_snat: int
    forwarded_dnat: int

    @property
    def seen(self) -> int:
        return self.forwarded + self.served + self.opened + self.within

    def share(self, count: int) -> float:
        """0 to 1."""
        return count / self.seen if self.seen else 0.0

    @property
    def name(self) -> str:
        """The role in a few words."""
        if self.share(self.forwarded) >= MAIN:
            if self.forwarded_snat >= MAIN * self.forwarded:
                return 'NAT gateway'
            if self.forwarded_dnat >= MAIN * self.forwarded:
                return 'load balancer by destination NAT'
            return 'router or firewall'
        if self.share(self.served) >= MAIN:
            return 'server'
        if self.share(self.opened) >= MAIN:
            return 'client'
        return 'talks to itself' if self.share(self.within) >= MAIN else 'several roles'


class RoleCounter:
    """Counts roles of flows that are handed on to another reader."""

    def __init__(self, own: Collection[bytes]) -> None:
        self._own = own
        self._counts: Counter[tuple[bool, bool, bool, bool]] = Counter()
        self._targets: Counter[tuple[str, bytes, int]] = Counter()
        self._pairs: Counter[tuple[bytes, int, bytes, int]] = Counter()

    def watch(self, flows: Iterable[Flow]) -> Iterator[Flow]:
        """The same flows; the first of them are counted."""
        flows = iter(flows)
        for flow in islice(flows, SAMPLE):
            here = self._is_own(flow.src), self._is_own(flow.reply_src or flow.dst)
            self._counts[(*here, flow.snat, flow.dnat)] += 1
            if flow.protocol == TCP:
                self._targets[flow.state, flow.dst, flow.dport] += 1
            self._pairs[flow.src, flow.protocol, flow.dst, flow.dport] += 1
            yield flow
        yield from flows

    def target_of_state(self) -> dict[str, Key]:
        """Of each TCP state the one target that has most of its flows, if one has many."""
        found: dict[str, Key] = {}
        of_state: Counter[str] = Counter()
        for (state, _dst, _port), seen in self._targets.items():
            of_state[state] += seen
        for (state, dst, port), seen in self._targets.most_common():
            if seen < OF_STATE * of_state[state] or state in found:
                continue
            found[state] = Key(TCP, '', address_text(dst), port)
        return found

    def target_of_source(self) -> dict[str, Key]:
        """Of each large source the one target of nearly all its flows, if there is one."""
        of_source: Counter[bytes] = Counter()
        for (src, *_target), seen in self._pairs.items():
            of_source[src] += seen
        return {address_text(src): Key(protocol, address_text(src), address_text(dst),
                                       port if protocol in PORTED else None)
                for (src, protocol, dst, port), seen in self._pairs.most_common(LARGEST)
                if seen >= OF_SOURCE * of_source[src]}

    def roles(self) -> Roles:
        def having(source_here: bool, target_here: bool) -> int:
            return sum(count for (source, target, _snat, _dnat), count in self._counts.items()
                       if (source, target) == (source_here, target_here))

        def translated(place: int) -> int:
            return sum(count for key, count in self._counts.items() if not key[0] and not key[1] and key[place])

        return Roles(having(False, False), having(False, True), having(True, False), having(True, True),
                     translated(2), translated(3))

    def _is_own(self, address: bytes) -> bool:
        # all of 127.0.0.0/8 is this host, whatever is configured
        return address in self._own or (len(address) == 4 and address[0] == LOOPBACK)
