"""New connections per second: what the time left of the entries tells of it, and whose they are.

An entry whose time left is within some seconds of its timeout was made or refreshed within those seconds
(nf_ct_refresh). For entries that are refreshed by traffic, ESTABLISHED and UDP streams, that says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..flow import Flow, address_text
from ..namedtuples import NamedTuple
from .profile import Key, service_key
from .timeouts import timeout_of

#: seconds up to now that are looked at
SPAN = 5
#: fewer connections than that are too few for a rate
FEWEST = 20
TOP = 10


class Opener(NamedTuple):
    """A source, and what it opens."""

    source: str
    #: connections seen of it
    seen: int
    #: the one target of nearly all of them, or only the source
    key: Key


class NewRate(NamedTuple):
    """New connections per second, and a sample of them."""

    #: per second
    rate: float
    #: connections looked at for the shares
    seen: int
    #: by protocol number
    protocols: Mapping[int, int]
    #: the sources and the targets with most of them
    openers: tuple[Opener, ...]
    targets: tuple[tuple[Key, int], ...]
    #: counted by the kernel's events; else an estimate from the table
    counted: bool = True
    #: by the timeout that they live by, as its sysctl is called after nf_conntrack_; of an estimate only
    by_timeout: Mapping[str, float] = {}
    #: packets that were refused in the same time, per second; each may be an attempt to open a connection
    refused: float = 0.0

    @property
    def attempts(self) -> float:
        """Connections that were opened, or could not be, per second."""
        return self.rate + self.refused

    def share(self, seen: int) -> float:
        """0 to 1."""
        return seen / self.seen if self.seen else 0.0

    def busiest(self) -> Opener | None:
        """The source that opens most; None: no source is known."""
        return self.openers[0] if self.openers else None


#: a target is named for a source when it has so much of what the source opens
OF_SOURCE = 0.7


class _Connections:
    """Counts new connections by protocol, source and target."""

    def __init__(self) -> None:
        self.protocols: Counter[int] = Counter()
        self.sources: Counter[bytes] = Counter()
        self.targets: Counter[tuple[bytes, int, int]] = Counter()
        self.pairs: Counter[tuple[bytes, bytes, int, int]] = Counter()

    def add(self, flow: Flow) -> None:
        target = flow.dst, flow.protocol, flow.dport
        self.protocols[flow.protocol] += 1
        self.sources[flow.src] += 1
        self.targets[target] += 1
        self.pairs[(flow.src, *target)] += 1

    def rate(self, per_second: float, counted: bool) -> NewRate:
        # the most frequent last: it stays
        main = {src: ((dst, protocol, port), seen)
                for (src, dst, protocol, port), seen in reversed(self.pairs.most_common())}
        openers = []
        for src, seen in _ranked(self.sources):
            target, most = main[src]
            key = service_key(*target) if most >= OF_SOURCE * seen else Key()
            openers.append(Opener(address_text(src), seen, key._replace(source=address_text(src))))
        return NewRate(per_second, sum(self.protocols.values()), dict(self.protocols.most_common()), tuple(openers),
                       tuple((service_key(*target), seen) for target, seen in _ranked(self.targets)), counted)


class NewEntryCounter:
    """Counts the new ones among flows that are handed on to another reader; for an estimate of the rate."""

    def __init__(self, timeouts: Mapping[str, int]) -> None:
        """timeouts: seconds, by the name after nf_conntrack_."""
        self._timeouts = timeouts
        self._new = _Connections()
        self._passed = 0
        self._least: dict[tuple[int, str, bool], float] = {}
        self._by_kind: Counter[tuple[int, str, bool]] = Counter()

    def watch(self, flows: Iterable[Flow]) -> Iterator[Flow]:
        """The same flows."""
        for flow in flows:
            self._passed += 1
            kind = flow.protocol, flow.state, flow.assured
            least = self._least.get(kind)
            if least is None:
                least = self._least[kind] = self._least_of(*kind)
            # more than the timeout: a timeout policy of a rule, or a value that was changed
            if flow.timeout is not None and least <= flow.timeout <= least + SPAN:
                self._new.add(flow)
                self._by_kind[kind] += 1
            yield flow

    def rate(self, entries: int) -> NewRate | None:
        """An estimate for a table with this many entries, a little too high where expired ones are among them.

        None: too few are new.
        """
        new = sum(self._new.protocols.values())
        if new < FEWEST:
            return None
        weight = max(entries, self._passed) / self._passed / SPAN
        by_timeout: Counter[str] = Counter()
        for kind, seen in self._by_kind.items():
            by_timeout[timeout_of(*kind)] += seen
        return self._new.rate(new * weight, counted=False)._replace(
            by_timeout={name: seen * weight for name, seen in by_timeout.items()})

    def _least_of(self, protocol: int, state: str, assured: bool) -> float:
        name = timeout_of(protocol, state, assured)
        if name == 'tcp_timeout_established' or name.endswith('_stream') or name not in self._timeouts:
            return float('inf')
        # a whole timeout shorter than the span is not told apart from what is older
        seconds = self._timeouts[name]
        return seconds - SPAN if seconds > SPAN else float('inf')


def counted(per_second: float, flows: Sequence[Flow]) -> NewRate:
    """The rate that was counted, with a sample of the new connections."""
    new = _Connections()
    for flow in flows:
        new.add(flow)
    return new.rate(per_second, counted=True)


def about(number: float) -> str:
    """One significant digit: 'about 800'."""
    if number < 1:
        return 'under 1'
    digits = len(str(round(number))) - 1
    return f'about {round(number, -digits):.0f}'


def _ranked(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """The most frequent first, equal ones in the order of their keys."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
