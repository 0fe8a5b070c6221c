"""Packets lost between two samples: differences of per-CPU 32-bit counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..model import Counters, KernelLog, Sample
from ..namedtuples import NamedTuple

WRAP = 1 << 32
#: a counter that moved further than this, or faster, did not wrap: it began anew
FURTHEST_WRAP = WRAP >> 1
FASTEST_PER_CPU = 5e6
#: log lines are looked for at most so far back (or one window), however long the check has paused
LONGEST_LOG_SPAN = 3600.0


class Losses(NamedTuple):
    """What the counters counted during `span` seconds, summed over the CPUs."""

    span: float
    packets: Mapping[str, int]
    #: what began the counters anew in between, such as 'a reboot'
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

    def rate(self, packets: int) -> float:
        """Packets per second over the span."""
        return packets / self.span


def wraps(old: int, new: int, seconds: float) -> int | None:
    """The modular difference of one counter on one CPU; None when the counter must have been reset."""
    if new >= old:
        return new - old
    moved = new - old + WRAP
    return moved if moved <= FURTHEST_WRAP and moved <= FASTEST_PER_CPU * seconds else None


def losses(base: Sample, now: Sample) -> Losses | None:
    """Losses since `base`; None when its counters cannot be compared (reset, other CPUs, other columns)."""
    span = now.at.uptime - base.at.uptime
    if span <= 0 or base.counters is None or now.counters is None:
        return None
    old, new = base.counters.per_cpu, now.counters.per_cpu
    if old.keys() != new.keys():
        return None
    packets = {}
    for name in old:
        if len(old[name]) != len(new[name]):
            return None
        moved = [wraps(a, b, span) for a, b in zip(old[name], new[name])]
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


def losses_across(cut: tuple[Sample, Sample], since: Losses | None, now: Sample) -> Losses | None:
    """Losses since the counters began anew, and those of the look-back before that: an alert outlives a reboot.

    cut: the first and last sample before; since: the losses from the first sample after it, None without one.
    """
    first, last = cut
    before = losses(first, last)
    if before is None or not before.lost:
        return since
    rebooted = first.boot_id != now.boot_id
    span = now.at.wall - first.at.wall if rebooted else now.at.uptime - first.at.uptime
    return Losses(max(span, before.span), add_up([before, since] if since else [before]),
                  'a reboot' if rebooted else 'a reset of the counters')


def comparable(base: Sample, now: Sample) -> bool:
    """Can losses be counted from `base` to `now`? A run without counters is no base for one with them."""
    return now.counters is None or losses(base, now) is not None


def dropped_between(base: Sample, now: Sample) -> bool:
    """Were packets dropped between two samples? What cannot be compared says nothing."""
    found = losses(base, now)
    return found is not None and found.lost > 0


def insert_failed_is_loss(counters: Counters) -> bool:
    """Kernels without clash_resolve (before 5.10, RHEL 7) count solved clashes in insert_failed, too."""
    return 'clash_resolve' in counters.per_cpu


#: in the place of an inode: the initial namespace, and one that the line does not tell
INITIAL, UNNAMED = 0, -1


class LogEvidence(NamedTuple):
    """The log lines of the look-back, sorted by whose table they speak of."""

    span: float
    #: seconds since each line of this namespace, or of one that an older kernel does not name; oldest first
    ages: tuple[float, ...]
    #: how many lines speak of another namespace, by its inode, INITIAL or UNNAMED
    elsewhere: Mapping[int, int]
    #: messages that the kernel did not log
    suppressed: int
    #: the log has more lines than could be seen
    flooded: bool = False


def seconds_without_drops(counters: Counters | None, found: Losses | None) -> float:
    """For how many seconds up to now this namespace has certainly dropped nothing, so that no log line is its own.

    Each packet that a full table refuses counts in `drop`, logged or not. This tells containers apart where the kernel
    does not name them, and a namespace from a dead one whose inode it got.
    """
    if counters is not None and not counters.total('drop'):
        return float('inf')
    # what was dropped while the counters began anew is not known
    return found.span if found and not found.packets['drop'] and not found.across else 0.0


def log_evidence(log: KernelLog, now: float, span: float, netns: int | None, initial: bool,
                 without_drops: float = 0.0) -> LogEvidence:
    """Lines no older than `span` seconds at `now` (CLOCK_MONOTONIC), seen from the namespace `netns`.

    innocent: for so many seconds this namespace has dropped nothing (see `innocent_for`).
    """
    ages = []
    elsewhere: dict[int, int] = {}
    # the newest first: the text names a few of them only
    for line in reversed(log.table_full):
        age = max(0.0, now - line.stamp)
        if age > span:
            continue
        owner = line.netns if line.netns is not None else INITIAL if log.names_namespaces and not initial else netns
        if owner == netns and age >= without_drops:
            ages.append(age)
        else:
            stranger = UNNAMED if owner is None or owner == netns else owner
            elsewhere[stranger] = elsewhere.get(stranger, 0) + 1
    suppressed = sum(line.messages for line in log.suppressed if now - line.stamp <= span)
    return LogEvidence(span, tuple(sorted(ages, reverse=True)), elsewhere, suppressed, log.overrun)
