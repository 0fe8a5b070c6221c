"""A line for each resource, the one that is exhausted first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...analysis import incident, resources
from ...formatting import count, duration, growth, percent, size_text
from ...model import Missing
from ..text_layout import StyledLine
from .reading import TriageReadings

MOST_CPUS = 8
WORTH_SHOWING = 0.5


def lines(readings: TriageReadings) -> Iterator[StyledLine]:
    """The worst first."""
    for name, level in resources.levels(readings.facts).items():
        for line in LINES[name](readings):
            was = name == resources.TABLE and readings.table.usage < resources.FULL
            words = f'{"was full" if was else "exhausted"}: {line.text}' if level == resources.EXHAUSTED else line.text
            yield line._replace(text=words, severity=level)


def _table(readings: TriageReadings) -> Iterator[StyledLine]:
    table, a = readings.table, readings.assessment
    if table.unlimited:
        said = f'{count(table.entries, "entry")}, no limit (nf_conntrack_max is {table.maximum})'
    else:
        said = f'{percent(table.usage)} used ({table.entries} of {table.maximum})'
    if a.forecast:
        said += f', {growth(a.forecast.growth)}'
        if a.forecast.to_full is not None:
            said += f', full in {duration(a.forecast.to_full)}' if a.forecast.to_full else ', full'
    yield StyledLine('usage', said)


def _hash(readings: TriageReadings) -> Iterator[StyledLine]:
    load, limit = incident.load_of(readings.facts), readings.facts.limit.entries_per_bucket
    if load is None:
        return
    # worth a line above half of the limit, now or when full
    full = None if readings.table.unlimited else incident.load_at(readings.table, readings.table.maximum)
    if limit is None or max(load, full or 0.0) < limit / 2:
        return
    said = f'{load:.1f} entries per bucket'
    if readings.facts.all_entries > readings.table.entries:
        said += f' with those of other namespaces ({readings.facts.all_entries} entries in all)'
    elif full is not None:
        said += f', {full:.1f} when full'
    chains = readings.assessment.hash
    if chains and not chains.all_namespaces:
        said += ', without those of other namespaces (only root sees them)'
    if readings.release:
        said += f'; this kernel drops new connections above about {readings.facts.limit}'
    yield StyledLine('hash', said)


def _softirqs(readings: TriageReadings) -> Iterator[StyledLine]:
    if isinstance(readings.softirqs, Missing) or not readings.softirqs:
        return
    if max(readings.softirqs.values()) < WORTH_SHOWING:
        return
    ranked = sorted(readings.softirqs.items(), key=lambda item: (-item[1], item[0]))
    said = ', '.join(f'cpu{cpu} {share:.0%}' for cpu, share in ranked[:MOST_CPUS])
    if len(ranked) > MOST_CPUS:
        said += f', {len(ranked) - MOST_CPUS} others less'
    busy = sum(share >= resources.BUSY for _cpu, share in ranked)
    if busy:
        said += ': CPU saturated by softirq: packets may be dropped before conntrack sees them'
    yield StyledLine('softirq', said)


def _nat_ports(readings: TriageReadings) -> Iterator[StyledLine]:
    use = resources.fullest(readings.facts)
    if use is None:
        return
    about = '' if use.exact else 'about '
    said = f'{use}: {about}{use.share:.0%} used ({use.used} of {use.size})'
    lost = readings.facts.losses
    if resources.refuses(readings.facts) and lost:
        said += f', {lost.clashes} packets refused in the last {duration(lost.span)}'
    states = [f'{part / use.seen:.0%} {state}' for state, part in use.states[:2] if state]
    if states and use.share >= resources.NEAR_PORTS:
        said += f'; held by {", ".join(states)}'
    yield StyledLine('NAT ports', said)


def _cloud(readings: TriageReadings) -> Iterator[StyledLine]:
    limit = readings.facts.cloud
    if limit is None:
        return
    said = 'limit of tracked connections: '
    if limit.left is None:
        said += 'how many are left is not told by this driver or instance'
    elif limit.most == limit.available:
        # nothing else is known to compare it with
        said += f'{limit.available} more connections fit'
    else:
        said += f'{limit.left:.0f}% left ({limit.available} of about {limit.most})'
    if limit.exceeded:
        said += f', {count(limit.exceeded, "packet")} dropped in the last {duration(limit.span)}'
    if limit.linklocal:
        said += f'; {count(limit.linklocal, "packet")} to DNS and other link-local services dropped'
    yield StyledLine('AWS', said)


def _memory(readings: TriageReadings) -> Iterator[StyledLine]:
    facts = readings.facts
    if isinstance(facts.available, Missing):
        return
    said = f'{size_text(facts.available)} available'
    if not facts.table.unlimited:
        said += f', a full table takes {size_text(resources.to_fill(facts))} more than now'
    yield StyledLine('memory', said)


LINES: Mapping[str, Callable[[TriageReadings], Iterator[StyledLine]]] = {
    resources.TABLE: _table, resources.CHAINS: _hash, resources.NAT: _nat_ports, resources.CLOUD: _cloud,
    resources.SOFTIRQ: _softirqs, resources.MEMORY: _memory,
}
