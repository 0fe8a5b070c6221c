"""The recorded past of one table: what was counted from sample to sample, and the episodes of trouble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..defaults import WARNING
from ..model import Sample
from ..namedtuples import NamedTuple
from .losses import Losses, add_up, counted_between, seconds_without_drops

#: an episode is over when all was well for this many seconds
QUIET = 1800.0
#: the kernel log's clock and the wall clock differ by this many seconds at most
CLOCKS_DIFFER = 5.0


class Interval(NamedTuple):
    """One sample, and what was counted since the one before it in the same boot and namespace."""

    sample: Sample
    #: seconds since then; None: nothing was recorded before it
    span: float | None
    #: None: a gap (nothing before it, a reboot, no counters)
    losses: Losses | None
    #: entries per second
    growth: float | None

    @property
    def usage(self) -> float:
        """Percent of the maximum; 0 without a limit."""
        s = self.sample
        return s.entries * 100.0 / s.maximum if s.maximum > 0 else 0.0

    @property
    def lost(self) -> int:
        return self.losses.lost if self.losses else 0

    def counted(self, name: str) -> int:
        return self.losses.packets.get(name, 0) if self.losses else 0


class TimeBucket(NamedTuple):
    """Some intervals as one: the fullest table among them, and everything counted."""

    #: seconds since 1970; what was counted was counted between the two
    begin: float
    end: float
    peak: Interval
    #: None: all of it is gaps
    losses: Losses | None
    #: entries per second on the average
    growth: float | None


class RecordedNamespace(NamedTuple):
    """All that is recorded of one name, or of one namespace without a lasting name, in short."""

    #: see `namespace_key`
    key: str
    boots: int
    samples: int
    #: seconds since 1970
    first: float
    last: float
    peak: Interval
    lost: int
    newest: Sample


class Change(NamedTuple):
    """nf_conntrack_max was set to another value."""

    #: when this was seen first, in seconds since 1970
    at: float
    before: int
    after: int
    #: there was a reboot in between
    rebooted: bool


class Episode(NamedTuple):
    """A time of trouble: nearly full, entries evicted, or packets dropped."""

    #: from the first sign to the last one
    intervals: tuple[Interval, ...]
    #: the first one with a loss
    first_loss: Interval | None
    #: by counter
    counted: Mapping[str, int]
    peak: Interval
    #: when all was well again; None: not within what is recorded
    ended: float | None
    changes: tuple[Change, ...]

    @property
    def lost(self) -> int:
        """Packets dropped; what overlaps is not added."""
        return sum(interval.lost for interval in self.intervals)

    @property
    def began(self) -> Interval:
        return self.intervals[0]


def intervals(samples: Iterable[Sample]) -> list[Interval]:
    """One for each sample, in order of time. No losses and no growth reach across a reboot or into another table."""
    before: dict[tuple[str, int, float], Sample] = {}
    found = []
    for sample in samples:
        last = before.get((sample.boot_id, sample.netns, sample.since))
        before[sample.boot_id, sample.netns, sample.since] = sample
        if last is None or sample.at.uptime <= last.at.uptime:
            found.append(Interval(sample, None, None, None))
        else:
            span = sample.at.uptime - last.at.uptime
            found.append(Interval(sample, span, counted_between(last, sample), (sample.entries - last.entries) / span))
    return found


def namespace_key(sample: Sample) -> str:
    """Samples with one key are shown together: the name, over restarts and reboots; without one the inode, as long as
    it is that namespace's.

    The initial one keeps its inode over reboots of the same kernel.
    """
    if sample.name:
        return sample.name
    return f'{sample.netns} since {sample.since} of {sample.boot_id}' if sample.since else str(sample.netns)


def namespaces(series: Iterable[Interval]) -> list[RecordedNamespace]:
    """The namespaces, the one with the highest peak first."""
    members: dict[str, list[Interval]] = {}
    for interval in series:
        members.setdefault(namespace_key(interval.sample), []).append(interval)
    found = [
        RecordedNamespace(key, len({interval.sample.boot_id for interval in own}), len(own), own[0].sample.at.wall,
                          own[-1].sample.at.wall, peak(own), sum(interval.lost for interval in own), own[-1].sample)
        for key, own in members.items()]
    return sorted(found, key=lambda one: (-one.peak.usage, -one.samples))


def condense(series: Iterable[Interval], begin: float, slot: float) -> dict[int, TimeBucket]:
    """The intervals of each slot of this many seconds since `begin`, by the slot's number; empty ones are left out."""
    members: dict[int, list[Interval]] = {}
    for interval in series:
        members.setdefault(int((interval.sample.at.wall - begin) / slot), []).append(interval)
    return {number: _time_bucket(own) for number, own in members.items()}


