"""Packets dropped between two samples: differences of per-CPU 32-bit counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..model import Counters, KernelLog, Sample
from ..namedtuples import NamedTuple

WRAP = 1 << 32
#: counters that thresholds are for
COMPARED = ('drop', 'chaintoolong', 'early_drop', 'insert_failed')
#: those that `Losses.dropped` is made of
DROPPED = ('drop', 'chaintoolong', 'insert_failed', 'clash_resolve')
#: a counter that moved further than this, or faster, did not wrap: it was reset
FURTHEST_WRAP = WRAP >> 1
FASTEST_PER_CPU = 5e6
#: log lines are looked for at most so far back (or one window), however long the check has paused
LONGEST_LOG_SPAN = 3600.0
#: a log that is shorter by less than this, in seconds, is no shorter: it is read a moment after the counters
COVERED = 2.0
#: what reset the counters
REBOOT, RESET = 'a reboot', 'a reset of the counters'


class Losses(NamedTuple):
    """What the counters counted during `span` seconds, summed over the CPUs."""

    span: float
    packets: Mapping[str, int]
    #: what reset the counters in between: REBOOT or RESET
    across: str = ''

    @property
    def lost(self) -> int:
        """Packets that conntrack dropped, but for those of `clashes`: where a table has room, a trickle is normal."""
        return self.dropped + self.packets.get('chaintoolong', 0)

    @property
    def dropped(self) -> int:
        """What `drop` counted beside the clashes, of which a kernel with clash_resolve counts each in `drop`, too."""
        return max(0, self.packets['drop'] - (self.clashes if 'clash_resolve' in self.packets else 0))

    @property
    def clashes(self) -> int:
        """Inserts that failed for another reason than a chain too long."""
        return max(0, self.packets.get('insert_failed', 0) - self.packets.get('chaintoolong', 0))

    @property
    def mostly_chains(self) -> bool:
        """Are hash chains that are too long the larger cause of the loss?"""
        return self.packets.get('chaintoolong', 0) > self.dropped

    def rate(self, packets: int) -> float:
        """Packets per second over the span."""
        return packets / self.span


def counter_difference(old: int, new: int, seconds: float) -> int | None:
    """The modular difference of one counter on one CPU; None when the counter must have been reset."""
    if new >= old:
        return new - old
    moved = new - old + WRAP
    return moved if moved <= FURTHEST_WRAP and moved <= FASTEST_PER_CPU * seconds else None


def losses(base: Sample, now: Sample) -> Losses | None:
    """Losses since `base`; None when its counters cannot be compared (reset, other CPUs)."""
    span = now.at.uptime - base.at.uptime
    if span <= 0 or base.counters is None or now.counters is None:
        return None
    old, new = base.counters.per_cpu, now.counters.per_cpu
    if 'drop' not in old or 'drop' not in new:
        return None
    if old == new:
        return Losses(span, dict.fromkeys(old, 0))  # most namespaces are idle
    packets = {}
    for name, before in old.items():
        # a counter that only one of them has was read by another version
        if name not in new:
            continue
        if before == new[name]:
            packets[name] = 0  # most stand still
            continue
        if len(before) != len(new[name]):
            return None
        moved = [counter_difference(a, b, span) for a, b in zip(before, new[name])]
        if None in moved:
            return None
        packets[name] = sum(step for step in moved if step)
    return Losses(span, packets)


def add_up(parts: Iterable[Losses]) -> dict[str, int]:
    """Packets of all parts together, by counter; `drop` is always there."""
    total = {'drop': 0}
    for part in parts:
        for name, packets in part.packets.items():
            total[name] = total.get(name, 0) + packets
    return total


def losses_across(before_resets: Sequence[tuple[Sample, Sample]], since: Losses | None, now: Sample) -> Losses | None:
    """Losses since the counters were reset, and those of the window before that: an alert outlives a reboot.

    before_resets: the first and last sample of each time before a reset, oldest first; since: the losses after the last
    reset, None if they are not known.
    """
    before = [(first, found) for first, found in ((first, losses(first, last)) for first, last in before_resets)
              if found and found.lost]
    if not before:
        return since
    first = before[0][0]
    rebooted = first.boot_id != now.boot_id
    span = now.at.wall - first.at.wall if rebooted else now.at.uptime - first.at.uptime
    parts = [found for _first, found in before]
    return Losses(max(span, *(part.span for part in parts)), add_up([*parts, since] if since else parts),
                  REBOOT if rebooted else RESET)


def counted_between(old: Sample, new: Sample) -> Losses | None:
    """Losses between two samples of one boot; where the counters were reset, what they have counted since."""
    found = losses(old, new)
    if found or new.at.uptime <= old.at.uptime:
        return found
    zero = new.zero_since(old)
    since = losses(zero, new) if zero else None
    return since and since._replace(across=RESET)


def comparable(base: Sample, now: Sample) -> bool:
    """Can losses be counted from `base` to `now`? A run without counters is no base for one with them."""
    return now.counters is None or losses(base, now) is not None


def moved(old: Sample, new: Sample) -> bool:
    """Was a packet dropped or an entry evicted between these samples, or is that not known?"""
    found = losses(old, new)
    return found is None or any(found.packets.get(name) for name in COMPARED)


def dropped_between(base: Sample, now: Sample) -> bool:
    """Were packets dropped between two samples? What cannot be compared says nothing."""
    found = losses(base, now)
    return found is not None and found.lost > 0


def insert_failed_is_loss(counters: Counters) -> bool:
    """Kernels without clash_resolve (before 5.10, RHEL 7) count clashes that were resolved in insert_failed, too."""
    return 'clash_resolve' in counters.per_cpu


#: in the place of an inode: the initial namespace, and one that the line does not name
INITIAL, UNNAMED = 0, -1


class LogEvidence(NamedTuple):
    """The log lines of the window, sorted by whose table they speak of."""

    span: float
    #: seconds since each line of this namespace, or of one that an older kernel does not name; oldest first
    ages: tuple[float, ...]
    #: how many lines speak of another namespace, by its inode, INITIAL or UNNAMED
    elsewhere: Mapping[int, int]
    #: messages that the kernel did not log
    suppressed: int
    #: the log has more lines than could be seen
    flooded: bool = False
    #: for this many seconds up to now no line is missing from the log
    covered: float = float('inf')
    #: for this many seconds up to now no line can be this namespace's own
    without_drops: float = 0.0

    @property
    def partial(self) -> bool:
        """Does the log not go back over the whole span?"""
        return self.covered < self.span - COVERED

    @property
    def can_hide(self) -> bool:
        """May there have been lines of this namespace that are not in the log?"""
        return self.partial and self.without_drops < self.span


def since_made(counters: Counters) -> Losses:
    """What a namespace has dropped since it was made, or since the module was loaded; the span is not known."""
    return Losses(0.0, {name: counters.total(name) for name in DROPPED if name in counters.per_cpu})


def seconds_without_drops(counters: Counters | None, found: Losses | None) -> float:
    """For how many seconds up to now this namespace has certainly dropped nothing, so that no log line is its own.

    Each packet that a full table refuses counts in `drop`, logged or not; so do clashes, which prove no full
    table. This tells containers apart where the kernel does not name them, and a namespace from a dead one whose inode
    it got.
    """
    if found and found.across == RESET and found.dropped:
        return 0.0  # the lines may be those of the table that was there before
    if counters is not None and not since_made(counters).dropped:
        return float('inf')
    # what was dropped while the counters were reset is not known
    return found.span if found and not found.dropped and not found.across else 0.0


def log_evidence(log: KernelLog, now: float, span: float, netns: int | None, initial: bool,
                 without_drops: float = 0.0) -> LogEvidence:
    """Lines no older than `span` seconds at `now` (CLOCK_MONOTONIC), seen from the namespace `netns`.

    without_drops: for this many seconds this namespace has dropped nothing (see `seconds_without_drops`).
    """
    ages = []
    elsewhere: dict[int, int] = {}
    # the newest first: the text names a few of them only
    for line in reversed(log.table_full):
        age = max(0.0, now - line.stamp)
        if age > span:
            continue
        owner = line.netns if line.netns is not None else INITIAL if log.names_namespaces and not initial else netns
        # a kernel that names the others leaves the initial one unnamed: of that its own counters need not tell
        certain = log.names_namespaces and initial and line.netns is None
        if owner == netns and (certain or age >= without_drops):
            ages.append(age)
        else:
            other = UNNAMED if owner is None or owner == netns else owner
            elsewhere[other] = elsewhere.get(other, 0) + 1
    suppressed = sum(line.messages for line in log.suppressed if now - line.stamp <= span)
    return LogEvidence(span, tuple(sorted(ages, reverse=True)), elsewhere, suppressed, log.overrun,
                       now - log.complete_since, without_drops)


def quiet_since(before: Losses | None, new: Losses | None) -> Losses | None:
    """Two readings' losses in a row as one time without a drop, for a program that stays; None: `new` is not known.

    before: the time without a drop up to the reading before.
    """
    if before and new and not (before.dropped or new.dropped or before.across or new.across):
        return Losses(before.span + new.span, new.packets)
    return new
