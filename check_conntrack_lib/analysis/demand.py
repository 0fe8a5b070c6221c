"""How many entries the new connections of now need: each stays for its timeout (Little's law)."""

from __future__ import annotations

from collections.abc import Mapping

from ..namedtuples import NamedTuple
from .profile import Profile
from .rates import NewRate
from .timeouts import Proposal, timeout_of


class Demand(NamedTuple):
    """New entries that live by one timeout: how many come, and how many that makes."""

    #: the sysctl's name after nf_conntrack_
    name: str
    #: new ones per second
    rate: float
    #: seconds, now and proposed
    now: int
    proposed: int

    @property
    def entries(self) -> float:
        """In the long run, at the timeout of now."""
        return self.rate * self.now

    @property
    def entries_then(self) -> float:
        """The same at the proposed timeout."""
        return self.rate * self.proposed


def demands(new: NewRate, timeouts: Mapping[str, int], proposals: tuple[Proposal, ...]) -> tuple[Demand, ...]:
    """Of each timeout that new connections live by, the largest first."""
    shorter = {one.name: one.proposed for one in proposals if not one.risky}
    found = [Demand(name, rate, timeouts[name], shorter.get(name, timeouts[name]))
             for name, rate in new.by_timeout.items() if name in timeouts]
    return tuple(sorted(found, key=lambda one: -one.entries))


def lasting(profile: Profile, new: NewRate) -> int:
    """Entries of the table that are refreshed by their traffic: ESTABLISHED, streams; no rate tells how many."""
    seen = sum(sum(left.steps.values()) for kind, left in profile.time_left.items()
               if timeout_of(*kind) not in new.by_timeout) + profile.offloaded
    return profile.estimate(min(seen, profile.seen))
