"""Source NAT: how many of the ports to one server through one address are used (net/netfilter/nf_nat_core.c).

The kernel looks for a free port in up to 248 places, so it refuses new connections long before all ports are used:
from 65 % on where it keeps the clients' ports, from 82 % on with fully-random. A refused packet counts once in
insert_failed and in drop, and up to 248 times in found (TCP: 128).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from ..defaults import SAMPLE
from ..flow import PORTED, PROTOCOLS, TCP, Flow, ReplyTuple, address_text
from ..namedtuples import NamedTuple
from .heavy_hitters import HeavyHitters
from .losses import Losses
from .proportion import share

#: ports that a client's connection may get where the rule names none, by the client's own port
DEFAULT, BELOW_1024, BELOW_512 = 64512, 424, 511
#: a free port is looked for in so many places; a range up to the second number is gone through as a whole
TRIES, WHOLE = 248, 128
#: since 6.5 the last places of each round are looked at for ended TCP connections, which `found` does not count
UNCOUNTED, TCP_TRIES = 32, 128
#: a pool is measured when so many of its flows were seen, and is named when this share of its ports is used
LEAST_SEEN, WORTH = 20, 0.1
#: ports spread as wide as that are the whole default range
SPREAD = 56000
#: ports that the kernel chose say how large the range is, if there are so many
CHOSEN = 16
#: a pool with such a part of its ports used refuses connections
REFUSES = 0.6
#: what `found` counts for a refused packet is at least such a part of the places that are looked at
SEARCHED = 0.4
#: racing packets add nothing to `found`; a busy NAT adds a few for each connection
RACE = 16
TOP = 3
#: of a flow, the fields of ReplyTuple, and what is looked at of each: the client's port, the one that it was given,
#: the TCP state and the client
_POOL = itemgetter(*map(Flow._fields.index, ('protocol', 'reply_src', 'reply_sport', 'reply_dst')))
_PORT = itemgetter(*map(Flow._fields.index, ('sport', 'reply_dport', 'state', 'src')))
_Port = tuple[int, int, str, bytes]


class PortUse(NamedTuple):
    """The ports of one pool."""

    pool: ReplyTuple
    #: ports used, and ports that there are
    used: int
    size: int
    #: used at least, with 95 %; the same when all were counted
    least: int
    #: every entry of the pool was counted, not a sample of the table
    exact: bool
    #: the kernel keeps the client's port where that is free: neither random nor fully-random
    kept: bool = False
    #: entries seen of the pool, and how many of them are in which TCP state
    seen: int = 0
    states: tuple[tuple[str, int], ...] = ()
    #: the clients with most of them
    sources: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.used / self.size

    @property
    def least_share(self) -> float:
        return self.least / self.size

    @property
    def found(self) -> int:
        """What a refused packet adds to `found`, at least."""
        if self.pool.protocol != TCP:
            return self.size if self.size <= WHOLE else TRIES
        return max(0, self.size - UNCOUNTED) if self.size <= WHOLE else TCP_TRIES

    def held_by(self, state: str) -> float:
        """The share of the pool in this TCP state, 0 to 1."""
        return dict(self.states).get(state, 0) / self.seen if self.seen else 0.0

    def __str__(self) -> str:
        """'203.0.113.9:443 tcp through 198.51.100.1'."""
        server = address_text(self.pool.server)
        server = f'[{server}]' if ':' in server else server
        protocol = PROTOCOLS.get(self.pool.protocol, f'protocol {self.pool.protocol}')
        return f'{server}:{self.pool.port} {protocol} through {address_text(self.pool.address)}'


class Pools:
    """Counts flows with source NAT by their pool, in bounded memory."""

    def __init__(self) -> None:
        self._pools: HeavyHitters[tuple[Any, ...]] = HeavyHitters()
        #: fields of _POOL, then of _Port: only references, where a flow would be a copy
        self._ports: list[tuple[tuple[Any, ...], _Port]] = []
        self._same: dict[Any, Any] = {}

    def update(self, flows: Sequence[Flow]) -> None:
        """flows: those with source NAT only, in the order of the dump."""
        pools = list(map(_POOL, flows))
        self._pools.update(pools)
        room = SAMPLE - len(self._ports)
        if room > 0:
            same = self._same.setdefault
            self._ports += [(same(pool, pool), (sport, port, state, same(src, src)))
                            for pool, (sport, port, state, src) in zip(pools[:room], map(_PORT, flows))]

    def fullest(self, seen: int, entries: int) -> tuple[PortUse, ...]:
        """The pools with most of their ports used; seen: flows of a table with this many entries."""
        by_pool: dict[tuple[Any, ...], list[_Port]] = defaultdict(list)
        for pool, port in self._ports:
            by_pool[pool].append(port)
        found = [one for pool, ports in by_pool.items() if len(ports) >= LEAST_SEEN and pool[0] in PORTED and all(pool)
                 for one in _measure(ReplyTuple(*pool), ports, self._pools.count(pool), seen, entries)]
        found.sort(key=lambda one: (-one.share, one.pool))
        return tuple(one for one in found if one.share >= WORTH)[:TOP]


def count_exactly(flows: Iterable[Flow], use: PortUse) -> PortUse:
    """The same with all entries of the pool counted."""
    listed: list[_Port] = list(map(_PORT, flows))
    found = list(_measure(use.pool, listed, len(listed), len(listed), len(listed)))
    low = use.size < 1024 and use.size in (BELOW_512, BELOW_1024)
    # a pool has a part for clients with ports below 1024: the part that it was about
    same = [one for one in found if not low or one.size == use.size]
    if not same:
        return use._replace(used=0, least=0, exact=True, seen=0, states=(), sources=())
    return max(same, key=lambda one: one.share)._replace(exact=True)


def _measure(pool: ReplyTuple, ports: Sequence[_Port], counted: int, seen: int, entries: int) -> Iterator[PortUse]:
    """The parts of one pool. ports: of some of the `counted` flows that are its own among all that were seen."""
    parts: dict[int, list[_Port]] = defaultdict(list)
    for one in ports:
        parts[BELOW_512 if one[1] < 512 else BELOW_1024 if one[1] < 1024 else DEFAULT].append(one)
    for part, mine in parts.items():
        kept = [port for sport, port, _state, _src in mine if port == sport]
        chosen = [port for sport, port, _state, _src in mine if port != sport]
        size = part if part != DEFAULT else range_size(kept, chosen)
        of_it = share(round(counted * len(mine) / len(ports)), seen, max(seen, entries))
        used, least = round(of_it.value * max(seen, entries)), int(of_it.low * max(seen, entries))
        if part == DEFAULT:
            # the range is a little larger than it seemed
            size = max(size, min(least, DEFAULT))
        states = Counter(state for _sport, _port, state, _src in mine)
        sources = Counter(src for _sport, _port, _state, src in mine)
        yield PortUse(pool, min(used, size), size, min(least, size), seen >= entries, len(kept) >= 0.1 * len(mine),
                      len(mine), tuple(states.most_common(TOP)),
                      tuple((address_text(src), many) for src, many in sources.most_common(TOP)))


def range_size(kept: Sequence[int], chosen: Sequence[int]) -> int:
    """How many ports a range has, of which these were seen, all from 1024 on.

    kept: ports of the clients that the kernel has kept. They tell little of the range: nearly all are where clients
    take their ports from. chosen: those that the kernel has chosen, anywhere in the range.
    """
    if len(chosen) < CHOSEN:
        return DEFAULT
    low, high = _bounds(chosen)
    wide = (high - low) * (len(chosen) + 1) / (len(chosen) - 1) - 1
    # the kernel keeps a port only within the range
    if len(kept) > 0.01 * len(chosen):
        low, high = min(low, min(kept)), max(high, max(kept))
    size = max(wide, high - low + 1)
    return DEFAULT if size >= SPREAD else round(size)


def _bounds(ports: Sequence[int]) -> tuple[int, int]:
    """The least and the largest, without a few lonely ones far outside of the others."""
    ranked = sorted(ports)
    cut = len(ranked) // 100
    if cut:
        low, high = ranked[cut], ranked[-1 - cut]
        if ranked[-1] - ranked[0] > 1.25 * (high - low):
            return low, high
    return ranked[0], ranked[-1]


#: why inserts failed (insert_failed)
PORTS, RACING, EITHER = 'NAT ports', 'racing queries', 'racing queries or NAT ports'
CAUSE_TEXT = {PORTS: 'NAT found no free port', RACING: 'clashes not resolved',
              EITHER: 'clashes not resolved, or NAT found no free port'}


def cause(lost: Losses, fullest: PortUse | None, peak: float = 0.0) -> str:
    """Why inserts failed: PORTS, RACING or EITHER. Without a pool, as without privileges, PORTS cannot be proved.

    peak: the part of a pool's ports that was used at most meanwhile: they may be free again.
    """
    found = lost.packets.get('found')
    if max(fullest.share if fullest else 0.0, peak) >= REFUSES:
        searched = found is None or found >= SEARCHED * (fullest.found if fullest else TCP_TRIES) * lost.clashes
        return PORTS if searched else EITHER if found and found >= RACE * lost.clashes else RACING
    if found is not None and found < RACE * lost.clashes:
        return RACING
    return EITHER