def peak(series: Sequence[Interval]) -> Interval:
    """The one with the fullest table; without a limit, with the most entries."""
    return max(series, key=lambda interval: (interval.usage, interval.sample.entries))


def changes(series: Sequence[Interval]) -> tuple[Change, ...]:
    """Every new value of nf_conntrack_max, in order."""
    return tuple(Change(new.sample.at.wall, old.sample.maximum, new.sample.maximum,
                        old.sample.boot_id != new.sample.boot_id)
                 for old, new in zip(series, series[1:]) if new.sample.maximum != old.sample.maximum)


def may_have_dropped(series: Sequence[Interval], wall: float) -> bool:
    """May a full table of these intervals have dropped a packet at this time (seconds since 1970)?

    Where the counters say that none was dropped, a log line that names no namespace speaks of another one.
    """
    around = [one for one in series if -CLOCKS_DIFFER <= one.sample.at.wall - wall <=
              (one.span or 0.0) + CLOCKS_DIFFER]
    return not around or any(map(_may_have_dropped, around))


def _may_have_dropped(interval: Interval) -> bool:
    if interval.losses is None:
        # nothing is recorded of the time before, but the counters are those since the namespace was made
        return seconds_without_drops(interval.sample.counters, None) == 0
    return bool(interval.losses.dropped or interval.losses.across)


def in_trouble(interval: Interval) -> bool:
    """Were packets dropped or entries evicted, or was usage above the warning threshold?"""
    return bool(interval.lost or interval.counted('early_drop')) or interval.usage >= WARNING


def episodes(series: Sequence[Interval]) -> list[Episode]:
    """All episodes in the intervals of one namespace, in order."""
    found: list[Episode] = []
    first = last = None
    for k, interval in enumerate(series):
        if not in_trouble(interval):
            continue
        if first is not None and last is not None and interval.sample.at.wall - series[last].sample.at.wall > QUIET:
            found.append(_episode(series, first, last))
            first = None
        first = k if first is None else first
        last = k
    if first is not None and last is not None:
        found.append(_episode(series, first, last))
    return found


def worst(found: Sequence[Episode]) -> Episode | None:
    """The one with the most packets dropped, or with none the highest peak."""
    return max(found, key=lambda episode: (episode.lost, episode.peak.usage), default=None)


def _time_bucket(own: Sequence[Interval]) -> TimeBucket:
    counted = [interval.losses for interval in own if interval.losses]
    grown = [(one.growth * one.span, one.span) for one in own if one.growth is not None and one.span]
    return TimeBucket(
        min(one.sample.at.wall - (one.span or 0.0) for one in own), max(one.sample.at.wall for one in own),
        peak(own), Losses(sum(part.span for part in counted), add_up(counted)) if counted else None,
        sum(entries for entries, _ in grown) / sum(span for _, span in grown) if grown else None)


def _episode(series: Sequence[Interval], first: int, last: int) -> Episode:
    own = tuple(series[first:last + 1])
    ended = series[last + 1].sample.at.wall if last + 1 < len(series) else None
    # with the sample before the first sign: nf_conntrack_max may have been changed between the two
    around = series[max(0, first - 1):last + 2]
    return Episode(own, next((interval for interval in own if interval.lost), None),
                   add_up(interval.losses for interval in own if interval.losses), peak(own),
                   ended, changes(around))
