"""Packets and bytes by source, target and service, where the kernel counts them (nf_conntrack_acct=1).

They are those of the entries now in the table, both directions together, since each entry was made: no rate, and
nothing of the entries that are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from ..flow import PORTED, Flow, address_text
from ..namedtuples import NamedTuple
from .heavy_hitters import KEPT_KEYS, MOST_KEYS
from .profile import TOP, Key

ACCOUNTING = 'net/netfilter/nf_conntrack_acct'
#: what is said where it is off
OFF = 'net.netfilter.nf_conntrack_acct is 0: no bytes'
#: the sorts of keys, with what makes a key of a flow
SORTS = ('sources', 'targets', 'services')
_place = Flow._fields.index
KEYS: dict[str, Callable[[Flow], Any]] = {
    'sources': itemgetter(_place('src')),
    'targets': itemgetter(_place('dst'), _place('protocol'), _place('dport')),
    'services': itemgetter(_place('protocol'), _place('dport')),
}
_counters = itemgetter(*map(_place, ('orig_packets', 'orig_bytes', 'reply_packets', 'reply_bytes')))


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
        self._sums = {sort: _Sums() for sort in SORTS}
        self._packets = self._bytes = 0

    def update(self, flows: Iterable[Flow]) -> None:
        """Those without counters are left out."""
        having = [flow for flow in flows if flow.orig_bytes is not None]
        counters = list(map(_counters, having))
        packets = [(sent or 0) + (answered or 0) for sent, _bytes, answered, _answered_bytes in counters]
        octets = [(sent or 0) + (answered or 0) for _packets, sent, _answered_packets, answered in counters]
        self._counted += len(having)
        self._packets += sum(packets)
        self._bytes += sum(octets)
        for sort, sums in self._sums.items():
            sums.add(map(KEYS[sort], having), packets, octets)

    def traffic(self) -> Traffic:
        tops = (tuple(Volume(key_of(sort, key), *volume) for key, volume in self._sums[sort].top(TOP))
                for sort in SORTS)
        return Traffic(self._counted, self._packets, self._bytes, *tops)


class _Sums:
    """Packets and bytes by key; of very many keys, those with the fewest bytes are forgotten: never too high."""

    def __init__(self) -> None:
        self._packets: defaultdict[Hashable, int] = defaultdict(int)
        self._bytes: defaultdict[Hashable, int] = defaultdict(int)

    def add(self, keys: Iterable[Hashable], packets: Sequence[int], octets: Sequence[int]) -> None:
        of_packets, of_bytes = self._packets, self._bytes
        for key, packet, octet in zip(keys, packets, octets):
            of_packets[key] += packet
            of_bytes[key] += octet
        if len(of_bytes) > MOST_KEYS:
            kept = sorted(of_bytes, key=of_bytes.__getitem__, reverse=True)[:KEPT_KEYS]
            self._packets = defaultdict(int, ((key, of_packets[key]) for key in kept))
            self._bytes = defaultdict(int, ((key, of_bytes[key]) for key in kept))

    def top(self, number: int) -> list[tuple[Any, tuple[int, int]]]:
        """Those with most bytes; equal ones in the order of their keys."""
        ranked: list[tuple[Any, int]] = sorted(self._bytes.items(), key=lambda item: (-item[1], item[0]))
        return [(key, (self._packets[key], octets)) for key, octets in ranked[:number]]


def key_of(sort: str, key: Any) -> Key:
    """What KEYS made of a flow, as a Key."""
    if sort == 'sources':
        return Key(source=address_text(key))
    destination, protocol, port = key if sort == 'targets' else (b'', *key)
    return Key(protocol, '', address_text(destination), port if protocol in PORTED else None)
