"""Which resource is exhausted: the table, hash chains, NAT ports, the cloud's limit, a CPU, or memory."""

from __future__ import annotations

from collections.abc import Mapping

from ..defaults import CRITICAL
from ..model import Missing
from . import incident, nat_ports, sizing
from .incident import IncidentFacts
from .nat_ports import PORTS, PortUse

TABLE, CHAINS, NAT, CLOUD, SOFTIRQ, MEMORY = 'table', 'hash', 'NAT ports', 'cloud', 'softirq', 'memory'
#: fine, near its end, exhausted
FINE, NEAR, EXHAUSTED = 0, 1, 2
#: percent of the table, of the ports, and of what was available in the cloud, from which on it is exhausted
FULL, FULL_PORTS, CLOUD_LEFT = CRITICAL, 0.9, 5.0
NEAR_PORTS, NEAR_CLOUD = nat_ports.REFUSES, 15.0
#: a CPU that spends more of its time in softirqs has no reserve left
BUSY = 0.7


def levels(p: IncidentFacts) -> dict[str, int]:
    """Of each resource that is known, the worst first, else in the order in which they are likely."""
    found = {TABLE: _table(p), CHAINS: EXHAUSTED * incident.chains_too_long(p)}
    use = fullest(p)
    if use is not None:
        found[NAT] = EXHAUSTED if refuses(p) or use.share >= FULL_PORTS else NEAR if use.share >= NEAR_PORTS else FINE
    if p.cloud is not None:
        left = p.cloud.left
        found[CLOUD] = EXHAUSTED if p.cloud.exceeded or (left is not None and left < CLOUD_LEFT) else \
            NEAR if left is not None and left < NEAR_CLOUD else FINE
    if p.softirqs:
        found[SOFTIRQ] = NEAR if max(p.softirqs.values()) >= BUSY else FINE
    found[MEMORY] = _memory(p)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def worst(p: IncidentFacts) -> str:
    """The resource that is exhausted, or nearest to it; '' if all is fine."""
    name, level = next(iter(levels(p).items()))
    return name if level else ''


def fullest(p: IncidentFacts) -> PortUse | None:
    """The pool of NAT ports that is used most, if there is one."""
    return p.profile.nat_ports[0] if p.profile and p.profile.nat_ports else None


def refuses(p: IncidentFacts) -> bool:
    """Are connections refused because NAT finds no free port?"""
    use = fullest(p)
    return bool(use and p.losses and p.losses.clashes and use.share >= nat_ports.REFUSES
                and nat_ports.cause(p.losses, use) == PORTS)


def to_fill(p: IncidentFacts) -> float:
    """Bytes that a full table takes more than the entries of now."""
    return sizing.propose(p.table.entries, p.table, p.entry).entry * max(0, p.table.maximum - p.table.entries)


def _table(p: IncidentFacts) -> int:
    if not incident.crowded(p):
        return FINE
    return EXHAUSTED if p.table.usage >= FULL or incident.was_full(p) else NEAR


def _memory(p: IncidentFacts) -> int:
    if isinstance(p.available, Missing) or p.table.unlimited:
        return FINE
    return NEAR if to_fill(p) > p.available else FINE


#: what is printed of each level
WORDS: Mapping[int, str] = {FINE: '', NEAR: 'near its end', EXHAUSTED: 'exhausted'}
