"""TCP connections by remote host, in the groups that conntrack_exporter made usual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ...deadline import OutOfTime, TimeBudget
from ...defaults import SAMPLE
from ...diagnosis.sample import sample_flows
from ...flow import TCP, Flow, address_text
from ...host import Host
from ...model import Missing, Table
from ...namedtuples import NamedTuple
from ...netns import address_names
from ...readers.sockets import is_local

GROUPS: Mapping[str, str] = {
    'SYN_SENT': 'opening', 'SYN_RECV': 'opening', 'SYN_SENT2': 'opening', 'ESTABLISHED': 'open',
    'FIN_WAIT': 'closing', 'CLOSE_WAIT': 'closing', 'LAST_ACK': 'closing', 'TIME_WAIT': 'closing', 'CLOSE': 'closed'}
#: destinations that are asked for being this host's own, the most frequent ones: a host has few addresses
MOST_PROBES = 200
#: the label of all that are not exported by name
OTHER = 'other'


class PerHost(NamedTuple):
    """Connections by host and group; estimated where `share` is below 1."""

    #: the hosts with most connections, then OTHER if there are more
    hosts: Sequence[tuple[str, Mapping[str, float]]]
    #: share of the table that was looked at, 0 to 1
    share: float
    #: what this host knows of them
    names: Mapping[str, str] = {}


def read(host: Host, table: Table, top: int, budget: TimeBudget) -> PerHost | Missing:
    """The `top` remote hosts of this namespace's table."""
    tally = sample_flows(host, count, SAMPLE, budget)
    if isinstance(tally, Missing):
        return tally
    pairs, seen = tally
    with budget():
        own = _own_addresses(pairs)
    ranked = rank(pairs, own, top, seen, table.entries)
    try:
        with budget():
            return ranked._replace(names=address_names.resolve(host, {one for one, _ in ranked.hosts if one != OTHER}))
    except OutOfTime:
        return ranked


def count(flows: Iterable[Flow]) -> tuple[Counter[tuple[bytes, bytes, str]], int]:
    """TCP connections by source, destination and group; and how many flows of any protocol there were."""
    pairs: Counter[tuple[bytes, bytes, str]] = Counter()
    seen = 0
    for flow in flows:
        seen += 1
        if flow.protocol == TCP and (flow.offloaded or flow.state in GROUPS):
            # an offloaded connection is open, and has no state here
            pairs[flow.src, flow.dst, 'open' if flow.offloaded else GROUPS[flow.state]] += 1
    return pairs, seen


def rank(pairs: Mapping[tuple[bytes, bytes, str], int], own: set[bytes], top: int, seen: int, entries: int) -> PerHost:
    """The hosts with most connections. The remote one is the destination, unless that is this host itself."""
    scale = max(entries, seen) / seen if seen else 1.0
    hosts: dict[bytes, Counter[str]] = {}
    for (source, destination, group), connections in pairs.items():
        remote = source if destination in own else destination
        hosts.setdefault(remote, Counter())[group] += connections
    order = sorted(hosts, key=lambda remote: (-sum(hosts[remote].values()), remote))
    named = [(address_text(remote), _scaled(hosts[remote], scale)) for remote in order[:top]]
    rest: Counter[str] = Counter()
    for remote in order[top:]:
        rest.update(hosts[remote])
    return PerHost([*named, (OTHER, _scaled(rest, scale))] if rest else named, min(1.0, 1 / scale))


def _scaled(groups: Mapping[str, int], scale: float) -> dict[str, float]:
    return {group: float(round(groups.get(group, 0) * scale)) for group in dict.fromkeys(GROUPS.values())}


def _own_addresses(pairs: Mapping[tuple[bytes, bytes, str], int]) -> set[bytes]:
    destinations: Counter[bytes] = Counter()
    for (_source, destination, _group), connections in pairs.items():
        destinations[destination] += connections
    return {address for address, _ in destinations.most_common(MOST_PROBES) if is_local(address_text(address))}
