"""Which resource is exhausted: the table, hash chains, NAT ports, the cloud's limit, a CPU, or memory."""

from __future__ import annotations

from ..defaults import CRITICAL
from ..model import Missing
from . import incident, nat_ports, sizing
from .incident import IncidentFacts
from .nat_ports import PORTS, PortUse

TABLE, CHAINS, NAT, CLOUD, SOFTIRQ, MEMORY = 'table', 'hash', 'NAT ports', 'cloud', 'softirq', 'memory'
#: fine, near its end, exhausted
FINE, NEAR, EXHAUSTED = 0, 1, 2
#: from here on a resource is exhausted: percent of the table, share of the ports, percent left of the cloud's limit
FULL, FULL_PORTS, CLOUD_LEFT = CRITICAL, 0.9, 5.0
#: and near its end
NEAR_PORTS, NEAR_CLOUD = nat_ports.REFUSES, 15.0
#: a CPU that spends more of its time in softirqs has no reserve left
BUSY = 0.7


def levels(facts: IncidentFacts) -> dict[str, int]:
    """FINE, NEAR or EXHAUSTED of each resource that is known: the worst first, else the likelier one."""
    found = {TABLE: _table(facts), CHAINS: EXHAUSTED * incident.chains_too_long(facts)}
    use = fullest(facts)
    if use is not None:
        found[NAT] = EXHAUSTED if refuses(facts) or use.share >= FULL_PORTS else \
            NEAR if use.share >= NEAR_PORTS else FINE
    if facts.cloud is not None:
        left = facts.cloud.left
        found[CLOUD] = EXHAUSTED if facts.cloud.exceeded or (left is not None and left < CLOUD_LEFT) else \
            NEAR if left is not None and left < NEAR_CLOUD else FINE
    if facts.softirqs:
        found[SOFTIRQ] = NEAR if max(facts.softirqs.values()) >= BUSY else FINE
    found[MEMORY] = _memory(facts)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def worst(facts: IncidentFacts) -> str:
    """The resource that is exhausted, or nearest to it; '' if all is fine."""
    name, level = next(iter(levels(facts).items()))
    return name if level else ''


def fullest(facts: IncidentFacts) -> PortUse | None:
    """The pool of NAT ports that is used most, if there is one."""
    return facts.profile.nat_ports[0] if facts.profile and facts.profile.nat_ports else None


def refuses(facts: IncidentFacts) -> bool:
    """Are connections refused because NAT finds no free port?"""
    use = fullest(facts)
    return bool(use and facts.losses and facts.losses.clashes and use.share >= nat_ports.REFUSES
                and nat_ports.cause(facts.losses, use) == PORTS)


def to_fill(facts: IncidentFacts) -> float:
    """Bytes that a full table takes beyond those of the present entries."""
    bytes_an_entry = sizing.propose(facts.table.entries, facts.table, facts.entry).entry
    return bytes_an_entry * max(0, facts.table.maximum - facts.table.entries)


def _table(facts: IncidentFacts) -> int:
    if not incident.crowded(facts):
        return FINE
    return EXHAUSTED if facts.table.usage >= FULL or incident.was_full(facts) else NEAR


def _memory(facts: IncidentFacts) -> int:
    if isinstance(facts.available, Missing) or facts.table.unlimited:
        return FINE
    return NEAR if to_fill(facts) > facts.available else FINE

