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
    known = {interface: counters for interface, counters in interfaces.items() if EXCEEDED in counters}
    if not known:
        return None
    # an interface without traffic shows an old number of what is available
    left = [counters[AVAILABLE] for counters in known.values() if AVAILABLE in counters]
    each = tuple((interface, counters[EXCEEDED], counters.get(LINKLOCAL, 0),
                  sum(counters.get(name, 0) for name in QUEUED)) for interface, counters in sorted(known.items()))
    return Allowances(sum(one[1] for one in each), sum(one[2] for one in each), sum(one[3] for one in each),
                      min(left) if left else None, each)


def compare(base: Allowances | None, span: float, now: Allowances, most: int | None) -> CloudLimit:
    """What moved since `base`, `span` seconds ago; most: the most that was available in the history."""
    seen = [number for number in (most, now.available) if number is not None]
    if base is None:
        return CloudLimit(0.0, 0, 0, 0, now.available, max(seen) if seen else None)

    old, new = ({name: counters for name, *counters in one.each} for one in (base, now))
    if old:
        # one that was attached meanwhile begins to count now, one that was detached is no reset of the others
        before, after = [old[name] for name in new if name in old], [new[name] for name in new if name in old]
    else:
        before, after = [[base.exceeded, base.linklocal, base.queued]], [[now.exceeded, now.linklocal, now.queued]]
    exceeded, linklocal, queued = (sum(_moved(was[place], is_now[place]) for was, is_now in zip(before, after))
                                   for place in range(3))
    return CloudLimit(span, exceeded, linklocal, queued, now.available, max(seen) if seen else None)


def _moved(old: int, new: int) -> int:
    # a reset of the driver begins at 0
    return new - old if new >= old else new
