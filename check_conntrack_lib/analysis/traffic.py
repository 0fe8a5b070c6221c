"""Packets and bytes by source, target and service, where the kernel counts them (nf_conntrack_acct=1).

They are those of the entries now in the table, both directions together, since each entry was made: no rate, and
nothing of the entries that are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from ..flow import ACCOUNTED, PORTED, Flow, address_text
from ..namedtuples import NamedTuple
from .heavy_hitters import KEPT_KEYS, MOST_KEYS
from .profile import TOP, Key

#: the sorts of keys, with what makes a key of a flow
SORTS = ('sources', 'targets', 'services')
_place = Flow._fields.index
KEYS: dict[str, Callable[[Flow], Any]] = {
    'sources': itemgetter(_place('src')),
    'targets': itemgetter(_place('dst'), _place('protocol'), _place('dport')),
    'services': itemgetter(_place('protocol'), _place('dport')),
}
#: packets and bytes are added up in one number, the packets above this bit: no table has carried so many bytes
SHIFT = 96
MASK = (1 << SHIFT) - 1
#: `_counters` of an entry without counters
NONE = (None,) * 4
_counters = itemgetter(*map(_place, ACCOUNTED))


class Volume(NamedTuple):
    """What one key has carried."""

    key: Key
    packets: int
    bytes: int


class Traffic(NamedTuple):
    """Of the entries seen; of a sample, the few entries with most of the bytes may not be among them."""

    #: entries seen that have counters: those made since nf_conntrack_acct is 1
    counted: int
    packets: int
    bytes: int
    #: most bytes first
    sources: tuple[Volume, ...]
    targets: tuple[Volume, ...]
    services: tuple[Volume, ...]


class TrafficCounter:
    """Adds up the counters of flows, in bounded memory."""

    def __init__(self) -> None:
        self._counted = 0
        self._sums: dict[str, defaultdict[Any, int]] = {sort: defaultdict(int) for sort in SORTS}
        self._total = 0

    def update(self, flows: Sequence[Flow]) -> None:
        """Those without counters are left out."""
        counters = list(map(_counters, flows))
        if NONE in counters:
            flows = [flow for flow in flows if flow.orig_bytes is not None]
            counters = list(map(_counters, flows))
        # packets and bytes in one number: half as many additions to the sums by key
        amounts = [((packets + reply_packets) << SHIFT) + octets + reply_octets
                   for packets, octets, reply_packets, reply_octets in counters]
        self._counted += len(flows)
        self._total += sum(amounts)
        for sort in ('sources', 'targets'):
            sums = self._sums[sort]
            for key, amount in zip(map(KEYS[sort], flows), amounts):
                sums[key] += amount
            if len(sums) > MOST_KEYS:
                # of very many keys, those with the fewest bytes are forgotten: never too high
                ranked = sorted(sums.items(), key=lambda item: -(item[1] & MASK))
                self._sums[sort] = defaultdict(int, ranked[:KEPT_KEYS])
                if sort == 'targets':
                    self._add_to_services(ranked[KEPT_KEYS:])

    def _add_to_services(self, targets: Iterable[tuple[Any, int]]) -> None:
        services = self._sums['services']
        for (_destination, *service), amount in targets:
            services[tuple(service)] += amount

    def traffic(self) -> Traffic:
        """All that was counted; nothing may be added then."""
        self._add_to_services(self._sums['targets'].items())
        tops = (tuple(Volume(key_of(sort, key), amount >> SHIFT, amount & MASK) for key, amount in sorted(
            self._sums[sort].items(), key=lambda item: (-(item[1] & MASK), item[0]))[:TOP]) for sort in SORTS)
        return Traffic(self._counted, self._total >> SHIFT, self._total & MASK, *tops)


def key_of(sort: str, key: Any) -> Key:
    """What KEYS made of a flow, as a Key."""
    if sort == 'sources':
        return Key(source=address_text(key))
    destination, protocol, port = key if sort == 'targets' else (b'', *key)
    return Key(protocol, '', address_text(destination), port if protocol in PORTED else None)
