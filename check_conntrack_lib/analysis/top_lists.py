"""Who has most entries now, opens most and carries most: sources, targets and services, from samples of the table.

The kernel lists its table in the order of the hash, which stays. So of two samples one after the other, the second is
complete up to the last entry that both have: what is new before that was made in between, and what both have carried
bytes in between. Entries that came and went between the two are in neither. New entries are estimated for the whole
table; bytes are not, since a few connections carry most of them: one of those counted fifty times would be no estimate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from ..flow import Flow
from ..namedtuples import NamedTuple
from ..readers.ctnetlink_events import NewConnections
from .profile import Key
from .proportion import share
from .traffic import KEYS, SORTS, key_of

ENTRIES, NEW, BYTES = 'entries', 'new', 'bytes'
#: the order of the rows: by the number of entries, new ones per second, bytes per second
ORDERS = (ENTRIES, NEW, BYTES)
#: two samples that have less in common than this part are not of one order: nf_conntrack_buckets was changed
LEAST_COMMON = 0.1
#: what makes an entry, in this order; ICMP's echo numbers are not read: their entries count as one
_identity = itemgetter(*map(Flow._fields.index, ('src', 'dst', 'protocol', 'dport', 'sport', 'zone')))
_IDENTITY_KEYS: Mapping[str, Any] = {'sources': itemgetter(0), 'targets': itemgetter(1, 2, 3),
                                     'services': itemgetter(2, 3)}


class TableSample(NamedTuple):
    """One sample of the table, read now; a `model.Sample` is what the history records."""

    #: seconds on CLOCK_MONOTONIC
    at: float
    #: entries in the table, and those looked at
    entries: int
    seen: int
    #: every entry was listed
    complete: bool
    #: entries by key, for each of SORTS
    counts: Mapping[str, Counter[Any]]
    #: packets and bytes of each entry, in the kernel's order
    carried: Mapping[Any, tuple[int, int]]
    #: entries that have counters
    counted: int
    buckets: int = 0


class Row(NamedTuple):
    """One source, target or service; a rate that is not known is None."""

    key: Key
    #: estimated where only a part was looked at
    entries: int
    #: of the table, 0 to 1
    share: float
    new_per_s: float | None = None
    #: of the entries looked at
    packets_per_s: float | None = None
    bytes_per_s: float | None = None


class TopLists(NamedTuple):
    """The rows of each sort, and the rates of the whole table."""

    seen: int
    entries: int
    complete: bool
    rows: Mapping[str, tuple[Row, ...]]
    new_per_s: float | None = None
    #: counted by the kernel's events; else by the difference of two samples
    by_events: bool = False
    packets_per_s: float | None = None
    bytes_per_s: float | None = None
    #: entries of the sample that have counters of packets and bytes
    counted: int = 0

    @property
    def margin(self) -> float:
        """How far a share may be off, at most: 0 to 1."""
        return 0.0 if self.complete else share(self.seen // 2, self.seen, self.entries).margin


class _Rates(NamedTuple):
    """Per second, of the whole table and by key."""

    total: float
    by_key: Mapping[str, Mapping[Any, float]]

    def of(self, sort: str, key: Any) -> float:
        return self.by_key[sort].get(key, 0.0)


def observe(flows: Iterable[Flow], at: float, entries: int, buckets: int = 0) -> TableSample:
    """A sample, begun at that time, of a table with `entries` entries; whether it is complete is not known here."""
    listed = list(flows)
    carried: dict[Any, tuple[int, int]] = {}
    counted = 0
    for flow in listed:
        identity = _identity(flow)
        packets, octets = carried.get(identity, (0, 0))
        if flow.orig_bytes is not None:
            counted += 1
            packets += (flow.orig_packets or 0) + (flow.reply_packets or 0)
            octets += flow.orig_bytes + (flow.reply_bytes or 0)
        carried[identity] = packets, octets
    return TableSample(at, max(entries, len(listed)), len(listed), False,
                {sort: Counter(map(KEYS[sort], listed)) for sort in SORTS}, carried, counted, buckets)


def compare(before: TableSample | None, now: TableSample, new: NewConnections | None, number: int,
            order: str = ENTRIES) -> TopLists:
    """The `number` first rows of each sort in that order. new: as the kernel's events count them, None: not."""
    opened = _by_events(new) if new else None
    packets = octets = None
    if before and _of_one_order(before, now):
        differences = _differences(before, now)
        opened = opened or differences[0]
        if now.counted:
            packets, octets = differences[1:]
    scale = now.entries / now.seen if now.seen and not now.complete else 1.0
    rows = {}
    for sort in SORTS:
        counts = now.counts[sort]
        rates = {NEW: opened, BYTES: octets}.get(order)
        ranked: Mapping[Any, float] = rates.by_key[sort] if rates else counts
        first = sorted(ranked, key=lambda key: (-ranked[key], -counts[key], key))[:number]
        rows[sort] = tuple(Row(key_of(sort, key), round(counts[key] * scale), counts[key] / max(1, now.seen),
                               opened.of(sort, key) if opened else None,
                               packets.of(sort, key) if packets else None,
                               octets.of(sort, key) if octets else None) for key in first)
    return TopLists(now.seen, now.entries, now.complete, rows, opened.total if opened else None, bool(new),
                   packets.total if packets else None, octets.total if octets else None, now.counted)


def _by_events(new: NewConnections) -> _Rates:
    part = new.rate / max(1, len(new.flows))
    return _Rates(new.rate, {sort: {key: seen * part for key, seen in Counter(map(KEYS[sort], new.flows)).items()}
                             for sort in SORTS})


def _of_one_order(before: TableSample, now: TableSample) -> bool:
    common = sum(map(before.carried.__contains__, now.carried))
    least = LEAST_COMMON * min(len(before.carried), len(now.carried))
    return before.buckets == now.buckets and now.at > before.at and (
        common > least or (before.complete and now.complete))


def _differences(before: TableSample, now: TableSample) -> tuple[_Rates, _Rates, _Rates]:
    """New entries, packets and bytes per second."""
    order: Sequence[Any] = tuple(now.carried)
    end = len(order)
    if not (before.complete and now.complete):
        while end and order[end - 1] not in before.carried:
            end -= 1
    opened: dict[Any, float] = {}
    packets: dict[Any, float] = {}
    octets: dict[Any, float] = {}
    for identity in order[:end]:
        carried = now.carried[identity]
        then = before.carried.get(identity)
        # fewer than before: another entry with the same ends
        if then is None or carried[1] < then[1]:
            opened[identity] = 1
            then = 0, 0
        if carried[1] > then[1]:
            packets[identity], octets[identity] = max(0, carried[0] - then[0]), carried[1] - then[1]
    # of a sample, for the whole table
    scale = now.entries / end if end and not (now.complete and end == len(order)) else 1.0
    return _rates(opened, packets, octets, scale, 1.0 / (now.at - before.at))


def _rates(opened: Mapping[Any, float], packets: Mapping[Any, float], octets: Mapping[Any, float],
           for_opened: float, per_second: float) -> tuple[_Rates, _Rates, _Rates]:
    made = []
    for amounts, scale in ((opened, for_opened * per_second), (packets, per_second), (octets, per_second)):
        by_key: dict[str, defaultdict[Any, float]] = {sort: defaultdict(float) for sort in SORTS}
        for identity, amount in amounts.items():
            for sort, sums in by_key.items():
                sums[_IDENTITY_KEYS[sort](identity)] += amount * scale
        made.append(_Rates(sum(amounts.values()) * scale, by_key))
    return made[0], made[1], made[2]
