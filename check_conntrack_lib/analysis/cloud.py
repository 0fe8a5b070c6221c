"""AWS: the limit of tracked connections that the hypervisor has for an instance, as its interfaces (ena) count it.

That table serves security groups. It is not nf_conntrack, and no sysctl changes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model import Allowances
from ..namedtuples import NamedTuple

#: names of the driver's statistics (ena_ethtool.c); a driver or an instance may lack any of them
EXCEEDED, AVAILABLE = 'conntrack_allowance_exceeded', 'conntrack_allowance_available'
LINKLOCAL = 'linklocal_allowance_exceeded'
QUEUED = ('bw_in_allowance_exceeded', 'bw_out_allowance_exceeded', 'pps_allowance_exceeded')


class CloudLimit(NamedTuple):
    """What the interfaces say of a time."""

    #: seconds; 0: there is nothing to count from
    span: float
    #: packets of new connections dropped at the limit, and packets to DNS, metadata and time service dropped
    exceeded: int
    linklocal: int
    #: packets queued or dropped at the limits of bandwidth and packets per second
    queued: int
    #: connections that still fit, and the most that were seen; None: not told
    available: int | None
    most: int | None

    @property
    def left(self) -> float | None:
        """`available` in percent of the most that was seen; None: not told."""
        if self.available is None or not self.most:
            return None
        return 100.0 * self.available / self.most

    def rate(self, packets: int) -> float:
        """Per second."""
        return packets / self.span if self.span > 0 else 0.0


def allowances(interfaces: Mapping[str, Mapping[str, int]]) -> Allowances | None:
    """Of all interfaces together; None where none of them has such statistics."""
    known = [counters for counters in interfaces.values() if EXCEEDED in counters]
    if not known:
        return None
    # an interface without traffic shows an old number of what is available
    left = [counters[AVAILABLE] for counters in known if AVAILABLE in counters]

    def total(*names: str) -> int:
        return sum(counters.get(name, 0) for counters in known for name in names)

    return Allowances(total(EXCEEDED), total(LINKLOCAL), total(*QUEUED), min(left) if left else None)


def compare(base: Allowances | None, span: float, now: Allowances, most: int | None) -> CloudLimit:
    """What moved since `base`, `span` seconds ago; most: the most that was available in the history."""
    seen = [number for number in (most, now.available) if number is not None]
    if base is None:
        return CloudLimit(0.0, 0, 0, 0, now.available, max(seen) if seen else None)

    def moved(old: int, new: int) -> int:
        # a reset of the driver begins at 0
        return new - old if new >= old else new

    return CloudLimit(span, moved(base.exceeded, now.exceeded), moved(base.linklocal, now.linklocal),
                      moved(base.queued, now.queued), now.available, max(seen) if seen else None)
